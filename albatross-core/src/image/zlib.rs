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

/// Compresses piece by piece, in constant memory.
///
/// ```
/// use albatross_core::image::{self, Deflating};
///
/// let mut sent = Vec::new();
/// let mut deflating = Deflating::new(9);
/// let mut keep = |octets: &[u8]| Ok::<(), ()>(sent.extend_from_slice(octets));
/// deflating.feed(b"an ", &mut keep).unwrap();
/// deflating.feed(b"image", &mut keep).unwrap();
/// deflating.finish(&mut keep).unwrap();
/// assert_eq!(image::inflate(&sent, 100).unwrap(), b"an image");
/// ```
#[derive(Debug)]
pub struct Deflating {
    stream: Compress,
    piece: Vec<u8>,
}

impl Deflating {
    /// Compresses at this level; above [`MAX_LEVEL`] is that.
    #[must_use]
    pub fn new(level: u32) -> Self {
        let stream = Compress::new(Compression::new(level.min(MAX_LEVEL)), true);
        Self { stream, piece: Vec::with_capacity(FIRST_OUTPUT) }
    }

    /// Takes the next octets; `keep` is given what comes out.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn feed<E>(&mut self, octets: &[u8], keep: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.run(octets, FlushCompress::None, keep)
    }

    /// All has been fed: gives out what is left.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn finish<E>(mut self, keep: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.run(&[], FlushCompress::Finish, keep)
    }

    fn run<E>(
        &mut self,
        mut octets: &[u8],
        flush: FlushCompress,
        mut keep: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            self.piece.clear();
            let before = self.stream.total_in();
            let status = self.stream.compress_vec(octets, &mut self.piece, flush);
            octets = octets.get(count(self.stream.total_in() - before)..).unwrap_or_default();
            keep(&self.piece)?;
            let finishing = matches!(flush, FlushCompress::Finish);
            // It fails only on a stream that was set up wrongly, which this one is not.
            if matches!(status, Ok(Status::StreamEnd) | Err(_)) || octets.is_empty() && !finishing {
                return Ok(());
            }
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
