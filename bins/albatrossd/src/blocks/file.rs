//! The file of a block device while it is made.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use albatross_core::vmmd::{BlockPlace, TaskFailure};

use crate::files::{failure, remove, sync_parent};

/// Octets that are written with one system call: chunks of a client are 4 KiB or 64 KiB, and more at once
/// saves nothing.
const PIECE: usize = 256 * 1024;
/// After so many octets the disk begins to write them, so that little is left when all of them came.
const WRITEBACK: u64 = 1024 * 1024;

/// A file that is not whole. It goes when this is dropped, unless it got its name.
pub(super) struct Unfinished<'a> {
    place: &'a BlockPlace,
    file: File,
    /// Octets that are not written yet, and where they go.
    waiting: Vec<u8>,
    position: u64,
    /// Up to where the disk was asked to write.
    begun: u64,
}

impl<'a> Unfinished<'a> {
    /// A file of the length that it has to have, all zeros and without a block on the disk.
    pub(super) fn new(place: &'a BlockPlace) -> Result<Self, TaskFailure> {
        remove(&place.unfinished)?;
        let cannot = |error| failure("cannot make", &place.unfinished, &error);
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create_new(true).mode(0o600).open(&place.unfinished).map_err(cannot)?;
        let unfinished = Self { place, file, waiting: Vec::new(), position: 0, begun: 0 };
        unfinished.file.set_len(place.length).map_err(cannot)?;
        Ok(unfinished)
    }

    /// Writes the next octets.
    pub(super) fn write(&mut self, octets: &[u8]) -> Result<(), TaskFailure> {
        self.waiting.reserve_exact(PIECE.saturating_sub(self.waiting.len()).max(octets.len()));
        self.waiting.extend_from_slice(octets);
        if self.waiting.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TaskFailure> {
        // Zeros are there already, and take no room.
        if self.waiting.iter().any(|octet| *octet != 0) {
            let written = self.file.write_all_at(&self.waiting, self.position);
            written.map_err(|error| failure("cannot write", &self.place.path, &error))?;
        }
        self.position += u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.waiting.clear();
        if self.position - self.begun >= WRITEBACK {
            begin_writeback(&self.file, self.begun, self.position - self.begun);
            self.begun = self.position;
        }
        Ok(())
    }

    /// Gives it its name, where nothing else has that.
    pub(super) fn add(self) -> Result<(), TaskFailure> {
        self.name(|from, to| fs::hard_link(from, to), true)
    }

    /// Puts it in the place of the old one.
    pub(super) fn replace(self) -> Result<(), TaskFailure> {
        self.name(|from, to| fs::rename(from, to), false)
    }

    fn name(
        mut self,
        name: impl FnOnce(&Path, &Path) -> io::Result<()>,
        is_new: bool,
    ) -> Result<(), TaskFailure> {
        self.flush()?;
        let path = &self.place.path;
        let cannot = |error| failure("cannot write", path, &error);
        self.file.sync_all().map_err(cannot)?;
        name(&self.place.unfinished, path).map_err(cannot)?;
        let synced = sync_parent(path).map_err(cannot);
        if synced.is_err() && is_new {
            _ = fs::remove_file(path);
        }
        synced
    }
}

/// Asks the disk to write these octets now. It would do so by itself, later; what fails is told by the sync.
fn begin_writeback(file: &File, from: u64, length: u64) {
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(length)) else { return };
    // SAFETY: `file` is open for the time of the call, and the other arguments are plain numbers.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Where it was renamed there is nothing.
        _ = fs::remove_file(&self.place.unfinished);
    }
}

/// A file without a name, for what is too long for memory. `path` is its name for a moment.
pub(super) fn nameless(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}
