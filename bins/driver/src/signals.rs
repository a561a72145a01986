//! Signals as readiness: they are blocked and read from a descriptor.
//!
//! Create it before any thread is started. Programs started with [`std::process::Command`] do not
//! inherit the blocked signals: it gives them an empty mask. SIGPIPE is ignored by Rust's start-up code;
//! a lost reader is an error of the write.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::signal::SigSet;
pub use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that this process reads instead of being interrupted.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    mask: SigSet,
}

impl Signals {
    /// Blocks `signals` for this thread and those started later, and reads them.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mask: SigSet = signals.iter().copied().collect();
        mask.thread_block()?;
        let descriptor = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor, mask })
    }

    /// SIGTERM, SIGINT and SIGHUP: what asks a daemon to end, or to reopen its files where it has some.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn termination() -> io::Result<Self> {
        Self::new(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
    }

    /// Lets these signals interrupt this thread again. One that came and was not read does so now.
    pub fn release(self) {
        // Of a mask that is one, nothing can go wrong.
        _ = self.mask.thread_unblock();
    }

    /// The next signal that came, if any. Several of one kind may have become one.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.descriptor.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).unwrap_or(i32::MAX);
        Ok(Some(Signal::try_from(number)?))
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read() {
        let signals = Signals::new(&[Signal::SIGUSR1]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        nix::sys::signal::raise(Signal::SIGUSR1).unwrap();
        assert_eq!(signals.next().unwrap(), Some(Signal::SIGUSR1));
        assert_eq!(signals.next().unwrap(), None);
    }
}
