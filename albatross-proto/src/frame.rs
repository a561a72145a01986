//! Frames: how messages and chunks of byte streams stand one after the other on a socket or inside TLS.
//!
//! A frame is four octets of big-endian length, then that many octets. What a place may receive
//! differs, so every reader is given its limit.

use alloc::vec::Vec;
use core::fmt;

/// Octets of the length that goes before each frame.
pub const HEADER_LENGTH: usize = 4;

/// The longest value that is ever encoded or accepted, in octets: an image of 64 MiB and what stands
/// around it. Images seen in the field have 2 to 30 MiB; what is much larger is a mistake or an attack.
pub const MAX_ENCODED: usize = 64 * 1024 * 1024 + 64 * 1024;

/// The longest frame that carries a command without an image, or a reply to one that carries no image,
/// in octets: an `info` of some ten thousand unikernels.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The longest frame that carries one chunk of a stream, in octets. Peers send 4096 octets plain and up
/// to 65536 compressed; ours at most 65536.
pub const MAX_CHUNK: usize = 256 * 1024;

/// A frame that will not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame announces more than this place accepts.
    TooLong {
        /// Octets announced.
        length: u32,
        /// Octets accepted.
        limit: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(f, "frame of {length} octets announced, the limit here is {limit}")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// The header of a frame of `length` octets, `None` beyond 32 bits.
#[must_use]
pub fn header(length: usize) -> Option<[u8; HEADER_LENGTH]> {
    u32::try_from(length).ok().map(u32::to_be_bytes)
}

/// `payload` as one frame. A payload is never longer than [`MAX_ENCODED`], so the length always fits.
#[must_use]
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LENGTH + payload.len());
    out.extend_from_slice(&header(payload.len()).unwrap_or([0xff; HEADER_LENGTH]));
    out.extend_from_slice(payload);
    out
}

/// What [`FrameReader::read`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame.
    Whole(Vec<u8>),
    /// The next octets of a frame that is given in parts, at least one.
    Part {
        /// Of how many octets the frame is.
        length: usize,
        /// The octets.
        octets: Vec<u8>,
        /// These are its last.
        last: bool,
    },
}

/// Puts frames together from whatever pieces arrive.
///
/// Memory grows with what has arrived, not with what was announced.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    /// Longer frames are given in parts.
    whole: usize,
    /// Octets of the present frame that were given.
    given: usize,
    header: [u8; HEADER_LENGTH],
    header_have: usize,
    payload: Vec<u8>,
}

impl FrameReader {
    /// A reader of frames of at most `limit` octets.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            whole: usize::MAX,
            given: 0,
            header: [0; HEADER_LENGTH],
            header_have: 0,
            payload: Vec::new(),
        }
    }

    /// Changes the limit, for the frames that come next.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Frames of more than `whole` octets are given in parts from now on.
    pub const fn split_above(&mut self, whole: usize) {
        self.whole = whole;
    }

    /// Whether a frame has begun and is not complete.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.header_have > 0
    }

    /// Of how many octets the present frame is, once its header has come.
    #[must_use]
    pub fn announced(&self) -> Option<usize> {
        let length = u32::from_be_bytes(self.header);
        (self.header_have == HEADER_LENGTH).then(|| usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The octets of a frame that has begun and was not given: what another reader has to be given first that
    /// is to go on from here. Of a frame that was given in parts it is the header.
    #[must_use]
    pub fn into_partial(self) -> Vec<u8> {
        let mut octets = self.header.get(..self.header_have).unwrap_or_default().to_vec();
        octets.extend(self.payload);
        octets
    }

    /// The same as [`read_piece`](Self::read_piece) for a reader that gives whole frames only.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; the connection is of no use afterwards.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        match self.read_piece(input)? {
            Some(Piece::Whole(payload)) => Ok(Some(payload)),
            _ => Ok(None),
        }
    }

    /// Takes octets from the front of `input` up to the end of a frame, and returns that frame if it is
    /// complete, or what there is to say of one that is given in parts. Call it until `input` is empty (a
    /// frame of length zero ends with its header: an empty `input` never completes a frame).
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; the connection is of no use afterwards.
    pub fn read_piece(&mut self, input: &mut &[u8]) -> Result<Option<Piece>, FrameError> {
        if self.header_have < HEADER_LENGTH {
            let Some(room) = self.header.get_mut(self.header_have..) else { return Ok(None) };
            let take = room.len().min(input.len());
            let (now, later) = input.split_at_checked(take).unwrap_or((input, &[]));
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.header_have += now.len();
            *input = later;
            if self.header_have < HEADER_LENGTH {
                return Ok(None);
            }
        }
        let length = u32::from_be_bytes(self.header);
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if wanted > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        if wanted > self.whole {
            return Ok(self.read_part(wanted, input));
        }
        let take = (wanted - self.payload.len().min(wanted)).min(input.len());
        let (now, later) = input.split_at_checked(take).unwrap_or((input, &[]));
        self.payload.extend_from_slice(now);
        *input = later;
        if self.payload.len() < wanted {
            return Ok(None);
        }
        self.header_have = 0;
        Ok(Some(Piece::Whole(core::mem::take(&mut self.payload))))
    }

    /// The next part of a frame of `length` octets.
    fn read_part(&mut self, length: usize, input: &mut &[u8]) -> Option<Piece> {
        let take = (length - self.given.min(length)).min(input.len());
        let (now, later) = input.split_at_checked(take).unwrap_or((input, &[]));
        if now.is_empty() {
            return None;
        }
        *input = later;
        self.given += now.len();
        let last = self.given >= length;
        if last {
            self.given = 0;
            self.header_have = 0;
        }
        Some(Piece::Part { length, octets: now.to_vec(), last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let mut stream = frame(b"first");
        stream.extend(frame(b""));
        stream.extend(frame(b"third"));
        for piece in 1..=stream.len() {
            let mut reader = FrameReader::new(16);
            let mut seen = Vec::new();
            for mut chunk in stream.chunks(piece) {
                while !chunk.is_empty() {
                    seen.extend(reader.read(&mut chunk).unwrap());
                }
            }
            assert_eq!(seen, [b"first".to_vec(), b"".to_vec(), b"third".to_vec()]);
            assert!(!reader.is_partial());
        }
        let mut reader = FrameReader::new(16);
        for (octets, announced) in [(&stream[..3], None), (&stream[3..5], Some(5)), (&stream[5..9], None)] {
            let mut octets = octets;
            _ = reader.read(&mut octets);
            assert_eq!(reader.announced(), announced);
        }
    }

    #[test]
    fn long_frames_come_in_parts_and_short_ones_whole() {
        let long: Vec<u8> = (0..=255).collect();
        let stream = [frame(b"first"), frame(&long), frame(b""), frame(&long), frame(b"last")].concat();
        for piece in 1..=stream.len() {
            let mut reader = FrameReader::new(256);
            reader.split_above(5);
            let (mut seen, mut parts) = (Vec::new(), Vec::new());
            for mut chunk in stream.chunks(piece) {
                while !chunk.is_empty() {
                    match reader.read_piece(&mut chunk).unwrap() {
                        Some(Piece::Whole(payload)) => seen.push(payload),
                        Some(Piece::Part { length, octets, last }) => {
                            assert!(length == 256 && !octets.is_empty());
                            parts.extend(octets);
                            assert_eq!(last, parts.len() == length);
                            if last {
                                seen.push(core::mem::take(&mut parts));
                            }
                        }
                        None => {}
                    }
                }
            }
            assert_eq!(seen, [b"first".to_vec(), long.clone(), b"".to_vec(), long.clone(), b"last".to_vec()]);
            assert!(!reader.is_partial() && reader.payload.capacity() == 0);
        }
    }

    #[test]
    fn another_reader_goes_on_where_one_stops() {
        let stream = [frame(b"first"), frame(b"second"), frame(b"")].concat();
        for end in 0..stream.len() {
            let (mut before, mut after) = stream.split_at(end);
            let mut seen = Vec::new();
            let mut reader = FrameReader::new(16);
            while !before.is_empty() {
                seen.extend(reader.read(&mut before).unwrap());
            }
            let partial = reader.into_partial();
            let (mut partial, mut reader) = (partial.as_slice(), FrameReader::new(16));
            while !partial.is_empty() {
                assert_eq!(reader.read(&mut partial), Ok(None));
            }
            while !after.is_empty() {
                seen.extend(reader.read(&mut after).unwrap());
            }
            assert_eq!(seen, [b"first".to_vec(), b"second".to_vec(), Vec::new()], "{end}");
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_anything_is_held() {
        let mut reader = FrameReader::new(16);
        let mut input: &[u8] = &[0x7f, 0xff, 0xff, 0xff, 1, 2];
        assert_eq!(reader.read(&mut input), Err(FrameError::TooLong { length: 0x7fff_ffff, limit: 16 }));
        assert_eq!(reader.payload.capacity(), 0);
    }
}
