//! The folder of revocation lists (`--crl-dir`): read at the start, watched, and written to when a client brings
//! a list.
//!
//! Every file `*.crl` or `*.pem` in it is a list, DER or PEM. A file that cannot be read is an error at the start,
//! as nobody can know what it revokes; later it is said, and what counted before still does. A file that is
//! removed takes nothing back before the next start.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use albatross_core::certificate::pem::PemError;
use albatross_core::endpoint::Judge;
use albatross_core::revocation::{Installed, Loaded, MAX_LIST_SIZE, RevocationError, RevocationList};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::logging::Logger;
use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The most octets of a file: the largest list as PEM, with some text around it.
const MAX_FILE: usize = 2 * MAX_LIST_SIZE;

/// The most files that are looked at: the lists of as many issuers as are kept, with their older ones.
const MAX_FILES: usize = 4096;

/// What is written first; files that begin with a dot are not looked at.
const UNFINISHED: &str = ".unfinished-";

/// The folder.
#[derive(Debug)]
pub(crate) struct Lists {
    directory: PathBuf,
    watch: Inotify,
}

/// A file that is no list, or a folder that cannot be used.
#[derive(Debug)]
pub(crate) struct ListsError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    TooMany,
    TooLarge,
    Pem(PemError),
    List(RevocationError),
}

impl Lists {
    /// Watches the folder and reads all that is in it.
    pub(crate) fn open(directory: PathBuf, judge: &mut Judge, log: &Logger) -> Result<Self, ListsError> {
        let watched = || {
            let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let what = AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_ONLYDIR;
            watch.add_watch(&directory, what)?;
            Ok(watch)
        };
        let watch = watched().map_err(|error: Errno| at(&directory, Problem::Io(error.into())))?;
        let it = Self { directory, watch };
        it.read_all(judge, log)?;
        Ok(it)
    }

    /// The folder.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads what the watch says has changed.
    pub(crate) fn reread(&self, judge: &mut Judge, log: &Logger) {
        // The queue is read until it is empty.
        while let Ok(events) = self.watch.read_events() {
            for event in events {
                let Some(name) = event.name else {
                    // The queue was too short, or the folder is gone.
                    if let Err(error) = self.read_all(judge, log) {
                        log.error(format_args!("{error}; what counted before still does"));
                    }
                    continue;
                };
                let path = self.directory.join(name);
                if !is_list(&path) {
                    continue;
                }
                let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
                if event.mask.intersects(gone) {
                    log.debug(format_args!("{}: removed; what it revokes stays revoked", path.display()));
                } else if let Err(error) = read(&path).and_then(|list| take_in(&path, &list, judge, log))
                    && !error.is_gone()
                {
                    log.error(format_args!("{error}; what counted before still does"));
                }
            }
        }
    }

    /// Writes a list that counts into the folder, and removes older ones of the same issuer that came in the same
    /// way. When it returns, the list is on the disk.
    pub(crate) fn keep(&self, list: &[u8]) -> io::Result<()> {
        let list = RevocationList::from_der(list, MAX_LIST_SIZE).map_err(io::Error::other)?;
        let [issuer, number] = names(&list);
        let name = format!("{issuer}-{number}.crl");
        let path = self.directory.join(&name);
        if fs::read(&path).is_ok_and(|there| there == list.der()) {
            return Ok(());
        }
        let unfinished = self.directory.join(format!("{UNFINISHED}{}-{name}", std::process::id()));
        let written = write(&unfinished, list.der()).and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        File::open(&self.directory)?.sync_all()?;
        self.remove_older(&issuer, &name);
        Ok(())
    }

    /// Whatever stays here is older and does no harm.
    fn remove_older(&self, issuer: &str, newest: &str) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            // Of one length, so that they order as their numbers do.
            let older = name.len() == newest.len() && name.as_bytes() < newest.as_bytes();
            if older && name.as_bytes().starts_with(issuer.as_bytes()) {
                _ = fs::remove_file(entry.path());
            }
        }
    }

    fn read_all(&self, judge: &mut Judge, log: &Logger) -> Result<(), ListsError> {
        let here = |error| at(&self.directory, Problem::Io(error));
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(here)? {
            let path = entry.map_err(here)?.path();
            if !is_list(&path) {
                continue;
            }
            if found.len() == MAX_FILES {
                return Err(at(&self.directory, Problem::TooMany));
            }
            let der = read(&path)?;
            let list = RevocationList::from_der(&der, MAX_LIST_SIZE)
                .map_err(|error| at(&path, Problem::List(error.into())))?;
            found.push((list.number(), path));
        }
        // Ascending, so that an older one is no surprise. Read again, so that one is held at a time.
        found.sort();
        found.iter().try_for_each(|(_, path)| take_in(path, &read(path)?, judge, log))
    }
}

impl AsRawFd for Lists {
    fn as_raw_fd(&self) -> RawFd {
        self.watch.as_fd().as_raw_fd()
    }
}

fn is_list(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "crl" || extension == "pem")
}

/// The DER of the list in this file.
fn read(path: &Path) -> Result<Vec<u8>, ListsError> {
    let octets = read_file(path).map_err(|error| at(path, Problem::Io(error)))?;
    if octets.len() > MAX_FILE {
        return Err(at(path, Problem::TooLarge));
    }
    if octets.first() == Some(&0x30) {
        return Ok(octets);
    }
    RevocationList::der_from_pem(&octets, MAX_LIST_SIZE).map_err(|error| at(path, Problem::Pem(error)))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Not waiting for who writes to a fifo.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut octets = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1)).read_to_end(&mut octets)?;
    Ok(octets)
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

fn take_in(path: &Path, list: &[u8], judge: &mut Judge, log: &Logger) -> Result<(), ListsError> {
    let shown = path.display();
    match judge.load(list, wall_clock_second()) {
        Ok(Loaded::Installed(Installed::Unchanged)) => {}
        Ok(loaded) => {
            let waits =
                if loaded == Loaded::Waiting { ", from when that CA is shown by a client" } else { "" };
            if let Ok(list) = RevocationList::from_der(list, MAX_LIST_SIZE) {
                let (number, issuer, count) = (list.number(), list.issuer(), list.len());
                log.info(format_args!(
                    "{shown}: list {number} of {issuer} revokes {count} certificates{waits}"
                ));
            }
        }
        // What counts is newer.
        Err(error @ (RevocationError::Older { .. } | RevocationError::SameNumber { .. })) => {
            log.warning(format_args!("{shown}: {error}; it is not used"));
        }
        Err(error) => return Err(at(path, Problem::List(error))),
    }
    Ok(())
}

/// What is written of issuer and number into a file's name. Numbers order as their texts do.
fn names(list: &RevocationList<'_>) -> [String; 2] {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let issuer = list.issuer_digest();
    [hex(issuer.get(..16).unwrap_or_default()), format!("{:0>40}", hex(list.number().as_bytes()))]
}

fn at(path: &Path, problem: Problem) -> ListsError {
    ListsError { path: path.to_owned(), problem }
}

impl ListsError {
    /// Another process may have put a newer one in its place.
    fn is_gone(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for ListsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            Problem::Io(error) => error.fmt(f),
            Problem::TooMany => write!(f, "more than {MAX_FILES} revocation lists"),
            Problem::TooLarge => write!(f, "more than {MAX_FILE} octets"),
            Problem::Pem(error) => error.fmt(f),
            Problem::List(error) => error.fmt(f),
        }
    }
}
