//! Tenders as processes: started on a fifo, confined, pinned to their cpus, watched by a pidfd.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use albatross_core::vmmd::{Reach, Signal, Spawn, TaskFailure};
use albatross_proto::Int;
use albatross_proto::reply::Exit;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sched::CpuSet;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Uid, fchownat};
use rustix::process::{Pid, PidfdFlags, Signal as RustixSignal, pidfd_open, pidfd_send_signal};

use crate::confine::{Confinement, Held, Launch, Limits, View, hold};
use crate::files::failure;

/// Octets of address space that a tender may have besides the memory of its guest: its program and
/// libraries, the areas that a virtual machine shares with the kernel, its stack. Those take some 20 MB.
const TENDER_SPACE: u64 = 128 * MB;
/// Octets in a MB of memory.
const MB: u64 = 1024 * 1024;
/// Processes and threads of a tender: no tender makes another.
const TENDER_PROCESSES: u64 = 1;

/// The tenders that run.
#[derive(Default)]
pub(crate) struct Processes {
    by_token: HashMap<Token, Process>,
}

struct Process {
    pid: u32,
    pidfd: OwnedFd,
    /// What belongs to its user.
    blocks: Vec<PathBuf>,
}

impl Processes {
    /// Starts a tender and returns its process id. Its end is readiness of `token`.
    pub(crate) fn spawn(
        &mut self,
        confinement: &Confinement,
        spawn: &Spawn,
        needs: &[PathBuf],
        registry: &Registry,
        token: Token,
    ) -> Result<u32, TaskFailure> {
        let cannot = |error: &dyn std::fmt::Display| failure("cannot start", &spawn.tender, error);
        let blocks = spawn.user.map_or_else(Vec::new, |_| spawn.reach.blocks.clone());
        let started = give_blocks(&blocks, spawn.user).and_then(|()| {
            // It is watched before it is let go: nothing that fails leaves it running.
            with_held(confinement, spawn, needs, |held| {
                let id = held.pid().as_raw();
                let pid = u32::try_from(id).map_err(io::Error::other)?;
                let pidfd =
                    pidfd_open(Pid::from_raw(id).ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::NONBLOCK)?;
                registry.register(&mut SourceFd(&pidfd.as_raw_fd()), token, Interest::READABLE)?;
                if let Err(error) = held.let_go() {
                    registry.deregister(&mut SourceFd(&pidfd.as_raw_fd()))?;
                    return Err(io::Error::other(error));
                }
                Ok((pid, pidfd))
            })
            .map_err(|error| cannot(&error))
        });
        let (pid, pidfd) = started.inspect_err(|_| take_blocks(&blocks))?;
        self.by_token.insert(token, Process { pid, pidfd, blocks });
        Ok(pid)
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
        take_blocks(&process.blocks);
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

/// Makes the process of a tender, and gives it to `note` while it waits.
fn with_held<T>(
    confinement: &Confinement,
    spawn: &Spawn,
    needs: &[PathBuf],
    note: impl FnOnce(Held<'_>) -> io::Result<T>,
) -> io::Result<T> {
    // Open for reading too: a tender whose console daemon is gone waits for it instead of dying of SIGPIPE.
    let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(&spawn.fifo)?;
    let mut cpus = CpuSet::new();
    for cpu in &spawn.cpus {
        cpus.set(*cpu)?;
    }
    let tender = Launch {
        program: &spawn.tender,
        arguments: &spawn.arguments,
        streams: [fifo.as_fd(), fifo.as_fd(), fifo.as_fd()],
        cpus: Some(&cpus),
        own: spawn.user.map(|user| (view(&spawn.tender, needs, &spawn.reach), user)),
        limits: limits(spawn)?,
    };
    note(hold(confinement, &tender).map_err(io::Error::other)?)
}

fn view(tender: &Path, needs: &[PathBuf], reach: &Reach) -> View {
    let readable = needs.iter().map(PathBuf::as_path).chain([tender, &reach.image]);
    let view = readable.fold(View::default(), View::read);
    let view = reach.blocks.iter().fold(view, |view, block| view.write(block));
    view.taps(reach.taps).virtual_machines(reach.virtual_machines)
}

fn limits(spawn: &Spawn) -> io::Result<Limits> {
    let address_space = Some(spawn.reach.memory.saturating_mul(MB).saturating_add(TENDER_SPACE));
    if spawn.user.is_none() {
        // Others of this user count, too, and its files are no concern of ours.
        return Ok(Limits { address_space, ..Limits::default() });
    }
    // Block devices do not grow.
    let mut file_size = 0;
    for block in &spawn.reach.blocks {
        file_size = file_size.max(fs::metadata(block)?.len());
    }
    Ok(Limits { address_space, file_size: Some(file_size), processes: Some(TENDER_PROCESSES) })
}

/// Makes block devices, which nobody else may open, those of a tender's user.
fn give_blocks(blocks: &[PathBuf], user: Option<u32>) -> Result<(), TaskFailure> {
    let Some(user) = user else { return Ok(()) };
    blocks.iter().try_for_each(|block| {
        let given = fchownat(AT_FDCWD, block, Some(Uid::from_raw(user)), None, AtFlags::AT_SYMLINK_NOFOLLOW);
        given.map_err(|error| failure("cannot give its tender the block device", block, &error))
    })
}

/// Makes them those of the daemon again. One that cannot be is that of a user whom nobody is: the next who
/// gets that id does not have it in his view, and whoever gets the device makes it his.
fn take_blocks(blocks: &[PathBuf]) {
    for block in blocks {
        _ = fchownat(AT_FDCWD, block, Some(Uid::effective()), None, AtFlags::AT_SYMLINK_NOFOLLOW);
    }
}
