//! The two Solo5 notes: what an image runs on, and which devices it must be given.
//!
//! Of each segment of notes only the first note counts, as for the tenders. All numbers are
//! little-endian.
//!
//! | offset in the note | ABI note | manifest note |
//! |---|---|---|
//! | 0 | length of the name, 6 | the same |
//! | 4 | length of the descriptor, 16 | 12 + 104 times the number of entries |
//! | 8 | kind, `ABI1` | `MFT1` |
//! | 12 | `Solo5`, three zeros | the same |
//! | 20 | target, version, two reserved words | one word of padding |
//! | 24 | | version 1, number of entries, the entries |

use core::fmt;
use std::collections::BTreeSet;

use super::elf::{ProgramHeader, u32_at};
use super::{Device, DeviceKind, Image, ImageError, Target};

/// The most devices of an image: one bit each in the 64-bit ready set, less the reserved first.
pub const MAX_DEVICES: usize = 63;

/// The most characters in the name of a device: a field of 68 octets with a zero at its end.
pub const MAX_NAME: usize = 67;

/// A segment of notes shorter than this is broken: lengths and kind of a note.
const SHORTEST_SEGMENT: u64 = 12;
/// Where the descriptor begins in a note that has the name of Solo5.
pub(super) const DESCRIPTOR: usize = 20;
const NAME: &[u8; 6] = b"Solo5\0";
const ABI: u32 = u32::from_le_bytes(*b"ABI1");
const MANIFEST: u32 = u32::from_le_bytes(*b"MFT1");

const ABI_LENGTH: usize = 16;
/// Padding, so that the manifest's 64-bit fields are aligned in memory.
const MANIFEST_PADDING: usize = 4;
const MANIFEST_HEADER: usize = 8;
const MANIFEST_VERSION: u32 = 1;
const ENTRY_LENGTH: usize = 104;

const KIND_BLOCK: u32 = 1;
const KIND_NET: u32 = 2;
const KIND_RESERVED: u32 = 0x4000_0000;

/// What is wrong with a note. Entries are counted from 0, the reserved first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// The segment or the note is not wholly in the file, or the note not wholly in the segment.
    Truncated,
    /// There was an ABI note before.
    SecondAbi,
    /// There was a manifest note before.
    SecondManifest,
    /// The descriptor has a length that this note cannot have.
    Length {
        /// The length that it has.
        length: u32,
    },
    /// The reserved words of the ABI note are not zero.
    AbiReserved,
    /// The target is unknown.
    Target {
        /// The number given.
        target: u32,
    },
    /// The version of the manifest is not 1.
    ManifestVersion {
        /// The version given.
        version: u32,
    },
    /// The number of entries is 0, more than 64, or does not go with the length.
    Entries {
        /// The number given.
        entries: u32,
    },
    /// The first entry is not the reserved one.
    FirstEntry,
    /// A name is not 1 to [`MAX_NAME`] letters and digits.
    DeviceName {
        /// The entry.
        entry: usize,
    },
    /// A device is neither a block nor a network device.
    DeviceKind {
        /// The entry.
        entry: usize,
        /// The kind given.
        kind: u32,
    },
    /// Fields that the tender fills in are not zero.
    NotBlank {
        /// The entry.
        entry: usize,
    },
    /// Two devices have the same name.
    SameName {
        /// The name.
        name: String,
    },
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) abi: Option<(Target, u32)>,
    pub(super) devices: Option<Vec<Device>>,
}

impl Notes {
    /// Reads the first note of a segment, of which `begin` are the first octets; one that is not of Solo5
    /// is passed over. No `begin`: the segment is not wholly in the file.
    pub(super) fn read(&mut self, begin: Option<&[u8]>, segment: &ProgramHeader) -> Result<(), NoteError> {
        if segment.file_size < SHORTEST_SEGMENT {
            return Err(NoteError::Truncated);
        }
        let segment = begin.ok_or(NoteError::Truncated)?;
        let Some((length, kind)) = solo5_note(segment) else { return Ok(()) };
        let descriptor = usize::try_from(length)
            .ok()
            .and_then(|length| segment.get(DESCRIPTOR..)?.get(..length))
            .ok_or(NoteError::Truncated);
        match kind {
            ABI if self.abi.is_some() => Err(NoteError::SecondAbi),
            MANIFEST if self.devices.is_some() => Err(NoteError::SecondManifest),
            ABI => {
                self.abi = Some(read_abi(descriptor?)?);
                Ok(())
            }
            MANIFEST => {
                self.devices = Some(read_manifest(descriptor?)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What all notes together say.
    pub(super) fn image(self) -> Result<Image, ImageError> {
        let (target, abi_version) = self.abi.ok_or(ImageError::NoAbi)?;
        let devices = self.devices.ok_or(ImageError::NoManifest)?;
        Ok(Image { target, abi_version, devices })
    }
}

/// Whether a segment that begins so is a note that says something here.
pub(super) fn is_ours(head: &[u8]) -> bool {
    matches!(solo5_note(head), Some((_, ABI | MANIFEST)))
}

/// The length of the descriptor and the kind, if this is a note of Solo5.
fn solo5_note(segment: &[u8]) -> Option<(u32, u32)> {
    let header = segment.get(..DESCRIPTOR)?;
    let named = u32_at(header, 0)? == 6 && header.get(12..18)? == NAME;
    if named { Some((u32_at(header, 4)?, u32_at(header, 8)?)) } else { None }
}

fn read_abi(descriptor: &[u8]) -> Result<(Target, u32), NoteError> {
    if descriptor.len() != ABI_LENGTH {
        return Err(length_error(descriptor));
    }
    let word = |offset| u32_at(descriptor, offset).ok_or(NoteError::Truncated);
    if word(8)? != 0 || word(12)? != 0 {
        return Err(NoteError::AbiReserved);
    }
    let target = match word(0)? {
        1 => Target::Hvt,
        2 => Target::Spt,
        3 => Target::Virtio,
        4 => Target::Muen,
        5 => Target::Genode,
        6 => Target::Xen,
        target => return Err(NoteError::Target { target }),
    };
    Ok((target, word(4)?))
}

fn read_manifest(descriptor: &[u8]) -> Result<Vec<Device>, NoteError> {
    let manifest = descriptor.get(MANIFEST_PADDING..).ok_or_else(|| length_error(descriptor))?;
    let (Some(version), Some(count)) = (u32_at(manifest, 0), u32_at(manifest, 4)) else {
        return Err(length_error(descriptor));
    };
    if version != MANIFEST_VERSION {
        return Err(NoteError::ManifestVersion { version });
    }
    let (entries, rest) = manifest.get(MANIFEST_HEADER..).unwrap_or_default().as_chunks::<ENTRY_LENGTH>();
    if u32::try_from(entries.len()) != Ok(count) || !rest.is_empty() || entries.len() > MAX_DEVICES + 1 {
        return Err(NoteError::Entries { entries: count });
    }
    let (first, entries) = entries.split_first().ok_or(NoteError::Entries { entries: count })?;
    check_first(first)?;
    let mut devices = Vec::with_capacity(entries.len());
    let mut names = BTreeSet::new();
    for (entry, index) in entries.iter().zip(1..) {
        let device = read_device(entry, index)?;
        if !names.insert(device.name.clone()) {
            return Err(NoteError::SameName { name: device.name });
        }
        devices.push(device);
    }
    Ok(devices)
}

fn check_first(entry: &[u8; ENTRY_LENGTH]) -> Result<(), NoteError> {
    let unnamed = name_field(entry).iter().all(|octet| *octet == 0);
    if !unnamed || kind_field(entry) != KIND_RESERVED {
        return Err(NoteError::FirstEntry);
    }
    check_blank(entry, 0)
}

fn read_device(entry: &[u8; ENTRY_LENGTH], index: usize) -> Result<Device, NoteError> {
    let no_name = NoteError::DeviceName { entry: index };
    let field = name_field(entry);
    let Some(end) = field.iter().position(|octet| *octet == 0) else { return Err(no_name) };
    let name = field.get(..end).unwrap_or_default();
    if name.is_empty() || !name.iter().all(u8::is_ascii_alphanumeric) || field.last() != Some(&0) {
        return Err(no_name);
    }
    let kind = match kind_field(entry) {
        KIND_BLOCK => DeviceKind::Block,
        KIND_NET => DeviceKind::Net,
        kind => return Err(NoteError::DeviceKind { entry: index, kind }),
    };
    check_blank(entry, index)?;
    Ok(Device { name: name.iter().copied().map(char::from).collect(), kind })
}

/// Address, capacity, file descriptor and whether it is attached are for the tender to fill in. The
/// padding after them is not looked at.
fn check_blank(entry: &[u8; ENTRY_LENGTH], index: usize) -> Result<(), NoteError> {
    let blank = entry.get(72..97).is_some_and(|fields| fields.iter().all(|octet| *octet == 0));
    if blank { Ok(()) } else { Err(NoteError::NotBlank { entry: index }) }
}

fn name_field(entry: &[u8; ENTRY_LENGTH]) -> &[u8] {
    entry.get(..MAX_NAME + 1).unwrap_or_default()
}

fn kind_field(entry: &[u8; ENTRY_LENGTH]) -> u32 {
    u32_at(entry, MAX_NAME + 1).unwrap_or_default()
}

fn length_error(descriptor: &[u8]) -> NoteError {
    NoteError::Length { length: u32::try_from(descriptor.len()).unwrap_or(u32::MAX) }
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it is cut off"),
            Self::SecondAbi => f.write_str("it is a second Solo5 ABI note"),
            Self::SecondManifest => f.write_str("it is a second Solo5 manifest note"),
            Self::Length { length } => write!(f, "a descriptor of {length} octets is of the wrong length"),
            Self::AbiReserved => f.write_str("the reserved words are not zero"),
            Self::Target { target } => write!(f, "target {target} is unknown"),
            Self::ManifestVersion { version } => {
                write!(f, "manifest version {version} instead of {MANIFEST_VERSION}")
            }
            Self::Entries { entries } => {
                write!(f, "{entries} entries: must be 1 to {} and go with its length", MAX_DEVICES + 1)
            }
            Self::FirstEntry => f.write_str("the first entry is not the reserved one"),
            Self::DeviceName { entry } => {
                write!(f, "entry {entry} has no name of 1 to {MAX_NAME} letters and digits")
            }
            Self::DeviceKind { entry, kind } => write!(f, "entry {entry} is of unknown kind {kind}"),
            Self::NotBlank { entry } => {
                write!(f, "entry {entry} has values in fields that the tender fills in")
            }
            Self::SameName { name } => write!(f, "two devices have the name {name}"),
        }
    }
}

impl core::error::Error for NoteError {}
