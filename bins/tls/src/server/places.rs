//! How many clients at a time may send a large chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places that are free.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<AtomicUsize>);

/// One that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Places);

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    pub(super) fn free(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes one, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        let one_less = |free: usize| free.checked_sub(1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.is_ok().then(|| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(2);
        let first = places.take().unwrap();
        let second = places.take().unwrap();
        assert!(places.take().is_none());
        drop(first);
        assert_eq!(places.free(), 1);
        assert!(places.take().is_some());
        drop(second);
        assert_eq!(places.free(), 2);
    }
}
