//! Guest memory: one mapping at a fixed place, where an address of the guest is an address of this process.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::slice;

use albatross_spt::bootinfo::MEMORY_START;
use albatross_spt::elf::{PF_R, PF_W, PF_X};
use albatross_spt::loader::Segment;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::error::MemoryError;

/// The mapping from [`MEMORY_START`] to `size`. It is never taken away: the guest lives in it. Invariant: there is only
/// one, and nothing else refers to its bytes.
pub(crate) struct GuestMemory {
    size: u64,
}

impl GuestMemory {
    /// Maps memory up to address `size`, zero, readable and writable; executable as well when asked for.
    pub(crate) fn map(size: u64, executable: bool) -> Result<Self, MemoryError> {
        let failed = |errno| match errno {
            Errno::EEXIST => MemoryError::Occupied { size },
            errno => MemoryError::Map { size, source: errno.into() },
        };
        let start = usize::try_from(MEMORY_START)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| failed(Errno::EINVAL))?;
        let length = size.checked_sub(MEMORY_START).and_then(|length| usize::try_from(length).ok());
        let length = length.and_then(NonZeroUsize::new).ok_or_else(|| failed(Errno::ENOMEM))?;
        let mut protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        protection.set(ProtFlags::PROT_EXEC, executable);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: NOREPLACE leaves every mapping there is alone; a new one at a place of its own disturbs nothing.
        let place = unsafe { mmap_anonymous(Some(start), length, protection, flags) }.map_err(failed)?;
        // A kernel that does not know NOREPLACE takes the address as a hint.
        if place.addr() != start {
            return Err(MemoryError::Occupied { size });
        }
        place.as_ptr().expose_provenance();
        Ok(Self { size })
    }

    /// Address behind the last byte.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range that has not been protected yet.
    pub(crate) fn slice(&mut self, address: u64, length: u64) -> Result<&mut [u8], MemoryError> {
        let (start, length) = self.range(address, length)?;
        // SAFETY: the range is within the mapping, which is initialised (zero) and lasts; `&mut self` makes the
        // reference the only one. Callers write segments before they protect them, and these do not overlap.
        Ok(unsafe { slice::from_raw_parts_mut(start.cast::<u8>().as_ptr(), length) })
    }

    /// Copies bytes to an address.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let length = bytes.len().try_into().map_err(|_| MemoryError::Outside { address })?;
        self.slice(address, length)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Gives the pages of a segment its own protection.
    pub(crate) fn protect(&mut self, segment: &Segment) -> Result<(), MemoryError> {
        let (start, length) = self.range(segment.start, segment.end.saturating_sub(segment.start))?;
        let mut protection = ProtFlags::PROT_NONE;
        protection.set(ProtFlags::PROT_READ, segment.flags & PF_R != 0);
        protection.set(ProtFlags::PROT_WRITE, segment.flags & PF_W != 0);
        protection.set(ProtFlags::PROT_EXEC, segment.flags & PF_X != 0);
        // SAFETY: the range is within the mapping and nothing refers to its bytes.
        unsafe { mprotect(start, length, protection) }
            .map_err(|errno| MemoryError::Protect { address: segment.start, source: io::Error::from(errno) })
    }

    fn range(&self, address: u64, length: u64) -> Result<(NonNull<c_void>, usize), MemoryError> {
        let inside =
            address >= MEMORY_START && address.checked_add(length).is_some_and(|end| end <= self.size);
        let outside = || MemoryError::Outside { address };
        let start = usize::try_from(address).ok().filter(|_| inside).ok_or_else(outside)?;
        let start = NonNull::new(with_exposed_provenance_mut(start)).ok_or_else(outside)?;
        Ok((start, usize::try_from(length).map_err(|_| outside())?))
    }
}
