//! Images and the zlib stream in which they travel.

use albatross_core::image::{DeviceKind, Target, deflate, inspect};
use albatross_spt::image::Image as Loaded;
use albatross_spt::loader::{LOWEST_ADDRESS, PAGE_BYTES};
use albatross_spt::notes::{ABI_VERSIONS, DeviceKind as Attached};

/// The most octets that a compressed image may have here.
const LIMIT: usize = 256 * 1024;

/// An image: what albatrossd takes for an image of our tender, the tender takes too, and reads the same
/// devices from it.
pub fn image(bytes: &[u8]) -> bool {
    let Ok(image) = inspect(bytes) else { return false };
    if image.target == Target::Spt && ABI_VERSIONS.contains(&image.abi_version) {
        let loaded = Loaded::open(bytes).expect("the tender refuses the headers");
        let manifest = loaded.manifest().expect("the tender refuses the notes");
        let ours = image.devices.iter().map(|device| (device.name.as_str(), device.kind));
        let theirs = manifest.devices().iter().map(|device| {
            let kind = match device.kind {
                Attached::Block => DeviceKind::Block,
                Attached::Net => DeviceKind::Net,
            };
            (device.name.as_str(), kind)
        });
        assert!(ours.eq(theirs), "other devices: {image:?}, {manifest:?}");
    }
    true
}

/// A zlib stream: never more than the limit comes out, and what comes out can be packed again.
pub fn inflate(bytes: &[u8]) -> bool {
    let Ok(content) = albatross_core::image::inflate(bytes, LIMIT) else { return false };
    assert!(content.len() <= LIMIT);
    assert_eq!(albatross_core::image::inflate(&deflate(&content, 1), LIMIT).as_ref(), Ok(&content));
    if !content.is_empty() {
        assert!(albatross_core::image::inflate(bytes, content.len() - 1).is_err(), "beyond the limit");
    }
    true
}

/// An image as the tender reads it: every segment lies within the file and within the guest's memory, in
/// whole pages, none over another, none both writable and executable.
pub fn spt_loader(bytes: &[u8]) -> bool {
    let Ok(image) = Loaded::open(bytes) else { return false };
    let _ = image.manifest();
    for memory in [0, LOWEST_ADDRESS, 32 << 20, u64::MAX] {
        let Ok(plan) = image.plan(memory) else { continue };
        let mut floor = LOWEST_ADDRESS;
        for segment in &plan.segments {
            assert!(floor <= segment.start && segment.start <= segment.address);
            assert!(segment.end <= memory && segment.end <= plan.kernel_end);
            assert!(segment.address.checked_add(segment.file_size).unwrap() <= segment.end);
            let file_end = segment.file_offset.checked_add(segment.file_size).unwrap();
            assert!(file_end <= u64::try_from(bytes.len()).unwrap());
            assert!(segment.start.is_multiple_of(PAGE_BYTES) && segment.end.is_multiple_of(PAGE_BYTES));
            assert!(segment.flags & 3 != 3, "writable and executable");
            floor = segment.end;
        }
    }
    true
}
