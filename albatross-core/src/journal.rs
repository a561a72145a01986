//! The record on the disk: a file of entries, each with a checksum.
//!
//! The first entry is a whole [`Record`], each further one a [`Change`] of it. A change is appended, which
//! costs the same whatever else is on record; now and then the file is replaced by one with a whole
//! record. An entry is four octets of big-endian length, the first eight octets of the SHA-256 of what
//! follows, and the DER of the record or change.
//!
//! A power cut can tear the last entry, which nobody was told of yet: it is left out. Anything else that is
//! not as it was written is damage, and refused: what was acknowledged must not be lost silently.

use core::fmt;

use albatross_proto::DecodeError;
use albatross_proto::state::{Change, Changing, Record};
use ring::digest::{SHA256, digest};

/// Octets before the content of an entry: its length and its checksum.
const HEADER: usize = LENGTH + CHECKSUM;
const LENGTH: usize = 4;
const CHECKSUM: usize = 8;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The record after all changes.
    pub record: Record,
    /// Octets of an entry at the end that was not written as a whole; 0 after an orderly end.
    pub torn: usize,
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalError {
    /// It does not begin with a whole record.
    NoRecord,
    /// An entry is damaged, and others follow it.
    Damaged {
        /// Where it begins.
        position: usize,
    },
    /// An entry is as it was written, and is no record or change.
    Entry {
        /// Where it begins.
        position: usize,
        /// What is wrong; positions count from the begin of its content.
        error: DecodeError,
    },
}

/// `content`, the DER of a [`Record`] or [`Change`], as an entry.
#[must_use]
pub fn entry(content: &[u8]) -> Vec<u8> {
    // What is encoded has at most MAX_ENCODED octets.
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length, checksum(content).as_slice(), content].concat()
}

/// The record that a file holds.
///
/// # Errors
/// [`JournalError`].
pub fn read(file: &[u8]) -> Result<Contents, JournalError> {
    let Some((first, mut position)) = entry_at(file, 0) else { return Err(JournalError::NoRecord) };
    let record = Record::decode(first).map_err(|error| JournalError::Entry { position: 0, error })?;
    let mut record = Changing::from(record);
    while position < file.len() {
        let Some((content, end)) = entry_at(file, position) else { break };
        let change = Change::decode(content).map_err(|error| JournalError::Entry { position, error })?;
        record.apply(change);
        position = end;
    }
    if (position + 1..file.len()).any(|later| entry_at(file, later).is_some()) {
        return Err(JournalError::Damaged { position });
    }
    Ok(Contents { record: record.into(), torn: file.len() - position })
}

/// The content of the entry at `position` if it is whole, and where it ends.
fn entry_at(file: &[u8], position: usize) -> Option<(&[u8], usize)> {
    let rest = file.get(position..)?;
    let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
    let (expected, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length > 0)?;
    let content = rest.get(..length)?;
    (checksum(content) == *expected).then_some((content, position + HEADER + length))
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut first = [0; CHECKSUM];
    first.iter_mut().zip(digest(&SHA256, content).as_ref()).for_each(|(to, from)| *to = *from);
    first
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("it does not begin with a whole record"),
            Self::Damaged { position } => {
                write!(f, "the entry at octet {position} is damaged, and others follow it")
            }
            Self::Entry { position, error } => {
                write!(f, "the entry at octet {position} is not one of this version: {error}")
            }
        }
    }
}

impl core::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Entry { error, .. } = self { Some(error) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_proto::{Int, Path, Policy};

    fn policy(unikernels: i32) -> Policy {
        Policy {
            cpuids: [Int::ZERO].into(),
            unikernels: Int::from(unikernels),
            memory: Int::from(64),
            block: None,
            bridges: [].into(),
        }
    }

    fn path(index: usize) -> Path {
        format!("p{index}").parse().unwrap()
    }

    /// A file with so many policies, and where each entry ends.
    fn file(policies: usize) -> (Vec<u8>, Vec<usize>) {
        let mut file = entry(&Record::default().encode().unwrap());
        let mut ends = vec![file.len()];
        for index in 0..policies {
            file.extend(entry(&Change::Policy(path(index), policy(1)).encode().unwrap()));
            ends.push(file.len());
        }
        (file, ends)
    }

    #[test]
    fn a_file_cut_anywhere_holds_what_was_whole() {
        let (file, ends) = file(4);
        for end in ends[0]..=file.len() {
            let Contents { record, torn } = read(&file[..end]).unwrap();
            let whole = ends.iter().filter(|at| **at <= end).count() - 1;
            assert_eq!(record.policies.len(), whole, "{end}");
            assert_eq!(torn, end - ends[whole]);
        }
        for end in 0..ends[0] {
            assert_eq!(read(&file[..end]), Err(JournalError::NoRecord), "{end}");
        }
    }

    #[test]
    fn the_last_entry_may_be_anything_and_no_other() {
        let (file, ends) = file(4);
        for position in 0..file.len() {
            let mut broken = file.clone();
            broken[position] ^= 0x40;
            let read = read(&broken);
            if position < ends[0] {
                assert_eq!(read, Err(JournalError::NoRecord), "{position}");
            } else if position < ends[3] {
                let start = *ends.iter().rfind(|end| **end <= position).unwrap();
                assert_eq!(read, Err(JournalError::Damaged { position: start }), "{position}");
            } else {
                assert_eq!(read.unwrap().record.policies.len(), 3);
            }
        }
        let zeros = [&file[..], &[0; 4096]].concat();
        assert_eq!(read(&zeros).unwrap(), Contents { torn: 4096, ..read(&file).unwrap() });
    }

    #[test]
    fn the_last_word_counts_and_what_is_no_change_is_refused() {
        let (mut file, _) = file(2);
        file.extend(entry(&Change::Policy(path(0), policy(7)).encode().unwrap()));
        file.extend(entry(&Change::NoPolicy(path(1)).encode().unwrap()));
        assert_eq!(read(&file).unwrap().record.policies, [(path(0), policy(7))]);
        let position = file.len();
        file.extend(entry(b"\xbd\x00"));
        assert!(matches!(read(&file), Err(JournalError::Entry { position: at, .. }) if at == position));
    }
}
