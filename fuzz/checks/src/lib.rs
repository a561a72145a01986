//! What must hold of any bytes, for each decoder of this workspace. The fuzz targets call these functions
//! with what libFuzzer makes up; tests call them with the findings of the past and with the seeds.
//!
//! Each function takes the bytes, says whether they were read, and panics where something does not hold.
//! [`CHECKS`] lists them all.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a check stops at the first surprise"
)]

mod certificates;
#[path = "../../../albatross-proto/tests/second/checks.rs"]
mod checks;
mod console;
#[path = "../../../albatross-proto/tests/second/decoder/mod.rs"]
mod decoder;
mod events;
mod files;
mod http;
mod images;
mod large;
#[path = "../../../albatross-proto/tests/second/mutate.rs"]
mod mutate;
pub mod mutated;
mod script;
mod statistics;
mod text;

use albatross_proto::frame::{FrameReader, HEADER_LENGTH};

pub use certificates::{chain, crl, key, pem, request};
pub use console::console;
pub use events::{events, sender};
pub use files::{journal, log};
pub use http::http;
pub use images::{image, inflate, spt_loader};
pub use large::large;
pub use statistics::{shown, statistics};
pub use text::names;

/// A check: whether the bytes were read.
pub type Check = fn(&[u8]) -> bool;

/// Every check by the name of its fuzz target.
pub const CHECKS: [(&str, Check); 26] = [
    ("frame", frame),
    ("wire", wire),
    ("extension", extension),
    ("state", state),
    ("record", record),
    ("change", change),
    ("running", running),
    ("log_record", log_record),
    ("journal", journal),
    ("log", log),
    ("large", large),
    ("names", names),
    ("image", image),
    ("inflate", inflate),
    ("spt_loader", spt_loader),
    ("chain", chain),
    ("request", request),
    ("crl", crl),
    ("pem", pem),
    ("key", key),
    ("console", console),
    ("http", http),
    ("events", events),
    ("sender", sender),
    ("statistics", statistics),
    ("shown", shown),
];

/// A message: both decoders agree, and what was read is written in a form that is read again.
pub fn wire(bytes: &[u8]) -> bool {
    checks::wire(bytes)
}

/// The value of the certificate extension, likewise.
pub fn extension(bytes: &[u8]) -> bool {
    checks::extension(bytes)
}

/// The peer's state file, likewise.
pub fn state(bytes: &[u8]) -> bool {
    checks::state(bytes)
}

/// Our own record, likewise.
pub fn record(bytes: &[u8]) -> bool {
    checks::record(bytes)
}

/// A change of our own record, likewise.
pub fn change(bytes: &[u8]) -> bool {
    checks::change(bytes)
}

/// The note of a tender that runs, likewise.
pub fn running(bytes: &[u8]) -> bool {
    checks::running(bytes)
}

/// A record of the event log, likewise.
pub fn log_record(bytes: &[u8]) -> bool {
    checks::log_record(bytes)
}

/// A stream of frames, put together from pieces and taken apart at once: the same frames come out, or the
/// same refusal, and nothing is held that has not arrived. The first octet is the limit, the second the
/// size of the pieces.
pub fn frame(bytes: &[u8]) -> bool {
    let [limit, piece, stream @ ..] = bytes else { return false };
    let (limit, piece) = (usize::from(*limit) * 16, usize::from(*piece) + 1);
    let (frames, refused) = split(stream, limit);
    let mut reader = FrameReader::new(limit);
    let mut read = Vec::new();
    let mut failed = false;
    'stream: for mut chunk in stream.chunks(piece) {
        while !chunk.is_empty() {
            match reader.read(&mut chunk) {
                Ok(frame) => read.extend(frame),
                Err(_) => {
                    failed = true;
                    break 'stream;
                }
            }
        }
    }
    assert_eq!(read, frames);
    assert_eq!(failed, refused);
    let length = |frame: &Vec<u8>| HEADER_LENGTH + frame.len();
    let rest = stream.len() - frames.iter().map(length).sum::<usize>();
    assert!(failed || reader.is_partial() == (rest > 0), "{rest} octets are left");
    !frames.is_empty()
}

/// The frames of a stream, and whether one of them is beyond the limit.
fn split(mut stream: &[u8], limit: usize) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<HEADER_LENGTH>() {
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap();
        if length > limit {
            return (frames, true);
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else { break };
        frames.push(frame.to_vec());
        stream = rest;
    }
    (frames, false)
}

/// For libFuzzer: changes the values in `data[..size]`, and returns how many octets there are now.
pub fn mutate_values(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = mutate::Random::from(usize::try_from(seed).unwrap());
    let changed = mutate::mutate(&data[..size], &data[..size], &mut random);
    let length = changed.len().min(max_size).min(data.len());
    data[..length].copy_from_slice(&changed[..length]);
    length
}
