//! The way back: what is on record, as the state file of the OCaml implementation.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use albatross_core::vmmd::Config;
use albatross_driver::logging::Logger;
use albatross_proto::state::{Part, Record, state_file};

use crate::files::{beside, named, sync_parent};
use crate::record;

/// Writes the state file. What is there already is kept beside it with `.bak`, as the OCaml implementation
/// does.
pub(crate) fn export(config: &Config, file: &Path, log: &Logger) -> io::Result<()> {
    let record = record::read(config, log)?.ok_or_else(|| {
        io::Error::other(format!("{}: there is no record to export", config.record().display()))
    })?;
    let (record, missing) = with_images(config, record, log);
    let parts = state_file(&record, |digest| {
        let path = config.stored_image(digest);
        let length = fs::metadata(&path).map_err(|error| named(&path, &error))?.len();
        usize::try_from(length).map_err(io::Error::other).map_err(Failure)
    })
    .map_err(|Failure(error)| error)?;
    write(config, file, &parts).map_err(|error| named(file, &error))?;
    if missing > 0 {
        let text = format!("{missing} unikernels have no image any more and were left out");
        return Err(io::Error::other(text));
    }
    Ok(())
}

/// An error of writing or of encoding.
struct Failure(io::Error);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl From<albatross_proto::EncodeError> for Failure {
    fn from(error: albatross_proto::EncodeError) -> Self {
        Self(io::Error::other(error.to_string()))
    }
}

/// The record without the unikernels whose image is gone, and how many these are.
fn with_images(config: &Config, mut record: Record, log: &Logger) -> (Record, usize) {
    let before = record.unikernels.len();
    record.unikernels.retain(|(name, unikernel)| {
        let path = config.stored_image(&unikernel.digest);
        let is_there = path.is_file();
        if !is_there {
            log.error(format_args!("{name}: left out, as its image {} is not there", path.display()));
        }
        is_there
    });
    let missing = before - record.unikernels.len();
    (record, missing)
}

fn write(config: &Config, file: &Path, parts: &[Part]) -> io::Result<()> {
    let new = beside(file, ".new");
    let written = record::write_new(&new, |to| {
        parts.iter().try_for_each(|part| match part {
            Part::Octets(octets) => to.write_all(octets),
            Part::Image(digest) => io::copy(&mut File::open(config.stored_image(digest))?, to).map(|_| ()),
        })
    })
    .and_then(|()| record::keep_backup(file, &beside(file, ".bak")))
    .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        _ = fs::remove_file(&new);
    }
    let path = if file.parent().is_some_and(|parent| parent.as_os_str().is_empty()) {
        Path::new(".").join(file)
    } else {
        file.to_owned()
    };
    written.and_then(|()| sync_parent(&path))
}
