//! The jump into the guest.

use std::arch::asm;

use albatross_spt::bootinfo::BOOT_INFO_ADDRESS;

use crate::memory::GuestMemory;

/// Below the end of guest memory: a return address of zero, never returned to, that aligns the stack as after a call.
const RETURN_ADDRESS_BYTES: u64 = 8;

/// Leaves the tender for good: the stack at the end of guest memory, the address of the boot information as the only
/// argument, every other register zero but the one that held the entry point.
pub(crate) fn enter(memory: &GuestMemory, entry: u64) -> ! {
    let stack = memory.size().saturating_sub(RETURN_ADDRESS_BYTES);
    // SAFETY: nothing of the tender runs afterwards, so nothing it relied on can be broken. What the guest does with the
    // process is bounded by the filter that has been installed.
    unsafe {
        asm!(
            "mov rsp, rcx",
            "xor ebx, ebx",
            "xor ecx, ecx",
            "xor edx, edx",
            "xor esi, esi",
            "xor ebp, ebp",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "xor r11d, r11d",
            "xor r12d, r12d",
            "xor r13d, r13d",
            "xor r14d, r14d",
            "xor r15d, r15d",
            "cld",
            "jmp rax",
            in("rax") entry,
            in("rcx") stack,
            in("rdi") BOOT_INFO_ADDRESS,
            options(noreturn),
        )
    }
}
