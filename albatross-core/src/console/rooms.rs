//! Which consoles there are at which path, and which of them is superfluous.

use std::collections::{BTreeMap, VecDeque};

use albatross_proto::{Int, Name, Path};

use super::ring::Ring;
use super::{FifoId, MAX_CONSOLES};
use crate::machine::ClientId;

/// What belongs to one unikernel.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// What it wrote; `None` while nobody has started it.
    pub(super) ring: Option<Ring>,
    /// Its fifo, while it runs.
    pub(super) fifo: Option<FifoId>,
    /// Who watches, the oldest first.
    pub(super) subscribers: VecDeque<ClientId>,
    /// Grows with each console that is made or stops: the smallest has not run for longest.
    rank: u64,
}

impl Room {
    /// Whether nothing would be lost with it.
    pub(super) fn is_forgettable(&self) -> bool {
        // Whose fifo is open has lines, too.
        self.ring.is_none() && self.subscribers.is_empty()
    }
}

/// All consoles.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// By their names, all of which have labels. Those of one path stand together.
    rooms: BTreeMap<Name, Room>,
    /// How many consoles a path may keep; 1 where nobody has said. Invariant: only of paths that have one.
    limits: BTreeMap<Path, Int>,
    next_rank: u64,
}

impl Rooms {
    pub(super) fn get(&self, name: &Name) -> Option<&Room> {
        self.rooms.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &Name) -> Option<&mut Room> {
        self.rooms.get_mut(name)
    }

    /// The console of `name`, made where there is none.
    pub(super) fn entry(&mut self, name: &Name) -> &mut Room {
        self.rooms.entry(name.clone()).or_insert_with(|| {
            self.next_rank += 1;
            Room { rank: self.next_rank, ..Room::default() }
        })
    }

    /// How many consoles `path`, which has one, may keep from now on.
    pub(super) fn set_limit(&mut self, path: &Path, limit: Int) {
        self.limits.insert(path.clone(), limit);
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<Room> {
        let room = self.rooms.remove(name)?;
        if self.at(name.path()).next().is_none() {
            self.limits.remove(name.path());
        }
        Some(room)
    }

    /// Notes that the unikernel does not run any more, if `fifo` is its own.
    pub(super) fn stopped(&mut self, name: &Name, fifo: FifoId) {
        if let Some(room) = self.rooms.get_mut(name).filter(|room| room.fifo == Some(fifo)) {
            self.next_rank += 1;
            room.fifo = None;
            room.rank = self.next_rank;
        }
    }

    /// What has to go after `newest` was added: one console of its path if that has too many, or else one of
    /// any path if there are too many altogether. The running never go.
    pub(super) fn superfluous(&self, newest: &Name) -> Option<Name> {
        let limit = self.limits.get(newest.path()).copied().unwrap_or(Int::ONE);
        let count = self.at(newest.path()).count();
        if Int::try_from(count).unwrap_or(Int::MAX) > limit
            && let Some(name) = longest_idle(self.at(newest.path()), newest)
        {
            return Some(name);
        }
        if self.rooms.len() > MAX_CONSOLES { longest_idle(self.rooms.iter(), newest) } else { None }
    }

    /// The consoles at and under `above` that are kept of unikernels that do not run, as they read from
    /// there.
    pub(super) fn inactive(&self, above: &Path) -> Vec<Name> {
        let kept = self.rooms.iter().filter(|(_, room)| room.fifo.is_none() && room.ring.is_some());
        kept.filter_map(|(name, _)| name.relative_to(above)).collect()
    }

    fn at<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a Name, &'a Room)> {
        self.rooms.range(path.to_name()..).take_while(move |(name, _)| name.path() == path)
    }
}

/// The console that has not run for longest; `newest` only where there is no other.
fn longest_idle<'a>(rooms: impl Iterator<Item = (&'a Name, &'a Room)>, newest: &Name) -> Option<Name> {
    let idle = rooms.filter(|(_, room)| room.fifo.is_none());
    idle.min_by_key(|(name, room)| (*name == newest, room.rank)).map(|(name, _)| name.clone())
}
