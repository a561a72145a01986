//! What is said of spoilt images, by the inspector and by the tender.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use albatross_core::image::inspect;
use albatross_fuzz_checks::mutated::{MEMORY, Mutated, Verdict, all};
use albatross_spt::image::Image;

/// The tender's way to the jump, as far as it is about the image.
fn tender(image: &[u8]) -> Result<(), String> {
    let image = Image::open(image).map_err(|error| error.to_string())?;
    image.manifest().map_err(|error| error.to_string())?;
    image.plan(MEMORY).map(drop).map_err(|error| error.to_string())
}

/// Says what is not as expected.
fn complaint(who: &str, expected: Verdict, found: &Result<(), String>) -> Option<String> {
    match (expected, found) {
        (None, Ok(())) => None,
        (Some(reason), Err(found)) if found.contains(reason) => None,
        _ => Some(format!("{who}: expected {expected:?}, found {found:?}")),
    }
}

#[test]
fn each_is_refused_for_its_reason_or_accepted() {
    let (mut wrong, mut refused) = (Vec::new(), 0);
    let cases = all();
    for Mutated { name, image, inspector, tender: tender_verdict } in &cases {
        let inspected = inspect(image).map(drop).map_err(|error| error.to_string());
        let complaints = [
            complaint("inspector", *inspector, &inspected),
            complaint("tender", *tender_verdict, &tender(image)),
        ];
        wrong.extend(complaints.into_iter().flatten().map(|complaint| format!("{name}: {complaint}")));
        refused += usize::from(inspector.is_some() && tender_verdict.is_some());
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    println!("{} images, {refused} refused by both", cases.len());
    let names: BTreeSet<&String> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "each has a name of its own");
}

/// The inspector may let pass what depends on the memory or the target, and nothing that no tender runs in any memory.
#[test]
fn the_inspector_lets_pass_what_another_memory_or_tender_would_run() {
    let only_tender = all().into_iter().filter(|case| case.inspector.is_none() && case.tender.is_some());
    for Mutated { name, image, .. } in only_tender {
        let other_memory = Image::open(image.as_slice()).is_ok_and(|image| image.plan(1 << 40).is_ok());
        let other_tender = name.starts_with("abi-target-") || name.starts_with("abi-version-");
        assert!(other_memory || other_tender || name == "entry-high", "{name}");
    }
}

/// The program itself: one line and status 1 for each image that is refused. Those that are accepted lack their devices,
/// or have none and come to the instruction that faults.
#[test]
fn the_program_says_the_same_in_one_line() {
    const SIGSEGV: i32 = 11;
    let program = build();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutated");
    std::fs::create_dir_all(&folder).unwrap();
    for Mutated { name, image, tender, .. } in all() {
        let file = folder.join(&name);
        std::fs::write(&file, image).unwrap();
        let output = Command::new(&program).arg("--mem=2").arg(&file).stdin(Stdio::null()).output().unwrap();
        let (said, status) = (String::from_utf8(output.stderr).unwrap(), output.status);
        let line =
            status.code() == Some(1) && said.lines().count() == 1 && said.starts_with("albatross-spt: ");
        let as_expected = match tender {
            Some(reason) => line && said.contains(reason) && said.contains(&name),
            None => {
                line && said.contains("is not attached")
                    || said.is_empty() && status.signal() == Some(SIGSEGV)
            }
        };
        assert!(
            as_expected && output.stdout.is_empty(),
            "{name}: expected {tender:?}, found {status} {said:?}"
        );
        std::fs::remove_file(file).unwrap();
    }
}

/// The tender as it is delivered.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tender");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bins/albatross-spt/Cargo.toml"))
        .args(["--bin", "albatross-spt", "--target-dir"])
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .unwrap();
    assert!(status.success(), "the tender does not build");
    target.join("release/albatross-spt")
}
