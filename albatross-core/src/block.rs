//! The content of a block device on its way: received in chunks, inflated and counted, in constant memory.
//!
//! What a client streams is taken by [`Intake`], which stands between the octets of its connection and the
//! file: it finds the chunks, sees to it that they never have more content than the device, and tells
//! whether all of it came. [`Content`] is the same without the frames, for content that came in a message.

use core::fmt;

use albatross_proto::frame::{FrameError, HEADER_LENGTH, MAX_CHUNK};
use flate2::{Decompress, FlushDecompress, Status};

use crate::image::InflateError;

#[cfg(test)]
mod tests;

/// Octets in a MB, as block devices are measured.
pub const MB: u64 = 1024 * 1024;

/// Octets of a chunk of a dump, uncompressed or not: what peers send at most, too.
pub const DUMP_CHUNK: usize = 64 * 1024;

/// Octets that are inflated at a time.
const PIECE: usize = 64 * 1024;

/// Why content is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntakeError {
    /// A chunk is longer than one may be.
    Chunk(FrameError),
    /// There is more content than the device holds.
    TooLong {
        /// Octets of the device.
        limit: u64,
    },
    /// It was to be a zlib stream and is not one, or not a whole one.
    Inflate(InflateError),
    /// The connection ended before the empty frame that ends the stream.
    Cut,
}

/// Takes content in pieces, compressed or not, and gives it out uncompressed.
pub struct Content {
    inflating: Option<(Decompress, Box<[u8]>)>,
    /// The zlib stream has ended.
    ended: bool,
    /// Octets that were given out.
    length: u64,
    limit: u64,
}

impl Content {
    /// Takes content of at most `limit` octets uncompressed.
    #[must_use]
    pub fn new(compressed: bool, limit: u64) -> Self {
        Self {
            inflating: compressed.then(|| (Decompress::new(true), vec![0; PIECE].into_boxed_slice())),
            ended: false,
            length: 0,
            limit,
        }
    }

    /// Takes the next octets; `keep` is given those of the content, never more than the limit.
    ///
    /// # Errors
    /// The outer ones are those of `keep`, the inner ones [`IntakeError`]. Nothing can be fed afterwards.
    pub fn feed<E>(
        &mut self,
        octets: &[u8],
        mut keep: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), IntakeError>, E> {
        let limit = self.limit;
        let Some((inflate, piece)) = &mut self.inflating else {
            self.length = self.length.saturating_add(count(octets.len()));
            return if self.length > limit {
                Ok(Err(IntakeError::TooLong { limit }))
            } else {
                keep(octets).map(Ok)
            };
        };
        let mut rest = octets;
        loop {
            if self.ended {
                let end = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
                let trailing = IntakeError::Inflate(InflateError::TrailingData { end });
                return Ok(if rest.is_empty() { Ok(()) } else { Err(trailing) });
            }
            let before = (inflate.total_in(), inflate.total_out());
            let Ok(status) = inflate.decompress(rest, piece, FlushDecompress::None) else {
                return Ok(Err(IntakeError::Inflate(InflateError::Malformed)));
            };
            let taken = usize::try_from(inflate.total_in() - before.0).unwrap_or(usize::MAX);
            let given = usize::try_from(inflate.total_out() - before.1).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            self.length = inflate.total_out();
            if self.length > limit {
                return Ok(Err(IntakeError::TooLong { limit }));
            }
            keep(piece.get(..given).unwrap_or_default())?;
            self.ended = status == Status::StreamEnd;
            if !self.ended && taken == 0 && given == 0 {
                return Ok(Ok(()));
            }
        }
    }

    /// All has come: how many octets it was, uncompressed.
    ///
    /// # Errors
    /// [`InflateError::Truncated`] where a zlib stream was cut off.
    pub fn finish(self) -> Result<u64, IntakeError> {
        if self.inflating.is_some() && !self.ended {
            return Err(IntakeError::Inflate(InflateError::Truncated));
        }
        Ok(self.length)
    }
}

/// Whether more of a stream is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its end has not come.
    More,
    /// The empty frame came. What follows it is no part of the stream and was not looked at.
    Ended,
}

/// Takes a stream as it comes from a connection: frames of at most [`MAX_CHUNK`] octets each, and an empty
/// one at the end.
///
/// ```
/// use albatross_core::block::{Intake, Progress};
/// use albatross_proto::frame::frame;
///
/// let stream = [frame(b"some "), frame(b"content"), frame(b"")].concat();
/// let mut kept = Vec::new();
/// let mut intake = Intake::new(false, 12);
/// for piece in stream.chunks(5) {
///     intake.feed(piece, |octets| Ok::<(), ()>(kept.extend_from_slice(octets))).unwrap().unwrap();
/// }
/// assert_eq!(intake.finish(), Ok(12));
/// assert_eq!(kept, b"some content");
/// ```
#[derive(Debug)]
pub struct Intake {
    content: Content,
    header: [u8; HEADER_LENGTH],
    header_have: usize,
    /// Octets of the present chunk that are to come.
    left: usize,
    ended: bool,
}

impl Intake {
    /// Takes a stream of at most `limit` octets of content, which is a zlib stream where it is `compressed`.
    #[must_use]
    pub fn new(compressed: bool, limit: u64) -> Self {
        let content = Content::new(compressed, limit);
        Self { content, header: [0; HEADER_LENGTH], header_have: 0, left: 0, ended: false }
    }

    /// Takes the next octets of the connection; `keep` is given those of the content.
    ///
    /// # Errors
    /// The outer ones are those of `keep`, the inner ones [`IntakeError`]. Nothing can be fed afterwards.
    pub fn feed<E>(
        &mut self,
        octets: &[u8],
        mut keep: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<Progress, IntakeError>, E> {
        let mut rest = octets;
        while !rest.is_empty() && !self.ended {
            if self.left > 0 {
                let (now, later) = rest.split_at_checked(self.left).unwrap_or((rest, &[]));
                self.left -= now.len();
                rest = later;
                if let Err(error) = self.content.feed(now, &mut keep)? {
                    return Ok(Err(error));
                }
            } else if let Err(error) = self.take_header(&mut rest) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(if self.ended { Progress::Ended } else { Progress::More }))
    }

    fn take_header(&mut self, octets: &mut &[u8]) -> Result<(), IntakeError> {
        while self.header_have < HEADER_LENGTH {
            let Some((first, later)) = octets.split_first() else { return Ok(()) };
            if let Some(place) = self.header.get_mut(self.header_have) {
                *place = *first;
            }
            self.header_have += 1;
            *octets = later;
        }
        self.header_have = 0;
        let length = u32::from_be_bytes(self.header);
        self.left = usize::try_from(length).unwrap_or(usize::MAX);
        if self.left > MAX_CHUNK {
            return Err(IntakeError::Chunk(FrameError::TooLong { length, limit: MAX_CHUNK }));
        }
        self.ended = self.left == 0;
        Ok(())
    }

    /// Nothing more comes: how many octets of content it was. The rest of the device is zeros.
    ///
    /// # Errors
    /// [`IntakeError::Cut`] where the end of the stream has not come, and those of [`Content::finish`].
    pub fn finish(self) -> Result<u64, IntakeError> {
        if self.ended { self.content.finish() } else { Err(IntakeError::Cut) }
    }
}

fn count(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX)
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("length", &self.length)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for IntakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk(error) => write!(f, "a chunk of the data is too long: {error}"),
            Self::TooLong { limit } => {
                write!(f, "the data is longer than the {} MB of the block device", limit / MB)
            }
            Self::Inflate(error) => write!(f, "the data cannot be uncompressed: {error}"),
            Self::Cut => f.write_str("the data was cut off: no empty frame ended the stream"),
        }
    }
}

impl core::error::Error for IntakeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Chunk(error) => Some(error),
            Self::Inflate(error) => Some(error),
            Self::TooLong { .. } | Self::Cut => None,
        }
    }
}
