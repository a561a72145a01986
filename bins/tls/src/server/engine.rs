//! What speaks TLS for one connection: rustls, and where the client's chain is a large one, [`Large`] for a while.
//!
//! An [`Engine`] knows neither sockets nor how much may wait: it turns octets of the network into those of the
//! client and back, and says whose chain was judged.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use rustls::{Error, InvalidMessage, server::ServerConnection};

use super::beginning::{Beginning, Found, MAX_CLEAR};
use super::large::{Done, Large};
use super::places::{Claim, Place};
use super::verifier::{Shared, StandIn};
use super::{MAX_CHAIN_OCTETS, Shown, TlsError};
use crate::queue::Queue;

/// Octets that are read at once from a client that may have to wait for a place: what came with the beginning of its
/// chain is held until then.
const READ_BEFORE_PLACE: usize = 4096;

/// What a connection has to do with the places for large chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Nothing, so far.
    None,
    /// Its chain is a large one, and is not read before there is a place.
    Awaited,
    /// As above, and there is one.
    Free,
    /// It has one.
    Taken,
}

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Engine {
    tls: ServerConnection,
    shared: Arc<Shared>,
    stage: Stage,
    claim: Claim,
    /// Until the connection ends: what came by it is held until then.
    place: Option<Place>,
    /// What rustls said, before what it will say.
    output: Queue,
    ended: bool,
    /// The client broke the rules: what it sends is read and forgotten.
    failed: bool,
}

/// Who reads what the client sends.
#[derive(Debug)]
enum Stage {
    /// rustls, and it is kept.
    Beginning(Box<Beginning>),
    /// Nobody, before the first record of the chain is there, which says how long it is.
    Announcing {
        large: Box<Large>,
        held: Vec<u8>,
    },
    /// Nobody, before there is a place.
    Waiting {
        large: Box<Large>,
        held: Vec<u8>,
    },
    Large(Box<Large>),
    Rustls,
}

impl Engine {
    pub(super) fn new(mut tls: ServerConnection, shared: Arc<Shared>, claim: Claim) -> Self {
        // What is given to it is bounded by the caller.
        tls.set_buffer_limit(None);
        let (stage, output) = (Stage::Beginning(Box::default()), Queue::default());
        Self { tls, shared, stage, claim, place: None, output, ended: false, failed: false }
    }

    /// Whether the handshake is not done.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What the client showed. Once, and only when the handshake is done: then it holds the leaf's key.
    pub(super) fn take_shown(&self) -> Option<Shown> {
        if self.is_handshaking() || self.failed { None } else { self.shared.take() }
    }

    /// Whether the client said that nothing more comes.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// The most octets that are to be read at once: few, until it is known whether the chain is a large one.
    pub(super) const fn read_at_once(&self) -> usize {
        match self.stage {
            Stage::Beginning(_) | Stage::Announcing { .. } => READ_BEFORE_PLACE,
            _ => usize::MAX,
        }
    }

    /// What it has to do with the places for large chains.
    pub(super) fn places(&self) -> Places {
        match self.stage {
            Stage::Waiting { .. } if self.claim.is_free() => Places::Free,
            Stage::Waiting { .. } => Places::Awaited,
            _ if self.place.is_some() => Places::Taken,
            _ => Places::None,
        }
    }

    /// Takes octets of the network, and appends what they say to `plain`.
    ///
    /// # Errors
    /// Where the client breaks the rules; an alert may wait to be written. It is said once, what comes
    /// afterwards is forgotten.
    pub(super) fn receive(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.failed || self.ended {
            return Ok(());
        }
        let received = match &mut self.stage {
            Stage::Beginning(_) => self.begin(input, plain),
            Stage::Announcing { held, .. } => {
                held.extend_from_slice(input);
                self.announced(plain)
            }
            Stage::Waiting { held, .. } => {
                // Nobody reads now; this was read before.
                held.extend_from_slice(input);
                Ok(())
            }
            Stage::Large(_) => self.receive_large(input, plain),
            Stage::Rustls => self.pass(input, plain),
        };
        self.failed |= received.is_err();
        received
    }

    /// Goes on if there is a place now. False where it still waits.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub(super) fn resume(&mut self, plain: &mut Vec<u8>) -> Result<bool, TlsError> {
        if !matches!(self.stage, Stage::Waiting { .. }) {
            return Ok(true);
        }
        let Some(place) = self.claim.take() else { return Ok(false) };
        self.place = Some(place);
        if let Stage::Waiting { large, held } = std::mem::replace(&mut self.stage, Stage::Rustls) {
            self.stage = Stage::Large(large);
            self.receive(&held, plain)?;
        }
        Ok(true)
    }

    fn begin(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let Stage::Beginning(mut beginning) = std::mem::replace(&mut self.stage, Stage::Rustls) else {
            return Ok(());
        };
        let found = beginning
            .add(input)
            .map_err(|_| TlsError::Other(format!("a ClientHello of more than {MAX_CLEAR} octets")))?;
        match found {
            Found::Clear => {
                let passed = self.pass(beginning.take_clear(), plain);
                self.keep_output(&mut beginning);
                self.stage = Stage::Beginning(beginning);
                passed
            }
            Found::Small => {
                drop(self.shared.take_secrets());
                self.pass(beginning.rest(), plain)
            }
            Found::Large => {
                self.pass(beginning.take_clear(), plain)?;
                self.keep_output(&mut beginning);
                match self.large(&beginning) {
                    Some(large) => {
                        let held = beginning.rest().to_vec();
                        self.stage = Stage::Announcing { large: Box::new(large), held };
                        self.announced(plain)
                    }
                    // It is not its turn, and rustls says so.
                    None => self.pass(beginning.rest(), plain),
                }
            }
        }
    }

    fn announced(&mut self, plain: &mut Vec<u8>) -> Result<(), TlsError> {
        match std::mem::replace(&mut self.stage, Stage::Rustls) {
            Stage::Announcing { mut large, held } => match large.is_announced(&held) {
                None => {
                    self.stage = Stage::Announcing { large, held };
                    Ok(())
                }
                Some(true) => {
                    self.stage = Stage::Waiting { large, held };
                    self.resume(plain).map(drop)
                }
                Some(false) => self.pass(&held, plain),
            },
            other => {
                self.stage = other;
                Ok(())
            }
        }
    }

    fn large(&self, beginning: &Beginning) -> Option<Large> {
        let suite = self.tls.negotiated_cipher_suite()?;
        Large::new(beginning, suite, &self.shared.take_secrets(), Arc::clone(&self.shared))
    }

    fn receive_large(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let Stage::Large(large) = &mut self.stage else { return Ok(()) };
        match large.receive(input) {
            Ok(None) => Ok(()),
            Ok(Some(Done { stand_in, rest })) => {
                self.stage = Stage::Rustls;
                self.stands_for(StandIn::Accepted, &stand_in, plain)?;
                if self.is_handshaking() {
                    return Err(TlsError::Other("the handshake was not completed".to_owned()));
                }
                self.pass(&rest, plain)
            }
            Err(error) => {
                // For the sake of the alert.
                if let Some(stand_in) = large.stand_in(false) {
                    _ = self.stands_for(StandIn::Refused, &stand_in, plain);
                }
                self.stage = Stage::Rustls;
                Err(error)
            }
        }
    }

    fn stands_for(&mut self, stand_in: StandIn, record: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        self.shared.set_stand_in(stand_in);
        let passed = self.pass(record, plain);
        self.shared.set_stand_in(StandIn::No);
        passed
    }

    /// Gives octets to rustls.
    fn pass(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        while !input.is_empty() && !self.ended {
            // It fails where a handshake message is longer than rustls holds.
            let took = self.tls.read_tls(&mut input);
            let processed = took
                .map_err(|error| Error::General(error.to_string()))
                .and_then(|_| self.tls.process_new_packets());
            self.collect(plain);
            if let Err(error) = processed {
                return Err(if self.tls.is_handshaking() && is_too_long(&error) {
                    TlsError::TooLarge { limit: MAX_CHAIN_OCTETS }
                } else {
                    TlsError::Tls(error)
                });
            }
        }
        Ok(())
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

    /// What rustls says in the beginning is kept, too.
    fn keep_output(&mut self, beginning: &mut Beginning) {
        while self.tls.wants_write() {
            let mut octets = Vec::new();
            // Writing to memory does not fail.
            if self.tls.write_tls(&mut octets).is_err() {
                return;
            }
            beginning.said.extend_from_slice(&octets);
            self.output.push(octets);
        }
    }

    /// Whether there is something for the network.
    pub(super) fn wants_write(&self) -> bool {
        !self.output.is_empty() || self.tls.wants_write()
    }

    /// Writes some of it.
    pub(super) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        if self.output.is_empty() { self.tls.write_tls(stream) } else { self.output.write_to(stream) }
    }

    /// Takes octets for the client, at least one of any, and makes them into some for the network. Not before the
    /// handshake is done.
    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.tls.writer().write(octets)
    }

    /// Tells the client that nothing more comes.
    pub(super) fn send_close_notify(&mut self) {
        self.tls.send_close_notify();
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
