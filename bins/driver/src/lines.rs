//! A connection by TCP that text is written to, and from which nothing is expected: to a database for measurements.
//!
//! Nothing in here waits. What is queued is bounded by who queues it: he is told what is written.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Octets read with one system call of what the other side sends although nobody asked, which is thrown away.
const SCRATCH: usize = 4096;

/// Reads of that kind in one turn; one that sends more is of no use and closed.
const READS: usize = 16;

/// What happened on the connection.
#[derive(Debug)]
pub enum Progress {
    /// The connection is made.
    Connected,
    /// So many octets are written.
    Written(usize),
    /// The connection is gone, or was not made, and why. What was queued is gone, too.
    Closed(io::Error),
}

/// A connection to one address, made again and again.
#[derive(Debug)]
pub struct Lines {
    address: SocketAddr,
    token: Token,
    stream: Option<TcpStream>,
    connected: bool,
    queue: Vec<u8>,
    /// Octets of `queue` that are written.
    written: usize,
}

impl Lines {
    /// To `address`; its events have this token. Nothing is connected yet.
    #[must_use]
    pub const fn new(address: SocketAddr, token: Token) -> Self {
        Self { address, token, stream: None, connected: false, queue: Vec::new(), written: 0 }
    }

    /// Whether an event with this token is for this connection.
    #[must_use]
    pub fn is(&self, token: Token) -> bool {
        self.token == token
    }

    /// Begins to connect, in place of what is connected. [`Self::ready`] tells how it went.
    ///
    /// # Errors
    /// Where it fails at once.
    pub fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        self.close();
        let mut stream = TcpStream::connect(self.address)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Closes it; what was queued is gone.
    pub fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            // It may not be connected.
            _ = stream.shutdown(Shutdown::Both);
        }
        self.connected = false;
        self.queue = Vec::new();
        self.written = 0;
    }

    /// Queues `text`, and writes what is taken. Nothing happens where nothing is connected.
    pub fn write(&mut self, text: &[u8]) -> Option<Progress> {
        if !self.connected {
            return None;
        }
        self.queue.extend_from_slice(text);
        self.flush().transpose().map(|result| self.told(result))
    }

    /// Something happened to it: what.
    pub fn ready(&mut self) -> Option<Progress> {
        let stream = self.stream.as_mut()?;
        if !self.connected {
            return match made(stream) {
                Ok(false) => None,
                Ok(true) => {
                    self.connected = true;
                    Some(Progress::Connected)
                }
                Err(error) => Some(self.closed(error)),
            };
        }
        if let Err(error) = drain(stream) {
            return Some(self.closed(error));
        }
        self.flush().transpose().map(|result| self.told(result))
    }

    fn told(&mut self, result: io::Result<usize>) -> Progress {
        result.map_or_else(|error| self.closed(error), Progress::Written)
    }

    fn closed(&mut self, error: io::Error) -> Progress {
        self.close();
        Progress::Closed(error)
    }

    /// Writes what is taken; `None` where that is nothing.
    fn flush(&mut self) -> io::Result<Option<usize>> {
        let before = self.written;
        let Some(stream) = &mut self.stream else { return Ok(None) };
        while self.written < self.queue.len() {
            match stream.write(self.queue.get(self.written..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let count = self.written - before;
        if self.written == self.queue.len() {
            self.queue = Vec::new();
            self.written = 0;
        }
        Ok(Some(count).filter(|count| *count > 0))
    }
}

/// Whether the connection is made.
fn made(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Throws away what the other side sends.
fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; SCRATCH];
    for _ in 0..READS {
        match stream.read(&mut scratch) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the other side")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("it sends without end, and is to receive"))
}
