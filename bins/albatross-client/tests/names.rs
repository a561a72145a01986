//! The older programs, as programs of their own and as links to the client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{Outcome, finish, start_program, succeed};

fn run(program: &str, directory: &Path, words: &[&str]) -> Outcome {
    finish(start_program(program, directory, words))
}

const LOCAL: &str = env!("CARGO_BIN_EXE_albatross-client-local");
const REMOTE: &str = env!("CARGO_BIN_EXE_albatross-client-remote-tls");
const BISTRO: &str = env!("CARGO_BIN_EXE_albatross-client-bistro");
const REQUEST: &str = env!("CARGO_BIN_EXE_albatross-provision-request");
const AUTHORITY: &str = env!("CARGO_BIN_EXE_albatross-provision-ca");

#[test]
fn the_older_names_do_what_they_did() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let outcome = run(AUTHORITY, place, &["generate", "root", "root.db"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let outcome = run(REQUEST, place, &["add_policy", "alice", "2", "--mem", "256"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let outcome = run(AUTHORITY, place, &["sign", "cacert.pem", "root.db", "root.key", "alice.req"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(place.join("alice.pem").is_file());
    let outcome = run(AUTHORITY, place, &["revoke", "cacert.pem", "root.db", "root.key", "alice"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Nobody listens there: each says where it wanted to go.
    let outcome = run(LOCAL, place, &["inactive_consoles", "--tmpdir", "."]);
    assert!(outcome.code == 122 && outcome.stdout.contains("./util/console.sock"), "{outcome:?}");
    assert!(outcome.stdout.starts_with("albatross-client-local: [ERROR] "), "{outcome:?}");
    let credentials = ["--ca", "alice.pem", "--ca-key", "alice.key"];
    let outcome = run(BISTRO, place, &[&["info", "-d", "127.0.0.1:1"][..], &credentials].concat());
    assert!(outcome.code == 122 && outcome.stdout.contains("127.0.0.1:1"), "{outcome:?}");
    succeed(place, &["info", "--csr", "-n", "hello"]);
    succeed(place, &["sign", "alice.pem", "alice.db", "alice.key", "hello.req"]);
    let outcome = run(REMOTE, place, &["cacert.pem", "hello.pem", "hello.key", "127.0.0.1:1"]);
    assert!(outcome.code == 122 && outcome.stdout.contains("127.0.0.1:1"), "{outcome:?}");
}

#[test]
fn what_the_older_names_do_not_take_is_said_on_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    for (program, words) in [
        (LOCAL, &["info", "-d", "host"][..]),
        (BISTRO, &["sign", "a", "b", "c", "d"]),
        (REQUEST, &["info", "--socket", "x"]),
        (AUTHORITY, &["info"]),
        (REMOTE, &["a", "b", "c"]),
    ] {
        let outcome = run(program, directory.path(), words);
        let name = Path::new(program).file_name().unwrap().to_str().unwrap();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (124, ""), "{outcome:?}");
        assert!(outcome.stderr.starts_with(&format!("{name}: ")), "{outcome:?}");
    }
    let outcome = run(BISTRO, directory.path(), &["--version"]);
    assert!(outcome.stdout.starts_with("albatross-client-bistro "), "{outcome:?}");
}

#[test]
fn a_link_to_the_client_is_the_program_of_that_name() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("albatross-provision-request");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_albatross-client"), &link).unwrap();
    let outcome = run(link.to_str().unwrap(), directory.path(), &["destroy", "hello"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(directory.path().join("hello.req").is_file());
    // A small program without the client beside it says what is missing.
    let alone = directory.path().join("albatross-client-local");
    fs::copy(LOCAL, &alone).unwrap();
    let mut command = std::process::Command::new(&alone);
    let output = command.arg("info").env("PATH", directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("cannot run albatross-client"), "{output:?}");
}
