//! Reading DER forwards, with the position and the field for each error.
//!
//! Tags of one octet and definite lengths in their shortest form only, which is all that a list has.
//! Nothing is read twice and nothing is kept, so the time is that of the input's length.

use std::ops::Range;

use super::{ListError, ListErrorKind};

/// Tags as they stand in a list.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const EXPLICIT_0: u8 = 0xa0;
}

/// The most octets that give a length: 4 count to 4 GiB, more than a list may have.
const MAX_LENGTH_OCTETS: usize = 4;

/// A place in a list, and where the value that is read there ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    whole: &'a [u8],
    at: usize,
    /// Invariant: `at <= end <= whole.len()`.
    end: usize,
}

/// One value: where it begins and where its content stands.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    whole: &'a [u8],
    tag: u8,
    start: usize,
    content: Range<usize>,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0, end: whole.len() }
    }

    /// A part of a list that was read before.
    pub(super) fn part(whole: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(whole.len());
        Self { whole, at: range.start.min(end), end }
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.at == self.end
    }

    /// The tag of the next value, without reading it.
    pub(super) fn peek(&self) -> Option<u8> {
        if self.is_finished() { None } else { self.whole.get(self.at).copied() }
    }

    /// The next value, which has this tag.
    pub(super) fn expect(&mut self, tag: u8, field: &'static str) -> Result<Value<'a>, ListError> {
        match self.peek() {
            Some(found) if found == tag => self.any(field),
            Some(found) => Err(self.error(field, ListErrorKind::Tag { expected: tag, found })),
            None => Err(self.error(field, ListErrorKind::Ended)),
        }
    }

    /// The next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8, field: &'static str) -> Result<Option<Value<'a>>, ListError> {
        if self.peek() == Some(tag) { self.any(field).map(Some) } else { Ok(None) }
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self, field: &'static str) -> Result<Value<'a>, ListError> {
        #[cfg(test)]
        counted::READS.with(|reads| reads.set(reads.get() + 1));
        let start = self.at;
        let mut octets = self.whole.get(start..self.end).unwrap_or_default().iter().copied();
        let ended = || ListError::new(field, start, ListErrorKind::Ended);
        let tag = octets.next().ok_or_else(ended)?;
        let (length, header) = match octets.next().ok_or_else(ended)? {
            short @ 0..0x80 => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                let length = long_length(&mut octets, count);
                (length.ok_or_else(|| ListError::new(field, start, ListErrorKind::Length))?, 2 + count)
            }
        };
        let content = start.saturating_add(header);
        match content.checked_add(length) {
            Some(end) if end <= self.end => {
                self.at = end;
                Ok(Value { whole: self.whole, tag, start, content: content..end })
            }
            _ => Err(ended()),
        }
    }

    /// There is nothing more.
    pub(super) fn finish(&self, field: &'static str) -> Result<(), ListError> {
        if self.is_finished() { Ok(()) } else { Err(self.error(field, ListErrorKind::Trailing)) }
    }

    pub(super) const fn error(&self, field: &'static str, kind: ListErrorKind) -> ListError {
        ListError::new(field, self.at, kind)
    }
}

/// A length in its shortest form of `count` octets, none of them being the indefinite one.
fn long_length(octets: &mut impl Iterator<Item = u8>, count: usize) -> Option<usize> {
    let mut length = [0; MAX_LENGTH_OCTETS];
    let significant = length.get_mut(MAX_LENGTH_OCTETS.checked_sub(count)?..)?;
    for octet in significant.iter_mut() {
        *octet = octets.next()?;
    }
    if matches!(significant, [] | [0, ..]) {
        return None;
    }
    let length = u32::from_be_bytes(length);
    if length < 0x80 { None } else { usize::try_from(length).ok() }
}

impl<'a> Value<'a> {
    pub(crate) const fn tag(&self) -> u8 {
        self.tag
    }

    /// Where its content stands in the list.
    pub(crate) const fn range(&self) -> &Range<usize> {
        &self.content
    }

    /// Its content.
    pub(crate) fn content(&self) -> &'a [u8] {
        self.whole.get(self.content.clone()).unwrap_or_default()
    }

    /// With its tag and length.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.whole.get(self.start..self.content.end).unwrap_or_default()
    }

    /// With its tag and length.
    pub(crate) const fn raw_range(&self) -> Range<usize> {
        self.start..self.content.end
    }

    /// Reads its content.
    pub(super) fn inside(&self) -> Cursor<'a> {
        Cursor::part(self.whole, self.content.clone())
    }

    pub(crate) const fn error(&self, field: &'static str, kind: ListErrorKind) -> ListError {
        ListError::new(field, self.start, kind)
    }
}

#[cfg(test)]
pub(super) mod counted {
    std::thread_local! {
        /// How many values this thread has read.
        pub(crate) static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
}
