//! Runs what was found by fuzzing, and the seeds of the fuzz targets, through the checks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise, and reads files"
)]

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use albatross_fuzz_checks::CHECKS;

/// The files in `fuzz/FOLDER/NAME`, in order; none if the folder is not there.
fn files(folder: &str, name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join(name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs every file of the folder through the check of its name; how many there were and were read.
fn run(folder: &str) -> usize {
    let mut total = 0;
    for (name, check) in CHECKS {
        let files = files(folder, name);
        let check = |file: &PathBuf| {
            let bytes = std::fs::read(file).unwrap();
            catch_unwind(|| check(&bytes)).unwrap_or_else(|_| panic!("{}", file.display()))
        };
        let read = files.iter().filter(|file| check(file)).count();
        println!("{folder}/{name}: {} files, {read} of them read", files.len());
        total += files.len();
    }
    total
}

/// Each file is named after what was wrong.
#[test]
fn findings_stay_fixed() {
    run("regressions");
}

#[test]
fn seeds_hold() {
    assert!(run("corpus") > 0, "no seed is there");
}

/// Every folder belongs to a check.
#[test]
fn every_folder_has_its_check() {
    for folder in ["regressions", "corpus"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)).unwrap()
        {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let known = CHECKS.iter().any(|(check, _)| *check == name);
            assert!(known || !entry.file_type().unwrap().is_dir(), "{folder}/{name}: no such check");
        }
    }
}
