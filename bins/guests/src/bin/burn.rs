//! Touches `--touch=N` MB of its memory (0), prints how many it did, and computes for ever.

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::hint::{black_box, spin_loop};

use solo5::{Console, Guest};

solo5::guest!(main);

const MEGABYTE: u64 = 1024 * 1024;
const PAGE: usize = 4096;

fn main(guest: &Guest) -> u8 {
    let touched = guest.number(b"--touch=").unwrap_or(0);
    let start = guest.info().kernel_end;
    let end = start.saturating_add(touched.saturating_mul(MEGABYTE)).min(guest.info().memory_size);
    // The last page is the stack's.
    let pages = usize::try_from(end - start).unwrap_or(0) / PAGE;
    for page in 0..pages.saturating_sub(1) {
        let address = usize::try_from(start).unwrap_or(0) + page * PAGE;
        // SAFETY: between the image and the stack, which is less than a page, is memory that nobody uses.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) };
    }
    let _ = writeln!(Console::new(), "touched {touched} MB");
    loop {
        black_box(touched);
        spin_loop();
    }
}
