//! Sets the base of thread-local storage to one place and then another, and reads through it what it has put there. With
//! `--none` it reads while there is none, which ends it by signal 11.

#![no_std]
#![no_main]

use core::arch::asm;

use solo5::{Console, Guest, sys};

solo5::guest!(main);

fn main(guest: &Guest) -> u8 {
    let mut console = Console::new();
    if guest.value(b"--none").is_some() {
        console.bytes(b"reading without a base\n");
        return u8::from(read() == 0);
    }
    let blocks = [0x0123_4567_89ab_cdef_u64, 0xfedc_ba98_7654_3210];
    for block in &blocks {
        // SAFETY: nothing here uses thread-local storage but `read`.
        unsafe { sys::set_tls_base(core::ptr::from_ref(block).expose_provenance() as u64) };
        if read() != *block {
            return 1;
        }
    }
    console.bytes(b"both found\n");
    0
}

/// The word at the base of thread-local storage.
fn read() -> u64 {
    let word;
    // SAFETY: without a base it faults, which is the purpose; else there is a word.
    unsafe { asm!("mov {}, qword ptr fs:[0]", out(reg) word, options(nostack, readonly)) };
    word
}
