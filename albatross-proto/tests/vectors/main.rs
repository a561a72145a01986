//! Runs the recorded vectors: what the OCaml implementation wrote, read and refused.
//!
//! The directory comes from `ALBATROSS_VECTORS`, by default `testdata/vectors`. Any set of the same
//! layout can be run; an unknown folder, an unknown kind of file or an empty folder is a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and reads files"
)]

mod json;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use albatross_proto::state::State;
use albatross_proto::{DecodeError, Wire, extension};
use serde_json::Value;

/// Folders that other tests of this workspace run (`albatross-core`).
const ELSEWHERE: [&str; 3] = ["chain", "compress", "policy"];

/// Odd encodings that the peer reads and we refuse, by how the name of the case begins. No peer writes
/// them; each stands with its reason in `docs/differences.md`.
const REFUSED_BY_CHOICE: [&str; 4] = [
    // A length that is not minimal is not DER.
    "wire-len-",
    // TRUE is FF in DER.
    "wire-bool-",
    // An int64 has exactly eight octets.
    "wire-sequence-",
    // The peer drops the offset, which makes it another time.
    "wire-time-offset",
];

fn main_folder() -> PathBuf {
    std::env::var_os("ALBATROSS_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors"), PathBuf::from)
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    json: Value,
}

/// The cases of a folder: pairs of `NAME.der` and `NAME.json`, and nothing else.
fn cases(folder: &str) -> Vec<Case> {
    let directory = main_folder().join(folder);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let (name, kind) =
            file.rsplit_once('.').unwrap_or_else(|| panic!("{folder}/{file}: unknown kind of file"));
        assert!(matches!(kind, "der" | "json"), "{folder}/{file}: unknown kind of file");
        names.insert(name.to_owned());
    }
    assert!(!names.is_empty(), "{folder} is empty");
    let read = |file: PathBuf| std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let cases: Vec<Case> = names
        .into_iter()
        .map(|name| Case {
            bytes: read(directory.join(format!("{name}.der"))),
            json: serde_json::from_slice(&read(directory.join(format!("{name}.json")))).unwrap(),
            name,
        })
        .collect();
    println!("{folder}: {} cases", cases.len());
    cases
}

fn expect<T: PartialEq + std::fmt::Debug>(
    case: &Case,
    what: &str,
    got: Result<T, impl std::fmt::Display>,
    want: &T,
) {
    match got {
        Ok(got) => assert_eq!(&got, want, "{}: {what}", case.name),
        Err(error) => panic!("{}: {what}: {error}", case.name),
    }
}

/// What is decoded again from what was decoded: the current form.
fn current_form<'a>(case: &'a Case) -> std::borrow::Cow<'a, [u8]> {
    match &case.json["reencoded_hex"] {
        Value::String(text) => json::hex(text).into(),
        _ => case.bytes.as_slice().into(),
    }
}

#[test]
fn every_folder_is_known() {
    let known = ["wire", "wire-old", "certext", "certext-old", "state", "reject", "accept-odd"];
    for entry in std::fs::read_dir(main_folder()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let expected = known.contains(&name.as_str()) || ELSEWHERE.contains(&name.as_str());
        assert!(expected || name == "README.md", "{name}: unknown kind of vectors");
    }
}

#[test]
fn wire() {
    for case in cases("wire") {
        let value = json::wire(&case.json["value"]);
        expect(&case, "encode", value.encode(), &case.bytes);
        let decoded = if case.json["decoded"].is_null() { value } else { json::wire(&case.json["decoded"]) };
        expect(&case, "decode", Wire::decode(&case.bytes), &decoded);
    }
}

#[test]
fn wire_old() {
    for case in cases("wire-old") {
        let decoded = json::wire(&case.json["decoded"]);
        expect(&case, "decode", Wire::decode(&case.bytes), &decoded);
        expect(&case, "encode", decoded.encode(), &current_form(&case).into_owned());
    }
}

#[test]
fn certext() {
    for case in cases("certext") {
        assert_eq!(case.json["version"], 5);
        let command = json::command(&case.json["command"]);
        expect(&case, "encode", extension::encode(&command), &case.bytes);
        let decoded =
            if case.json["decoded"].is_null() { command } else { json::command(&case.json["decoded"]) };
        expect(&case, "decode", extension::decode(&case.bytes), &decoded);
    }
}

#[test]
fn certext_old() {
    for case in cases("certext-old") {
        let decoded = match (&case.json["decoded"], &case.json["command"]) {
            (Value::Null, command) => json::command(command),
            (decoded, _) if !decoded["command"].is_null() => json::command(&decoded["command"]),
            (decoded, _) => json::command(decoded),
        };
        expect(&case, "decode", extension::decode(&case.bytes), &decoded);
        if case.json["reencoded_hex"].is_string() {
            expect(&case, "encode", extension::encode(&decoded), &current_form(&case).into_owned());
        }
    }
}

#[test]
fn state() {
    for case in cases("state") {
        let decoded = json::state(&case.json["decoded"]);
        expect(&case, "decode", State::decode(&case.bytes), &decoded);
        expect(&case, "encode", decoded.encode(), &current_form(&case).into_owned());
    }
}

/// Decodes as the case says, and returns what the decoder made of it in its current encoding.
fn decode_as(decoder: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(match decoder {
        "wire" => Wire::decode(bytes)?.encode().unwrap(),
        "certext" => extension::encode(&extension::decode(bytes)?).unwrap(),
        "state" => State::decode(bytes)?.encode().unwrap(),
        other => panic!("unknown decoder {other}"),
    })
}

#[test]
fn reject() {
    for case in cases("reject") {
        let decoder = case.json["decoder"].as_str().unwrap();
        let Err(error) = decode_as(decoder, &case.bytes) else {
            panic!("{}: accepted, though {}", case.name, case.json["why"]);
        };
        assert!(error.position <= case.bytes.len(), "{}: {error}", case.name);
    }
}

#[test]
fn accept_odd() {
    let mut refused = 0;
    for case in cases("accept-odd") {
        let decoder = case.json["decoder"].as_str().unwrap();
        if REFUSED_BY_CHOICE.iter().any(|begin| case.name.starts_with(begin)) {
            assert!(
                decode_as(decoder, &case.bytes).is_err(),
                "{}: accepted, docs/differences.md says refused",
                case.name
            );
            refused += 1;
            continue;
        }
        let decoded = &case.json["decoded"];
        match decoder {
            "wire" => expect(&case, "decode", Wire::decode(&case.bytes), &json::wire(decoded)),
            "state" => expect(&case, "decode", State::decode(&case.bytes), &json::state(decoded)),
            "certext" => expect(&case, "decode", extension::decode(&case.bytes), &json::command(decoded)),
            other => panic!("unknown decoder {other}"),
        }
        expect(&case, "encode", decode_as(decoder, &case.bytes), &current_form(&case).into_owned());
    }
    println!("accept-odd: {refused} of them refused by choice, see docs/differences.md");
}

/// Every truncation and every change of one octet of every message is read or refused, never a panic.
#[test]
fn damaged_messages_are_read_or_refused() {
    let mut tried = 0;
    for case in cases("wire") {
        let bytes = &case.bytes[..case.bytes.len().min(600)];
        for end in 0..bytes.len() {
            let _ = Wire::decode(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for change in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= change;
                if let Ok(wire) = Wire::decode(&damaged) {
                    let again = wire.encode().unwrap();
                    assert_eq!(Wire::decode(&again).unwrap().encode().unwrap(), again, "{}", case.name);
                }
                tried += 1;
            }
        }
    }
    println!("{tried} damaged messages");
}
