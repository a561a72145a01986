//! Errors of system calls.

use core::error::Error;
use core::fmt;

/// The number of an error, as the kernel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Not allowed.
    pub const EPERM: Self = Self(1);
    /// Not an open descriptor.
    pub const EBADF: Self = Self(9);
    /// A signal came first.
    pub const EINTR: Self = Self(4);
    /// No memory.
    pub const ENOMEM: Self = Self(12);
    /// It is there already.
    pub const EEXIST: Self = Self(17);
    /// An argument is wrong.
    pub const EINVAL: Self = Self(22);
    /// Too long for a path.
    pub const ENAMETOOLONG: Self = Self(36);

    /// What the C library says, for the errors that the tender's calls may have.
    fn text(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "Operation not permitted",
            2 => "No such file or directory",
            4 => "Interrupted system call",
            5 => "Input/output error",
            6 => "No such device or address",
            9 => "Bad file descriptor",
            11 => "Resource temporarily unavailable",
            12 => "Cannot allocate memory",
            13 => "Permission denied",
            14 => "Bad address",
            16 => "Device or resource busy",
            17 => "File exists",
            19 => "No such device",
            20 => "Not a directory",
            21 => "Is a directory",
            22 => "Invalid argument",
            23 => "Too many open files in system",
            24 => "Too many open files",
            25 => "Inappropriate ioctl for device",
            26 => "Text file busy",
            27 => "File too large",
            28 => "No space left on device",
            29 => "Illegal seek",
            30 => "Read-only file system",
            36 => "File name too long",
            38 => "Function not implemented",
            40 => "Too many levels of symbolic links",
            75 => "Value too large for defined data type",
            77 => "File descriptor in bad state",
            95 => "Operation not supported",
            97 => "Address family not supported by protocol",
            100 => "Network is down",
            105 => "No buffer space available",
            116 => "Stale file handle",
            122 => "Disk quota exceeded",
            123 => "No medium found",
            _ => return None,
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        match self.text() {
            Some(text) => write!(f, "{text} (os error {number})"),
            None => write!(f, "os error {number}"),
        }
    }
}

impl Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_c_library() {
        let mut known = 0;
        for number in 0..=200 {
            let ours = Errno(number);
            if ours.text().is_some() {
                assert_eq!(ours.to_string(), std::io::Error::from_raw_os_error(number).to_string());
                known += 1;
            }
        }
        assert_eq!(known, 36);
        assert_eq!(Errno(131).to_string(), "os error 131");
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (ours, theirs) in [
            (Errno::EPERM, libc::EPERM),
            (Errno::EINTR, libc::EINTR),
            (Errno::EBADF, libc::EBADF),
            (Errno::ENOMEM, libc::ENOMEM),
            (Errno::EEXIST, libc::EEXIST),
            (Errno::EINVAL, libc::EINVAL),
            (Errno::ENAMETOOLONG, libc::ENAMETOOLONG),
        ] {
            assert_eq!(ours, Errno(theirs));
        }
    }
}
