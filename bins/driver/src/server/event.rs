//! What happens to a daemon, as [`Server::poll`](super::Server::poll) says it.

use std::fmt;
use std::io;

use albatross_core::machine::ClientId;
use mio::Token;

use super::PATIENCE;
use crate::connection::ConnectionError;
use crate::logging::Logger;
use crate::signals::Signal;

/// A connection. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub usize);

impl From<ConnectionId> for ClientId {
    fn from(ConnectionId(id): ConnectionId) -> Self {
        Self(id)
    }
}

impl From<ClientId> for ConnectionId {
    fn from(ClientId(id): ClientId) -> Self {
        Self(id)
    }
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client connected.
    Connected(ConnectionId),
    /// A frame came, of any length up to the limit, zero included.
    Frame(ConnectionId, Vec<u8>),
    /// The next octets of a frame that is longer than is given as a whole, see [`Server::split_above`](super::Server::split_above).
    Part(ConnectionId, Part),
    /// The peer sends no more, and may still wait for a reply. Close the connection unless one will come.
    Ended(ConnectionId),
    /// The connection is gone. Not reported for one that was given to [`Server::close`](super::Server::close).
    Closed(ConnectionId, CloseReason),
    /// This many octets of what was queued are written.
    Written(ConnectionId, usize),
    /// A signal came.
    Signal(Signal),
    /// A source that was registered with [`Server::registry`](super::Server::registry) is ready.
    Source(SourceEvent),
    /// Clients cannot be accepted for now; it is tried again.
    AcceptFailed(io::Error),
}

impl Event {
    /// Says in the log what is worth it: who comes, who goes and why, that nobody can be accepted, which signal ends the
    /// daemon.
    pub fn log(&self, log: &Logger) {
        match self {
            Self::Connected(id) => log.debug(format_args!("client {} connected", id.0)),
            Self::Closed(id, reason @ CloseReason::Peer) => {
                log.debug(format_args!("client {}: {reason}", id.0))
            }
            Self::Closed(id, reason) => log.warning(format_args!("client {}: {reason}", id.0)),
            Self::Signal(Signal::SIGHUP) => {}
            Self::Signal(signal) => log.info(format_args!("ends on {signal}")),
            Self::AcceptFailed(error) => log.error(format_args!("no client can be accepted: {error}")),
            Self::Frame(..) | Self::Part(..) | Self::Ended(_) | Self::Written(..) | Self::Source(_) => {}
        }
    }
}

/// A part of a long frame.
#[derive(Debug)]
pub struct Part {
    /// Of how many octets the frame is.
    pub length: usize,
    /// The octets, at least one.
    pub octets: Vec<u8>,
    /// These are its last.
    pub last: bool,
}

/// What is ready about a source of the caller's own. Edge-triggered: read until it would block, or remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceEvent {
    /// The token it was registered with.
    pub token: Token,
    /// Reading may give something.
    pub readable: bool,
    /// Writing may be possible.
    pub writable: bool,
    /// The other side is closed (EPOLLHUP, EPOLLRDHUP).
    pub closed: bool,
}

/// Why a connection is gone.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// The peer broke the rules of frames, or the stream failed.
    Failed(ConnectionError),
    /// The peer sent nothing, or too slowly.
    Silent,
    /// Another client needed the room, and this one had not sent anything yet.
    Crowded,
    /// The peer does not read what is sent.
    Full,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer => f.write_str("closed by the peer"),
            Self::Failed(error) => error.fmt(f),
            Self::Silent => write!(f, "closed, as the peer was silent for {} s", PATIENCE.as_secs()),
            Self::Crowded => f.write_str("closed, as there are too many clients and this one was silent"),
            Self::Full => f.write_str("closed, as the peer does not read"),
        }
    }
}
