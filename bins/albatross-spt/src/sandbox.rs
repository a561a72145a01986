//! What the process gives up before it becomes the guest.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::personality::{self, Persona};
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{BpfProgram, apply_filter};

use crate::error::{TenderError, When as _};

/// Standard input, output and error.
const STANDARD_DESCRIPTORS: RawFd = 3;

/// Refuses to run where whatever is readable is executable.
pub(crate) fn check_personality() -> Result<(), TenderError> {
    let persona = personality::get().when("reading the personality of the process")?;
    if persona.contains(Persona::READ_IMPLIES_EXEC) {
        return Err(TenderError::ReadImpliesExec);
    }
    Ok(())
}

/// Opens /dev/null in place of each standard descriptor that is closed. Otherwise a device could get the number of the
/// console, and console output would go to a disk.
pub(crate) fn fill_standard_descriptors() -> Result<(), TenderError> {
    for descriptor in 0..STANDARD_DESCRIPTORS {
        // SAFETY: the descriptor is borrowed for the question only whether it is open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        if fcntl(borrowed, FcntlArg::F_GETFD) == Err(Errno::EBADF) {
            let null = File::options().read(true).write(true).open("/dev/null").when("opening /dev/null")?;
            // The lowest free number: the one just found closed. It stays open.
            let _ = null.into_raw_fd();
        }
    }
    Ok(())
}

/// Closes every descriptor above the standard ones but these.
pub(crate) fn close_others(kept: &[RawFd]) -> Result<(), TenderError> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = STANDARD_DESCRIPTORS;
    for descriptor in kept {
        if descriptor > first {
            close_range(first, descriptor - 1)?;
        }
        first = first.max(descriptor.saturating_add(1));
    }
    close_range(first, RawFd::MAX)
}

/// Turns off core dumps and the gaining of privileges, and lets only the filter's system calls through from now on.
pub(crate) fn confine(program: &BpfProgram) -> Result<(), TenderError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).when("turning off core dumps")?;
    // Sets no_new_privs first, without which the kernel takes a filter from root only.
    apply_filter(program).when("installing the system call filter")
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), TenderError> {
    // SAFETY: the descriptors belong to files the tender is done with, or were inherited and belong to nobody here.
    let result = unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()).when("closing other descriptors") }
}
