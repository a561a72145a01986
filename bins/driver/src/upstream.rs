//! The connection to another daemon, of which there is one or none.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::listener::socket_path;
use crate::server::{ConnectionId, Event, Server};

/// The longest frame that is read of albatross-stats, in octets: what is told of one unikernel. With 64 network devices
/// it has some 15 000 of them; a FreeBSD peer's has counters of its virtual machine besides, a hundred or two.
const LONGEST_STATISTICS: usize = 256 * 1024;

/// A daemon that is connected to, and the connection while there is one.
#[derive(Debug)]
pub struct Upstream {
    socket: PathBuf,
    longest: usize,
    connection: Option<ConnectionId>,
}

/// What it says.
#[derive(Debug)]
pub enum Heard {
    /// A message, without its frame.
    Frame(Vec<u8>),
    /// The connection is gone, and why.
    Lost(String),
}

impl Upstream {
    /// The daemon that listens at `socket`, of which no frame is read that has more than `longest` octets.
    #[must_use]
    pub const fn new(socket: PathBuf, longest: usize) -> Self {
        Self { socket, longest, connection: None }
    }

    /// albatross-stats, of which somebody wants to know what is gathered.
    #[must_use]
    pub fn statistics(tmpdir: &Path) -> Self {
        Self::new(socket_path(tmpdir, "stat"), LONGEST_STATISTICS)
    }

    /// Connects.
    ///
    /// # Errors
    /// A text that names the socket.
    pub fn connect(&mut self, server: &mut Server) -> Result<(), String> {
        let added = connect(&self.socket).and_then(|stream| server.add(stream, self.longest));
        self.connection = Some(added.map_err(|error| format!("{}: {error}", self.socket.display()))?);
        Ok(())
    }

    /// Sends a message, if it is connected.
    pub fn send(&self, server: &mut Server, message: &[u8]) {
        if let Some(id) = self.connection {
            server.send(id, message);
        }
    }

    /// Ends the connection, if there is one.
    pub fn close(&mut self, server: &mut Server) {
        if let Some(id) = self.connection.take() {
            server.abort(id);
        }
    }

    /// What an event means that is about this connection.
    ///
    /// # Errors
    /// The event, where it is about something else.
    pub fn event(&mut self, server: &mut Server, event: Event) -> Result<Heard, Event> {
        let lost = match event {
            Event::Frame(id, payload) if self.connection == Some(id) => return Ok(Heard::Frame(payload)),
            Event::Ended(id) if self.connection == Some(id) => {
                server.abort(id);
                "closed by the other side".to_owned()
            }
            Event::Closed(id, reason) if self.connection == Some(id) => reason.to_string(),
            other => return Err(other),
        };
        self.connection = None;
        Ok(Heard::Lost(lost))
    }
}

/// Connects without waiting: where the other daemon has stopped and its queue is full, that is an error.
///
/// # Errors
/// Those of connect(2).
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    Ok(UnixStream::from(OwnedFd::from(mio::net::UnixStream::connect(path)?)))
}
