//! Guest memory: one mapping at a fixed place, where an address of the guest is an address of this process.

use core::ptr::with_exposed_provenance_mut;
use core::slice;

use albatross_spt::bootinfo::MEMORY_START;
use albatross_spt::elf::{PF_R, PF_W, PF_X};
use albatross_spt::errno::Errno;
use albatross_spt::linux::{PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE};
use albatross_spt::loader::Segment;

use crate::error::MemoryError;
use crate::sys;

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
            source => MemoryError::Map { size, source },
        };
        let start = usize::try_from(MEMORY_START).map_err(|_| failed(Errno::EINVAL))?;
        let length = size.checked_sub(MEMORY_START).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length > 0).ok_or_else(|| failed(Errno::ENOMEM))?;
        let protection = PROT_READ | PROT_WRITE | if executable { PROT_EXEC } else { PROT_NONE };
        let place = sys::map(start, length, protection).map_err(failed)?;
        // A kernel that does not know NOREPLACE takes the address as a hint.
        if place.addr() != start {
            return Err(MemoryError::Occupied { size });
        }
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
        Ok(unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(start), length) })
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
        let protection = [(PF_R, PROT_READ), (PF_W, PROT_WRITE), (PF_X, PROT_EXEC)]
            .into_iter()
            .filter(|(flag, _)| segment.flags & flag != 0)
            .fold(PROT_NONE, |all, (_, protection)| all | protection);
        // SAFETY: the range is within the mapping and nothing refers to its bytes.
        unsafe { sys::protect(start, length, protection) }
            .map_err(|source| MemoryError::Protect { address: segment.start, source })
    }

    fn range(&self, address: u64, length: u64) -> Result<(usize, usize), MemoryError> {
        let inside =
            address >= MEMORY_START && address.checked_add(length).is_some_and(|end| end <= self.size);
        let outside = || MemoryError::Outside { address };
        let start = usize::try_from(address).ok().filter(|_| inside).ok_or_else(outside)?;
        Ok((start, usize::try_from(length).map_err(|_| outside())?))
    }
}
