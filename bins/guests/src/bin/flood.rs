//! Writes numbered lines to the console as fast as it takes them: `--lines=N` of them, or for ever.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Console, Guest};

solo5::guest!(main);

fn main(guest: &Guest) -> u8 {
    let lines = guest.number(b"--lines=").unwrap_or(u64::MAX);
    let mut console = Console::new();
    for number in 1..=lines {
        let _ = writeln!(console, "flood {number} the quick brown fox jumps over the lazy dog");
    }
    0
}
