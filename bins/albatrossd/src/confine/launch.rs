//! Starts a program as [`super::child`] describes.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CpuSet;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use seccompiler::BackendError;

use super::Confinement;
use super::child::{Failed, Limits, Own, Ready, Step, become_tender};
use super::filter::{self, Uses};
use super::view::{Plan, View, ViewError};

/// What is to be started.
pub(crate) struct Launch<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// Its arguments without its name.
    pub(crate) arguments: &'a [Vec<u8>],
    /// Standard input, output and error.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    /// What else stays open, under the numbers it has here.
    pub(crate) descriptors: &'a [OwnedFd],
    /// The cpus that it is pinned to.
    pub(crate) cpus: Option<&'a CpuSet>,
    /// What it sees, and the user and group id that it runs under; `None`: it is not confined but by limits.
    pub(crate) own: Option<(View, u32)>,
    /// What it does that not every one does.
    pub(crate) uses: Uses,
    /// The control group that it starts in; `None`: that of this daemon.
    pub(crate) group: Option<BorrowedFd<'a>>,
    /// What it may use.
    pub(crate) limits: Limits,
}

/// Why a program was not started.
#[derive(Debug)]
pub(crate) enum LaunchError {
    /// What it is to see cannot be shown.
    View(ViewError),
    /// The filter of its system calls cannot be made.
    Filter(BackendError),
    /// An argument has a zero octet in it.
    Argument,
    /// There is no process, or no pipe to it.
    Fork(io::Error),
    /// The process came as far as this step; for an entry of the view, which one.
    Step(&'static str, Option<String>, io::Error),
}

/// A process that is made ready and waits. It is ended when this is dropped, and ends itself when this process
/// does.
#[derive(Debug)]
pub(crate) struct Held {
    pid: Pid,
    report: File,
    go: File,
    view: Option<Plan>,
    in_group: bool,
    waited_for: bool,
}

/// Starts it, and returns its process id when it has become the program.
pub(crate) fn launch(confinement: &Confinement, launch: &Launch<'_>) -> Result<Pid, LaunchError> {
    let mut held = hold(confinement, launch)?;
    held.let_go();
    held.became()
}

/// Makes a process that does everything up to the program, and waits there.
pub(crate) fn hold(confinement: &Confinement, launch: &Launch<'_>) -> Result<Held, LaunchError> {
    let ready = make_ready(confinement, launch)?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|error| LaunchError::Fork(error.into()));
    let ((report, reporter), (waiter, go)) = (pipe()?, pipe()?);
    // SAFETY: the child makes system calls only, on what was made ready here, and never returns.
    let into = launch.group.and_then(|group| unsafe { fork_into(group) }.ok());
    let in_group = into.is_some();
    let forked = match into {
        Some(forked) => forked,
        // SAFETY: as above.
        None => unsafe { fork() }.map_err(|error| LaunchError::Fork(error.into()))?,
    };
    match forked {
        ForkResult::Child => {
            // Else it would keep its own end from being seen closed.
            drop(go);
            report_and_end(&become_tender(&ready, &waiter), reporter)
        }
        ForkResult::Parent { child: pid } => {
            let view = ready.own.map(|own| own.view);
            Ok(Held { pid, report: report.into(), go: go.into(), view, in_group, waited_for: false })
        }
    }
}

/// Forks a child that is in this control group from the start. To move it there costs some 10 ms, as all processors
/// have to take note of it; here none has.
///
/// # Errors
/// Also where the kernel is older than 5.7, or a filter of system calls that this process was given refuses it.
///
/// # Safety
/// As of [`fork`], and what the C library does at a fork is not done: the child must make system calls only.
unsafe fn fork_into(group: BorrowedFd<'_>) -> Result<ForkResult, Errno> {
    /// The kernel's CLONE_INTO_CGROUP.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all of its fields are numbers, for which 0 means "not asked for".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    // SAFETY: the kernel reads the arguments, of their own length. The child gets a copy of all memory, as by fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match i32::try_from(Errno::result(pid)?) {
        Ok(0) => Ok(ForkResult::Child),
        Ok(pid) => Ok(ForkResult::Parent { child: Pid::from_raw(pid) }),
        Err(_) => Err(Errno::EOVERFLOW),
    }
}

fn make_ready<'a>(confinement: &'a Confinement, launch: &Launch<'a>) -> Result<Ready<'a>, LaunchError> {
    let c_string = |octets: &[u8]| CString::new(octets).map_err(|_| LaunchError::Argument);
    let program = c_string(launch.program.as_os_str().as_bytes())?;
    let mut arguments = vec![program.clone()];
    for argument in launch.arguments {
        arguments.push(c_string(argument)?);
    }
    let own = match &launch.own {
        None => None,
        Some((view, user)) => {
            let view = view.plan(&confinement.stage).map_err(LaunchError::View)?;
            let filters = filter::tender(launch.uses).map_err(LaunchError::Filter)?;
            Some(Own { view, user: *user, filters })
        }
    };
    let pointers = arguments.iter().map(|argument| argument.as_ptr()).chain([std::ptr::null()]).collect();
    let Launch { streams, descriptors, cpus, limits, .. } = *launch;
    Ok(Ready { program, pointers, _arguments: arguments, streams, descriptors, cpus, own, limits })
}

impl Held {
    /// Its process id.
    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it started in the control group that was asked for: else it has to be moved there.
    pub(crate) const fn is_in_group(&self) -> bool {
        self.in_group
    }

    /// Lets it become the program, which [`Self::became`] waits for.
    pub(crate) fn let_go(&mut self) {
        // One that has failed before does not hear it, and has said why.
        _ = self.go.write_all(&[1]);
    }

    /// Waits until it has become the program; returns its process id.
    pub(crate) fn became(mut self) -> Result<Pid, LaunchError> {
        let mut report = [0; Failed::LENGTH];
        let mut length = 0;
        while let Some(rest) = report.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.report.read(rest) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LaunchError::Fork(error)),
            }
        }
        if length == 0 {
            // Closed by exec. Also where it was killed before: then its end is seen as that of a tender.
            self.waited_for = true;
            return Ok(self.pid);
        }
        let failed = (length == report.len()).then(|| Failed::decode(report)).flatten();
        let failed = failed.ok_or_else(|| LaunchError::Fork(io::ErrorKind::InvalidData.into()))?;
        let source = io::Error::from_raw_os_error(failed.errno);
        Err(LaunchError::Step(failed.step.text(), entry(&failed, self.view.as_ref()), source))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.waited_for {
            // It is our child and was not waited for, so the id is still its own.
            _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
            _ = waitpid(self.pid, None);
        }
    }
}

/// In the child: tells the parent what failed.
fn report_and_end(failed: &Failed, writer: OwnedFd) -> ! {
    // Nobody is left to tell that this fails, too; the parent sees the end.
    _ = File::from(writer).write_all(&failed.encode());
    // SAFETY: ends the process without running any code that belongs to the parent.
    unsafe { libc::_exit(127) }
}

/// What was to be put into the view.
fn entry(failed: &Failed, view: Option<&Plan>) -> Option<String> {
    let plan = view.filter(|_| failed.step == Step::Entry)?;
    let place = plan.entries.get(usize::from(failed.entry))?.place().to_string_lossy().into_owned();
    Some(place.strip_prefix(&*plan.stage.to_string_lossy()).map_or_else(|| place.clone(), str::to_owned))
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(error) => error.fmt(f),
            Self::Filter(error) => write!(f, "making its system call filter: {error}"),
            Self::Argument => f.write_str("an argument has a zero octet in it"),
            Self::Fork(error) => write!(f, "making a process: {error}"),
            Self::Step(step, Some(what), error) => write!(f, "{step} {what}: {error}"),
            Self::Step(step, None, error) => write!(f, "{step}: {error}"),
        }
    }
}

impl std::error::Error for LaunchError {}
