//! Runs the recorded vectors: chains and policies of the OCaml implementation.
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

#[cfg(feature = "certificates")]
mod chain;
mod compress;
mod policy;

use std::path::{Path, PathBuf};

/// Folders that are run elsewhere: by the test of the same name in `albatross-proto`.
const ELSEWHERE: [&str; 7] = ["accept-odd", "certext", "certext-old", "reject", "state", "wire", "wire-old"];

/// Folders that are run here.
const HERE: [&str; 3] = ["chain", "compress", "policy"];

fn main_folder() -> PathBuf {
    std::env::var_os("ALBATROSS_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors"), PathBuf::from)
}

/// The sorted names in a folder, of which there is at least one.
#[cfg(feature = "certificates")]
fn entries(directory: &Path) -> Vec<String> {
    let read = std::fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut names: Vec<String> =
        read.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.is_empty(), "{}: empty", directory.display());
    names.sort();
    names
}

#[test]
#[cfg(feature = "certificates")]
fn chains() {
    let counts = chain::run(&main_folder().join("chain"));
    println!("chain: {counts}");
}

#[test]
fn policies() {
    let cases = policy::run(&main_folder().join("policy"));
    assert!(cases > 0, "policy: no case");
    println!("policy: {cases} cases");
}

#[test]
fn every_folder_is_known() {
    for entry in std::fs::read_dir(main_folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = name == "README.md" || HERE.contains(&&*name) || ELSEWHERE.contains(&&*name);
        assert!(known, "{name}: unknown folder");
    }
}
