//! Deadlines, and how long to wait for the next.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A table of deadlines, at most one for each key.
#[derive(Debug)]
pub struct Timers<K> {
    // Invariant: holds (when, key) exactly where `deadlines` maps key to when.
    order: BTreeSet<(Instant, K)>,
    deadlines: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// No deadlines.
    #[must_use]
    pub fn new() -> Self {
        Self { order: BTreeSet::new(), deadlines: HashMap::new() }
    }

    /// Sets the deadline of `key`, in place of the one before.
    pub fn set(&mut self, key: K, when: Instant) {
        self.cancel(key);
        self.deadlines.insert(key, when);
        self.order.insert((when, key));
    }

    /// Forgets the deadline of `key`, if it has one.
    pub fn cancel(&mut self, key: K) {
        if let Some(when) = self.deadlines.remove(&key) {
            self.order.remove(&(when, key));
        }
    }

    /// Whether `key` has a deadline.
    #[must_use]
    pub fn has(&self, key: K) -> bool {
        self.deadlines.contains_key(&key)
    }

    /// The next deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(when, _)| *when)
    }

    /// Takes out one key whose deadline has come, the earliest first. Call it until there is none.
    pub fn expire(&mut self, now: Instant) -> Option<K> {
        let (when, key) = *self.order.first()?;
        (when <= now).then(|| {
            self.cancel(key);
            key
        })
    }
}

impl<K: Copy + Ord + Hash> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// How long to wait for the earlier of two deadlines: for ever where there is none, so that an idle
/// daemon is never woken.
#[must_use]
pub fn timeout(a: Option<Instant>, b: Option<Instant>, now: Instant) -> Option<Duration> {
    let next = match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    next.map(|when| when.saturating_duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_can_be_moved() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::new();
        assert_eq!(timeout(timers.next(), None, start), None);
        timers.set('a', at(3));
        timers.set('b', at(1));
        timers.set('c', at(1));
        timers.set('a', at(2));
        timers.cancel('c');
        assert_eq!(timeout(timers.next(), Some(at(9)), start), Some(Duration::from_secs(1)));
        assert_eq!(timers.expire(start), None);
        assert_eq!(timers.expire(at(5)), Some('b'));
        assert_eq!(timers.expire(at(5)), Some('a'));
        assert_eq!(timers.expire(at(5)), None);
        assert_eq!(timers.next(), None);
    }
}
