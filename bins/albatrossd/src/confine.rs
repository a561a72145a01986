//! Confinement: what a tender and this daemon can do and see, so that a guest that breaks out of its tender
//! finds nothing to take. `docs/threat-model.md` says what each measure stops.
//!
//! [`view`] is what a tender sees of the file system, [`child`] how its process gives up everything
//! else before it becomes the tender, [`filter`] the system calls that remain, [`privilege`] what this daemon
//! keeps of root's power, [`mod@needs`] the files without which a tender does not start.

mod child;
mod filter;
mod launch;
mod needs;
mod privilege;
#[cfg(test)]
mod tests;
mod view;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use albatross_core::vmmd::{Config, UserRange};
use albatross_driver::logging::Logger;
use nix::unistd::geteuid;

use crate::files::named;
use crate::groups::Groups;

pub(crate) use child::Limits;
pub(crate) use filter::Uses;
pub(crate) use launch::{Held, Launch, hold, launch};
pub(crate) use needs::{Needs, needs};
pub(crate) use view::View;

/// Whether and how tenders are confined.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// The user ids of tenders; `None` where they run as this daemon's user and see what it sees.
    pub(crate) users: Option<UserRange>,
    /// An empty directory, over which each tender's view is laid, where nobody but that tender sees it.
    pub(crate) stage: PathBuf,
    /// The control groups of tenders.
    pub(crate) groups: Groups,
}

impl Confinement {
    /// Confines this daemon, and finds out how tenders are to be.
    ///
    /// Before any thread is started: capabilities and filters belong to a thread and those it starts.
    ///
    /// # Errors
    /// As root, where the system does not allow it; the error says what to do.
    pub(crate) fn begin(config: &Config, users: Option<UserRange>, log: &Logger) -> io::Result<Self> {
        let stage = config.dbdir.join("stage");
        let users = match users {
            Some(range) if geteuid().is_root() => Some(range),
            Some(_) => {
                log.warning(
                    "not root: tenders run as this user and see what it sees; they get no new privileges, \
                     fewer system calls, and no descriptor but their console",
                );
                None
            }
            None => {
                log.warning("--unconfined: tenders run as this user and see what it sees");
                None
            }
        };
        let groups = Groups::begin(&config.tmpdir, log);
        if users.is_some() {
            make(&stage).map_err(|error| named(&stage, &error))?;
            privilege::give_up().map_err(hint)?;
            filter::install(&filter::daemon().map_err(io::Error::other)?)?;
        }
        Ok(Self { users, stage, groups })
    }
}

fn make(stage: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(stage)
}

fn hint(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot confine this daemon: {error}; where that is not possible, give --unconfined"),
    )
}
