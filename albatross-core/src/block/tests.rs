use albatross_proto::frame::{self, frame};

use super::*;
use crate::image::deflate;

fn stream(content: &[u8], chunk: usize) -> Vec<u8> {
    let mut out: Vec<u8> = content.chunks(chunk).flat_map(frame).collect();
    out.extend(frame(b""));
    out
}

/// What is kept of a stream that comes in pieces of this size, and how it ended.
fn take(octets: &[u8], mut intake: Intake, piece: usize) -> (Vec<u8>, Result<u64, IntakeError>) {
    let mut kept = Vec::new();
    for piece in octets.chunks(piece) {
        let keep = |octets: &[u8]| {
            kept.extend_from_slice(octets);
            Ok::<_, ()>(())
        };
        match intake.feed(piece, keep).unwrap() {
            Ok(Progress::More) => {}
            Ok(Progress::Ended) => break,
            Err(error) => return (kept, Err(error)),
        }
    }
    (kept, intake.finish())
}

fn content() -> Vec<u8> {
    (0..40_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect()
}

#[test]
fn a_stream_is_taken_however_it_is_cut() {
    let content = content();
    let length = u64::try_from(content.len()).unwrap();
    for piece in [1, 3, 4096, 4100, usize::MAX] {
        for chunk in [1000, 4096, 65_536] {
            for (sent, compressed) in [(content.clone(), false), (deflate(&content, 1), true)] {
                let mut octets = stream(&sent, chunk);
                octets.extend(b"what follows is somebody else's");
                let taken = take(&octets, Intake::new(compressed, length), piece);
                assert!(taken == (content.clone(), Ok(length)), "{piece} {chunk} {compressed}");
            }
        }
    }
}

#[test]
fn no_more_is_given_out_than_the_device_holds() {
    let content = content();
    let length = u64::try_from(content.len()).unwrap();
    for piece in [1, 4096, usize::MAX] {
        for (sent, compressed) in [(content.clone(), false), (deflate(&content, 9), true)] {
            let octets = stream(&sent, 4096);
            let (kept, end) = take(&octets, Intake::new(compressed, length - 1), piece);
            assert_eq!(end, Err(IntakeError::TooLong { limit: length - 1 }));
            assert!(kept.len() < content.len());
        }
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_refused() {
    let sent = stream(&content(), 4096);
    for end in [0, 3, 4, 5000, sent.len() - 1] {
        assert_eq!(take(&sent[..end], Intake::new(false, 1 << 30), 777).1, Err(IntakeError::Cut), "{end}");
    }
    let zlib = deflate(&content(), 9);
    let cut = stream(&zlib[..zlib.len() - 1], 4096);
    let long = stream(&[&zlib[..], b"x"].concat(), 4096);
    let (truncated, trailing) = (InflateError::Truncated, InflateError::TrailingData { end: zlib.len() });
    for (octets, error) in [
        (cut, truncated),
        (long, trailing),
        (sent, InflateError::Malformed),
        (stream(b"", 1), InflateError::Truncated),
    ] {
        let end = take(&octets, Intake::new(true, 1 << 30), 777).1;
        assert_eq!(end, Err(IntakeError::Inflate(error)));
    }
    let long_chunk = frame::header(MAX_CHUNK + 1).unwrap();
    let error = take(&long_chunk, Intake::new(false, 1 << 30), 1).1.unwrap_err();
    assert!(matches!(error, IntakeError::Chunk(_)));
    assert!(error.to_string().contains("too long"), "{error}");
}

#[test]
fn what_cannot_be_kept_is_told() {
    let mut intake = Intake::new(false, 10);
    assert_eq!(intake.feed(&frame(b"x"), |_| Err("no room")), Err("no room"));
}

/// Little of it comes at once and makes much, and what follows it may come with its last octets.
#[test]
fn a_zlib_stream_is_taken_to_its_end_and_nothing_after_it() {
    const LENGTH: usize = 300_000;
    let zlib = deflate(&vec![7; LENGTH], 9);
    assert!(zlib.len() < 1000, "one piece makes several");
    let long = [&zlib[..], b"x"].concat();
    let limit = u64::try_from(LENGTH).unwrap();
    for cut in 0..=zlib.len() {
        let mut kept = 0;
        let mut feed = |content: &mut Content, octets: &[u8]| {
            let keep = |octets: &[u8]| {
                kept += octets.len();
                Ok::<_, ()>(())
            };
            content.feed(octets, keep).unwrap()
        };
        let mut content = Content::new(true, limit);
        assert_eq!(feed(&mut content, &long[..cut]), Ok(()));
        let trailing = IntakeError::Inflate(InflateError::TrailingData { end: zlib.len() });
        assert_eq!(feed(&mut content, &long[cut..]), Err(trailing), "cut at {cut}");
        assert_eq!(kept, LENGTH, "cut at {cut}");
    }
    let mut content = Content::new(true, limit);
    assert_eq!(content.feed(&zlib, |_| Ok::<_, ()>(())).unwrap(), Ok(()));
    assert_eq!(content.finish(), Ok(limit));
}

#[test]
fn a_chunk_may_be_as_long_as_the_longest() {
    let mut intake = Intake::new(false, u64::MAX);
    let header = frame::header(MAX_CHUNK).unwrap();
    assert_eq!(intake.feed(&header, |_| Ok::<_, ()>(())).unwrap(), Ok(Progress::More));
}

#[test]
fn what_is_wrong_has_its_cause_and_what_is_shown_is_short() {
    use core::error::Error;
    let long = FrameError::TooLong { length: 9, limit: 8 };
    for (error, cause) in [
        (IntakeError::Chunk(long), Some(long.to_string())),
        (IntakeError::Inflate(InflateError::Truncated), Some(InflateError::Truncated.to_string())),
        (IntakeError::TooLong { limit: MB }, None),
        (IntakeError::Cut, None),
    ] {
        assert_eq!(error.source().map(ToString::to_string), cause);
    }
    let shown = format!("{:?}", Content::new(true, 77));
    assert!(shown.contains("limit: 77") && shown.len() < 100, "{shown}");
}
