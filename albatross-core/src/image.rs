//! What a Solo5 image says about itself, and how an image travels.
//!
//! [`inspect`] reads the ELF program headers and the two Solo5 notes, and is stricter than the reference
//! tenders: what it accepts, they accept if it fits into the memory, and they read the same from it. It looks at no
//! section header and loads nothing. [`inflate`] and [`deflate`] are the zlib stream (RFC 1950) in which an image is
//! sent; [`digest`] is what it is known by.

use core::convert::Infallible;
use core::fmt;

use albatross_proto::{Arguments, Text};

pub mod elf;
mod intake;
mod note;
mod segment;
#[cfg(test)]
mod tests;
mod zlib;

use elf::ElfError;

pub use intake::{Intake, IntakeError};
pub use note::{MAX_DEVICES, MAX_NAME, NoteError};
pub use segment::{LOWEST_ADDRESS, SegmentError};
pub use zlib::{Deflating, InflateError, MAX_LEVEL, deflate, inflate};

/// The octets of a note that are looked at: the longest manifest, of [`MAX_DEVICES`] devices, has less than
/// 7 KiB.
const MAX_NOTE: usize = 8 * 1024;

/// What a Solo5 image says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it runs on.
    pub target: Target,
    /// The version of the interface to that: a tender runs exactly its own.
    pub abi_version: u32,
    /// The devices it must be given, in their order. The index of a device plus 1 is its handle.
    pub devices: Vec<Device>,
}

/// What an image is built to run on. Only [`Hvt`](Self::Hvt) and [`Spt`](Self::Spt) have a tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Hardware virtualisation by KVM.
    Hvt,
    /// A process that may do few system calls.
    Spt,
    /// A virtual machine with virtio devices.
    Virtio,
    /// The Muen separation kernel.
    Muen,
    /// Genode.
    Genode,
    /// Xen.
    Xen,
}

/// A device of an image's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// 1 to [`MAX_NAME`] ASCII letters and digits, unlike that of any other device of the image.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// A block device.
    Block,
    /// A network device.
    Net,
}

/// Why these bytes are no Solo5 image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// It is no ELF executable that could be loaded.
    Elf(ElfError),
    /// A note is not as it must be.
    Note {
        /// The index of its program header.
        header: usize,
        /// What is wrong.
        error: NoteError,
    },
    /// There is no note that says what it runs on.
    NoAbi,
    /// There is no note that lists its devices.
    NoManifest,
    /// It begins below [`LOWEST_ADDRESS`].
    Entry {
        /// Where.
        entry: u64,
    },
    /// No tender loads this segment.
    Segment {
        /// The index of its program header.
        header: usize,
        /// What is wrong.
        error: SegmentError,
    },
}

/// The configured devices are not those of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicesError {
    /// The devices of the image.
    pub devices: Vec<Device>,
}

/// Reads what a Solo5 image says about itself.
///
/// # Errors
/// [`ImageError`] on everything that is not a well-formed image, including what a reference tender would
/// read over: a second Solo5 note of the same kind, names that are no names, a device kind that nobody
/// can attach, leftovers in fields that are the tender's. For [`Target::Hvt`] and [`Target::Spt`] also what no tender would
/// load, in whatever memory.
pub fn inspect(image: &[u8]) -> Result<Image, ImageError> {
    let length = u64::try_from(image.len()).unwrap_or(u64::MAX);
    let read = |offset: u64, octets| {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = image.get(begin..).and_then(|rest| rest.get(..octets));
        Ok::<_, Infallible>(part.unwrap_or_default().to_vec())
    };
    match inspect_with(length, read) {
        Ok(result) => result,
        Err(never) => match never {},
    }
}

/// The same for an image of `length` octets that is not in memory: `read` is given an offset and a length
/// that lie within it, and returns those octets.
///
/// # Errors
/// The outer ones are those of `read`, the inner ones [`ImageError`].
pub fn inspect_with<E>(
    length: u64,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<Result<Image, ImageError>, E> {
    let part = |offset: u64, octets: u64| offset.checked_add(octets).is_some_and(|end| end <= length);
    let begin = usize::try_from(length).unwrap_or(usize::MAX).min(elf::HEADER_LENGTH);
    let header = match elf::Header::parse(&read(0, begin)?) {
        Ok(header) => header,
        Err(error) => return Ok(Err(ImageError::Elf(error))),
    };
    let octets = usize::from(header.table_entries) * elf::PROGRAM_HEADER_LENGTH;
    if !part(header.table_offset, u64::try_from(octets).unwrap_or(u64::MAX)) {
        return Ok(Err(ImageError::Elf(ElfError::Table)));
    }
    let table = read(header.table_offset, octets)?;
    let (entries, _) = table.as_chunks::<{ elf::PROGRAM_HEADER_LENGTH }>();
    let mut notes = note::Notes::default();
    let program_headers = || entries.iter().map(elf::ProgramHeader::parse).enumerate();
    for (index, segment) in program_headers() {
        if segment.kind != elf::PT_NOTE {
            continue;
        }
        let begin = if part(segment.file_offset, segment.file_size) {
            let octets = usize::try_from(segment.file_size).unwrap_or(MAX_NOTE).min(MAX_NOTE);
            // There can be many headers, and only two notes that are looked into.
            let head = read(segment.file_offset, octets.min(note::DESCRIPTOR))?;
            Some(if note::is_ours(&head) { read(segment.file_offset, octets)? } else { head })
        } else {
            None
        };
        if let Err(error) = notes.read(begin.as_deref(), &segment) {
            return Ok(Err(ImageError::Note { header: index, error }));
        }
    }
    Ok(notes.image().and_then(|image| {
        if matches!(image.target, Target::Hvt | Target::Spt) {
            check_segments(header.entry, length, program_headers())?;
        }
        Ok(image)
    }))
}

fn check_segments(
    entry: u64,
    length: u64,
    program_headers: impl Iterator<Item = (usize, elf::ProgramHeader)>,
) -> Result<(), ImageError> {
    if entry < LOWEST_ADDRESS {
        return Err(ImageError::Entry { entry });
    }
    let mut segments = segment::Segments::of_file(length);
    for (header, segment) in program_headers {
        segments.add(&segment).map_err(|error| ImageError::Segment { header, error })?;
    }
    Ok(())
}

/// Whether the configuration names exactly the devices of the image, each one once.
///
/// # Errors
/// [`DevicesError`], which lists the devices of the image.
pub fn devices_match(image: &Image, arguments: &Arguments) -> Result<(), DevicesError> {
    let blocks = arguments.block_devices.iter().map(|device| &device.name);
    let nets = arguments.net_devices.iter().map(|device| &device.name);
    if image.has_exactly(DeviceKind::Block, blocks) && image.has_exactly(DeviceKind::Net, nets) {
        Ok(())
    } else {
        Err(DevicesError { devices: image.devices.clone() })
    }
}

/// The SHA-256 digest (FIPS 180-4) of an uncompressed image.
#[must_use]
pub fn digest(image: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, image).as_ref());
    octets
}

impl Image {
    /// The names of the devices of this kind, in their order.
    pub fn names(&self, kind: DeviceKind) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(move |device| device.kind == kind).map(|device| device.name.as_str())
    }

    fn has_exactly<'a>(&self, kind: DeviceKind, configured: impl Iterator<Item = &'a Text>) -> bool {
        let mut expected: Vec<&[u8]> = self.names(kind).map(str::as_bytes).collect();
        let mut configured: Vec<&[u8]> = configured.map(Text::as_bytes).collect();
        expected.sort_unstable();
        configured.sort_unstable();
        expected == configured
    }
}

impl Target {
    /// The name, as in that of a tender: `hvt`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hvt => "hvt",
            Self::Spt => "spt",
            Self::Virtio => "virtio",
            Self::Muen => "muen",
            Self::Genode => "genode",
            Self::Xen => "xen",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(error) => write!(f, "not a Solo5 image: {error}"),
            Self::Note { header, error } => {
                write!(f, "not a Solo5 image: the note of program header {header}: {error}")
            }
            Self::NoAbi => f.write_str("not a Solo5 image: it has no Solo5 ABI note"),
            Self::NoManifest => f.write_str("not a Solo5 image: it has no Solo5 manifest note"),
            Self::Entry { entry } => {
                write!(f, "not a Solo5 image: its entry point {entry:#x} is below {LOWEST_ADDRESS:#x}")
            }
            Self::Segment { header, error } => {
                write!(f, "not a Solo5 image: the segment of program header {header} {error}")
            }
        }
    }
}

impl core::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Elf(error) => Some(error),
            Self::Note { error, .. } => Some(error),
            Self::Segment { error, .. } => Some(error),
            Self::NoAbi | Self::NoManifest | Self::Entry { .. } => None,
        }
    }
}

impl fmt::Display for DevicesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configured devices are not those of the image, which has ")?;
        self.write_kind(f, DeviceKind::Block, "block devices")?;
        f.write_str(" and ")?;
        self.write_kind(f, DeviceKind::Net, "network devices")?;
        f.write_str(": name each of them once")
    }
}

impl core::error::Error for DevicesError {}

impl DevicesError {
    fn write_kind(&self, f: &mut fmt::Formatter<'_>, kind: DeviceKind, noun: &str) -> fmt::Result {
        let mut names = self.devices.iter().filter(|device| device.kind == kind).map(|device| &device.name);
        match names.next() {
            None => write!(f, "no {noun}"),
            Some(first) => {
                write!(f, "{noun} {first}")?;
                names.try_for_each(|name| write!(f, ", {name}"))
            }
        }
    }
}
