//! Consoles: history, following, those who read slowly, and what stays when a unikernel is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, eventually};
use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Int};

/// `console NAME` running; killed in the end.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(host: &Host, arguments: &[&str]) -> Self {
        let mut command = host.client_command(&[&["console"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that has this text.
    fn wait_for(&mut self, text: &str) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(text)).unwrap_or_else(|| panic!("it ended before {text:?}"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        albatross_e2e::run::kill(&mut self.child);
    }
}

#[test]
fn a_console_is_followed() {
    let host = Host::for_test().unwrap();
    host.create("a:tick", "tick", &["--arg=--ms=20"]).unwrap().assert(0, "created");
    let mut follower = Follower::start(&host, &["a:tick", "--count", "0"]);
    follower.wait_for("subscribed");
    let line = follower.wait_for("tick ");
    let number: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    for next in 1..=3 {
        assert!(follower.wait_for("tick ").ends_with(&format!(": tick {}", number + next)));
    }
}

#[test]
fn one_may_wait_for_a_unikernel_to_come() {
    let host = Host::for_test().unwrap();
    let mut follower = Follower::start(&host, &["a:later"]);
    follower.wait_for("waiting for VM");
    host.create("a:later", "hello", &[]).unwrap().assert(0, "created");
    follower.wait_for("Hello from spt");
    follower.wait_for("--name=later");
}

#[test]
fn history_is_kept_across_unikernels_of_one_name() {
    let host = Host::for_test().unwrap();
    for word in ["first", "second"] {
        let argument = format!("--arg={word}");
        host.create("a:hello", "hello", &["--no-add-name", "--force", &argument])
            .unwrap()
            .assert(0, "created");
        host.console_ends_with("a:hello", &["Hello from spt", word]).unwrap();
    }
    let all = ["Hello from spt", "first", "Hello from spt", "second"];
    assert_eq!(host.console_lines("a:hello", 1024).unwrap(), all);
    assert_eq!(host.console_lines("a:hello", 3).unwrap(), all[1..]);
    assert_eq!(host.console_lines("a:hello", 0).unwrap(), Vec::<String>::new());
    let mut follower = Follower::start(&host, &["a:hello", "--since", "2001-01-01"]);
    follower.wait_for(": first");
    let mut follower = Follower::start(&host, &["a:hello", "--since=2101-01-01T00:00:00Z"]);
    follower.wait_for("subscribed");
}

#[test]
fn a_flood_is_kept_to_its_newest_lines() {
    let host = Host::for_test().unwrap();
    host.create("a:flood", "flood", &["--arg=--lines=3000"]).unwrap().assert(0, "created");
    let line = |number: usize| format!("flood {number} the quick brown fox jumps over the lazy dog");
    host.console_ends_with("a:flood", &[&line(3000)]).unwrap();
    let lines = host.console_lines("a:flood", 5000).unwrap();
    assert_eq!(lines.len(), 1024);
    assert_eq!((&lines[0], &lines[1023]), (&line(3000 - 1023), &line(3000)));
}

#[test]
fn a_reader_who_does_not_read_holds_up_nobody() {
    let mut host = Host::for_test().unwrap();
    let mut sleepers = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::unix(&host.socket("console")).unwrap();
        let subscribe = ConsoleCommand::Subscribe(History::Count(Int::from(10)));
        raw.command("a:flood", Command::Console(subscribe)).unwrap();
        sleepers.push(raw);
    }
    host.create("a:flood", "flood", &["--arg=--lines=200000"]).unwrap().assert(0, "created");
    let last = "flood 200000 the quick brown fox jumps over the lazy dog";
    host.console_ends_with("a:flood", &[last]).unwrap();
    let resident = host.console().unwrap().resident();
    assert!(resident < 64 * 1024, "{resident} KiB");
    drop(sleepers);
}

#[test]
fn consoles_of_the_gone_are_listed() {
    let host = Host::for_test().unwrap();
    host.client(&["add-policy", "a", "2", "--mem", "64"]).unwrap().assert(0, "added policy");
    host.create("a:gone", "hello", &[]).unwrap().assert(0, "created");
    host.create("a:runs", "tick", &[]).unwrap().assert(0, "created");
    host.console_ends_with("a:gone", &["Hello from spt", "--name=gone"]).unwrap();
    eventually("its console to be inactive", || {
        let finished = host.client(&["inactive-consoles", "--path", "a"]).unwrap().assert(0, "");
        (finished.stdout.contains(":gone") && !finished.stdout.contains(":runs")).then_some(())
    })
    .unwrap();
}

/// A console shows what a guest wrote, but not to the terminal as it is.
#[test]
fn control_characters_are_escaped() {
    let host = Host::for_test().unwrap();
    host.create("a:hello", "hello", &["--arg", "\u{1b}[31mred\u{7}"]).unwrap().assert(0, "created");
    let mut follower = Follower::start(&host, &["a:hello"]);
    let line = follower.wait_for("red");
    assert!(!line.contains('\u{1b}') && !line.contains('\u{7}'), "{line:?}");
}
