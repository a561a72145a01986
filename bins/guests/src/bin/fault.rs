//! Touches memory it may not: `--at=zero` (the default) reads address 0, `--at=text` writes to its own code,
//! `--at=data` runs its own data, `--at=end` reads just past its memory, `--at=heap` runs memory that no segment fills. Each
//! ends it by signal 11. `--at=illegal` runs what is no instruction, `--at=divide` divides by zero.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::mem::transmute;

use solo5::{Console, Guest};

solo5::guest!(main);

/// A return instruction, in a segment that is not executable.
static DATA: [u8; 1] = [0xc3];

fn main(guest: &Guest) -> u8 {
    Console::new().bytes(b"about to fault\n");
    match guest.value(b"--at=") {
        // SAFETY: none: the fault is the purpose.
        Some(b"text") => unsafe { black_box(main as *const () as *mut u8).write_volatile(0xc3) },
        Some(b"data") => {
            // SAFETY: none: the fault is the purpose.
            let function = unsafe { transmute::<*const u8, extern "C" fn()>(black_box(DATA.as_ptr())) };
            function();
        }
        Some(b"heap") => {
            let heap = guest.info().kernel_end + 0x1_0000;
            let heap = core::ptr::with_exposed_provenance_mut::<u8>(usize::try_from(heap).unwrap_or(0));
            // SAFETY: memory behind the image is free, zero and writable.
            unsafe { heap.write_volatile(0xc3) };
            // SAFETY: none: the fault is the purpose.
            let function = unsafe { transmute::<*mut u8, extern "C" fn()>(black_box(heap)) };
            function();
        }
        // SAFETY: none: the fault is the purpose.
        Some(b"illegal") => unsafe { core::arch::asm!("ud2") },
        Some(b"divide") => {
            // SAFETY: none: the fault is the purpose.
            unsafe {
                core::arch::asm!("div {0:e}", in(reg) 0_u32, inout("eax") 1_u32 => _, inout("edx") 0_u32 => _)
            }
        }
        Some(b"end") => read(guest.info().memory_size),
        _ => read(0),
    }
    0
}

fn read(address: u64) {
    let address = core::ptr::with_exposed_provenance::<u8>(usize::try_from(address).unwrap_or(0));
    // SAFETY: none: the fault is the purpose. Assembly, because a null pointer must not be read in Rust.
    unsafe {
        core::arch::asm!("mov {0:l}, byte ptr [{0}]", inout(reg) black_box(address) => _, options(nostack))
    };
}
