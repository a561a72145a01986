//! The system calls a guest may make. Everything else kills the process, as do calls by another architecture's numbers
//! (32-bit, x32). Arguments are compared in all their 64 bits.
//!
//! The filter is a program for the kernel's classic BPF machine: a rule for each group of calls, one after the other. A
//! rule that knows the call decides; the others are jumped over. The calls that guests make most come first.

use alloc::vec;
use alloc::vec::Vec;

use crate::devices::{Device, Properties};

/// One instruction, as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to jump over when a comparison holds.
    pub jump_true: u8,
    /// The same when it does not.
    pub jump_false: u8,
    /// What to compare with, where to load from, how far to jump, what to return.
    pub operand: u32,
}

/// The most instructions the kernel takes. A manifest with the most devices needs a fifth of them.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Returned to the kernel: go on with the call.
pub const ALLOW: u32 = 0x7fff_0000;
/// Returned to the kernel: end the process.
pub const KILL_PROCESS: u32 = 0x8000_0000;

/// Load the word at a place in `struct seccomp_data`.
const LOAD: u16 = 0x20;
/// Jump, by the operand.
const JUMP: u16 = 0x05;
/// Compare for equality.
const EQUAL: u16 = 0x15;
/// Compare for greater than, unsigned.
const GREATER: u16 = 0x25;
/// Return the operand.
const RETURN: u16 = 0x06;

const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
const X86_64: u32 = 0xc000_003e;

const READ: u32 = 0;
const WRITE: u32 = 1;
const PREAD: u32 = 17;
const PWRITE: u32 = 18;
const ARCH_PRCTL: u32 = 158;
const CLOCK_GETTIME: u32 = 228;
const EXIT_GROUP: u32 = 231;
const EPOLL_PWAIT: u32 = 281;
const TIMERFD_SETTIME: u32 = 286;

const CONSOLE: u32 = 1;
const ARCH_SET_FS: u32 = 0x1002;
const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;

/// The filter program for a guest with these descriptors and devices.
#[must_use]
pub fn program(epoll: i32, timer: i32, devices: &[Device]) -> Vec<Instruction> {
    let taps: Vec<u32> = devices
        .iter()
        .filter(|device| matches!(device.properties, Properties::Net { .. }))
        .map(|device| device.descriptor.cast_unsigned())
        .collect();
    let (epoll, timer) = (epoll.cast_unsigned(), timer.cast_unsigned());
    let mut program =
        vec![load(ARCHITECTURE_AT), compare(EQUAL, X86_64, 1, 0), give(KILL_PROCESS), load(NUMBER_AT)];
    let mut rule = |numbers: &[u32], body: &[Instruction]| add(&mut program, numbers, body);
    if taps.len() < devices.len() {
        rule(&[PREAD, PWRITE], &sectors(devices));
    }
    if !taps.is_empty() {
        rule(&[READ], &first_argument_is(taps.iter().copied()));
    }
    rule(&[WRITE], &first_argument_is(taps.iter().copied().chain([CONSOLE])));
    rule(&[EPOLL_PWAIT], &first_argument_is([epoll]));
    rule(&[TIMERFD_SETTIME], &first_argument_is([timer]));
    rule(&[CLOCK_GETTIME], &first_argument_is([CLOCK_MONOTONIC, CLOCK_REALTIME]));
    rule(&[ARCH_PRCTL], &first_argument_is([ARCH_SET_FS]));
    rule(&[EXIT_GROUP], &[give(ALLOW)]);
    program.push(give(KILL_PROCESS));
    program
}

/// The program as the kernel reads it.
#[must_use]
pub fn encode(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_le_bytes());
        bytes.extend_from_slice(&[instruction.jump_true, instruction.jump_false]);
        bytes.extend_from_slice(&instruction.operand.to_le_bytes());
    }
    bytes
}

/// A rule for one or two calls. Its body ends with a return, and may be longer than a comparison can jump.
fn add(program: &mut Vec<Instruction>, numbers: &[u32], body: &[Instruction]) {
    for (number, others) in numbers.iter().zip((0..numbers.len()).rev()) {
        program.push(compare(EQUAL, *number, distance(others + 1), 0));
    }
    program.push(Instruction { code: JUMP, jump_true: 0, jump_false: 0, operand: length(body) });
    program.extend_from_slice(body);
}

/// Allows a call whose first argument is one of these, zero-extended.
fn first_argument_is(values: impl IntoIterator<Item = u32>) -> Vec<Instruction> {
    let mut body = high_half_is_zero(0);
    body.push(load(low_half(0)));
    for value in values {
        body.extend([compare(EQUAL, value, 0, 1), give(ALLOW)]);
    }
    body.push(give(KILL_PROCESS));
    body
}

/// Allows a call whose arguments are a block device's descriptor, any address, its sector size, and an offset at which
/// a sector lies within the device.
fn sectors(devices: &[Device]) -> Vec<Instruction> {
    let mut body = high_half_is_zero(0);
    body.extend(high_half_is_zero(2));
    for device in devices {
        let Properties::Block { capacity, sector_size } = device.properties else { continue };
        let last = capacity.saturating_sub(sector_size.into());
        let (last_high, last_low) = halves(last);
        body.extend([
            load(low_half(0)),
            compare(EQUAL, device.descriptor.cast_unsigned(), 0, 9),
            load(low_half(2)),
            compare(EQUAL, sector_size.into(), 0, 6),
            load(high_half(3)),
            compare(GREATER, last_high, 4, 0),
            compare(EQUAL, last_high, 0, 2),
            load(low_half(3)),
            compare(GREATER, last_low, 1, 0),
            give(ALLOW),
            give(KILL_PROCESS),
        ]);
    }
    body.push(give(KILL_PROCESS));
    body
}

fn high_half_is_zero(argument: u32) -> Vec<Instruction> {
    vec![load(high_half(argument)), compare(EQUAL, 0, 1, 0), give(KILL_PROCESS)]
}

const fn low_half(argument: u32) -> u32 {
    ARGUMENTS_AT + 8 * argument
}

const fn high_half(argument: u32) -> u32 {
    low_half(argument) + 4
}

fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

const fn load(operand: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, operand }
}

const fn compare(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

const fn give(operand: u32) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, operand }
}

/// Rules are for two calls at most.
fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

/// Bodies are shorter than [`MAX_INSTRUCTIONS`].
fn length(body: &[Instruction]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
