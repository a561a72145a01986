//! Exits with 64 when it is told its name by `--name=...`, as an OCaml program does with an option it does not know;
//! otherwise prints `no name` and exits with 0.

#![no_std]
#![no_main]

use solo5::{Console, Guest};

solo5::guest!(main);

/// What the usual command line parsers exit with for an unknown option.
const USAGE: u8 = 64;

fn main(guest: &Guest) -> u8 {
    if guest.value(b"--name=").is_some() {
        return USAGE;
    }
    Console::new().bytes(b"no name\n");
    0
}
