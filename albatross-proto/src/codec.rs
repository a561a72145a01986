//! Reading and writing DER on the primitives of the `der` crate: tags, lengths and headers are its own;
//! positions, field names and the types that are too narrow there (63-bit INTEGER, UTF8String of any
//! octets, explicit tags over choices) are added here.

use alloc::vec::Vec;

use der::{Decode, Encode, Header, Length, Reader, SliceReader, Tag, TagNumber, Writer};

use crate::{DecodeError, DecodeErrorKind, EncodeError, Int, IntRangeError, Text, frame::MAX_ENCODED};

type Result<T> = core::result::Result<T, DecodeError>;

/// A context-specific, constructed tag: what an EXPLICIT tag is in DER.
pub(crate) const fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// Reads values one after the other from a slice that may be part of a larger one.
pub(crate) struct Decoder<'a> {
    reader: SliceReader<'a>,
    /// Where this slice begins in the outermost one, for error positions.
    base: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8], field: &'static str) -> Result<Self> {
        Self::nested(bytes, 0, field)
    }

    fn nested(bytes: &'a [u8], base: usize, field: &'static str) -> Result<Self> {
        match SliceReader::new(bytes) {
            Ok(reader) => Ok(Self { reader, base }),
            Err(error) => {
                Err(DecodeError { position: base, field, kind: DecodeErrorKind::Der(error.kind()) })
            }
        }
    }

    fn position(&self) -> usize {
        self.base + usize::try_from(self.reader.position()).unwrap_or(usize::MAX)
    }

    pub(crate) fn error(&self, field: &'static str, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { position: self.position(), field, kind }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.reader.is_finished()
    }

    /// Everything must have been read.
    pub(crate) fn finish(self, field: &'static str) -> Result<()> {
        if self.is_finished() { Ok(()) } else { Err(self.error(field, DecodeErrorKind::TrailingData)) }
    }

    /// The next value, whatever it is: its tag, where its content begins, and its content.
    fn any(&mut self, field: &'static str) -> Result<(Tag, usize, &'a [u8])> {
        let position = self.position();
        let der =
            |error: der::Error| DecodeError { position, field, kind: DecodeErrorKind::Der(error.kind()) };
        let header = Header::decode(&mut self.reader).map_err(der)?;
        let start = self.position();
        let content = self.reader.read_slice(header.length()).map_err(der)?;
        Ok((header.tag(), start, content))
    }

    fn tagged(&mut self, expected: Tag, field: &'static str) -> Result<(usize, &'a [u8])> {
        let position = self.position();
        let (found, start, content) = self.any(field)?;
        if found == expected {
            Ok((start, content))
        } else {
            Err(DecodeError { position, field, kind: DecodeErrorKind::UnexpectedTag { expected, found } })
        }
    }

    pub(crate) fn constructed(&mut self, tag: Tag, field: &'static str) -> Result<Self> {
        let (start, content) = self.tagged(tag, field)?;
        Self::nested(content, start, field)
    }

    pub(crate) fn sequence(&mut self, field: &'static str) -> Result<Self> {
        self.constructed(Tag::Sequence, field)
    }

    pub(crate) fn set(&mut self, field: &'static str) -> Result<Self> {
        self.constructed(Tag::Set, field)
    }

    /// The alternative of a CHOICE whose alternatives are all explicitly tagged: its number and content.
    pub(crate) fn choice(&mut self, field: &'static str) -> Result<(u32, Self)> {
        let position = self.position();
        let (found, start, content) = self.any(field)?;
        match found {
            Tag::ContextSpecific { constructed: true, number } => {
                Ok((number.value(), Self::nested(content, start, field)?))
            }
            _ => Err(DecodeError { position, field, kind: DecodeErrorKind::UnknownChoice { found } }),
        }
    }

    /// The error of an alternative that is not known; `self` is the content of the choice.
    pub(crate) fn unknown<T>(&self, field: &'static str, number: u32) -> Result<T> {
        Err(self.error(field, DecodeErrorKind::UnknownChoice { found: context(number) }))
    }

    pub(crate) fn next_is(&self, tag: Tag) -> bool {
        Tag::peek(&self.reader).is_ok_and(|found| found == tag)
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
    pub(crate) fn collect<T, C: FromIterator<T>>(
        mut self,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<C> {
        core::iter::from_fn(|| (!self.is_finished()).then(|| read(&mut self))).collect()
    }

    pub(crate) fn octets(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.tagged(Tag::OctetString, field).map(|(_, content)| content)
    }

    /// An OCTET STRING of exactly `N` octets.
    pub(crate) fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let position = self.position();
        let octets = self.octets(field)?;
        let kind = DecodeErrorKind::WrongLength { expected: N, found: octets.len() };
        octets.try_into().map_err(|_| DecodeError { position, field, kind })
    }

    pub(crate) fn int64(&mut self, field: &'static str) -> Result<i64> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    pub(crate) fn utf8(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.tagged(Tag::Utf8String, field).map(|(_, content)| content)
    }

    pub(crate) fn generalized_time(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.tagged(Tag::GeneralizedTime, field).map(|(_, content)| content)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<Text> {
        self.utf8(field).map(Text::from)
    }

    pub(crate) fn boolean(&mut self, field: &'static str) -> Result<bool> {
        let position = self.position();
        let (_, content) = self.tagged(Tag::Boolean, field)?;
        match content {
            [0] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(DecodeError { position, field, kind: DecodeErrorKind::Der(Tag::Boolean.value_error()) }),
        }
    }

    pub(crate) fn null(&mut self, field: &'static str) -> Result<()> {
        let position = self.position();
        let (_, content) = self.tagged(Tag::Null, field)?;
        if content.is_empty() {
            Ok(())
        } else {
            Err(DecodeError { position, field, kind: DecodeErrorKind::Der(Tag::Null.length_error()) })
        }
    }

    pub(crate) fn int(&mut self, field: &'static str) -> Result<Int> {
        let position = self.position();
        let (_, content) = self.tagged(Tag::Integer, field)?;
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

/// Writes values one after the other, or counts the octets that they would take.
pub(crate) enum Encoder<'a> {
    Count(usize),
    Write(&'a mut Vec<u8>),
}

impl Writer for Encoder<'_> {
    fn write(&mut self, slice: &[u8]) -> der::Result<()> {
        self.put(slice);
        Ok(())
    }
}

impl Encoder<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Count(length) => *length = length.saturating_add(bytes.len()),
            Self::Write(out) => out.extend_from_slice(bytes),
        }
    }

    fn header(&mut self, tag: Tag, length: usize) {
        // `encode` has counted the whole before anything is written and refused what is longer than
        // MAX_ENCODED, which fits into a Length; while counting, the end of the range stands for "longer".
        let length = u32::try_from(length).map_or(Length::MAX, Length::new);
        let written = Header::new(tag, length).encode(self);
        debug_assert!(written.is_ok(), "a header of a valid tag and length can be written");
    }

    pub(crate) fn value(&mut self, tag: Tag, content: &[u8]) {
        self.header(tag, content.len());
        self.put(content);
    }

    /// A value whose content is written piece by piece.
    pub(crate) fn constructed(&mut self, tag: Tag, content: impl Fn(&mut Encoder<'_>)) {
        let mut count = Encoder::Count(0);
        content(&mut count);
        let Encoder::Count(length) = count else { return };
        self.header(tag, length);
        match self {
            Self::Count(total) => *total = total.saturating_add(length),
            Self::Write(_) => content(self),
        }
    }

    pub(crate) fn sequence(&mut self, content: impl Fn(&mut Encoder<'_>)) {
        self.constructed(Tag::Sequence, content);
    }

    pub(crate) fn explicit(&mut self, number: u32, content: impl Fn(&mut Encoder<'_>)) {
        self.constructed(context(number), content);
    }

    /// An alternative or field that says all by its tag.
    pub(crate) fn explicit_null(&mut self, number: u32) {
        self.explicit(number, |out| out.null());
    }

    pub(crate) fn optional<T>(
        &mut self,
        number: u32,
        value: Option<T>,
        write: impl Fn(&mut Encoder<'_>, &T),
    ) {
        if let Some(value) = value {
            self.explicit(number, |out| write(out, &value));
        }
    }

    /// A SET OF: its members sorted by their encodings.
    pub(crate) fn set_of<T>(
        &mut self,
        members: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Encoder<'_>, T),
    ) {
        let mut encodings: Vec<Vec<u8>> = members
            .into_iter()
            .map(|member| {
                let mut encoding = Vec::new();
                write(&mut Encoder::Write(&mut encoding), member);
                encoding
            })
            .collect();
        encodings.sort_unstable();
        self.constructed(Tag::Set, |out| encodings.iter().for_each(|encoding| out.put(encoding)));
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) {
        self.value(Tag::OctetString, octets);
    }

    pub(crate) fn int64(&mut self, value: i64) {
        self.octets(&value.to_be_bytes());
    }

    pub(crate) fn utf8(&mut self, text: &[u8]) {
        self.value(Tag::Utf8String, text);
    }

    pub(crate) fn text(&mut self, text: &Text) {
        self.utf8(text.as_bytes());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.value(Tag::Boolean, if value { &[0xff] } else { &[0] });
    }

    pub(crate) fn null(&mut self) {
        self.value(Tag::Null, &[]);
    }

    pub(crate) fn int(&mut self, value: Int) {
        let octets = value.get().to_be_bytes();
        let sign = if value.get() < 0 { 0xff } else { 0 };
        let mut content = octets.as_slice();
        while let [first, second, ..] = content {
            if *first != sign || (*second ^ sign) >= 0x80 {
                break;
            }
            content = content.get(1..).unwrap_or_default();
        }
        self.value(Tag::Integer, content);
    }
}

/// What `write` writes, in one allocation of the right size.
pub(crate) fn encode(write: impl Fn(&mut Encoder<'_>)) -> core::result::Result<Vec<u8>, EncodeError> {
    let mut count = Encoder::Count(0);
    write(&mut count);
    let length = if let Encoder::Count(length) = count { length } else { 0 };
    if length > MAX_ENCODED {
        return Err(EncodeError::TooLong { length });
    }
    let mut out = Vec::with_capacity(length);
    write(&mut Encoder::Write(&mut out));
    Ok(out)
}
