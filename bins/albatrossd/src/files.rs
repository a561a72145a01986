//! Files: images, fifos and the record. A file that is there is whole, and what is reported as written
//! survives a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use albatross_core::vmmd::TaskFailure;
use albatross_driver::listener::GROUP;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Group, chown, mkfifo};

/// The most octets of a stored image or the record that are read: what can be encoded, and no more.
const MAX_FILE: u64 = albatross_proto::frame::MAX_ENCODED as u64;

/// What went wrong with a file, as one sentence.
pub(crate) fn failure(what: &str, path: &Path, error: &dyn std::fmt::Display) -> TaskFailure {
    TaskFailure(format!("{what} {}: {error}", path.display()))
}

/// Makes the directories that the daemon owns below those of the package.
pub(crate) fn make_directories(dbdir: &Path) -> io::Result<()> {
    let images = dbdir.join("images");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&images).map_err(|error| named(&images, &error))
}

/// The error, with the file that it is about.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes `content` to `path`, replacing it as a whole.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), TaskFailure> {
    let result =
        write_beside(path, content).and_then(|new| fs::rename(&new, path)).and_then(|()| sync_parent(path));
    result.map_err(|error| failure("cannot write", path, &error))
}

/// Writes `content` to `path` unless it is there: files are named by their digest.
pub(crate) fn store(path: &Path, content: &[u8]) -> Result<(), TaskFailure> {
    if path.exists() {
        return Ok(());
    }
    replace(path, content)
}

/// A new file beside `path`, complete and on the disk.
fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        _ = fs::remove_file(&new);
    }
    written.map(|()| new)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// The content of a file of the daemon's own.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>, TaskFailure> {
    let read = || {
        let length = fs::metadata(path)?.len();
        if length > MAX_FILE {
            return Err(io::Error::other(format!("{length} bytes, more than was ever stored")));
        }
        fs::read(path)
    };
    read().map_err(|error| failure("cannot read", path, &error))
}

/// Makes `to` with the content of `from`: by a link where both are on one file system.
pub(crate) fn place(from: &Path, to: &Path) -> Result<(), TaskFailure> {
    remove(to)?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(|_| ()).map_err(|error| {
        _ = fs::remove_file(to);
        failure("cannot write", to, &error)
    })
}

/// Makes a fifo that the group of the console daemon may read. One that is there is used; anything else
/// there is an error.
pub(crate) fn make_fifo(path: &Path) -> Result<(), TaskFailure> {
    let cannot = |error: &dyn std::fmt::Display| failure("cannot make the fifo", path, error);
    match mkfifo(path, Mode::from_bits_truncate(0o640)) {
        Ok(()) => {}
        Err(nix::errno::Errno::EEXIST) => {
            let metadata = fs::symlink_metadata(path).map_err(|error| cannot(&error))?;
            if !metadata.file_type().is_fifo() {
                return Err(cannot(&"something else stands there, remove it"));
            }
        }
        Err(error) => return Err(cannot(&error)),
    }
    if let Some(group) = console_group() {
        // As another user than root this is refused; then the console daemon runs as the same user.
        _ = chown(path, None, Some(group));
    }
    Ok(())
}

fn console_group() -> Option<Gid> {
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}

/// Removes a file; that it is not there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), TaskFailure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failure("cannot remove", path, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(load(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let failed = replace(&directory.path().join("nowhere/record"), b"x").unwrap_err();
        assert!(failed.0.contains("nowhere/record"), "{failed:?}");
    }

    #[test]
    fn a_fifo_is_used_again_and_a_file_in_its_place_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(":a");
        make_fifo(&path).unwrap();
        make_fifo(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(make_fifo(&path).is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn an_image_is_placed_over_a_stale_one() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        store(&from, b"image").unwrap();
        fs::write(&to, "stale").unwrap();
        place(&from, &to).unwrap();
        assert_eq!(load(&to).unwrap(), b"image");
        assert!(place(&directory.path().join("missing"), &to).is_err());
        assert!(!to.exists());
    }
}
