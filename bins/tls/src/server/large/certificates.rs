//! The certificates in their message.

use albatross_core::certificate::{Certificate, MAX_CHAIN, chain_from_der};
use albatross_core::endpoint::limits::MAX_LARGE_CHAIN;

use super::super::{MAX_CHAIN_OCTETS, TlsError};

/// The chain in the body of a message, of which nothing is copied. It is large by the command of its leaf and by
/// nothing else.
pub(super) fn read(body: &[u8]) -> Result<Vec<Certificate<'_>>, TlsError> {
    let ders = certificates(body)
        .ok_or_else(|| TlsError::Other("the message with the client's certificates is none".to_owned()))?;
    if ders.is_empty() {
        return Err(TlsError::Other("the client showed no certificate".to_owned()));
    }
    let chain = chain_from_der(ders.iter().copied(), MAX_LARGE_CHAIN).map_err(TlsError::Chain)?;
    let size: usize = ders.iter().map(|der| der.len()).sum();
    let command = chain.first().and_then(Certificate::command_extension).map_or(0, <[u8]>::len);
    if size - command.min(size) > MAX_CHAIN_OCTETS {
        return Err(TlsError::LargeBesideCommand { limit: MAX_CHAIN_OCTETS });
    }
    Ok(chain)
}

/// ```text
/// context (0..255) list (0..2^24-1) of { certificate (1..2^24-1) extensions (0..2^16-1) }
/// ```
/// Context and extensions answer what the server asked for, which is nothing. One certificate more than may be in a
/// chain is enough to see that it is too long.
fn certificates(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = body;
    let context = take(&mut rest, 1)?;
    let mut list = take(&mut rest, 3)?;
    let mut ders = Vec::new();
    while !list.is_empty() && ders.len() <= MAX_CHAIN {
        ders.push(take(&mut list, 3)?);
        if !take(&mut list, 2)?.is_empty() {
            return None;
        }
    }
    (rest.is_empty() && context.is_empty()).then_some(ders)
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

    fn body(ders: &[&[u8]], context: &[u8], extensions: &[u8]) -> Vec<u8> {
        let length = |count: usize| u32::try_from(count).unwrap().to_be_bytes()[1..].to_vec();
        let entries = ders.iter().map(|der| [&length(der.len())[..], der, extensions].concat());
        let list: Vec<u8> = entries.flatten().collect();
        [context, &length(list.len()), &list].concat()
    }

    #[test]
    fn certificates_are_found_in_their_message() {
        for ders in [&[][..], &[&b"leaf"[..]], &[b"leaf", b"", b"another"]] {
            assert_eq!(certificates(&body(ders, &[0], &[0, 0])), Some(ders.to_vec()));
        }
        let whole = body(&[b"leaf", b"ca"], &[0], &[0, 0]);
        for end in 0..whole.len() {
            assert_eq!(certificates(&whole[..end]), None, "{end}");
        }
        assert_eq!(certificates(&[&whole[..], &[0]].concat()), None);
        assert_eq!(certificates(&body(&[b"leaf"], &[1, 7], &[0, 0])), None);
        assert_eq!(certificates(&body(&[b"leaf"], &[0], &[0, 4, 0, 5, 0, 0])), None);
    }
}
