//! The image file: its segments go straight into guest memory.

use albatross_spt::errno::Errno;
use albatross_spt::image::{Image, ImageError, ReadError, Source};
use albatross_spt::linux::{O_NONBLOCK, O_RDONLY};
use albatross_spt::loader::LoadPlan;
use albatross_spt::notes::Manifest;
use albatross_spt::options::Host;

use crate::error::TenderError;
use crate::memory::GuestMemory;
use crate::sys::{self, Descriptor};

/// An open image file whose headers have been read.
pub(crate) struct Kernel<'a> {
    name: Host<&'a [u8]>,
    image: Image<ImageFile>,
}

impl<'a> Kernel<'a> {
    /// Opens an image and reads its headers.
    pub(crate) fn open(name: Host<&'a [u8]>) -> Result<Self, TenderError<'a>> {
        let failed = |source| TenderError::Image { image: name, source };
        let file = ImageFile::open(name).map_err(|error| failed(ImageError::Read(error)))?;
        Ok(Self { name, image: Image::open(file).map_err(failed)? })
    }

    /// The manifest, once both Solo5 notes have been found good.
    pub(crate) fn manifest(&self) -> Result<Manifest, TenderError<'a>> {
        self.image.manifest().map_err(|error| self.failed(error))
    }

    /// What to load where in a guest with so many bytes of memory.
    pub(crate) fn plan(&self, memory_size: u64) -> Result<LoadPlan, TenderError<'a>> {
        self.image.plan(memory_size).map_err(|error| self.failed(error))
    }

    /// Loads and protects the segments. Guest memory is zero where no bytes of the file go.
    pub(crate) fn load(&self, plan: &LoadPlan, memory: &mut GuestMemory) -> Result<(), TenderError<'a>> {
        for segment in &plan.segments {
            let place = memory.slice(segment.address, segment.file_size)?;
            let read = self.image.source().read(segment.file_offset, place);
            read.map_err(|error| self.failed(ImageError::Read(error)))?;
            memory.protect(segment)?;
        }
        Ok(())
    }

    fn failed(&self, source: ImageError) -> TenderError<'a> {
        TenderError::Image { image: self.name, source }
    }
}

/// A regular file and its size when it was opened.
struct ImageFile {
    file: Descriptor,
    size: u64,
}

impl ImageFile {
    fn open(name: Host<&[u8]>) -> Result<Self, ReadError> {
        let file = match name {
            // Not to wait for the other end, should this be a fifo.
            Host::Named(path) => sys::open(path, O_RDONLY | O_NONBLOCK)?,
            // Found open for reading before the tender opened anything.
            Host::Open(number) => Descriptor::owning(number),
        };
        let status = sys::status(&file)?;
        if status.is_file() { Ok(Self { file, size: status.size }) } else { Err(ReadError::NotFile) }
    }
}

impl Source for ImageFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            match sys::read_at(&self.file, rest, offset) {
                Ok(0) => return Err(ReadError::Shorter),
                Ok(count) => {
                    rest = rest.get_mut(count..).unwrap_or_default();
                    offset = offset.saturating_add(count.try_into().unwrap_or(u64::MAX));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
