//! What is there at the start: our own record, or, at the first start, the state file of the OCaml
//! implementation, which is read and left as it is.

use std::fs;
use std::io;
use std::path::Path;

use albatross_core::image::Intake;
use albatross_core::journal;
use albatross_core::vmmd::{Config, TaskFailure};
use albatross_driver::logging::Logger;
use albatross_proto::frame::MAX_ENCODED;
use albatross_proto::state::{Record, RecordedUnikernel, State};
use albatross_proto::{Config as UnikernelConfig, Name};

use crate::files::named;
use crate::images::{self, Source};
use crate::random::random;
use crate::record;

/// The state file of the OCaml implementation.
const STATE: &str = "state";

/// What is on record. Without any record that is nothing; one that cannot be read is not overwritten.
pub(crate) fn load(config: &Config, log: &Logger) -> io::Result<Record> {
    let record = record::read(config, log)?;
    match images::sweep(config, record.as_ref()).map_err(|error| named(&config.images(), &error))? {
        0 => {}
        removed => log.info(format_args!("removed {removed} images that nobody has")),
    }
    let state = config.dbdir.join(STATE);
    if let Some(record) = record {
        if is_newer(&state, &config.record()) {
            log.warning(format_args!(
                "{} is newer than {1} and is not read: if the OCaml daemon ran meanwhile, what it did counts for nothing \
                 here. To begin with what it left, stop this daemon and move {1} away",
                state.display(),
                config.record().display()
            ));
        }
        return Ok(record);
    }
    match fs::read(&state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(named(&state, &error)),
        Ok(bytes) => import(config, &state, &bytes, log),
    }
}

/// Whether a file was written after another one. One that is not there was not.
fn is_newer(this: &Path, other: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    matches!((written(this), written(other)), (Ok(this), Ok(other)) if this > other)
}

/// Takes over a state file: images are stored first, and the record that names them comes last, so that a
/// start that is cut short begins anew.
fn import(config: &Config, path: &Path, bytes: &[u8], log: &Logger) -> io::Result<Record> {
    let state = State::decode(bytes)
        .map_err(|error| io::Error::other(format!("{}: {error}; nothing was taken over", path.display())))?;
    let mut record = Record { unikernels: Vec::new(), policies: state.policies };
    for (name, config_of_it) in state.unikernels {
        let taken = take_over(config, &name, config_of_it, log)?;
        record.unikernels.push((name, taken));
    }
    let encoded = record.encode().map_err(|error| io::Error::other(error.to_string()))?;
    let file = config.record();
    let content = journal::Writer::new(random()?).begin(&encoded);
    record::replace(&file, &content, None).map_err(|error| named(&file, &error))?;
    log.info(format_args!(
        "{}: took over {} unikernels and {} policies; the file stays as it is and is not read again",
        path.display(),
        record.unikernels.len(),
        record.policies.len()
    ));
    Ok(record)
}

fn take_over(
    config: &Config,
    name: &Name,
    unikernel: UnikernelConfig<'_>,
    log: &Logger,
) -> io::Result<RecordedUnikernel> {
    let UnikernelConfig { typ, compressed, image, arguments } = unikernel;
    let directory = config.images();
    let source = || Source::Octets(image.to_vec());
    let taken = images::take(&directory, source(), compressed, Intake::new(compressed, MAX_ENCODED, None))
        .or_else(|TaskFailure(why)| {
            // It stays on record, cannot be started, and says so.
            log.error(format_args!("{name}: its image is kept as it is, as it cannot be read: {why}"));
            images::take(&directory, source(), false, Intake::new(false, usize::MAX, None))
        });
    let (spool, digest) = taken.map_err(|TaskFailure(why)| io::Error::other(why))?;
    images::keep(config, spool, &digest).map_err(|error| named(&directory, &error))?;
    let config = UnikernelConfig { typ, compressed: false, image: Vec::new().into(), arguments };
    Ok(RecordedUnikernel { config, digest })
}
