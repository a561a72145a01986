//! Guests under the tender: what they print, how they end, what they cannot do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Finished, guest, run, tender};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SIGILL: i32 = 4;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;
const SIGSYS: i32 = 31;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;

#[test]
fn hello_prints_its_arguments() {
    run("hello", &[]).assert_exit(0, "Hello from spt\n");
    run("hello", &["a", "b c", "--name=x", "--mem=9"])
        .assert_exit(0, "Hello from spt\na\nb\nc\n--name=x\n--mem=9\n");
}

#[test]
fn the_longest_command_line_arrives() {
    let word = "x".repeat(8191);
    run("hello", &[&word]).assert_exit(0, &format!("Hello from spt\n{word}\n"));
    run("hello", &[&word, "y"]).assert_refused("guest command line too long (8193 characters, max=8191)");
}

#[test]
fn every_exit_status_comes_through() {
    for code in 0..=255 {
        run("exit", &["--name=x", &format!("--code={code}")]).assert_exit(code, "");
    }
}

#[test]
fn a_program_that_does_not_want_a_name() {
    run("dance", &[]).assert_exit(0, "no name\n");
    run("dance", &["a", "--name=x"]).assert_exit(64, "");
}

#[test]
fn memory_faults() {
    for at in ["zero", "text", "data", "end", "heap"] {
        run("fault", &[&format!("--at={at}")]).assert_signal(SIGSEGV, "about to fault\n");
    }
    run("fault", &["--at=illegal"]).assert_signal(SIGILL, "about to fault\n");
    run("fault", &["--at=divide"]).assert_signal(SIGFPE, "about to fault\n");
}

#[test]
fn an_executable_heap_is_one() {
    let mut command = tender();
    command.args(["--mem=2", "--x-exec-heap"]).arg(guest("fault"));
    assert_eq!(Finished::of(command.arg("--at=heap")).code, Some(0));
    // Its code stays read-only, and its data stays data.
    for at in ["text", "data"] {
        let mut command = tender();
        command.args(["--mem=2", "--x-exec-heap"]).arg(guest("fault"));
        assert_eq!(Finished::of(command.arg(format!("--at={at}"))).signal, Some(SIGSEGV));
    }
}

#[test]
fn thread_local_storage_is_where_the_guest_puts_it() {
    run("tls", &[]).assert_exit(0, "both found\n");
    run("tls", &["--none"]).assert_signal(SIGSEGV, "reading without a base\n");
}

#[test]
fn ticks_at_its_pace() {
    let start = Instant::now();
    run("tick", &["--ms=30", "--count=3"]).assert_exit(0, "tick 1\ntick 2\ntick 3\n");
    assert!(start.elapsed() >= Duration::from_millis(90));
}

#[test]
fn floods() {
    let finished = run("flood", &["--lines=20000"]);
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout.lines().count(), 20000);
    assert!(finished.stdout.lines().last().unwrap().starts_with("flood 20000 "));
}

/// Every system call number there is, and then some; those allowed under conditions get arguments that break them.
#[test]
fn every_other_system_call_is_the_last() {
    const LAST: u64 = 600;
    const EXIT_GROUP: u64 = 231;
    /// uretprobe and uprobe: Linux from 6.14 on keeps them from every filter, and refuses them itself to whoever calls from
    /// elsewhere than its own trampoline.
    const PROBES: [u64; 2] = [335, 336];
    for number in (0..LAST).filter(|number| *number != EXIT_GROUP && !PROBES.contains(number)) {
        run("denied", &[&format!("--call={number}"), "--a0=77"])
            .assert_signal(SIGSYS, &format!("calling {number}\n"));
    }
}

#[test]
fn arguments_count_in_all_their_bits() {
    const HIGH: u64 = 1 << 32;
    // write to another descriptor, to 1 with a high bit set, read, another clock, another arch_prctl, epoll and timer
    // on the wrong descriptors.
    let calls = [
        (1, 2),
        (1, 0),
        (1, 1 + HIGH),
        (0, 0),
        (0, 1),
        (17, 3),
        (18, 1),
        (228, 2),
        (228, 1 + HIGH),
        (158, 0x1001),
        (158, 0x1002 + HIGH),
        (281, 4),
        (281, 3 + HIGH),
        (286, 3),
        (286, 4 + HIGH),
    ];
    for (number, first) in calls {
        run("denied", &[&format!("--call={number}"), &format!("--a0={first}")])
            .assert_signal(SIGSYS, &format!("calling {number}\n"));
    }
}

#[test]
fn numbers_of_other_architectures() {
    const X32: u64 = 0x4000_0000;
    for number in [X32 + 1, X32 + 231, X32 + 39] {
        run("denied", &[&format!("--call={number}"), "--a0=1"])
            .assert_signal(SIGSYS, &format!("calling {number}\n"));
    }
    // exit_group by the 32-bit entry has number 252.
    run("denied", &["--int80=252"]).assert_signal(SIGSYS, "calling 252 by int 0x80\n");
}

#[test]
fn signals_have_their_default_effect() {
    let mut child = start_tick(&[]);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(SIGTERM));
}

#[test]
fn a_closed_console_ends_a_guest() {
    let mut child = tender()
        .arg("--mem=2")
        .arg(guest("flood"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tender starts");
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(SIGPIPE));
}

#[test]
fn standard_descriptors_that_are_closed_are_filled() {
    let script = r#"exec "$0" --mem=2 "$1" <&- >&- 2>&-"#;
    let finished = Finished::of(
        std::process::Command::new("sh").args(["-c", script]).arg(tender().get_program()).arg(guest("hello")),
    );
    finished.assert_exit(0, "");
}

#[test]
fn other_descriptors_are_closed_and_the_process_is_confined() {
    let inherited = File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&inherited, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut child = start_tick(&[]);
    let process = format!("/proc/{}", child.id());
    let mut descriptors: Vec<String> = fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    descriptors.sort();
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!descriptors.contains(&inherited.as_raw_fd().to_string()) || descriptors.len() == 5);
    assert_eq!(descriptors.len(), 5, "standard descriptors, epoll and timer: {descriptors:?}");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t1", "Threads:\t1"] {
        assert!(status.lines().any(|other| other == line), "{line} in {status}");
    }
    // No handler: not even Rust's own for stack overflows.
    assert!(status.lines().any(|line| line == "SigCgt:\t0000000000000000"), "{status}");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn a_sleeping_guest_does_not_wake() {
    let mut child = start_tick(&["--ms=3600000"]);
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned()
    };
    wait_for_state(child.id(), 'S');
    let before = switches();
    // Not a synchronisation: the time during which nothing may happen.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(before, switches());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A tick guest that has printed its first line, or with an argument one that will not soon.
fn start_tick(arguments: &[&str]) -> Child {
    let mut child = tender()
        .arg("--mem=2")
        .arg(guest("tick"))
        .args(if arguments.is_empty() { &["--ms=5"] } else { arguments })
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tender starts");
    if arguments.is_empty() {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap().by_ref()).read_line(&mut line).unwrap();
        assert_eq!(line, "tick 1\n");
    }
    child
}

/// Waits until the guest sleeps in its own wait, which is when the filter is in place.
fn wait_for_state(process: u32, state: char) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let found = status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap();
        if found.starts_with(state) && status.contains("Seccomp:\t2") {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::yield_now();
    }
}
