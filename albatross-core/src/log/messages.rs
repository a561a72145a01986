//! What the machine is told and what it says.

use std::fmt;

use albatross_proto::{DecodeError, Name};

use crate::eventlog::{End, LINK};
use crate::machine::{ClientId, Level};

/// A file of the log that is open; the machine's number for it, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A client sent a frame.
    Frame(ClientId, &'a [u8]),
    /// A client is gone, or sends no more and gets no answer.
    Closed(ClientId),
    /// So many octets of what was to be sent to a client are written.
    Written(ClientId, usize),
    /// The answer to [`Output::Append`]: it is durable, or nothing of it is in the file, and why.
    Appended(Result<(), &'a str>),
    /// The answer to [`Output::Read`]: what is there, or why it is not known.
    Read(ClientId, Result<&'a [u8], &'a str>),
    /// The file may have been replaced (SIGHUP).
    Reopen,
    /// The answer to [`Output::Reopen`]; where it failed the file before goes on.
    Opened(Result<Opened, &'a str>),
    /// All that happened until now was told. To be said whenever [`EventLog::is_busy`](super::EventLog::is_busy).
    Turn,
    /// The deadline of [`EventLog::next_deadline`](super::EventLog::next_deadline) has come.
    Tick,
}

/// What was found where the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The same file as before.
    Same,
    /// Another, which was empty and has been begun.
    New {
        /// Where its beginning ends.
        end: u64,
    },
    /// Another, with records in it, of which the chain holds.
    Found(End),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these frames to the client, headers included.
    Send(ClientId, Vec<u8>),
    /// Close the connection when everything is sent.
    Close(ClientId),
    /// Write this at the end of the file, which is at `position`, make it durable, and say [`Input::Appended`].
    /// Where that fails, nothing of it may be left before anything else is written.
    Append {
        /// Where the file has to end.
        position: u64,
        /// What to write.
        octets: Vec<u8>,
    },
    /// Read this from a file that is open, and say [`Input::Read`].
    Read {
        /// For whom.
        client: ClientId,
        /// Which file.
        file: FileId,
        /// Where.
        position: u64,
        /// How many octets, all of which are there.
        length: usize,
    },
    /// Look whether another file is where the log is, open it as `file`, and say [`Input::Opened`]. An empty one
    /// begins with `begin`. The file before stays open.
    Reopen {
        /// What to call it.
        file: FileId,
        /// What a new file begins with, to be made durable.
        begin: Vec<u8>,
    },
    /// Close a file that is not written any more.
    CloseFile(FileId),
    /// Put this into the daemon's own log.
    Log(Notice),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A frame is no message; the connection is closed.
    Undecodable(ClientId, DecodeError),
    /// A message that no client of the log sends; the connection is closed.
    Unexpected(ClientId),
    /// Events cannot be written, and why. Said once, until they can.
    NotWritten(String),
    /// Events are written again.
    WritesAgain,
    /// What a subscriber was to get cannot be read, and why.
    NotRead(ClientId, String),
    /// A subscriber went that does not read.
    TooSlow(ClientId, Name),
    /// The oldest subscriber went, as there are too many.
    Displaced(ClientId, Name),
    /// The file was replaced by a new one; this is the last link of the one before.
    Rotated([u8; LINK]),
    /// The file was replaced by one that has records; this is its last link.
    OtherFile([u8; LINK]),
    /// The file was not replaced.
    SameFile,
    /// The file that is there now cannot be used, and why.
    NotReopened(String),
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::NotWritten(_) | Self::NotReopened(_) => Level::Error,
            Self::Displaced(..) | Self::Rotated(_) | Self::SameFile => Level::Info,
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
                write!(f, "client {client} sent what no event log understands")
            }
            Self::NotWritten(why) => write!(f, "events are not written: {why}"),
            Self::WritesAgain => f.write_str("events are written again"),
            Self::NotRead(ClientId(client), why) => {
                write!(f, "client {client} is no longer subscribed: the file cannot be read: {why}")
            }
            Self::TooSlow(ClientId(client), name) => {
                write!(f, "client {client} is no longer subscribed to {name}: it does not read what is sent")
            }
            Self::Displaced(ClientId(client), name) => {
                write!(f, "client {client} is no longer subscribed to {name}: too many are")
            }
            Self::Rotated(link) => {
                write!(f, "a new file was begun; the one before ends with link {}", Hex(link))
            }
            Self::OtherFile(link) => write!(
                f,
                "the file was replaced by another one, which is gone on with after link {}; it does not go on \
                 from the one before",
                Hex(link)
            ),
            Self::SameFile => f.write_str("the file was not replaced"),
            Self::NotReopened(why) => {
                write!(f, "the file that is there now cannot be used, the one before goes on: {why}")
            }
        }
    }
}

/// A link in hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8; LINK]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
