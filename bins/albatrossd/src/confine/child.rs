//! What the process of a tender does between fork and exec: one function for each step, in the order of
//! [`become_tender`].
//!
//! Other threads of the daemon may have held locks at the fork, so nothing here allocates, locks or
//! prints: every step is system calls on what was made ready before. A step that fails is told to the
//! parent as [`Failed`], and the process ends.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::process::{Resource, Rlimit, chdir, pivot_root, setrlimit, setsid, umask};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use seccompiler::BpfProgram;

use super::view::{Access, Entry, Plan};
use super::{filter, privilege};

/// Descriptors that a tender may have: 64 devices are the most that an image can have, and it opens the
/// image, an epoll, a timer and three for a virtual machine besides.
const MAX_DESCRIPTORS: u64 = 128;
/// The file system of a view holds directories and empty files to be covered, no content.
const VIEW_OPTIONS: &CStr = c"mode=0755,size=64k,nr_inodes=512";

/// Steps of the way to a tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Signals,
    Streams,
    Session,
    Cpus,
    Namespaces,
    Propagation,
    Stage,
    Entry,
    Root,
    Bounding,
    SecureBits,
    Groups,
    GroupId,
    UserId,
    Capabilities,
    NoNewPrivileges,
    Limits,
    Descriptors,
    Filter,
    Mask,
    Go,
    Program,
}

impl Step {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 22] = [
        Self::Signals,
        Self::Streams,
        Self::Session,
        Self::Cpus,
        Self::Namespaces,
        Self::Propagation,
        Self::Stage,
        Self::Entry,
        Self::Root,
        Self::Bounding,
        Self::SecureBits,
        Self::Groups,
        Self::GroupId,
        Self::UserId,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Limits,
        Self::Descriptors,
        Self::Filter,
        Self::Mask,
        Self::Go,
        Self::Program,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What the step does.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Signals => "setting signals to their defaults",
            Self::Streams => "making the console its input and output",
            Self::Session => "making a session of its own",
            Self::Cpus => "pinning it to its cpus",
            Self::Namespaces => "making namespaces of its own",
            Self::Propagation => "separating its mounts from those of the host",
            Self::Stage => "laying an empty file system over its stage",
            Self::Entry => "putting into its view",
            Self::Root => "making its view the root",
            Self::Bounding => "emptying the bounding set of capabilities",
            Self::SecureBits => "locking the secure bits",
            Self::Groups => "leaving all groups",
            Self::GroupId => "changing the group id",
            Self::UserId => "changing the user id",
            Self::Capabilities => "giving up all capabilities",
            Self::NoNewPrivileges => "giving up new privileges",
            Self::Limits => "limiting its resources",
            Self::Descriptors => "closing all other descriptors",
            Self::Filter => "installing its system call filter",
            Self::Mask => "unblocking signals",
            Self::Go => "waiting for the daemon",
            Self::Program => "running the program",
        }
    }
}

/// A step that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) step: Step,
    /// Which entry of the view, for [`Step::Entry`].
    pub(super) entry: u8,
    pub(super) errno: i32,
}

impl Failed {
    /// Octets of what the parent is told.
    pub(super) const LENGTH: usize = 6;

    pub(super) fn encode(&self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        [self.step as u8, self.entry, a, b, c, d]
    }

    pub(super) fn decode([step, entry, a, b, c, d]: [u8; Self::LENGTH]) -> Option<Self> {
        Some(Self { step: Step::from_number(step)?, entry, errno: i32::from_ne_bytes([a, b, c, d]) })
    }
}

/// Says at which step something failed.
trait At<T> {
    fn at(self, step: Step) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failed> {
        self.map_err(|error| Failed {
            step,
            entry: 0,
            // An error of a system call holds its number and no memory.
            errno: error.into().raw_os_error().unwrap_or(libc::EINVAL),
        })
    }
}

/// What a tender may use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Octets of address space.
    pub(crate) address_space: Option<u64>,
    /// Octets of the largest file that it writes.
    pub(crate) file_size: Option<u64>,
    /// Processes and threads of its user.
    pub(crate) processes: Option<u64>,
}

/// All that the child needs, made ready before the fork.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    pub(super) program: CString,
    /// Pointers to the arguments, ending with a null pointer.
    pub(super) pointers: Vec<*const libc::c_char>,
    /// What they point to.
    pub(super) _arguments: Vec<CString>,
    /// Standard input, output and error. None is one of the standard descriptors itself: those are open from
    /// the start of any Rust program on.
    pub(super) streams: [BorrowedFd<'a>; 3],
    /// What the program is handed over besides, none of it a standard descriptor either.
    pub(super) descriptors: &'a [OwnedFd],
    pub(super) cpus: Option<&'a CpuSet>,
    /// The view, the user and the filters of system calls; `None`: those of the daemon.
    pub(super) own: Option<Own>,
    pub(super) limits: Limits,
}

/// What a tender has of its own.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) view: Plan,
    pub(super) user: u32,
    pub(super) filters: Vec<BpfProgram>,
}

/// Everything from the fork to the tender. Returns only if that fails.
pub(super) fn become_tender(ready: &Ready<'_>, go: &OwnedFd) -> Failed {
    match prepare(ready).and_then(|()| wait(go)) {
        Ok(()) => run(ready),
        Err(failed) => failed,
    }
}

fn prepare(ready: &Ready<'_>) -> Result<(), Failed> {
    // No file that is made on the way is to be less than its mode says; the tender's own are its own.
    umask(Mode::empty());
    default_signals()?;
    streams(&ready.streams)?;
    // No signal to the daemon's group or terminal reaches it.
    setsid().at(Step::Session)?;
    if let Some(cpus) = ready.cpus {
        sched_setaffinity(Pid::from_raw(0), cpus).at(Step::Cpus)?;
    }
    if let Some(own) = &ready.own {
        own_view(&own.view)?;
        own_user(own.user)?;
    }
    chdir(c"/").at(Step::Root)?;
    umask(Mode::RWXG | Mode::RWXO);
    set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    // After the change of the user: the user may run more processes than this where two daemons on one host
    // have one range, and the change must not count them.
    limits(ready.limits)?;
    close_others(ready.descriptors)?;
    if let Some(own) = &ready.own {
        // Last: it forbids some of the above.
        own.filters.iter().try_for_each(filter::install).at(Step::Filter)?;
    }
    // The daemon reads its signals from a descriptor and has them blocked; a tender must end by them.
    SigSet::empty().thread_set_mask().at(Step::Mask)
}

/// Waits until the daemon has noted this process. Where the daemon ends before, so does this.
fn wait(go: &OwnedFd) -> Result<(), Failed> {
    match nix::unistd::read(go, &mut [0]).at(Step::Go)? {
        0 => Err(Failed { step: Step::Go, entry: 0, errno: libc::ECANCELED }),
        _ => Ok(()),
    }
}

/// What the daemon ignores would stay ignored.
fn default_signals() -> Result<(), Failed> {
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of this process.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }
            .at(Step::Signals)?;
    }
    Ok(())
}

fn streams(streams: &[BorrowedFd<'_>; 3]) -> Result<(), Failed> {
    for (number, stream) in (0..).zip(streams) {
        // SAFETY: takes no pointers. The standard descriptors of this process, which is about to become another
        // program, belong to nobody who still runs in it.
        Errno::result(unsafe { libc::dup2(stream.as_raw_fd(), number) }).at(Step::Streams)?;
    }
    Ok(())
}

/// Its own mounts, message queues, shared memory, and name of the host. The network is the host's, as that is
/// where the taps are; process ids too, as the first process of its own numbers ignores SIGTERM.
fn own_view(plan: &Plan) -> Result<(), Failed> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .at(Step::Namespaces)?;
    // Else what is mounted below would show on the host.
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::Propagation)?;
    let mut flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    flags.set(MountFlags::NODEV, !plan.has_devices);
    mount(c"view", plan.stage.as_c_str(), c"tmpfs", flags, VIEW_OPTIONS).at(Step::Stage)?;
    for (index, entry) in (0..=u8::MAX).zip(&plan.entries) {
        put(entry).map_err(|failed| Failed { entry: index, ..failed })?;
    }
    // The stage becomes the root, with the old root laid over it, which is then taken away with all below it.
    chdir(plan.stage.as_c_str()).at(Step::Root)?;
    pivot_root(c".", c".").at(Step::Root)?;
    unmount(c".", UnmountFlags::DETACH).at(Step::Root)?;
    mount_remount(c"/", MountFlags::BIND | MountFlags::RDONLY | flags, c"").at(Step::Root)
}

fn put(entry: &Entry) -> Result<(), Failed> {
    match entry {
        Entry::Directory { place } => {
            mkdirat(CWD, place.as_c_str(), Mode::from_raw_mode(0o755)).at(Step::Entry)
        }
        Entry::File { source, place, access } => {
            let (place, file) = (place.as_c_str(), Mode::from_raw_mode(0o400));
            mknodat(CWD, place, FileType::RegularFile, file, 0).at(Step::Entry)?;
            mount_bind(source.as_c_str(), place).at(Step::Entry)?;
            let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
            flags |= match access {
                // The tender and its libraries are among these, so they may be executed.
                Access::Read => MountFlags::RDONLY,
                Access::Write => MountFlags::NOEXEC,
            };
            mount_remount(place, flags, c"").at(Step::Entry)
        }
        // For all: nobody else sees it. What may be done with a tap is asked of its owner.
        Entry::Device { place, number } => {
            let mode = Mode::from_raw_mode(0o666);
            mknodat(CWD, place.as_c_str(), FileType::CharacterDevice, mode, *number).at(Step::Entry)
        }
    }
}

/// A user that nobody else is, who is in no group and has no capability, now or later.
fn own_user(user: u32) -> Result<(), Failed> {
    // While there is still the capability to do so.
    privilege::empty_bounding_set(CapabilitySet::empty()).at(Step::Bounding)?;
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).at(Step::SecureBits)?;
    set_thread_groups(&[]).at(Step::Groups)?;
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_res_gid(gid, gid, gid).at(Step::GroupId)?;
    set_thread_res_uid(uid, uid, uid).at(Step::UserId)?;
    clear_ambient_capability_set().at(Step::Capabilities)?;
    // The change of the user did so, unless the secure bits of whoever started the daemon say otherwise.
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .at(Step::Capabilities)
}

fn limits(limits: Limits) -> Result<(), Failed> {
    let all = [
        // What a core holds is the guest's.
        (Resource::Core, Some(0)),
        (Resource::Nofile, Some(MAX_DESCRIPTORS)),
        (Resource::Memlock, Some(0)),
        (Resource::Msgqueue, Some(0)),
        (Resource::As, limits.address_space),
        (Resource::Fsize, limits.file_size),
        (Resource::Nproc, limits.processes),
    ];
    for (resource, most) in all {
        if most.is_some() {
            setrlimit(resource, Rlimit { current: most, maximum: most }).at(Step::Limits)?;
        }
    }
    Ok(())
}

/// All but the standard ones and what is handed over are closed by exec, also those that this daemon inherited. Not
/// earlier: a failure has to be reported.
fn close_others(handed: &[OwnedFd]) -> Result<(), Failed> {
    let (first, last): (libc::c_uint, libc::c_uint) = (3, libc::c_uint::MAX);
    // SAFETY: takes no pointers; marking descriptors takes none away from whoever owns it here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).at(Step::Descriptors)?;
    handed.iter().try_for_each(|descriptor| {
        nix::fcntl::fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).at(Step::Descriptors)
    })
}

/// Becomes the program, without an environment.
fn run(ready: &Ready<'_>) -> Failed {
    let environment = [std::ptr::null()];
    // SAFETY: the program and every argument are C strings, both lists end with a null pointer, and all of it
    // outlives the call, which returns only if it failed.
    unsafe { libc::execve(ready.program.as_ptr(), ready.pointers.as_ptr(), environment.as_ptr()) };
    Failed { step: Step::Program, entry: 0, errno: Errno::last_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_told_as_itself() {
        for (number, step) in (0..).zip(Step::ALL) {
            assert_eq!(step as u8, number);
            let failed = Failed { step, entry: 7, errno: -5 };
            assert_eq!(Failed::decode(failed.encode()), Some(failed));
        }
        assert_eq!(Failed::decode([99, 0, 0, 0, 0, 0]), None);
    }
}
