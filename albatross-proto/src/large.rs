//! A create whose image does not fit into memory with pleasure: where the image lies in the message, and
//! the message without it.
//!
//! Of a message that has only begun, [`find_image`] tells where its image will be; the octets there can go
//! to a file as they come, and [`ImageAt::cut_out`] gives the same message with an empty image, which is
//! decoded like any other. Nothing is accepted here that the decoder would refuse: whatever looks unusual
//! is [`Found::Nothing`], and the whole message is for the decoder to judge.
//!
//! This works as the image stands in the last field of everything around it: of the message, of the
//! command and of its alternative; only the rest of the configuration follows it.

use alloc::vec::Vec;
use core::ops::Range;

/// The most octets of a message before its image: a header with the longest name, and some tags.
pub const MAX_BEFORE_IMAGE: usize = 8 * 1024;

/// What the beginning of a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Too little has come to say.
    TooShort,
    /// It is no create with an image, or no message.
    Nothing,
    /// The image is there.
    Image(ImageAt),
}

/// Where the image of a create lies in its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageAt {
    /// The octets of the image.
    image: Range<usize>,
    /// The header of the message.
    header: Range<usize>,
    /// What stands in the configuration before the image.
    before: Range<usize>,
    /// The tag of the kind of create.
    kind: u8,
}

const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
/// `command [0]` of a payload.
const COMMAND: u8 = 0xa0;
/// `unikernel [3]` of a command.
const UNIKERNEL: u8 = 0xa3;
/// create-v3, force-create-v3, create-v4, force-create-v4, create and force-create of a unikernel command.
const CREATES: [u8; 6] = [0xa9, 0xaa, 0xb0, 0xb1, 0xb4, 0xb5];
/// `solo5 [0]` and `bhyve [1]`.
const TYPES: [u8; 2] = [0xa0, 0xa1];

/// Looks for the image in `begin`, the first octets of a message of `length` octets.
#[must_use]
pub fn find_image(begin: &[u8], length: usize) -> Found {
    let begin = begin.get(..MAX_BEFORE_IMAGE.min(length)).unwrap_or(begin);
    let scan = Scan { begin, length, position: 0 };
    match scan.image() {
        Ok(image) => Found::Image(image),
        Err(Unusual) => Found::Nothing,
        Err(End) if begin.len() >= MAX_BEFORE_IMAGE.min(length) => Found::Nothing,
        Err(End) => Found::TooShort,
    }
}

impl ImageAt {
    /// Where the image is in the message, from its first octet.
    #[must_use]
    pub const fn octets(&self) -> &Range<usize> {
        &self.image
    }

    /// The message with an empty image, from what stands before the image and what stands after it.
    #[must_use]
    pub fn cut_out(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        let mut config = before.get(self.before.clone()).unwrap_or_default().to_vec();
        config.extend_from_slice(&[OCTETS, 0]);
        config.extend_from_slice(after);
        let mut inside = config;
        for tag in [SEQUENCE, self.kind, UNIKERNEL, COMMAND] {
            inside = value(tag, &[&inside]);
        }
        value(SEQUENCE, &[before.get(self.header.clone()).unwrap_or_default(), &inside])
    }
}

/// A value of this tag and content.
fn value(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|part| part.len()).sum();
    let mut out = header(tag, length);
    out.reserve_exact(length);
    content.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// The tag and the length of a value.
pub(crate) fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(6);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let used = octets
                .iter()
                .position(|octet| *octet != 0)
                .map_or(&[0][..], |first| octets.get(first..).unwrap_or_default());
            // A usize has eight octets at most.
            out.push(0x80 | u8::try_from(used.len()).unwrap_or(8));
            out.extend_from_slice(used);
        }
    }
    out
}

enum Stop {
    /// The beginning ends here.
    End,
    /// It is not as it is in a create.
    Unusual,
}
use Stop::{End, Unusual};

struct Scan<'a> {
    begin: &'a [u8],
    length: usize,
    position: usize,
}

impl Scan<'_> {
    fn image(mut self) -> Result<ImageAt, Stop> {
        self.around(&[SEQUENCE])?;
        let header = self.whole(&[SEQUENCE])?;
        self.around(&[COMMAND])?;
        self.around(&[UNIKERNEL])?;
        let kind = self.around(&CREATES)?;
        self.around(&[SEQUENCE])?;
        let first = self.position;
        self.whole(&TYPES)?;
        self.whole(&[BOOLEAN])?;
        let before = first..self.position;
        let (_, length) = self.tag_and_length(&[OCTETS])?;
        let image = self.position..self.end_of(length)?;
        Ok(ImageAt { image, header, before, kind })
    }

    /// Enters a value that reaches to the end of the message.
    fn around(&mut self, tags: &[u8]) -> Result<u8, Stop> {
        let (tag, length) = self.tag_and_length(tags)?;
        if self.end_of(length)? == self.length { Ok(tag) } else { Err(Unusual) }
    }

    /// Passes over a value, which must be in what has come.
    fn whole(&mut self, tags: &[u8]) -> Result<Range<usize>, Stop> {
        let start = self.position;
        let (_, length) = self.tag_and_length(tags)?;
        self.position = self.end_of(length)?;
        if self.position > self.begin.len() { Err(End) } else { Ok(start..self.position) }
    }

    fn end_of(&self, length: usize) -> Result<usize, Stop> {
        self.position.checked_add(length).filter(|end| *end <= self.length).ok_or(Unusual)
    }

    fn tag_and_length(&mut self, tags: &[u8]) -> Result<(u8, usize), Stop> {
        let tag = self.octet()?;
        if !tags.contains(&tag) {
            return Err(Unusual);
        }
        let first = self.octet()?;
        if first < 0x80 {
            return Ok((tag, usize::from(first)));
        }
        let mut length = 0;
        for index in 0..first & 0x7f {
            let octet = self.octet()?;
            if index == 0 && octet == 0 || index == 4 {
                return Err(Unusual);
            }
            length = length << 8 | usize::from(octet);
        }
        if length < 0x80 { Err(Unusual) } else { Ok((tag, length)) }
    }

    fn octet(&mut self) -> Result<u8, Stop> {
        let octet = self.begin.get(self.position).copied().ok_or(End)?;
        self.position += 1;
        Ok(octet)
    }
}
