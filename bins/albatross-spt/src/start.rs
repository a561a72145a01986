//! The first instructions of the program.

use crate::process::Process;

/// The delivered program: the kernel jumps to `_start`, which nothing has prepared. It is not where the linker put it, so
/// the pointers in its data are wrong until they are moved as far as the program was.
#[cfg(freestanding)]
mod bare {
    use core::arch::global_asm;

    use super::Process;

    global_asm!(
        ".pushsection .text.start,\"ax\",@progbits",
        ".globl _start",
        ".type _start, @function",
        "_start:",
        // The outermost frame; the stack as the kernel left it; where the program is; what its linker says of it.
        "xor ebp, ebp",
        "mov rdi, rsp",
        "lea rsi, [rip + __ehdr_start]",
        "lea rdx, [rip + _DYNAMIC]",
        "and rsp, -16",
        "call {begin}",
        "ud2",
        ".size _start, . - _start",
        ".popsection",
        ".hidden __ehdr_start",
        ".hidden _DYNAMIC",
        begin = sym begin,
    );

    /// `Elf64_Dyn`.
    #[repr(C)]
    struct Dynamic {
        tag: u64,
        value: usize,
    }

    /// `Elf64_Rela`.
    #[repr(C)]
    struct Relocation {
        offset: usize,
        info: u64,
        addend: usize,
    }

    const DT_NULL: u64 = 0;
    const DT_RELA: u64 = 7;
    const DT_RELASZ: u64 = 8;
    const R_X86_64_RELATIVE: u64 = 8;

    /// # Safety
    ///
    /// Called by `_start` alone.
    unsafe extern "C" fn begin(stack: *const usize, base: *mut u8, dynamic: *const Dynamic) -> ! {
        // SAFETY: by the caller's promise.
        unsafe { relocate(base, dynamic) };
        // SAFETY: this is what the kernel left, and nothing of it is written to.
        crate::run_process(unsafe { Process::new(stack) })
    }

    /// Moves the pointers. It uses none of them itself, and calls nothing that would.
    ///
    /// # Safety
    ///
    /// The arguments are those of this program, which was not relocated yet.
    #[inline(always)]
    unsafe fn relocate(base: *mut u8, mut dynamic: *const Dynamic) {
        let (mut table, mut size) = (core::ptr::null::<Relocation>(), 0);
        loop {
            // SAFETY: the list goes on until its last entry.
            let Dynamic { tag, value } = unsafe { dynamic.read() };
            match tag {
                DT_NULL => break,
                DT_RELA => table = base.wrapping_add(value).cast(),
                DT_RELASZ => size = value,
                _ => {}
            }
            dynamic = dynamic.wrapping_add(1);
        }
        for index in 0..size / size_of::<Relocation>() {
            // SAFETY: the linker says where the table is and how long.
            let relocation = unsafe { table.wrapping_add(index).read() };
            if relocation.info != R_X86_64_RELATIVE {
                // The linker was told to make no others.
                // SAFETY: ends the process.
                unsafe { core::arch::asm!("ud2", options(noreturn)) }
            }
            let place = base.wrapping_add(relocation.offset).cast::<usize>();
            // SAFETY: the linker says that there is a pointer to be moved.
            unsafe { place.write_unaligned(base.addr().wrapping_add(relocation.addend)) };
        }
    }
}

/// The start of the program that is not for delivery. Rust's own start is left out because it ignores SIGPIPE and catches
/// SIGSEGV, and the guest would inherit both.
// SAFETY: the symbol is the one the C library calls, with the signature it calls it by.
#[cfg(not(freestanding))]
#[unsafe(export_name = "main")]
extern "C" fn main(_: core::ffi::c_int, arguments: *const *const core::ffi::c_char) -> core::ffi::c_int {
    // SAFETY: the arguments are still where the kernel put them, on the stack behind their number.
    crate::run_process(unsafe { Process::new(arguments.cast::<usize>().sub(1)) })
}
