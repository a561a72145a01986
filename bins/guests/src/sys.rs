//! The system calls of the spt interface, made directly: the guest has no libc. Numbers are those of Linux on x86-64.

use core::arch::asm;

/// The descriptor of the console.
pub const CONSOLE: i32 = 1;
/// `clock_gettime`: time since some start, never set back.
pub const CLOCK_MONOTONIC: u64 = 1;
/// `clock_gettime`: time since 1970.
pub const CLOCK_REALTIME: u64 = 0;

const SYS_READ: u64 = 0;
const SYS_WRITE: u64 = 1;
const SYS_PREAD64: u64 = 17;
const SYS_PWRITE64: u64 = 18;
const SYS_ARCH_PRCTL: u64 = 158;
const SYS_CLOCK_GETTIME: u64 = 228;
const SYS_EXIT_GROUP: u64 = 231;
const SYS_EPOLL_PWAIT: u64 = 281;
const SYS_TIMERFD_SETTIME: u64 = 286;
const ARCH_SET_FS: u64 = 0x1002;
const TFD_TIMER_ABSTIME: u64 = 1;
const EINTR: i64 = -4;
const NANOSECONDS: u64 = 1_000_000_000;

/// What the tender tells a guest at its start.
#[repr(C)]
pub struct BootInfo {
    /// Guest memory ends here, in bytes.
    pub memory_size: u64,
    /// First page after the image.
    pub kernel_end: u64,
    /// Address of the command line, ended by NUL.
    pub command_line: *const u8,
    /// Address of the manifest with the attached devices filled in.
    pub manifest: *const u8,
    /// The epoll set with the timer and the network devices.
    pub epoll: i32,
    /// The timer.
    pub timer: i32,
}

#[repr(C)]
#[derive(Default)]
struct TimeSpec {
    seconds: u64,
    nanoseconds: u64,
}

#[repr(C)]
#[derive(Default)]
struct TimerSpec {
    interval: TimeSpec,
    value: TimeSpec,
}

/// `struct epoll_event`: packed on x86-64.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub struct Event {
    /// Bits such as EPOLLIN.
    pub events: u32,
    /// What the tender registered: the manifest index of a device, or the timer's mark.
    pub data: u64,
}

/// One system call with up to six arguments.
///
/// # Safety
///
/// The caller answers for what the system call does with the memory its arguments point to.
pub unsafe fn call(number: u64, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: the kernel clobbers rcx and r11 only; memory it may touch is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") number.cast_signed() => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A descriptor as an argument, zero-extended: the filter compares all 64 bits.
fn descriptor(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

/// Writes bytes to the console. Short writes are carried on; an error loses the rest, as Solo5 does.
pub fn write_all(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = write(fd, bytes);
        match usize::try_from(written).ok().and_then(|count| bytes.get(count..)) {
            Some(rest) if written > 0 => bytes = rest,
            _ if written == EINTR => {}
            _ => return,
        }
    }
}

/// `write`: the number of bytes, or an error below 0.
pub fn write(fd: i32, bytes: &[u8]) -> i64 {
    // SAFETY: the kernel reads `bytes`, which is valid for its length.
    unsafe { call(SYS_WRITE, [descriptor(fd), bytes.as_ptr() as u64, bytes.len() as u64, 0, 0, 0]) }
}

/// `read`: the number of bytes, or an error below 0.
pub fn read(fd: i32, buffer: &mut [u8]) -> i64 {
    // SAFETY: the kernel writes to `buffer`, which is valid for its length.
    unsafe { call(SYS_READ, [descriptor(fd), buffer.as_mut_ptr() as u64, buffer.len() as u64, 0, 0, 0]) }
}

/// `pread64`: the number of bytes, or an error below 0.
pub fn pread(fd: i32, buffer: &mut [u8], offset: u64) -> i64 {
    // SAFETY: the kernel writes to `buffer`, which is valid for its length.
    unsafe {
        call(SYS_PREAD64, [descriptor(fd), buffer.as_mut_ptr() as u64, buffer.len() as u64, offset, 0, 0])
    }
}

/// `pwrite64`: the number of bytes, or an error below 0.
pub fn pwrite(fd: i32, bytes: &[u8], offset: u64) -> i64 {
    // SAFETY: the kernel reads `bytes`, which is valid for its length.
    unsafe { call(SYS_PWRITE64, [descriptor(fd), bytes.as_ptr() as u64, bytes.len() as u64, offset, 0, 0]) }
}

/// Ends the guest.
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: exit_group touches no memory.
        unsafe { call(SYS_EXIT_GROUP, [u64::from(status), 0, 0, 0, 0, 0]) };
    }
}

/// A clock in nanoseconds.
#[must_use]
pub fn clock(id: u64) -> u64 {
    let mut time = TimeSpec::default();
    // SAFETY: the kernel writes one TimeSpec.
    unsafe { call(SYS_CLOCK_GETTIME, [id, &raw mut time as u64, 0, 0, 0, 0]) };
    time.seconds * NANOSECONDS + time.nanoseconds
}

/// Sets where thread-local storage is.
///
/// # Safety
///
/// Nothing may use thread-local storage at its former place afterwards.
pub unsafe fn set_tls_base(base: u64) {
    // SAFETY: the caller's promise.
    unsafe { call(SYS_ARCH_PRCTL, [ARCH_SET_FS, base, 0, 0, 0, 0]) };
}

/// Arms the timer for a moment of the monotonic clock, in nanoseconds. A moment past fires at once.
pub fn arm(timer: i32, deadline: u64) {
    // All zero would disarm the timer; the lowest bit of the nanoseconds keeps it from that.
    let value = TimeSpec { seconds: deadline / NANOSECONDS, nanoseconds: (deadline % NANOSECONDS) | 1 };
    let spec = TimerSpec { interval: TimeSpec::default(), value };
    // SAFETY: the kernel reads one TimerSpec.
    unsafe {
        call(SYS_TIMERFD_SETTIME, [descriptor(timer), TFD_TIMER_ABSTIME, &raw const spec as u64, 0, 0, 0])
    };
}

/// Waits until something in the epoll set is ready; the events that are.
pub fn wait(epoll: i32, events: &mut [Event]) -> &[Event] {
    loop {
        let (start, room) = (events.as_mut_ptr() as u64, events.len() as u64);
        // SAFETY: the kernel writes at most `room` events to `events`. -1 waits without limit.
        let count = unsafe { call(SYS_EPOLL_PWAIT, [descriptor(epoll), start, room, u64::MAX, 0, 0]) };
        if count != EINTR {
            let count = usize::try_from(count).unwrap_or(0).min(events.len());
            return events.get(..count).unwrap_or(&[]);
        }
    }
}
