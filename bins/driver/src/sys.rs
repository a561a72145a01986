//! System calls of the whole process, and those that need unsafe code: it stands nowhere else in the
//! programs that use this crate.
#![allow(unsafe_code, reason = "what is left of unsafe code is in memory.rs")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::logging::Logger;

/// The first descriptor that systemd passes on.
const LISTEN_FDS_START: RawFd = 3;

/// Lets this process have as many descriptors as it may. Programs that hold one for each unikernel need
/// more than the usual 1024; where it cannot be, `log` says so.
pub fn raise_descriptor_limit(log: &Logger) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        log.warning(format_args!("the limit of open files stays as it is: {}", io::Error::from(error)));
    }
}

/// Has freed memory go back to the system soon: without it what a burst of work took stays with this process, in
/// a pool for each thread that there ever was. Only the GNU C library needs to be told.
pub fn keep_little_memory() {
    /// Octets: longer pieces are mapped by themselves, and unmapped when they are freed.
    #[cfg(target_env = "gnu")]
    const LONG: libc::c_int = 64 * 1024;
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, LONG), (libc::M_TRIM_THRESHOLD, LONG)]
    {
        // SAFETY: takes numbers only. A parameter that is refused stays as it is.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives memory that is free back to the system, once: what a daemon took to start it does not need again.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Takes descriptor 3 over, which systemd passed to this process. The caller has checked LISTEN_PID and
/// LISTEN_FDS: the descriptor was open when the process started, and nobody else owns it.
///
/// # Errors
/// Fails when it is called a second time, or when descriptor 3 is not open.
pub fn take_inherited_descriptor() -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::other("the descriptor passed by systemd was taken already"));
    }
    // SAFETY: F_SETFD takes no pointer; on a descriptor that is not open it fails.
    if unsafe { libc::fcntl(LISTEN_FDS_START, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (just checked) and was handed to this process by its parent for it to
    // own, as the caller has checked; TAKEN makes sure that it gets one owner only.
    Ok(unsafe { OwnedFd::from_raw_fd(LISTEN_FDS_START) })
}
