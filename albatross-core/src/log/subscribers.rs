//! Who follows the log, and where in the file each of them is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use albatross_proto::command::History;
use albatross_proto::log::LogRecord;
use albatross_proto::{Name, Time};

use super::{FileId, Output};
use crate::eventlog::{Mark, Reader};
use crate::machine::ClientId;

/// Subscribers at one time. Beyond them the oldest goes of those below the first label that has most of them, so
/// that nobody can keep those away who have nothing to do with him.
pub const MAX_SUBSCRIBERS: usize = 64;

/// The most events of the past that a subscription by count begins with. Where each of them begins is kept while
/// the file is read: 40 octets for each.
pub const MAX_HISTORY: usize = 16 * 1024;

/// Octets that may wait for one subscriber before what follows is left in the file until he has taken them.
pub const PENDING_HIGH: usize = 256 * 1024;

/// When no more octets than these wait for a subscriber, more is read for him.
pub const PENDING_LOW: usize = 64 * 1024;

/// Octets that are read from the file for one subscriber between two looks at everybody else: as long as the
/// longest record, and checked within a millisecond.
pub const READ: usize = 64 * 1024;

/// How long a subscriber may take nothing of what waits for him.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many files, the one that is written included, are kept open for subscribers that still read the older.
pub const MAX_FILES: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Subscribers {
    all: HashMap<ClientId, Subscriber>,
    next: u64,
}

#[derive(Debug)]
struct Subscriber {
    name: Name,
    place: Place,
    /// The answer to a read is awaited.
    reads: bool,
    /// Octets that wait to be written.
    pending: usize,
    /// When he last took some of them, or had none to take.
    moved: Duration,
    /// Smaller for who came earlier.
    order: u64,
}

#[derive(Debug)]
enum Place {
    /// The file is read to find where his history begins.
    Searching(FileId, Reader, Search),
    /// What he gets is read from the file.
    Reading(FileId, Reader),
    /// He has all, and gets what comes.
    Live,
}

/// Where a history begins.
#[derive(Debug)]
enum Search {
    /// At the first of so many records at the end; where the last of those that he may see begin.
    Count(usize, VecDeque<Mark>),
    /// After the last record that is older; where those since then begin, if there are any.
    Since(Time, Option<Mark>),
}

impl Search {
    fn note(&mut self, record: &LogRecord, mark: Mark) {
        match self {
            Self::Count(count, marks) => {
                if marks.len() >= *count {
                    marks.pop_front();
                }
                marks.push_back(mark);
            }
            Self::Since(since, begin) if record.entry.timestamp < *since => *begin = None,
            Self::Since(_, begin) => _ = begin.get_or_insert(mark),
        }
    }

    fn begin(&self) -> Option<Mark> {
        match self {
            Self::Count(_, marks) => marks.front().copied(),
            Self::Since(_, begin) => *begin,
        }
    }
}

impl Subscriber {
    /// Whether the next octets of a file can be read for him now.
    fn can_read(&self) -> bool {
        !self.reads
            && match &self.place {
                Place::Searching(..) => true,
                Place::Reading(..) => self.pending <= PENDING_LOW,
                Place::Live => false,
            }
    }

    const fn file(&self) -> Option<FileId> {
        match &self.place {
            Place::Searching(file, ..) | Place::Reading(file, _) => Some(*file),
            Place::Live => None,
        }
    }

    /// What is to be read next: which file, where, and how much. Where he has read a file to its end, he goes on.
    fn next_read(&mut self, current: FileId, ends: &BTreeMap<FileId, u64>) -> Option<(FileId, u64, usize)> {
        loop {
            let (file, reader) = match &self.place {
                Place::Searching(file, reader, _) | Place::Reading(file, reader) => (*file, reader),
                Place::Live => return None,
            };
            let position = reader.next_position();
            let left = ends.get(&file).map_or(0, |end| end.saturating_sub(position));
            if left > 0 {
                return Some((file, position, usize::try_from(left).map_or(READ, |left| left.min(READ))));
            }
            self.place = match &self.place {
                // Where there is no history, he is at the end of the file.
                Place::Searching(_, reader, search) => {
                    Place::Reading(file, search.begin().map_or_else(|| reader.clone(), Reader::after))
                }
                _ if file < current => Place::Reading(FileId(file.0 + 1), Reader::new()),
                _ => Place::Live,
            };
        }
    }
}

impl Subscribers {
    pub(super) fn has(&self, client: ClientId) -> bool {
        self.all.contains_key(&client)
    }

    pub(super) fn name(&self, client: ClientId) -> Option<&Name> {
        self.all.get(&client).map(|subscriber| &subscriber.name)
    }

    pub(super) fn remove(&mut self, client: ClientId) {
        self.all.remove(&client);
    }

    /// A new one, for whom `pending` octets wait already; returns who had to go.
    pub(super) fn insert(
        &mut self,
        now: Duration,
        client: ClientId,
        name: Name,
        history: History,
        file: FileId,
        pending: usize,
    ) -> Option<(ClientId, Name)> {
        let search = match history {
            History::Count(count) => {
                let count = usize::try_from(count.get()).unwrap_or(0).min(MAX_HISTORY);
                (count > 0).then(|| Search::Count(count, VecDeque::new()))
            }
            History::Since(since) => Some(Search::Since(since, None)),
        };
        let place = search.map_or(Place::Live, |search| Place::Searching(file, Reader::new(), search));
        let displaced = if self.all.len() >= MAX_SUBSCRIBERS { self.superfluous() } else { None };
        let displaced = displaced.and_then(|client| Some((client, self.all.remove(&client)?.name)));
        self.next += 1;
        let subscriber = Subscriber { name, place, reads: false, pending, moved: now, order: self.next };
        self.all.insert(client, subscriber);
        displaced
    }

    /// The oldest of those below the first label that has most subscribers.
    fn superfluous(&self) -> Option<ClientId> {
        let group = |subscriber: &Subscriber| subscriber.name.path().labels().next().map(str::to_owned);
        let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
        self.all.values().for_each(|subscriber| *counts.entry(group(subscriber)).or_default() += 1);
        let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let of_most = self.all.iter().filter(|(_, subscriber)| group(subscriber) == most);
        of_most.min_by_key(|(_, subscriber)| subscriber.order).map(|(client, _)| *client)
    }

    /// Whether [`Self::read_on`] would do something.
    pub(super) fn is_reading(&self) -> bool {
        self.all.values().any(Subscriber::can_read)
    }

    /// Has the next octets of their files be read for those who can take some.
    pub(super) fn read_on(
        &mut self,
        current: FileId,
        ends: &BTreeMap<FileId, u64>,
        mut read: impl FnMut(Output),
    ) {
        for (client, subscriber) in self.all.iter_mut().filter(|(_, subscriber)| subscriber.can_read()) {
            if let Some((file, position, length)) = subscriber.next_read(current, ends) {
                subscriber.reads = true;
                read(Output::Read { client: *client, file, position, length });
            }
        }
    }

    /// What was read for a subscriber; each record that he is to get is handed on.
    pub(super) fn take_in(
        &mut self,
        client: ClientId,
        octets: Result<&[u8], &str>,
        mut each: impl FnMut(LogRecord),
    ) -> Result<(), String> {
        let Some(subscriber) = self.all.get_mut(&client) else { return Ok(()) };
        subscriber.reads = false;
        let octets = octets.map_err(str::to_owned)?;
        if octets.is_empty() {
            return Err("it is shorter than it was".to_owned());
        }
        let name = &subscriber.name;
        let pushed = match &mut subscriber.place {
            Place::Searching(_, reader, search) => reader.push(octets, |record, mark| {
                if sees(name, &record.name) {
                    search.note(&record, mark);
                }
            }),
            Place::Reading(_, reader) => reader.push(octets, |record, _| {
                if sees(name, &record.name) {
                    each(record);
                }
            }),
            Place::Live => Ok(()),
        };
        pushed.map_err(|error| error.to_string())
    }

    /// Who gets an event of this name as it comes. It stands in this file after `before`, from where those read it
    /// later for whom too much waits.
    pub(super) fn followers(&mut self, name: &Name, file: FileId, before: Mark) -> Vec<ClientId> {
        let mut followers = Vec::new();
        for (client, subscriber) in &mut self.all {
            if matches!(subscriber.place, Place::Live) && sees(&subscriber.name, name) {
                if subscriber.pending > PENDING_HIGH {
                    subscriber.place = Place::Reading(file, Reader::after(before));
                } else {
                    followers.push(*client);
                }
            }
        }
        followers
    }

    pub(super) fn sent(&mut self, now: Duration, client: ClientId, octets: usize) {
        if let Some(subscriber) = self.all.get_mut(&client) {
            if subscriber.pending == 0 {
                subscriber.moved = now;
            }
            subscriber.pending += octets;
        }
    }

    pub(super) fn written(&mut self, now: Duration, client: ClientId, octets: usize) {
        if let Some(subscriber) = self.all.get_mut(&client) {
            subscriber.pending = subscriber.pending.saturating_sub(octets);
            subscriber.moved = now;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let waits = self.all.values().filter(|subscriber| subscriber.pending > 0);
        waits.map(|subscriber| subscriber.moved + PATIENCE).min()
    }

    /// One who takes nothing, and how many octets wait for him.
    pub(super) fn stalled(&self, now: Duration) -> Option<(ClientId, Name, usize)> {
        let stalls = |subscriber: &Subscriber| subscriber.pending > 0 && subscriber.moved + PATIENCE <= now;
        let (client, subscriber) = self.all.iter().find(|(_, subscriber)| stalls(subscriber))?;
        Some((*client, subscriber.name.clone(), subscriber.pending))
    }

    /// One who reads a file that is older than those that are kept.
    pub(super) fn far_behind(&self, current: FileId) -> Option<(ClientId, Name)> {
        let is_old = |file: FileId| file.0 + MAX_FILES <= current.0;
        let found = self.all.iter().find(|(_, subscriber)| subscriber.file().is_some_and(is_old));
        found.map(|(client, subscriber)| (*client, subscriber.name.clone()))
    }

    pub(super) fn oldest_file(&self) -> Option<FileId> {
        self.all.values().filter_map(Subscriber::file).min()
    }
}

/// Whether who subscribed to `asked` may see what is about `name`: that name, or all at the path and below.
fn sees(asked: &Name, name: &Name) -> bool {
    if asked.label().is_some() { name == asked } else { name.path().is_within(asked.path()) }
}
