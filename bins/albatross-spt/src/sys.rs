//! System calls, each as safe as it can be made. Nothing else in the tender speaks to the kernel, but for the last
//! instructions ([`crate::leave`]).

use alloc::vec::Vec;
use core::arch::asm;
use core::ffi::c_void;
use core::mem;
use core::ptr;

use albatross_spt::errno::Errno;
use albatross_spt::linux::{self, call};

/// The longest path, with its NUL: PATH_MAX of Linux.
const MAX_PATH: usize = 4096;

/// A descriptor that is closed when it is dropped. Invariant: open, and nobody else's.
#[derive(Debug)]
pub(crate) struct Descriptor(i32);

impl Descriptor {
    /// Takes over an open descriptor, which has no other owner.
    pub(crate) const fn owning(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    pub(crate) const fn number(&self) -> i32 {
        self.0
    }

    /// Leaves it open for good.
    pub(crate) const fn keep(self) {
        mem::forget(self);
    }

    fn made(result: Result<usize, Errno>) -> Result<Self, Errno> {
        result.and_then(|number| i32::try_from(number).map_err(|_| Errno::EBADF)).map(Self)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: takes no pointers. There is nothing to be done where it fails.
        let _ = unsafe { system_call(call::CLOSE, [word(self.0), 0, 0, 0, 0, 0]) };
    }
}

/// What there is at a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    mode: u32,
    /// Bytes of a regular file.
    pub(crate) size: u64,
}

impl Status {
    pub(crate) const fn is_file(&self) -> bool {
        self.mode & linux::S_IFMT == linux::S_IFREG
    }

    pub(crate) const fn is_block_device(&self) -> bool {
        self.mode & linux::S_IFMT == linux::S_IFBLK
    }
}

/// Opens a file, which exec closes.
pub(crate) fn open(path: &[u8], flags: i32) -> Result<Descriptor, Errno> {
    if path.len() >= MAX_PATH {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let mut name: Vec<u8> = Vec::with_capacity(path.len() + 1);
    name.extend_from_slice(path);
    name.push(0);
    let arguments =
        [word(linux::AT_FDCWD), address(name.as_ptr().cast()), word(flags | linux::O_CLOEXEC), 0, 0, 0];
    // SAFETY: the kernel reads the path up to its NUL.
    Descriptor::made(unsafe { system_call(call::OPENAT, arguments) })
}

pub(crate) fn status(descriptor: &Descriptor) -> Result<Status, Errno> {
    /// `struct stat`.
    #[repr(C)]
    struct Stat {
        before_mode: [u64; 3],
        mode: u32,
        before_size: [u32; 5],
        size: i64,
        after_size: [u64; 11],
    }
    const { assert!(size_of::<Stat>() == 144 && mem::offset_of!(Stat, mode) == 24) };
    const { assert!(mem::offset_of!(Stat, size) == 48) };
    let mut stat = Stat { before_mode: [0; 3], mode: 0, before_size: [0; 5], size: 0, after_size: [0; 11] };
    let place = ptr::from_mut(&mut stat).cast();
    // SAFETY: the kernel writes one `struct stat`.
    unsafe { system_call(call::FSTAT, [word(descriptor.0), address(place), 0, 0, 0, 0]) }?;
    Ok(Status { mode: stat.mode, size: u64::try_from(stat.size).unwrap_or(0) })
}

/// Where the last byte ends: the size of a file or block device.
pub(crate) fn end(descriptor: &Descriptor) -> Result<u64, Errno> {
    // SAFETY: takes no pointers.
    let end = unsafe { system_call(call::LSEEK, [word(descriptor.0), 0, word(linux::SEEK_END), 0, 0, 0]) };
    end.map(|end| u64::try_from(end).unwrap_or(u64::MAX))
}

/// Reads up to as many bytes as the buffer has; 0 at the end.
pub(crate) fn read_at(descriptor: &Descriptor, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let offset = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let arguments = [word(descriptor.0), address(buffer.as_mut_ptr().cast()), buffer.len(), offset, 0, 0];
    // SAFETY: the kernel writes into the buffer only.
    unsafe { system_call(call::PREAD64, arguments) }
}

/// Writes to standard error; where that is closed there is nobody to tell.
pub(crate) fn write_error(text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        // SAFETY: the kernel reads the text.
        let written =
            unsafe { system_call(call::WRITE, [2, address(rest.as_ptr().cast()), rest.len(), 0, 0, 0]) };
        match written {
            Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            _ => return,
        }
    }
}

/// Ends the process.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: takes no pointers.
        let _ = unsafe { system_call(call::EXIT_GROUP, [word(status), 0, 0, 0, 0, 0]) };
    }
}

/// Asks or tells about a descriptor by its number, open or not: `F_GETFD`, `F_GETFL`, `F_SETFL`.
pub(crate) fn control(descriptor: i32, command: i32, value: i32) -> Result<i32, Errno> {
    // SAFETY: the commands take no pointers.
    let result = unsafe { system_call(call::FCNTL, [word(descriptor), word(command), word(value), 0, 0, 0]) };
    result.and_then(|flags| i32::try_from(flags).map_err(|_| Errno::EINVAL))
}

/// Closes all descriptors from the first to the last.
pub(crate) fn close_range(first: i32, last: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointers. The descriptors are those of files the tender is done with, or were inherited and belong
    // to nobody here.
    unsafe { system_call(call::CLOSE_RANGE, [word(first), word(last), 0, 0, 0, 0]) }.map(drop)
}

/// A socket for requests about interfaces: of the kind that albatrossd lets tenders make.
pub(crate) fn socket() -> Result<Descriptor, Errno> {
    let kind = linux::SOCK_DGRAM | linux::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    Descriptor::made(unsafe { system_call(call::SOCKET, [word(linux::AF_INET), word(kind), 0, 0, 0, 0]) })
}

/// `struct ifreq`: the name of an interface, and what is asked or said about it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct InterfaceRequest {
    pub(crate) name: [u8; linux::INTERFACE_NAME_BYTES],
    /// Flags or MTU in the first bytes, or a pointer.
    pub(crate) value: [u64; 3],
}

/// A request that reads or writes an [`InterfaceRequest`] and nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    Flags,
    Mtu,
    AttachTap,
    TapName,
}

pub(crate) fn ask(descriptor: &Descriptor, what: About, request: &mut InterfaceRequest) -> Result<(), Errno> {
    let command = match what {
        About::Flags => linux::SIOCGIFFLAGS,
        About::Mtu => linux::SIOCGIFMTU,
        About::AttachTap => linux::TUNSETIFF,
        About::TapName => linux::TUNGETIFF,
    };
    // SAFETY: the kernel reads and writes one `struct ifreq`, and for these commands follows no pointer in it.
    unsafe { ioctl(descriptor, command, request) }
}

/// Sets a value of an interface's driver, such as an offload.
pub(crate) fn set_driver(
    socket: &Descriptor,
    mut request: InterfaceRequest,
    command: u32,
    value: u32,
) -> Result<(), Errno> {
    // `struct ethtool_value`.
    let mut value = [command, value];
    let place = address(value.as_mut_ptr().cast());
    request.value = [u64::try_from(place).map_err(|_| Errno::EINVAL)?, 0, 0];
    // SAFETY: the kernel follows the pointer to a `struct ethtool_value`, which is there.
    unsafe { ioctl(socket, linux::SIOCETHTOOL, &mut request) }
}

/// # Safety
///
/// The command takes a `struct ifreq`, and the pointer in it, if the command follows one, is good.
unsafe fn ioctl(descriptor: &Descriptor, command: u32, request: &mut InterfaceRequest) -> Result<(), Errno> {
    const { assert!(size_of::<InterfaceRequest>() == 40) };
    let arguments = [word(descriptor.0), wide(command), address(ptr::from_mut(request).cast()), 0, 0, 0];
    // SAFETY: by the caller's promise.
    unsafe { system_call(call::IOCTL, arguments) }.map(drop)
}

/// Random bytes; so few are never cut short by a signal.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes into the array only.
    let count = unsafe { system_call(call::GETRANDOM, [address(bytes.as_mut_ptr().cast()), N, 0, 0, 0, 0]) }?;
    if count == N { Ok(bytes) } else { Err(Errno::EINTR) }
}

/// The personality of the process.
pub(crate) fn personality() -> Result<i32, Errno> {
    /// Asks, and changes nothing.
    const ASK: usize = 0xffff_ffff;
    // SAFETY: takes no pointers.
    let persona = unsafe { system_call(call::PERSONALITY, [ASK, 0, 0, 0, 0, 0]) }?;
    i32::try_from(persona).map_err(|_| Errno::EINVAL)
}

/// Maps zeroed memory at an address, unless something is there, or with address 0 anywhere.
pub(crate) fn map(start: usize, length: usize, protection: i32) -> Result<*mut c_void, Errno> {
    let place = if start == 0 { 0 } else { linux::MAP_FIXED_NOREPLACE };
    let flags = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | place;
    let arguments = [start, length, word(protection), word(flags), word(-1), 0];
    // SAFETY: every mapping there is stays as it is; a new one at a place of its own disturbs nothing.
    let mapped = unsafe { system_call(call::MMAP, arguments) }?;
    Ok(ptr::with_exposed_provenance_mut(mapped))
}

/// Changes what may be done with pages.
///
/// # Safety
///
/// Nothing refers to the bytes in them, or what it does with them stays allowed.
pub(crate) unsafe fn protect(start: usize, length: usize, protection: i32) -> Result<(), Errno> {
    // SAFETY: by the caller's promise.
    unsafe { system_call(call::MPROTECT, [start, length, word(protection), 0, 0, 0]) }.map(drop)
}

/// An empty epoll set.
pub(crate) fn epoll() -> Result<Descriptor, Errno> {
    // SAFETY: takes no pointers.
    Descriptor::made(unsafe { system_call(call::EPOLL_CREATE1, [0; 6]) })
}

/// Adds a descriptor to an epoll set: it shows with this mark when it can be read.
pub(crate) fn epoll_add(epoll: &Descriptor, descriptor: i32, mark: u64) -> Result<(), Errno> {
    /// `struct epoll_event`.
    #[repr(C, packed)]
    struct Event {
        events: u32,
        mark: u64,
    }
    const { assert!(size_of::<Event>() == 12) };
    let event = Event { events: linux::EPOLLIN, mark };
    let place = address(ptr::from_ref(&event).cast());
    let arguments = [word(epoll.0), word(linux::EPOLL_CTL_ADD), word(descriptor), place, 0, 0];
    // SAFETY: the kernel reads one `struct epoll_event`.
    unsafe { system_call(call::EPOLL_CTL, arguments) }.map(drop)
}

/// A timer of the monotonic clock, whose reads do not wait.
pub(crate) fn timer() -> Result<Descriptor, Errno> {
    let arguments = [word(linux::CLOCK_MONOTONIC), word(linux::TFD_NONBLOCK), 0, 0, 0, 0];
    // SAFETY: takes no pointers.
    Descriptor::made(unsafe { system_call(call::TIMERFD_CREATE, arguments) })
}

/// Sets the soft and the hard limit of a resource to 0.
pub(crate) fn limit_to_zero(resource: u32) -> Result<(), Errno> {
    let limit = [0_u64; 2];
    let arguments = [0, wide(resource), address(limit.as_ptr().cast()), 0, 0, 0];
    // SAFETY: the kernel reads one `struct rlimit64`.
    unsafe { system_call(call::PRLIMIT64, arguments) }.map(drop)
}

/// Sets an attribute of the process that is a number: `PR_SET_DUMPABLE`, `PR_SET_NO_NEW_PRIVS`.
pub(crate) fn set_attribute(attribute: i32, value: usize) -> Result<(), Errno> {
    // SAFETY: these attributes take no pointers.
    unsafe { system_call(call::PRCTL, [word(attribute), value, 0, 0, 0, 0]) }.map(drop)
}

/// Fails where a filter could not end the process.
pub(crate) fn can_filter() -> Result<(), Errno> {
    let action = albatross_spt::filter::KILL_PROCESS;
    let arguments =
        [wide(linux::SECCOMP_GET_ACTION_AVAIL), 0, address(ptr::from_ref(&action).cast()), 0, 0, 0];
    // SAFETY: the kernel reads the number of the action.
    unsafe { system_call(call::SECCOMP, arguments) }.map(drop)
}

/// Forbids the process everything that Landlock can forbid; nothing where the kernel has no Landlock.
pub(crate) fn forbid_all() -> Result<(), Errno> {
    let ask = [0, 0, linux::LANDLOCK_CREATE_RULESET_VERSION, 0, 0, 0];
    // SAFETY: takes no pointers when it is asked for its version.
    let Ok(version @ 1..) = (unsafe { system_call(call::LANDLOCK_CREATE_RULESET, ask) }) else {
        return Ok(());
    };
    let known = linux::LANDLOCK.get(version - 1).or(linux::LANDLOCK.last());
    // `struct landlock_ruleset_attr`; an earlier kernel takes a longer one if the rest is zero.
    let handled: [u64; 3] = known.copied().unwrap_or_default();
    let arguments = [address(handled.as_ptr().cast()), size_of_val(&handled), 0, 0, 0, 0];
    // SAFETY: the kernel reads the structure, of the length that is given.
    let rules = Descriptor::made(unsafe { system_call(call::LANDLOCK_CREATE_RULESET, arguments) })?;
    // SAFETY: takes no pointers.
    unsafe { system_call(call::LANDLOCK_RESTRICT_SELF, [word(rules.0), 0, 0, 0, 0, 0]) }.map(drop)
}

/// An `int` of the kernel's interface, in a register.
const fn word(value: i32) -> usize {
    wide(value.cast_unsigned())
}

#[allow(clippy::as_conversions, reason = "registers have 64 bits, and From is not for constants")]
const fn wide(value: u32) -> usize {
    value as usize
}

fn address(pointer: *const c_void) -> usize {
    pointer.expose_provenance()
}

/// Makes a system call.
///
/// # Safety
///
/// The call may do with memory and descriptors only what the caller owns or may have done to it.
unsafe fn system_call(number: u64, arguments: [usize; 6]) -> Result<usize, Errno> {
    /// Results from here up are errors.
    const ERRORS: usize = usize::MAX - 4094;
    let [a, b, c, d, e, f] = arguments;
    let result: usize;
    // SAFETY: the kernel changes no registers but these; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result < ERRORS {
        return Ok(result);
    }
    Err(Errno(i32::try_from(result.wrapping_neg()).unwrap_or(i32::MAX)))
}
