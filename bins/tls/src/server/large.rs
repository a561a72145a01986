//! The rest of a handshake whose client has a large chain.
//!
//! rustls takes no message of more than 64 KiB. So where the client's certificates begin with a full record, which
//! announces more, its last three messages (Certificate, CertificateVerify, Finished; RFC 8446 section 4.4) are read
//! here: decrypted with the secrets that rustls gives out for its key log, the chain judged as any other, the signature
//! and the Finished checked
//! against the hash of all messages. Only when all is as it has to be, rustls gets a *stand-in* for them: three short
//! messages with nothing in them, encrypted with the keys of this connection, whose Finished is the one that rustls
//! expects after them. No client can make them stand for it, as rustls believes them only while it is told to by
//! [`Shared`]. The keys of what follows depend on no message of the client but its ClientHello, so everything after the
//! handshake is between the client and rustls.

mod certificates;
mod keys;
#[cfg(test)]
mod tests;
mod transcript;

use std::sync::Arc;

use albatross_core::certificate::PublicKey;
use albatross_core::endpoint::limits::MAX_LARGE_CHAIN;
use ring::digest::{self, Context};
use rustls::SupportedCipherSuite;
use rustls::pki_types::UnixTime;

use super::TlsError;
use super::beginning::{ALERT, Beginning, CHANGE_CIPHER_SPEC, ENCRYPTED, HANDSHAKE, HEADER};
use super::verifier::{Secrets, Shared};
use keys::{Keys, MAX_RECORD, Suite};
use transcript::{MESSAGE_HEADER, transcript};

/// The most octets of a message that rustls takes.
const MOST_OF_RUSTLS: usize = 0xffff;

/// What stands in the message around the certificates: lengths.
const AROUND: usize = 1024;

/// The most octets of the other two messages: a signature by the longest key (RSA, 8192 bits) has 1024.
const MAX_MESSAGE: usize = 2048;

/// Types of messages.
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;

/// What a client signs before the hash (RFC 8446 section 4.4.3).
const SIGNED: &[u8] = b"TLS 1.3, client CertificateVerify\0";

/// The stand-in's certificates: one, of one octet.
const NO_CERTIFICATE: &[u8] = &[CERTIFICATE, 0, 0, 10, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0];

/// The stand-in's signature: of a scheme that all have, and empty.
const NO_SIGNATURE: &[u8] = &[CERTIFICATE_VERIFY, 0, 0, 4, 8, 7, 0, 0];

/// A client's messages as far as they have come.
pub(super) struct Large {
    shared: Arc<Shared>,
    keys: Keys,
    /// Of all messages, the client's as far as they were read.
    transcript: Context,
    /// The same without those of the client that are read here.
    without: Context,
    /// Of a record that has not all come. At most [`MAX_RECORD`] and what is given at a time.
    records: Vec<u8>,
    /// Of a message that has not all come. At most what is allowed for it.
    message: Vec<u8>,
    awaits: Awaits,
}

/// The next message.
#[derive(Debug)]
enum Awaits {
    Certificate,
    /// By this key.
    Verify(PublicKey),
    Finished,
    Nothing,
}

/// The client's messages were as they have to be.
#[derive(Debug)]
pub(super) struct Done {
    /// A record for rustls in place of them.
    pub(super) stand_in: Vec<u8>,
    /// What the client sent after them.
    pub(super) rest: Vec<u8>,
}

impl Large {
    /// Reads the client's messages after this beginning. `None` where the handshake has not come so far that they may
    /// follow.
    pub(super) fn new(
        beginning: &Beginning,
        suite: SupportedCipherSuite,
        Secrets { client, server }: &Secrets,
        shared: Arc<Shared>,
    ) -> Option<Self> {
        let suite = Suite::of(suite)?;
        let keys = Keys::new(suite, client.as_ref()?.as_ref())?;
        let mut server = Keys::new(suite, server.as_ref()?.as_ref())?;
        let transcript = transcript(beginning, &mut server, suite.hash())?;
        let without = transcript.clone();
        let (records, message) = (Vec::new(), Vec::new());
        Some(Self { shared, keys, transcript, without, records, message, awaits: Awaits::Certificate })
    }

    /// Whether the first record, with which these octets begin, announces certificates that are too long for rustls.
    /// `None` where it has not all come. What is none is not, so that rustls says so.
    pub(super) fn is_announced(&mut self, octets: &[u8]) -> Option<bool> {
        let mut octets = octets.to_vec();
        let record = match next_record(&mut octets, 0) {
            Ok(record) => record?,
            Err(_) => return Some(false),
        };
        let opened = self.keys.open(record.header, record.content);
        let begins = opened.ok().and_then(|(_, content)| content.first_chunk());
        let announced = begins.is_some_and(|header| {
            header.first() == Some(&CERTIFICATE) && transcript::length(header) > MOST_OF_RUSTLS
        });
        // It is read once more, by whom it may concern.
        self.keys.rewind();
        Some(announced)
    }

    /// Takes octets of the network.
    ///
    /// # Errors
    /// Where something is not as it has to be. Nothing is to be read afterwards.
    pub(super) fn receive(&mut self, octets: &[u8]) -> Result<Option<Done>, TlsError> {
        let mut records = std::mem::take(&mut self.records);
        records.extend_from_slice(octets);
        let mut at = 0;
        while let Some(record) = next_record(&mut records, at)? {
            at = record.end;
            self.record(record)?;
            if matches!(self.awaits, Awaits::Nothing) {
                let stand_in = self.stand_in(true);
                let stand_in = stand_in.ok_or_else(|| broken("the handshake cannot be completed"))?;
                return Ok(Some(Done { stand_in, rest: records.split_off(at) }));
            }
        }
        records.drain(..at);
        self.records = records;
        Ok(None)
    }

    fn record(&mut self, Record { header, content, .. }: Record<'_>) -> Result<(), TlsError> {
        match header {
            [ENCRYPTED, ..] => {
                let opened = self.keys.open(header, content);
                match opened.map_err(|_| broken("a record cannot be decrypted"))? {
                    (HANDSHAKE, messages) if !messages.is_empty() => self.messages(messages),
                    (ALERT, _) => Err(broken("the client gave up")),
                    _ => Err(broken("a record of the handshake has something else in it")),
                }
            }
            // Says nothing (RFC 8446 appendix D.4).
            [CHANGE_CIPHER_SPEC, ..] if *content == [1] => Ok(()),
            _ => Err(broken("a record of the handshake is not encrypted")),
        }
    }

    fn messages(&mut self, octets: &[u8]) -> Result<(), TlsError> {
        self.message.extend_from_slice(octets);
        while let Some(header) = self.message.first_chunk() {
            let length = self.allowed(*header)?;
            let whole = MESSAGE_HEADER + length;
            if self.message.len() < whole {
                // It is not filled before it is sent.
                self.message.reserve_exact(whole - self.message.len());
                break;
            }
            let after = self.message.split_off(whole);
            let message = std::mem::replace(&mut self.message, after);
            self.take_message(&message)?;
        }
        if matches!(self.awaits, Awaits::Nothing) && !self.message.is_empty() {
            return Err(broken("something follows the handshake in its last record"));
        }
        Ok(())
    }

    /// The length of a message that begins so, where it is the one that is awaited.
    fn allowed(&self, header: [u8; MESSAGE_HEADER]) -> Result<usize, TlsError> {
        let (kind, most) = match self.awaits {
            Awaits::Certificate => (CERTIFICATE, MAX_LARGE_CHAIN + AROUND),
            Awaits::Verify(_) => (CERTIFICATE_VERIFY, MAX_MESSAGE),
            Awaits::Finished | Awaits::Nothing => (FINISHED, MAX_MESSAGE),
        };
        let length = transcript::length(&header);
        if header.first() != Some(&kind) {
            return Err(broken("a message is not the one that has to follow"));
        }
        if length <= most {
            Ok(length)
        } else if kind == CERTIFICATE {
            Err(TlsError::TooLarge { limit: MAX_LARGE_CHAIN })
        } else {
            Err(broken("a message is too long"))
        }
    }

    fn take_message(&mut self, message: &[u8]) -> Result<(), TlsError> {
        let body = message.get(MESSAGE_HEADER..).unwrap_or_default();
        let next = match &self.awaits {
            Awaits::Certificate => self.judge(body)?,
            Awaits::Verify(key) => {
                verify(key, &self.hash(), body)?;
                Awaits::Finished
            }
            Awaits::Finished | Awaits::Nothing => {
                if !self.keys.is_finished(self.hash().as_ref(), body) {
                    return Err(broken("the client's Finished is wrong"));
                }
                Awaits::Nothing
            }
        };
        self.transcript.update(message);
        self.awaits = next;
        Ok(())
    }

    /// What is wrong with a chain that can be read is kept, as by the verifier of rustls.
    fn judge(&self, body: &[u8]) -> Result<Awaits, TlsError> {
        let chain = certificates::read(body)?;
        self.shared.judge(&chain, UnixTime::now());
        let key = self.shared.take_key();
        key.map(Awaits::Verify).ok_or_else(|| broken("the client showed no certificate"))
    }

    fn hash(&self) -> digest::Digest {
        self.transcript.clone().finish()
    }

    /// The record in place of the client's. One that is refused has no Finished. It has a number that the client's first
    /// had, so it must not leave this process.
    pub(super) fn stand_in(&mut self, is_accepted: bool) -> Option<Vec<u8>> {
        let mut messages = NO_CERTIFICATE.to_vec();
        if is_accepted {
            messages.extend_from_slice(NO_SIGNATURE);
            let mut transcript = self.without.clone();
            transcript.update(&messages);
            let finished = self.keys.finished(transcript.finish().as_ref());
            let length = u8::try_from(finished.as_ref().len()).ok()?;
            messages.extend_from_slice(&[FINISHED, 0, 0, length]);
            messages.extend_from_slice(finished.as_ref());
        }
        self.keys.rewind();
        self.keys.seal(HANDSHAKE, &messages)
    }
}

impl std::fmt::Debug for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Large").field("message", &self.message.len()).finish_non_exhaustive()
    }
}

/// ```text
/// scheme (2) signature (0..2^16-1)
/// ```
fn verify(key: &PublicKey, hash: &digest::Digest, body: &[u8]) -> Result<(), TlsError> {
    let parts = body.split_first_chunk::<2>().and_then(|(scheme, rest)| {
        let (length, signature) = rest.split_first_chunk::<2>()?;
        (usize::from(u16::from_be_bytes(*length)) == signature.len()).then_some((*scheme, signature))
    });
    let (scheme, signature) = parts.ok_or_else(|| broken("the client's signature cannot be read"))?;
    let message = [&[b' '; 64][..], SIGNED, hash.as_ref()].concat();
    key.verify_tls13(u16::from_be_bytes(scheme), &message, signature)
        .map_err(|error| TlsError::Other(format!("the client's signature is not its leaf's: {error}")))
}

/// A record as it came, and where it ends.
struct Record<'a> {
    header: [u8; HEADER],
    content: &'a mut [u8],
    end: usize,
}

/// The record that begins `at` this octet. `None` where it has not all come.
fn next_record(records: &mut [u8], at: usize) -> Result<Option<Record<'_>>, TlsError> {
    let rest = records.get_mut(at..).and_then(|rest| rest.split_first_chunk_mut::<HEADER>());
    let Some((header, rest)) = rest else { return Ok(None) };
    let [.., high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_RECORD {
        return Err(broken("a record is too long"));
    }
    let content = rest.get_mut(..length);
    Ok(content.map(|content| Record { header: *header, content, end: at + HEADER + length }))
}

fn broken(text: &str) -> TlsError {
    TlsError::Other(text.to_owned())
}
