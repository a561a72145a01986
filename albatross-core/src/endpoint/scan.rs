//! Frames that are passed on octet by octet as they come: where each ends, and what it says.

use albatross_proto::{
    Data, Payload, Wire,
    frame::{FrameError, HEADER_LENGTH},
};

use super::limits::PEEK;

/// Follows a stream of frames without holding more than [`PEEK`] octets of it.
#[derive(Debug)]
pub(super) struct Scanner {
    limit: usize,
    /// Octets of the current frame's length that have come.
    header: Vec<u8>,
    /// Octets of the current frame that are still to come. Only of meaning when `header` is complete.
    left: usize,
    length: usize,
    head: Vec<u8>,
}

/// A frame that has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Octets in it.
    pub(super) length: usize,
    /// The first of them, at most [`PEEK`].
    head: Vec<u8>,
}

/// What a message says, as far as the endpoint wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Success,
    /// With the text, where it is short enough to have been kept.
    Failure(Option<String>),
    Data,
    /// The end of a block device's content.
    EndOfBlock,
    /// No message of a daemon.
    Nonsense,
}

impl Scanner {
    /// For frames of at most `limit` octets.
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, header: Vec::new(), left: 0, length: 0, head: Vec::new() }
    }

    /// Whether a frame has begun and has not ended.
    pub(super) const fn is_partial(&self) -> bool {
        !self.header.is_empty()
    }

    /// Takes octets from the front of `input` up to the end of a frame, and returns that frame if it has
    /// ended. Call it until `input` is empty.
    pub(super) fn scan(&mut self, input: &mut &[u8]) -> Result<Option<Passed>, FrameError> {
        if self.header.len() < HEADER_LENGTH {
            self.header.extend_from_slice(take(input, HEADER_LENGTH - self.header.len()));
            let Ok(header) = <[u8; HEADER_LENGTH]>::try_from(self.header.as_slice()) else { return Ok(None) };
            let length = u32::from_be_bytes(header);
            self.length = usize::try_from(length).unwrap_or(usize::MAX);
            self.left = self.length;
            if self.length > self.limit {
                return Err(FrameError::TooLong { length, limit: self.limit });
            }
        }
        let now = take(input, self.left);
        self.left -= now.len();
        let keep = now.len().min(PEEK.saturating_sub(self.head.len()));
        self.head.extend_from_slice(now.get(..keep).unwrap_or_default());
        if self.left > 0 {
            return Ok(None);
        }
        self.header.clear();
        Ok(Some(Passed { length: self.length, head: std::mem::take(&mut self.head) }))
    }
}

/// At most `count` octets from the front of `input`.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (now, later) = input.split_at_checked(count).unwrap_or((input, &[]));
    *input = later;
    now
}

impl Passed {
    /// What it says.
    pub(super) fn says(&self) -> Says {
        if self.length > self.head.len() {
            return match payload_tag(&self.head) {
                Some(1) => Says::Success,
                Some(2) => Says::Failure(None),
                Some(3) => Says::Data,
                _ => Says::Nonsense,
            };
        }
        match Wire::decode(&self.head).map(|wire| wire.payload) {
            Ok(Payload::Success(_)) => Says::Success,
            Ok(Payload::Failure(text)) => Says::Failure(Some(text.to_string())),
            Ok(Payload::Data(Data::Block(None))) => Says::EndOfBlock,
            Ok(Payload::Data(_)) => Says::Data,
            Ok(Payload::Command(_)) | Err(_) => Says::Nonsense,
        }
    }
}

/// The number of the CHOICE that is the payload of the message that begins with `head`.
///
/// ```asn1
/// Wire ::= SEQUENCE { header SEQUENCE { .. }, payload Payload }
/// ```
fn payload_tag(head: &[u8]) -> Option<u8> {
    const SEQUENCE: u8 = 0x30;
    const CONTEXT_CONSTRUCTED: u8 = 0xa0;
    let (tag, _, message) = header_of(head)?;
    let (header_tag, length, rest) = header_of(message)?;
    let payload = *rest.get(length..)?.first()?;
    (tag == SEQUENCE && header_tag == SEQUENCE && payload & 0xe0 == CONTEXT_CONSTRUCTED)
        .then_some(payload & 0x1f)
}

/// Tag, length and what follows of the DER value at the front of `bytes`.
fn header_of(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if first & 0x80 == 0 {
        return Some((*tag, usize::from(*first), rest));
    }
    let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let length = octets
        .iter()
        .try_fold(0_usize, |length, octet| length.checked_mul(256)?.checked_add(usize::from(*octet)))?;
    Some((*tag, length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_proto::{Header, Name, Success, Text, frame::frame};
    use std::borrow::Cow;

    fn message(payload: Payload<'_>) -> Vec<u8> {
        let name: Name = "alice:bob:hello".parse().unwrap();
        frame(&Wire::new(Header::new(7, name), payload).encode().unwrap())
    }

    fn says(payload: Payload<'_>) -> Says {
        let bytes = message(payload);
        let mut rest = bytes.as_slice();
        Scanner::new(1 << 20).scan(&mut rest).unwrap().unwrap().says()
    }

    #[test]
    fn short_and_long_messages_are_understood() {
        let long = vec![b'x'; 100_000];
        assert_eq!(says(Payload::Success(Success::Empty)), Says::Success);
        let image = Success::UnikernelImage { compressed: false, image: Cow::Borrowed(&long) };
        assert_eq!(says(Payload::Success(image)), Says::Success);
        assert_eq!(says(Payload::Failure(Text::from("no"))), Says::Failure(Some("no".into())));
        assert_eq!(says(Payload::Failure(Text::from(long.as_slice()))), Says::Failure(None));
        assert_eq!(says(Payload::Data(Data::Block(Some(Cow::Borrowed(&long))))), Says::Data);
        assert_eq!(says(Payload::Data(Data::Block(Some(Cow::Borrowed(b"x"))))), Says::Data);
        assert_eq!(says(Payload::Data(Data::Block(None))), Says::EndOfBlock);
        for nonsense in [&b""[..], b"\x30", &[0x30; 5000], &[0xff; 5000], &[0; 5000]] {
            let passed =
                Passed { length: nonsense.len(), head: nonsense[..nonsense.len().min(PEEK)].to_vec() };
            assert_eq!(passed.says(), Says::Nonsense);
        }
    }

    #[test]
    fn long_messages_with_long_headers_are_understood() {
        let name: Name = ["x".repeat(60), "y".repeat(60), "z".repeat(60)].join(":").parse().unwrap();
        let long = vec![b'x'; 5000];
        let payload = Payload::Failure(Text::from(long.as_slice()));
        let bytes = Wire::new(Header::new(7, name), payload).encode().unwrap();
        let passed = Passed { length: bytes.len(), head: bytes[..PEEK].to_vec() };
        assert_eq!(passed.says(), Says::Failure(None));
    }

    #[test]
    fn long_messages_that_only_resemble_one_are_nonsense() {
        let long = vec![b'x'; 5000];
        let bytes = message(Payload::Data(Data::Block(Some(Cow::Borrowed(&long)))));
        let head = &bytes[HEADER_LENGTH..];
        let says = |at: usize, octet| {
            let mut head = head[..PEEK].to_vec();
            head[at] = octet;
            Passed { length: bytes.len() - HEADER_LENGTH, head }.says()
        };
        // The message has a length of two octets, its header one of one.
        let (header, payload) = (4, 6 + usize::from(head[5]));
        assert_eq!((head[1], says(payload, 0xa3)), (0x82, Says::Data));
        for (at, octet) in [(0, 0x31), (header, 0x31), (payload, 0x83), (payload, 0x63), (payload, 0xa9)] {
            assert_eq!(says(at, octet), Says::Nonsense, "{octet:x} at {at}");
        }
    }

    #[test]
    fn frames_are_followed_however_they_arrive() {
        let mut stream = message(Payload::Success(Success::Empty));
        stream.extend(frame(&[]));
        stream.extend(message(Payload::Failure(Text::from("no"))));
        for piece in 1..=stream.len() {
            let mut scanner = Scanner::new(100);
            let mut lengths = Vec::new();
            for mut chunk in stream.chunks(piece) {
                while !chunk.is_empty() {
                    lengths.extend(scanner.scan(&mut chunk).unwrap().map(|passed| passed.length));
                }
            }
            assert_eq!(lengths.len(), 3);
            assert_eq!(lengths[1], 0);
            assert!(!scanner.is_partial());
        }
        let most = Scanner::new(100).scan(&mut frame(&[7; 100]).as_slice()).unwrap().unwrap();
        assert_eq!(most.length, 100);
        assert!(Scanner::new(100).scan(&mut frame(&[7; 101]).as_slice()).is_err());
        let mut huge: &[u8] = &[0x7f, 0xff, 0xff, 0xff, 0];
        assert!(Scanner::new(100).scan(&mut huge).is_err());
    }
}
