//! Files: read with a limit, written so that nothing else is lost.
//!
//! A new file appears under its name only when it is complete, never through a symbolic link, and never
//! in place of another file unless the caller says so.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    // A link, unlike a rename, never replaces.
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    linked.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
        _ => FileError::Io { doing: "create", path: path.to_owned(), source },
    })?;
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

/// Appends a line to a file, which is made if need be.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    let mut file =
        options.append(true).create(true).mode(PUBLIC_MODE).open(path).map_err(failed("open", path))?;
    file.write_all(format!("{line}\n").as_bytes()).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("write", path))
}

/// Writes the content to a file beside `path`.
fn write_temporary(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, FileError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let open = options.write(true).create_new(true).mode(mode).open(&temporary);
    let mut file = open.map_err(failed("create", &temporary))?;
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
