//! Reading and writing DER on the primitives of the `der` crate: tags, lengths and headers are its own;
//! positions, field names and the types that are too narrow there (63-bit INTEGER, UTF8String of any
//! octets, explicit tags over choices) are added here.

mod decoder;
mod encoder;

use der::{Tag, TagNumber};

pub(crate) use decoder::Decoder;
pub(crate) use encoder::{Encoder, encode};

/// A context-specific, constructed tag: what an EXPLICIT tag is in DER.
pub(crate) const fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// The octet that a tag is, for those that the protocol has.
const fn octet(tag: Tag) -> Option<u8> {
    Some(match tag {
        Tag::Boolean => 0x01,
        Tag::Integer => 0x02,
        Tag::OctetString => 0x04,
        Tag::Null => 0x05,
        Tag::Utf8String => 0x0c,
        Tag::GeneralizedTime => 0x18,
        Tag::Sequence => 0x30,
        Tag::Set => 0x31,
        Tag::ContextSpecific { constructed: true, number: TagNumber(number @ 0..=30) } => {
            #[allow(clippy::cast_possible_truncation, reason = "at most 30")]
            let number = number as u8;
            0xa0 | number
        }
        _ => return None,
    })
}
