//! The connection of a client while a thread has it: reading and writing wait, but not for ever.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use albatross_driver::server::{PATIENCE, STEP};

/// Octets that are read at once: a socket of Linux holds less.
const READ: usize = 256 * 1024;

/// A connection that blocks.
pub(super) struct Link {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// What the client did since the last step, and how long it was waited for.
    progress: usize,
    waited: Duration,
}

impl Link {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), progress: 0, waited: Duration::ZERO }
    }

    pub(super) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// The next octets; none where the client sends no more.
    pub(super) fn receive(&mut self) -> io::Result<&[u8]> {
        if self.buffer.is_empty() {
            self.stream.set_read_timeout(Some(PATIENCE))?;
            self.buffer.resize(READ, 0);
        }
        let start = Instant::now();
        let count = loop {
            match self.stream.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(too_slow()),
                other => break other?,
            }
        };
        self.moved(count, start)?;
        Ok(self.buffer.get(..count).unwrap_or_default())
    }

    /// Sends all of this.
    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut rest = octets;
        if rest.is_empty() {
            return Ok(());
        }
        self.stream.set_write_timeout(Some(PATIENCE))?;
        while !rest.is_empty() {
            let start = Instant::now();
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.moved(count, start)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(too_slow()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The client did something: it may not do too little for too long.
    fn moved(&mut self, count: usize, since: Instant) -> io::Result<()> {
        self.progress += count;
        self.waited += since.elapsed();
        if self.progress >= STEP {
            (self.progress, self.waited) = (0, Duration::ZERO);
        }
        if self.waited > PATIENCE { Err(too_slow()) } else { Ok(()) }
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the client did too little for {} s", PATIENCE.as_secs()))
}
