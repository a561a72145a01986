//! What the checks of machines share: bytes that say what happens, the clock, and what is sent.

use std::time::Duration;

use albatross_core::machine::Now;
use albatross_proto::frame::{FrameReader, MAX_MESSAGE};
use albatross_proto::{Name, Time, Wire};

/// What is left of the bytes that say what happens.
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.octet()?).min(self.0.len());
        let (octets, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(octets)
    }

    /// One of these names.
    pub(crate) fn name(&mut self, names: &[&str]) -> Option<Name> {
        let index = usize::from(self.octet()?) % names.len();
        Some(names[index].parse().unwrap())
    }
}

/// Both clocks, so long after their beginning.
pub(crate) fn at(millis: u64) -> Now {
    let wall = Time::from_unix_millis(i64::try_from(millis).unwrap()).unwrap();
    Now { monotonic: Duration::from_millis(millis), wall }
}

/// Calls `see` with each message of these frames, which are short and whole.
pub(crate) fn each_message(mut frames: &[u8], mut see: impl FnMut(Wire<'_>)) {
    let mut reader = FrameReader::new(MAX_MESSAGE);
    while !frames.is_empty() {
        if let Some(frame) = reader.read(&mut frames).expect("a short frame") {
            see(Wire::decode(&frame).expect("a message that can be read"));
        }
    }
    assert!(!reader.is_partial(), "half a frame");
}
