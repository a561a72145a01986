//! The files that the daemons append to: what is read after any end is what was written before it.

use albatross_core::eventlog::{Chain, LINK, Log, LogError, Reader};
use albatross_core::journal::{self, JournalError};
use albatross_proto::log::LogRecord;
use albatross_proto::state::{Change, Changing, Record};
use ring::digest::{SHA256, digest};

/// Pieces of the input, each after its length in two octets; the last may be cut off.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*length))));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// A file of our record. The bytes as they are; and as pieces that are written as entries, the file then
/// being cut somewhere: it holds the record and the changes of the entries before.
pub fn journal(bytes: &[u8]) -> bool {
    _ = journal::read(bytes);
    let [at, change, input @ ..] = bytes else { return false };
    // Nobody who writes the content of entries knows the salt: libFuzzer learns one that stays the same.
    let mut salt = [0; journal::SALT];
    salt.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..journal::SALT]);
    let writer = journal::Writer::new(salt);
    let pieces = pieces(input);
    let Some((first, changes)) = pieces.split_first() else { return false };
    let mut file = writer.begin(first);
    let mut ends = vec![file.len()];
    for change in changes {
        file.extend(writer.entry(change));
        ends.push(file.len());
    }
    let end = file.len() * usize::from(*at) / 255;
    let whole = ends.iter().filter(|whole| **whole <= end).count();
    let expected = expected(first, changes.get(..whole.saturating_sub(1)).unwrap_or_default());
    let read = journal::read(&file[..end]);
    match (read, whole.checked_sub(1), expected) {
        (Err(JournalError::NoRecord | JournalError::NoJournal), None, _) => false,
        (Ok(contents), Some(last), Some(expected)) => {
            assert_eq!((contents.record, contents.torn), (expected, end - ends[last]));
            damaged(&file[..end], &ends[..whole], usize::from(*change));
            true
        }
        (Err(JournalError::Entry { position, .. }), Some(_), None) => {
            assert!(position < end);
            false
        }
        other => panic!("{other:?}"),
    }
}

/// What the entries say, if they are a record and changes.
fn expected(first: &[u8], changes: &[&[u8]]) -> Option<Record> {
    let mut record = Changing::from(Record::decode(first).ok()?);
    for change in changes {
        record.apply(Change::decode(change).ok()?);
    }
    Some(record.into())
}

/// An octet that differs in an entry with others behind it is damage, never another record.
fn damaged(file: &[u8], ends: &[usize], change: usize) {
    let [.., before, last] = ends else { return };
    let position = before * change / 256;
    let mut changed = file.to_vec();
    changed[position] ^= 1;
    let read = journal::read(&changed);
    assert!(read.is_err(), "octet {position} of {last} changed and nobody saw: {read:?}");
}

/// A file of the event log, likewise.
pub fn log(bytes: &[u8]) -> bool {
    log_in_pieces(bytes);
    let [at, change, input @ ..] = bytes else { return false };
    let records: Vec<LogRecord> =
        pieces(input).into_iter().filter_map(|piece| LogRecord::decode(piece).ok()).collect();
    let (mut chain, mut file) = Chain::begin([9; LINK]);
    let mut ends = vec![file.len()];
    for record in &records {
        file.extend(chain.append(record).unwrap());
        ends.push(file.len());
    }
    let whole = Log::read(&file).unwrap();
    assert_eq!((&whole.records, whole.link, whole.torn), (&records, *chain.link(), 0));
    assert_eq!(whole.write().unwrap(), file);
    let end = file.len() * usize::from(*at) / 255;
    log_in_pieces(&file[..end]);
    match Log::read(&file[..end]) {
        Ok(log) => {
            let last = ends.iter().rfind(|last| **last <= end).unwrap();
            assert_eq!(log.torn, end - last);
            assert_eq!(log.records, records[..log.records.len()]);
        }
        Err(error) => assert!(end < ends[0] && error == LogError::NoLog, "{error}"),
    }
    // Without a record there is no link that `previous` would have to agree with.
    if records.is_empty() {
        return false;
    }
    let position = file.len() * usize::from(*change) / 256;
    file[position] ^= 1;
    assert!(Log::read(&file).is_err(), "octet {position} changed and nobody saw");
    true
}

/// A file that is read in pieces is what it is as a whole.
fn log_in_pieces(file: &[u8]) {
    let piece = usize::from(file.last().copied().unwrap_or(0)) + 1;
    let (mut reader, mut records) = (Reader::new(), Vec::new());
    let mut pieces = file.chunks(piece);
    let read = pieces.try_for_each(|piece| reader.push(piece, |record, _| records.push(record)));
    match (Log::read(file), read.and_then(|()| reader.finish())) {
        (Ok(log), Ok(end)) => {
            assert_eq!((log.records, log.link, log.previous), (records, end.mark.link, end.previous));
            assert_eq!(u64::try_from(log.torn).unwrap(), end.torn);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?}, in pieces {other:?}"),
    }
}
