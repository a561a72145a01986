//! Writing, in two passes: the first counts how long everything will be, the second writes.

use alloc::{vec, vec::Vec};

use der::{Encode, Header, Length, Tag, Writer};

use super::{context, octet};
use crate::{EncodeError, Int, Text, frame::MAX_ENCODED};

/// What `write` writes, in one allocation of the right size.
pub(crate) fn encode(write: impl Fn(&mut Encoder<'_>)) -> Result<Vec<u8>, EncodeError> {
    let mut lengths = Lengths::default();
    let mut counting = Encoder { pass: Pass::Count, length: 0, lengths: &mut lengths };
    write(&mut counting);
    let length = counting.length;
    if length > MAX_ENCODED {
        return Err(EncodeError::TooLong { length });
    }
    let mut out = vec![0; length];
    lengths.next = 0;
    let mut writing = Encoder { pass: Pass::Write(&mut out), length: 0, lengths: &mut lengths };
    write(&mut writing);
    debug_assert_eq!(writing.length, length, "what was counted was written");
    Ok(out)
}

/// Writes values one after the other, or counts the octets that they will take.
pub(crate) struct Encoder<'a> {
    pass: Pass<'a>,
    /// Octets so far.
    length: usize,
    lengths: &'a mut Lengths,
}

enum Pass<'a> {
    Count,
    /// Into what has as many octets as were counted.
    Write(&'a mut [u8]),
}

/// How long the content of each constructed value is, in the order in which they begin. The first pass
/// finds out, the second needs it before it writes a header.
#[derive(Default)]
struct Lengths {
    /// A short message has no more than these, and needs no allocation for them.
    first: [usize; 12],
    others: Vec<usize>,
    next: usize,
}

impl Lengths {
    /// The place of the next constructed value.
    #[inline]
    fn begin(&mut self) -> usize {
        let index = self.next;
        self.next += 1;
        index
    }

    #[inline]
    fn at(&mut self, index: usize) -> Option<&mut usize> {
        match index.checked_sub(self.first.len()) {
            None => self.first.get_mut(index),
            Some(index) => {
                if index >= self.others.len() {
                    self.others.resize(index + 1, 0);
                }
                self.others.get_mut(index)
            }
        }
    }
}

impl Writer for Encoder<'_> {
    fn write(&mut self, slice: &[u8]) -> der::Result<()> {
        self.put(slice);
        Ok(())
    }
}

impl Encoder<'_> {
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Pass::Write(out) = &mut self.pass
            && let Some(place) = out.get_mut(self.length..end)
        {
            place.copy_from_slice(bytes);
        }
        self.length = end;
    }

    #[inline]
    fn header(&mut self, tag: Tag, length: usize) {
        match (octet(tag), u8::try_from(length)) {
            // Nearly all are like this, and are written faster than by the general way.
            (Some(tag), Ok(length @ 0..0x80)) => self.put(&[tag, length]),
            _ => self.long_header(tag, length),
        }
    }

    #[cold]
    fn long_header(&mut self, tag: Tag, length: usize) {
        // `encode` has counted the whole before anything is written and refused what is longer than
        // MAX_ENCODED, which fits into a Length; while counting, the end of the range stands for "longer".
        let length = u32::try_from(length).map_or(Length::MAX, Length::new);
        let written = Header::new(tag, length).encode(self);
        debug_assert!(written.is_ok(), "a header of a valid tag and length can be written");
    }

    #[inline]
    pub(crate) fn value(&mut self, tag: Tag, content: &[u8]) {
        self.header(tag, content.len());
        self.put(content);
    }

    /// A value whose content is these parts.
    #[inline]
    pub(crate) fn parts<const N: usize>(&mut self, tag: Tag, parts: [&[u8]; N]) {
        self.header(tag, parts.iter().fold(0, |length, part| length.saturating_add(part.len())));
        parts.iter().for_each(|part| self.put(part));
    }

    /// A value whose content is written piece by piece.
    #[inline]
    pub(crate) fn constructed(&mut self, tag: Tag, content: impl Fn(&mut Encoder<'_>)) {
        let index = self.lengths.begin();
        if let Pass::Write(_) = self.pass {
            let length = self.lengths.at(index).map_or(0, |length| *length);
            self.header(tag, length);
        }
        let before = self.length;
        content(self);
        if let Pass::Count = self.pass {
            let length = self.length - before;
            if let Some(place) = self.lengths.at(index) {
                *place = length;
            }
            self.header(tag, length);
        }
    }

    #[inline]
    pub(crate) fn sequence(&mut self, content: impl Fn(&mut Encoder<'_>)) {
        self.constructed(Tag::Sequence, content);
    }

    #[inline]
    pub(crate) fn explicit(&mut self, number: u32, content: impl Fn(&mut Encoder<'_>)) {
        self.constructed(context(number), content);
    }

    /// An alternative or field that says all by its tag.
    #[inline]
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
        members: impl IntoIterator<Item = T> + Clone,
        write: impl Fn(&mut Encoder<'_>, T),
    ) {
        self.constructed(Tag::Set, |out| {
            let first = out.length;
            // Where each member but the first begins: mostly, there is none.
            let mut others = Vec::new();
            for member in members.clone() {
                if out.length > first && matches!(out.pass, Pass::Write(_)) {
                    others.push(out.length - first);
                }
                write(out, member);
            }
            if let Pass::Write(written) = &mut out.pass {
                sort_members(written.get_mut(first..out.length).unwrap_or_default(), &others);
            }
        });
    }

    #[inline]
    pub(crate) fn octets(&mut self, octets: &[u8]) {
        self.value(Tag::OctetString, octets);
    }

    #[inline]
    pub(crate) fn int64(&mut self, value: i64) {
        self.octets(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn utf8(&mut self, text: &[u8]) {
        self.value(Tag::Utf8String, text);
    }

    #[inline]
    pub(crate) fn text(&mut self, text: &Text) {
        self.utf8(text.as_bytes());
    }

    #[inline]
    pub(crate) fn boolean(&mut self, value: bool) {
        self.value(Tag::Boolean, if value { &[0xff] } else { &[0] });
    }

    #[inline]
    pub(crate) fn null(&mut self) {
        self.value(Tag::Null, &[]);
    }

    #[inline]
    pub(crate) fn int(&mut self, value: Int) {
        if let Ok(small @ 0..0x80) = u8::try_from(value.get()) {
            return self.value(Tag::Integer, &[small]);
        }
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

/// Sorts encodings that stand one after the other; `others` says where each but the first begins.
fn sort_members(members: &mut [u8], others: &[usize]) {
    if others.is_empty() || split_members(members, others).is_sorted() {
        return;
    }
    let unsorted = members.to_vec();
    let mut sorted: Vec<&[u8]> = split_members(&unsorted, others).collect();
    sorted.sort_unstable();
    let mut rest = members;
    for member in sorted {
        let Some((place, later)) = rest.split_at_mut_checked(member.len()) else { return };
        place.copy_from_slice(member);
        rest = later;
    }
}

fn split_members<'m>(members: &'m [u8], others: &'m [usize]) -> impl Iterator<Item = &'m [u8]> {
    let begins = core::iter::once(0).chain(others.iter().copied());
    let ends = others.iter().copied().chain([members.len()]);
    begins.zip(ends).map(|(begin, end)| members.get(begin..end).unwrap_or_default())
}
