//! Tenders as processes: started on a fifo, pinned to their cpus, watched by a pidfd.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use albatross_core::vmmd::{Signal, Spawn, TaskFailure};
use albatross_proto::Int;
use albatross_proto::reply::Exit;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sched::CpuSet;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::process::{Pid, PidfdFlags, Signal as RustixSignal, pidfd_open, pidfd_send_signal};

use crate::files::failure;
use crate::sys;

/// The tenders that run.
#[derive(Default)]
pub(crate) struct Processes {
    by_token: HashMap<Token, Process>,
}

struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Processes {
    /// Starts a tender and returns its process id. Its end is readiness of `token`.
    pub(crate) fn spawn(
        &mut self,
        spawn: &Spawn,
        registry: &Registry,
        token: Token,
    ) -> Result<u32, TaskFailure> {
        let cannot = |error: &dyn std::fmt::Display| failure("cannot start", &spawn.tender, error);
        let pid = start(spawn).map_err(|error| cannot(&error))?;
        let watch = || {
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            let pidfd = pidfd_open(id, PidfdFlags::NONBLOCK)?;
            registry.register(&mut SourceFd(&pidfd.as_raw_fd()), token, Interest::READABLE)?;
            Ok::<_, io::Error>(pidfd)
        };
        match watch() {
            Ok(pidfd) => {
                self.by_token.insert(token, Process { pid, pidfd });
                Ok(pid)
            }
            Err(error) => {
                let id = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
                // It is our child and was not waited for, so the id is still its own.
                _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
                _ = nix::sys::wait::waitpid(id, None);
                Err(cannot(&error))
            }
        }
    }

    /// Whether `token` belongs to a tender, and if so how that ended, if it did.
    pub(crate) fn ended(&mut self, token: Token, registry: &Registry) -> Option<Option<(u32, Exit)>> {
        let process = self.by_token.get(&token)?;
        let status = waitid(Id::PIDFd(process.pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        let exit = match status {
            Ok(WaitStatus::Exited(_, code)) => Exit::Exited(Int::from(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signalled(Int::from(signal as i32)),
            _ => return Some(None),
        };
        let process = self.by_token.remove(&token)?;
        // A pidfd of a process that was waited for stays readable.
        _ = registry.deregister(&mut SourceFd(&process.pidfd.as_raw_fd()));
        Some(Some((process.pid, exit)))
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

fn start(spawn: &Spawn) -> io::Result<u32> {
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
        .stderr(fifo)
        .process_group(0);
    sys::prepare_tender(&mut command, cpus);
    // The end is read from the pidfd; a Child that is dropped is not waited for.
    Ok(command.spawn()?.id())
}
