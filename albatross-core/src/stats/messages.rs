//! What the machine is told and what it says.

use std::fmt;
use std::time::Duration;

use albatross_proto::stats::IfData;
use albatross_proto::{DecodeError, Name, Text};

use super::process::Usage;
use crate::machine::{ClientId, Level};

/// A process that is watched; the machine's number for it, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client sent a frame, or albatrossd did.
    Frame(ClientId, &'a [u8]),
    /// A client or albatrossd is gone, or sends no more.
    Closed(ClientId),
    /// So many octets of what was to be sent to a client are written.
    Written(ClientId, usize),
    /// albatrossd was reached; it counts as a client from now on.
    VmmdConnected(ClientId),
    /// albatrossd was not reached, and why.
    VmmdUnreachable(String),
    /// The process is watched; what it has used so far, and how long the machine is up.
    Watched(WatchId, Box<Usage>, Duration),
    /// The process cannot be watched, and why.
    NotWatched(WatchId, String),
    /// All processes that are watched were read.
    Gathered(Vec<(WatchId, Gathered)>),
    /// The deadline of [`Stats::next_deadline`](super::Stats::next_deadline) has come.
    Tick,
}

/// What was read of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// What it has used; `None` where it is gone.
    pub usage: Option<Usage>,
    /// The counters of its taps, in the order that they were given; `None` for one that is not there. What they say
    /// about `bridge` does not count.
    pub interfaces: Vec<Option<IfData>>,
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
    /// Connect to albatrossd: [`Input::VmmdConnected`] or [`Input::VmmdUnreachable`] answers, before anything else.
    ConnectVmmd,
    /// Watch this process: [`Input::Watched`] or [`Input::NotWatched`] answers, before anything else.
    Watch {
        /// What to call it.
        watch: WatchId,
        /// Its id.
        pid: u32,
        /// Its network interfaces.
        taps: Vec<String>,
    },
    /// Watch the process no more.
    Unwatch(WatchId),
    /// Read all processes that are watched: [`Input::Gathered`] answers, before anything else.
    Gather,
    /// Put this into the log.
    Log(Notice),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A frame is no message; the connection is closed.
    Undecodable(ClientId, DecodeError),
    /// A message that nobody sends here; the connection is closed.
    Unexpected(ClientId),
    /// albatrossd says what runs.
    VmmdReached,
    /// albatrossd cannot be reached, and why.
    VmmdUnreachable(String),
    /// albatrossd does not say what runs.
    VmmdRefused(Text),
    /// The connection to albatrossd is gone.
    VmmdLost,
    /// Nothing is gathered of a unikernel, and why.
    NotAdded(Name, String),
    /// The process of a unikernel is gone, without a word of albatrossd's.
    Gone(Name, u32),
    /// The oldest subscriber of a name went, as there are too many.
    Displaced(ClientId, Name),
    /// A subscriber was not taken, as there are too many.
    TooMany(ClientId),
    /// A subscriber went that does not read.
    TooSlow(ClientId, Name),
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            // Said every second while it is away: it is as it should be when albatrossd is replaced.
            Self::VmmdUnreachable(_) => Level::Debug,
            Self::VmmdReached | Self::Gone(..) | Self::Displaced(..) => Level::Info,
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
                write!(f, "client {client} sent what no statistics daemon understands")
            }
            Self::VmmdReached => f.write_str("albatrossd says what runs"),
            Self::VmmdUnreachable(why) => write!(f, "albatrossd cannot be reached: {why}"),
            Self::VmmdRefused(why) => write!(f, "albatrossd does not say what runs: {why}"),
            Self::VmmdLost => f.write_str("the connection to albatrossd is gone"),
            Self::NotAdded(name, why) => write!(f, "{name} cannot be watched: {why}"),
            Self::Gone(name, pid) => write!(f, "process {pid} of {name} is gone"),
            Self::Displaced(ClientId(client), name) => {
                write!(f, "client {client} is no longer subscribed to {name}: too many are")
            }
            Self::TooMany(ClientId(client)) => write!(f, "client {client} is not subscribed: too many are"),
            Self::TooSlow(ClientId(client), name) => {
                write!(f, "client {client} is no longer subscribed to {name}: it does not read what is sent")
            }
        }
    }
}
