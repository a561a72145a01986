//! Prints `tick N` every `--ms=N` milliseconds (1000), `--count=N` times (for ever), and sleeps between.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Console, Guest, sys};

solo5::guest!(main);

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

fn main(guest: &Guest) -> u8 {
    let period = guest.number(b"--ms=").unwrap_or(1000).saturating_mul(NANOSECONDS_PER_MILLISECOND);
    let count = guest.number(b"--count=").unwrap_or(u64::MAX);
    let mut console = Console::new();
    let mut deadline = sys::clock(sys::CLOCK_MONOTONIC);
    for number in 1..=count {
        deadline = deadline.saturating_add(period);
        while sys::clock(sys::CLOCK_MONOTONIC) < deadline {
            let _ = guest.wait_until(deadline);
        }
        let _ = writeln!(console, "tick {number}");
    }
    0
}
