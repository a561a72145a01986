//! `inspect-dump` and `extract-dump` by the real binary, of recorded state files and of our record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use albatross_core::image::{deflate, digest};
use albatross_core::journal;
use albatross_proto::state::{Record, RecordedUnikernel, State};
use albatross_proto::{Arguments, Config, Typ};
use common::{run, succeed};

fn vectors() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/state");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "der")).collect()
}

#[test]
fn state_files_of_every_version_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let files = vectors();
    assert!(files.len() > 10);
    for file in files {
        let octets = fs::read(&file).unwrap();
        let state = State::decode(&octets).unwrap();
        let words = ["inspect-dump", "--file", file.to_str().unwrap()];
        let shown = succeed(directory.path(), &words).stdout;
        assert_eq!(shown.lines().count(), state.unikernels.len() + state.policies.len(), "{shown}");
        for (name, _) in &state.unikernels {
            assert!(shown.contains(&format!("unikernel {name}: ")), "{name}: {shown}");
        }
        let json = succeed(directory.path(), &[&words[..], &["--json"]].concat()).stdout;
        for line in json.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(object["type"].is_string() && object["name"].is_string(), "{line}");
        }
    }
}

fn config(image: Vec<u8>, compressed: bool) -> Config<'static> {
    let arguments = Arguments { argv: Some(vec!["--key=secret\x1b".into()]), ..Arguments::new() };
    Config { typ: Typ::Solo5, compressed, image: image.into(), arguments }
}

#[test]
fn images_are_taken_out() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let name = |text: &str| text.parse().unwrap();
    let unikernels = vec![
        (name("foo:bomb"), config(b"rubbish".to_vec(), true)),
        (name("foo:plain"), config(b"the image".to_vec(), false)),
        (name("foo:small"), config(deflate(b"the image", 9), true)),
    ];
    let state = State { unikernels, policies: Vec::new() }.encode().unwrap();
    fs::write(place.join("state"), state).unwrap();
    let record = Record {
        unikernels: vec![(
            name("foo:ours"),
            RecordedUnikernel { config: config(Vec::new(), false), digest: digest(b"the image") },
        )],
        policies: Vec::new(),
    };
    let journal = journal::Writer::new([7; journal::SALT]).begin(&record.encode().unwrap());
    fs::write(place.join("record"), journal).unwrap();
    let hash: String = digest(b"the image").iter().map(|octet| format!("{octet:02x}")).collect();
    fs::create_dir(place.join("images")).unwrap();
    fs::write(place.join("images").join(&hash), "the image").unwrap();
    for (unikernel, file) in [("foo:plain", "state"), ("foo:small", "state"), ("foo:ours", "record")] {
        let shown = succeed(place, &["extract-dump", unikernel, "--dbdir", ".", "--file", file]).stdout;
        let path = shown.lines().next().unwrap().split_once("written to ").unwrap().1;
        assert!(path.starts_with(&format!("{}/{unikernel}.", place.display())), "{shown}");
        assert_eq!(fs::read(path).unwrap(), b"the image");
        assert!(shown.contains("arguments [--key=secret\\x1b]"), "{shown}");
    }
    // Secrets are not shown where nobody asks for them.
    assert!(!succeed(place, &["inspect-dump", "--dbdir", "."]).stdout.contains("secret"));
    for (words, why) in [
        (&["extract-dump", "foo:none", "--dbdir", "."][..], "has no unikernel foo:none"),
        (&["extract-dump", "foo:bomb", "--dbdir", "."], "cannot be used"),
        (&["inspect-dump", "--dbdir", "missing"], "missing/state"),
        (&["inspect-dump", "--file", "./images"], "./images"),
    ] {
        let outcome = run(place, words);
        assert!(outcome.code == 124 && outcome.stdout.contains(why), "{outcome:?}");
    }
    fs::write(place.join("images").join(&hash), "another").unwrap();
    let outcome = run(place, &["extract-dump", "foo:ours", "--dbdir", ".", "--file", "record"]);
    assert!(outcome.code == 124 && outcome.stdout.contains("is damaged"), "{outcome:?}");
    fs::remove_file(place.join("state")).unwrap();
    let outcome = run(place, &["inspect-dump", "--dbdir", "."]);
    assert!(outcome.code == 124 && outcome.stdout.contains("--file record"), "{outcome:?}");
}
