//! The client's chain as it stands in its message, before OpenSSL reads it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use albatross_core::certificate::{Certificate, MAX_CHAIN, chain_from_der};
use albatross_core::endpoint::limits::MAX_LARGE_CHAIN;
use rustls::pki_types::UnixTime;

use super::super::{MAX_CHAIN_OCTETS, TlsError, lock, verifier::Slot};

/// Type of a message with certificates.
const CERTIFICATE: u8 = 11;

/// What a connection keeps of the chain that was presented.
#[derive(Debug)]
pub(super) struct Presented {
    slot: Slot,
    unreadable: Mutex<Option<TlsError>>,
    /// There is one chain in a connection. OpenSSL says so as well.
    looked: AtomicBool,
}

/// OpenSSL is not to read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Presented {
    pub(super) fn new(slot: Slot) -> Self {
        Self { slot, unreadable: Mutex::new(None), looked: AtomicBool::new(false) }
    }

    pub(super) const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Why it cannot be read, if so. Once.
    pub(super) fn take_unreadable(&self) -> Option<TlsError> {
        lock(&self.unreadable).take()
    }

    /// Judges the chain, if this is the message with it. Nothing of it is copied but the authority of a path.
    pub(super) fn look_at(&self, message: &[u8]) -> Result<(), Unreadable> {
        let Some((&CERTIFICATE, body)) = message.split_first() else { return Ok(()) };
        // OpenSSL has its own words for what is no message, and reads no certificate of it.
        let Some(ders) = certificates(body) else { return Ok(()) };
        if ders.is_empty() {
            return Ok(());
        }
        if self.looked.swap(true, Ordering::Relaxed) {
            return Err(Unreadable);
        }
        match read(&ders) {
            Ok(chain) => {
                self.slot.judge(&chain, UnixTime::now());
                Ok(())
            }
            Err(error) => {
                *lock(&self.unreadable) = Some(error);
                Err(Unreadable)
            }
        }
    }
}

/// A chain is large by the command of its leaf and by nothing else.
fn read<'a>(ders: &[&'a [u8]]) -> Result<Vec<Certificate<'a>>, TlsError> {
    let chain = chain_from_der(ders.iter().copied(), MAX_LARGE_CHAIN).map_err(TlsError::Chain)?;
    let size: usize = ders.iter().map(|der| der.len()).sum();
    let command = chain.first().and_then(Certificate::command_extension).map_or(0, <[u8]>::len);
    if size - command.min(size) > MAX_CHAIN_OCTETS {
        return Err(TlsError::LargeBesideCommand { limit: MAX_CHAIN_OCTETS });
    }
    Ok(chain)
}

/// ```text
/// length (3) context (0..255) list (0..2^24-1) of { certificate (1..2^24-1) extensions (0..2^16-1) }
/// ```
/// One certificate more than may be in a chain is enough to see that it is too long.
fn certificates(message: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, mut rest) = message.split_at_checked(3)?;
    take(&mut rest, 1)?;
    let mut list = take(&mut rest, 3)?;
    let mut ders = Vec::new();
    while !list.is_empty() && ders.len() <= MAX_CHAIN {
        ders.push(take(&mut list, 3)?);
        take(&mut list, 2)?;
    }
    rest.is_empty().then_some(ders)
}

/// What follows a length of so many octets.
fn take<'a>(from: &mut &'a [u8], octets: usize) -> Option<&'a [u8]> {
    let (length, rest) = from.split_at_checked(octets)?;
    let length = length.iter().fold(0, |sum: usize, octet| sum << 8 | usize::from(*octet));
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(ders: &[&[u8]]) -> Vec<u8> {
        let length = |count: usize| u32::try_from(count).unwrap().to_be_bytes()[1..].to_vec();
        let list: Vec<u8> =
            ders.iter().flat_map(|der| [&length(der.len())[..], der, &[0, 0]].concat()).collect();
        let body = [&[0][..], &length(list.len()), &list].concat();
        [&length(body.len())[..], &body].concat()
    }

    #[test]
    fn certificates_are_found_in_their_message() {
        for ders in [&[][..], &[&b"leaf"[..]], &[b"leaf", b"", b"another"]] {
            assert_eq!(certificates(&message(ders)), Some(ders.to_vec()));
        }
        let whole = message(&[b"leaf", b"ca"]);
        for end in 0..whole.len() {
            assert_eq!(certificates(&whole[..end]), None, "{end}");
        }
        assert_eq!(certificates(&[&whole[..], &[0]].concat()), None);
    }
}
