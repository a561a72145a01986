//! The start of a guest: boot information, command line, yield.

use core::slice;

use crate::sys::{self, BootInfo, Event};

/// Longest command line a tender passes, without its NUL.
const COMMAND_LINE_BYTES: usize = 8191;
/// One event for each of the 63 devices a manifest may name, and the timer.
const EVENTS: usize = 64;
/// What the tender registers for the timer in place of a manifest index.
const TIMER: u64 = 0xffff_fffe;

/// A running guest.
pub struct Guest {
    info: &'static BootInfo,
    command_line: &'static [u8],
}

/// Devices that became ready: bit N is manifest entry N.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ready(pub u64);

impl Guest {
    /// Takes the boot information and puts thread-local storage out of reach, as Solo5's start does.
    ///
    /// # Safety
    ///
    /// `info` is what the tender passed to the entry point.
    pub unsafe fn start(info: *const BootInfo) -> Self {
        // SAFETY: guests use no thread-local storage of the tender's.
        unsafe { sys::set_tls_base(0) };
        // SAFETY: the tender wrote the boot information there, for as long as the guest runs.
        let info = unsafe { &*info };
        let mut length = 0;
        // SAFETY: the command line is ended by NUL within its 8192 bytes.
        while length < COMMAND_LINE_BYTES && unsafe { info.command_line.add(length).read() } != 0 {
            length += 1;
        }
        // SAFETY: these bytes were read above.
        let command_line = unsafe { slice::from_raw_parts(info.command_line, length) };
        Self { info, command_line }
    }

    /// What the tender said at the start.
    #[must_use]
    pub fn info(&self) -> &BootInfo {
        self.info
    }

    /// The words of the command line. A space within an argument is not told from one between two.
    #[must_use]
    pub fn arguments(&self) -> Arguments {
        Arguments { rest: self.command_line }
    }

    /// What follows `name` in the first word that begins with it: `value(b"--ms=")`.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&'static [u8]> {
        self.arguments().find_map(|word| word.strip_prefix(name))
    }

    /// A decimal number after `name`; `None` when it is missing or not a number.
    #[must_use]
    pub fn number(&self, name: &[u8]) -> Option<u64> {
        core::str::from_utf8(self.value(name)?).ok()?.parse().ok()
    }

    /// Sleeps until a moment of the monotonic clock in nanoseconds or until a device is ready.
    #[must_use]
    pub fn wait_until(&self, deadline: u64) -> Ready {
        let mut events = [Event::default(); EVENTS];
        sys::arm(self.info.timer, deadline);
        let mut ready = 0;
        for event in sys::wait(self.info.epoll, &mut events) {
            let index = event.data;
            if index != TIMER {
                ready |= 1_u64.wrapping_shl(u32::try_from(index).unwrap_or(0));
            }
        }
        Ready(ready)
    }
}

/// The words of the command line.
pub struct Arguments {
    rest: &'static [u8],
}

impl Iterator for Arguments {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.iter().position(|byte| *byte != b' ')?;
        let rest = self.rest.get(start..)?;
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.rest = rest;
        Some(word)
    }
}
