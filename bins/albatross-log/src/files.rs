//! The file of the log, and those before it that are still read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use albatross_core::eventlog::{BEGIN, Chain, End, LINK, Reader};
use albatross_core::log::{FileId, Hex, Opened};
use albatross_driver::logging::Logger;

/// Octets that are read at once where a whole file is read.
pub(crate) const READ: usize = 256 * 1024;

/// Who may read the file without asking the daemon: its user and the group.
const MODE: u32 = 0o640;

/// The open files.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    open: BTreeMap<FileId, File>,
    /// The one that is written.
    current: FileId,
    /// Where it ends.
    end: u64,
    /// There may be more in it, of a write that failed.
    damaged: bool,
}

impl Files {
    /// Opens the file, or begins it, and reads it to its end. The rest of a record that was not written as a whole is
    /// cut off; nothing else is changed.
    ///
    /// # Errors
    /// Where somebody else writes it, its chain is broken, or a system call fails.
    pub(crate) fn open(path: PathBuf, log: &Logger) -> io::Result<(Self, End)> {
        let file = open(&path)?;
        let end = begin_or_read(&path, &file, &Chain::begin([0; LINK]).1, log)?;
        log.info(format_args!(
            "{}: {} records, goes on after link {}",
            path.display(),
            end.records,
            Hex(&end.mark.link)
        ));
        let current = FileId(0);
        let open = BTreeMap::from([(current, file)]);
        Ok((Self { path, open, current, end: end.mark.position, damaged: false }, end))
    }

    /// Writes at the end, durably, or leaves nothing of it.
    pub(crate) fn append(&mut self, position: u64, octets: &[u8]) -> Result<(), String> {
        let path = &self.path;
        let Some(file) = self.open.get_mut(&self.current) else { return Err("it is not open".to_owned()) };
        let mut write = || {
            if self.damaged {
                file.set_len(position)?;
                self.damaged = false;
            }
            let length = file.metadata()?.len();
            if length != position {
                return Err(io::Error::other(format!(
                    "it has {length} octets and had {position}: somebody else changed it; move it away and send \
                     SIGHUP"
                )));
            }
            self.damaged = true;
            file.write_all(octets)?;
            file.sync_data()?;
            self.damaged = false;
            Ok(())
        };
        let written = write();
        if self.damaged && file.set_len(position).and_then(|()| file.sync_data()).is_ok() {
            self.damaged = false;
        }
        match written {
            Ok(()) => {
                self.end = position + u64::try_from(octets.len()).unwrap_or_default();
                Ok(())
            }
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Reads from a file that is open.
    pub(crate) fn read(&self, file: FileId, position: u64, buffer: &mut [u8]) -> Result<usize, String> {
        let Some(file) = self.open.get(&file) else { return Err("it is not open".to_owned()) };
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let at = position + u64::try_from(read).unwrap_or_default();
            match file.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(read)
    }

    /// Looks which file is there now, and opens it as `id`.
    pub(crate) fn reopen(&mut self, id: FileId, begin: &[u8], log: &Logger) -> Result<Opened, String> {
        let path = self.path.clone();
        let reopened = self.look(id, &path, begin, log);
        reopened.map_err(|error| error.to_string())
    }

    fn look(&mut self, id: FileId, path: &Path, begin: &[u8], log: &Logger) -> io::Result<Opened> {
        let before = self.open.get(&self.current).map(File::metadata).transpose()?;
        let is_same = |found: &std::fs::Metadata| {
            before.as_ref().is_some_and(|before| (before.dev(), before.ino()) == (found.dev(), found.ino()))
        };
        let file = match std::fs::symlink_metadata(path) {
            Ok(found) if is_same(&found) => {
                if found.len() == self.end {
                    return Ok(Opened::Same);
                }
                // It was emptied or written over in its place (copytruncate of logrotate). It is locked already.
                match self.open.get(&self.current) {
                    Some(file) => file.try_clone()?,
                    None => open(path)?,
                }
            }
            _ => open(path)?,
        };
        let is_new = is_unbegun(&file)?;
        let end = begin_or_read(path, &file, begin, log)?;
        self.open.insert(id, file);
        self.current = id;
        self.end = end.mark.position;
        self.damaged = false;
        Ok(if is_new { Opened::New { end: end.mark.position } } else { Opened::Found(end) })
    }

    /// Closes one that is not written any more.
    pub(crate) fn close(&mut self, id: FileId) {
        self.open.remove(&id);
    }
}

/// The directory that a file is in.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Opens a file for writing, and makes sure that nobody else does.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    let file = options.open(path).map_err(|error| named(path, &error))?;
    if !file.metadata()?.is_file() {
        return Err(named(path, &io::Error::other("it is no file")));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(named(path, &io::Error::other("another albatross-log writes it")))
        }
        Err(TryLockError::Error(error)) => Err(named(path, &error)),
    }
}

/// Whether nothing was ever written to a file, or its beginning was not written as a whole.
fn is_unbegun(file: &File) -> io::Result<bool> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > BEGIN {
        return Ok(false);
    }
    let mut octets = vec![0; length];
    file.read_exact_at(&mut octets, 0)?;
    let is_whole = length == BEGIN;
    let of_a_log = Reader::new().push(&octets, |_, _| {}).is_ok();
    Ok(!is_whole && of_a_log || octets.iter().all(|octet| *octet == 0))
}

/// Reads a file to its end, repairs that, and makes all of it durable; one that was not begun is.
fn begin_or_read(path: &Path, file: &File, begin: &[u8], log: &Logger) -> io::Result<End> {
    let prepare = || {
        if is_unbegun(file)? {
            file.set_len(0)?;
            let mut to = file;
            to.write_all(begin)?;
        }
        let end = read(file)?.finish().map_err(io::Error::other)?;
        if end.torn > 0 {
            file.set_len(end.mark.position)?;
        }
        file.sync_all()?;
        File::open(directory(path))?.sync_all()?;
        Ok(end)
    };
    let end: End = prepare().map_err(|error: io::Error| match error.raw_os_error() {
        Some(_) => named(path, &error),
        None => {
            let text = format!("{error}; nothing of it was changed, move it away to begin another");
            named(path, &io::Error::other(text))
        }
    })?;
    if end.torn > 0 {
        log.warning(format_args!(
            "{}: the last {} octets were of a record that was not written as a whole, and are cut off: nobody was told \
             of it",
            path.display(),
            end.torn
        ));
    }
    Ok(End { torn: 0, ..end })
}

/// Reads a file from its first octet to its last.
pub(crate) fn read(file: &File) -> io::Result<Reader> {
    let mut reader = Reader::new();
    read_on(file, &mut reader, |_| {})?;
    Ok(reader)
}

/// Reads on to the end of a file.
pub(crate) fn read_on(
    file: &File,
    reader: &mut Reader,
    mut each: impl FnMut((albatross_proto::log::LogRecord, albatross_core::eventlog::Mark)),
) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        match file.read_at(&mut buffer, reader.next_position()) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let octets = buffer.get(..count).unwrap_or_default();
                reader.push(octets, |record, mark| each((record, mark))).map_err(io::Error::other)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The error, with the file that it is about.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
