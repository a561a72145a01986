//! Frames one after the other, as they go over a socket.

use std::fmt;
use std::io;

use albatross_proto::frame::HEADER_LENGTH;
use albatross_proto::{DecodeError, Wire};

use crate::schema::{Slot, write_header, write_payload};

/// Whole frames, the first of which is a message.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a>(
    /// Invariant: passed [`Frames::read`].
    &'a [u8],
);

/// Octets that are not frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramesError {
    /// A frame ends after the octets do.
    Incomplete {
        /// Where the frame begins.
        position: usize,
        /// Octets that it announces.
        announced: u32,
        /// Octets that there are.
        found: usize,
    },
    /// The octets end within the length of a frame, or there is none.
    NoLength {
        /// Where the frame begins.
        position: usize,
    },
    /// The first frame is no message.
    NotAMessage(DecodeError),
}

impl<'a> Frames<'a> {
    /// Checks where the frames end, and that the first one is a message.
    pub(super) fn read(octets: &'a [u8]) -> Result<Self, FramesError> {
        let mut rest = octets;
        let mut is_first = true;
        while is_first || !rest.is_empty() {
            let position = octets.len().saturating_sub(rest.len());
            let (length, after) =
                rest.split_first_chunk::<HEADER_LENGTH>().ok_or(FramesError::NoLength { position })?;
            let announced = u32::from_be_bytes(*length);
            let (payload, next) = usize::try_from(announced)
                .ok()
                .and_then(|length| after.split_at_checked(length))
                .ok_or(FramesError::Incomplete { position, announced, found: after.len() })?;
            if is_first {
                Wire::decode(payload).map_err(|error| {
                    FramesError::NotAMessage(DecodeError {
                        position: error.position + HEADER_LENGTH,
                        ..error
                    })
                })?;
            }
            is_first = false;
            rest = next;
        }
        Ok(Self(octets))
    }

    /// What is in each frame.
    pub fn payloads(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<HEADER_LENGTH>()?;
            let (payload, next) =
                after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            rest = next;
            Some(payload)
        })
    }

    /// Writes the messages, and what is none as the chunk of a stream.
    pub(super) fn write(&self, slot: Slot<'_, '_>) -> io::Result<()> {
        slot.object(|fields| {
            fields.put("frames")?.list(self.payloads(), |slot, payload| {
                slot.object(|fields| match Wire::decode(payload) {
                    Ok(wire) => {
                        write_header(fields.put("header")?, &wire.header)?;
                        write_payload(fields.put("payload")?, &wire.payload)
                    }
                    Err(_) => fields.put("chunk_hex")?.hex(payload),
                })
            })
        })
    }
}

impl fmt::Display for FramesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { position, announced, found } => {
                write!(f, "the frame at byte {position} announces {announced} octets, and {found} follow")
            }
            Self::NoLength { position } => write!(f, "no length of a frame at byte {position}"),
            Self::NotAMessage(error) => write!(f, "the first frame is no message: {error}"),
        }
    }
}

impl std::error::Error for FramesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotAMessage(error) => Some(error),
            Self::Incomplete { .. } | Self::NoLength { .. } => None,
        }
    }
}
