//! The file of the record: read at the start, then appended to or replaced. What is reported as written
//! survives a power cut, and what cannot be read is not touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use albatross_core::journal;
use albatross_core::vmmd::{Config, TaskFailure};
use albatross_driver::logging::Logger;
use albatross_proto::state::Record;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::files::{beside, failure, named, sync_parent};

/// The record before the last time the file was replaced.
const BACKUP: &str = ".bak";
/// A file that is not whole.
const UNFINISHED: &str = ".new";
/// Room that is kept for a disk that is full, so that what takes up the room can still be destroyed.
const RESERVE: &str = ".reserve";
/// Octets of it: the record of some hundred unikernels, or as many changes.
const RESERVED: i64 = 128 * 1024;

/// The record as it was written last; `None` without a file. What is read is durable: a daemon that was killed
/// may have left changes that are not, and what is built on them would be lost with the power.
pub(crate) fn read(config: &Config, log: &Logger) -> io::Result<Option<Record>> {
    let path = config.record();
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| named(&path, &error))?,
    };
    let durable = File::open(&path).and_then(|file| file.sync_all()).and_then(|()| sync_parent(&path));
    durable.map_err(|error| named(&path, &error))?;
    let contents = journal::read(&bytes).map_err(|error| io::Error::other(damage(&path, &error)))?;
    if contents.torn > 0 {
        log.warning(format_args!(
            "{}: the last {} octets were not written as a whole and are left out: nobody was told of them",
            path.display(),
            contents.torn
        ));
    }
    Ok(Some(contents.record))
}

/// What to say of a record that cannot be read.
fn damage(path: &Path, error: &journal::JournalError) -> String {
    let backup = beside(path, BACKUP);
    let older = match backup.exists() {
        true => format!(" ({} is an older one)", backup.display()),
        false => String::new(),
    };
    format!(
        "{}: {error}; nothing was changed. Put a copy in its place{older}; what runs and is not in that is ended",
        path.display()
    )
}

/// The file, to be written.
pub(crate) struct RecordFile {
    /// Open to be appended to.
    file: Option<File>,
    /// It is not known what it ends with.
    damaged: bool,
}

impl RecordFile {
    pub(crate) const fn new() -> Self {
        Self { file: None, damaged: true }
    }

    /// Replaces the whole file.
    pub(crate) fn replace(&mut self, path: &Path, content: &[u8]) -> Result<(), TaskFailure> {
        self.file = None;
        self.damaged = true;
        if content.is_empty() {
            return Err(failure("cannot write", path, &"there is more on record than can be encoded"));
        }
        replace(path, content, Some(BACKUP))
            .or_else(|error| {
                make_room(path, error)?;
                replace(path, content, Some(BACKUP))
            })
            .map_err(|error| failure("cannot write", path, &error))?;
        self.damaged = false;
        keep_reserve(path);
        Ok(())
    }

    /// Appends an entry.
    pub(crate) fn append(&mut self, path: &Path, entry: &[u8]) -> Result<(), TaskFailure> {
        if self.damaged || entry.is_empty() {
            return Err(failure("cannot write", path, &"it has to be written as a whole first"));
        }
        let appended = self.file(path).and_then(|file| {
            let length = file.metadata()?.len();
            if let Err(error) = file.write_all(entry) {
                make_room(path, error)?;
                file.set_len(length)?;
                file.write_all(entry)?;
            }
            file.sync_data()
        });
        appended.map_err(|error| {
            self.file = None;
            self.damaged = true;
            failure("cannot write", path, &error)
        })
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).open(path)?,
        };
        Ok(self.file.insert(file))
    }
}

/// Gives up the room that is kept, where it was the full disk that something failed for: it can be tried once more.
fn make_room(path: &Path, why: io::Error) -> io::Result<()> {
    if why.kind() != io::ErrorKind::StorageFull {
        return Err(why);
    }
    // Where none is kept any more the disk is simply full.
    fs::remove_file(beside(path, RESERVE)).map_err(|_| why)
}

/// Keeps room for a disk that is full, where there is none. One that is full already has none to keep, which is
/// told when it is missing.
fn keep_reserve(path: &Path) {
    let reserve = beside(path, RESERVE);
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&reserve);
    let Ok(file) = new else { return };
    if fallocate(&file, FallocateFlags::empty(), 0, RESERVED).is_err() {
        _ = fs::remove_file(&reserve);
    }
}

/// Writes `content` to `path` as a whole, durably. What was there is kept under its name with `backup`.
pub(crate) fn replace(path: &Path, content: &[u8], backup: Option<&str>) -> io::Result<()> {
    let new = beside(path, UNFINISHED);
    let written = write_new(&new, |file| file.write_all(content))
        .and_then(|()| backup.map_or(Ok(()), |backup| keep_backup(path, &beside(path, backup))))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        _ = fs::remove_file(&new);
    }
    written.and_then(|()| sync_parent(path))
}

/// A new file that is on the disk as a whole.
pub(crate) fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    write(&mut file)?;
    file.sync_all()
}

/// Gives what is at `path` a second name, in place of what had that before.
pub(crate) fn keep_backup(path: &Path, backup: &Path) -> io::Result<()> {
    let new: PathBuf = beside(backup, UNFINISHED);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(path, &new) {
        Ok(()) => fs::rename(&new, backup),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_the_one_before_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let mut record = RecordFile::new();
        assert!(record.append(&path, b"x").is_err(), "nothing was written as a whole yet");
        record.replace(&path, b"one").unwrap();
        record.append(&path, b" and").unwrap();
        record.append(&path, b" more").unwrap();
        record.replace(&path, b"two").unwrap();
        record.append(&path, b"!").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two!");
        assert_eq!(fs::read(beside(&path, BACKUP)).unwrap(), b"one and more");
        // The record, the one before, and the room that is kept.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        assert!(record.replace(&path, b"").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"two!");
    }

    #[test]
    fn an_older_record_is_named_where_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let error = journal::read(b"damaged").unwrap_err();
        assert!(!damage(&path, &error).contains(".bak"));
        fs::write(beside(&path, BACKUP), "older").unwrap();
        assert!(damage(&path, &error).contains("record.bak is an older one"));
    }

    #[test]
    fn after_an_append_that_failed_nothing_is_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let mut record = RecordFile::new();
        record.replace(&path, b"one").unwrap();
        record.file = Some(File::open(&path).unwrap());
        let why = record.append(&path, b"x").unwrap_err();
        assert!(why.0.contains("record"), "{why:?}");
        assert!(record.append(&path, b"x").is_err());
        record.replace(&path, b"two").unwrap();
        record.append(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"twox");
    }
}
