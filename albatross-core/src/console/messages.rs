//! What the machine is told and what it says.

use std::fmt;

use albatross_proto::{DecodeError, Name};

use crate::machine::{ClientId, Level};

/// An open fifo; the machine's number for it, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FifoId(pub u64);

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A client sent a frame.
    Frame(ClientId, &'a [u8]),
    /// A client is gone, or sends no more.
    Closed(ClientId),
    /// So many octets of what was to be sent to a client are written.
    Written(ClientId, usize),
    /// The fifo is open.
    FifoOpened(FifoId),
    /// The fifo is the one that is open for this unikernel already, and its writer is there: it was not
    /// opened again.
    FifoKept(FifoId),
    /// The fifo could not be opened.
    FifoFailed(FifoId, &'a str),
    /// A guest wrote.
    FifoBytes(FifoId, &'a [u8]),
    /// The fifo's last writer is gone, and so is the fifo.
    FifoClosed(FifoId),
    /// The deadline of [`Console::next_deadline`](super::Console::next_deadline) has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to each of the clients: one or more whole frames, headers included.
    Send {
        /// To whom.
        to: Vec<ClientId>,
        /// The frames.
        frames: Vec<u8>,
    },
    /// Close the connection when everything is sent.
    Close(ClientId),
    /// Open the fifo of this unikernel for reading, and say how it went
    /// ([`Input::FifoOpened`], [`Input::FifoKept`], [`Input::FifoFailed`]) before anything else.
    OpenFifo {
        /// What to call it.
        fifo: FifoId,
        /// Whose it is. It has a label.
        name: Name,
        /// The one that is open for that unikernel. What it holds is to be read first; it is closed if its
        /// writer is gone.
        open: Option<FifoId>,
    },
    /// Close the fifo. Nothing is said of it any more.
    CloseFifo(FifoId),
    /// Read the fifo no further for now.
    PauseFifo(FifoId),
    /// Read the fifo again.
    ResumeFifo(FifoId),
    /// Put this into the log.
    Log(Notice),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A frame is no message; the connection is closed.
    Undecodable(ClientId, DecodeError),
    /// A message that no client of the console sends; the connection is closed.
    Unexpected(ClientId),
    /// A command needs a name with a label, or one without.
    WrongName(ClientId, Name),
    /// The console is read from now on.
    Opened(Name),
    /// The fifo could not be opened, and why.
    NotOpened(Name, String),
    /// The unikernel does not run any more.
    Ended(Name),
    /// A console was dropped with its history, to make room at its path.
    ConsoleDropped(Name),
    /// The oldest subscriber went, as there are too many.
    Displaced(ClientId, Name),
    /// A subscriber went that does not read fast enough.
    TooSlow(ClientId, Name),
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Opened(_) | Self::Ended(_) | Self::ConsoleDropped(_) | Self::Displaced(..) => Level::Info,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable(ClientId(client), error) => {
                write!(f, "client {client} sent no message: {error}")
            }
            Self::Unexpected(ClientId(client)) => {
                write!(f, "client {client} sent what no console understands")
            }
            Self::WrongName(ClientId(client), name) => {
                write!(f, "client {client} used {name} for a command that needs a name of the other kind")
            }
            Self::Opened(name) => write!(f, "console of {name} is read"),
            Self::NotOpened(name, why) => write!(f, "fifo of {name} cannot be opened: {why}"),
            Self::Ended(name) => write!(f, "console of {name} ended"),
            Self::ConsoleDropped(name) => {
                write!(f, "console of {name} is dropped, its path may keep no more")
            }
            Self::Displaced(ClientId(client), name) => {
                write!(f, "client {client} is no longer subscribed to {name}: too many are")
            }
            Self::TooSlow(ClientId(client), name) => {
                write!(f, "client {client} is no longer subscribed to {name}: it does not read what is sent")
            }
        }
    }
}
