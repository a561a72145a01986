//! The ELF header and program headers of an executable, as far as a Solo5 tender looks at them.
//!
//! Without allocation and without section headers. System V ABI, chapters 4 and 5 ("ELF Header",
//! "Program Header"); the rules are those of the Solo5 loader.

use core::fmt;

/// The length of an ELF64 header.
pub const HEADER_LENGTH: usize = 64;

/// The length of an ELF64 program header.
pub const PROGRAM_HEADER_LENGTH: usize = 56;

/// The kind of a segment that is loaded.
pub const PT_LOAD: u32 = 1;

/// The kind of a segment that holds notes.
pub const PT_NOTE: u32 = 4;

/// The most program headers of an image. Solo5's linker scripts make about a dozen.
pub const MAX_PROGRAM_HEADERS: u16 = 128;

const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const VERSION: u32 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const MACHINE_X86_64: u16 = 62;

/// What an ELF header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where execution begins.
    pub entry: u64,
    /// Where the program headers are in the file.
    pub table_offset: u64,
    /// How many program headers there are; 1 to [`MAX_PROGRAM_HEADERS`].
    pub table_entries: u16,
}

/// A program header: a part of the file, and where it belongs in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramHeader {
    /// [`PT_LOAD`], [`PT_NOTE`] or another kind.
    pub kind: u32,
    /// 1 executable, 2 writable, 4 readable.
    pub flags: u32,
    /// Where it is in the file.
    pub file_offset: u64,
    /// Where it is in memory.
    pub address: u64,
    /// How many octets of the file it has.
    pub file_size: u64,
    /// How many octets of memory it has.
    pub memory_size: u64,
    /// What `address` is a multiple of, if more than 1.
    pub alignment: u64,
}

/// Why a file is no executable that a Solo5 tender loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfError {
    /// It is shorter than an ELF header.
    TooShort,
    /// It does not begin as an ELF file.
    Magic,
    /// It is not a 64-bit little-endian file of version 1 with headers of the usual length.
    Format,
    /// It is not an executable with fixed addresses.
    NotExecutable,
    /// It is not for x86_64.
    Machine {
        /// The `e_machine` that it is for.
        machine: u16,
    },
    /// It has no program headers, or they are not wholly in the file.
    Table,
    /// It has more than [`MAX_PROGRAM_HEADERS`] program headers.
    Headers {
        /// How many.
        count: u16,
    },
}

impl Header {
    /// Reads the header from the beginning of a file.
    ///
    /// # Errors
    /// [`ElfError`], [`ElfError::Table`] only where there is no program header.
    pub fn parse(file: &[u8]) -> Result<Self, ElfError> {
        let header = file.first_chunk::<HEADER_LENGTH>().ok_or(ElfError::TooShort)?;
        if !header.starts_with(&MAGIC) {
            return Err(ElfError::Magic);
        }
        check_format(header).ok_or(ElfError::Format)?;
        let short = |offset| u16_at(header, offset).ok_or(ElfError::TooShort);
        let long = |offset| u64_at(header, offset).ok_or(ElfError::TooShort);
        if short(16)? != TYPE_EXECUTABLE {
            return Err(ElfError::NotExecutable);
        }
        let machine = short(18)?;
        if machine != MACHINE_X86_64 {
            return Err(ElfError::Machine { machine });
        }
        let table_entries = short(56)?;
        if table_entries == 0 {
            return Err(ElfError::Table);
        }
        if table_entries > MAX_PROGRAM_HEADERS {
            return Err(ElfError::Headers { count: table_entries });
        }
        Ok(Self { entry: long(24)?, table_offset: long(32)?, table_entries })
    }

    /// The program headers of the file that this header was read from.
    ///
    /// # Errors
    /// [`ElfError::Table`] if they are not wholly in the file.
    pub fn program_headers(
        self,
        file: &[u8],
    ) -> Result<impl ExactSizeIterator<Item = ProgramHeader>, ElfError> {
        let length = usize::from(self.table_entries) * PROGRAM_HEADER_LENGTH;
        let length = u64::try_from(length).map_err(|_| ElfError::Table)?;
        let table = part(file, self.table_offset, length).ok_or(ElfError::Table)?;
        let (entries, _) = table.as_chunks::<PROGRAM_HEADER_LENGTH>();
        Ok(entries.iter().map(ProgramHeader::parse))
    }
}

impl ProgramHeader {
    /// Reads one program header.
    #[must_use]
    pub fn parse(entry: &[u8; PROGRAM_HEADER_LENGTH]) -> Self {
        let word = |offset| u32_at(entry, offset).unwrap_or_default();
        let long = |offset| u64_at(entry, offset).unwrap_or_default();
        Self {
            kind: word(0),
            flags: word(4),
            file_offset: long(8),
            address: long(16),
            file_size: long(32),
            memory_size: long(40),
            alignment: long(48),
        }
    }

    /// Its octets in the file, `None` if they are not wholly there.
    #[must_use]
    pub fn content<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        part(file, self.file_offset, self.file_size)
    }
}

fn check_format(header: &[u8; HEADER_LENGTH]) -> Option<()> {
    let class = header.get(4) == Some(&CLASS_64) && header.get(5) == Some(&LITTLE_ENDIAN);
    let lengths = (usize::from(u16_at(header, 52)?), usize::from(u16_at(header, 54)?));
    let usual = class && u32_at(header, 20)? == VERSION && lengths == (HEADER_LENGTH, PROGRAM_HEADER_LENGTH);
    usual.then_some(())
}

fn part(file: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(length)?).ok()?;
    file.get(start..end)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().copied().map(u64::from_le_bytes)
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("shorter than an ELF header"),
            Self::Magic => f.write_str("not an ELF file"),
            Self::Format => f.write_str("not a 64-bit little-endian ELF file of version 1"),
            Self::NotExecutable => f.write_str("not an executable with fixed addresses (ET_EXEC)"),
            Self::Machine { machine } => write!(f, "for machine {machine}, not x86_64 ({MACHINE_X86_64})"),
            Self::Headers { count } => {
                write!(f, "{count} program headers are more than {MAX_PROGRAM_HEADERS}")
            }
            Self::Table => f.write_str("its program headers are not wholly in the file"),
        }
    }
}

impl core::error::Error for ElfError {}
