//! An image as the tender goes through it: header, program headers, notes, plan. Only the places that matter are read,
//! so that a large image costs no more than a small one.
//!
//! The bytes come from a [`Source`]: the program's is a file, a test's or a fuzzer's a byte string.

use alloc::vec;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::elf::{ElfError, HEADER_BYTES, Header, ProgramHeader, program_headers};
use crate::errno::Errno;
use crate::loader::{self, LoadError, LoadPlan};
use crate::notes::{MAX_NOTE_BYTES, Manifest, NoteError, Notes};

/// Where the bytes of an image are.
pub trait Source {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills a buffer from a place; the whole range lies within [`Source::size`].
    ///
    /// # Errors
    ///
    /// Fails when the bytes cannot be had.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError>;
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len().try_into().unwrap_or(u64::MAX)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.get(start..)).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(ReadError::Shorter)?);
        Ok(())
    }
}

/// An image whose headers have been read.
#[derive(Debug)]
pub struct Image<S> {
    source: S,
    header: Header,
    program_headers: Vec<ProgramHeader>,
}

impl<S: Source> Image<S> {
    /// Reads the headers.
    ///
    /// # Errors
    ///
    /// Fails when the source does, or when this is not an executable for this machine.
    pub fn open(source: S) -> Result<Self, ImageError> {
        let start = read(&source, 0, HEADER_BYTES)?;
        let header = Header::parse(&start).map_err(ImageError::Elf)?;
        let table = read(&source, header.table_offset, header.table_bytes())?;
        if table.len() != header.table_bytes() {
            return Err(ImageError::Table);
        }
        Ok(Self { source, header, program_headers: program_headers(&table) })
    }

    /// The manifest, once both Solo5 notes have been found good.
    ///
    /// # Errors
    ///
    /// Fails when a note is missing, malformed, or not for this tender.
    pub fn manifest(&self) -> Result<Manifest, ImageError> {
        let mut notes = Notes::default();
        for (index, header) in loader::notes(&self.program_headers) {
            let refuse = |source| ImageError::Note { index: Some(index), source };
            let length = usize::try_from(header.file_size).unwrap_or(MAX_NOTE_BYTES).min(MAX_NOTE_BYTES);
            let bytes = read(&self.source, header.offset, length)?;
            if bytes.len() != length {
                return Err(refuse(NoteError::Truncated));
            }
            notes.add(&bytes).map_err(refuse)?;
        }
        notes.finish().map_err(|source| ImageError::Note { index: None, source })
    }

    /// What to load where in a guest with so many bytes of memory.
    ///
    /// # Errors
    ///
    /// Fails when a segment breaks a rule.
    pub fn plan(&self, memory_size: u64) -> Result<LoadPlan, ImageError> {
        LoadPlan::new(&self.header, &self.program_headers, self.source.size(), memory_size)
            .map_err(ImageError::Load)
    }

    /// Where the bytes are.
    pub fn source(&self) -> &S {
        &self.source
    }
}

/// Up to `length` bytes from a place: fewer where the source ends, none beyond it.
fn read(source: &impl Source, offset: u64, length: usize) -> Result<Vec<u8>, ImageError> {
    let available = usize::try_from(source.size().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(available)];
    if bytes.is_empty() {
        return Ok(bytes);
    }
    source.read(offset, &mut bytes).map_err(ImageError::Read)?;
    Ok(bytes)
}

/// Why the bytes of an image cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The kernel says so.
    System(Errno),
    /// It is no regular file.
    NotFile,
    /// It is not open for reading.
    NotReadable,
    /// There are fewer than there were.
    Shorter,
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(errno) => errno.fmt(f),
            Self::NotFile => f.write_str("not a regular file"),
            Self::NotReadable => f.write_str("not open for reading"),
            Self::Shorter => f.write_str("the file has become shorter"),
        }
    }
}

impl Error for ReadError {}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be read.
    Read(ReadError),
    /// Its ELF header.
    Elf(ElfError),
    /// The table of program headers is not in the file.
    Table,
    /// A note.
    Note {
        /// Index of its program header; none when the note is missing.
        index: Option<usize>,
        /// What is wrong with it.
        source: NoteError,
    },
    /// Its layout.
    Load(LoadError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Elf(error) => error.fmt(f),
            Self::Table => f.write_str("the program headers are not in the file"),
            Self::Note { index: Some(index), source } => write!(f, "program header {index}: {source}"),
            Self::Note { index: None, source } => source.fmt(f),
            Self::Load(error) => error.fmt(f),
        }
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Elf(error) => Some(error),
            Self::Table => None,
            Self::Note { source, .. } => Some(source),
            Self::Load(error) => Some(error),
        }
    }
}
