//! Little-endian integers at fixed places in a byte string. Nothing here panics on a short one.

pub(crate) fn bytes<const N: usize>(from: &[u8], offset: usize) -> Option<[u8; N]> {
    from.get(offset..)?.first_chunk().copied()
}

pub(crate) fn u16(from: &[u8], offset: usize) -> Option<u16> {
    bytes(from, offset).map(u16::from_le_bytes)
}

pub(crate) fn u32(from: &[u8], offset: usize) -> Option<u32> {
    bytes(from, offset).map(u32::from_le_bytes)
}

pub(crate) fn u64(from: &[u8], offset: usize) -> Option<u64> {
    bytes(from, offset).map(u64::from_le_bytes)
}

/// Puts bytes at a fixed place; does nothing where they do not fit.
pub(crate) fn put(to: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = to.get_mut(offset..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}
