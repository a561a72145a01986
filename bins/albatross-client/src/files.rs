//! Files: read with a limit, written so that nothing else is lost.
//!
//! A new file appears under its name only when it is complete, never through a symbolic link, and never
//! in place of another file unless the caller says so.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of private keys.
pub(crate) const KEY_MODE: u32 = 0o400;
/// Mode of everything else, less the umask.
pub(crate) const PUBLIC_MODE: u32 = 0o644;

/// The longest certificate, request, key or chain, in octets: a request that embeds an image of 16 MiB,
/// as PEM, and what stands around it.
pub(crate) const MAX_PEM: usize = 24 * 1024 * 1024;

/// What could not be done with a file.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum FileError {
    /// The system refused.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The file is longer than what is accepted for its purpose.
    TooLong { path: PathBuf, limit: usize },
    /// There is a file of this name already.
    Exists { path: PathBuf },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::TooLong { path, limit } => {
                write!(f, "{} is longer than the {limit} octets that are accepted here", path.display())
            }
            Self::Exists { path } => {
                write!(f, "{} exists and is kept: move it away, or work in another directory", path.display())
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::TooLong { .. } | Self::Exists { .. } => None,
        }
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |source| FileError::Io { doing, path: path.to_owned(), source }
}

/// The content of a file of at most `limit` octets.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let mut content = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut content).map_err(failed("read", path))?;
    if content.len() > limit {
        return Err(FileError::TooLong { path: path.to_owned(), limit });
    }
    Ok(content)
}

/// The same, `None` where there is no such file.
pub(crate) fn read_if_present(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, limit) {
        Ok(content) => Ok(Some(content)),
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that does not exist yet.
///
/// # Errors
/// [`FileError::Exists`] where something has that name; it is left as it is.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = write_temporary(path, content, mode)?;
    let linked = link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    linked?;
    removed.map_err(failed("remove", &temporary))
}

/// Writes a file, in place of the one of that name if there is one: the caller has looked at that.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = write_temporary(path, content, mode)?;
    fs::rename(&temporary, path).map_err(|source| {
        // What is left over is of no use; that it cannot be removed is not worth a second message.
        _ = fs::remove_file(&temporary);
        FileError::Io { doing: "replace", path: path.to_owned(), source }
    })
}

/// A file that does not exist yet and is written piece by piece. It has its name when it is finished, and
/// goes when this is dropped before.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    length: u64,
}

impl NewFile {
    /// Begins the file `path`.
    pub(crate) fn create(path: &Path, mode: u32) -> Result<Self, FileError> {
        let (temporary, file) = open_temporary(path, mode)?;
        Ok(Self { path: path.to_owned(), temporary, file, length: 0 })
    }

    /// Writes the next octets. Zeros take no room.
    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<(), FileError> {
        if octets.iter().any(|octet| *octet != 0) {
            self.file.write_all_at(octets, self.length).map_err(failed("write", &self.path))?;
        }
        self.length += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// [`FileError::Exists`] where something has that name; it is left as it is.
    pub(crate) fn finish(self) -> Result<(), FileError> {
        let kept = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
        kept.map_err(failed("write", &self.path))?;
        link(&self.temporary, &self.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // What is left over is of no use; that it cannot be removed is not worth a message.
        _ = fs::remove_file(&self.temporary);
    }
}

/// Gives a file a name that no other has.
fn link(temporary: &Path, path: &Path) -> Result<(), FileError> {
    // A link, unlike a rename, never replaces.
    fs::hard_link(temporary, path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
        _ => FileError::Io { doing: "create", path: path.to_owned(), source },
    })
}

/// Appends a line to a file, which is made if need be.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    let mut file =
        options.append(true).create(true).mode(PUBLIC_MODE).open(path).map_err(failed("open", path))?;
    file.write_all(format!("{line}\n").as_bytes()).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("write", path))
}

/// Makes a file beside `path`.
fn open_temporary(path: &Path, mode: u32) -> Result<(PathBuf, File), FileError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let open = options.write(true).create_new(true).mode(mode).open(&temporary);
    let file = open.map_err(failed("create", &temporary))?;
    Ok((temporary, file))
}

/// Writes the content to a file beside `path`.
fn write_temporary(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, FileError> {
    let (temporary, mut file) = open_temporary(path, mode)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|source| {
        _ = fs::remove_file(&temporary);
        FileError::Io { doing: "write", path: path.to_owned(), source }
    })?;
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_never_replaced_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        write_new(&path, b"first", KEY_MODE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        assert!(matches!(write_new(&path, b"second", KEY_MODE), Err(FileError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, b"third", PUBLIC_MODE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        // Nothing else is left lying around.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_pieces_is_there_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump");
        let mut file = NewFile::create(&path, PUBLIC_MODE).unwrap();
        for piece in [b"one".as_slice(), b"\0\0", b"two", b"\0"] {
            file.write(piece).unwrap();
            assert!(!path.exists());
        }
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\0\0two\0");
        let mut second = NewFile::create(&path, PUBLIC_MODE).unwrap();
        second.write(b"other").unwrap();
        assert!(matches!(second.finish(), Err(FileError::Exists { .. })));
        drop(NewFile::create(&path, PUBLIC_MODE).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one\0\0two\0");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(write_new(&link, b"x", PUBLIC_MODE), Err(FileError::Exists { .. })));
        replace(&link, b"x", PUBLIC_MODE).unwrap();
        assert!(!target.exists());
    }

    #[test]
    fn reading_has_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(read_if_present(&path, 4).unwrap().is_none());
        fs::write(&path, "1234").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"1234");
        assert!(matches!(read(&path, 3), Err(FileError::TooLong { .. })));
        append_line(&path, "5").unwrap();
        append_line(&path, "6").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12345\n6\n");
    }
}
