//! The decoders of this crate beside a second set that was written apart from them: they must agree on what
//! is read, on what is refused, and on every value, over all recorded vectors and over changes to them that
//! follow from a seed.
//!
//! `ALBATROSS_MUTATIONS` says how many changes are tried for each decoder (default 20000),
//! `ALBATROSS_SEED` with which seed they begin; both are printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and reads files"
)]

mod checks;
mod decoder;
mod mutate;
#[path = "../shared/samples.rs"]
mod samples;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use mutate::{Random, mutate};

/// A decoder and what it is tried with.
struct Decoder {
    name: &'static str,
    check: fn(&[u8]) -> bool,
    /// Where the vectors for it stand.
    folders: &'static [&'static str],
}

const DECODERS: [Decoder; 7] = [
    Decoder { name: "wire", check: checks::wire, folders: &["wire", "wire-old"] },
    Decoder { name: "extension", check: checks::extension, folders: &["certext", "certext-old"] },
    Decoder { name: "state", check: checks::state, folders: &["state"] },
    Decoder { name: "record", check: checks::record, folders: &[] },
    Decoder { name: "change", check: checks::change, folders: &[] },
    Decoder { name: "running", check: checks::running, folders: &[] },
    Decoder { name: "log_record", check: checks::log_record, folders: &[] },
];

/// Vectors for more than one decoder: odd ones and refused ones.
const MIXED: [&str; 2] = ["accept-odd", "reject"];

fn vectors() -> PathBuf {
    std::env::var_os("ALBATROSS_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors"), PathBuf::from)
}

/// The messages of a folder, in the order of their names.
fn messages(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(vectors().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "der"));
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files.into_iter().map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect()
}

/// What a decoder is tried with: its own vectors, the mixed ones, and samples of what no vector has.
fn corpus(decoder: &Decoder) -> Vec<(String, Vec<u8>)> {
    let vectors = decoder.folders.iter().chain(&MIXED).flat_map(|folder| messages(folder));
    let ours = samples::samples(decoder.name);
    vectors.chain(ours.into_iter().map(|bytes| (format!("sample {bytes:02x?}"), bytes))).collect()
}

#[test]
fn both_decoders_agree_on_every_vector() {
    for decoder in DECODERS {
        let corpus = corpus(&decoder);
        let check = |name: &str, bytes: &[u8]| {
            catch_unwind(|| (decoder.check)(bytes)).unwrap_or_else(|_| panic!("{}: {name}", decoder.name))
        };
        let read = corpus.iter().filter(|(name, bytes)| check(name, bytes)).count();
        println!("{}: {} messages, {read} of them read", decoder.name, corpus.len());
        assert!(read > 0, "{}: nothing was read", decoder.name);
    }
}

#[test]
fn both_decoders_agree_on_changed_vectors() {
    let tries = number("ALBATROSS_MUTATIONS", 20_000);
    let seed = number("ALBATROSS_SEED", 1);
    println!("ALBATROSS_MUTATIONS={tries} ALBATROSS_SEED={seed}");
    for decoder in DECODERS {
        let corpus = corpus(&decoder);
        // Most changes are to what is read.
        let (good, bad): (Vec<_>, Vec<_>) = corpus.iter().partition(|(_, bytes)| (decoder.check)(bytes));
        let mut random = Random::from(seed);
        let mut read = 0;
        for _ in 0..tries {
            let from = if random.below(8) == 0 { &bad } else { &good };
            let (name, bytes) = &from[random.below(from.len())];
            let other = &corpus[random.below(corpus.len())].1;
            let changed = mutate(bytes, other, &mut random);
            let outcome = catch_unwind(|| (decoder.check)(&changed));
            read += usize::from(
                outcome.unwrap_or_else(|_| panic!("{}: {name} changed to {changed:02x?}", decoder.name)),
            );
        }
        println!("{}: {tries} changed messages, {read} of them read", decoder.name);
        assert!(read > tries / 50, "{}: hardly anything was read", decoder.name);
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}
