//! The stream of one connection: ciphertext on one side, octets on the other.

use std::io::{self, Read, Write};

use super::{
    Shown, TlsError,
    engine::{Engine, Places},
};
use crate::queue::Queue;

/// Octets that are read from one connection in one turn, so that one busy client does not keep the others
/// waiting. What is made of so many stays in the cache of a cpu, and is below what the allocator asks the system
/// for each time.
pub const READ_PER_TURN: usize = 64 * 1024;

/// Octets that are encrypted at a time: four full records. What is given to TLS and not written is no more.
const BATCH: usize = 64 * 1024;

/// A stream of which one direction can be closed.
pub trait EndWriting {
    /// The end follows what is written next, which may wait for it, to be sent together.
    fn end_follows(&mut self) {}

    /// Tells the peer that nothing more comes; it can still send.
    ///
    /// # Errors
    /// Those of the system call.
    fn end_writing(&mut self) -> io::Result<()>;
}

/// One connection.
#[derive(Debug)]
pub struct Stream<S> {
    stream: S,
    tls: Engine,
    /// Not yet encrypted.
    queue: Queue,
    /// Octets of the queue that are encrypted and not all written.
    encrypted: usize,
    readable: bool,
    /// The end of what the client sends may be there, which is said once: what is read has to be read up to it.
    hung_up: bool,
    writable: bool,
    ended: bool,
    closing: Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Open,
    /// close_notify follows what is queued.
    Asked,
    /// It waits to be written.
    Notified,
    /// All is written, nothing follows.
    Done,
}

impl<S> Stream<S> {
    pub(super) fn new(stream: S, tls: Engine) -> Self {
        Self {
            stream,
            tls,
            queue: Queue::default(),
            encrypted: 0,
            readable: true,
            hung_up: false,
            writable: true,
            ended: false,
            closing: Closing::Open,
        }
    }

    /// The stream, for registering it.
    pub const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Remembers that the stream may have something to read, or may take something; whether it may have nothing more
    /// than it has.
    pub const fn ready(&mut self, readable: bool, writable: bool, hung_up: bool) {
        self.readable |= readable || hung_up;
        self.hung_up |= hung_up;
        self.writable |= writable;
    }

    /// Whether the stream took less than there was for it. It is asked again when it is said to take more.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        !self.writable
    }

    /// Whether the handshake is not done.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What the client showed. Once, and only when the handshake is done, so that it holds the key.
    pub fn take_shown(&mut self) -> Option<Shown> {
        self.tls.take_shown()
    }

    /// Whether reading may give something.
    #[must_use]
    pub fn can_read(&self) -> bool {
        match self.tls.places() {
            Places::Awaited => false,
            Places::Free => !self.ended,
            Places::None | Places::Taken => self.readable && !self.ended,
        }
    }

    /// What the connection has to do with the places for large chains.
    #[must_use]
    pub fn places(&self) -> Places {
        self.tls.places()
    }

    /// Whether something waits to be written and the stream may take it.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.writable && (self.has_output() || self.closing == Closing::Asked)
    }

    /// Whether the client sends no more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether everything is written, nothing more will be, and the client sends no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::Done && self.ended
    }

    /// Adds octets to what is to be written.
    pub fn send(&mut self, octets: Vec<u8>) {
        self.queue.push(octets);
    }

    /// When everything is written, tells the client that nothing more comes.
    pub fn close(&mut self) {
        if self.closing == Closing::Open {
            self.closing = Closing::Asked;
        }
    }

    fn has_output(&self) -> bool {
        self.tls.wants_write() || !self.queue.is_empty()
    }
}

impl<S: Read> Stream<S> {
    /// Reads at most about [`READ_PER_TURN`] octets (before the handshake is done: once) by way of `scratch`,
    /// appends what they say to `plain`, and returns their number.
    ///
    /// # Errors
    /// [`TlsError`]: nothing more can be read. What came before is in `plain`. It is said once; what the
    /// client sends afterwards is forgotten.
    pub fn read(&mut self, scratch: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, TlsError> {
        let mut total = 0;
        // A stranger is read in small steps, so that its limit can be kept.
        let limit = if self.is_handshaking() { 1 } else { READ_PER_TURN };
        if !self.tls.resume(plain)? {
            return Ok(0);
        }
        while self.can_read() && total < limit {
            let most = scratch.len().min(self.tls.read_at_once());
            match self.stream.read(scratch.get_mut(..most).unwrap_or_default()) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    total += count;
                    // That was all there is. What comes later is said.
                    self.readable = count == most || self.hung_up;
                    let result = self.tls.receive(scratch.get(..count).unwrap_or_default(), plain);
                    self.ended |= self.tls.has_ended();
                    result?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TlsError::Io(error)),
            }
        }
        Ok(total)
    }
}

impl<S: Write + EndWriting> Stream<S> {
    /// Writes what waits, as far as the stream takes it, and returns how many octets that were given to
    /// [`Self::send`] are all written by now.
    ///
    /// # Errors
    /// Those of the stream: the client is gone.
    pub fn flush(&mut self) -> io::Result<usize> {
        let mut taken = 0;
        while self.writable {
            if self.tls.wants_write() {
                match self.tls.write_to(&mut self.stream) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            taken += std::mem::take(&mut self.encrypted);
            if !self.encrypt_next()? {
                break;
            }
        }
        Ok(taken)
    }

    /// False where nothing is left to do.
    fn encrypt_next(&mut self) -> io::Result<bool> {
        if !self.queue.is_empty() && !self.tls.is_handshaking() {
            while !self.queue.is_empty() && self.encrypted < BATCH {
                let front = self.queue.front();
                let front = front.get(..BATCH - self.encrypted).unwrap_or(front);
                let count = self.tls.send(front)?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.queue.advance(count);
                self.encrypted += count;
            }
            if self.queue.is_empty() && self.closing == Closing::Asked {
                // In one packet with what it follows.
                self.notify();
            }
            return Ok(true);
        }
        match self.closing {
            Closing::Open | Closing::Done => return Ok(false),
            Closing::Asked => self.notify(),
            Closing::Notified => {
                self.closing = Closing::Done;
                // Where the client has gone already there is nobody to tell.
                _ = self.stream.end_writing();
            }
        }
        Ok(true)
    }

    fn notify(&mut self) {
        self.closing = Closing::Notified;
        self.tls.send_close_notify();
        self.stream.end_follows();
    }
}
