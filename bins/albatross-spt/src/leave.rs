//! The way from the tender into the guest.
//!
//! The last instructions run from a page of their own, use no stack, and refer to nothing but a list in guest memory
//! ([`albatross_spt::departure`]): they take the tender away, its program, data and stack, and whatever the kernel mapped
//! besides, install the filter of system calls, wipe the list, and jump. What is left in the process is the guest's
//! memory, that page, and the strings of the command line, which may only be read: they are what `ps` shows.

use alloc::vec::Vec;
use core::arch::{asm, global_asm};
use core::convert::Infallible;
use core::ops::Range;

use albatross_spt::bootinfo::{BOOT_INFO_ADDRESS, MEMORY_START};
use albatross_spt::departure::{self, Departure, HEADER_BYTES};
use albatross_spt::filter::Instruction;
use albatross_spt::linux::{PROT_READ, call};

use crate::error::MemoryError;
use crate::memory::GuestMemory;
use crate::process::Process;

/// Below the end of guest memory: a return address of zero, never returned to, that aligns the stack as after a call.
const RETURN_ADDRESS_BYTES: u64 = 8;
const PAGE_BYTES: u64 = 4096;
/// Of the stack the kernel has mapped 128 KiB ahead and what the tender used; it keeps more than this free below.
const STACK_BYTES: u64 = 512 * 1024;

/// Said where the kernel refuses the filter: there is nothing left by then that could say it in other words.
macro_rules! no_filter {
    () => {
        "albatross-spt: the system call filter cannot be installed"
    };
}

global_asm!(
    ".pushsection .text.leave,\"ax\",@progbits",
    ".p2align 12",
    ".globl albatross_leave",
    ".hidden albatross_leave",
    ".type albatross_leave, @function",
    "albatross_leave:",
    // rdi: the list. r13 ranges and r14 calls, at which rbx points in turn; r15: how many bytes there are in all; rbp: the
    // entry point; r9: the guest's stack. A system call changes rax, rcx and r11.
    "mov r12, rdi",
    "mov r13, [rdi]",
    "mov r14, [rdi + 8]",
    "mov r15, [rdi + 16]",
    "mov rbp, [rdi + 24]",
    "mov r9, [rdi + 32]",
    "lea rbx, [rdi + {header}]",
    "cld",
    "2:",
    "test r13, r13",
    "jz 3f",
    "mov rdi, [rbx]",
    "mov rcx, [rbx + 8]",
    "xor eax, eax",
    "rep stosb",
    "add rbx, 16",
    "dec r13",
    "jmp 2b",
    "3:",
    "mov rax, [rbx]",
    "mov rdi, [rbx + 8]",
    "mov rsi, [rbx + 16]",
    "mov rdx, [rbx + 24]",
    "syscall",
    "add rbx, 32",
    "dec r14",
    "jnz 3b",
    // The last of them installed the filter, or there is no going on.
    "test rax, rax",
    "jnz 4f",
    "mov rdi, r12",
    "mov rcx, r15",
    "rep stosb",
    "mov rsp, r9",
    "mov rax, rbp",
    "mov edi, {boot_info}",
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
    "jmp rax",
    "4:",
    "mov eax, {write}",
    "mov edi, 2",
    "lea rsi, [rip + 5f]",
    "mov edx, {length}",
    "syscall",
    "mov eax, {exit_group}",
    "mov edi, 1",
    "syscall",
    "ud2",
    "5:",
    concat!(".ascii \"", no_filter!(), "\\n\""),
    ".size albatross_leave, . - albatross_leave",
    ".p2align 12",
    ".popsection",
    ".hidden __ehdr_start",
    ".hidden _end",
    header = const HEADER_BYTES,
    boot_info = const BOOT_INFO_ADDRESS,
    write = const call::WRITE,
    exit_group = const call::EXIT_GROUP,
    length = const no_filter!().len() + 1,
);

unsafe extern "C" {
    /// The last instructions. Jumped to, not called.
    static albatross_leave: u8;
    /// The start of the program in memory.
    static __ehdr_start: u8;
    /// Its end.
    static _end: u8;
}

/// Leaves the tender for good: the stack at the end of guest memory, the address of the boot information as the only
/// argument, every other register zero but the one that held the entry point.
///
/// From `list` up to where an image may begin guest memory is free.
pub(crate) fn leave(
    process: Process,
    memory: &mut GuestMemory,
    list: u64,
    filter: Vec<Instruction>,
    entry: u64,
) -> Result<Infallible, MemoryError> {
    let stack = memory.size().saturating_sub(RETURN_ADDRESS_BYTES);
    let (wiped, calls) = if cfg!(freestanding) {
        take_away(process, memory.size())
    } else {
        // The C library has told the kernel about places that it is to write to.
        (Vec::new(), Vec::new())
    };
    let departure = Departure { wiped, calls, filter, entry, stack };
    memory.write(list, &departure.encode(list))?;
    // SAFETY: nothing of the tender runs afterwards, so nothing it relied on can be broken. What the guest does with the
    // process is bounded by the filter that is installed.
    unsafe {
        asm!("jmp rax", in("rax") &raw const albatross_leave, in("rdi") list, options(noreturn));
    }
}

/// What to wipe and which calls to make so that nothing is left but guest memory, the last instructions, and the strings of
/// the command line.
fn take_away(process: Process, memory_end: u64) -> (Vec<Range<u64>>, Vec<departure::Call>) {
    let leave = address(&raw const albatross_leave);
    let strings = process.argument_strings();
    let kept = departure::pages(&strings);
    let keep = [MEMORY_START..memory_end, leave..leave + PAGE_BYTES, kept.clone()];
    let program = departure::pages(&(address(&raw const __ehdr_start)..address(&raw const _end)));
    let stack = kept.start.saturating_sub(STACK_BYTES)..kept.start;
    let mut calls = departure::take_away(&keep, &[program, stack]);
    calls.push([call::MPROTECT, kept.start, kept.end - kept.start, PROT_READ.unsigned_abs().into()]);
    (departure::around(&strings).to_vec(), calls)
}

fn address(symbol: *const u8) -> u64 {
    u64::try_from(symbol.addr()).unwrap_or(u64::MAX)
}
