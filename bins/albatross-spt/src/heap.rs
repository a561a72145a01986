//! Memory for the tender's own lists. It runs for less than a millisecond, so nothing is ever given back; all of it is
//! gone before the guest starts.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::ptr;

use albatross_spt::linux::{PROT_READ, PROT_WRITE};

use crate::sys;

/// What is there from the start, untouched and therefore free of charge until it is used. A guest without devices takes
/// two pages of it, one with 63 less than half.
const FIRST_BYTES: usize = 256 * 1024;
/// The least that is mapped beyond that: a command line of 2 MiB is taken apart in a few pieces.
const MORE_BYTES: usize = 1024 * 1024;

/// Hands out memory, front to back: first its own, then what it maps.
pub(crate) struct Heap {
    first: UnsafeCell<[u8; FIRST_BYTES]>,
    /// How many bytes of `first` have been handed out.
    used: Cell<usize>,
    /// The free part of what was mapped last, and how many bytes it has.
    mapped: Cell<(*mut u8, usize)>,
}

// SAFETY: the tender has one thread.
unsafe impl Sync for Heap {}

impl Heap {
    /// All of it zero, so that it takes no place in the program's file.
    pub(crate) const fn new() -> Self {
        Self {
            first: UnsafeCell::new([0; FIRST_BYTES]),
            used: Cell::new(0),
            mapped: Cell::new((ptr::null_mut(), 0)),
        }
    }

    fn take_first(&self, layout: Layout) -> Option<*mut u8> {
        let used = self.used.get();
        let free = self.first.get().cast::<u8>().wrapping_add(used);
        let (place, taken) = fit(free, FIRST_BYTES.checked_sub(used)?, layout)?;
        self.used.set(used + taken);
        Some(place)
    }

    fn take_mapped(&self, layout: Layout) -> Option<*mut u8> {
        let (free, left) = self.mapped.get();
        let (place, taken) = fit(free, left, layout)?;
        self.mapped.set((free.wrapping_add(taken), left - taken));
        Some(place)
    }

    fn take_more(&self, layout: Layout) -> Option<*mut u8> {
        let length = layout.size().checked_add(layout.align())?.max(MORE_BYTES);
        let place = sys::map(0, length, PROT_READ | PROT_WRITE).ok()?;
        self.mapped.set((place.cast(), length));
        self.take_mapped(layout)
    }
}

/// Where in a free part of so many bytes it fits, and how many bytes it takes from its front.
fn fit(free: *mut u8, left: usize, layout: Layout) -> Option<(*mut u8, usize)> {
    let padding = free.align_offset(layout.align());
    let taken = padding.checked_add(layout.size()).filter(|taken| *taken <= left)?;
    Some((free.wrapping_add(padding), taken))
}

// SAFETY: every piece is within memory of ours that was not handed out before, aligned as asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place =
            self.take_first(layout).or_else(|| self.take_mapped(layout)).or_else(|| self.take_more(layout));
        place.unwrap_or(ptr::null_mut())
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let used = self.used.get();
        let is_last = place.wrapping_add(layout.size()) == self.first.get().cast::<u8>().wrapping_add(used);
        let grown = used.checked_sub(layout.size()).and_then(|start| start.checked_add(size));
        if let Some(grown) = grown.filter(|grown| is_last && *grown <= FIRST_BYTES) {
            // What comes behind it is free: a list that grows stays where it is.
            self.used.set(grown);
            return place;
        }
        // SAFETY: the caller promises that the alignment and the new size are good together.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the new size is not 0.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both are pieces of ours, of at least so many bytes, and the new one was not handed out before.
            unsafe { ptr::copy_nonoverlapping(place, moved, layout.size().min(size)) };
        }
        moved
    }
}
