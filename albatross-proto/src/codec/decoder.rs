//! Reading.

use alloc::vec::Vec;

use der::{Decode, Header, Reader, SliceReader, Tag};

use super::{context, octet};
use crate::{DecodeError, DecodeErrorKind, Int, IntRangeError, Text};

type Result<T> = core::result::Result<T, DecodeError>;

/// Reads values one after the other from a slice that may be part of a larger one.
#[derive(Clone)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    /// Where the rest begins in the outermost slice, for error positions.
    position: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, position: 0 }
    }

    pub(crate) fn error(&self, field: &'static str, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { position: self.position, field, kind }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything must have been read.
    pub(crate) fn finish(self, field: &'static str) -> Result<()> {
        if self.is_finished() { Ok(()) } else { Err(self.error(field, DecodeErrorKind::TrailingData)) }
    }

    /// The next value, whatever it is: its tag and its content.
    #[cold]
    fn any(&mut self, field: &'static str) -> Result<(Tag, Self)> {
        let der = |error: der::Error| self.error(field, DecodeErrorKind::Der(error.kind()));
        let mut reader = SliceReader::new(self.rest).map_err(der)?;
        let header = Header::decode(&mut reader).map_err(der)?;
        let begin = usize::try_from(reader.position()).map_err(der)?;
        let content = reader.read_slice(header.length()).map_err(der)?;
        Ok((header.tag(), self.advance(begin, content)))
    }

    /// The content of the next value if its tag is this octet and its length is one octet, too: nearly all
    /// are like this, and are read here faster than by the general way.
    #[inline]
    fn short(&mut self, tag: u8) -> Option<Self> {
        match self.rest {
            [found, length @ 0..0x80, rest @ ..] if *found == tag => {
                let content = rest.get(..usize::from(*length))?;
                Some(self.advance(2, content))
            }
            _ => None,
        }
    }

    /// Goes on after a value whose content begins so many octets from here.
    #[inline]
    fn advance(&mut self, begin: usize, content: &'a [u8]) -> Self {
        let value = Self { rest: content, position: self.position + begin };
        self.position = value.position + content.len();
        self.rest = self.rest.get(begin + content.len()..).unwrap_or_default();
        value
    }

    #[inline]
    pub(crate) fn constructed(&mut self, expected: Tag, field: &'static str) -> Result<Self> {
        match octet(expected).and_then(|octet| self.short(octet)) {
            Some(content) => Ok(content),
            None => self.tagged(expected, field),
        }
    }

    #[cold]
    fn tagged(&mut self, expected: Tag, field: &'static str) -> Result<Self> {
        let position = self.position;
        let (found, content) = self.any(field)?;
        if found == expected {
            Ok(content)
        } else {
            Err(DecodeError { position, field, kind: DecodeErrorKind::UnexpectedTag { expected, found } })
        }
    }

    #[inline]
    fn primitive(&mut self, tag: Tag, field: &'static str) -> Result<&'a [u8]> {
        self.constructed(tag, field).map(|content| content.rest)
    }

    pub(crate) fn sequence(&mut self, field: &'static str) -> Result<Self> {
        self.constructed(Tag::Sequence, field)
    }

    pub(crate) fn set(&mut self, field: &'static str) -> Result<Self> {
        self.constructed(Tag::Set, field)
    }

    /// The alternative of a CHOICE whose alternatives are all explicitly tagged: its number and content.
    #[inline]
    pub(crate) fn choice(&mut self, field: &'static str) -> Result<(u32, Self)> {
        if let Some(first @ 0xa0..=0xbe) = self.rest.first().copied()
            && let Some(content) = self.short(first)
        {
            return Ok((u32::from(first & 0x1f), content));
        }
        let position = self.position;
        let (found, content) = self.any(field)?;
        match found {
            Tag::ContextSpecific { constructed: true, number } => Ok((number.value(), content)),
            _ => Err(DecodeError { position, field, kind: DecodeErrorKind::UnknownChoice { found } }),
        }
    }

    /// The error of an alternative that is not known; `self` is the content of the choice.
    pub(crate) fn unknown<T>(&self, field: &'static str, number: u32) -> Result<T> {
        Err(self.error(field, DecodeErrorKind::UnknownChoice { found: context(number) }))
    }

    /// Whether the next value has this tag, which is one of the protocol's.
    #[inline]
    pub(crate) fn next_is(&self, tag: Tag) -> bool {
        octet(tag).is_some_and(|octet| self.rest.first() == Some(&octet))
    }

    /// An OPTIONAL value, present if the next tag is `tag`.
    pub(crate) fn optional<T>(
        &mut self,
        tag: Tag,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.next_is(tag) { read(self).map(Some) } else { Ok(None) }
    }

    /// An OPTIONAL value under the explicit tag `number`.
    pub(crate) fn optional_explicit<T>(
        &mut self,
        number: u32,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        self.optional(context(number), |this| {
            let mut content = this.constructed(context(number), field)?;
            let value = read(&mut content)?;
            content.finish(field)?;
            Ok(value)
        })
    }

    /// Every value to the end of this slice.
    ///
    /// Room is made for as many values as there will be if those to come are like those before: a list
    /// takes the room that its values take, whatever their number.
    pub(crate) fn list<T>(mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut values = Vec::new();
        let octets = self.rest.len();
        while !self.is_finished() {
            let value = read(&mut self)?;
            if values.len() == values.capacity() {
                let before = values.len() + 1;
                let like_these = self.rest.len() / ((octets - self.rest.len()) / before).max(1);
                values.reserve_exact(1 + like_these.max(values.len() / 4));
            }
            values.push(value);
        }
        Ok(values)
    }

    pub(crate) fn octets(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.primitive(Tag::OctetString, field)
    }

    /// An OCTET STRING of exactly `N` octets.
    pub(crate) fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let position = self.position;
        let octets = self.octets(field)?;
        let kind = DecodeErrorKind::WrongLength { expected: N, found: octets.len() };
        octets.try_into().map_err(|_| DecodeError { position, field, kind })
    }

    pub(crate) fn int64(&mut self, field: &'static str) -> Result<i64> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    pub(crate) fn utf8(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.primitive(Tag::Utf8String, field)
    }

    pub(crate) fn generalized_time(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.primitive(Tag::GeneralizedTime, field)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<Text> {
        self.utf8(field).map(Text::from)
    }

    pub(crate) fn boolean(&mut self, field: &'static str) -> Result<bool> {
        let position = self.position;
        let content = self.primitive(Tag::Boolean, field)?;
        match content {
            [0] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(DecodeError { position, field, kind: DecodeErrorKind::Der(Tag::Boolean.value_error()) }),
        }
    }

    pub(crate) fn null(&mut self, field: &'static str) -> Result<()> {
        let position = self.position;
        let content = self.primitive(Tag::Null, field)?;
        if content.is_empty() {
            Ok(())
        } else {
            Err(DecodeError { position, field, kind: DecodeErrorKind::Der(Tag::Null.length_error()) })
        }
    }

    pub(crate) fn int(&mut self, field: &'static str) -> Result<Int> {
        let position = self.position;
        let content = self.primitive(Tag::Integer, field)?;
        let kind = match minimal_integer(content) {
            Some(value) => match Int::new(value) {
                Ok(int) => return Ok(int),
                Err(error) => DecodeErrorKind::IntRange(error),
            },
            None if content.len() > 8 => DecodeErrorKind::IntRange(IntRangeError),
            None => DecodeErrorKind::Der(Tag::Integer.value_error()),
        };
        Err(DecodeError { position, field, kind })
    }
}

/// A two's complement number of 1 to 8 octets, minimal as DER asks.
fn minimal_integer(content: &[u8]) -> Option<i64> {
    match content {
        [] => return None,
        [0x00, second, ..] if *second < 0x80 => return None,
        [0xff, second, ..] if *second >= 0x80 => return None,
        _ => {}
    }
    let first = *content.first()?;
    let mut octets = [if first < 0x80 { 0 } else { 0xff }; 8];
    octets.get_mut(8usize.checked_sub(content.len())?..)?.copy_from_slice(content);
    Some(i64::from_be_bytes(octets))
}
