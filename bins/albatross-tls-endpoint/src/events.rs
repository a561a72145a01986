//! The event log: who came in and who left, as [`albatross_core::log::Sender`] tells the log daemon. Nobody waits for
//! it, and where it is not there nothing else changes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use albatross_core::log::{Sender, SenderOutput};
use albatross_core::machine::Now;
use albatross_driver::clock::wall_clock_second;
use albatross_driver::connection::Connection;
use albatross_driver::listener::socket_path;
use albatross_driver::logging::Logger;
use albatross_proto::Name;
use albatross_proto::log::{Event, Session};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

/// The longest frame that the log daemon sends here, in octets: a short text under a name.
const MAX_FRAME: usize = 64 * 1024;
/// Octets that are read at once: the answers to a few hundred events.
const SCRATCH: usize = 8 * 1024;

/// The connection with the log daemon.
pub(crate) struct Events {
    sender: Sender,
    connection: Option<Connection<UnixStream>>,
    socket: PathBuf,
    token: Token,
    /// The beginning of the clock was so long ago.
    now: Duration,
}

impl Events {
    /// Not connected yet; `token` is for its socket.
    pub(crate) fn new(tmpdir: &Path, token: Token) -> Self {
        let socket = socket_path(tmpdir, "log");
        Self { sender: Sender::new(), connection: None, socket, token, now: Duration::ZERO }
    }

    /// Somebody was let in.
    pub(crate) fn login(&mut self, (name, session): (Name, Session)) {
        self.sender.event(self.clock(), name, Event::Login(session));
    }

    /// The same is gone.
    pub(crate) fn logout(&mut self, (name, session): (Name, Session)) {
        self.sender.event(self.clock(), name, Event::Logout(session));
    }

    /// Remembers what mio reports of the socket.
    pub(crate) fn ready(&mut self, event: &mio::event::Event) {
        if let Some(connection) = &mut self.connection {
            connection.ready(event);
        }
    }

    /// When [`Self::turn`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.sender.next_deadline()
    }

    /// Whether what was said last may still be answered. It is, or is given up soon.
    pub(crate) fn is_waiting(&self) -> bool {
        self.sender.is_waiting()
    }

    /// Says what there is to say, and takes in what is answered.
    pub(crate) fn turn(&mut self, now: Duration, registry: &Registry, log: &Logger) {
        self.now = now;
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.sender.tick(self.clock());
        }
        self.read(log);
        // A connection that is made, or lost while it is written to, is a reason for more.
        loop {
            let outputs = self.sender.outputs();
            let nothing = outputs.is_empty();
            outputs.into_iter().for_each(|output| self.carry_out(output, registry, log));
            match self.connection.as_mut().map_or(Ok(0), Connection::flush) {
                Err(error) => self.lost(&error, log),
                Ok(_) if nothing => return,
                Ok(_) => {}
            }
        }
    }

    fn carry_out(&mut self, output: SenderOutput, registry: &Registry, log: &Logger) {
        match output {
            SenderOutput::Connect => match self.connect(registry) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.sender.connected(self.clock());
                }
                Err(error) => self.lost(&error, log),
            },
            SenderOutput::Send(message) => {
                let sent = self.connection.as_mut().map(|connection| connection.send(&message));
                if let Some(Err(error)) = sent {
                    self.lost(&io::Error::other(error), log);
                }
            }
            SenderOutput::Close => self.connection = None,
            SenderOutput::Warn(text) => log.warning(text),
            _ => {}
        }
    }

    fn connect(&self, registry: &Registry) -> io::Result<Connection<UnixStream>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection::new(stream, MAX_FRAME))
    }

    fn read(&mut self, log: &Logger) {
        let now = self.clock();
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.can_read()) else {
            return;
        };
        let mut frames = Vec::new();
        let read = connection.read(&mut [0; SCRATCH], &mut frames);
        let ended = connection.has_ended();
        frames.iter().for_each(|frame| self.sender.frame(now, frame));
        match read {
            Err(error) => self.lost(&io::Error::other(error), log),
            Ok(_) if ended => self.lost(&io::ErrorKind::UnexpectedEof.into(), log),
            Ok(_) => {}
        }
    }

    fn lost(&mut self, error: &io::Error, log: &Logger) {
        log.debug(format_args!("log daemon at {}: {error}", self.socket.display()));
        // Dropping its socket takes it out of epoll.
        self.connection = None;
        self.sender.closed(self.clock());
    }

    fn clock(&self) -> Now {
        Now { monotonic: self.now, wall: wall_clock_second() }
    }
}

/// The octets that these hexadecimal digits stand for.
pub(crate) fn octets(digits: &str) -> Vec<u8> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = digits.as_bytes().iter().filter_map(digit).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_octets() {
        assert_eq!(octets("00ff1a"), [0, 0xff, 0x1a]);
        assert_eq!(octets(""), []);
    }
}
