//! An allocator that counts, for each thread by itself: octets held now and at most, octets ever asked for,
//! and calls.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub(crate) struct Counting;

#[derive(Clone, Copy)]
struct Counts {
    held: usize,
    most: usize,
    asked: usize,
    calls: usize,
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { held: 0, most: 0, asked: 0, calls: 0 }) };
}

fn change(change: impl FnOnce(&mut Counts)) {
    COUNTS.with(|counts| {
        let mut now = counts.get();
        change(&mut now);
        counts.set(now);
    });
}

fn taken(octets: usize) {
    change(|counts| {
        counts.held += octets;
        counts.most = counts.most.max(counts.held);
        counts.asked += octets;
        counts.calls += 1;
    });
}

/// What was taken before the counting began may be given back, too.
fn given_back(octets: usize) {
    change(|counts| counts.held = counts.held.saturating_sub(octets));
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing, as the counters are
// plain numbers that need no setting up and no tearing down.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() {
            // Both blocks may be there while one is copied into the other.
            taken(size);
            given_back(layout.size());
        } else {
            given_back(layout.size() - size);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What something cost.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not all tests look at all of it")]
pub(crate) struct Cost {
    /// Octets held in the end, beyond those held before.
    pub(crate) held: usize,
    /// Octets held at most, beyond those held before.
    pub(crate) most: usize,
    /// Octets ever asked for: what a loop that copies again and again would show.
    pub(crate) asked: usize,
    /// Calls of the allocator.
    pub(crate) calls: usize,
}

/// What `run` costs.
pub(crate) fn measure<T>(run: impl FnOnce() -> T) -> (T, Cost) {
    change(|counts| *counts = Counts { held: 0, most: 0, asked: 0, calls: 0 });
    let value = run();
    let Counts { held, most, asked, calls } = COUNTS.get();
    (value, Cost { held, most, asked, calls })
}
