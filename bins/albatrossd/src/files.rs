//! Files: what images, fifos and the record have in common.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use albatross_core::vmmd::TaskFailure;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, chown, mkfifo};

/// What went wrong with a file, as one sentence.
pub(crate) fn failure(what: &str, path: &Path, error: &dyn std::fmt::Display) -> TaskFailure {
    TaskFailure(format!("{what} {}: {error}", path.display()))
}

/// Makes the directories that the daemon owns below those of the package.
pub(crate) fn make_directories(dbdir: &Path) -> io::Result<()> {
    for directory in ["images", "block"].map(|name| dbdir.join(name)) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|error| named(&directory, &error))?;
    }
    Ok(())
}

/// The error, with the file that it is about.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes what was renamed, linked or removed in the directory of `path` survive a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// `path` with `suffix` at its end.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Makes `to` the image that `from` is, without a copy: by a hard link where both are on one file system,
/// else by a symbolic one.
pub(crate) fn place(from: &Path, to: &Path) -> Result<(), TaskFailure> {
    remove(to)?;
    let placed = fs::metadata(from).map_err(|error| failure("cannot read", from, &error)).and_then(|_| {
        fs::hard_link(from, to)
            .or_else(|_| symlink(from, to))
            .map_err(|error| failure("cannot make", to, &error))
    });
    if placed.is_err() {
        _ = fs::remove_file(to);
    }
    placed
}

/// Makes a fifo that the group of its directory may read, which is that of the console daemon. One that is
/// there is used; anything else there is an error.
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
    // Most directories are setgid, and have seen to that. As another user than root it is refused; then the
    // console daemon runs as the same user.
    let group = path.parent().and_then(|directory| fs::metadata(directory).ok()).map(|it| it.gid());
    if let Some(group) = group
        && fs::symlink_metadata(path).is_ok_and(|fifo| fifo.gid() != group)
    {
        _ = chown(path, None, Some(Gid::from_raw(group)));
    }
    Ok(())
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
        fs::write(&from, "image").unwrap();
        fs::write(&to, "stale").unwrap();
        place(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"image");
        assert!(place(&directory.path().join("missing"), &to).is_err());
        assert!(!to.exists());
    }
}
