//! The reference tenders, above all the one for virtual machines, with the guests that Solo5 tests itself with.
//!
//! They are not part of this repository: `ALBATROSS_SOLO5` names the directory of a Solo5 that somebody has built
//! (`./configure.sh && make`). Without it a test says so and passes, as it does without root and, for virtual
//! machines, /dev/kvm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use albatross_e2e::run::run;
use albatross_e2e::{Finished, Host, Programs, eventually, processes};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::unistd::geteuid;

mod namespace;
use namespace::{in_new_network, ip, taps};

/// Names the directory of a built Solo5.
const VARIABLE: &str = "ALBATROSS_SOLO5";

/// One of the reference tenders.
#[derive(Clone, Debug)]
struct Solo5 {
    directory: PathBuf,
    target: &'static str,
}

impl Solo5 {
    /// Those that can be tried here.
    fn tenders() -> Vec<Self> {
        ["hvt", "spt"].into_iter().filter_map(Self::tender).collect()
    }

    fn tender(target: &'static str) -> Option<Self> {
        let solo5 = std::env::var_os(VARIABLE).map(|directory| Self { directory: directory.into(), target });
        let has_kvm = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
        let missing = match &solo5 {
            None => format!("{VARIABLE}, the directory of a built Solo5"),
            Some(_) if !geteuid().is_root() => "root".to_owned(),
            Some(_) if target == "hvt" && !has_kvm() => "/dev/kvm".to_owned(),
            Some(solo5) if !solo5.program().is_file() => solo5.program().display().to_string(),
            Some(_) => return solo5,
        };
        println!("skipped: {target} needs {missing}");
        None
    }

    fn program(&self) -> PathBuf {
        self.directory.join(format!("tenders/{0}/solo5-{0}", self.target))
    }

    fn is_hvt(&self) -> bool {
        self.target == "hvt"
    }

    /// A host on which this is the tender; `users` are ids that no other test's tenders have, so that their limits do
    /// not count these.
    fn host(&self, users: u32) -> Host {
        let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
        symlink(self.program(), host.dbdir().join(format!("solo5-{}", self.target))).unwrap();
        host.start_console(&[]).unwrap();
        host.start_albatrossd(&uids(users)).unwrap();
        host
    }

    /// Runs `create NAME` with a guest in the 8 MB that all of them can do with.
    fn create(&self, host: &Host, name: &str, guest: &str, options: &[&str]) -> Finished {
        let image = self.directory.join(format!("tests/test_{guest}/test_{guest}.{}", self.target));
        let mut command = host.client_command(&["create", name]);
        run(command.arg(image).args(["--mem", "8", "--no-add-name"]).args(options)).unwrap()
    }
}

fn uids(first: u32) -> [&'static str; 2] {
    let base: &str = format!("--uid-base={first}").leak();
    [base, "--uid-count=100"]
}

/// Waits until the log tells how the tender of this unikernel ended.
fn assert_end(host: &Host, name: &str, how: &str) {
    let mut found = String::new();
    let told = eventually("the end of the tender", || {
        let log = host.log("albatrossd");
        let ends = [" exited with code ", " was ended by signal ", " ended, how is not known"];
        let line = log
            .lines()
            .filter(|line| line.contains(&format!(" {name}: process ")))
            .rfind(|line| ends.iter().any(|end| line.contains(end)))?;
        line.clone_into(&mut found);
        Some(())
    });
    told.unwrap();
    assert!(found.contains(how), "{found}\n{:#?}", host.console_lines(name, 30));
}

/// What a tender had goes when its end is on the disk.
fn nothing_is_left(host: &Host) {
    eventually("nothing left", || (host.tenders().is_empty() && host.left_behind().is_empty()).then_some(()))
        .unwrap();
}

/// Waits until this line is among the last ones; after it comes only that the guest ends.
fn assert_says(host: &Host, name: &str, line: &str) {
    let said = eventually(line, || {
        let lines = host.console_lines(name, 3).ok()?;
        lines.iter().any(|said| said == line).then_some(())
    });
    said.unwrap();
}

/// The tender of this unikernel; a process whose first thread has ended has no command line.
fn tender(host: &Host, name: &str) -> i32 {
    let image = format!("{}.img", host.tmpdir().join(name).display());
    let tenders = host.tenders();
    tenders.iter().find(|(_, line)| line.contains(&image)).expect("its tender").0
}

#[test]
fn guests_run_and_end_as_they_should() {
    for solo5 in Solo5::tenders() {
        let trap = if solo5.is_hvt() { "exited with code 255" } else { "was ended by signal 11" };
        let host = solo5.host(1_400_000);
        for (guest, argument, how, last) in [
            ("hello", "Hello_Solo5", "exited with code 0", Some("SUCCESS")),
            ("globals", "", "exited with code 0", Some("SUCCESS")),
            ("tls", "", "exited with code 0", Some("SUCCESS")),
            ("ssp", "", "exited with code 255", None),
            ("exception", "", trap, None),
            ("zeropage", "", trap, None),
        ] {
            let name = format!("a:{guest}");
            let argument = format!("--arg={argument}");
            solo5.create(&host, &name, guest, &[&argument]).assert(0, "created unikernel");
            assert_end(&host, &name, how);
            if let Some(last) = last {
                assert_says(&host, &name, last);
            }
        }
        nothing_is_left(&host);
    }
}

#[test]
fn a_guest_reads_and_writes_its_block_device() {
    for solo5 in Solo5::tenders() {
        let host = solo5.host(1_401_000);
        host.client(&["create-block", "a:disk", "1"]).unwrap().assert(0, "added block device");
        let file = host.dbdir().join("block/a:disk");
        for (name, option) in [("a:small", "storage:disk"), ("a:large", "storage:disk@4096")] {
            solo5.create(&host, name, "blk", &["--block", option]).assert(0, "created unikernel");
            assert_end(&host, name, "exited with code 0");
            assert!(fs::read(&file).unwrap().starts_with(b"0123456789"));
            eventually("the device given back", || (fs::metadata(&file).unwrap().uid() == 0).then_some(()))
                .unwrap();
        }
        host.client(&["destroy-block", "a:disk"]).unwrap().assert(0, "removed block");
    }
}

/// All are open at once, and in the view and the filter of the tender.
#[test]
fn a_guest_has_as_many_devices_as_an_image_can() {
    for solo5 in Solo5::tenders() {
        let host = solo5.host(1_406_000);
        let mut options = Vec::new();
        for number in 0..63 {
            host.client(&["create-block", &format!("a:disk{number}"), "1"]).unwrap().assert(0, "added");
            options.extend(["--block".to_owned(), format!("storage{number}:disk{number}")]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        solo5.create(&host, "a:many", "mft_maxdevices", &options).assert(0, "created unikernel");
        assert_end(&host, "a:many", "exited with code 0");
        assert_says(&host, "a:many", "SUCCESS");
    }
}

/// A guest that ends by itself while daemons come and go, and how it ended is known.
#[test]
fn a_guest_goes_on_without_the_daemon() {
    for solo5 in Solo5::tenders() {
        let mut host = solo5.host(1_402_000);
        solo5.create(&host, "a:time", "time", &[]).assert(0, "created unikernel");
        let before = tender(&host, "a:time");
        let daemon = host.take_albatrossd().unwrap();
        assert!(daemon.hand_over().unwrap().success());
        host.start_albatrossd(&uids(1_402_000)).unwrap();
        host.take_albatrossd().unwrap().kill();
        host.start_albatrossd(&uids(1_402_000)).unwrap();
        assert_eq!(tender(&host, "a:time"), before);
        // Not 0 where the machine was too busy to wake it in time.
        assert_end(&host, "a:time", "exited with code");
        nothing_is_left(&host);
    }
}

#[test]
fn a_guest_answers_on_its_bridge_whatever_becomes_of_the_daemon() {
    if Solo5::tenders().is_empty() {
        return;
    }
    in_new_network(|| {
        ip("addr add 10.0.0.1/24 dev service");
        for solo5 in Solo5::tenders() {
            let mut host = solo5.host(1_403_000);
            let ping = Ping::new("10.0.0.2");
            let net = ["--net", "service0:service"];
            solo5.create(&host, "a:net", "net", &net).assert(0, "created unikernel");
            ping.eventually_answered();
            let before = tender(&host, "a:net");
            let threads = fs::read_dir(format!("/proc/{before}/task")).unwrap().count();
            println!("{}: {threads} threads", solo5.target);
            assert_eq!(threads > 1, solo5.is_hvt(), "{threads} threads");
            let tap = taps();
            for going in ["hands over", "dies"] {
                let daemon = host.take_albatrossd().unwrap();
                match going {
                    "dies" => daemon.kill(),
                    _ => assert!(daemon.hand_over().unwrap().success()),
                }
                ping.answered().unwrap();
                host.start_albatrossd(&uids(1_403_000)).unwrap();
                host.client(&["policy"]).unwrap().assert(0, "");
                ping.answered().unwrap();
                assert_eq!((tender(&host, "a:net"), taps()), (before, tap.clone()), "{going}");
            }
            host.client(&["restart", "a:net"]).unwrap().assert(0, "created unikernel");
            ping.eventually_answered();
            assert_ne!(tender(&host, "a:net"), before);
            host.client(&["destroy", "a:net"]).unwrap().assert(0, "destroyed unikernel");
            let how = if solo5.is_hvt() { "exited with code 1" } else { "was ended by signal 15" };
            assert_end(&host, "a:net", how);
            assert_eq!((host.tenders(), taps(), host.left_behind()), (Vec::new(), Vec::new(), Vec::new()));
        }
    });
}

/// Stopped, it does not see the SIGTERM.
#[test]
fn a_tender_that_hangs_is_killed() {
    for solo5 in Solo5::tenders() {
        let host = solo5.host(1_404_000);
        solo5.create(&host, "a:time", "time", &[]).assert(0, "created unikernel");
        processes::signal(tender(&host, "a:time"), Signal::SIGSTOP);
        host.client(&["destroy", "a:time"]).unwrap().assert(0, "destroyed unikernel");
        assert_end(&host, "a:time", "was ended by signal 9");
        assert!(host.log("albatrossd").contains("does not end, it is killed"));
    }
}

/// What its own filter kills is the first thread alone. That of the kernel goes on, and SIGTERM does nothing to it.
#[test]
fn a_tender_whose_first_thread_has_ended_is_killed() {
    let Some(solo5) = Solo5::tender("hvt") else { return };
    let mut host = solo5.host(1_405_000);
    solo5.create(&host, "a:time", "time", &[]).assert(0, "created unikernel");
    let before = tender(&host, "a:time");
    let console = host.console().unwrap().pid();
    processes::signal(console, Signal::SIGSTOP);
    // Its output can neither be written nor waited for: it gives up by a signal that its filter refuses.
    fill_output(before);
    eventually("the end of the first thread", || is_zombie(before).then_some(())).unwrap();
    processes::signal(console, Signal::SIGCONT);
    let threads = fs::read_dir(format!("/proc/{before}/task")).unwrap().count();
    assert!(threads > 1, "{threads} threads");
    // It still is there for the next daemon, too.
    host.take_albatrossd().unwrap().kill();
    host.start_albatrossd(&uids(1_405_000)).unwrap();
    host.client(&["info", "-n", "a:time"]).unwrap().assert(0, "a:time");
    host.client(&["destroy", "a:time"]).unwrap().assert(0, "destroyed unikernel");
    assert_end(&host, "a:time", "was ended by signal");
    let log = host.log("albatrossd");
    assert!(log.contains(&format!("process {before} does not end, it is killed")), "{log}");
    nothing_is_left(&host);
}

/// Has writes of a tender fail from now on, as nothing more fits into its fifo.
fn fill_output(pid: i32) {
    // SAFETY: takes numbers only.
    let pidfd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).unwrap();
    let pidfd = owned(pidfd);
    // SAFETY: takes numbers only.
    let output = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 1, 0) };
    let output = owned(Errno::result(output).unwrap());
    let flags = OFlag::from_bits_retain(fcntl(&output, FcntlArg::F_GETFL).unwrap());
    fcntl(&output, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    let mut output = File::from(output);
    while output.write(b"x").is_ok() {}
}

fn owned(descriptor: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor).unwrap()) }
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// Asks a guest whether it is there.
struct Ping {
    socket: UdpSocket,
    guest: &'static str,
}

/// An echo request of ICMP: type 8, code 0, its checksum, number 1 of sender 1, and no content.
const ECHO: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];

impl Ping {
    fn new(guest: &'static str) -> Self {
        let raw =
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp).unwrap();
        // Only sending and receiving are used of it, which are the same for both.
        let socket = UdpSocket::from(raw);
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket, guest }
    }

    /// Whether the guest answers within a few seconds; an answer may be one to an earlier question.
    fn answered(&self) -> io::Result<()> {
        let mut error = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..20 {
            self.socket.send_to(&ECHO, (self.guest, 0))?;
            let mut packet = [0; 128];
            match self.socket.recv(&mut packet) {
                // Behind a header of 20 octets: an answer.
                Ok(28..) if packet[20] == 0 => return Ok(()),
                Ok(_) => {}
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    fn eventually_answered(&self) {
        eventually("an answer of the guest", || self.answered().ok()).unwrap();
    }
}
