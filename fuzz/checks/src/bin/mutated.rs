//! Writes the images of [`albatross_fuzz_checks::mutated`] into a folder, and a table of what has to be said of each:
//! its name, and for the inspector and the tender `accepted` or the reason, apart by tabs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool for whoever works on albatross: it stops at the first surprise"
)]

use std::fmt::Write as _;
use std::path::PathBuf;

use albatross_fuzz_checks::mutated::{Mutated, all};

fn main() {
    let folder: PathBuf = std::env::args_os().nth(1).expect("usage: mutated FOLDER").into();
    std::fs::create_dir_all(&folder).unwrap();
    let mut table = String::new();
    for Mutated { name, image, inspector, tender } in all() {
        std::fs::write(folder.join(&name), image).unwrap();
        let [inspector, tender] = [inspector, tender].map(|verdict| verdict.unwrap_or("accepted"));
        writeln!(table, "{name}\t{inspector}\t{tender}").unwrap();
    }
    std::fs::write(folder.join("VERDICTS"), table).unwrap();
}
