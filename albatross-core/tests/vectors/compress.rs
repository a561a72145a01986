//! `compress/`: zlib streams as the OCaml implementation writes and reads them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use albatross_core::image::{InflateError, deflate, inflate};
use serde_json::Value;

/// More than any content here.
const LIMIT: usize = 64 << 20;

fn folder() -> PathBuf {
    crate::main_folder().join("compress")
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap_or_else(|e| panic!("compress/{file}: {e}"))
}

fn manifest() -> Value {
    serde_json::from_slice(&read("manifest.json")).unwrap()
}

fn entries<'a>(manifest: &'a Value, kind: &str) -> &'a [Value] {
    let entries = manifest[kind].as_array().unwrap();
    assert!(!entries.is_empty(), "compress/manifest.json lists no {kind}");
    entries
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("{entry} has no {field}"))
}

#[test]
fn every_file_is_listed() {
    let manifest = manifest();
    let mut listed = BTreeSet::from(["manifest.json"]);
    for stream in entries(&manifest, "streams") {
        listed.extend([text(stream, "file"), text(stream, "raw")]);
    }
    listed.extend(entries(&manifest, "malformed").iter().map(|entry| text(entry, "file")));
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(listed.contains(file.as_str()), "compress/{file}: unknown kind of file");
    }
}

#[test]
fn streams() {
    let manifest = manifest();
    let streams = entries(&manifest, "streams");
    for stream in streams {
        let file = text(stream, "file");
        let compressed = read(file);
        let raw = read(text(stream, "raw"));
        assert_eq!(inflate(&compressed, LIMIT).as_deref(), Ok(raw.as_slice()), "{file}");
        assert_eq!(inflate(&compressed, raw.len()).as_deref(), Ok(raw.as_slice()), "{file}: exact limit");
        if let Some(limit) = raw.len().checked_sub(1) {
            assert_eq!(inflate(&compressed, limit), Err(InflateError::TooLarge { limit }), "{file}");
        }
        for length in 0..compressed.len().min(400) {
            let cut = inflate(&compressed[..length], LIMIT);
            assert_eq!(cut, Err(InflateError::Truncated), "{file}: cut off after {length}");
        }
        let level = u32::try_from(stream["level"].as_u64().unwrap()).unwrap();
        assert_eq!(inflate(&deflate(&raw, level), LIMIT), Ok(raw), "{file}: our own stream");
    }
    println!("compress: {} streams", streams.len());
}

/// What the peer refuses is refused. What it accepts is read the same, but for octets after the end of
/// the stream, which we refuse and it ignores.
#[test]
fn malformed() {
    let manifest = manifest();
    let (mut refused, mut odd, mut trailing) = (0, 0, 0);
    for entry in entries(&manifest, "malformed") {
        let file = text(entry, "file");
        let inflated = inflate(&read(file), LIMIT);
        match (text(entry, "result"), inflated) {
            ("error", Err(_)) => refused += 1,
            ("accepted", Err(InflateError::TrailingData { .. })) => trailing += 1,
            ("accepted", Ok(content)) => {
                let hex: String = content.iter().map(|octet| format!("{octet:02x}")).collect();
                assert_eq!(hex, text(entry, "output_hex"), "{file}");
                odd += 1;
            }
            (result, inflated) => panic!("{file}: the peer: {result}, we: {inflated:?}"),
        }
    }
    println!("compress: {refused} malformed refused, {odd} odd read, {trailing} refused for trailing data");
}
