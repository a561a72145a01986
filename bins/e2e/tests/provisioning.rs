//! `docs/provisioning.md`, typed as it is written: each line that begins with `$` goes to a shell, and what comes is
//! compared with the lines below it.
//!
//! Everything is real: the daemons on their usual sockets and port, in a network and a view of the file system of the
//! test's own, where `host.example` is this host. Needs root and /dev/net/tun; without them a test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;

use albatross_e2e::Programs;
use albatross_e2e::programs::workspace;

#[allow(dead_code, reason = "taps are of no concern here")]
mod namespace;
mod typed;

use typed::{Shell, new_system, wait_for};

/// What is typed, and what is to come.
#[derive(Debug)]
struct Step {
    command: String,
    output: Vec<String>,
}

/// The blocks of each section of the document.
fn sections() -> Vec<(String, Vec<Vec<Step>>)> {
    let text = fs::read_to_string(workspace().join("docs/provisioning.md")).unwrap();
    let mut sections: Vec<(String, Vec<Vec<Step>>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((title.to_owned(), Vec::new()));
        } else if line == "```console" {
            inside = true;
            sections.last_mut().unwrap().1.push(Vec::new());
        } else if line.starts_with("```") {
            assert!(inside, "a block of another kind: {line}");
            inside = false;
        } else if inside {
            let block = sections.last_mut().unwrap().1.last_mut().unwrap();
            match line.strip_prefix("$ ") {
                Some(command) => block.push(Step { command: command.to_owned(), output: Vec::new() }),
                None => block.last_mut().unwrap().output.push(line.to_owned()),
            }
        }
    }
    sections
}

/// Whether `line` is as `pattern` says, in which `...` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The same for all lines; a pattern of its own stands for any number of them.
fn all_fit(patterns: &[String], lines: &[String]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => (0..=lines.len()).any(|skip| all_fit(rest, &lines[skip..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| fits(first, line) && all_fit(rest, lines))
        }
    }
}

/// Types a block, and compares what comes.
fn execute(shell: &mut Shell, block: &[Step]) {
    shell.type_in("cd \"$top\"");
    for Step { command, output } in block {
        let (lines, status) = shell.type_in(command);
        assert_eq!(status, "0", "{command}: {lines:?}");
        if let Some(daemon) = command.strip_suffix(" &") {
            wait_for(daemon);
        } else {
            assert!(all_fit(output, &lines), "{command}\nsays     {lines:#?}\nand not  {output:#?}");
        }
    }
}

#[test]
fn provisioning_is_as_it_is_written() {
    namespace::in_new_network(|| {
        let programs = Programs::for_tests().unwrap();
        let directory = tempfile::tempdir().unwrap();
        new_system(directory.path());
        let work = directory.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::copy(programs.guest("tick"), work.join("clock.spt")).unwrap();
        let mut shell = Shell::start(&work, programs.directory());
        for (_, blocks) in sections() {
            blocks.iter().for_each(|block| execute(&mut shell, block));
        }
        // Unikernels outlive a daemon that is killed. No other test runs any at this place.
        drop(shell);
        for (pid, _) in albatross_e2e::processes::mentioning("/run/albatross/alice:") {
            albatross_e2e::processes::signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
}

#[test]
fn what_is_left_out_fits_anything() {
    for (pattern, line, does) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("...", "", true),
        ("a...b", "ab", true),
        ("a...b", "a x b", true),
        ("a...b", "a x", false),
        ("a...b...c", "a b b c", true),
        ("... carol", "revoked 12 carol", true),
        ("revoked ... carol", "revoked 12 alice", false),
    ] {
        assert_eq!(fits(pattern, line), does, "{pattern} {line}");
    }
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(all_fit(&lines("... b"), &lines("a a b")) && all_fit(&lines("a ..."), &lines("a")));
    assert!(!all_fit(&lines("a"), &lines("a b")) && !all_fit(&lines("... c"), &lines("a b")));
}
