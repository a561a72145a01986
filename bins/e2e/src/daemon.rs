//! One daemon: started, watched, ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;

use crate::processes;
use crate::run::{PATIENCE, kill, shown, wait};
use crate::{Failure, eventually};

/// A daemon that runs. It is ended when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    command: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with standard output and standard error into the file `log`.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Failure> {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) = out.map_err(|error| Failure::io("write", log, error))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let program = Path::new(command.get_program()).to_owned();
        let child = command.spawn().map_err(|error| Failure::io("run", &program, error))?;
        Ok(Self { name: name.to_owned(), command: shown(&command), child, log: log.to_owned() })
    }

    /// What was started, as a user would type it.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` finds something.
    ///
    /// # Errors
    /// Where the daemon ends first, or time is up.
    pub fn ready<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let found = eventually(what, || match self.child.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => ready().map(Ok),
        });
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(status)) => Err(Failure::Ended { program: self.name.clone(), status, log: self.log() }),
            Err(late) => Err(self.with_log(late)),
        }
    }

    /// Waits until its log has a line with `text`, and returns the log.
    ///
    /// # Errors
    /// Where it ends first, or time is up.
    pub fn logged(&mut self, text: &str) -> Result<String, Failure> {
        let log = self.log.clone();
        let read = move || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        self.ready(&format!("{text:?} in the log of {}", self.name), || {
            Some(read()).filter(|it| it.contains(text))
        })
    }

    /// Waits until `is_so`.
    ///
    /// # Errors
    /// Where time is up, with what it has logged.
    pub fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
        eventually(what, || is_so().then_some(())).map_err(|late| self.with_log(late))
    }

    /// A failure with what it has logged.
    fn with_log(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Late { what, patience } => {
                Failure::Late { what: format!("{what}; {} logged:\n{}", self.name, self.log()), patience }
            }
            other => other,
        }
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Memory that it holds, in KiB.
    #[must_use]
    pub fn resident(&self) -> u64 {
        processes::status(self.pid(), "VmRSS").unwrap_or(0)
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// Where it does not end in time; then it is killed.
    pub fn terminate(self) -> Result<ExitStatus, Failure> {
        self.end_by(Signal::SIGTERM)
    }

    /// Sends SIGUSR1, on which albatrossd leaves what runs to the next one, and waits for its end.
    ///
    /// # Errors
    /// Where it does not end in time; then it is killed.
    pub fn hand_over(self) -> Result<ExitStatus, Failure> {
        self.end_by(Signal::SIGUSR1)
    }

    /// Sends `signal` and waits for its end.
    ///
    /// # Errors
    /// Where it does not end in time; then it is killed.
    pub fn end_by(mut self, signal: Signal) -> Result<ExitStatus, Failure> {
        processes::signal(self.pid(), signal);
        wait(&mut self.child, PATIENCE).ok_or_else(|| Failure::Late {
            what: format!("the end of {} after {signal}; it logged:\n{}", self.name, self.log()),
            patience: PATIENCE,
        })
    }

    /// Ends it without warning.
    pub fn kill(mut self) {
        kill(&mut self.child);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.runs() {
            processes::signal(self.pid(), Signal::SIGTERM);
            if wait(&mut self.child, PATIENCE).is_none() {
                kill(&mut self.child);
            }
        }
    }
}
