//! What speaks TLS for one connection.
//!
//! An [`Engine`] knows neither sockets nor how much may wait: it turns octets of the network into those of the
//! client and back, and says whose chain was judged. All that the [`Stream`](super::Stream) asks of TLS is asked
//! here, so that another implementation is another alternative of the enum.

use std::io::{self, BufRead, Write};

use rustls::{Error, InvalidMessage, server::ServerConnection};

use super::{MAX_CHAIN_OCTETS, Shown, TlsError, verifier::Slot};
#[cfg(feature = "openssl")]
use super::{first::First, openssl::Openssl};

/// Octets that are read at once from a client that may have to wait for a place: what came with the beginning of its
/// chain is held until then.
#[cfg(feature = "openssl")]
const READ_BEFORE_PLACE: usize = 4096;

/// What a connection has to do with the places for large chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Large {
    /// Nothing, so far.
    No,
    /// Its chain is a large one, and is not read before there is a place.
    Waits,
    /// As above, and there is one.
    MayGoOn,
    /// It has one.
    HasPlace,
}

/// One connection's TLS.
#[derive(Debug)]
pub(super) enum Engine {
    /// Chains of at most 64 KiB.
    Rustls(Box<Rustls>),
    /// A client whose first message has not all come.
    #[cfg(feature = "openssl")]
    First(Box<First>),
    /// Chains of up to 16 MiB.
    #[cfg(feature = "openssl")]
    Openssl(Box<Openssl>),
}

/// TLS by rustls.
#[derive(Debug)]
pub(super) struct Rustls {
    tls: ServerConnection,
    slot: Slot,
    ended: bool,
    /// The client broke the rules: what it sends is read and forgotten.
    failed: bool,
}

impl Engine {
    pub(super) fn rustls(mut tls: ServerConnection, slot: Slot) -> Self {
        // What is given to it is bounded by the caller.
        tls.set_buffer_limit(None);
        Self::Rustls(Box::new(Rustls { tls, slot, ended: false, failed: false }))
    }

    /// Whether the handshake is not done.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Rustls(it) => it.tls.is_handshaking(),
            #[cfg(feature = "openssl")]
            Self::First(_) => true,
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.is_handshaking(),
        }
    }

    /// What the client showed. Once, and only when the handshake is done: then it holds the leaf's key.
    pub(super) fn take_shown(&mut self) -> Option<Shown> {
        if self.is_handshaking() {
            return None;
        }
        match self {
            Self::Rustls(it) => it.slot.take(),
            #[cfg(feature = "openssl")]
            Self::First(_) => None,
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.take_shown(),
        }
    }

    /// Whether the client said that nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Rustls(it) => it.ended,
            #[cfg(feature = "openssl")]
            Self::First(_) => false,
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.has_ended(),
        }
    }

    /// Takes octets of the network, and appends what they say to `plain`.
    ///
    /// # Errors
    /// Where the client breaks the rules; an alert may wait to be written. It is said once, what comes
    /// afterwards is forgotten.
    pub(super) fn receive(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        #[cfg(feature = "openssl")]
        if let Self::First(first) = self {
            match first.receive(&mut input, plain)? {
                Some(decided) => *self = decided,
                None => return Ok(()),
            }
            if let Self::Rustls(it) = self {
                it.begin(plain)?;
            }
        }
        match self {
            Self::Rustls(it) => {
                while !input.is_empty() && !it.ended && !it.failed {
                    it.receive_some(&mut input, plain)?;
                }
                Ok(())
            }
            #[cfg(feature = "openssl")]
            Self::First(_) => Ok(()),
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.receive(input, plain),
        }
    }

    /// Whether there is something for the network.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Rustls(it) => it.tls.wants_write(),
            #[cfg(feature = "openssl")]
            Self::First(it) => it.wants_write(),
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.wants_write(),
        }
    }

    /// Writes some of it.
    pub(super) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        match self {
            Self::Rustls(it) => it.tls.write_tls(stream),
            #[cfg(feature = "openssl")]
            Self::First(it) => it.write_to(stream),
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.write_to(stream),
        }
    }

    /// Takes octets for the client, at least one of any, and makes them into some for the network. Not before the
    /// handshake is done.
    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Rustls(it) => it.tls.writer().write(octets),
            #[cfg(feature = "openssl")]
            Self::First(_) => Err(io::ErrorKind::NotConnected.into()),
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.send(octets),
        }
    }

    /// Tells the client that nothing more comes.
    pub(super) fn send_close_notify(&mut self) {
        match self {
            Self::Rustls(it) => it.tls.send_close_notify(),
            // Nothing was agreed on that it could be said in.
            #[cfg(feature = "openssl")]
            Self::First(_) => {}
            #[cfg(feature = "openssl")]
            Self::Openssl(it) => it.send_close_notify(),
        }
    }
}

/// Large chains.
#[cfg(feature = "openssl")]
impl Engine {
    /// The most octets that are to be read at once: few, until it is known whether the chain is a large one.
    pub(super) fn read_at_once(&self) -> usize {
        match self {
            Self::First(_) => READ_BEFORE_PLACE,
            Self::Openssl(it) if it.may_want_place() => READ_BEFORE_PLACE,
            Self::Openssl(_) | Self::Rustls(_) => usize::MAX,
        }
    }

    /// What it has to do with the places for large chains.
    pub(super) fn large(&self) -> Large {
        match self {
            Self::Openssl(it) => it.large(),
            Self::Rustls(_) | Self::First(_) => Large::No,
        }
    }

    /// Goes on where it waited for a place and there is one now. False where it still waits.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub(super) fn resume(&mut self, plain: &mut Vec<u8>) -> Result<bool, TlsError> {
        match self {
            Self::Openssl(it) => it.resume(plain),
            Self::Rustls(_) | Self::First(_) => Ok(true),
        }
    }
}

/// Without OpenSSL there are none.
#[cfg(not(feature = "openssl"))]
#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the same calls as with it")]
impl Engine {
    pub(super) const fn read_at_once(&self) -> usize {
        usize::MAX
    }

    pub(super) const fn large(&self) -> Large {
        Large::No
    }

    pub(super) fn resume(&mut self, _plain: &mut Vec<u8>) -> Result<bool, TlsError> {
        Ok(true)
    }
}

impl Rustls {
    fn receive_some(&mut self, input: &mut &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        // It fails where a handshake message is longer than rustls holds.
        let took = self.tls.read_tls(input);
        let processed = took
            .map_err(|error| Error::General(error.to_string()))
            .and_then(|_| self.tls.process_new_packets());
        self.collect(plain);
        processed.map(drop).map_err(|error| {
            self.failed = true;
            if self.tls.is_handshaking() && is_too_long(&error) {
                TlsError::TooLarge { limit: MAX_CHAIN_OCTETS }
            } else {
                TlsError::Tls(error)
            }
        })
    }

    /// Goes on with what has come already.
    #[cfg(feature = "openssl")]
    pub(super) fn begin(&mut self, plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let processed = self.tls.process_new_packets();
        self.collect(plain);
        processed.map(drop).map_err(|error| {
            self.failed = true;
            TlsError::Tls(error)
        })
    }

    /// Takes what is decrypted.
    fn collect(&mut self, plain: &mut Vec<u8>) {
        let mut reader = self.tls.reader();
        loop {
            // An error says that there is nothing now.
            let Ok(octets) = reader.fill_buf() else { return };
            if octets.is_empty() {
                // close_notify
                self.ended = true;
                return;
            }
            plain.extend_from_slice(octets);
            let count = octets.len();
            reader.consume(count);
        }
    }
}

/// Whether a message was longer than rustls takes. It says so before it has all of it, or when its buffer is full.
fn is_too_long(error: &Error) -> bool {
    match error {
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => true,
        Error::General(text) => text.contains("buffer full"),
        _ => false,
    }
}
