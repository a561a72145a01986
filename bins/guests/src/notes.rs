//! The notes of a Solo5 image, as constants in the sections the linker script collects. All fields are little-endian,
//! which is the byte order of the only architecture these guests are built for.

/// Manifest entry type of a block device.
pub const BLOCK_BASIC: u32 = 1;
/// Manifest entry type of a network device.
pub const NET_BASIC: u32 = 2;

const RESERVED_FIRST: u32 = 0x4000_0000;
const TARGET_SPT: u32 = 2;
const ABI_VERSION: u32 = 2;
const MANIFEST_VERSION: u32 = 1;
const TYPE_ABI: u32 = 0x3149_4241;
const TYPE_MANIFEST: u32 = 0x3154_464d;
/// A device name is at most 67 bytes and one NUL.
const NAME_BYTES: usize = 68;

/// The path in PT_INTERP.
pub type Interpreter = [u8; 24];
/// A path that no host has.
pub const INTERPRETER: Interpreter = *b"/nonexistent/solo5/\0\0\0\0\0";

/// Note header: sizes, type and the name `Solo5`.
#[repr(C)]
struct Header {
    name_size: u32,
    description_size: u32,
    kind: u32,
    name: [u8; 8],
}

impl Header {
    const fn new(kind: u32, description_size: u32) -> Self {
        Self { name_size: 6, description_size, kind, name: *b"Solo5\0\0\0" }
    }
}

/// The ABI note: which tender, and which version of its interface.
#[repr(C)]
pub struct AbiNote {
    header: Header,
    target: u32,
    version: u32,
    reserved: [u32; 2],
}

impl AbiNote {
    /// The spt tender, interface version 2.
    pub const SPT: Self = Self {
        header: Header::new(TYPE_ABI, 16),
        target: TARGET_SPT,
        version: ABI_VERSION,
        reserved: [0; 2],
    };
}

/// One manifest entry, 104 bytes. The fields that a tender fills in have eight bytes each in C; words of four keep the
/// note itself aligned to four.
#[repr(C)]
pub struct Entry {
    name: [u8; NAME_BYTES],
    kind: u32,
    tender_fields: [u32; 6],
    attached: [u32; 2],
}

impl Entry {
    /// The entry every manifest begins with.
    pub const RESERVED: Self = Self::new(RESERVED_FIRST, "");

    /// A device that the tender has to attach. A name that is empty or too long does not compile.
    #[must_use]
    pub const fn device(kind: u32, name: &str) -> Self {
        assert!(!name.is_empty() && name.len() < NAME_BYTES, "a device name has 1 to 67 bytes");
        Self::new(kind, name)
    }

    #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
    const fn new(kind: u32, name: &str) -> Self {
        let mut bytes = [0; NAME_BYTES];
        let mut index = 0;
        while index < name.len() {
            bytes[index] = name.as_bytes()[index];
            index += 1;
        }
        Self { name: bytes, kind, tender_fields: [0; 6], attached: [0; 2] }
    }
}

/// The manifest note with `N` entries, the reserved one included. Four bytes of padding, counted in the size of the
/// description, bring the manifest to a multiple of eight from the start of the note.
#[repr(C)]
pub struct ManifestNote<const N: usize> {
    header: Header,
    padding: u32,
    version: u32,
    entries: u32,
    table: [Entry; N],
}

impl<const N: usize> ManifestNote<N> {
    /// A note with these entries.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "evaluated by the compiler only, for at most 64 entries"
    )]
    pub const fn new(table: [Entry; N]) -> Self {
        assert!(N >= 1 && N <= 64, "a manifest has 1 to 64 entries");
        let description_size = 12 + 104 * N as u32;
        Self {
            header: Header::new(TYPE_MANIFEST, description_size),
            padding: 0,
            version: MANIFEST_VERSION,
            entries: N as u32,
            table,
        }
    }
}
