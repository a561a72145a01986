//! The console of a guest that is played here, for more lines than a real one writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Int};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::frames::Frames;
use crate::run::PATIENCE;
use crate::{Failure, Host};

/// A guest: who writes into the fifo of its console. It ends when this is dropped.
#[derive(Debug)]
pub struct Guest {
    name: String,
    socket: PathBuf,
    path: PathBuf,
    fifo: File,
}

impl Guest {
    /// Makes the fifo, has the console daemon read it, and opens it, as albatrossd does.
    ///
    /// # Errors
    /// Where the console daemon does not answer as it has to.
    pub fn begin(host: &Host, name: &str) -> Result<Self, Failure> {
        let (socket, path) = (host.socket("console"), host.tmpdir().join("fifo").join(name));
        let fifo = open(&socket, &path, name);
        let fifo = fifo.map_err(|error| Failure::io("begin the console at", &path, error))?;
        Ok(Self { name: name.to_owned(), socket, path, fifo })
    }

    /// Ends, and begins again.
    ///
    /// # Errors
    /// Where the console daemon does not answer as it has to.
    pub fn restart(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        self.fifo = open(&self.socket, &self.path, &self.name)?;
        Ok(())
    }

    /// The unikernel that it plays.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes, and waits where the console daemon does not read.
    ///
    /// # Errors
    /// Where nobody reads any more.
    pub fn write(&self, octets: &[u8]) -> io::Result<()> {
        (&self.fifo).write_all(octets)
    }

    /// Subscribes to its console, with so many lines of history.
    ///
    /// # Errors
    /// Where the console daemon does not answer as it has to.
    pub fn subscribe(&self, lines: u32) -> io::Result<Frames> {
        subscribe(&self.socket, &self.name, lines)
    }

    /// Waits until its newest line ends so.
    ///
    /// # Errors
    /// Where it does not.
    pub fn wait_for_last(&self, end: &[u8]) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.subscribe(1)?.read()?.ends_with(end) {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The directory may be gone already.
        _ = fs::remove_file(&self.path);
    }
}

/// Makes a fifo that the console daemon reads, and opens it.
fn open(socket: &Path, path: &Path, name: &str) -> io::Result<File> {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Frames::subscribe(socket, name, Command::Console(ConsoleCommand::Add(Int::MAX)))?;
    File::options().write(true).open(path)
}

/// Subscribes to the console of a unikernel, whether there is one or not.
///
/// # Errors
/// Where the console daemon does not answer as it has to.
pub fn subscribe(socket: &Path, name: &str, lines: u32) -> io::Result<Frames> {
    let subscribe = ConsoleCommand::Subscribe(History::Count(Int::from(lines)));
    Frames::subscribe(socket, name, Command::Console(subscribe))
}
