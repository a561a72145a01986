//! The Solo5 notes of an image: the interface it was built for, and its manifest of devices.
//!
//! Stricter than Solo5's own tenders: sizes have to be exact, reserved fields zero, device names letters and digits and
//! different from each other, types known, and the fields that belong to the tender zero.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::field;

/// Most devices a manifest can declare; entry 0 is none.
pub const MAX_DEVICES: usize = 63;
/// Longest device name in bytes.
pub const MAX_NAME_BYTES: usize = 67;
/// The most of a note that is looked at: header, padding and a manifest with one entry too many.
pub const MAX_NOTE_BYTES: usize =
    HEADER_BYTES + PADDING_BYTES + MANIFEST_HEADER_BYTES + ENTRY_BYTES * (MAX_DEVICES + 2);
/// Size of one manifest entry in bytes.
pub const ENTRY_BYTES: usize = 104;
/// Versions of the interface between tender and guest that an image may ask for. From 1 (Solo5 0.6 and 0.7) to 2 only the
/// layout of images changed: those of version 2 may have segments without bytes.
pub const ABI_VERSIONS: core::ops::RangeInclusive<u32> = 1..=2;
/// Where the fields stand that the tender fills in: address, capacity, descriptor, attached. The rest of an
/// entry is padding.
const TENDER_FIELDS: core::ops::Range<usize> = 72..97;
/// Size of what comes before the manifest entries in bytes.
pub const MANIFEST_HEADER_BYTES: usize = 8;

/// A note shorter than this makes the image invalid.
const SHORTEST_NOTE_BYTES: usize = 12;
/// Sizes, type and the name, padded to eight bytes.
const HEADER_BYTES: usize = 20;
/// Between header and manifest, counted in the size of the description.
const PADDING_BYTES: usize = 4;
const ABI_BYTES: usize = 16;
const NAME: [u8; 6] = *b"Solo5\0";
const TYPE_ABI: u32 = 0x3149_4241;
const TYPE_MANIFEST: u32 = 0x3154_464d;
const MANIFEST_VERSION: u32 = 1;
const RESERVED_FIRST: u32 = 0x4000_0000;
const BLOCK_BASIC: u32 = 1;
const NET_BASIC: u32 = 2;
const TARGET_SPT: u32 = 2;

/// The notes found so far, while the PT_NOTE segments of an image are gone through.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    abi: bool,
    manifest: Option<Manifest>,
}

impl Notes {
    /// Reads one PT_NOTE segment of `size` bytes. Only its first note counts; `bytes` has at least the first
    /// [`MAX_NOTE_BYTES`] of it, or all.
    ///
    /// # Errors
    ///
    /// Fails for a Solo5 note that is malformed, not for this tender, or there for the second time. Notes of other kinds
    /// are passed over.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), NoteError> {
        if bytes.len() < SHORTEST_NOTE_BYTES {
            return Err(NoteError::Truncated);
        }
        let is_short = bytes.len() < HEADER_BYTES;
        if is_short || field::u32(bytes, 0) != Some(6) || field::bytes(bytes, 12) != Some(NAME) {
            return Ok(());
        }
        let size =
            field::u32(bytes, 4).and_then(|size| usize::try_from(size).ok()).ok_or(NoteError::Truncated)?;
        let description = bytes.get(HEADER_BYTES..).and_then(|rest| rest.get(..size));
        match field::u32(bytes, 8) {
            Some(TYPE_ABI) => {
                check_abi(description.ok_or(NoteError::Truncated)?)?;
                if core::mem::replace(&mut self.abi, true) { Err(NoteError::Twice) } else { Ok(()) }
            }
            Some(TYPE_MANIFEST) => {
                let padded = description.ok_or(NoteError::Truncated)?;
                let manifest = padded.get(PADDING_BYTES..).ok_or(NoteError::Truncated)?;
                match self.manifest.replace(Manifest::parse(manifest)?) {
                    None => Ok(()),
                    Some(_) => Err(NoteError::Twice),
                }
            }
            _ => Ok(()),
        }
    }

    /// The manifest, when both notes were there.
    ///
    /// # Errors
    ///
    /// Fails when a note is missing.
    pub fn finish(self) -> Result<Manifest, NoteError> {
        if !self.abi {
            return Err(NoteError::NoAbi);
        }
        self.manifest.ok_or(NoteError::NoManifest)
    }
}

fn check_abi(description: &[u8]) -> Result<(), NoteError> {
    if description.len() != ABI_BYTES {
        return Err(NoteError::AbiSize { found: description.len() });
    }
    let word = |offset| field::u32(description, offset).ok_or(NoteError::Truncated);
    let (target, version) = (word(0)?, word(4)?);
    if word(8)? != 0 || word(12)? != 0 {
        return Err(NoteError::AbiReserved);
    }
    if target != TARGET_SPT {
        return Err(NoteError::Target { found: target });
    }
    if !ABI_VERSIONS.contains(&version) {
        return Err(NoteError::Version { found: version });
    }
    Ok(())
}

/// The devices an image declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    bytes: Vec<u8>,
    devices: Vec<Declared>,
}

/// A device that has to be attached. Its manifest index is its place in the list plus one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Letters and digits, 1 to [`MAX_NAME_BYTES`].
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
}

/// The kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A block device (BLOCK_BASIC).
    Block,
    /// A network interface (NET_BASIC).
    Net,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block device",
            Self::Net => "network device",
        })
    }
}

impl Manifest {
    /// Reads a manifest: version, number of entries, entries.
    ///
    /// # Errors
    ///
    /// Names the first entry that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let version = field::u32(bytes, 0).ok_or(NoteError::Truncated)?;
        let count = field::u32(bytes, 4).ok_or(NoteError::Truncated)?;
        if version != MANIFEST_VERSION {
            return Err(NoteError::ManifestVersion { found: version });
        }
        let entries = bytes.get(MANIFEST_HEADER_BYTES..).ok_or(NoteError::Truncated)?;
        let fits = usize::try_from(count).is_ok_and(|count| {
            (1..=MAX_DEVICES + 1).contains(&count) && entries.len() == count * ENTRY_BYTES
        });
        if !fits {
            return Err(NoteError::ManifestSize { entries: count, bytes: bytes.len() });
        }
        let (first, rest) = entries.split_at(ENTRY_BYTES);
        if field::u32(first, 68) != Some(RESERVED_FIRST)
            || !is_zero(first, 0..68)
            || !is_zero(first, TENDER_FIELDS)
        {
            return Err(NoteError::Entry { index: 0, rule: EntryRule::Reserved });
        }
        let mut devices: Vec<Declared> = Vec::new();
        for (index, entry) in (1..).zip(rest.chunks_exact(ENTRY_BYTES)) {
            let device = Declared::parse(entry).map_err(|rule| NoteError::Entry { index, rule })?;
            if devices.iter().any(|other| other.name == device.name) {
                return Err(NoteError::Entry { index, rule: EntryRule::Duplicate });
            }
            devices.push(device);
        }
        Ok(Self { bytes: bytes.to_vec(), devices })
    }

    /// The bytes of the manifest as they stand in the image.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The devices; the first has manifest index 1.
    #[must_use]
    pub fn devices(&self) -> &[Declared] {
        &self.devices
    }
}

impl Declared {
    fn parse(entry: &[u8]) -> Result<Self, EntryRule> {
        let name = entry.get(..=MAX_NAME_BYTES).ok_or(EntryRule::Name)?;
        let length = name.iter().position(|byte| *byte == 0).ok_or(EntryRule::Name)?;
        let (name, rest) = name.split_at_checked(length).ok_or(EntryRule::Name)?;
        let name =
            core::str::from_utf8(name).ok().filter(|name| is_device_name(name)).ok_or(EntryRule::Name)?;
        // What stands between the end of the name and the end of its field is nobody's.
        if rest.last() != Some(&0) {
            return Err(EntryRule::Name);
        }
        let kind = match field::u32(entry, 68) {
            Some(BLOCK_BASIC) => DeviceKind::Block,
            Some(NET_BASIC) => DeviceKind::Net,
            _ => return Err(EntryRule::Type),
        };
        if !is_zero(entry, TENDER_FIELDS) {
            return Err(EntryRule::Fields);
        }
        Ok(Self { name: name.to_owned(), kind })
    }
}

/// Whether this can be the name of a device: 1 to [`MAX_NAME_BYTES`] letters and digits.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_zero(bytes: &[u8], range: core::ops::Range<usize>) -> bool {
    bytes.get(range).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// Why the notes of an image are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// A note ends before its description does.
    Truncated,
    /// There is no ABI note.
    NoAbi,
    /// There is no manifest note.
    NoManifest,
    /// A note of the same type came before.
    Twice,
    /// The description of the ABI note has another size.
    AbiSize {
        /// Its size in bytes.
        found: usize,
    },
    /// A reserved field of the ABI note is not zero.
    AbiReserved,
    /// The image is for another tender.
    Target {
        /// Its number.
        found: u32,
    },
    /// The image is for another version of the interface.
    Version {
        /// Which.
        found: u32,
    },
    /// The manifest has an unknown version.
    ManifestVersion {
        /// Which.
        found: u32,
    },
    /// The number of entries and the size of the manifest do not fit.
    ManifestSize {
        /// Entries it says it has.
        entries: u32,
        /// Its size in bytes.
        bytes: usize,
    },
    /// An entry of the manifest breaks a rule.
    Entry {
        /// Its index.
        index: usize,
        /// Which rule.
        rule: EntryRule,
    },
}

/// What is wrong with a manifest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryRule {
    /// The first entry is not the reserved one.
    Reserved,
    /// The name is empty, too long, or not of letters and digits.
    Name,
    /// Another device has the name.
    Duplicate,
    /// The type is unknown.
    Type,
    /// A field that belongs to the tender is not zero.
    Fields,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a note ends before its description does"),
            Self::NoAbi => f.write_str("no Solo5 ABI note: not a Solo5 image"),
            Self::NoManifest => f.write_str("no Solo5 manifest note"),
            Self::Twice => f.write_str("a Solo5 note is there twice"),
            Self::AbiSize { found } => write!(f, "the ABI note has {found} bytes, not {ABI_BYTES}"),
            Self::AbiReserved => f.write_str("a reserved field of the ABI note is not zero"),
            Self::Target { found } => write!(f, "the image is for {}, not for spt", target_name(*found)),
            Self::Version { found } => {
                let (first, last) = (ABI_VERSIONS.start(), ABI_VERSIONS.end());
                write!(
                    f,
                    "the image needs spt ABI version {found}, this tender has versions {first} to {last}"
                )
            }
            Self::ManifestVersion { found } => {
                write!(f, "the manifest has version {found}, not {MANIFEST_VERSION}")
            }
            Self::ManifestSize { entries, bytes } => {
                write!(f, "a manifest of {bytes} bytes cannot have {entries} entries")
            }
            Self::Entry { index, rule } => write!(f, "manifest entry {index} {rule}"),
        }
    }
}

impl Error for NoteError {}

impl fmt::Display for EntryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "is not the reserved first entry",
            Self::Name => "has a name that is not 1 to 67 letters and digits",
            Self::Duplicate => "has the name of another device",
            Self::Type => "is of an unknown type",
            Self::Fields => "has values in fields that belong to the tender",
        })
    }
}

fn target_name(target: u32) -> &'static str {
    match target {
        1 => "hvt",
        3 => "virtio",
        4 => "muen",
        5 => "genode",
        6 => "xen",
        _ => "an unknown target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: u32) -> Vec<u8> {
        let mut entry = vec![0; ENTRY_BYTES];
        field::put(&mut entry, 0, name.as_bytes());
        field::put(&mut entry, 68, &kind.to_le_bytes());
        entry
    }

    fn manifest(devices: &[Vec<u8>]) -> Result<Manifest, NoteError> {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
        field::put(&mut bytes, 4, &u32::try_from(devices.len() + 1).unwrap().to_le_bytes());
        bytes.extend(entry("", RESERVED_FIRST));
        bytes.extend(devices.concat());
        Manifest::parse(&bytes)
    }

    fn rule(entry: Vec<u8>) -> EntryRule {
        match manifest(&[entry]) {
            Err(NoteError::Entry { index: 1, rule }) => rule,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn devices_in_order() {
        let manifest = manifest(&[entry("service", NET_BASIC), entry("disk0", BLOCK_BASIC)]).unwrap();
        let devices: Vec<_> =
            manifest.devices().iter().map(|device| (device.name.as_str(), device.kind)).collect();
        assert_eq!(devices, [("service", DeviceKind::Net), ("disk0", DeviceKind::Block)]);
        assert_eq!(manifest.bytes().len(), 8 + 3 * 104);
    }

    #[test]
    fn the_largest_manifest_and_one_more() {
        let devices: Vec<_> = (0..64).map(|number| entry(&format!("d{number}"), NET_BASIC)).collect();
        assert_eq!(manifest(&devices[..63]).unwrap().devices().len(), 63);
        assert!(matches!(manifest(&devices), Err(NoteError::ManifestSize { entries: 65, .. })));
        assert_eq!(HEADER_BYTES + 6668 + ENTRY_BYTES, MAX_NOTE_BYTES);
    }

    #[test]
    fn names() {
        assert!(manifest(&[entry(&"x".repeat(67), NET_BASIC)]).is_ok());
        for name in [&"x".repeat(68), "", "a-b", "a b", "a\"", "a\n", "\u{e9}", "\0b"] {
            assert_eq!(rule(entry(name, NET_BASIC)), EntryRule::Name, "{name:?}");
        }
        let twice = manifest(&[entry("a", NET_BASIC), entry("a", BLOCK_BASIC)]);
        assert_eq!(twice.unwrap_err(), NoteError::Entry { index: 2, rule: EntryRule::Duplicate });
    }

    #[test]
    fn types() {
        for kind in [0, 3, RESERVED_FIRST, RESERVED_FIRST + 1, u32::MAX] {
            assert_eq!(rule(entry("a", kind)), EntryRule::Type, "{kind:#x}");
        }
    }

    #[test]
    fn fields_of_the_tender() {
        for at in TENDER_FIELDS {
            let mut entry = entry("a", BLOCK_BASIC);
            entry[at] = 1;
            assert_eq!(rule(entry), EntryRule::Fields, "{at}");
        }
    }

    /// albatrossd looks at the same octets, so that what it takes for an image is one here.
    #[test]
    fn octets_that_are_nobodys_may_be_anything() {
        let nobodys = (2..MAX_NAME_BYTES).chain(TENDER_FIELDS.end..ENTRY_BYTES);
        for at in nobodys {
            let mut entry = entry("a", BLOCK_BASIC);
            entry[at] = 1;
            assert_eq!(manifest(&[entry]).unwrap().devices()[0].name, "a", "{at}");
        }
    }
}
