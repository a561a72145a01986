//! The guests and the tender, built once, and the tender run on a guest.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod network;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The image of a guest from bins/guests.
pub fn guest(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(build_guests).join(name)
}

/// Builds all guests.
fn build_guests() -> PathBuf {
    build("guests", "../guests/Cargo.toml", &[])
}

/// Builds the tender as it is delivered, whatever these tests are built as: a program of another kind than the one that
/// cargo has built beside them.
fn build_tender() -> PathBuf {
    build("tender", "Cargo.toml", &["--bin", "albatross-spt"])
}

/// Cargo keeps a lock on the target directory, so several test programs may do this at once.
fn build(target: &str, manifest: &str, what: &[&str]) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--offline", "--manifest-path"])
        .arg(manifest)
        .args(what)
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{} does not build", target.display());
    target.join("release")
}

/// The program of the tender.
pub fn program() -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(build_tender).join("albatross-spt")
}

/// The tender, with nothing on standard input.
pub fn tender() -> Command {
    let mut command = Command::new(program());
    command.stdin(Stdio::null());
    command
}

/// Runs a guest in 2 MiB with these arguments.
pub fn run(name: &str, arguments: &[&str]) -> Finished {
    Finished::of(tender().arg("--mem=2").arg(guest(name)).args(arguments))
}

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub dumped_core: bool,
}

impl Finished {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the tender starts");
        Self {
            code: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            dumped_core: status.core_dumped(),
        }
    }

    /// The tender refused: status 1, nothing on standard output, one line on standard error with this in it.
    #[track_caller]
    pub fn assert_refused(&self, cause: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("albatross-spt: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert!(self.stderr.contains(cause), "expected {cause:?} in {:?}", self.stderr);
    }

    /// The guest ended by a signal, without a core dump, after these lines.
    #[track_caller]
    pub fn assert_signal(&self, signal: i32, stdout: &str) {
        assert_eq!(self.signal, Some(signal), "{self:?}");
        assert!(!self.dumped_core, "{self:?}");
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), (stdout, ""));
    }

    /// The guest exited by itself after these lines.
    #[track_caller]
    pub fn assert_exit(&self, code: i32, stdout: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), (stdout, ""));
    }
}
