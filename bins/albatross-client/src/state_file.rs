//! `inspect-dump`, `extract-dump`: what the daemon has on record, without the daemon. The OCaml
//! implementation's state file in all its versions, and our record.

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use albatross_core::image::{InflateError, digest, inflate};
use albatross_core::journal::{self, JournalError};
use albatross_driver::clock::wall_clock_second;
use albatross_proto::state::State;
use albatross_proto::{Config, DecodeError, Name, Path as Branch, Policy};

use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, FileError, PUBLIC_MODE};
use crate::image::MAX_IMAGE;
use crate::options::{ExtractDump, InspectDump};
use crate::print::{self, Printer};
use crate::reply::image_file;

/// The longest file, in octets. It is the operator's own, and a state file has all images in it.
const MAX_STATE: usize = 4 * 1024 * 1024 * 1024;

/// What is wrong with such a file.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum StateError {
    /// It is no state file.
    State { path: PathBuf, error: DecodeError },
    /// It is not our record, although it begins like one.
    Record { path: PathBuf, error: JournalError },
    /// It does not have this unikernel.
    NotThere { path: PathBuf, name: Name },
    /// The image is damaged.
    Image { name: Name, error: InflateError },
    /// The image beside our record is another one.
    OtherImage { path: PathBuf },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { path, error } => write!(f, "{} is no state file: {error}", path.display()),
            Self::Record { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NotThere { path, name } => {
                write!(f, "{} has no unikernel {name}: inspect-dump shows what it has", path.display())
            }
            Self::Image { name, error } => write!(f, "the image of {name} cannot be used: {error}"),
            Self::OtherImage { path } => {
                write!(f, "{} is damaged: its content is not what its name says", path.display())
            }
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::State { error, .. } => Some(error),
            Self::Record { error, .. } => Some(error),
            Self::Image { error, .. } => Some(error),
            Self::NotThere { .. } | Self::OtherImage { .. } => None,
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

/// A unikernel on record.
struct Recorded<'a> {
    name: Name,
    config: Config<'a>,
    /// Of the uncompressed image, where that is not in the configuration but a file of its own.
    elsewhere: Option<[u8; 32]>,
}

/// What is on record.
struct Content<'a> {
    unikernels: Vec<Recorded<'a>>,
    policies: Vec<(Branch, Policy)>,
}

/// Shows unikernels and policies.
///
/// # Errors
/// [`Error`]: the file, standard output.
pub(crate) fn inspect(it: &InspectDump, printer: &Printer) -> Result<Exit, Error> {
    let path = located(&it.file, &it.dbdir);
    let octets = read(&path)?;
    let content = content(&path, &octets)?;
    for Recorded { name, config, elsewhere } in &content.unikernels {
        printer.recorded(name, config, elsewhere.as_ref())?;
    }
    for (at, policy) in &content.policies {
        printer.recorded_policy(&at.to_name(), policy)?;
    }
    Ok(Exit::Success)
}

/// Writes the image of a unikernel to a file, and shows how it is started.
///
/// # Errors
/// [`Error`]: the files, no such unikernel.
pub(crate) fn extract(it: &ExtractDump, printer: &Printer) -> Result<Exit, Error> {
    let path = located(&it.file, &it.dbdir);
    let octets = read(&path)?;
    let found = content(&path, &octets)?.unikernels.into_iter().find(|recorded| recorded.name == it.name);
    let Some(Recorded { name, config, elsewhere }) = found else {
        return Err(StateError::NotThere { path, name: it.name.clone() }.into());
    };
    let image = match &elsewhere {
        Some(sha256) => stored(&path, sha256)?,
        None if config.compressed => inflate(&config.image, MAX_IMAGE)
            .map_err(|error| StateError::Image { name: name.clone(), error })?,
        None => config.image.to_vec(),
    };
    let file = image_file(&name, wall_clock_second());
    files::write_new(&file, &image, PUBLIC_MODE).map_err(Error::Keep)?;
    printer.written(&name, &file)?;
    printer.extracted(&name, &config, elsewhere.as_ref())?;
    Ok(Exit::Success)
}

/// A bare name lies in the daemon's directory.
fn located(file: &Path, dbdir: &Path) -> PathBuf {
    let mut parts = file.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name == file.as_os_str() => dbdir.join(file),
        _ => file.to_owned(),
    }
}

/// The content of the file. Where there is none, our daemon's record beside it may be what is meant.
fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read(path, MAX_STATE).map_err(|error| match error {
        FileError::Io { doing, path, source } if path.with_file_name("record").is_file() => {
            let hint = format!("{source}; this daemon's own record is there: --file record");
            FileError::Io { doing, path, source: std::io::Error::new(source.kind(), hint) }
        }
        error => error,
    })
}

fn content<'a>(path: &Path, octets: &'a [u8]) -> Result<Content<'a>, StateError> {
    if !journal::is_journal(octets) {
        let state =
            State::decode(octets).map_err(|error| StateError::State { path: path.to_owned(), error })?;
        let unikernels = state.unikernels.into_iter();
        let unikernels =
            unikernels.map(|(name, config)| Recorded { name, config, elsewhere: None }).collect();
        return Ok(Content { unikernels, policies: state.policies });
    }
    let record =
        journal::read(octets).map_err(|error| StateError::Record { path: path.to_owned(), error })?.record;
    let unikernels = record.unikernels.into_iter().map(|(name, recorded)| Recorded {
        name,
        config: recorded.config,
        elsewhere: Some(recorded.digest),
    });
    Ok(Content { unikernels: unikernels.collect(), policies: record.policies })
}

/// The image of this digest beside our record.
fn stored(record: &Path, sha256: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let path = record.with_file_name("images").join(print::hex(sha256));
    let image: Cow<'_, [u8]> = files::read(&path, MAX_IMAGE)?.into();
    if digest(&image) != *sha256 {
        return Err(StateError::OtherImage { path }.into());
    }
    Ok(image.into_owned())
}
