//! What runs, read from /proc.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::{Failure, eventually};

/// The processes with `text` somewhere in their command line, except this one.
#[must_use]
pub fn mentioning(text: &str) -> Vec<(i32, String)> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let described = pids.filter(|pid| *pid != own).map(|pid| (pid, command_line(pid)));
    described.filter(|(_, line)| line.contains(text)).collect()
}

/// The command line of a process, its words apart by spaces; nothing for one that is gone or a zombie.
#[must_use]
pub fn command_line(pid: i32) -> String {
    let octets = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&octets).trim_end_matches('\0').replace('\0', " ")
}

/// Sends a signal to one process; that it is gone is no error.
pub fn signal(pid: i32, signal: Signal) {
    _ = kill(Pid::from_raw(pid), signal);
}

/// Stops a process until SIGCONT, and waits until it stands: until then other signals reach it.
///
/// # Errors
/// Where it does not.
pub fn stop(pid: i32) -> Result<(), Failure> {
    signal(pid, Signal::SIGSTOP);
    eventually("that a process is stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") T ").then_some(())
    })
}

/// A number from `/proc/PID/status`, for example `VmRSS` (KiB) or `voluntary_ctxt_switches`.
#[must_use]
pub fn status(pid: i32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The time for which the first thread of a process was on a processor; none for one that is gone.
#[must_use]
pub fn processor_time(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0))
}

/// Octets that a process gave to write calls.
#[must_use]
pub fn written(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

/// Panics unless a process has a filter of system calls, no capability, and no way to new privileges.
///
/// # Panics
/// Where it has not.
#[track_caller]
pub fn assert_confined(pid: i32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut wanted = vec!["Seccomp:\t2".to_owned(), "NoNewPrivs:\t1".to_owned()];
    // What may be regained with other programs is root's to give up.
    let bounding = geteuid().is_root().then_some("CapBnd");
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"].into_iter().chain(bounding);
    wanted.extend(sets.map(|set| format!("{set}:\t{:016x}", 0)));
    for line in wanted {
        assert!(status.lines().any(|it| it == line), "{line}: {status}");
    }
}

/// How often the threads of a process went to sleep of their own will: it grows when it wakes up and waits
/// again, and stands still while it is idle.
#[must_use]
pub fn wake_ups(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let threads = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    threads.filter_map(|thread| status(thread, "voluntary_ctxt_switches")).sum()
}

/// The number of open descriptors of a process.
#[must_use]
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The names in a directory, sorted; none where there is no such directory.
#[must_use]
pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
