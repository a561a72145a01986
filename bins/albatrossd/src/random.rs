//! Randomness.

use std::io;

use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// Octets that nobody can know.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|Unspecified| io::Error::other("the system gives no random octets"))?;
    Ok(octets)
}
