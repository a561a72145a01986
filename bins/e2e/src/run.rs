//! One program from start to end, with a deadline.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// How long anything may take before a test gives up: far more than it needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks.
const INTERVAL: Duration = Duration::from_millis(2);

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What was run, as a user would type it.
    pub command: String,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output, what is not UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Finished {
    /// Standard output and standard error.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Itself, where it ended with `code` and printed `text`.
    ///
    /// # Errors
    /// [`Failure::Unexpected`] where it did not.
    pub fn expect(self, code: i32, text: &str) -> Result<Self, Failure> {
        if self.code == Some(code) && self.text().contains(text) {
            return Ok(self);
        }
        let Self { stdout, stderr, .. } = &self;
        let end =
            self.code.map_or_else(|| format!("signal {:?}", self.signal), |code| format!("exit code {code}"));
        let what = format!("expected exit code {code} and {text:?}, got {end} and\n{stdout}{stderr}");
        Err(Failure::Unexpected { command: self.command, what })
    }

    /// Panics unless it ended with `code` and printed `text`.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    #[expect(clippy::panic, reason = "an assertion for tests")]
    pub fn assert(self, code: i32, text: &str) -> Self {
        self.expect(code, text).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

/// Runs `command` to its end, with nothing on standard input; after [`PATIENCE`] it is killed.
///
/// # Errors
/// Where it does not start or does not end in time.
pub fn run(command: &mut Command) -> Result<Finished, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = Path::new(command.get_program()).to_owned();
    let mut child = command.spawn().map_err(|error| Failure::io("run", &program, error))?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let status = wait(&mut child, PATIENCE).ok_or_else(|| {
        kill(&mut child);
        Failure::Late { what: format!("the end of: {}", shown(command)), patience: PATIENCE }
    })?;
    Ok(Finished {
        command: shown(command),
        code: status.code(),
        signal: status.signal(),
        stdout: stdout.map(text).unwrap_or_default(),
        stderr: stderr.map(text).unwrap_or_default(),
    })
}

/// Waits for the end of a child, at most so long.
#[must_use]
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(INTERVAL),
            _ => return None,
        }
    }
}

/// Ends a child at once.
pub fn kill(child: &mut Child) {
    // It may have ended by itself meanwhile.
    _ = child.kill();
    _ = child.wait();
}

/// Looks until `look` finds something, at most [`PATIENCE`] long.
///
/// # Errors
/// [`Failure::Late`], with `what`.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Failure::Late { what: what.to_owned(), patience: PATIENCE });
        }
        thread::sleep(INTERVAL);
    }
}

/// Whether openssl is there; where it is not, this says that a test is skipped.
#[expect(clippy::print_stdout, reason = "whoever runs tests is told what was not tested")]
#[must_use]
pub fn has_openssl() -> bool {
    let is_there = Command::new("openssl").arg("version").output().is_ok_and(|it| it.status.success());
    if !is_there {
        println!("skipped: openssl is not installed");
    }
    is_there
}

/// The command as a user would type it: the program without its directory.
#[must_use]
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words =
        std::iter::once(program).chain(command.get_args()).map(|word| quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@,+%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut octets = Vec::new();
        // What was read until an error is all that there is.
        _ = from.read_to_end(&mut octets);
        octets
    })
}

fn text(reader: thread::JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("/some/where/program");
        command.args(["--opt=a", "two words", "", "foo:bar"]);
        assert_eq!(shown(&command), "program --opt=a 'two words' '' foo:bar");
    }

    #[test]
    fn what_a_program_prints_and_how_it_ends_is_told() {
        let finished = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        assert!(finished.clone().expect(0, "out").is_err());
        finished.assert(3, "err");
    }
}
