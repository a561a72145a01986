//! What a Solo5 spt guest needs, and no more: its notes, its start, and the system calls that the spt tender's filter
//! allows. Follows docs/solo5.md. There is no heap, no libc and no thread-local storage.
//!
//! A program is written as
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! solo5::guest!(main);
//! fn main(guest: &solo5::Guest) -> u8 { 0 }
//! ```

#![no_std]

mod boot;
mod console;
mod device;
mod memory;
pub mod notes;
pub mod sys;

pub use boot::{Arguments, Guest, Ready};
pub use console::Console;
pub use device::{Block, Net};

/// Stops with status 255, as a Solo5 guest does that cannot go on.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::write_all(sys::CONSOLE, b"guest panicked\n");
    sys::exit(255)
}

/// Makes a program a Solo5 spt guest: the notes of the image, the interpreter path and the entry point.
///
/// `guest!(main)` declares no devices; `guest!(main, net "service", block "disk")` declares each device named, in this
/// order, as manifest entries 1, 2 and so on.
#[macro_export]
macro_rules! guest {
    ($main:path $(, $kind:ident $name:literal)* $(,)?) => {
        #[used]
        #[unsafe(link_section = ".interp")]
        static INTERPRETER: $crate::notes::Interpreter = $crate::notes::INTERPRETER;

        #[used]
        #[unsafe(link_section = ".note.solo5.abi")]
        static ABI: $crate::notes::AbiNote = $crate::notes::AbiNote::SPT;

        #[used]
        #[unsafe(link_section = ".note.solo5.manifest")]
        static MANIFEST: $crate::notes::ManifestNote<{ 1 $(+ { let _ = $name; 1 })* }> =
            $crate::notes::ManifestNote::new([
                $crate::notes::Entry::RESERVED
                $(, $crate::notes::Entry::device($crate::guest!(@kind $kind), $name))*
            ]);

        /// Where the tender jumps to.
        ///
        /// # Safety
        ///
        /// Only the tender may call it, with the address of the boot information.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".text.start")]
        unsafe extern "C" fn _start(info: *const $crate::sys::BootInfo) -> ! {
            // SAFETY: the tender passes the address of the boot information it wrote, which lives as long as the guest.
            let guest = unsafe { $crate::Guest::start(info) };
            $crate::sys::exit($main(&guest))
        }
    };
    (@kind block) => { $crate::notes::BLOCK_BASIC };
    (@kind net) => { $crate::notes::NET_BASIC };
}
