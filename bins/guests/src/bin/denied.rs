//! Makes a system call that the tender forbids: number `--call=N` (39, getpid) with arguments `--a0=N`, `--a1=N`, `--a2=N`,
//! `--a3=N` (0). `--int80=N` makes the call by the 32-bit entry instead. Exits with 1 when it comes back.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Console, Guest, sys};

solo5::guest!(main);

const GETPID: u64 = 39;

fn main(guest: &Guest) -> u8 {
    let number = guest.number(b"--call=").unwrap_or(GETPID);
    let argument = |name| guest.number(name).unwrap_or(0);
    let arguments = [argument(b"--a0="), argument(b"--a1="), argument(b"--a2="), argument(b"--a3="), 0, 0];
    let mut console = Console::new();
    if let Some(number) = guest.number(b"--int80=") {
        let _ = writeln!(console, "calling {number} by int 0x80");
        call_32_bit(number);
        return 1;
    }
    let _ = writeln!(console, "calling {number}");
    // SAFETY: none: the tender has to end the guest before the call does anything.
    let result = unsafe { sys::call(number, arguments) };
    let _ = writeln!(console, "came back with {result}");
    1
}

fn call_32_bit(number: u64) {
    // SAFETY: none: the tender has to end the guest before the call does anything.
    unsafe {
        core::arch::asm!("int 0x80", inlateout("rax") number => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
}
