//! A stand-in for a tender that was taken over by its guest (`src/bin/hostile.rs`), started by the real
//! albatrossd: nothing of what it tries may work. And what albatrossd keeps of root's power.
//!
//! Needs root, the network also /dev/net/tun; without them a test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use albatross_e2e::{Host, Programs, eventually};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::geteuid;

mod namespace;

/// Ids that no other test's tenders have, so that their limits do not count these.
const UIDS: [&str; 2] = ["--uid-base=1200000", "--uid-count=100"];

/// A host on which the hostile stand-in is the tender; `None` without root.
fn host(options: &[&str]) -> Option<Host> {
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hostile"), host.dbdir().join("solo5-spt")).unwrap();
    host.start_console(&[]).unwrap();
    host.start_albatrossd(&[&UIDS, options].concat()).unwrap();
    Some(host)
}

/// Starts a hostile tender, and returns its process id and what it said.
fn hostile(
    host: &Host,
    name: &str,
    guest: &str,
    options: &[&str],
    arguments: &[String],
) -> (i32, Vec<String>) {
    let arguments: Vec<String> = arguments.iter().map(|argument| format!("--arg={argument}")).collect();
    let all: Vec<&str> = options.iter().copied().chain(arguments.iter().map(String::as_str)).collect();
    host.create(name, guest, &all).unwrap().assert(0, "created unikernel");
    let lines = eventually("the end of its attempts", || {
        let lines = host.console_lines(name, 1024).unwrap();
        (lines.last().is_some_and(|line| line == "done")).then_some(lines)
    });
    let image = format!("{}.img", host.tmpdir().join(name).display());
    let tender = host.tenders().into_iter().find(|(_, line)| line.contains(&image));
    (tender.expect("it runs").0, lines.unwrap())
}

/// What there is to be found on the host.
fn everything(host: &mut Host, other: i32, listener: &TcpListener) -> Vec<String> {
    let (run, db) = (host.tmpdir(), host.dbdir());
    let daemon = host.albatrossd().unwrap().pid();
    let mut all: Vec<String> = [
        format!("--read={}", db.join("block").display()),
        format!("--read={}", db.join("record").display()),
        format!("--read={}", db.join("images").display()),
        format!("--read={}", run.join("a:other.img").display()),
        format!("--write={}", run.join("fifo/a:other").display()),
        format!("--connect={}", run.join("util/vmmd.sock").display()),
        format!("--connect={}", run.join("util/console.sock").display()),
        format!("--tcp={}", listener.local_addr().unwrap()),
        format!("--write={}", db.join("solo5-spt").display()),
        format!("--write={}", run.join("a:hostile.img").display()),
        format!("--make={}", run.join("planted").display()),
        format!("--mountpoint={}", db.join("block").display()),
        format!("--process={other}"),
        format!("--process={daemon}"),
    ]
    .into();
    let fixed = ["/etc/shadow", "/proc/self/status", "/sys/class/net", "/sys/fs/cgroup", "/usr/bin"];
    all.extend(fixed.map(|path| format!("--read={path}")));
    all.extend(["--make=/tmp/albatross-planted".to_owned(), "--powers".to_owned()]);
    all
}

fn attack(host: &mut Host) -> Vec<String> {
    let (other, _) = hostile(host, "a:other", "tick", &[], &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let arguments = everything(host, other, &listener);
    hostile(host, "a:hostile", "tick", &[], &arguments).1
}

#[test]
fn a_tender_that_was_taken_over_gets_nowhere() {
    let Some(mut host) = host(&[]) else { return };
    let lines = attack(&mut host);
    let bad: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("worked") || line.starts_with("has")).collect();
    assert_eq!(bad, Vec::<&String>::new());
    assert!(lines.iter().filter(|line| line.starts_with("refused")).count() > 50, "{lines:#?}");
}

/// The same attempts are ones that succeed against a daemon that confines nothing.
#[test]
fn the_same_attempts_succeed_where_nothing_is_confined() {
    let Some(mut host) = host(&["--unconfined"]) else { return };
    let lines = attack(&mut host);
    // Limits always hold, and nobody writes to a program that runs.
    let allowed = ["limit of", "a gigabyte", "Text file busy"];
    let bad: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("refused"))
        .filter(|line| !allowed.iter().any(|what| line.contains(what)))
        .collect();
    assert_eq!(bad, Vec::<&String>::new(), "{lines:#?}");
    let log = host.log("albatrossd");
    assert_eq!(log.matches("--unconfined: tenders run as this user").count(), 1, "{log}");
}

#[test]
fn a_tender_sees_itself_its_libraries_and_its_image() {
    let Some(host) = host(&[]) else { return };
    hostile(&host, "a:other", "tick", &[], &[]);
    let own = host.tmpdir().join("a:hostile.img");
    let arguments = ["--tree".to_owned(), format!("--read={}", own.display())];
    let (_, lines) = hostile(&host, "a:hostile", "tick", &[], &arguments);
    assert!(lines.contains(&format!("worked: read {}", own.display())), "{lines:?}");
    let mut seen: BTreeSet<&str> = lines.iter().filter_map(|line| line.strip_prefix("sees: ")).collect();
    assert!(seen.remove(own.to_str().unwrap()), "{lines:?}");
    assert!(seen.remove(host.dbdir().join("solo5-spt").to_str().unwrap()), "{lines:?}");
    let library =
        |path: &&str| path.contains(".so") && (path.starts_with("/lib") || path.starts_with("/usr/lib"));
    let more: Vec<&&str> =
        seen.iter().filter(|path| !library(path) && **path != "/etc/ld.so.cache").collect();
    assert_eq!(more, Vec::<&&str>::new(), "more than it needs");
    assert!(seen.len() <= 12, "{seen:?}");
}

/// `/proc/PID/status` by its keys.
fn status(pid: i32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().replace('\t', " "))).collect()
}

#[test]
fn a_tender_is_a_user_of_its_own_without_power() {
    let Some(host) = host(&[]) else { return };
    let tenders = ["a:one", "a:two"].map(|name| hostile(&host, name, "tick", &[], &[]).0);
    let users = tenders.map(|tender| {
        let status = status(tender);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"], &*status["Groups"]), ("1", "2", ""));
        assert_eq!((&*status["SigBlk"], &*status["Umask"]), ("0000000000000000", "0077"));
        assert_eq!(status["Uid"], status["Gid"]);
        let ids: BTreeSet<&str> = status["Uid"].split(' ').collect();
        assert_eq!(ids.len(), 1);
        let limits = std::fs::read_to_string(format!("/proc/{tender}/limits")).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        for (name, most) in [
            ("Max core file size", "0"),
            ("Max open files", "128"),
            ("Max processes", "1"),
            ("Max locked memory", "0"),
            // What the largest filter takes, which a tender may put together in a file in memory.
            ("Max file size", "32768"),
            ("Max msgqueue size", "0"),
            // 2 MB of the guest and 128 of the tender.
            ("Max address space", "136314880"),
        ] {
            assert_eq!(limit(name), [most, most], "{name}");
        }
        for (namespace, own) in [("mnt", true), ("ipc", true), ("uts", true), ("net", false), ("pid", false)]
        {
            let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_eq!(of(&tender.to_string()) != of("self"), own, "{namespace}");
        }
        ids.into_iter().next().unwrap().parse::<u32>().unwrap()
    });
    assert_ne!(users[0], users[1]);
    assert!(users.iter().all(|user| (1_200_001..1_200_100).contains(user)), "{users:?}");
}

#[test]
fn albatrossd_keeps_ten_capabilities_and_a_filter() {
    let Some(mut host) = host(&[]) else { return };
    let status = status(host.albatrossd().unwrap().pid());
    // CHOWN DAC_OVERRIDE KILL SETGID SETUID SETPCAP NET_ADMIN SYS_PTRACE SYS_ADMIN MKNOD
    let kept = [0, 1, 5, 6, 7, 8, 12, 19, 21, 27].iter().fold(0_u64, |all, number| all | 1 << number);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status[set], format!("{kept:016x}"), "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"));
}

#[test]
fn a_root_who_may_not_confine_is_told_what_is_missing() {
    if !geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let host = Host::new(Programs::for_tests().unwrap()).unwrap();
    let mut command = std::process::Command::new(host.programs().path("albatrossd"));
    command.arg("--tmpdir").arg(host.tmpdir()).arg("--dbdir").arg(host.dbdir());
    // SAFETY: one system call, on numbers.
    unsafe {
        command.pre_exec(|| {
            let admin: libc::c_ulong = 21;
            Ok(Errno::result(libc::prctl(libc::PR_CAPBSET_DROP, admin, 0, 0, 0)).map(drop)?)
        });
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(said.contains("CAP_SYS_ADMIN is missing") && said.contains("--unconfined"), "{said}");
}

#[test]
fn a_tap_is_its_tenders() {
    namespace::in_new_network(|| {
        let Some(host) = host(&[]) else { return };
        hostile(&host, "a:other", "pong", &["--net=service"], &[]);
        let arguments = ["--tap=vmmtap0", "--tap=vmmtap1", "--tap=vmmtap7"].map(str::to_owned);
        let (_, lines) = hostile(&host, "a:hostile", "pong", &["--net=service"], &arguments);
        assert!(lines[0].starts_with("refused: tap vmmtap0: Operation not permitted"), "{lines:?}");
        assert_eq!(lines[1], "worked: tap vmmtap1");
        // It makes no interface of its own.
        assert!(lines[2].starts_with("refused: tap vmmtap7"), "{lines:?}");
        assert_eq!(namespace::taps(), ["vmmtap0", "vmmtap1"]);
        // One without network devices has no way to any.
        let arguments = ["--tap=vmmtap1".to_owned()];
        let (_, lines) = hostile(&host, "a:without", "tick", &[], &arguments);
        assert!(lines[0].starts_with("refused"), "{lines:?}");
    });
}

/// The reference tenders list interfaces before they open a tap, by netlink. Nothing else is sent by that.
#[test]
fn a_tender_with_a_tap_lists_interfaces_and_sends_nothing_else() {
    namespace::in_new_network(|| {
        namespace::ip("link set lo up");
        let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let argument = [format!("--udp={}", listener.local_addr().unwrap())];
        let attempts = [
            "udp",
            "udp to a cut address",
            "bind",
            "tcp socket",
            "unix socket",
            "socket of another family",
            "netlink of devices",
        ];
        let Some(host) = host(&[]) else { return };
        let (_, lines) = hostile(&host, "a:hostile", "pong", &["--net=service"], &argument);
        assert_eq!(lines[0], "worked: list interfaces");
        for (line, attempt) in lines[1..].iter().zip(attempts) {
            assert!(line.starts_with(&format!("refused: {attempt}: ")), "{lines:?}");
        }
        assert_eq!(lines.len(), 1 + attempts.len() + 1, "{lines:?}");
        // One without network devices does not even list them.
        let (_, lines) = hostile(&host, "a:without", "tick", &[], &argument);
        assert!(lines[0].starts_with("refused: list interfaces: Operation not permitted"), "{lines:?}");
        drop(host);
        let Some(host) = self::host(&["--unconfined"]) else { return };
        let (_, lines) = hostile(&host, "a:hostile", "pong", &["--net=service"], &argument);
        let refused: Vec<&String> = lines.iter().filter(|line| line.starts_with("refused")).collect();
        assert_eq!(refused, ["refused: udp to a cut address: Invalid argument (os error 22)"]);
    });
}

/// That for virtual machines has a thread for network devices.
#[test]
fn a_tender_for_virtual_machines_makes_threads_and_no_processes() {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return println!("skipped: needs /dev/kvm");
    }
    let Some(host) = host(&[]) else { return };
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hostile"), host.dbdir().join("solo5-hvt")).unwrap();
    let image = host.work().join("hvt");
    std::fs::write(&image, for_virtual_machines(&std::fs::read(host.programs().guest("tick")).unwrap()))
        .unwrap();
    let lines = hostile(&host, "a:hostile", image.to_str().unwrap(), &[], &["--powers".to_owned()]).1;
    let worked: Vec<&String> = lines.iter().filter(|line| !line.starts_with("refused")).collect();
    assert_eq!(worked, ["worked: thread", "worked: clone3", "done"]);
    assert!(lines.iter().any(|line| line.starts_with("refused: fork: Operation not permitted")), "{lines:?}");
}

/// The image with another target in the note about its ABI: 1 in place of 2.
fn for_virtual_machines(image: &[u8]) -> Vec<u8> {
    let mark = b"ABI1Solo5\0";
    let at = image.windows(mark.len()).position(|octets| octets == mark).expect("a note");
    let mut image = image.to_vec();
    // Two octets fill the name up.
    let target = &mut image[at + mark.len() + 2];
    assert_eq!(*target, 2);
    *target = 1;
    image
}

#[test]
fn a_script_is_no_tender_and_is_passed_over() {
    let Some(host) = host(&[]) else { return };
    // What it runs would not be in its sight. It is not run otherwise, either.
    let (tender, proof) = (host.dbdir().join("solo5-spt"), host.work().join("proof"));
    std::fs::remove_file(&tender).unwrap();
    let script = format!("#!/bin/sh\necho ABI version 2 | tee {}\n", proof.display());
    std::fs::write(&tender, script).unwrap();
    std::fs::set_permissions(&tender, Permissions::from_mode(0o755)).unwrap();
    host.create("a:tick", "tick", &[]).unwrap().assert(0, "created unikernel");
    assert!(host.tenders()[0].1.contains("albatross-spt"), "{:?}", host.tenders());
    assert!(!proof.exists());
}
