//! What is shown on a terminal and nowhere else: how far a transfer is, and colours. The terminal is tmux's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use albatross_proto::{Payload, Success, Wire};
use common::{read_frame, reply, run};

/// Octets of the file that is sent.
const LENGTH: u64 = 200_000_000;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that takes what comes slowly, until it is told to hurry.
fn slow_daemon(directory: &Path, hurry: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    File::create(directory.join("big")).unwrap().set_len(LENGTH).unwrap();
    let listener = UnixListener::bind(directory.join("test.sock")).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let wire = Wire::decode(read_frame(&mut stream).leak()).unwrap();
        while !read_frame(&mut stream).is_empty() {
            if !hurry.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        reply(&mut stream, &wire.header, Payload::Success(Success::Text("set block device".into())));
    })
}

/// A terminal of its own.
struct Terminal<'a> {
    directory: &'a Path,
}

impl<'a> Terminal<'a> {
    /// `None` without tmux.
    fn new(directory: &'a Path) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: tmux is not installed");
            return None;
        }
        let terminal = Self { directory };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "20", "bash --norc"]);
        Some(terminal)
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.join("tmux")).args(words).current_dir(self.directory);
        command.env("TMPDIR", self.directory).env("PS1", "> ").env_remove("TMUX");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn type_in(&self, line: &str) {
        self.tmux(&["send-keys", line, "Enter"]);
    }

    /// Waits until the screen is as it should be. `-e` shows colours.
    fn wait(&self, options: &[&str], is_right: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let screen = self.tmux(&[&["capture-pane", "-p"], options].concat());
            if is_right(&screen) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        _ = Command::new("tmux").arg("-S").arg(self.directory.join("tmux")).arg("kill-server").status();
    }
}

#[test]
fn a_long_transfer_shows_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let Some(terminal) = Terminal::new(directory.path()) else { return };
    let hurry = Arc::new(AtomicBool::new(false));
    let daemon = slow_daemon(directory.path(), hurry.clone());
    let client = env!("CARGO_BIN_EXE_albatross-client");
    terminal.type_in(&format!("{client} --socket test.sock set-block a:data big; echo exit $?"));
    terminal.wait(&[], |screen| {
        let mut lines = screen.lines();
        lines.any(|line| {
            line.starts_with("sent ") && line.contains(" of 200.0 MB, ") && line.contains(" left")
        })
    });
    hurry.store(true, Ordering::Relaxed);
    let screen = terminal.wait(&[], |screen| screen.lines().any(|line| line == "exit 0"));
    assert!(screen.contains("host [unikernel: a:data]: set block device"), "{screen}");
    assert!(!screen.contains(" left"), "the line goes: {screen}");
    daemon.join().unwrap();
}

#[test]
fn an_image_that_comes_slowly_shows_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let Some(terminal) = Terminal::new(directory.path()) else { return };
    let hurry = Arc::new(AtomicBool::new(false));
    let listener = UnixListener::bind(directory.path().join("test.sock")).unwrap();
    let daemon = {
        let hurry = hurry.clone();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let wire = Wire::decode(read_frame(&mut stream).leak()).unwrap();
            let image = vec![0x5a; 20_000_000].into();
            let image = Payload::Success(Success::UnikernelImage { compressed: false, image });
            let reply = albatross_proto::frame::frame(&Wire::new(wire.header, image).encode().unwrap());
            for piece in reply.chunks(20_000) {
                stream.write_all(piece).unwrap();
                if !hurry.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        })
    };
    let client = env!("CARGO_BIN_EXE_albatross-client");
    terminal.type_in(&format!("{client} --socket test.sock get a:b; echo exit $?"));
    terminal.wait(&[], |screen| {
        let mut lines = screen.lines();
        lines.any(|line| {
            line.starts_with("received ") && line.contains(" of 20.0 MB, ") && line.contains(" left")
        })
    });
    hurry.store(true, Ordering::Relaxed);
    terminal.wait(&[], |screen| screen.lines().any(|line| line == "exit 0") && !screen.contains(" left"));
    daemon.join().unwrap();
}

#[test]
fn without_a_terminal_there_is_only_the_result() {
    let directory = tempfile::tempdir().unwrap();
    let hurry = Arc::new(AtomicBool::new(false));
    let daemon = slow_daemon(directory.path(), hurry.clone());
    let client = thread::scope(|scope| {
        let client =
            scope.spawn(|| run(directory.path(), &["--socket", "test.sock", "set-block", "a:data", "big"]));
        // Longer than any transfer that is not spoken of.
        thread::sleep(Duration::from_secs(1));
        hurry.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert_eq!((client.code, client.stderr.as_str()), (0, ""), "{client:?}");
    assert_eq!(client.stdout, "host [unikernel: a:data]: set block device\n");
    daemon.join().unwrap();
}

#[test]
fn colours_are_for_terminals() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["--socket", "none.sock", "info"];
    let plain = run(directory.path(), &words);
    assert!(plain.code == 122 && !plain.stdout.contains('\x1b'), "{plain:?}");
    let asked = run(directory.path(), &[&words[..], &["--color", "always"]].concat());
    assert!(asked.stdout.contains("\x1b[31mERROR\x1b[0m"), "{asked:?}");
    let Some(terminal) = Terminal::new(directory.path()) else { return };
    let client = env!("CARGO_BIN_EXE_albatross-client");
    terminal.type_in(&format!("{client} {}", words.join(" ")));
    terminal.wait(&["-e"], |screen| screen.contains("\x1b[31mERROR"));
}
