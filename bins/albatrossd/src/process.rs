//! Tenders as processes: started on a fifo, pinned to their cpus, watched by a pidfd, and taken over from a
//! daemon that is gone.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use albatross_core::vmmd::{Fate, Note, Signal, Spawn, TaskFailure};
use albatross_proto::Int;
use albatross_proto::reply::Exit;
use albatross_proto::state::{Process as Identity, Running};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sched::CpuSet;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::process::{Pid, PidfdFlags, Signal as RustixSignal, pidfd_open, pidfd_send_signal};

use crate::files::failure;
use crate::{identity, sys, takeover};

/// The tenders that run.
#[derive(Default)]
pub(crate) struct Processes {
    by_token: HashMap<Token, Process>,
}

struct Process {
    pid: u32,
    pidfd: OwnedFd,
    /// In clock ticks since the machine was started.
    started: Int,
}

/// The id of a tender that ended, and how it did if that is known.
type Ended = (u32, Option<Exit>);

impl Processes {
    /// Starts a tender and returns its process id. It runs when its note is written. Its end is readiness of
    /// `token`.
    pub(crate) fn spawn(
        &mut self,
        spawn: &Spawn,
        registry: &Registry,
        token: Token,
    ) -> Result<u32, TaskFailure> {
        let cannot = |error: &io::Error| failure("cannot start", &spawn.tender, error);
        let mut command = command(spawn).map_err(|error| cannot(&error))?;
        let held = sys::hold_back(&mut command).map_err(|error| cannot(&error))?;
        let mut noted = Ok(None);
        let spawned = thread::scope(|scope| {
            // It returns when the process has come to exec, which waits for this thread.
            let spawning = thread::Builder::new().spawn_scoped(scope, move || command.spawn())?;
            noted = self.note_held(held, &spawn.note, registry, token);
            spawning.join().unwrap_or_else(|_| Err(io::Error::other("starting it panicked")))
        });
        // Why it was not let go says more than that it ended then.
        let failed = match (noted, spawned) {
            (Ok(Some(pid)), Ok(_)) => return Ok(pid),
            (Err(why), Ok(mut child)) => {
                _ = child.kill();
                _ = child.wait();
                why
            }
            (Err(why), Err(_)) => why,
            (Ok(_), Err(error)) => cannot(&error),
            (Ok(None), Ok(_)) => cannot(&io::Error::other("it did not tell its process id")),
        };
        self.forget(token, registry);
        _ = fs::remove_file(&spawn.note.path);
        Err(failed)
    }

    /// Notes the process that waits behind `held`, watches it and lets it go. `None`: there is none, which
    /// whoever starts it can explain.
    fn note_held(
        &mut self,
        mut held: UnixStream,
        note: &Note,
        registry: &Registry,
        token: Token,
    ) -> Result<Option<u32>, TaskFailure> {
        let mut pid = [0; 4];
        if held.read_exact(&mut pid).is_err() {
            return Ok(None);
        }
        let pid = u32::from_ne_bytes(pid);
        let mut watched = || {
            let pidfd = pidfd(pid)?;
            let started = identity::started(pid)?;
            watch(&pidfd, registry, token)?;
            self.by_token.insert(token, Process { pid, pidfd, started });
            Ok::<_, io::Error>(())
        };
        watched().map_err(|error| TaskFailure(format!("cannot watch process {pid}: {error}")))?;
        self.note(pid, note).map_err(|error| failure("cannot write", &note.path, &error))?;
        // One that has ended meanwhile says why when it is waited for.
        _ = held.write_all(&[1]);
        Ok(Some(pid))
    }

    /// Writes the note of a tender, in place of the one before.
    pub(crate) fn note(&self, pid: u32, note: &Note) -> io::Result<()> {
        let Some(process) = self.by_token.values().find(|process| process.pid == pid) else {
            // It has ended, which is on the way.
            return Ok(());
        };
        let process = Identity { pid: Int::from(pid), started: process.started };
        takeover::write_note(&note.path, &Running { process, tender: note.tender.clone() })
    }

    /// A tender that a predecessor noted: its process id, and what has become of it. If it runs, its end is
    /// readiness of `token`.
    pub(crate) fn take_over(
        &mut self,
        noted: &Identity,
        registry: &Registry,
        token: Token,
    ) -> io::Result<(u32, Fate)> {
        let pid = u32::try_from(noted.pid.get()).unwrap_or_default();
        let pidfd = match pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if is_gone(&error) => return Ok((pid, Fate::Ended(None))),
            Err(error) => return Err(error),
        };
        // Looked at after the descriptor was opened, so that both are about one process.
        match identity::started(pid) {
            Ok(started) if started == noted.started => {}
            // Another process has its id.
            Ok(_) => return Ok((pid, Fate::Ended(None))),
            Err(error) if is_gone(&error) => return Ok((pid, Fate::Ended(None))),
            Err(error) => return Err(error),
        }
        identity::wait_if_held(&pidfd, pid);
        if identity::has_ended(&pidfd) {
            return Ok((pid, Fate::Ended(identity::exit_of_stranger(&pidfd, pid))));
        }
        watch(&pidfd, registry, token)?;
        self.by_token.insert(token, Process { pid, pidfd, started: noted.started });
        Ok((pid, Fate::Runs))
    }

    /// Whether `token` belongs to a tender, and if so how that ended, if it did; how is not always known of
    /// one that was taken over.
    pub(crate) fn ended(&mut self, token: Token, registry: &Registry) -> Option<Option<Ended>> {
        let process = self.by_token.get(&token)?;
        let status = waitid(Id::PIDFd(process.pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        let exit = match status {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Exited(Int::from(code))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signalled(Int::from(signal as i32))),
            // It is no child of this process.
            Err(Errno::ECHILD) if identity::has_ended(&process.pidfd) => {
                identity::exit_of_stranger(&process.pidfd, process.pid)
            }
            _ => return Some(None),
        };
        let pid = process.pid;
        self.forget(token, registry);
        Some(Some((pid, exit)))
    }

    fn forget(&mut self, token: Token, registry: &Registry) {
        if let Some(process) = self.by_token.remove(&token) {
            // A pidfd of a process that was waited for stays readable.
            _ = registry.deregister(&mut SourceFd(&process.pidfd.as_raw_fd()));
        }
    }

    /// Sends a signal; one to a process that has just ended is lost, as its end is on the way.
    pub(crate) fn kill(&self, pid: u32, signal: Signal) -> io::Result<()> {
        let Some(process) = self.by_token.values().find(|process| process.pid == pid) else { return Ok(()) };
        let signal = match signal {
            Signal::Terminate => RustixSignal::TERM,
            Signal::Kill => RustixSignal::KILL,
        };
        match pidfd_send_signal(&process.pidfd, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

fn watch(pidfd: &OwnedFd, registry: &Registry, token: Token) -> io::Result<()> {
    registry.register(&mut SourceFd(&pidfd.as_raw_fd()), token, Interest::READABLE)
}

/// Whether a system call about a process failed because there is none.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn command(spawn: &Spawn) -> io::Result<Command> {
    // Open for reading too: a tender whose console daemon is gone waits for it instead of dying of SIGPIPE.
    let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(&spawn.fifo)?;
    let mut cpus = CpuSet::new();
    for cpu in &spawn.cpus {
        cpus.set(*cpu)?;
    }
    let mut command = Command::new(&spawn.tender);
    command
        .args(spawn.arguments.iter().map(|argument| OsStr::from_bytes(argument)))
        .env_clear()
        .current_dir("/")
        .stdin(fifo.try_clone()?)
        .stdout(fifo.try_clone()?)
        .stderr(fifo);
    sys::prepare_tender(&mut command, cpus);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getpgid, getsid};

    use super::*;

    /// Starts a program that makes a file, and does with it what `then` does while it is held back.
    fn hold(then: impl FnOnce(UnixStream, u32)) -> (io::Result<std::process::ExitStatus>, bool) {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("ran");
        let mut command = Command::new("touch");
        command.arg(&marker);
        let mut held = sys::hold_back(&mut command).unwrap();
        let started = thread::scope(|scope| {
            let spawning = scope.spawn(move || command.spawn());
            let mut pid = [0; 4];
            held.read_exact(&mut pid).unwrap();
            assert!(!marker.exists());
            then(held, u32::from_ne_bytes(pid));
            spawning.join().unwrap()
        });
        (started.and_then(|mut child| child.wait()), marker.exists())
    }

    #[test]
    fn a_process_that_is_let_go_runs_in_a_session_of_its_own() {
        let (status, ran) = hold(|mut held, pid| {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            assert_eq!((getsid(Some(pid)), getpgid(Some(pid))), (Ok(pid), Ok(pid)));
            held.write_all(&[1]).unwrap();
        });
        assert!(status.unwrap().success() && ran);
    }

    #[test]
    fn a_process_that_is_not_let_go_ends_without_having_run() {
        // As when the daemon is killed before the note is written.
        let (status, ran) = hold(|held, _| drop(held));
        assert!(status.is_err() && !ran, "{status:?}");
    }
}
