//! The record on the disk: a file of entries, each with checksums.
//!
//! The first entry is a whole [`Record`], each further one a [`Change`] of it. A change is appended, which
//! costs the same whatever else is on record; now and then the file is replaced by one with a whole
//! record.
//!
//! ```text
//! file  ::= "ALBREC1\n"  salt(24)  entry ..
//! entry ::= length(4, big-endian)  check-of-content(8)  check-of-header(8)  content(length)  zeros
//! ```
//! As many zeros follow an entry as make it a multiple of 16 octets, so that entries begin at such places.
//! The content is the DER of the record or change. A check is the first eight octets of the SHA-256 of the
//! salt and what it is about: the content, or the length and the check before it. The salt is random and
//! new for each file, so that nobody can put octets into an argument of a unikernel that look like an entry.
//!
//! A power cut can tear the last entry, which nobody was told of yet: it is left out. Anything else that is
//! not as it was written is damage, and refused: what was acknowledged must not be lost silently. An entry
//! is known to be the last as no header of another stands anywhere behind it.
//!
//! Reading takes time and memory in proportion to the file, whatever is in it.

use core::fmt;

use albatross_proto::state::{Change, Changing, Record};
use albatross_proto::{DecodeError, EncodeError};

use crate::digest::sha256;

/// What a file begins with: what it is, and the version of its form.
const MAGIC: [u8; 8] = *b"ALBREC1\n";
/// Octets of the salt.
pub const SALT: usize = 24;
/// Octets before the content of an entry: its length and the two checks.
const HEADER: usize = LENGTH + CHECK + CHECK;
const LENGTH: usize = 4;
/// Entries begin at multiples of this: where one could begin is known when the one before is damaged.
const ALIGNMENT: usize = 16;
/// Octets of a check: nothing hits it by chance, and nobody knows the salt who could try.
const CHECK: usize = 8;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The record after all changes.
    pub record: Record,
    /// Octets of an entry at the end that was not written as a whole; 0 after an orderly end.
    pub torn: usize,
}

/// The entries of a file, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The salt of the file.
    pub salt: [u8; SALT],
    /// The record that it begins with.
    pub record: Record,
    /// What was changed since, the oldest first.
    pub changes: Vec<Change>,
    /// As [`Contents::torn`].
    pub torn: usize,
}

/// Makes the entries of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    salt: [u8; SALT],
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalError {
    /// It does not begin as such a file does.
    NoJournal,
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

impl Writer {
    /// For a file with this salt, which no other has and nobody can know before.
    #[must_use]
    pub const fn new(salt: [u8; SALT]) -> Self {
        Self { salt }
    }

    /// The beginning of the file: `record` is the DER of a [`Record`].
    #[must_use]
    pub fn begin(&self, record: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &self.salt, &self.entry(record)].concat()
    }

    /// A further entry: `change` is the DER of a [`Change`].
    #[must_use]
    pub fn entry(&self, change: &[u8]) -> Vec<u8> {
        // What is encoded has at most MAX_ENCODED octets.
        let length = u32::try_from(change.len()).unwrap_or(u32::MAX).to_be_bytes();
        let content = self.check(&[change]);
        let header = self.check(&[&length, &content]);
        let mut entry = [&length[..], &content, &header, change].concat();
        entry.resize(entry.len().next_multiple_of(ALIGNMENT), 0);
        entry
    }

    fn check(&self, parts: &[&[u8]]) -> [u8; CHECK] {
        let mut all: Vec<&[u8]> = vec![&self.salt];
        all.extend(parts);
        sha256(&all)
    }

    /// The length of the content of the entry at `position` and its check, if there is a whole header.
    fn header_at(&self, file: &[u8], position: usize) -> Option<(usize, [u8; CHECK])> {
        let rest = file.get(position..)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
        let (content, rest) = rest.split_first_chunk::<CHECK>()?;
        let (header, _) = rest.split_first_chunk::<CHECK>()?;
        (self.check(&[length, content]) == *header)
            .then(|| Some((usize::try_from(u32::from_be_bytes(*length)).ok()?, *content)))?
    }

    /// The content of the entry at `position` if it is whole, and where it ends.
    fn entry_at<'f>(&self, file: &'f [u8], position: usize) -> Option<(&'f [u8], usize)> {
        let (length, check) = self.header_at(file, position)?;
        let begin = position.checked_add(HEADER)?;
        let end = begin.checked_add(length)?;
        let content = file.get(begin..end)?;
        let aligned = end.checked_next_multiple_of(ALIGNMENT)?;
        let padding = file.get(end..aligned)?;
        let is_whole = self.check(&[content]) == check && padding.iter().all(|octet| *octet == 0);
        is_whole.then_some((content, aligned))
    }
}

/// Whether a file begins as one of these.
#[must_use]
pub fn is_journal(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// The record that a file holds.
///
/// # Errors
/// [`JournalError`].
pub fn read(file: &[u8]) -> Result<Contents, JournalError> {
    let mut record = Changing::default();
    let (_, torn) = read_each(file, &mut |entry| match entry {
        Entry::Record(whole) => record = whole.into(),
        Entry::Change(change) => record.apply(change),
    })?;
    Ok(Contents { record: record.into(), torn })
}

/// The entries that a file holds.
///
/// # Errors
/// [`JournalError`].
pub fn read_entries(file: &[u8]) -> Result<Entries, JournalError> {
    let (mut record, mut changes) = (Record::default(), Vec::new());
    let (salt, torn) = read_each(file, &mut |entry| match entry {
        Entry::Record(whole) => record = whole,
        Entry::Change(change) => changes.push(change),
    })?;
    Ok(Entries { salt, record, changes, torn })
}

impl Entries {
    /// The file with these entries.
    ///
    /// # Errors
    /// [`EncodeError`] where one of them is too long.
    pub fn write(&self) -> Result<Vec<u8>, EncodeError> {
        let writer = Writer::new(self.salt);
        let mut file = writer.begin(&self.record.encode()?);
        for change in &self.changes {
            file.extend(writer.entry(&change.encode()?));
        }
        Ok(file)
    }
}

#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Entry {
    Record(Record),
    Change(Change),
}

/// Gives each entry to `visit`; the salt, and how many octets at the end were not written as a whole.
fn read_each(file: &[u8], visit: &mut dyn FnMut(Entry)) -> Result<([u8; SALT], usize), JournalError> {
    let rest = file.strip_prefix(&MAGIC).ok_or(JournalError::NoJournal)?;
    let (salt, _) = rest.split_first_chunk::<SALT>().ok_or(JournalError::NoRecord)?;
    let file_of = Writer::new(*salt);
    let mut position = MAGIC.len() + SALT;
    let (first, end) = file_of.entry_at(file, position).ok_or(JournalError::NoRecord)?;
    let refused = |position, error| JournalError::Entry { position, error };
    visit(Entry::Record(Record::decode(first).map_err(|error| refused(position, error))?));
    position = end;
    while let Some((content, end)) = file_of.entry_at(file, position) {
        visit(Entry::Change(Change::decode(content).map_err(|error| refused(position, error))?));
        position = end;
    }
    // Each place costs one digest of a few octets, whatever stands there.
    if (position..file.len()).step_by(ALIGNMENT).skip(1).any(|later| file_of.header_at(file, later).is_some())
    {
        return Err(JournalError::Damaged { position });
    }
    Ok((*salt, file.len() - position))
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJournal => f.write_str("it does not begin as a record of albatrossd does"),
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

    const WRITER: Writer = Writer::new([7; SALT]);

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
        let mut file = WRITER.begin(&Record::default().encode().unwrap());
        let mut ends = vec![file.len()];
        for index in 0..policies {
            file.extend(WRITER.entry(&Change::Policy(path(index), policy(1)).encode().unwrap()));
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
            let expected = if end < MAGIC.len() { JournalError::NoJournal } else { JournalError::NoRecord };
            assert_eq!(read(&file[..end]), Err(expected), "{end}");
        }
    }

    #[test]
    fn the_last_entry_may_be_anything_and_no_other() {
        let (file, ends) = file(4);
        for position in MAGIC.len()..file.len() {
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
        let entries = read_entries(&zeros).unwrap();
        assert_eq!((entries.changes.len(), entries.torn), (4, 4096));
        assert_eq!(entries.write().unwrap(), file);
    }

    /// Whoever writes an argument of a unikernel cannot make a torn entry look like damage.
    #[test]
    fn an_entry_of_another_file_inside_a_torn_one_is_nothing() {
        let (file, _) = file(1);
        let forged = Writer::new([8; SALT]).entry(&Change::NoPolicy(path(0)).encode().unwrap());
        let whole = WRITER.entry(&[&[0xff; 108][..], &forged, &[0xff; 100]].concat());
        let torn = [&file[..], &whole[..whole.len() - 50]].concat();
        assert_eq!(read(&torn).unwrap().torn, whole.len() - 50);
        let own = WRITER.entry(&[&[0xff; 108][..], &WRITER.entry(b"x"), &[0xff; 100]].concat());
        let torn = [&file[..], &own[..own.len() - 50]].concat();
        assert_eq!(
            read(&torn),
            Err(JournalError::Damaged { position: file.len() }),
            "the test finds entries"
        );
    }

    #[test]
    fn the_last_word_counts_and_what_is_no_change_is_refused() {
        let (mut file, _) = file(2);
        file.extend(WRITER.entry(&Change::Policy(path(0), policy(7)).encode().unwrap()));
        file.extend(WRITER.entry(&Change::NoPolicy(path(1)).encode().unwrap()));
        assert_eq!(read(&file).unwrap().record.policies, [(path(0), policy(7))]);
        let position = file.len();
        file.extend(WRITER.entry(b"\xbd\x00"));
        assert!(matches!(read(&file), Err(JournalError::Entry { position: at, .. }) if at == position));
    }

    #[test]
    fn a_file_is_told_by_its_first_octets() {
        assert!(is_journal(&WRITER.begin(b"")) && is_journal(&MAGIC));
        assert!(!is_journal(&MAGIC[1..]) && !is_journal(b"nonsense") && !is_journal(b""));
    }

    #[test]
    fn an_entry_of_another_version_has_its_cause() {
        use core::error::Error;
        let error = read(&WRITER.begin(b"nonsense")).unwrap_err();
        let cause = Record::decode(b"nonsense").unwrap_err();
        assert_eq!(error.source().map(ToString::to_string), Some(cause.to_string()));
        assert!(JournalError::NoRecord.source().is_none());
    }
}
