//! What the kernel left on the stack: arguments, environment, and what else it says at the start.

use core::ffi::{CStr, c_char};
use core::ops::Range;

/// The start of the stack as exec laid it out: the number of arguments, pointers to them, a null pointer, pointers to the
/// environment, a null pointer; the strings themselves, arguments before environment, lie above.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    stack: *const usize,
}

impl Process {
    /// # Safety
    ///
    /// The pointer is the stack pointer that the kernel set at exec, and nobody writes to what is above it.
    pub(crate) const unsafe fn new(stack: *const usize) -> Self {
        Self { stack }
    }

    /// The arguments, the program's own name first.
    pub(crate) fn arguments(self) -> impl Iterator<Item = &'static [u8]> {
        // SAFETY: the number is there.
        let count = unsafe { *self.stack };
        (0..count).filter_map(move |index| {
            // SAFETY: there are so many pointers behind the number.
            let text = unsafe { *self.stack.add(1).add(index).cast::<*const c_char>() };
            // SAFETY: each is null or leads to a string that ends with NUL and is not changed.
            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
        })
    }

    /// Where the strings of the arguments are, which is what /proc shows as the command line. There is always one, as the
    /// arguments have named an image.
    pub(crate) fn argument_strings(self) -> Range<u64> {
        let ends = self.arguments().map(|text| text.as_ptr_range());
        let place = |end: *const u8| u64::try_from(end.addr()).unwrap_or(u64::MAX);
        ends.map(|text| place(text.start)..place(text.end).saturating_add(1))
            .reduce(|all, next| all.start.min(next.start)..all.end.max(next.end))
            .unwrap_or_default()
    }
}
