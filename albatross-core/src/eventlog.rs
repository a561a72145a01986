//! The file of the event log: records that only ever grow in number, each bound to all before it.
//!
//! ```text
//! file   ::= "ALBLOG1\n"  previous(32)  record ..
//! record ::= length(4, big-endian)  head(8)  link(32)  content(length)
//! ```
//! The content is the DER of a [`LogRecord`]. The link is the SHA-256 of the link before it, the length and
//! the content; the link before the first record is `previous`, which is the last link of the file before
//! this one, or zeros. The head is the beginning of the SHA-256 of the link before and the length, so that
//! a length can be believed before there is any content. So a record that is changed, left out, put in or moved breaks the chain there, and
//! so does a file that is left out of a series. What a chain cannot show by itself is that its end is
//! missing: for that, keep the last link ([`Log::link`]) elsewhere.
//!
//! A power cut can tear the last record: one that ends after the file does, or of which nothing but zeros
//! was written. That is told apart from every other damage ([`Log::torn`]) and is the only thing that may be
//! repaired, by cutting it off.
//!
//! [`Log::read`] takes time and memory in proportion to the file, whatever is in it; [`Reader`] takes the file in
//! pieces, and memory for one record.

use core::fmt;

use albatross_proto::log::LogRecord;
use albatross_proto::{DecodeError, EncodeError};

use crate::digest::sha256;

mod reader;

pub use reader::{End, Mark, Reader};

/// What a file begins with: what it is, and the version of its form.
const MAGIC: [u8; 8] = *b"ALBLOG1\n";
/// Octets of a link.
pub const LINK: usize = 32;
const LENGTH: usize = 4;
/// Octets before the first record.
pub const BEGIN: usize = MAGIC.len() + LINK;
/// Octets before the content of a record.
const HEADER: usize = LENGTH + HEAD + LINK;
/// Octets of a head.
const HEAD: usize = 8;

/// The most octets of a record: a name, a command in words and why it failed, which is one line of text.
pub const MAX_RECORD: usize = 64 * 1024;

/// The end of a chain: appends records to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The link of the last record, or what the file begins with.
    link: [u8; LINK],
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The last link of the file before this one; zeros where there was none.
    pub previous: [u8; LINK],
    /// Its records.
    pub records: Vec<LogRecord>,
    /// Its last link.
    pub link: [u8; LINK],
    /// Octets of a record at the end that was not written as a whole; 0 after an orderly end.
    pub torn: usize,
}

/// Why a file is not read, or a record not written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// It does not begin as such a file does.
    NoLog,
    /// A record was changed, left out, put in or moved.
    Broken {
        /// Where it begins.
        position: usize,
    },
    /// The chain holds, and a record is not one of this version.
    Record {
        /// Where it begins.
        position: usize,
        /// What is wrong; positions count from the begin of its content.
        error: DecodeError,
    },
    /// A record has too many octets.
    TooLong {
        /// How many.
        length: usize,
    },
    /// A record cannot be encoded.
    Encode(EncodeError),
}

impl Chain {
    /// The beginning of a file that follows one with this last link: its first octets.
    #[must_use]
    pub fn begin(previous: [u8; LINK]) -> (Self, Vec<u8>) {
        (Self { link: previous }, [&MAGIC[..], &previous].concat())
    }

    /// Goes on after a file that was read.
    #[must_use]
    pub const fn after(log: &Log) -> Self {
        Self { link: log.link }
    }

    /// Goes on after a record of which this is the link.
    #[must_use]
    pub const fn after_link(link: [u8; LINK]) -> Self {
        Self { link }
    }

    /// The octets of one more record, to be appended in one piece.
    ///
    /// # Errors
    /// [`LogError::TooLong`], [`LogError::Encode`]; the chain stays as it was.
    pub fn append(&mut self, record: &LogRecord) -> Result<Vec<u8>, LogError> {
        let content = record.encode().map_err(LogError::Encode)?;
        let length = content.len();
        let announced = u32::try_from(length).ok().filter(|_| length <= MAX_RECORD);
        let announced = announced.ok_or(LogError::TooLong { length })?.to_be_bytes();
        let head = head(&self.link, announced);
        self.link = sha256(&[&self.link, &announced, &content]);
        Ok([&announced[..], &head, &self.link, &content].concat())
    }

    /// The link of the last record.
    #[must_use]
    pub const fn link(&self) -> &[u8; LINK] {
        &self.link
    }
}

/// What stands at a position of a file.
enum At<'f> {
    /// A record, and where it ends.
    Record { content: &'f [u8], link: [u8; LINK], end: usize },
    /// The beginning of one, or the end of the file.
    Torn,
    /// Nothing that was written there.
    Broken,
}

impl Log {
    /// Reads a file and checks its chain.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn read(file: &[u8]) -> Result<Self, LogError> {
        let rest = file.strip_prefix(&MAGIC).ok_or(LogError::NoLog)?;
        let (previous, _) = rest.split_first_chunk::<LINK>().ok_or(LogError::NoLog)?;
        let mut log = Self { previous: *previous, records: Vec::new(), link: *previous, torn: 0 };
        let mut position = BEGIN;
        loop {
            match at(file, position, &log.link) {
                At::Record { content, link, end } => {
                    let record =
                        LogRecord::decode(content).map_err(|error| LogError::Record { position, error })?;
                    log.records.push(record);
                    log.link = link;
                    position = end;
                }
                At::Torn => {
                    log.torn = file.len() - position;
                    return Ok(log);
                }
                At::Broken => return Err(LogError::Broken { position }),
            }
        }
    }

    /// The file without what is torn.
    ///
    /// # Errors
    /// [`LogError::TooLong`], [`LogError::Encode`].
    pub fn write(&self) -> Result<Vec<u8>, LogError> {
        let (mut chain, mut file) = Chain::begin(self.previous);
        for record in &self.records {
            file.extend(chain.append(record)?);
        }
        Ok(file)
    }
}

/// Whether a file begins as one of these.
#[must_use]
pub fn is_log(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

fn at<'f>(file: &'f [u8], position: usize, before: &[u8; LINK]) -> At<'f> {
    let rest = file.get(position..).unwrap_or_default();
    if rest.iter().all(|octet| *octet == 0) {
        return At::Torn;
    }
    let Some((length, after)) = rest.split_first_chunk::<LENGTH>() else { return At::Torn };
    let announced = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(1..=MAX_RECORD).contains(&announced) {
        return At::Broken;
    }
    let Some((stated, after)) = after.split_first_chunk::<HEAD>() else { return At::Torn };
    if head(before, *length) != *stated {
        return At::Broken;
    }
    let Some((stated, after)) = after.split_first_chunk::<LINK>() else { return At::Torn };
    let Some(content) = after.get(..announced) else { return At::Torn };
    if sha256(&[before, length, content]) != *stated {
        return At::Broken;
    }
    At::Record { content, link: *stated, end: position + HEADER + announced }
}

fn head(before: &[u8; LINK], length: [u8; LENGTH]) -> [u8; HEAD] {
    sha256(&[before, &length])
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog => f.write_str("it does not begin as an event log does"),
            Self::Broken { position } => write!(
                f,
                "the chain is broken at octet {position}: a record was changed, left out, put in or moved"
            ),
            Self::Record { position, error } => {
                write!(f, "the record at octet {position} is not one of this version: {error}")
            }
            Self::TooLong { length } => {
                write!(f, "a record of {length} octets, at most {MAX_RECORD} are written")
            }
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LogError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Record { error, .. } => Some(error),
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_proto::log::{Event, LogEntry};
    use albatross_proto::{Int, Time};

    fn record(number: i32) -> LogRecord {
        let timestamp = Time::from_unix_millis(1_700_000_000_000 + i64::from(number)).unwrap();
        let event = Event::UnikernelStarted(Int::from(number));
        LogRecord { name: "a:b".parse().unwrap(), entry: LogEntry { timestamp, event } }
    }

    /// A file of so many records, and where each ends.
    fn file(count: i32) -> (Vec<u8>, Vec<usize>) {
        let (mut chain, mut file) = Chain::begin([0; LINK]);
        let mut ends = vec![file.len()];
        for number in 0..count {
            file.extend(chain.append(&record(number)).unwrap());
            ends.push(file.len());
        }
        (file, ends)
    }

    #[test]
    fn what_is_written_is_read_and_the_next_file_goes_on() {
        let (first, _) = file(3);
        let log = Log::read(&first).unwrap();
        assert_eq!((log.records.len(), log.torn), (3, 0));
        assert_eq!(log.write().unwrap(), first);
        let (mut chain, mut second) = Chain::begin(log.link);
        second.extend(chain.append(&record(3)).unwrap());
        let next = Log::read(&second).unwrap();
        assert_eq!((next.previous, next.link), (log.link, *chain.link()));
        assert_eq!(Chain::after(&next), chain);
        assert_eq!(Log::read(b"ALBLOG1"), Err(LogError::NoLog));
    }

    #[test]
    fn every_octet_counts() {
        let (file, ends) = file(3);
        for position in 0..file.len() {
            let mut changed = file.clone();
            changed[position] ^= 1;
            match Log::read(&changed) {
                Err(LogError::NoLog) => assert!(position < MAGIC.len()),
                Err(LogError::Broken { position: at }) => {
                    let start = *ends.iter().rfind(|end| **end <= position).unwrap_or(&BEGIN);
                    assert_eq!(at, start, "{position}");
                }
                other => panic!("{position}: {other:?}"),
            }
        }
    }

    #[test]
    fn records_cannot_be_left_out_put_in_or_moved() {
        let (file, ends) = file(4);
        let part = |from: usize, to: usize| &file[ends[from]..ends[to]];
        let begin = &file[..BEGIN];
        for (changed, at) in [
            ([begin, part(1, 4)].concat(), 0),
            ([begin, part(0, 1), part(2, 4)].concat(), 1),
            ([begin, part(0, 2), part(1, 2), part(2, 4)].concat(), 2),
            ([begin, part(1, 2), part(0, 1), part(2, 4)].concat(), 0),
        ] {
            let position = ends[at];
            assert_eq!(Log::read(&changed), Err(LogError::Broken { position }));
        }
    }

    #[test]
    fn a_torn_end_is_told_apart_from_damage() {
        let (file, ends) = file(3);
        for end in BEGIN..file.len() {
            let log = Log::read(&file[..end]).unwrap();
            let whole = ends.iter().filter(|at| **at <= end).count() - 1;
            assert_eq!((log.records.len(), log.torn), (whole, end - ends[whole]));
        }
        let zeros = [&file[..], &[0; 100]].concat();
        assert_eq!(Log::read(&zeros).unwrap().torn, 100);
        let garbage = [&file[..], &[0xff; 100]].concat();
        assert_eq!(Log::read(&garbage), Err(LogError::Broken { position: file.len() }));
    }

    #[test]
    fn a_record_has_a_limit() {
        let event = Event::Command { command: "x".repeat(MAX_RECORD).as_str().into(), failure: None };
        let long = LogRecord { entry: LogEntry { event, ..record(0).entry }, ..record(0) };
        let (mut chain, _) = Chain::begin([0; LINK]);
        assert!(matches!(chain.append(&long), Err(LogError::TooLong { .. })));
        assert_eq!(chain.link(), &[0; LINK]);
    }

    #[test]
    fn a_file_is_told_by_its_first_octets() {
        assert!(is_log(&file(1).0) && is_log(&MAGIC));
        assert!(!is_log(b"ALBLOG2\n") && !is_log(&MAGIC[1..]) && !is_log(b""));
    }

    #[test]
    fn what_is_wrong_has_its_cause() {
        use core::error::Error;
        let error = LogRecord::decode(b"nonsense").unwrap_err();
        let cause = error.to_string();
        let record = LogError::Record { position: 40, error };
        assert_eq!(record.source().map(ToString::to_string), Some(cause));
        let encode = EncodeError::TooLong { length: 5 };
        assert_eq!(LogError::Encode(encode).source().map(ToString::to_string), Some(encode.to_string()));
        assert!(LogError::NoLog.source().is_none());
    }
}
