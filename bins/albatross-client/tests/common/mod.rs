//! What the tests of the real binary share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, and no file uses everything"
)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use albatross_e2e::raw;
use albatross_proto::{Header, Payload, Wire};

/// How a run of the client ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// An image of the test data, whose only device is a network device `service`, or none.
pub fn image(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/images").join(name)
}

/// The client with these words, started in `directory`.
pub fn start(directory: &Path, words: &[&str]) -> Child {
    start_program(env!("CARGO_BIN_EXE_albatross-client"), directory, words)
}

/// The same with a program of another name.
pub fn start_program(program: &str, directory: &Path, words: &[&str]) -> Child {
    Command::new(program)
        .args(words)
        .current_dir(directory)
        .env("TMPDIR", directory)
        .env("SSL_CERT_FILE", directory.join("cacert.pem"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What comes of a client.
pub fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the client.
pub fn run(directory: &Path, words: &[&str]) -> Outcome {
    finish(start(directory, words))
}

/// Runs the client with `input` on its standard input; returns its exit code, what it printed and its errors.
pub fn run_with_input(directory: &Path, words: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_albatross-client"))
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // It may not want all of it.
        scope.spawn(move || _ = stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    (output.status.code().unwrap(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs the client, which must succeed.
pub fn succeed(directory: &Path, words: &[&str]) -> Outcome {
    let outcome = run(directory, words);
    assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
    outcome
}

/// Reads one frame.
pub fn read_frame(stream: &mut impl Read) -> Vec<u8> {
    raw::read_frame(stream).unwrap().expect("a frame")
}

/// Writes one frame.
pub fn write_frame(stream: &mut impl Write, payload: &[u8]) {
    stream.write_all(&albatross_proto::frame::frame(payload)).unwrap();
}

/// Answers `header` with `payload`.
pub fn reply(stream: &mut impl Write, header: &Header, payload: Payload<'_>) {
    write_frame(stream, &Wire::new(header.clone(), payload).encode().unwrap());
}

/// Runs openssl, which must succeed, and returns what it printed.
pub fn openssl(directory: &Path, words: &[&str]) -> String {
    let output = Command::new("openssl").args(words).current_dir(directory).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
