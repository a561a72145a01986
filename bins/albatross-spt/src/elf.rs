//! The ELF header and program headers of an image, for a 64-bit little-endian executable on x86-64.
//!
//! Sections are never looked at: a stripped image is as good as any. What the segments may look like is decided by
//! [`crate::loader`].

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::field;

/// Size of the ELF header in bytes.
pub const HEADER_BYTES: usize = 64;
/// Size of one program header in bytes.
pub const PROGRAM_HEADER_BYTES: usize = 56;
/// Most program headers an image may have. Solo5's linker scripts make about twelve.
pub const MAX_PROGRAM_HEADERS: u16 = 128;

const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_64: u8 = 2;
const DATA_LITTLE_ENDIAN: u8 = 1;
const VERSION: u32 = 1;
const TYPE_EXEC: u16 = 2;
const MACHINE_X86_64: u16 = 62;

/// Program header type of a segment to load.
pub const PT_LOAD: u32 = 1;
/// Program header type of a note.
pub const PT_NOTE: u32 = 4;
/// Segment flag: executable.
pub const PF_X: u32 = 1;
/// Segment flag: writable.
pub const PF_W: u32 = 2;
/// Segment flag: readable.
pub const PF_R: u32 = 4;

/// What the tender needs of the ELF header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Address of the first instruction.
    pub entry: u64,
    /// Where in the file the program headers are.
    pub table_offset: u64,
    /// How many program headers there are.
    pub table_count: u16,
}

impl Header {
    /// Reads the first bytes of an image.
    ///
    /// # Errors
    ///
    /// Fails when they are not the header of a static x86-64 executable, and names the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        if bytes.len() < HEADER_BYTES {
            return Err(ElfError::Truncated { length: bytes.len() });
        }
        let short = ElfError::Truncated { length: bytes.len() };
        Self::read(bytes).ok_or(short)?
    }

    /// Size of the table of program headers in bytes.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        usize::from(self.table_count) * PROGRAM_HEADER_BYTES
    }

    fn read(bytes: &[u8]) -> Option<Result<Self, ElfError>> {
        let refused = |field, found| Some(Err(ElfError::Field { field, found }));
        if field::bytes(bytes, 0)? != MAGIC {
            return Some(Err(ElfError::Magic));
        }
        match *bytes.get(4..6)? {
            [CLASS_64, DATA_LITTLE_ENDIAN] => {}
            [CLASS_64, data] => return refused("byte order", data.into()),
            [class, ..] => return refused("class", class.into()),
            [] => return None,
        }
        let kind = field::u16(bytes, 16)?;
        let machine = field::u16(bytes, 18)?;
        let version = field::u32(bytes, 20)?;
        let header_size = field::u16(bytes, 52)?;
        let entry_size = field::u16(bytes, 54)?;
        let count = field::u16(bytes, 56)?;
        if kind != TYPE_EXEC {
            return refused("type", kind.into());
        }
        if machine != MACHINE_X86_64 {
            return refused("machine", machine.into());
        }
        if version != VERSION {
            return refused("version", version);
        }
        if usize::from(header_size) != HEADER_BYTES {
            return refused("header size", header_size.into());
        }
        if usize::from(entry_size) != PROGRAM_HEADER_BYTES {
            return refused("program header size", entry_size.into());
        }
        if !(1..=MAX_PROGRAM_HEADERS).contains(&count) {
            return refused("program header count", count.into());
        }
        let (entry, table_offset) = (field::u64(bytes, 24)?, field::u64(bytes, 32)?);
        Some(Ok(Self { entry, table_offset, table_count: count }))
    }
}

/// One program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramHeader {
    /// Such as [`PT_LOAD`].
    pub kind: u32,
    /// [`PF_R`], [`PF_W`], [`PF_X`].
    pub flags: u32,
    /// Where the bytes are in the file.
    pub offset: u64,
    /// Where they go in memory.
    pub address: u64,
    /// How many there are in the file.
    pub file_size: u64,
    /// How many there are in memory; those beyond the file's are zero.
    pub memory_size: u64,
    /// Alignment in bytes.
    pub align: u64,
}

impl ProgramHeader {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            kind: field::u32(bytes, 0)?,
            flags: field::u32(bytes, 4)?,
            offset: field::u64(bytes, 8)?,
            address: field::u64(bytes, 16)?,
            file_size: field::u64(bytes, 32)?,
            memory_size: field::u64(bytes, 40)?,
            align: field::u64(bytes, 48)?,
        })
    }
}

/// Reads a table of program headers; a rest shorter than one is left out.
#[must_use]
pub fn program_headers(table: &[u8]) -> Vec<ProgramHeader> {
    table.chunks_exact(PROGRAM_HEADER_BYTES).filter_map(ProgramHeader::read).collect()
}

/// Why bytes are not the header of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfError {
    /// The file is shorter than an ELF header.
    Truncated {
        /// Its length in bytes.
        length: usize,
    },
    /// The file does not begin as ELF files do.
    Magic,
    /// A field has a value that a Solo5 image for this machine does not have.
    Field {
        /// Which field.
        field: &'static str,
        /// What it holds.
        found: u32,
    },
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { length } => {
                write!(f, "too short for an ELF header ({length} of {HEADER_BYTES} bytes)")
            }
            Self::Magic => f.write_str("not an ELF file"),
            Self::Field { field, found } => {
                write!(f, "not a static ELF executable for x86-64: {field} is {found}")
            }
        }
    }
}

impl Error for ElfError {}
