//! `decode` and `verify` against the recorded vectors: every case through the library, and some of each kind
//! through the real binary.
//!
//! The directory comes from `ALBATROSS_VECTORS`, by default `testdata/vectors`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use albatross_client::decode::{Document, Kind, encode, recognise};
use albatross_client::schema::{Style, Writer};
use albatross_client::verify;
use albatross_core::revocation::RevocationStore;
use albatross_proto::Time;
use common::{run, run_with_input, succeed};
use serde_json::Value;

/// Odd encodings that the peer reads and we refuse, by how the name of the case begins: see
/// `docs/differences.md`.
const REFUSED_BY_CHOICE: [&str; 4] = ["wire-len-", "wire-bool-", "wire-sequence-", "wire-time-offset"];
/// How many cases of each kind go through the real binary too.
const THROUGH_BINARY: usize = 4;

struct Case {
    name: String,
    path: PathBuf,
    bytes: Vec<u8>,
    json: Value,
    json_text: Vec<u8>,
}

fn folder(name: &str) -> PathBuf {
    std::env::var_os("ALBATROSS_VECTORS")
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors"),
            |folder| std::path::absolute(folder).unwrap(),
        )
        .join(name)
}

fn cases(name: &str) -> Vec<Case> {
    let folder = folder(name);
    let stems: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(!stems.is_empty(), "{name} is empty");
    let read = |stem: &str, kind: &str| std::fs::read(folder.join(format!("{stem}.{kind}"))).unwrap();
    let case = |stem: String| {
        let json_text = read(&stem, "json");
        Case {
            path: folder.join(format!("{stem}.der")),
            bytes: read(&stem, "der"),
            json: serde_json::from_slice(&json_text).unwrap(),
            json_text,
            name: format!("{name}/{stem}"),
        }
    };
    stems.into_iter().map(case).collect()
}

/// What `decode --json` prints of a document, and back.
fn json_of(documents: &[Document<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for document in documents {
        document.write(&mut Writer::new(&mut out, Style::Json)).unwrap();
    }
    out
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The current encoding of what a case decodes to.
fn current_form(case: &Case) -> Vec<u8> {
    case.json["reencoded_hex"].as_str().map_or_else(|| case.bytes.clone(), unhex)
}

/// What a case decodes to, as `decode --json` prints it.
fn expected(case: &Case, kind: Kind) -> Value {
    let json = &case.json;
    if kind == Kind::Extension {
        let decoded = &json["decoded"];
        let command = [&decoded["command"], decoded, &json["command"]];
        let command = command.into_iter().find(|value| value.is_object()).unwrap();
        return serde_json::json!({ "version": 5, "command": command });
    }
    [&json["decoded"], &json["value"]].into_iter().find(|value| value.is_object()).unwrap().clone()
}

/// The case is recognised without help, its JSON is that of the vector, and becomes the current encoding.
fn check(case: &Case, kind: Kind) {
    for asked in [None, Some(kind)] {
        let documents =
            recognise(&case.bytes, asked).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let json = json_of(&documents);
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value, expected(case, kind), "{}", case.name);
        let octets = encode(&json).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(octets, current_form(case), "{}", case.name);
    }
}

fn check_through_binary(case: &Case, kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let path = case.path.to_str().unwrap();
    let printed = succeed(directory.path(), &["decode", path, "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected(case, kind), "{}", case.name);
    let (code, octets, errors) =
        run_with_input(directory.path(), &["decode", "-", "--encode"], printed.as_bytes());
    assert_eq!((code, octets), (0, current_form(case)), "{}: {errors}", case.name);
    let plain = succeed(directory.path(), &["decode", path, "--as", kind.name()]).stdout;
    assert!(plain.lines().count() > 2 && !plain.contains('\x1b'), "{}: {plain}", case.name);
}

fn check_folder(name: &str, kind: Kind) {
    let cases = cases(name);
    cases.iter().for_each(|case| check(case, kind));
    let step = cases.len().div_ceil(THROUGH_BINARY);
    cases.iter().step_by(step).for_each(|case| check_through_binary(case, kind));
    println!("{name}: {} cases", cases.len());
}

#[test]
fn messages() {
    check_folder("wire", Kind::Message);
    check_folder("wire-old", Kind::Message);
}

#[test]
fn extensions() {
    check_folder("certext", Kind::Extension);
    check_folder("certext-old", Kind::Extension);
}

#[test]
fn state_files() {
    check_folder("state", Kind::State);
}

fn kind_of(decoder: &str) -> Kind {
    match decoder {
        "wire" => Kind::Message,
        "certext" => Kind::Extension,
        "state" => Kind::State,
        other => panic!("unknown decoder {other}"),
    }
}

#[test]
fn odd_encodings() {
    for case in cases("accept-odd") {
        let kind = kind_of(case.json["decoder"].as_str().unwrap());
        let name = case.name.strip_prefix("accept-odd/").unwrap();
        if REFUSED_BY_CHOICE.iter().any(|begin| name.starts_with(begin)) {
            recognise(&case.bytes, None).unwrap_err();
        } else {
            check(&case, kind);
        }
    }
}

#[test]
fn refusals_say_where_and_what() {
    let cases = cases("reject");
    let directory = tempfile::tempdir().unwrap();
    for (index, case) in cases.iter().enumerate() {
        let kind = kind_of(case.json["decoder"].as_str().unwrap());
        let error = recognise(&case.bytes, Some(kind)).unwrap_err().to_string();
        assert!(error.contains(" at byte "), "{}: {error}", case.name);
        match recognise(&case.bytes, None).as_deref() {
            Err(error) => assert!(error.to_string().contains(" at byte "), "{}: {error}", case.name),
            // A message where the value of the extension belongs.
            Ok([Document::Message(_)]) if kind == Kind::Extension => continue,
            Ok(documents) => panic!("{}: recognised as {documents:?}", case.name),
        }
        if index % 20 == 0 {
            let outcome = run(directory.path(), &["decode", case.path.to_str().unwrap(), "--json"]);
            assert_eq!(outcome.code, 124, "{}", case.name);
            assert!(outcome.stdout.contains(" at byte "), "{}: {outcome:?}", case.name);
        }
    }
    println!("reject: {} cases", cases.len());
}

/// The whole file of a vector becomes its bytes, too, where it was encoded from what stands in it.
#[test]
fn files_of_the_vectors_can_be_encoded() {
    for name in ["wire", "certext", "state"] {
        for case in cases(name) {
            if case.json["reencoded_hex"].is_null() {
                assert_eq!(encode(&case.json_text).unwrap(), case.bytes, "{}", case.name);
            }
        }
    }
}

/// The objects of certificates in `chain`, and the JSON becomes the file again.
#[test]
fn certificates() {
    let mut count = 0;
    for folder in chains() {
        let result = result(&folder);
        for (file, expected) in [
            ("ca.pem", vec![result["root"].clone()]),
            ("chain.pem", result["chain"].as_array().unwrap().clone()),
        ] {
            let text = std::fs::read(folder.join(file)).unwrap();
            let documents = recognise(&text, None).unwrap();
            assert_eq!(documents.len(), expected.len());
            for (document, expected) in documents.iter().zip(expected) {
                let json = json_of(std::slice::from_ref(document));
                let mut value: Value = serde_json::from_slice(&json).unwrap();
                let der = unhex(value["der_hex"].as_str().unwrap());
                assert_eq!(encode(&json).unwrap(), der);
                value.as_object_mut().unwrap().remove("der_hex");
                check_certificate(&folder, &value, expected);
                count += 1;
            }
            if documents.len() > 1 {
                assert_eq!(encode(&json_of(&documents)).unwrap(), text, "{}", folder.display());
            }
        }
    }
    println!("{count} certificates");
}

fn check_certificate(folder: &Path, value: &Value, mut expected: Value) {
    let mut value = value.clone();
    if let Some(error) = expected["albatross_extension"].get("parse_error") {
        // In other words.
        assert!(error.is_string());
        assert!(value["albatross_extension"]["parse_error"].is_string());
        value["albatross_extension"]["parse_error"].take();
        expected["albatross_extension"]["parse_error"].take();
    }
    assert_eq!(value, expected, "{}", folder.display());
}

fn chains() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder("chain")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> =
        folders.filter(|folder| !folder.file_name().unwrap().to_str().unwrap().starts_with('_')).collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

fn result(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap()
}

/// What `verify --json` prints of a chain, or why it is refused.
fn verified(folder: &Path, at: Time) -> Result<Value, verify::Refusal> {
    let read = |file| std::fs::read(folder.join(file)).unwrap();
    let root = verify::root(&read("ca.pem"))?;
    let chain = verify::certificates(&read("chain.pem"))?;
    let authority = verify::authority(&chain, &root, at, &mut RevocationStore::default())?;
    let mut out = Vec::new();
    verify::write_authority(Writer::new(&mut out, Style::Json).slot(), &authority).unwrap();
    Ok(serde_json::from_slice(&out).unwrap())
}

#[test]
fn chains_are_verified() {
    let (mut accepted, mut refused, mut without_place) = (0, 0, 0);
    for folder in chains() {
        let result = result(&folder);
        let at = result["validation_time"].as_str().unwrap().parse().unwrap();
        match verified(&folder, at) {
            Ok(value) => {
                assert_eq!(result["ours"], "ok", "{}", folder.display());
                assert_eq!(value, result["handle_of_validated_path"], "{}", folder.display());
                accepted += 1;
            }
            Err(refusal) => {
                assert_ne!(result["ours"], "ok", "{}: {refusal}", folder.display());
                // Too many certificates is the fault of none of them.
                if refusal.position().is_none() {
                    assert!(refusal.to_string().contains("more than 9 certificates"), "{refusal}");
                    without_place += 1;
                }
                refused += 1;
            }
        }
    }
    println!("chain: {accepted} accepted, {refused} refused, {without_place} of them as a whole");
}

#[test]
fn chains_through_the_binary() {
    let directory = tempfile::tempdir().unwrap();
    for folder in chains().iter().step_by(9) {
        let result = result(folder);
        let at = result["validation_time"].as_str().unwrap();
        let path = |file| folder.join(file).to_str().unwrap().to_owned();
        let words = ["verify", &path("ca.pem"), &path("chain.pem"), "--at", at];
        let (plain, json) =
            (run(directory.path(), &words), run(directory.path(), &[&words[..], &["--json"]].concat()));
        let value: Value = serde_json::from_str(&json.stdout).unwrap();
        if result["ours"] == "ok" {
            assert_eq!((plain.code, json.code), (0, 0), "{plain:?}");
            assert_eq!(value, result["handle_of_validated_path"]);
        } else {
            assert_eq!((plain.code, json.code), (116, 116), "{plain:?}");
            assert_eq!(value["ok"], false);
            if let Some(subject) = value["subject"].as_str() {
                let said = format!(" {} ({subject}): ", value["certificate"]);
                assert!(plain.stdout.contains(&said), "{said}: {plain:?}");
            }
            assert!(plain.stdout.contains(value["error"].as_str().unwrap()), "{plain:?} {value}");
        }
    }
}
