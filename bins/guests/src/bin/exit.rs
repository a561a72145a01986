//! Exits at once with `--code=N` (0 to 255; 0 when absent or no such number).

#![no_std]
#![no_main]

use solo5::Guest;

solo5::guest!(main);

fn main(guest: &Guest) -> u8 {
    guest.number(b"--code=").and_then(|code| u8::try_from(code).ok()).unwrap_or(0)
}
