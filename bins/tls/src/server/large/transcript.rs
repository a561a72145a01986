//! The hash of the messages up to the server's Finished, as RFC 8446 section 4.4.1 has it.

use ring::digest::{Algorithm, Context, digest};

use super::super::beginning::{Beginning, ENCRYPTED, HANDSHAKE, HEADER};
use super::keys::Keys;

/// Octets before a message: its type and length.
pub(super) const MESSAGE_HEADER: usize = 4;

/// The type of what stands for the first ClientHello where there are two.
const MESSAGE_HASH: u8 = 254;

/// The type of the server's last message.
const FINISHED: u8 = 20;

/// The messages that were said, the server's from its second on encrypted with `server`. `None` where they are not
/// those of a handshake up to there.
pub(super) fn transcript(
    beginning: &Beginning,
    server: &mut Keys,
    hash: &'static Algorithm,
) -> Option<Context> {
    let client = messages_in(beginning.clear(), |_, _| None)?;
    let server = messages_in(&beginning.said, |header, content| {
        let mut content = content.to_vec();
        let (kind, content) = server.open(header, &mut content).ok()?;
        (kind == HANDSHAKE).then(|| content.to_vec())
    })?;
    let (client, server) = (split(&client)?, split(&server)?);
    if server.last()?.first() != Some(&FINISHED) {
        return None;
    }
    let mut context = Context::new(hash);
    match client[..] {
        [hello] => context.update(hello),
        [first, second] => {
            let first = digest(hash, first);
            let length = u8::try_from(first.as_ref().len()).ok()?;
            context.update(&[MESSAGE_HASH, 0, 0, length]);
            context.update(first.as_ref());
            context.update(server.first()?);
            context.update(second);
        }
        _ => return None,
    }
    for message in server.get(client.len() - 1..)? {
        context.update(message);
    }
    Some(context)
}

/// The content of all records of a handshake, one after the other.
fn messages_in(
    mut records: &[u8],
    mut open: impl FnMut([u8; HEADER], &[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((header, rest)) = records.split_first_chunk::<HEADER>() {
        let [kind, _, _, high, low] = *header;
        let (content, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        match kind {
            HANDSHAKE => messages.extend_from_slice(content),
            ENCRYPTED => messages.extend(open(*header, content)?),
            _ => {}
        }
        records = rest;
    }
    records.is_empty().then_some(messages)
}

/// Each message, with its type and length.
fn split(mut octets: &[u8]) -> Option<Vec<&[u8]>> {
    let mut messages = Vec::new();
    while !octets.is_empty() {
        let length = length(octets.first_chunk()?);
        let (message, rest) = octets.split_at_checked(MESSAGE_HEADER + length)?;
        messages.push(message);
        octets = rest;
    }
    Some(messages)
}

/// The length that stands in a message's header.
pub(super) fn length([_, high, middle, low]: &[u8; MESSAGE_HEADER]) -> usize {
    usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low)
}
