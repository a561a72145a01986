//! What a tender sees of the file system: itself and what it needs to start, its image, its block devices
//! and the devices of the kernel that it uses, each under the path that it has outside, and nothing else.
//!
//! It is planned before the fork, as nothing may be allocated after it.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// The device of taps and that of virtual machines.
const TUN: &str = "/dev/net/tun";
const KVM: &str = "/dev/kvm";

/// The most entries of a view: a tender with its libraries, and 64 devices, of which each directory that
/// leads to them is one, too. The child names an entry by an octet.
const MAX_ENTRIES: usize = 255;

/// A plan of a view.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where it is laid over.
    pub(super) stage: CString,
    /// Directories before what they contain.
    pub(super) entries: Vec<Entry>,
    /// Whether there are devices, so that the view must allow them.
    pub(super) has_devices: bool,
}

/// Something in a view. Its place is a path below the stage.
#[derive(Debug)]
pub(super) enum Entry {
    /// A directory.
    Directory { place: CString },
    /// A file of the host.
    File { source: CString, place: CString, access: Access },
    /// A device of the kernel, anew: that of the host may be closed to the tender's user.
    Device { place: CString, number: u64 },
}

/// What may be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Run and mapped, or read.
    Read,
    /// Read and written.
    Write,
}

/// What a tender is to see.
#[derive(Debug, Default)]
pub(crate) struct View {
    files: Vec<(PathBuf, Access)>,
    devices: Vec<&'static str>,
}

/// Why there is no such view.
#[derive(Debug)]
pub(crate) enum ViewError {
    /// The path is not absolute or has `..` or a zero octet in it.
    Path(PathBuf),
    /// The file or device cannot be looked at.
    Unreadable(PathBuf, io::Error),
    /// There is something else in the device's place.
    NoDevice(&'static str),
    /// More than can be shown.
    TooMuch(usize),
}

impl View {
    /// Shows this file, to be read.
    pub(crate) fn read(mut self, path: &Path) -> Self {
        self.files.push((path.to_owned(), Access::Read));
        self
    }

    /// Shows this file, to be read and written.
    pub(crate) fn write(mut self, path: &Path) -> Self {
        self.files.push((path.to_owned(), Access::Write));
        self
    }

    /// Shows the device of taps.
    pub(crate) fn taps(mut self, wanted: bool) -> Self {
        self.devices.extend(wanted.then_some(TUN));
        self
    }

    /// Shows the device of virtual machines.
    pub(crate) fn virtual_machines(mut self, wanted: bool) -> Self {
        self.devices.extend(wanted.then_some(KVM));
        self
    }

    /// How to make it.
    pub(super) fn plan(&self, stage: &Path) -> Result<Plan, ViewError> {
        let mut directories = BTreeSet::new();
        let mut shown = BTreeSet::new();
        let mut entries = Vec::new();
        let places =
            self.files.iter().map(|(path, _)| path.as_path()).chain(self.devices.iter().map(Path::new));
        for path in places {
            check(path)?;
            directories.extend(path.ancestors().skip(1).filter(|parent| parent.parent().is_some()));
        }
        for directory in directories {
            entries.push(Entry::Directory { place: place(stage, directory)? });
        }
        for (path, access) in &self.files {
            if shown.insert(path) {
                let (source, place) = (c_string(path)?, place(stage, path)?);
                entries.push(Entry::File { source, place, access: *access });
            }
        }
        for device in &self.devices {
            let path = Path::new(device);
            let found = fs::metadata(path).map_err(|error| ViewError::Unreadable(path.to_owned(), error))?;
            if !found.file_type().is_char_device() {
                return Err(ViewError::NoDevice(device));
            }
            entries.push(Entry::Device { place: place(stage, path)?, number: found.rdev() });
        }
        if entries.len() > MAX_ENTRIES {
            return Err(ViewError::TooMuch(entries.len()));
        }
        Ok(Plan { stage: c_string(stage)?, entries, has_devices: !self.devices.is_empty() })
    }
}

impl Entry {
    /// Where it is, below the stage.
    pub(super) fn place(&self) -> &CString {
        match self {
            Self::Directory { place } | Self::File { place, .. } | Self::Device { place, .. } => place,
        }
    }
}

/// What leads out of a directory must not be taken for a place in the view.
fn check(path: &Path) -> Result<(), ViewError> {
    let plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
    if path.is_absolute() && path.components().all(plain) && path.file_name().is_some() {
        Ok(())
    } else {
        Err(ViewError::Path(path.to_owned()))
    }
}

fn place(stage: &Path, path: &Path) -> Result<CString, ViewError> {
    let below = path.strip_prefix("/").map_err(|_| ViewError::Path(path.to_owned()))?;
    c_string(&stage.join(below))
}

fn c_string(path: &Path) -> Result<CString, ViewError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| ViewError::Path(path.to_owned()))
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{} is no absolute path without '..', give one", path.display()),
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoDevice(path) => write!(f, "{path} is no device"),
            Self::TooMuch(count) => write!(f, "it is to see {count} files, more than {MAX_ENTRIES}"),
        }
    }
}

impl std::error::Error for ViewError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_they_contain_and_nothing_comes_twice() {
        let view =
            View::default().read(Path::new("/a/b/c")).write(Path::new("/a/d")).read(Path::new("/a/b/c"));
        let plan = view.plan(Path::new("/stage")).unwrap();
        let places: Vec<&str> = plan.entries.iter().map(|entry| entry.place().to_str().unwrap()).collect();
        assert_eq!(places, ["/stage/a", "/stage/a/b", "/stage/a/b/c", "/stage/a/d"]);
        assert!(!plan.has_devices);
    }

    #[test]
    fn no_place_is_outside_of_the_view() {
        for path in ["/../etc/passwd", "/a/../../b", "a", "/", "", "/a\0b"] {
            assert!(View::default().read(Path::new(path)).plan(Path::new("/stage")).is_err(), "{path}");
        }
    }
}
