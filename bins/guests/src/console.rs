//! Lines for the console. A line is put together first and written by one system call.

use core::fmt;

use crate::sys;

/// A longer line is written in pieces.
const LINE_BYTES: usize = 512;

/// A buffer in front of the console, written out at each line end, when full, and when dropped.
pub struct Console {
    buffer: [u8; LINE_BYTES],
    used: usize,
}

impl Console {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; LINE_BYTES], used: 0 }
    }

    /// Adds bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.buffer.get_mut(self.used) {
                *place = *byte;
                self.used += 1;
            }
            if *byte == b'\n' || self.used == LINE_BYTES {
                self.flush();
            }
        }
    }

    /// Writes what is waiting.
    pub fn flush(&mut self) {
        sys::write_all(sys::CONSOLE, self.buffer.get(..self.used).unwrap_or_default());
        self.used = 0;
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.flush();
    }
}
