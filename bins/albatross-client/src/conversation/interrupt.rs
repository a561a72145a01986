//! What ends a conversation early: a signal, or another part of this program.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use albatross_driver::signals::{Signal, Signals};
use mio::unix::pipe;

/// What ends a conversation early.
pub(crate) enum Interrupt {
    /// SIGINT and SIGTERM, which are read, so that no file is left behind that is not whole.
    Signals,
    /// Octets in this pipe, which whoever put them there takes out. Signals are somebody else's.
    Pipe(Arc<pipe::Receiver>),
}

/// Why nothing more is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Signal(Signal),
    Pipe,
}

/// What is polled for it.
pub(super) enum Ender {
    Signals(Signals),
    Pipe(Arc<pipe::Receiver>),
}

impl Ender {
    pub(super) fn new(interrupt: Interrupt) -> io::Result<Self> {
        Ok(match interrupt {
            Interrupt::Signals => Self::Signals(Signals::new(&[Signal::SIGINT, Signal::SIGTERM])?),
            Interrupt::Pipe(pipe) => Self::Pipe(pipe),
        })
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Signals(signals) => signals.as_raw_fd(),
            Self::Pipe(pipe) => pipe.as_raw_fd(),
        }
    }

    /// What came. A signal that cannot be read is none.
    pub(super) fn next(&self) -> Option<End> {
        match self {
            Self::Signals(signals) => signals.next().ok().flatten().map(End::Signal),
            Self::Pipe(_) => Some(End::Pipe),
        }
    }
}
