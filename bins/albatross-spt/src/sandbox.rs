//! What the process gives up before it becomes the guest.

use albatross_spt::errno::Errno;
use albatross_spt::linux::{
    F_GETFD, O_PATH, O_RDWR, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, READ_IMPLIES_EXEC, RLIMIT_CORE,
    RLIMIT_STACK,
};

use crate::error::{TenderError, When as _};
use crate::sys;

/// Standard input, output and error.
const STANDARD_DESCRIPTORS: i32 = 3;

/// Refuses to run where whatever is readable is executable.
pub(crate) fn check_personality() -> Result<(), TenderError<'static>> {
    let persona = sys::personality().when("reading the personality of the process")?;
    if persona & READ_IMPLIES_EXEC != 0 {
        return Err(TenderError::ReadImpliesExec);
    }
    Ok(())
}

/// Finds out early, while there is still somebody to say why, whether the kernel takes filters of system calls.
pub(crate) fn check_filter() -> Result<(), TenderError<'static>> {
    sys::can_filter().when("asking for system call filters")
}

/// Opens /dev/null in place of each standard descriptor that is closed. Otherwise a device could get the number of the
/// console, and console output would go to a disk.
pub(crate) fn fill_standard_descriptors() -> Result<(), TenderError<'static>> {
    for descriptor in 0..STANDARD_DESCRIPTORS {
        if sys::control(descriptor, F_GETFD, 0) == Err(Errno::EBADF) {
            // The lowest free number: the one just found closed.
            sys::open(b"/dev/null", O_RDWR).when("opening /dev/null")?.keep();
        }
    }
    Ok(())
}

/// Closes every descriptor above the standard ones but these.
pub(crate) fn close_others(kept: &[i32]) -> Result<(), TenderError<'static>> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = STANDARD_DESCRIPTORS;
    for descriptor in kept {
        if descriptor > first {
            close_range(first, descriptor - 1)?;
        }
        first = first.max(descriptor.saturating_add(1));
    }
    close_range(first, i32::MAX)
}

/// Turns off core dumps, the growing of what is left of the stack, and the gaining of privileges; and the opening of files,
/// sockets to anywhere, and signals to others, all of which the filter forbids, a second time.
pub(crate) fn confine() -> Result<(), TenderError<'static>> {
    sys::limit_to_zero(RLIMIT_CORE).when("turning off core dumps")?;
    // The limit does not count where the system pipes core dumps to a program. This also keeps processes of the same
    // user from tracing this one.
    sys::set_attribute(PR_SET_DUMPABLE, 0).when("turning off core dumps")?;
    sys::limit_to_zero(RLIMIT_STACK).when("limiting the stack")?;
    // Without this the kernel takes a filter from root only.
    sys::set_attribute(PR_SET_NO_NEW_PRIVS, 1).when("giving up new privileges")?;
    if sees_host() { sys::forbid_all().when("giving up the file system") } else { Ok(()) }
}

/// Whether there is the host's file system to be given up. albatrossd gives a tender a view with nothing in it but what it
/// opens, which costs the start of it less than Landlock does.
fn sees_host() -> bool {
    sys::open(b"/proc", O_PATH).is_ok()
}

fn close_range(first: i32, last: i32) -> Result<(), TenderError<'static>> {
    sys::close_range(first, last).when("closing other descriptors")
}
