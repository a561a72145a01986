//! A connection by TCP that text is written to, and from which nothing is expected: to a database for measurements.
//!
//! Nothing in here waits. What is queued is bounded by who queues it: he is told what is written.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use albatross_core::influx::{FromDatabase, ToDatabase};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Octets read with one system call of what the other side sends although nobody asked, which is thrown away.
const SCRATCH: usize = 4096;

/// Reads of that kind in one turn; one that sends more is of no use and closed.
const READS: usize = 16;

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

    /// Does what a machine wants. What has happened by that, where it is known at once; what was queued is gone where the
    /// connection is.
    pub fn carry_out(&mut self, what: ToDatabase, registry: &Registry) -> Option<FromDatabase> {
        match what {
            ToDatabase::Connect => self.connect(registry).err().map(|error| self.closed(&error)),
            ToDatabase::Write(text) => self.write(text.as_bytes()),
            ToDatabase::Close => {
                self.close();
                None
            }
        }
    }

    /// Begins to connect, in place of what is connected. [`Self::ready`] tells how it went.
    fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        self.close();
        let mut stream = TcpStream::connect(self.address)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            // It may not be connected.
            _ = stream.shutdown(Shutdown::Both);
        }
        self.connected = false;
        self.queue = Vec::new();
        self.written = 0;
    }

    /// Queues `text`, and writes what is taken. Nothing happens where nothing is connected.
    fn write(&mut self, text: &[u8]) -> Option<FromDatabase> {
        if !self.connected {
            return None;
        }
        self.queue.extend_from_slice(text);
        self.told()
    }

    /// Something happened to it: what.
    pub fn ready(&mut self) -> Option<FromDatabase> {
        let stream = self.stream.as_mut()?;
        if !self.connected {
            return match made(stream) {
                Ok(false) => None,
                Ok(true) => {
                    self.connected = true;
                    Some(FromDatabase::Connected)
                }
                Err(error) => Some(self.closed(&error)),
            };
        }
        if let Err(error) = drain(stream) {
            return Some(self.closed(&error));
        }
        self.told()
    }

    /// What is written now.
    fn told(&mut self) -> Option<FromDatabase> {
        let written = self.flush().transpose()?;
        Some(written.map_or_else(|error| self.closed(&error), FromDatabase::Written))
    }

    fn closed(&mut self, error: &io::Error) -> FromDatabase {
        self.close();
        FromDatabase::Closed(error.to_string())
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
