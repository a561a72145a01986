//! What must hold of any bytes, for each decoder: both decoders agree on whether they are read and on what
//! they are, and what was read is written in a form that is read and written the same again. Shared with
//! the fuzz targets.
//!
//! Each check panics where it does not hold, and otherwise says whether the bytes were read.

use std::fmt::Debug;

use albatross_proto::log::LogRecord;
use albatross_proto::state::{Change, Record, Running, State};
use albatross_proto::{DecodeError, Wire, extension};

use super::decoder::{self, Refused};

/// Bytes as a message.
pub(crate) fn wire(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, Wire::decode(bytes), decoder::wire(bytes)) else { return false };
    stable(&value.encode().unwrap(), |bytes| Wire::decode(bytes).map(|value| value.encode().unwrap()));
    true
}

/// Bytes as the value of the certificate extension.
pub(crate) fn extension(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, extension::decode(bytes), decoder::extension(bytes)) else { return false };
    assert_eq!(value.clone().into_owned(), value, "an owned copy differs");
    stable(&extension::encode(&value).unwrap(), |bytes| {
        extension::decode(bytes).map(|value| extension::encode(&value).unwrap())
    });
    true
}

/// Bytes as the peer's state file.
pub(crate) fn state(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, State::decode(bytes), decoder::state(bytes)) else { return false };
    stable(&value.encode().unwrap(), |bytes| State::decode(bytes).map(|value| value.encode().unwrap()));
    true
}

/// Bytes as our own record.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, Record::decode(bytes), decoder::record(bytes)) else { return false };
    stable(&value.encode().unwrap(), |bytes| Record::decode(bytes).map(|value| value.encode().unwrap()));
    true
}

/// Bytes as a change of our own record.
pub(crate) fn change(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, Change::decode(bytes), decoder::change(bytes)) else { return false };
    stable(&value.encode().unwrap(), |bytes| Change::decode(bytes).map(|value| value.encode().unwrap()));
    true
}

/// Bytes as the note of a tender that runs.
pub(crate) fn running(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, Running::decode(bytes), decoder::running(bytes)) else { return false };
    stable(&value.encode().unwrap(), |bytes| Running::decode(bytes).map(|value| value.encode().unwrap()));
    true
}

/// Bytes as a record of the event log.
pub(crate) fn log_record(bytes: &[u8]) -> bool {
    let Some(value) = agree(bytes, LogRecord::decode(bytes), decoder::log_record(bytes)) else {
        return false;
    };
    stable(&value.encode().unwrap(), |bytes| LogRecord::decode(bytes).map(|value| value.encode().unwrap()));
    true
}

/// The value, where both decoders read it.
fn agree<T: PartialEq + Debug>(
    bytes: &[u8],
    ours: Result<T, DecodeError>,
    second: Result<T, Refused>,
) -> Option<T> {
    match (ours, second) {
        (Ok(ours), Ok(second)) => {
            assert_eq!(ours, second, "the decoders read different values");
            Some(ours)
        }
        (Err(error), Err(Refused)) => {
            assert!(error.position <= bytes.len(), "a position outside: {error}");
            assert!(!error.to_string().is_empty());
            None
        }
        (Ok(ours), Err(Refused)) => panic!("only the second decoder refuses this: {ours:?}"),
        (Err(error), Ok(second)) => panic!("only the second decoder reads this: {error}: {second:?}"),
    }
}

/// What was written is read, and written the same again.
fn stable(written: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, DecodeError>) {
    match again(written) {
        Ok(again) => assert_eq!(again, written, "written differently the second time"),
        Err(error) => panic!("what was written is refused: {error}"),
    }
}
