//! Keys of a handshake's records: HKDF, AEAD and HMAC as RFC 8446 names them, by ring.

use ring::hkdf::{self, KeyType, Okm, Prk};
use ring::{aead, digest, hmac};
use rustls::{CipherSuite, SupportedCipherSuite};

use super::super::beginning::{ENCRYPTED, HEADER};

/// The most octets of an encrypted record's content (RFC 8446 section 5.2).
pub(super) const MAX_RECORD: usize = 16 * 1024 + 256;

/// Octets of a nonce.
const NONCE: usize = 12;

/// What was agreed on.
#[derive(Clone, Copy)]
pub(super) struct Suite {
    aead: &'static aead::Algorithm,
    hkdf: hkdf::Algorithm,
}

impl Suite {
    /// Of those that rustls has; `None` of any other.
    pub(super) fn of(suite: SupportedCipherSuite) -> Option<Self> {
        let (aead, hkdf) = match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => (&aead::AES_128_GCM, hkdf::HKDF_SHA256),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => (&aead::AES_256_GCM, hkdf::HKDF_SHA384),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => (&aead::CHACHA20_POLY1305, hkdf::HKDF_SHA256),
            _ => return None,
        };
        Some(Self { aead, hkdf })
    }

    pub(super) fn hash(self) -> &'static digest::Algorithm {
        self.hkdf.hmac_algorithm().digest_algorithm()
    }
}

/// The keys of one direction.
pub(super) struct Keys {
    key: aead::LessSafeKey,
    iv: [u8; NONCE],
    finished: hmac::Key,
    /// The number of the next record.
    sequence: u64,
}

/// A record that was not made with these keys, or has nothing in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotReadable;

impl Keys {
    /// From the secret of one direction. `None` where its length is not the suite's.
    pub(super) fn new(suite: Suite, secret: &[u8]) -> Option<Self> {
        if secret.len() != suite.hash().output_len() {
            return None;
        }
        let secret = Prk::new_less_safe(suite.hkdf, secret);
        let key = expand(&secret, b"key", suite.aead, |okm| aead::LessSafeKey::new(okm.into()))?;
        let iv = expand(&secret, b"iv", Length(NONCE), |okm| {
            let mut iv = [0; NONCE];
            okm.fill(&mut iv).ok().map(|()| iv)
        })??;
        let finished = expand(&secret, b"finished", suite.hkdf.hmac_algorithm(), |okm| hmac::Key::from(okm))?;
        Some(Self { key, iv, finished, sequence: 0 })
    }

    /// Decrypts the next record: its content type, and its content, which stands in `record`.
    pub(super) fn open<'a>(
        &mut self,
        header: [u8; HEADER],
        record: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), NotReadable> {
        let nonce = self.nonce();
        let plain =
            self.key.open_in_place(nonce, aead::Aad::from(header), record).map_err(|_| NotReadable)?;
        self.sequence += 1;
        // Zeros may follow the content and its type.
        let end = plain.iter().rposition(|octet| *octet != 0).ok_or(NotReadable)?;
        match plain.get(..=end).and_then(<[u8]>::split_last) {
            Some((kind, content)) => Ok((*kind, content)),
            None => Err(NotReadable),
        }
    }

    /// The next record, with this content.
    pub(super) fn seal(&mut self, kind: u8, content: &[u8]) -> Option<Vec<u8>> {
        let mut inner = [content, &[kind]].concat();
        let [high, low] = u16::try_from(inner.len() + self.key.algorithm().tag_len()).ok()?.to_be_bytes();
        let header = [ENCRYPTED, 3, 3, high, low];
        self.key.seal_in_place_append_tag(self.nonce(), aead::Aad::from(header), &mut inner).ok()?;
        self.sequence += 1;
        Some([&header[..], &inner].concat())
    }

    /// Begins anew with the first record.
    pub(super) const fn rewind(&mut self) {
        self.sequence = 0;
    }

    /// What stands in a Finished after messages with this hash.
    pub(super) fn finished(&self, hash: &[u8]) -> hmac::Tag {
        hmac::sign(&self.finished, hash)
    }

    /// Whether this stands there.
    pub(super) fn is_finished(&self, hash: &[u8], said: &[u8]) -> bool {
        hmac::verify(&self.finished, hash, said).is_ok()
    }

    /// RFC 8446 section 5.3.
    fn nonce(&self) -> aead::Nonce {
        let mut nonce = self.iv;
        for (octet, number) in nonce.iter_mut().rev().zip(self.sequence.to_le_bytes()) {
            *octet ^= number;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

/// So many octets.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of RFC 8446 section 7.1, without a context.
fn expand<L: KeyType, T>(
    secret: &Prk,
    label: &[u8],
    length: L,
    make: impl FnOnce(Okm<'_, L>) -> T,
) -> Option<T> {
    let [high, low] = u16::try_from(length.len()).ok()?.to_be_bytes();
    let prefix = b"tls13 ";
    let label_length = u8::try_from(prefix.len() + label.len()).ok()?;
    let info = [&[high, low, label_length][..], prefix, label, &[0]];
    secret.expand(&info, length).ok().map(make)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// The client's handshake traffic secret of RFC 8448 section 3, and what is made of it there.
    #[test]
    fn keys_are_those_of_the_rfc() {
        let suite = Suite { aead: &aead::AES_128_GCM, hkdf: hkdf::HKDF_SHA256 };
        let secret = hex("b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21");
        let mut keys = Keys::new(suite, &secret).unwrap();
        assert_eq!(keys.iv[..], hex("5bd3c71b836e0b76bb73265f"));
        // The client's Finished and the record with it.
        let content = hex("14000020a8ec436d677634ae525ac1fcebe11a039ec17694fac6e98527b642f2edd5ce61");
        let record = hex(
            "1703030035 75ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338ac98fc46deb384bd1caeacab6867\
             d726c40546"
                .replace(' ', "")
                .as_str(),
        );
        assert_eq!(keys.seal(22, &content).unwrap(), record);
        keys.rewind();
        let (header, rest) = record.split_first_chunk().unwrap();
        let mut opened = rest.to_vec();
        assert_eq!(keys.open(*header, &mut opened), Ok((22, &content[..])));
        // Its number is another one now.
        assert_eq!(keys.open(*header, &mut rest.to_vec()), Err(NotReadable));
        assert!(Keys::new(suite, &secret[1..]).is_none());
    }

    #[test]
    fn zeros_after_the_content_are_no_part_of_it() {
        let suite = Suite { aead: &aead::CHACHA20_POLY1305, hkdf: hkdf::HKDF_SHA256 };
        for (inner, is) in [
            (&[1, 2, 22, 0, 0, 0][..], Ok((22, &[1, 2][..]))),
            (&[22, 0], Ok((22, &[]))),
            (&[0, 0, 0], Err(NotReadable)),
        ] {
            let [mut one, mut other] = [(); 2].map(|()| Keys::new(suite, &[7; 32]).unwrap());
            let (last, first) = inner.split_last().unwrap();
            let record = one.seal(*last, first).unwrap();
            let (header, rest) = record.split_first_chunk().unwrap();
            assert_eq!(other.open(*header, &mut rest.to_vec()), is);
        }
    }
}
