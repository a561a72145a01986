//! Frames of a connection, read as fast as can be: many with each system call.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use albatross_proto::frame::HEADER_LENGTH;
use albatross_proto::{Command, Payload, Success, Wire};

use crate::raw::message;
use crate::run::PATIENCE;

/// Octets that are read at once: more than a socket usually holds.
const BUFFER: usize = 256 * 1024;

/// The longest frame: far more than what is read here has.
const LONGEST: usize = 1024 * 1024;

/// A connection whose frames are read one after the other.
#[derive(Debug)]
pub struct Frames {
    stream: BufReader<UnixStream>,
    frame: Vec<u8>,
}

impl Frames {
    /// Connects to the socket of a daemon.
    ///
    /// # Errors
    /// Where nobody answers there.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(BUFFER, stream), frame: Vec::new() })
    }

    /// Connects, and sends a command that is answered by a success without anything in it, or a text.
    ///
    /// # Errors
    /// Where it is not.
    pub fn subscribe(socket: &Path, name: &str, command: Command<'_>) -> io::Result<Self> {
        let mut frames = Self::connect(socket)?;
        frames.command(name, command)?;
        match Wire::decode(frames.read()?).map_err(io::Error::other)?.payload {
            Payload::Success(Success::Text(_) | Success::Empty) => Ok(frames),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// Where it cannot be encoded or the other side does not take it.
    pub fn command(&mut self, name: &str, command: Command<'_>) -> io::Result<()> {
        self.stream.get_mut().write_all(&message(name, 0, Payload::Command(command))?)
    }

    /// The next frame.
    ///
    /// # Errors
    /// Where nothing comes in time, or the other side has closed.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let mut header = [0; HEADER_LENGTH];
        self.stream.read_exact(&mut header)?;
        let length = usize::try_from(u32::from_be_bytes(header)).map_err(io::Error::other)?;
        if length > LONGEST {
            return Err(io::Error::other(format!("a frame of {length} octets")));
        }
        self.frame.resize(length, 0);
        self.stream.read_exact(&mut self.frame)?;
        Ok(&self.frame)
    }
}
