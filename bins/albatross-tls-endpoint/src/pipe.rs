//! The connection to a daemon: octets in both directions, without a thought about what they say.

use std::io::{self, Read};
use std::path::Path;

use albatross_tls::queue::Queue;
use mio::net::UnixStream;

/// Octets that are read in one turn, as many as from a client.
const READ_PER_TURN: usize = albatross_tls::server::READ_PER_TURN;

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: UnixStream,
    queue: Queue,
    readable: bool,
    /// As of a client's stream.
    hung_up: bool,
    writable: bool,
    ended: bool,
}

impl Pipe {
    /// Connects. `WouldBlock` says that too many wait already.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        // It says nothing before it is asked.
        let (readable, hung_up) = (false, false);
        Ok(Self { stream, queue: Queue::default(), readable, hung_up, writable: true, ended: false })
    }

    /// The stream, for registering it.
    pub(crate) const fn stream_mut(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Remembers what mio reports.
    pub(crate) fn ready(&mut self, event: &mio::event::Event) {
        self.hung_up |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.hung_up;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Whether reading may give something.
    pub(crate) const fn can_read(&self) -> bool {
        self.readable && !self.ended
    }

    /// Whether something waits to be written and may be taken.
    pub(crate) const fn can_write(&self) -> bool {
        self.writable && !self.queue.is_empty()
    }

    /// Whether the daemon took less than there was for it. It is asked again when it is said to take more.
    pub(crate) const fn is_stuck(&self) -> bool {
        !self.writable
    }

    /// Whether the daemon sends no more.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Adds octets to what is to be written.
    pub(crate) fn send(&mut self, octets: Vec<u8>) {
        self.queue.push(octets);
    }

    /// Reads a bounded amount and appends it to `data`. A failure is an end.
    pub(crate) fn read(&mut self, scratch: &mut [u8], data: &mut Vec<u8>) {
        while self.can_read() && data.len() < READ_PER_TURN {
            match self.stream.read(scratch) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    data.extend_from_slice(scratch.get(..count).unwrap_or_default());
                    // That was all there is. What comes later is said.
                    self.readable = count == scratch.len() || self.hung_up;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
    }

    /// Writes what waits, as far as it is taken, and returns the number of octets. A daemon that does not
    /// read any more may still have answered, so a failure here is not an end: what waits is forgotten.
    pub(crate) fn flush(&mut self) -> usize {
        let mut total = 0;
        while self.can_write() {
            match self.queue.write_to(&mut self.stream) {
                Ok(count) => total += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => total += self.queue.clear(),
            }
        }
        total
    }
}
