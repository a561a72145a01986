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
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use albatross_e2e::programs::workspace;
use albatross_e2e::{Programs, eventually};
use nix::mount::{MsFlags, mount};

#[allow(dead_code, reason = "taps are of no concern here")]
mod namespace;

/// The beginnings of lines that are not about the command that was typed: what the daemons log.
const LOGS: [&str; 3] = ["albatrossd: ", "albatross-console: ", "albatross-tls-endpoint: "];

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

/// A shell that is typed into.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::io::PipeReader>,
}

impl Shell {
    fn start(directory: &Path, programs: &Path) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--norc", "--noprofile"])
            .current_dir(directory)
            .env("PATH", path)
            .env("TMPDIR", directory)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut shell = Self { child, input, output: BufReader::new(reader) };
        // As somebody has it who types: jobs with names.
        shell.type_in("set -m; top=$PWD");
        shell
    }

    /// What comes of a command, and its status.
    fn type_in(&mut self, command: &str) -> (Vec<String>, String) {
        const END: &str = "<status of what was typed> ";
        writeln!(self.input, "{command}\nprintf '\\n%s%s\\n' '{END}' \"$?\"").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell has ended: {lines:?}");
            let line = line.trim_end_matches('\n');
            if let Some(status) = line.strip_prefix(END) {
                // The one before the status is the line break of printf.
                while lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                return (lines, status.to_owned());
            }
            if !LOGS.iter().any(|log| line.starts_with(log)) {
                lines.push(line.to_owned());
            }
        }
    }

    fn execute(&mut self, block: &[Step]) {
        self.type_in("cd \"$top\"");
        for Step { command, output } in block {
            let (lines, status) = self.type_in(command);
            assert_eq!(status, "0", "{command}: {lines:?}");
            if let Some(daemon) = command.strip_suffix(" &") {
                wait_for(daemon);
            } else {
                assert!(all_fit(output, &lines), "{command}\nsays     {lines:#?}\nand not  {output:#?}");
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Who waits for the daemons to come up does not wait for the unikernels to end.
        _ = writeln!(self.input, "kill -KILL $(jobs -p); exit");
        _ = self.child.wait();
    }
}

/// Waits until a daemon that was started serves, as somebody does who reads on first.
fn wait_for(daemon: &str) {
    let socket = |name: &str| UnixStream::connect(format!("/run/albatross/util/{name}.sock")).is_ok();
    let program = daemon.split(' ').next().unwrap();
    eventually(daemon, || {
        let is_there = match program {
            "albatross-console" => socket("console"),
            "albatrossd" => socket("vmmd"),
            _ => TcpStream::connect("127.0.0.1:1025").is_ok(),
        };
        is_there.then_some(())
    })
    .unwrap();
}

/// The usual directories of the daemons, empty, and a host of the name that is in the document.
fn new_system(directory: &Path) {
    let none: Option<&Path> = None;
    for path in ["/run", "/var/lib"] {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
    for path in ["/run/albatross/util", "/run/albatross/fifo", "/var/lib/albatross"] {
        fs::create_dir_all(path).unwrap();
    }
    let hosts = directory.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost host.example\n").unwrap();
    mount(Some(&hosts), "/etc/hosts", none, MsFlags::MS_BIND, none).unwrap();
    namespace::ip("link set lo up");
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
            blocks.iter().for_each(|block| shell.execute(block));
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
