//! The devices the tender attached, found by name in the guest's copy of the manifest.

use core::ptr;

use crate::boot::Guest;
use crate::notes::{BLOCK_BASIC, NET_BASIC};
use crate::sys;

const MANIFEST_HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 104;
const MAX_ENTRIES: u32 = 64;

/// One manifest entry as the tender fills it in.
struct Entry {
    address: *const u8,
}

impl Entry {
    fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: only called with fields within an entry, each valid for any bytes; the tender wrote them all.
        unsafe { ptr::read_unaligned(self.address.add(offset).cast::<T>()) }
    }

    fn is(&self, kind: u32, name: &str) -> bool {
        let text: [u8; 68] = self.field(0);
        let same = text.get(..name.len()) == Some(name.as_bytes()) && text.get(name.len()) == Some(&0);
        same && self.field::<u32>(68) == kind && self.field::<u8>(96) == 1
    }
}

impl Guest {
    /// A network device.
    #[must_use]
    pub fn net(&self, name: &str) -> Option<Net> {
        let (index, entry) = self.entry(NET_BASIC, name)?;
        Some(Net { index, descriptor: entry.field(88), mac: entry.field(72), mtu: entry.field(78) })
    }

    /// A block device.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<Block> {
        let (_, entry) = self.entry(BLOCK_BASIC, name)?;
        Some(Block { descriptor: entry.field(88), capacity: entry.field(72), sector_size: entry.field(80) })
    }

    fn entry(&self, kind: u32, name: &str) -> Option<(u32, Entry)> {
        let manifest = self.info().manifest;
        // SAFETY: the manifest begins with its version and the number of entries.
        let count = unsafe { ptr::read_unaligned(manifest.add(4).cast::<u32>()) }.min(MAX_ENTRIES);
        (0..count).zip(0..).find_map(|(index, place): (u32, usize)| {
            // SAFETY: so many entries follow the header.
            let address = unsafe { manifest.add(MANIFEST_HEADER_BYTES + place * ENTRY_BYTES) };
            let entry = Entry { address };
            entry.is(kind, name).then_some((index, entry))
        })
    }
}

/// A network device.
pub struct Net {
    /// Bit in the set of ready devices.
    pub index: u32,
    /// The guest's address.
    pub mac: [u8; 6],
    /// Largest packet in bytes.
    pub mtu: u16,
    descriptor: i32,
}

impl Net {
    /// Takes a frame that has arrived, if there is one.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let length = sys::read(self.descriptor, buffer);
        usize::try_from(length).ok().and_then(|length| buffer.get_mut(..length))
    }

    /// Sends a frame; whether it was taken whole.
    pub fn write(&self, frame: &[u8]) -> bool {
        usize::try_from(sys::write(self.descriptor, frame)) == Ok(frame.len())
    }
}

/// A block device.
pub struct Block {
    /// Size in bytes.
    pub capacity: u64,
    /// Size of a sector in bytes; each read and write is of one.
    pub sector_size: u16,
    descriptor: i32,
}

impl Block {
    /// Reads the sector at an offset in bytes; whether that worked. The buffer has the size of a sector, or the tender
    /// ends the guest.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        usize::try_from(sys::pread(self.descriptor, buffer, offset)) == Ok(buffer.len())
    }

    /// Writes the sector at an offset in bytes, under the same condition.
    pub fn write(&self, offset: u64, buffer: &[u8]) -> bool {
        usize::try_from(sys::pwrite(self.descriptor, buffer, offset)) == Ok(buffer.len())
    }
}
