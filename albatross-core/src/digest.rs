//! The SHA-256 (FIPS 180-4) of something in parts, or as much of it as is needed.

use ring::digest::{Context, SHA256};

/// The first `N` octets, of 32 at most, of the SHA-256 of these parts one after the other.
pub(crate) fn sha256<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut first = [0; N];
    first.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    first
}
