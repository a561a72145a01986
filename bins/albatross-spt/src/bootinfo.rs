//! What a guest finds in its memory at the start: boot information, its copy of the manifest, its command line.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

/// Where guest memory begins. Nothing is mapped below.
pub const MEMORY_START: u64 = 0x1_0000;
/// Where the boot information is; the guest's entry point gets this address.
pub const BOOT_INFO_ADDRESS: u64 = 0x1_1000;
/// Longest command line in bytes, without its NUL.
pub const MAX_COMMAND_LINE_BYTES: usize = 8191;

const BOOT_INFO_BYTES: u64 = 40;

/// The boot information and what it points to.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo<'a> {
    /// Size of guest memory in bytes.
    pub memory_size: u64,
    /// End of the loaded image.
    pub kernel_end: u64,
    /// The epoll set.
    pub epoll: i32,
    /// The timer.
    pub timer: i32,
    /// The manifest, with the attached devices filled in.
    pub manifest: &'a [u8],
    /// The command line, at most [`MAX_COMMAND_LINE_BYTES`].
    pub command_line: &'a [u8],
}

impl BootInfo<'_> {
    /// The bytes to put at [`BOOT_INFO_ADDRESS`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let manifest = BOOT_INFO_ADDRESS + BOOT_INFO_BYTES;
        let command_line = manifest.saturating_add(self.manifest.len().try_into().unwrap_or(u64::MAX));
        let mut bytes = Vec::new();
        for word in [self.memory_size, self.kernel_end, command_line, manifest] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.epoll.to_le_bytes());
        bytes.extend_from_slice(&self.timer.to_le_bytes());
        bytes.extend_from_slice(self.manifest);
        bytes.extend_from_slice(self.command_line);
        bytes.push(0);
        bytes
    }
}

/// Joins the guest's arguments with single spaces. Nothing is quoted.
///
/// # Errors
///
/// Fails when the result is longer than [`MAX_COMMAND_LINE_BYTES`].
pub fn command_line(arguments: &[&[u8]]) -> Result<Vec<u8>, CommandLineTooLong> {
    let line = arguments.join(&b' ');
    if line.len() > MAX_COMMAND_LINE_BYTES {
        return Err(CommandLineTooLong { length: line.len() });
    }
    Ok(line)
}

/// The guest's arguments do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLineTooLong {
    /// Their length, joined, in bytes.
    pub length: usize,
}

impl fmt::Display for CommandLineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest command line too long ({} characters, max={MAX_COMMAND_LINE_BYTES})", self.length)
    }
}

impl Error for CommandLineTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let info = BootInfo {
            memory_size: 0x20_0000,
            kernel_end: 0x10_2000,
            epoll: 3,
            timer: 4,
            manifest: &[7; 112],
            command_line: b"a b",
        };
        let bytes = info.encode();
        assert_eq!(bytes[0..8], 0x20_0000_u64.to_le_bytes());
        assert_eq!(bytes[8..16], 0x10_2000_u64.to_le_bytes());
        assert_eq!(bytes[16..24], (0x1_1028_u64 + 112).to_le_bytes());
        assert_eq!(bytes[24..32], 0x1_1028_u64.to_le_bytes());
        assert_eq!(bytes[32..40], [3, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(bytes[40..152], [7; 112]);
        assert_eq!(bytes[152..], *b"a b\0");
    }

    #[test]
    fn joins_with_single_spaces() {
        assert_eq!(command_line(&[]).unwrap(), b"");
        assert_eq!(command_line(&[b"a", b"", b"b c"]).unwrap(), b"a  b c");
    }

    #[test]
    fn the_longest_command_line() {
        assert_eq!(command_line(&["x".repeat(8191).as_bytes()]).unwrap().len(), 8191);
        let error = command_line(&["x".repeat(8190).as_bytes(), b"y"]).unwrap_err();
        assert_eq!(error, CommandLineTooLong { length: 8192 });
    }
}
