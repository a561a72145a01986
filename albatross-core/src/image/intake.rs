//! An image on its way to where it is kept: inflated, counted and digested piece by piece, in constant
//! memory.

use core::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use ring::digest::{Context, SHA256};

use super::InflateError;

/// Octets that are inflated at a time.
const PIECE: usize = 64 * 1024;

/// Takes an image in pieces as it was sent, and gives it out uncompressed.
///
/// ```
/// use albatross_core::image::{self, Intake};
///
/// let sent = image::deflate(b"an image", 9);
/// let mut kept = Vec::new();
/// let mut intake = Intake::new(true, 100, Some(image::digest(&sent)));
/// for piece in sent.chunks(3) {
///     intake.feed(piece, |octets| Ok::<(), ()>(kept.extend_from_slice(octets))).unwrap().unwrap();
/// }
/// assert_eq!(intake.finish(), Ok(image::digest(b"an image")));
/// assert_eq!(kept, b"an image");
/// ```
pub struct Intake {
    inflating: Option<(Decompress, Box<[u8]>)>,
    /// The zlib stream has ended.
    ended: bool,
    /// Octets that came.
    sent: usize,
    /// Octets that were given out.
    length: usize,
    limit: usize,
    digest: Context,
    /// What must come, as it is sent.
    expected: Option<(Context, [u8; 32])>,
}

/// Why an image is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntakeError {
    /// The zlib stream is not one, or holds too much.
    Inflate(InflateError),
    /// It has more octets than the limit.
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Its SHA-256 is not the one that was announced.
    Digest,
}

impl Intake {
    /// Takes an image of at most `limit` octets uncompressed. Where `expected` is given, that must be the
    /// SHA-256 of what comes, as it comes.
    #[must_use]
    pub fn new(compressed: bool, limit: usize, expected: Option<[u8; 32]>) -> Self {
        Self {
            inflating: compressed.then(|| (Decompress::new(true), vec![0; PIECE].into_boxed_slice())),
            ended: false,
            sent: 0,
            length: 0,
            limit,
            digest: Context::new(&SHA256),
            expected: expected.map(|digest| (Context::new(&SHA256), digest)),
        }
    }

    /// Takes the next octets; `keep` is given those of the uncompressed image.
    ///
    /// # Errors
    /// The outer ones are those of `keep`, the inner ones [`IntakeError`]. Nothing can be fed afterwards.
    pub fn feed<E>(
        &mut self,
        octets: &[u8],
        mut keep: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), IntakeError>, E> {
        if let Some((context, _)) = &mut self.expected {
            context.update(octets);
        }
        let Some((inflate, piece)) = &mut self.inflating else {
            self.length = self.length.saturating_add(octets.len());
            if self.length > self.limit {
                return Ok(Err(IntakeError::TooLarge { limit: self.limit }));
            }
            self.digest.update(octets);
            return keep(octets).map(Ok);
        };
        let mut rest = octets;
        loop {
            if self.ended {
                let end = self.sent;
                let trailing = InflateError::TrailingData { end };
                return Ok(if rest.is_empty() { Ok(()) } else { Err(IntakeError::Inflate(trailing)) });
            }
            let before = (inflate.total_in(), inflate.total_out());
            let Ok(status) = inflate.decompress(rest, piece, FlushDecompress::None) else {
                return Ok(Err(IntakeError::Inflate(InflateError::Malformed)));
            };
            let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            let (taken, given) = (count(inflate.total_in(), before.0), count(inflate.total_out(), before.1));
            rest = rest.get(taken..).unwrap_or_default();
            self.sent += taken;
            self.length += given;
            if self.length > self.limit {
                return Ok(Err(IntakeError::Inflate(InflateError::TooLarge { limit: self.limit })));
            }
            let octets = piece.get(..given).unwrap_or_default();
            self.digest.update(octets);
            keep(octets)?;
            self.ended = status == Status::StreamEnd;
            if !self.ended && taken == 0 && given == 0 {
                return Ok(Ok(()));
            }
        }
    }

    /// All has come: the SHA-256 of the uncompressed image.
    ///
    /// # Errors
    /// [`IntakeError`] where it was cut off or is not what was announced.
    pub fn finish(self) -> Result<[u8; 32], IntakeError> {
        if let Some((context, expected)) = self.expected
            && context.finish().as_ref() != expected
        {
            return Err(IntakeError::Digest);
        }
        if self.inflating.is_some() && !self.ended {
            return Err(IntakeError::Inflate(InflateError::Truncated));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.finish().as_ref());
        Ok(digest)
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("sent", &self.sent)
            .field("length", &self.length)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for IntakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inflate(error) => error.fmt(f),
            Self::TooLarge { limit } => {
                write!(f, "the image has more than the {limit} octets that fit into the memory")
            }
            Self::Digest => f.write_str("the image is not the announced one: its SHA-256 is another"),
        }
    }
}

impl core::error::Error for IntakeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Inflate(error) = self { Some(error) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{deflate, digest, inflate};
    use super::*;

    fn take(sent: &[u8], mut intake: Intake, piece: usize) -> Result<(Vec<u8>, [u8; 32]), IntakeError> {
        let mut kept = Vec::new();
        for piece in sent.chunks(piece) {
            intake
                .feed(piece, |octets| {
                    kept.extend_from_slice(octets);
                    Ok::<_, ()>(())
                })
                .unwrap()?;
        }
        intake.finish().map(|digest| (kept, digest))
    }

    #[test]
    fn it_agrees_with_inflating_at_once_however_it_is_cut() {
        let image: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        let sent = deflate(&image, 6);
        for piece in [1000, 4096, 65_536, usize::MAX] {
            let whole = take(&sent, Intake::new(true, image.len(), Some(digest(&sent))), piece).unwrap();
            assert_eq!(whole, (image.clone(), digest(&image)));
            let plain = take(&image, Intake::new(false, image.len(), None), piece).unwrap();
            assert_eq!(plain, (image.clone(), digest(&image)));
        }
        let small = deflate(b"abc", 9);
        assert_eq!(take(&small, Intake::new(true, 3, None), 1).unwrap().0, b"abc");
        assert_eq!(take(&deflate(b"", 9), Intake::new(true, 0, None), 1).unwrap().0, b"");
    }

    #[test]
    fn what_is_refused_at_once_is_refused_in_pieces() {
        let sent = deflate(&[7; 100_000], 9);
        let long = [&sent[..], &[0]].concat();
        let damaged: Vec<u8> = sent.iter().map(|octet| octet ^ 0x10).collect();
        for (stream, limit) in [
            (&sent[..], 99_999),
            (&sent[..sent.len() - 1], 100_000),
            (&long, 100_000),
            (&damaged, 100_000),
            (&[], 1),
        ] {
            let expected = inflate(stream, limit).unwrap_err();
            for piece in [1, 7, usize::MAX] {
                let error = take(stream, Intake::new(true, limit, None), piece).unwrap_err();
                assert_eq!(error, IntakeError::Inflate(expected), "{limit} {piece}");
            }
        }
        assert_eq!(
            take(&[1; 11], Intake::new(false, 10, None), 4).unwrap_err(),
            IntakeError::TooLarge { limit: 10 }
        );
        for (stream, compressed) in [(&sent[..], true), (&[1, 2, 3], false)] {
            let other = Intake::new(compressed, 100_000, Some([0; 32]));
            assert_eq!(take(stream, other, 5).unwrap_err(), IntakeError::Digest);
        }
    }

    #[test]
    fn it_is_shown_by_its_counts() {
        let mut intake = Intake::new(false, 10, None);
        intake.feed(b"xy", |_| Ok::<(), ()>(())).unwrap().unwrap();
        assert_eq!(format!("{intake:?}"), "Intake { sent: 0, length: 2, limit: 10, .. }");
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let mut intake = Intake::new(false, 10, None);
        assert_eq!(intake.feed(b"x", |_| Err("no room")), Err("no room"));
    }
}
