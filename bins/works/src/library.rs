//! Messages, chains and streams.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use albatross_core::authority::Authority;
use albatross_core::certificate::{Certificate, NothingRevoked, Root, pem, verify};
use albatross_core::image;
use albatross_proto::{Time, Wire};

use crate::Work;

/// Octets of what is compressed.
const CONTENT: usize = 64 * 1024;

/// The most octets of a chain here.
const MAX_CHAIN: usize = 1024 * 1024;

fn vectors(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors").join(folder)
}

/// Every recorded message, by the names of the files.
fn messages() -> &'static [Vec<u8>] {
    let entries = fs::read_dir(vectors("wire")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "der"));
    paths.sort();
    let all: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!all.is_empty(), "there are recorded messages");
    all.leak()
}

/// Decodes every recorded message.
pub(crate) fn decode() -> Work {
    let all = messages();
    Box::new(|| all.iter().for_each(|message| drop(Wire::decode(black_box(message)).unwrap())))
}

/// Encodes every recorded message.
pub(crate) fn encode() -> Work {
    let all: Vec<Wire<'_>> = messages().iter().map(|message| Wire::decode(message).unwrap()).collect();
    Box::new(move || all.iter().for_each(|wire| drop(black_box(wire).encode().unwrap())))
}

/// From the octets of a recorded chain to what it may do.
pub(crate) fn chain(case: &str) -> Work {
    let read = |name: &str| {
        let text = fs::read(vectors("chain").join(case).join(name)).unwrap();
        let read = pem::certificates(&text, MAX_CHAIN).unwrap();
        read.iter().map(|certificate| certificate.der().to_vec()).collect::<Vec<_>>()
    };
    let (root, chain) = (read("ca.pem"), read("chain.pem"));
    let root = Root::new(Certificate::from_vec(root[0].clone()).unwrap()).unwrap();
    let at: Time = "2026-06-01T00:00:00Z".parse().unwrap();
    Box::new(move || {
        let parsed = chain.iter().map(|der| Certificate::from_der(black_box(der)).unwrap());
        let chain: Vec<Certificate<'_>> = parsed.collect();
        let path = verify(&chain, &root, at, &NothingRevoked).unwrap();
        drop(Authority::of(&path).unwrap());
    })
}

/// Octets of which half repeat.
fn content() -> Vec<u8> {
    let mut state = 1_u64;
    let mut all = Vec::with_capacity(CONTENT);
    while all.len() < CONTENT {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&if all.len() / 512 % 2 == 0 { state } else { 7 }.to_le_bytes());
    }
    all
}

/// Compresses 64 KiB at level 1.
pub(crate) fn deflate() -> Work {
    let content = content();
    Box::new(move || drop(image::deflate(black_box(&content), 1)))
}

/// Uncompresses it again.
pub(crate) fn inflate() -> Work {
    let compressed = image::deflate(&content(), 1);
    Box::new(move || drop(image::inflate(black_box(&compressed), CONTENT).unwrap()))
}
