//! Attempts of a process that has given things up: the test runs itself once more for each, and is told by variables what
//! to try.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

/// What a process is to try, and where.
const ATTEMPT: &str = "ALBATROSS_TEST_ATTEMPT";
const PLACE: &str = "ALBATROSS_TEST_PLACE";

const WORKED: i32 = 40;
const REFUSED: i32 = 41;

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It could be done.
    Worked,
    /// The system said no.
    Refused,
    /// The filter of system calls ended the process.
    Killed,
}

/// Has `test` of this program make one attempt, in `place`.
///
/// # Errors
/// Where it cannot be run, or ends otherwise.
pub fn make(test: &str, words: &str, place: &Path) -> io::Result<End> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", test, "--nocapture"]).env(ATTEMPT, words).env(PLACE, place);
    let output = command.output()?;
    match (output.status.code(), output.status.signal()) {
        (Some(WORKED), _) => Ok(End::Worked),
        (Some(REFUSED), _) => Ok(End::Refused),
        (_, Some(signal)) if signal == Signal::SIGSYS as i32 => Ok(End::Killed),
        _ => Err(io::Error::other(format!("{words}: {output:?}"))),
    }
}

/// What this process is to try, and where, if it was run for an attempt.
#[must_use]
pub fn wanted() -> Option<(String, PathBuf)> {
    Some((env::var(ATTEMPT).ok()?, env::var_os(PLACE)?.into()))
}

/// The exit code that says whether it could be done.
#[must_use]
pub const fn code(worked: bool) -> i32 {
    if worked { WORKED } else { REFUSED }
}
