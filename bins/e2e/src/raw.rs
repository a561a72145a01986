//! Octets on a socket, for what no client sends.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use albatross_proto::frame::{HEADER_LENGTH, frame};
use albatross_proto::{Command, Header, Name, Payload, Wire};

use crate::Failure;
use crate::run::PATIENCE;

/// A message as a frame.
///
/// # Errors
/// Where it cannot be encoded.
pub fn message(name: &str, sequence: i64, payload: Payload<'_>) -> io::Result<Vec<u8>> {
    let name: Name = name.parse().map_err(io::Error::other)?;
    let wire = Wire::new(Header::new(sequence, name), payload);
    Ok(frame(&wire.encode().map_err(io::Error::other)?))
}

/// The next frame; `None` where there is no more.
///
/// # Errors
/// Those of reading; a frame that is cut short.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_LENGTH];
    if from.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..])?;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(header)).map_err(io::Error::other)?];
    from.read_exact(&mut payload)?;
    Ok(Some(payload))
}

/// A connection on which any octets may be sent.
#[derive(Debug)]
pub struct Raw<S> {
    stream: S,
}

impl Raw<UnixStream> {
    /// Connects to the socket of a daemon.
    ///
    /// # Errors
    /// Where nobody answers there.
    pub fn unix(path: &Path) -> Result<Self, Failure> {
        let connected = UnixStream::connect(path).and_then(Self::impatient);
        connected.map_err(|error| Failure::io("connect to", path, error))
    }

    /// Accepts who connects to a socket of the test's.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn accept(listener: &UnixListener) -> io::Result<Self> {
        Self::impatient(listener.accept()?.0)
    }

    fn impatient(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }
}

impl Raw<TcpStream> {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Where nobody answers there.
    pub fn tcp(port: u16) -> Result<Self, Failure> {
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Self { stream })
        };
        connect().map_err(|error| Failure::io("connect to", Path::new("127.0.0.1"), error))
    }
}

impl<S: Read + Write> Raw<S> {
    /// Speaks over this stream.
    pub const fn over(stream: S) -> Self {
        Self { stream }
    }

    /// The stream itself.
    pub const fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// Where the other side does not take them.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)?;
        self.stream.flush()
    }

    /// Sends a command as a frame.
    ///
    /// # Errors
    /// Where it cannot be encoded or the other side does not take it.
    pub fn command(&mut self, name: &str, command: Command<'_>) -> io::Result<()> {
        self.message(name, 0, Payload::Command(command))
    }

    /// Sends a message with this sequence number as a frame.
    ///
    /// # Errors
    /// Where it cannot be encoded or the other side does not take it.
    pub fn message(&mut self, name: &str, sequence: i64, payload: Payload<'_>) -> io::Result<()> {
        self.send(&message(name, sequence, payload)?)
    }

    /// The next frame; `None` where the other side has closed.
    ///
    /// # Errors
    /// Where nothing comes in time or a frame is cut short.
    pub fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        read_frame(&mut self.stream)
    }

    /// Reads until the other side closes, and returns what it sent. A reset is a close too: it closed
    /// without reading what we sent.
    ///
    /// # Errors
    /// Where it does not close in time.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        match self.stream.read_to_end(&mut all) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(all),
        }
    }
}
