//! The system's allocator, which counts what it is asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static OCTETS: AtomicU64 = AtomicU64::new(0);

fn count(octets: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    OCTETS.fetch_add(octets as u64, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came, which keeps the contract; counting does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on; the memory is the system allocator's, like all here.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: the caller's promise is passed on; the memory is the system allocator's, like all here.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How often memory was asked for, and how many octets in all.
pub(crate) fn counts() -> (u64, u64) {
    (ALLOCATIONS.load(Relaxed), OCTETS.load(Relaxed))
}
