//! A file that is read in pieces.

use albatross_proto::log::LogRecord;

use super::{At, BEGIN, HEADER, LINK, LogError, MAGIC, MAX_RECORD, at};

/// Reads a file piece by piece and checks its chain. It holds no more than one record and the piece.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `None` before the file's first octets are there.
    begin: Option<[u8; LINK]>,
    /// The link of the last record.
    link: [u8; LINK],
    /// What came and is no whole record. Invariant: no longer than one and a piece.
    rest: Vec<u8>,
    /// Where in the file `rest` begins.
    position: u64,
    /// Octets at the end that came and are zeros, and are no record; they are not in `rest`.
    zeros: u64,
    records: u64,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where in the file, in octets.
    pub position: u64,
    /// The link of the record before it, or what the file begins with.
    pub link: [u8; LINK],
}

/// The end of a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The last link of the file before this one; zeros where there was none.
    pub previous: [u8; LINK],
    /// How many records there are.
    pub records: u64,
    /// Where the last whole record ends.
    pub mark: Mark,
    /// Octets after that, of a record that was not written as a whole; 0 after an orderly end.
    pub torn: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Of a file from its first octet on.
    #[must_use]
    pub const fn new() -> Self {
        Self { begin: None, link: [0; LINK], rest: Vec::new(), position: 0, zeros: 0, records: 0 }
    }

    /// Of a file from `mark` on, to which it was read before.
    #[must_use]
    pub const fn after(mark: Mark) -> Self {
        let Mark { position, link } = mark;
        Self { begin: Some([0; LINK]), link, rest: Vec::new(), position, zeros: 0, records: 0 }
    }

    /// Takes the next octets of the file, and hands on each record that is whole, with where it begins.
    ///
    /// # Errors
    /// [`LogError`] other than [`LogError::TooLong`] and [`LogError::Encode`].
    pub fn push(&mut self, octets: &[u8], mut each: impl FnMut(LogRecord, Mark)) -> Result<(), LogError> {
        if self.zeros > 0 {
            return self.push_zeros(octets);
        }
        self.rest.extend_from_slice(octets);
        let mut done = self.begin_of_file()?;
        while self.begin.is_some() {
            match at(&self.rest, done, &self.link) {
                At::Record { content, link, end } => {
                    let position = self.at(done);
                    let record =
                        LogRecord::decode(content).map_err(|error| LogError::Record { position, error })?;
                    let mark = Mark { position: self.position + octets_of(done), link: self.link };
                    self.link = link;
                    self.records += 1;
                    done = end;
                    each(record, mark);
                }
                At::Torn => break,
                At::Broken => return Err(LogError::Broken { position: self.at(done) }),
            }
        }
        self.rest.drain(..done);
        self.position += octets_of(done);
        if self.rest.len() > HEADER + MAX_RECORD {
            // Nothing that long is the beginning of a record, but zeros may be what was never written.
            let octets = std::mem::take(&mut self.rest);
            return self.push_zeros(&octets);
        }
        Ok(())
    }

    /// The file has ended.
    ///
    /// # Errors
    /// [`LogError::NoLog`] where not even its first octets are there.
    pub fn finish(&self) -> Result<End, LogError> {
        let previous = self.begin.ok_or(LogError::NoLog)?;
        let torn = octets_of(self.rest.len()) + self.zeros;
        let Self { records, link, position, .. } = *self;
        Ok(End { previous, records, mark: Mark { position, link }, torn })
    }

    /// Where the next octets are in the file.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.position + octets_of(self.rest.len()) + self.zeros
    }

    /// Octets of `rest` that the file begins with.
    fn begin_of_file(&mut self) -> Result<usize, LogError> {
        if self.begin.is_some() {
            return Ok(0);
        }
        let known = self.rest.len().min(MAGIC.len());
        if self.rest.get(..known) != MAGIC.get(..known) {
            return Err(LogError::NoLog);
        }
        let begin = self.rest.get(MAGIC.len()..BEGIN).and_then(|it| it.first_chunk::<LINK>()).copied();
        let Some(begin) = begin else { return Ok(0) };
        self.begin = Some(begin);
        self.link = begin;
        Ok(BEGIN)
    }

    fn push_zeros(&mut self, octets: &[u8]) -> Result<(), LogError> {
        if octets.iter().any(|octet| *octet != 0) {
            return Err(LogError::Broken { position: self.at(0) });
        }
        self.zeros += octets_of(octets.len());
        Ok(())
    }

    fn at(&self, offset: usize) -> usize {
        usize::try_from(self.position).unwrap_or(usize::MAX).saturating_add(offset)
    }
}

fn octets_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, Log};
    use super::*;
    use crate::digest::sha256;
    use albatross_proto::log::{Event, LogEntry};
    use albatross_proto::{Int, Time};

    fn file(count: i32) -> Vec<u8> {
        let (mut chain, mut file) = Chain::begin([7; LINK]);
        for number in 0..count {
            let timestamp = Time::from_unix_millis(1_700_000_000_000).unwrap();
            let entry = LogEntry { timestamp, event: Event::UnikernelStarted(Int::from(number)) };
            file.extend(chain.append(&LogRecord { name: "a:b".parse().unwrap(), entry }).unwrap());
        }
        file
    }

    /// What a reader makes of a file in pieces of so many octets.
    fn read(file: &[u8], piece: usize) -> Result<(Vec<LogRecord>, End), LogError> {
        let (mut reader, mut records) = (Reader::new(), Vec::new());
        for octets in file.chunks(piece) {
            reader.push(octets, |record, _| records.push(record))?;
            assert!(reader.rest.len() <= HEADER + MAX_RECORD + piece);
        }
        reader.finish().map(|end| (records, end))
    }

    #[test]
    fn pieces_of_any_length_give_what_the_whole_gives() {
        let whole = file(4);
        let zeros = [&whole[..], &[0; 200_000]].concat();
        let garbage = [&zeros[..], b"x"].concat();
        let mut changed = whole.clone();
        changed[150] ^= 1;
        let cut = &whole[..whole.len() - 3];
        for file in [&whole[..], &zeros, &garbage, &changed, cut, &whole[..20], b"", b"ALBLOX1\n"] {
            // Zeros are looked at again with each piece, so that small ones of many take long.
            for piece in [1, 7, 100, 4096, 1 << 20].into_iter().filter(|piece| file.len() / piece < 4000) {
                match (Log::read(file), read(file, piece)) {
                    (Ok(log), Ok((records, end))) => {
                        assert_eq!(log.records, records);
                        let torn = u64::try_from(log.torn).unwrap();
                        assert_eq!((log.previous, log.link, torn), (end.previous, end.mark.link, end.torn));
                        assert_eq!(end.mark.position + end.torn, u64::try_from(file.len()).unwrap());
                        assert_eq!(end.records, u64::try_from(log.records.len()).unwrap());
                    }
                    (Err(one), Err(other)) => assert_eq!(one, other, "in pieces of {piece}"),
                    (one, other) => panic!("in pieces of {piece}: {one:?}, {other:?}"),
                }
            }
        }
    }

    /// They are what a power cut leaves, and may be as many as the disk has.
    #[test]
    fn zeros_at_the_end_are_counted_and_not_kept() {
        let whole = file(2);
        let length = octets_of(whole.len());
        let (mut reader, mut count) = (Reader::new(), 0);
        reader.push(&whole[..whole.len() - 1], |_, _| count += 1).unwrap();
        let end = reader.finish().unwrap();
        assert_eq!((count, end.records, end.mark.position + end.torn), (1, 1, length - 1));
        assert!(end.torn > 1);
        reader.push(&whole[whole.len() - 1..], |_, _| count += 1).unwrap();
        let next = &file(3)[whole.len()..];
        for pieces in 1..=100 {
            reader.push(&[0; 1000], |_, _| count += 1).unwrap();
            assert_eq!(reader.next_position(), length + 1000 * pieces);
            assert!(reader.rest.len() <= HEADER + MAX_RECORD);
            // What stands after them was not written there, be it the next record.
            let broken = Err(LogError::Broken { position: whole.len() });
            assert_eq!(reader.clone().push(next, |_, _| count += 1), broken, "after {pieces}");
        }
        let end = reader.finish().unwrap();
        assert_eq!((count, end.records, end.mark.position, end.torn), (2, 2, length, 100_000));
    }

    #[test]
    fn a_record_of_another_version_is_told_by_its_place() {
        let whole = file(1);
        let mut reader = Reader::new();
        reader.push(&whole, |_, _| {}).unwrap();
        let link = reader.link;
        let content = b"nonsense";
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let (head, next) = (sha256::<8>(&[&link, &length]), sha256::<LINK>(&[&link, &length, content]));
        let record = [&length[..], &head, &next, content].concat();
        let error = reader.push(&record, |_, _| panic!("none is whole")).unwrap_err();
        assert!(matches!(error, LogError::Record { position, .. } if position == whole.len()), "{error}");
    }

    #[test]
    fn a_reader_goes_on_where_another_was() {
        let whole = file(4);
        let (mut reader, mut marks) = (Reader::new(), Vec::new());
        reader.push(&whole, |_, mark| marks.push(mark)).unwrap();
        let mark = marks[2];
        let rest = &whole[usize::try_from(mark.position).unwrap()..];
        let (mut later, mut count) = (Reader::after(mark), 0);
        later.push(rest, |_, _| count += 1).unwrap();
        assert_eq!((count, later.next_position()), (2, u64::try_from(whole.len()).unwrap()));
        assert_eq!(later.finish().unwrap().mark, reader.finish().unwrap().mark);
        let mut wrong = Reader::after(Mark { link: [0; LINK], ..mark });
        assert!(wrong.push(rest, |_, _| {}).is_err());
    }
}
