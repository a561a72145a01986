//! What speaks TLS for one connection.
//!
//! An [`Engine`] knows neither sockets nor how much may wait: it turns octets of the network into those of the
//! client and back, and says whose chain was judged. All that the [`Stream`](super::Stream) asks of TLS is asked
//! here, so that another implementation is another alternative of the enum.

use std::io::{self, BufRead, Write};

use rustls::{Error, server::ServerConnection};

use super::{Shown, TlsError, verifier::Slot};

/// One connection's TLS.
#[derive(Debug)]
pub(super) enum Engine {
    /// Chains of at most 64 KiB.
    Rustls(Box<Rustls>),
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
        }
    }

    /// What the client showed. Once, and only when the handshake is done: then it holds the leaf's key.
    pub(super) fn take_shown(&mut self) -> Option<Shown> {
        if self.is_handshaking() {
            return None;
        }
        match self {
            Self::Rustls(it) => it.slot.take(),
        }
    }

    /// Whether the client said that nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Rustls(it) => it.ended,
        }
    }

    /// Takes octets of the network, and appends what they say to `plain`.
    ///
    /// # Errors
    /// Where the client breaks the rules; an alert may wait to be written. It is said once, what comes
    /// afterwards is forgotten.
    pub(super) fn receive(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        match self {
            Self::Rustls(it) => {
                while !input.is_empty() && !it.ended && !it.failed {
                    it.receive_some(&mut input, plain)?;
                }
                Ok(())
            }
        }
    }

    /// Whether there is something for the network.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Rustls(it) => it.tls.wants_write(),
        }
    }

    /// Writes some of it.
    pub(super) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        match self {
            Self::Rustls(it) => it.tls.write_tls(stream),
        }
    }

    /// Takes octets for the client, at least one of any, and makes them into some for the network. Not before the
    /// handshake is done.
    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Rustls(it) => it.tls.writer().write(octets),
        }
    }

    /// Tells the client that nothing more comes.
    pub(super) fn send_close_notify(&mut self) {
        match self {
            Self::Rustls(it) => it.tls.send_close_notify(),
        }
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
