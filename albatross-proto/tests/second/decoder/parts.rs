//! Values and what they are made of.

use std::{iter::Peekable, vec::IntoIter};

use asn1_rs::{Any, Class, FromDer, Tag, ToDer};

use super::{Refused, Result};

/// What a constructed value is made of, first to last.
pub(super) struct Parts<'a>(Peekable<IntoIter<Any<'a>>>);

impl<'a> Parts<'a> {
    /// Cuts content into its values.
    fn of(mut content: &'a [u8]) -> Result<Self> {
        let mut parts = Vec::new();
        while !content.is_empty() {
            let (rest, any) = Any::from_der(content).map_err(|_| Refused)?;
            let header = content.len() - rest.len() - any.data.len();
            check_header(&any, header)?;
            content = rest;
            parts.push(any);
        }
        Ok(Self(parts.into_iter().peekable()))
    }

    /// The next value, which must be there.
    pub(super) fn take(&mut self) -> Result<Any<'a>> {
        self.0.next().ok_or(Refused)
    }

    /// The next value if it has this universal tag.
    pub(super) fn take_if(&mut self, tag: Tag) -> Option<Any<'a>> {
        self.0.next_if(|any| is(any, Class::Universal, tag == Tag::Sequence, tag))
    }

    /// The next value if it has this explicit or constructed context tag.
    pub(super) fn take_if_context(&mut self, number: u32) -> Option<Any<'a>> {
        self.0.next_if(|any| is(any, Class::ContextSpecific, true, Tag(number)))
    }

    /// What stands under this explicit tag, if it is there.
    pub(super) fn optional<T>(
        &mut self,
        number: u32,
        read: impl FnOnce(&Any<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        let any = self.take_if_context(number);
        any.map(|any| explicit(&any).and_then(|(_, content)| read(&content))).transpose()
    }

    /// Every value that is left.
    pub(super) fn all<T>(self, read: impl FnMut(&Any<'a>) -> Result<T>) -> Result<Vec<T>> {
        let mut read = read;
        self.0.map(|any| read(&any)).collect()
    }

    /// No value may be left.
    pub(super) fn end(mut self) -> Result<()> {
        if self.0.peek().is_none() { Ok(()) } else { Err(Refused) }
    }

    /// Only context tags from `first` upwards, in ascending order, may be left: fields of later versions.
    pub(super) fn end_or_later(self, first: u32) -> Result<()> {
        let mut last = first.checked_sub(1);
        for any in self.0 {
            let number = any.tag().0;
            if !is(&any, Class::ContextSpecific, true, Tag(number)) || last.is_some_and(|last| number <= last)
            {
                return Err(Refused);
            }
            last = Some(number);
        }
        Ok(())
    }
}

/// `asn1-rs` reads tags and lengths in forms that are not the shortest, which DER forbids: the octets that
/// it read must be those that it would write.
fn check_header(any: &Any<'_>, header: usize) -> Result<()> {
    let mut tag = Vec::new();
    (any.class(), any.header.is_constructed(), any.tag()).write_der_header(&mut tag).map_err(|_| Refused)?;
    let length = any.header.length().to_der_len().map_err(|_| Refused)?;
    if any.header.raw_tag() == Some(tag.as_slice()) && header == tag.len() + length {
        Ok(())
    } else {
        Err(Refused)
    }
}

/// `asn1-rs` compares numbers of tags only: class and constructed bit are compared here.
pub(super) fn is(any: &Any<'_>, class: Class, constructed: bool, tag: Tag) -> bool {
    any.class() == class && any.header.is_constructed() == constructed && any.header.tag() == tag
}

/// `bytes` as one value and nothing else.
pub(super) fn only(bytes: &[u8]) -> Result<Any<'_>> {
    let mut parts = Parts::of(bytes)?;
    let any = parts.take()?;
    parts.end()?;
    Ok(any)
}

pub(super) fn sequence<'a>(any: &Any<'a>) -> Result<Parts<'a>> {
    universal(any, Tag::Sequence)
}

pub(super) fn set<'a>(any: &Any<'a>) -> Result<Parts<'a>> {
    universal(any, Tag::Set)
}

fn universal<'a>(any: &Any<'a>, tag: Tag) -> Result<Parts<'a>> {
    if is(any, Class::Universal, true, tag) { Parts::of(any.data) } else { Err(Refused) }
}

/// What is under an implicit tag over a SEQUENCE.
pub(super) fn implicit<'a>(any: &Any<'a>) -> Result<Parts<'a>> {
    Parts::of(any.data)
}

/// The number of an explicit tag, and the one value under it.
pub(super) fn explicit<'a>(any: &Any<'a>) -> Result<(u32, Any<'a>)> {
    let number = any.tag();
    if is(any, Class::ContextSpecific, true, number) { Ok((number.0, only(any.data)?)) } else { Err(Refused) }
}
