//! What compiled code calls and a C library would bring, for the program that has none.

use core::ffi::c_char;
use core::panic::PanicInfo;

use alloc::format;

use crate::{PROGRAM, sys};

/// Copying and comparing, the same as in the guests.
#[path = "../../guests/src/memory.rs"]
mod memory;

/// Counts the bytes of a C string.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: by the caller's promise, up to its NUL. Volatile keeps the compiler from making this loop a call of strlen.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// Never reached by anything a guest or a user can say; but if it is, then as any other error: one line, status 1.
#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    let place = panic.location().map_or(("?", 0), |place| (place.file(), place.line()));
    sys::write_error(format!("{PROGRAM}: internal error at {}:{}\n", place.0, place.1).as_bytes());
    sys::exit(1)
}

/// Named by the tables for unwinding in Rust's own libraries. There is no unwinding here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The same.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    sys::exit(1)
}
