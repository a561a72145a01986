//! Frames to a server and back, on mio.
//!
//! Both directions are served at once: a server that refuses early may answer while an image or the data
//! of a block device is still on its way, and close without reading the rest. So a failed write is no
//! error by itself; it counts only where no reply comes.

mod error;
mod interrupt;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use albatross_driver::connection::{Connection, ConnectionError};
use albatross_driver::logging::Level;
use albatross_proto::EncodeError;
use mio::event::Source;
use mio::unix::{SourceFd, pipe};
use mio::{Events, Interest, Poll, Token};

use crate::progress::Progress;
use error::tls_error;
use interrupt::{End, Ender};

pub(crate) use error::ConversationError;
pub(crate) use interrupt::Interrupt;

/// Octets that are read at once.
const SCRATCH: usize = 64 * 1024;

/// Octets of one chunk of a stream.
pub(crate) const CHUNK: usize = 64 * 1024;

/// While so many octets wait to be written, the next chunk is not queued: memory for a stream stays small.
const ENOUGH_QUEUED: usize = 4 * CHUNK;

/// There is one stream to poll, and what interrupts.
const STREAM: Token = Token(0);
const INTERRUPT: Token = Token(1);
const EVENTS: usize = 8;

/// A stream that does not block.
pub(crate) trait Stream: Read + Write + Source {
    /// Called whenever the stream may be ready, for what it has to write on its own account.
    ///
    /// # Errors
    /// Those of writing.
    fn turn(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Sends no more. What the server sends can still be read.
    ///
    /// # Errors
    /// Those of the stream.
    fn end(&mut self) -> io::Result<()>;
}

impl Stream for Box<dyn Stream> {
    fn turn(&mut self) -> io::Result<()> {
        (**self).turn()
    }

    fn end(&mut self) -> io::Result<()> {
        (**self).end()
    }
}

impl Stream for mio::net::UnixStream {
    fn end(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// How a conversation is held: what is shown of it, and what ends it early.
pub(crate) struct Manner {
    /// How far it is.
    pub(crate) progress: Progress,
    /// What ends it.
    pub(crate) interrupt: Interrupt,
    /// How long the server may be silent; for ever where there is none.
    pub(crate) patience: Option<Duration>,
}

impl Manner {
    /// Shown on the terminal, ended by signals.
    pub(crate) fn shown(level: Level) -> Self {
        Self { progress: Progress::new(level), interrupt: Interrupt::Signals, patience: None }
    }

    /// Not shown, ended by what comes out of a pipe.
    pub(crate) fn unseen(interrupt: Arc<pipe::Receiver>, patience: Option<Duration>) -> Self {
        Self { progress: Progress::new(Level::Quiet), interrupt: Interrupt::Pipe(interrupt), patience }
    }
}

/// One connection to a server.
pub(crate) struct Conversation {
    poll: Poll,
    events: Events,
    connection: Connection<Box<dyn Stream>>,
    frames: VecDeque<Vec<u8>>,
    scratch: Vec<u8>,
    /// Why nothing more is written.
    write_failed: Option<io::Error>,
    /// Why nothing more is read.
    read_failed: Option<ConnectionError>,
    /// `None` only while it is dropped.
    ender: Option<Ender>,
    interrupted: Option<End>,
    patience: Option<Duration>,
    pub(crate) progress: Progress,
}

impl Conversation {
    /// A conversation over a stream that is connected and does not block, with replies of at most `limit`
    /// octets.
    pub(crate) fn new(
        mut stream: Box<dyn Stream>,
        limit: usize,
        manner: Manner,
    ) -> Result<Self, ConversationError> {
        let poll = Poll::new().map_err(ConversationError::Poll)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, STREAM, interest).map_err(ConversationError::Poll)?;
        let ender = Ender::new(manner.interrupt).map_err(ConversationError::Poll)?;
        poll.registry()
            .register(&mut SourceFd(&ender.as_raw_fd()), INTERRUPT, Interest::READABLE)
            .map_err(ConversationError::Poll)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            connection: Connection::new(stream, limit),
            frames: VecDeque::new(),
            scratch: vec![0; SCRATCH],
            write_failed: None,
            read_failed: None,
            ender: Some(ender),
            interrupted: None,
            patience: manner.patience,
            progress: manner.progress,
        })
    }

    /// Sends one frame, as far as the server takes it now.
    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<(), ConversationError> {
        self.connection
            .send(payload)
            .map_err(|_| ConversationError::TooLong(EncodeError::TooLong { length: payload.len() }))?;
        self.exchange();
        Ok(())
    }

    /// Sends `data` as a stream: chunks, and the empty frame at its end. Stops as soon as the server
    /// answers or goes away.
    pub(crate) fn send_stream(&mut self, data: &[u8]) -> Result<(), ConversationError> {
        for chunk in data.chunks(CHUNK) {
            if !self.send_chunk(chunk)? {
                return Ok(());
            }
            self.progress.advance(chunk.len());
        }
        self.end_stream()
    }

    /// Sends the next octets of a stream, [`CHUNK`] at most, when those before are on their way. `false` where
    /// the server has answered or gone away: it wants no more.
    pub(crate) fn send_chunk(&mut self, chunk: &[u8]) -> Result<bool, ConversationError> {
        while self.connection.pending() > ENOUGH_QUEUED && self.is_quiet() {
            self.wait()?;
        }
        if !self.is_quiet() {
            return Ok(false);
        }
        // An empty frame would be the end.
        if !chunk.is_empty() {
            self.send(chunk)?;
        }
        Ok(true)
    }

    /// Ends a stream.
    pub(crate) fn end_stream(&mut self) -> Result<(), ConversationError> {
        self.send(&[])
    }

    /// Ends the connection within a stream, and waits until the server has seen that.
    pub(crate) fn cut_stream(&mut self) {
        // Where something of this fails, the server sees it as well.
        if self.connection.stream_mut().end().is_ok() {
            _ = self.receive();
        }
    }

    /// Waits for the next frame; `None` where the server has closed.
    pub(crate) fn receive(&mut self) -> Result<Option<Vec<u8>>, ConversationError> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(error) = self.read_failed.take() {
                return Err(self.failure(error));
            }
            if self.connection.has_ended() {
                return Ok(None);
            }
            self.wait()?;
        }
    }

    /// Where writing failed first, its error says more than the reset that follows; but nothing says
    /// more than what TLS has to say.
    fn failure(&mut self, error: ConnectionError) -> ConversationError {
        let from_tls = match &error {
            ConnectionError::Io(error) => tls_error(error).is_some(),
            _ => true,
        };
        match self.write_failed.take() {
            Some(write) if !from_tls => ConversationError::NoReply { write: Some(write) },
            _ => ConversationError::Connection(error),
        }
    }

    /// What became of writing, if it failed.
    pub(crate) const fn take_write_error(&mut self) -> Option<io::Error> {
        self.write_failed.take()
    }

    /// Whether nothing speaks against sending on.
    fn is_quiet(&self) -> bool {
        self.frames.is_empty()
            && self.write_failed.is_none()
            && self.read_failed.is_none()
            && !self.connection.has_ended()
    }

    /// Waits until something can be done, and does it.
    fn wait(&mut self) -> Result<(), ConversationError> {
        if !self.connection.can_read() {
            match self.poll.poll(&mut self.events, self.patience) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConversationError::Poll(error)),
                Ok(()) => {
                    if let Some(patience) = self.patience.filter(|_| self.events.is_empty()) {
                        return Err(ConversationError::Silent(patience));
                    }
                    for event in self.events.iter() {
                        match event.token() {
                            STREAM => self.connection.ready(event),
                            _ => self.interrupted = self.next_end().or(self.interrupted),
                        }
                    }
                }
            }
        }
        self.exchange();
        match self.interrupted {
            Some(End::Signal(signal)) => Err(ConversationError::Interrupted(signal)),
            Some(End::Pipe) => Err(ConversationError::Stopped),
            None => Ok(()),
        }
    }

    fn next_end(&self) -> Option<End> {
        self.ender.as_ref().and_then(Ender::next)
    }

    /// Writes and reads what can be, without waiting.
    fn exchange(&mut self) {
        if self.write_failed.is_none() {
            let written =
                self.connection.stream_mut().turn().and_then(|()| self.connection.flush().map(drop));
            self.write_failed = written.err();
        }
        if self.read_failed.is_none() && self.connection.can_read() {
            let mut frames = Vec::new();
            match self.connection.read(&mut self.scratch, &mut frames) {
                Ok(count) => {
                    self.progress.announced(self.connection.announced());
                    self.progress.receive(count);
                }
                Err(error) => self.read_failed = Some(error),
            }
            self.frames.extend(frames);
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if let Some(Ender::Signals(signals)) = self.ender.take() {
            signals.release();
        }
    }
}
