//! The image file: its segments go straight into guest memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use albatross_spt::image::{Image, ImageError, Source};
use albatross_spt::loader::LoadPlan;
use albatross_spt::notes::Manifest;

use crate::error::TenderError;
use crate::memory::GuestMemory;

/// An open image file whose headers have been read.
pub(crate) struct Kernel {
    path: PathBuf,
    image: Image<ImageFile>,
}

impl Kernel {
    /// Opens an image and reads its headers.
    pub(crate) fn open(path: &Path) -> Result<Self, TenderError> {
        let failed = |error| TenderError::Image { path: path.to_owned(), source: error };
        let file = ImageFile::open(path).map_err(|error| failed(ImageError::Read(error)))?;
        Ok(Self { path: path.to_owned(), image: Image::open(file).map_err(failed)? })
    }

    /// The manifest, once both Solo5 notes have been found good.
    pub(crate) fn manifest(&self) -> Result<Manifest, TenderError> {
        self.image.manifest().map_err(|error| self.failed(error))
    }

    /// What to load where in a guest with so many bytes of memory.
    pub(crate) fn plan(&self, memory_size: u64) -> Result<LoadPlan, TenderError> {
        self.image.plan(memory_size).map_err(|error| self.failed(error))
    }

    /// Loads and protects the segments. Guest memory is zero where no bytes of the file go.
    pub(crate) fn load(&self, plan: &LoadPlan, memory: &mut GuestMemory) -> Result<(), TenderError> {
        for segment in &plan.segments {
            let place = memory.slice(segment.address, segment.file_size)?;
            let read = self.image.source().read(segment.file_offset, place);
            read.map_err(|error| self.failed(ImageError::Read(error)))?;
            memory.protect(segment)?;
        }
        Ok(())
    }

    fn failed(&self, source: ImageError) -> TenderError {
        TenderError::Image { path: self.path.clone(), source }
    }
}

/// A regular file and its size when it was opened.
struct ImageFile {
    file: File,
    size: u64,
}

impl ImageFile {
    fn open(path: &Path) -> io::Result<Self> {
        // Not to wait for the other end, should this be a fifo.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, size: metadata.len() })
    }
}

impl Source for ImageFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
