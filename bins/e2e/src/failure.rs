//! Why the harness could not do what it was asked.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why the harness could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A system call failed.
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file or program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something did not happen in time.
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        patience: Duration,
    },
    /// A daemon ended while it was still needed.
    Ended {
        /// Which one.
        program: String,
        /// How.
        status: ExitStatus,
        /// What it logged.
        log: String,
    },
    /// Cargo could not build the programs; it has said why.
    Build {
        /// How it ended.
        status: ExitStatus,
    },
    /// The programs did not build when another test of this process asked for them.
    BuildBefore,
    /// Tests failed; they have said why.
    Tests {
        /// How cargo ended.
        status: ExitStatus,
    },
    /// A program ended otherwise than it had to.
    Unexpected {
        /// What was run, as a user would type it.
        command: String,
        /// What came back, and what was expected.
        what: String,
    },
}

impl Failure {
    /// A failed system call on `path`.
    #[must_use]
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, path, source } => write!(f, "cannot {what} {}: {source}", path.display()),
            Self::Late { what, patience } => write!(f, "waited {patience:?} for {what}"),
            Self::Ended { program, status, log } => {
                write!(f, "{program} ended early ({status}); it logged:\n{log}")
            }
            Self::Build { status } => write!(f, "cargo ended with {status}, after what it says above"),
            Self::BuildBefore => f.write_str("the programs do not build, see the first test that failed"),
            Self::Tests { status } => write!(f, "tests failed: cargo ended with {status}"),
            Self::Unexpected { command, what } => write!(f, "{command}\n{what}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
