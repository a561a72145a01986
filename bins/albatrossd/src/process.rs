//! Tenders as processes: started on a fifo, confined, pinned to their cpus, watched by a pidfd, and taken over
//! from a daemon that is gone.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use albatross_core::vmmd::{Argument, Fate, Note, Opened, Reach, Signal, Spawn, TaskFailure};
use albatross_proto::reply::Exit;
use albatross_proto::state::{Process as Identity, Running};
use albatross_proto::{Int, Name};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sched::CpuSet;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Uid, fchownat};
use rustix::process::{Pid, PidfdFlags, Signal as RustixSignal, pidfd_open, pidfd_send_signal};

use crate::confine::{Confinement, Held, Launch, Limits, Uses, View, hold};
use crate::files::{failure, named};
use crate::{identity, notes, sys, tender};

/// Octets of address space that a tender may have besides the memory of its guest: its program and
/// libraries, the areas that a virtual machine shares with the kernel, its stack. Those take some 20 MB.
const TENDER_SPACE: u64 = 128 * MB;
/// Octets in a MB of memory.
const MB: u64 = 1024 * 1024;
/// Processes and threads of a tender: none makes another,
const TENDER_PROCESSES: u64 = 1;
/// but one for virtual machines makes a thread for network devices, and the kernel makes one or more for the machine,
/// as it sees fit.
const MACHINE_PROCESSES: u64 = 16;
/// Octets of the largest file that a tender writes which has no block device: a reference tender puts its own filter
/// together in a file in memory, and no filter is longer than 4096 instructions of 8 octets.
const TENDER_FILE: u64 = 32 * 1024;

/// The tenders that run.
#[derive(Default)]
pub(crate) struct Processes {
    by_token: HashMap<Token, Process>,
}

struct Process {
    pid: u32,
    /// Of its unikernel.
    name: Name,
    pidfd: OwnedFd,
    /// In clock ticks since the machine was started.
    started: Int,
}

/// A process that was noted, is watched and was let go, until it is known whether it became a tender.
pub(crate) struct Begun {
    held: Held,
    token: Token,
}

/// A tender that ended.
pub(crate) struct Ended {
    /// Its process id.
    pub(crate) pid: u32,
    /// How it did, if that is known.
    pub(crate) exit: Option<Exit>,
    /// Its unikernel.
    pub(crate) name: Name,
}

impl Processes {
    /// Begins to start a tender. It runs when its note is written. Its end is readiness of `token`.
    ///
    /// What comes of it is asked of [`Self::became`], before anything else of this: others may begin meanwhile.
    pub(crate) fn begin(
        &mut self,
        confinement: &Confinement,
        spawn: &Spawn,
        needs: &[PathBuf],
        registry: &Registry,
        token: Token,
    ) -> Result<Begun, TaskFailure> {
        let groups = &confinement.groups;
        let group = spawn.group.as_ref().map_or(Ok(None), |group| groups.make(group));
        let group =
            group.map_err(|error| cannot_start(spawn, &format_args!("making its control group: {error}")))?;
        let begun = give_blocks(&spawn.reach.blocks, spawn.user).and_then(|()| {
            let held = held(confinement, spawn, needs, group.as_ref()).and_then(|held| {
                if !held.is_in_group() {
                    groups.enter(&spawn.note.tender.name, held.pid())?;
                }
                self.let_go(held, &spawn.note, registry, token)
            });
            held.map_err(|error| cannot_start(spawn, &error))
        });
        begun.inspect_err(|_| self.undo(confinement, spawn, registry, token))
    }

    /// Waits until a process that was begun has become the tender; then its process id.
    pub(crate) fn became(
        &mut self,
        Begun { held, token }: Begun,
        confinement: &Confinement,
        spawn: &Spawn,
        registry: &Registry,
    ) -> Result<u32, TaskFailure> {
        held.became()
            .map_err(io::Error::other)
            .and_then(|pid| u32::try_from(pid.as_raw()).map_err(io::Error::other))
            .map_err(|error| cannot_start(spawn, &error))
            .inspect_err(|_| self.undo(confinement, spawn, registry, token))
    }

    /// Takes back what was made for a tender that was not started.
    fn undo(&mut self, confinement: &Confinement, spawn: &Spawn, registry: &Registry, token: Token) {
        if let Some(group) = &spawn.group {
            _ = confinement.groups.remove(&group.name);
        }
        self.forget(token, registry);
        if spawn.user.is_some() {
            // Why it was not started is told, and is why this fails, too.
            _ = take_back_blocks(&spawn.reach.blocks);
        }
        _ = fs::remove_file(&spawn.note.path);
    }

    /// Notes and watches the process that waits, and lets it go.
    fn let_go(
        &mut self,
        mut held: Held,
        note: &Note,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Begun> {
        let pid = u32::try_from(held.pid().as_raw()).map_err(io::Error::other)?;
        let pidfd = pidfd(pid)?;
        let started = identity::started(pid)?;
        watch(&pidfd, registry, token)?;
        let name = note.tender.name.clone();
        self.by_token.insert(token, Process { pid, name, pidfd, started });
        self.note(pid, note).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", note.path.display()))
        })?;
        held.let_go();
        Ok(Begun { held, token })
    }

    /// Writes the note of a tender, in place of the one before.
    pub(crate) fn note(&self, pid: u32, note: &Note) -> io::Result<()> {
        let Some(process) = self.by_token.values().find(|process| process.pid == pid) else {
            // It has ended, which is on the way.
            return Ok(());
        };
        let process = Identity { pid: Int::from(pid), started: process.started };
        notes::write(&note.path, &Running { process, tender: note.tender.clone() })
    }

    /// A tender that a predecessor noted: its process id, and what has become of it. If it runs, its end is
    /// readiness of `token`.
    pub(crate) fn take_over(
        &mut self,
        noted: &Identity,
        name: &Name,
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
        let (name, started) = (name.clone(), noted.started);
        self.by_token.insert(token, Process { pid, name, pidfd, started });
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
        let (pid, name) = (process.pid, process.name.clone());
        self.forget(token, registry);
        Some(Some(Ended { pid, exit, name }))
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

fn cannot_start(spawn: &Spawn, error: &dyn std::fmt::Display) -> TaskFailure {
    failure("cannot start", &spawn.tender, error)
}

/// Makes the process of a tender, which waits.
fn held(
    confinement: &Confinement,
    spawn: &Spawn,
    needs: &[PathBuf],
    group: Option<&OwnedFd>,
) -> io::Result<Held> {
    // Open for reading too: a tender whose console daemon is gone waits for it instead of dying of SIGPIPE.
    let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(&spawn.fifo)?;
    let mut cpus = CpuSet::new();
    for cpu in &spawn.cpus {
        cpus.set(*cpu)?;
    }
    let takes_descriptors = tender::is_ours(&spawn.tender);
    let (arguments, descriptors) = if takes_descriptors {
        hand_over(&spawn.arguments)?
    } else {
        (spawn.arguments.iter().map(Argument::by_name).collect(), Vec::new())
    };
    let view = || {
        let view = view(&spawn.tender, needs, &spawn.reach);
        if takes_descriptors { view } else { show_devices(view, &spawn.reach) }
    };
    let tender = Launch {
        program: &spawn.tender,
        arguments: &arguments,
        streams: [fifo.as_fd(), fifo.as_fd(), fifo.as_fd()],
        descriptors: &descriptors,
        cpus: Some(&cpus),
        own: spawn.user.map(|user| (view(), user)),
        uses: Uses { taps: spawn.reach.taps, virtual_machines: spawn.reach.virtual_machines },
        group: group.map(AsFd::as_fd),
        limits: limits(spawn)?,
    };
    hold(confinement, &tender).map_err(io::Error::other)
}

/// Opens the devices that a tender would open, so that it need not be able to.
fn hand_over(arguments: &[Argument]) -> io::Result<(Vec<Vec<u8>>, Vec<OwnedFd>)> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    for argument in arguments {
        let Argument::Opens { what, .. } = argument else {
            line.push(argument.by_name());
            continue;
        };
        let opened = open(what)?;
        line.push(argument.by_descriptor(opened.as_raw_fd()));
        descriptors.push(opened);
    }
    Ok((line, descriptors))
}

fn open(what: &Opened) -> io::Result<OwnedFd> {
    match what {
        Opened::Block(path) => {
            // Not to wait for the other end, should somebody have put a fifo there.
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
            opened.map(OwnedFd::from).map_err(|error| named(path, &error))
        }
        Opened::Tap(name) => sys::open_tap(name)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot open the tap {name}: {error}"))),
    }
}

/// Itself, what it needs to start, and its image.
fn view(tender: &Path, needs: &[PathBuf], reach: &Reach) -> View {
    let readable = needs.iter().map(PathBuf::as_path).chain([tender, &reach.image]);
    readable.fold(View::default(), View::read)
}

/// Shows the devices that a tender opens by itself.
fn show_devices(view: View, reach: &Reach) -> View {
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
    let mut file_size = TENDER_FILE;
    for block in &spawn.reach.blocks {
        file_size = file_size.max(fs::metadata(block)?.len());
    }
    let processes = if spawn.reach.virtual_machines { MACHINE_PROCESSES } else { TENDER_PROCESSES };
    Ok(Limits { address_space, file_size: Some(file_size), processes: Some(processes) })
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
pub(crate) fn take_back_blocks(blocks: &[PathBuf]) -> Result<(), TaskFailure> {
    let mut taken = Ok(());
    for block in blocks {
        match fchownat(AT_FDCWD, block, Some(Uid::effective()), None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => taken = Err(failure("cannot take back the block device", block, &error)),
        }
    }
    taken
}
