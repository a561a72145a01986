//! Which process it is, and how one ended that is no child: from /proc and the pidfd.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use albatross_proto::Int;
use albatross_proto::reply::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use crate::files::named;
use crate::sys;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// How long a process that ended may wait for its parent, the init process, in milliseconds. That takes
/// microseconds; where nobody waits for processes, nothing else is done for as long at the end of each.
const REAP_PATIENCE: u8 = 50;

/// How long a process whose daemon was killed before letting it run may take to end, in milliseconds: it does
/// nothing else.
const HELD_PATIENCE: u16 = 1000;

/// The flag of a process that has not come to exec (the kernel's PF_FORKNOEXEC).
const NOT_EXECUTED: i64 = 0x40;

/// Fields of `/proc/PID/stat`, counted from the state behind the program's name: proc(5) begins at 3 there.
const FLAGS: usize = 9 - 3;
const START_TIME: usize = 22 - 3;
const EXIT_CODE: usize = 52 - 3;

/// The random id that the kernel gave itself when the machine was started.
pub(crate) fn boot() -> io::Result<String> {
    let id = fs::read_to_string(BOOT).map_err(|error| named(Path::new(BOOT), &error))?;
    Ok(id.trim().to_owned())
}

/// When a process was started, in clock ticks since the machine was.
pub(crate) fn started(pid: u32) -> io::Result<Int> {
    let path = stat(pid);
    let text = fs::read_to_string(&path).map_err(|error| named(&path, &error))?;
    field(&text, START_TIME)
        .and_then(|ticks| Int::new(ticks).ok())
        .ok_or_else(|| io::Error::other(format!("{}: not of the form that Linux writes", path.display())))
}

/// Waits for the end of a process that was started by a daemon that is gone and has not come to exec.
pub(crate) fn wait_if_held(pidfd: &OwnedFd, pid: u32) {
    let flags = fs::read_to_string(stat(pid)).ok().and_then(|text| field(&text, FLAGS));
    if flags.is_some_and(|flags| flags & NOT_EXECUTED != 0) {
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        _ = poll(&mut ended, PollTimeout::from(HELD_PATIENCE));
    }
}

/// Whether all threads of a process have ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// How a process ended that is no child of this one, if that can be known: from its pidfd once its parent has
/// waited for it (Linux 6.15), from /proc before.
pub(crate) fn exit_of_stranger(pidfd: &OwnedFd, pid: u32) -> Option<Exit> {
    let from_pidfd = || sys::exit_status(pidfd.as_fd());
    let status = match from_pidfd() {
        Ok(Some(status)) => Some(status),
        Ok(None) => from_proc(pid).or_else(|| {
            // The hang-up is always reported.
            let mut reaped = [PollFd::new(pidfd.as_fd(), PollFlags::empty())];
            _ = poll(&mut reaped, PollTimeout::from(REAP_PATIENCE));
            from_pidfd().ok().flatten()
        }),
        Err(_) => from_proc(pid),
    };
    status.map(exit)
}

/// The exit status in `/proc/PID/stat` of a process that its parent has not waited for. Linux shows 0 to those
/// who may not see it, so that it counts only where the process was of the same user, or may be traced.
fn from_proc(pid: u32) -> Option<i32> {
    let path = stat(pid);
    // Of the directory: the file itself is root's once the process has no memory any more.
    let owner = fs::metadata(path.parent()?).ok()?.uid();
    let text = fs::read_to_string(&path).ok()?;
    let traces = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE));
    if !(traces || owner == geteuid().as_raw()) || !text.rsplit_once(')')?.1.starts_with(" Z") {
        return None;
    }
    i32::try_from(field(&text, EXIT_CODE)?).ok()
}

/// A status as waitpid tells it: the low seven bits are the signal, or the code stands above them.
fn exit(status: i32) -> Exit {
    match status & 0x7f {
        0 => Exit::Exited(Int::from((status >> 8) & 0xff)),
        signal => Exit::Signalled(Int::from(signal)),
    }
}

fn stat(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("stat")
}

/// A field of `/proc/PID/stat`. The program's name stands in parentheses and may contain any.
fn field(stat: &str, index: usize) -> Option<i64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn child(script: &str) -> (Child, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        (child, pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    fn wait_for_end(pidfd: &OwnedFd) {
        let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ready, PollTimeout::NONE), Ok(1));
    }

    #[test]
    fn the_status_is_known_before_and_after_the_process_was_waited_for() {
        for (script, expected) in [
            ("exit 0", Exit::Exited(Int::ZERO)),
            ("exit 7", Exit::Exited(Int::from(7))),
            ("kill -TERM $$", Exit::Signalled(Int::from(15))),
        ] {
            let (mut child, pidfd) = child(script);
            wait_for_end(&pidfd);
            assert!(has_ended(&pidfd));
            assert_eq!(exit_of_stranger(&pidfd, child.id()), Some(expected), "{script}");
            child.wait().unwrap();
            if sys::exit_status(&pidfd).is_ok() {
                assert_eq!(exit_of_stranger(&pidfd, child.id()), Some(expected), "{script}");
            } else {
                println!("skipped: the kernel is older than 6.15");
            }
        }
    }

    #[test]
    fn one_that_runs_has_not_ended_and_keeps_its_start_time() {
        let (mut child, pidfd) = child("read line");
        assert!(!has_ended(&pidfd));
        let before = started(child.id()).unwrap();
        assert!(before > Int::ZERO && before == started(child.id()).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(started(child.id()).is_err());
    }

    #[test]
    fn a_process_that_has_come_to_exec_is_not_waited_for() {
        let (mut child, pidfd) = child("read line");
        let before = std::time::Instant::now();
        wait_if_held(&pidfd, child.id());
        assert!(!has_ended(&pidfd) && before.elapsed().as_millis() < HELD_PATIENCE.into());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        let text = "12 (a) S 1 (b) R 1 2 3 4";
        assert_eq!((field(text, 1), field(text, 4), field(text, 5)), (Some(1), Some(4), None));
        assert_eq!(field("", 1), None);
        assert!(boot().is_ok_and(|id| id.len() == 36));
    }
}
