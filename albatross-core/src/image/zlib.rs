//! The zlib stream (RFC 1950) in which images and the content of block devices travel.

use core::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The highest level of compression; 0 only wraps.
pub const MAX_LEVEL: u32 = 9;

/// What is set aside for output at first, and the least by which it grows: a whole small image.
const FIRST_OUTPUT: usize = 64 * 1024;

/// Why a zlib stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InflateError {
    /// It is no zlib stream, asks for a dictionary, or its checksum is wrong.
    Malformed,
    /// It ends before its end.
    Truncated,
    /// It holds more octets than the limit.
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Octets follow the end of the stream.
    TrailingData {
        /// Where the stream ends.
        end: usize,
    },
}

/// The content of a zlib stream, `limit` octets at most.
///
/// Never holds much more than twice the content or the limit, whichever is less. Octets after the end of
/// the stream, which the OCaml implementation ignores and nobody writes, are refused: they are the sign
/// of a transfer gone wrong.
///
/// # Errors
/// [`InflateError`].
pub fn inflate(compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut stream = Decompress::new(true);
    // One octet beyond the limit shows that there is more.
    let end = limit.saturating_add(1);
    let mut content = Vec::with_capacity(FIRST_OUTPUT.min(end));
    loop {
        let input = compressed.get(count(stream.total_in())..).unwrap_or_default();
        let before = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress_vec(input, &mut content, FlushDecompress::None)
            .map_err(|_| InflateError::Malformed)?;
        if content.len() > limit {
            return Err(InflateError::TooLarge { limit });
        }
        if status == Status::StreamEnd {
            break;
        }
        if content.len() == content.capacity() {
            let more = content.len().max(FIRST_OUTPUT).min(end - content.len());
            content.reserve_exact(more);
        } else if before == (stream.total_in(), stream.total_out()) {
            return Err(InflateError::Truncated);
        }
    }
    let end = count(stream.total_in());
    if end < compressed.len() { Err(InflateError::TrailingData { end }) } else { Ok(content) }
}

/// A zlib stream of `content`. A `level` above [`MAX_LEVEL`] is taken for that.
#[must_use]
pub fn deflate(content: &[u8], level: u32) -> Vec<u8> {
    let mut stream = Compress::new(Compression::new(level.min(MAX_LEVEL)), true);
    let mut compressed = Vec::with_capacity(FIRST_OUTPUT);
    loop {
        let input = content.get(count(stream.total_in())..).unwrap_or_default();
        match stream.compress_vec(input, &mut compressed, FlushCompress::Finish) {
            // It fails only on a stream that was set up wrongly, which this one is not.
            Ok(Status::StreamEnd) | Err(_) => return compressed,
            Ok(Status::Ok | Status::BufError) => compressed.reserve(FIRST_OUTPUT),
        }
    }
}

/// Counts of octets that are in memory fit.
fn count(octets: u64) -> usize {
    usize::try_from(octets).unwrap_or(usize::MAX)
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a zlib stream, or a damaged one"),
            Self::Truncated => f.write_str("the zlib stream is cut off"),
            Self::TooLarge { limit } => write!(f, "the zlib stream holds more than {limit} octets"),
            Self::TrailingData { end } => {
                write!(f, "the zlib stream ends at octet {end}, and something follows")
            }
        }
    }
}

impl core::error::Error for InflateError {}
