//! TLS over a socket that does not block, both directions at once.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;

use super::Host;
use crate::conversation::{ConversationError, Stream};

/// How long the handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to an endpoint whose handshake is done.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: ClientConnection,
}

impl TlsStream {
    /// Connects, and shakes hands: then the server is known to be the right one. What it thinks of our
    /// certificate shows with the first read.
    ///
    /// # Errors
    /// [`ConversationError`].
    pub(crate) fn connect(host: &Host, mut session: ClientConnection) -> Result<Self, ConversationError> {
        let mut socket = host.connect()?;
        shake_hands(&mut socket, &mut session).map_err(ConversationError::Handshake)?;
        let usable = socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true));
        usable.map_err(ConversationError::Poll)?;
        Ok(Self { socket: TcpStream::from_std(socket), session })
    }

    /// Writes what TLS has ready, as far as the socket takes it.
    fn flush_session(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The handshake, on a socket that blocks.
fn shake_hands(socket: &mut std::net::TcpStream, session: &mut ClientConnection) -> io::Result<()> {
    let end = Instant::now() + HANDSHAKE_TIMEOUT;
    let mut write_failed = None;
    while session.is_handshaking() || (session.wants_write() && write_failed.is_none()) {
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        let left =
            left.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long"))?;
        socket.set_read_timeout(Some(left))?;
        socket.set_write_timeout(Some(left))?;
        if session.wants_write() && write_failed.is_none() {
            // A server that has refused does not read on; why it has comes with the next read.
            write_failed = session.write_tls(socket).err();
            continue;
        }
        let count = match session.read_tls(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long"));
            }
            other => other?,
        };
        if count == 0 {
            return Err(write_failed.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        }
        process(session)?;
    }
    Ok(())
}

fn process(session: &mut ClientConnection) -> io::Result<()> {
    session.process_new_packets().map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without close_notify anybody could have cut the stream.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::new(error.kind(), "the server is gone without having said so"));
                }
                other => return other,
            }
            self.session.read_tls(&mut self.socket)?;
            let processed = process(&mut self.session);
            // An alert of ours, or a new key. Whether the server takes it is seen by the next turn.
            _ = self.flush_session();
            processed?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            let count = self.session.writer().write(octets)?;
            match self.flush_session() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // Something is taken; the rest of it leaves with the next turns.
                _ if count > 0 || octets.is_empty() => return Ok(count),
                other => other?,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_session()
    }
}

impl Stream for TlsStream {
    fn turn(&mut self) -> io::Result<()> {
        match self.flush_session() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.turn()
    }
}

impl Source for TlsStream {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.socket.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.socket.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}
