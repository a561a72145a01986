//! New keys.

use der::zeroize::Zeroizing;
use ring::{hmac, rand::SecureRandom};
use rsa::{
    pkcs8::EncodePrivateKey,
    rand_core::{self, CryptoRng, RngCore},
};

use super::{
    KeyError, KeyKind,
    pkcs8::{self, Curve},
};

/// How often a random number is drawn until it is below the order of a curve. For P-256 and P-384 one in
/// 2^32 is not, for P-521 (the number is cut to 521 bits) even fewer.
const MAX_DRAWS: usize = 64;

/// A new key as PKCS#8.
pub(super) fn private_key(kind: KeyKind, random: &dyn SecureRandom) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match kind {
        KeyKind::Ed25519 => Ok(pkcs8::ed25519(&draw(random, 32)?)?.pkcs8),
        KeyKind::P256 => ec(Curve::P256, random),
        KeyKind::P384 => ec(Curve::P384, random),
        KeyKind::P521 => ec(Curve::P521, random),
        KeyKind::Rsa2048 => rsa(2048, random),
        KeyKind::Rsa4096 => rsa(4096, random),
    }
}

fn draw(random: &dyn SecureRandom, length: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut octets = Zeroizing::new(vec![0; length]);
    random.fill(&mut octets).map_err(|ring::error::Unspecified| KeyError::Random)?;
    Ok(octets)
}

/// A number drawn until it is one of the curve, which leaves all equally likely.
fn ec(curve: Curve, random: &dyn SecureRandom) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    for _ in 0..MAX_DRAWS {
        let mut number = draw(random, curve.length())?;
        if let (Curve::P521, Some(first)) = (curve, number.first_mut()) {
            *first &= 1;
        }
        if let Ok(parts) = pkcs8::ec(curve, &number, random) {
            return Ok(parts.pkcs8);
        }
    }
    Err(KeyError::Random)
}

fn rsa(bits: usize, random: &dyn SecureRandom) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key = rsa::RsaPrivateKey::new(&mut Stream::new(random)?, bits).map_err(|_| KeyError::Rejected)?;
    let document = key.to_pkcs8_der().map_err(|_| KeyError::Rejected)?;
    Ok(Zeroizing::new(document.as_bytes().to_vec()))
}

/// Random octets without end from one seed, HMAC-SHA-256 of a counter, as the search for primes asks for
/// octets that cannot fail to come.
struct Stream {
    seed: hmac::Key,
    counter: u64,
    block: Zeroizing<Vec<u8>>,
}

impl Stream {
    fn new(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let seed = hmac::Key::new(hmac::HMAC_SHA256, &draw(random, 32)?);
        Ok(Self { seed, counter: 0, block: Zeroizing::new(Vec::new()) })
    }

    fn next_octet(&mut self) -> u8 {
        if let Some(octet) = self.block.pop() {
            return octet;
        }
        self.counter = self.counter.wrapping_add(1);
        let tag = hmac::sign(&self.seed, &self.counter.to_be_bytes());
        self.block.extend_from_slice(tag.as_ref());
        self.block.pop().unwrap_or_default()
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, octets: &mut [u8]) {
        octets.iter_mut().for_each(|octet| *octet = self.next_octet());
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(octets);
        Ok(())
    }
}

impl CryptoRng for Stream {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_those_of_one_stream_however_they_are_asked_for() {
        let stream = || {
            let seed = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            Stream { seed, counter: 0, block: Zeroizing::new(Vec::new()) }
        };
        let (mut whole, mut parts) = ([0; 100], stream());
        stream().fill_bytes(&mut whole);
        let mut rest = vec![0; 88];
        let begin = [&parts.next_u32().to_le_bytes()[..], &parts.next_u64().to_le_bytes()].concat();
        parts.try_fill_bytes(&mut rest).unwrap();
        assert_eq!([begin, rest].concat(), whole);
        assert_ne!(whole[..32], whole[32..64], "no block comes twice");
    }
}
