//! Why the tender cannot run a guest. Each error is one line.

use alloc::string::String;
use core::error::Error;
use core::fmt;

use albatross_spt::Quoted;
use albatross_spt::bootinfo::CommandLineTooLong;
use albatross_spt::devices::DeviceError;
use albatross_spt::errno::Errno;
use albatross_spt::image::ImageError;
use albatross_spt::options::{Host, OptionError};

/// Why the tender gives up.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum TenderError<'a> {
    /// The command line is wrong.
    Options(OptionError<'a>),
    /// The guest's arguments are too long.
    CommandLine(CommandLineTooLong),
    /// The image cannot be read or is refused.
    Image { image: Host<&'a [u8]>, source: ImageError },
    /// The devices do not fit the image.
    Devices(DeviceError),
    /// A device cannot be attached.
    Attach { name: String, source: AttachError },
    /// Guest memory cannot be made.
    Memory(MemoryError),
    /// Another system call failed.
    System { doing: &'static str, source: Errno },
    /// The process makes all that is readable executable.
    ReadImpliesExec,
}

/// Why a device cannot be attached.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum AttachError {
    /// A system call failed.
    System { doing: &'static str, source: Errno },
    /// The descriptor is not open for reading and writing.
    OneWay,
    /// The interface is not up.
    Down,
    /// The descriptor or interface is not a tap without packet information.
    NotTap,
    /// The interface's MTU does not fit.
    Mtu { found: i32 },
    /// Neither a file nor a block device.
    NotFile,
    /// The file is not a multiple of the sector size, or empty.
    Size { capacity: u64, sector_size: u16 },
}

/// Why guest memory cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum MemoryError {
    /// The kernel refuses.
    Map { size: u64, source: Errno },
    /// Something else is mapped there already.
    Occupied { size: u64 },
    /// A place is outside guest memory.
    Outside { address: u64 },
    /// A segment cannot be protected.
    Protect { address: u64, source: Errno },
}

/// Adds to the error of a system call what was being done.
pub(crate) trait When<T> {
    fn when(self, doing: &'static str) -> Result<T, TenderError<'static>>;
}

impl<T> When<T> for Result<T, Errno> {
    fn when(self, doing: &'static str) -> Result<T, TenderError<'static>> {
        self.map_err(|source| TenderError::System { doing, source })
    }
}

impl<'a> From<OptionError<'a>> for TenderError<'a> {
    fn from(error: OptionError<'a>) -> Self {
        Self::Options(error)
    }
}

impl From<CommandLineTooLong> for TenderError<'_> {
    fn from(error: CommandLineTooLong) -> Self {
        Self::CommandLine(error)
    }
}

impl From<DeviceError> for TenderError<'_> {
    fn from(error: DeviceError) -> Self {
        Self::Devices(error)
    }
}

impl From<MemoryError> for TenderError<'_> {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for TenderError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(error) => error.fmt(f),
            Self::CommandLine(error) => error.fmt(f),
            Self::Image { image: Host::Named(path), source } => write!(f, "{}: {source}", Quoted(path)),
            Self::Image { image: Host::Open(number), source } => write!(f, "KERNEL @{number}: {source}"),
            Self::Devices(error) => error.fmt(f),
            Self::Attach { name, source } => write!(f, "could not attach device '{name}': {source}"),
            Self::Memory(error) => error.fmt(f),
            Self::System { doing, source } => write!(f, "{doing}: {source}"),
            Self::ReadImpliesExec => {
                f.write_str("the process has the personality READ_IMPLIES_EXEC, which makes data executable")
            }
        }
    }
}

impl Error for TenderError<'_> {}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { doing, source } => write!(f, "{doing}: {source}"),
            Self::OneWay => f.write_str("using the descriptor: not open for reading and writing"),
            Self::Down => f.write_str("the interface is not up"),
            Self::NotTap => f.write_str("not a tap without packet information"),
            Self::Mtu { found } => write!(f, "an MTU of {found} does not fit 16 bits"),
            Self::NotFile => f.write_str("neither a regular file nor a block device"),
            // In the words of Solo5's tender, which its tests and others look for.
            Self::Size { capacity, sector_size } if capacity < &u64::from(*sector_size) => write!(
                f,
                "Backing storage size must be at least 1 block ({sector_size} bytes) in size, and is {capacity}"
            ),
            Self::Size { capacity, sector_size } => write!(
                f,
                "Backing storage size must be block aligned ({sector_size} bytes), and is {capacity}"
            ),
        }
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map { size, source } if *source == Errno::EPERM => {
                write!(
                    f,
                    "no guest memory of {size} bytes: {source} (vm.mmap_min_addr has to be at most 65536)"
                )
            }
            Self::Map { size, source } => write!(f, "no guest memory of {size} bytes: {source}"),
            Self::Occupied { size } => {
                write!(
                    f,
                    "no guest memory of {size} bytes: the tender itself is in the way, use a smaller --mem"
                )
            }
            Self::Outside { address } => write!(f, "address {address:#x} is outside guest memory"),
            Self::Protect { address, source } => {
                write!(f, "cannot protect the segment at {address:#x}: {source}")
            }
        }
    }
}
