//! The image file: read in small pieces, its segments straight into guest memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use albatross_spt::elf::{HEADER_BYTES, Header, ProgramHeader, program_headers};
use albatross_spt::loader::{self, LoadPlan};
use albatross_spt::notes::{MAX_NOTE_BYTES, Manifest, NoteError, Notes};

use crate::error::{ImageError, TenderError};
use crate::memory::GuestMemory;

/// An open image whose headers have been read.
pub(crate) struct Image {
    path: PathBuf,
    file: File,
    size: u64,
    header: Header,
    program_headers: Vec<ProgramHeader>,
}

impl Image {
    /// Opens an image and reads its headers.
    pub(crate) fn open(path: &Path) -> Result<Self, TenderError> {
        let open = |source| TenderError::Open { path: path.to_owned(), source };
        let image = |source| TenderError::Image { path: path.to_owned(), source };
        // Not to wait for the other end, should this be a fifo.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(open)?;
        let metadata = file.metadata().map_err(open)?;
        if !metadata.is_file() {
            return Err(open(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let size = metadata.len();
        let start = read(&file, 0, HEADER_BYTES, size).map_err(open)?;
        let header = Header::parse(&start).map_err(|error| image(ImageError::Elf(error)))?;
        let table = read(&file, header.table_offset, header.table_bytes(), size).map_err(open)?;
        if table.len() != header.table_bytes() {
            return Err(image(ImageError::Table));
        }
        Ok(Self { path: path.to_owned(), file, size, header, program_headers: program_headers(&table) })
    }

    /// The manifest, once both Solo5 notes have been found good.
    pub(crate) fn manifest(&self) -> Result<Manifest, TenderError> {
        let refuse = |index, source| self.refuse(ImageError::Note { index, source });
        let mut notes = Notes::default();
        for (index, header) in loader::notes(&self.program_headers) {
            let length = usize::try_from(header.file_size).unwrap_or(MAX_NOTE_BYTES).min(MAX_NOTE_BYTES);
            let bytes = read(&self.file, header.offset, length, self.size)
                .map_err(|source| self.open_error(source))?;
            if bytes.len() != length {
                return Err(refuse(Some(index), NoteError::Truncated));
            }
            notes.add(&bytes).map_err(|error| refuse(Some(index), error))?;
        }
        notes.finish().map_err(|error| refuse(None, error))
    }

    /// What to load where in a guest with so many bytes of memory.
    pub(crate) fn plan(&self, memory_size: u64) -> Result<LoadPlan, TenderError> {
        LoadPlan::new(&self.header, &self.program_headers, self.size, memory_size)
            .map_err(|error| self.refuse(ImageError::Load(error)))
    }

    /// Loads and protects the segments. Guest memory is zero where no bytes of the file go.
    pub(crate) fn load(&self, plan: &LoadPlan, memory: &mut GuestMemory) -> Result<(), TenderError> {
        for segment in &plan.segments {
            let place = memory.slice(segment.address, segment.file_size)?;
            self.file.read_exact_at(place, segment.file_offset).map_err(|source| self.open_error(source))?;
            memory.protect(segment)?;
        }
        Ok(())
    }

    fn refuse(&self, source: ImageError) -> TenderError {
        TenderError::Image { path: self.path.clone(), source }
    }

    fn open_error(&self, source: io::Error) -> TenderError {
        TenderError::Open { path: self.path.clone(), source }
    }
}

/// Up to `length` bytes at a place in a file of `size` bytes: fewer where the file ends, none beyond it.
fn read(file: &File, offset: u64, length: usize, size: u64) -> io::Result<Vec<u8>> {
    let available = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(available)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
