//! Greets, prints each word of its command line on a line of its own, and exits with 0.

#![no_std]
#![no_main]

use solo5::{Console, Guest};

solo5::guest!(main);

fn main(guest: &Guest) -> u8 {
    let mut console = Console::new();
    console.bytes(b"Hello from spt\n");
    for word in guest.arguments() {
        console.bytes(word);
        console.bytes(b"\n");
    }
    0
}
