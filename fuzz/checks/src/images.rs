//! Images and the zlib stream in which they travel.

use albatross_core::image::{DeviceKind, Target, deflate, inspect};
use albatross_spt::bootinfo::{BOOT_INFO_ADDRESS, BootInfo, MAX_COMMAND_LINE_BYTES};
use albatross_spt::departure::Departure;
use albatross_spt::devices::{self, Device, DevicePlan, Properties, Source as Attach};
use albatross_spt::filter::{self, MAX_INSTRUCTIONS};
use albatross_spt::image::{Image as Loaded, ImageError};
use albatross_spt::loader::{LOWEST_ADDRESS, LoadError, PAGE_BYTES};
use albatross_spt::notes::{ABI_VERSIONS, Declared, DeviceKind as Attached, Manifest};
use albatross_spt::options::{DeviceOption, Host, Setting};

/// The most octets that a compressed image may have here.
const LIMIT: usize = 256 * 1024;

/// An image: what albatrossd takes for an image of our tender, the tender takes too, reads the same devices from it, and
/// loads it if it fits.
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
        match loaded.plan(u64::MAX) {
            // One that begins behind any memory.
            Ok(_) | Err(ImageError::Load(LoadError::Entry { .. })) => {}
            Err(error) => panic!("the tender does not load it: {error}"),
        }
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

/// An image as the tender reads it, up to the jump: every segment lies within the file and within the guest's memory, in
/// whole pages, none over another, none both writable and executable; what the guest is told is what was attached, and
/// all of it lies below every segment, together with the list of what the tender does last.
pub fn spt_loader(bytes: &[u8]) -> bool {
    let Ok(image) = Loaded::open(bytes) else { return false };
    if let Ok(manifest) = image.manifest() {
        attach_all(&manifest);
    }
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

/// Attaches something to each device of a manifest, and makes what comes before the jump.
fn attach_all(manifest: &Manifest) {
    let option = |device: &Declared| match device.kind {
        Attached::Net => Setting::Net(Host::Named(b"vmmtap0")),
        Attached::Block => Setting::Block(Host::Named(b"/disk")),
    };
    let options: Vec<DeviceOption<'_>> = manifest
        .devices()
        .iter()
        .map(|device| DeviceOption { name: &device.name, setting: option(device) })
        .collect();
    let plan = devices::plan(manifest, &options).expect("each is attached");
    assert!(options.is_empty() || devices::plan(manifest, &options[1..]).is_err(), "one is not attached");
    let attached: Vec<Device> = plan.iter().zip(5..).map(|(plan, number)| attach(plan, number)).collect();
    let mut told = manifest.bytes().to_vec();
    attached.iter().for_each(|device| device.describe(&mut told));
    assert_eq!(told.len(), manifest.bytes().len());
    let info = BootInfo {
        memory_size: 32 << 20,
        kernel_end: LOWEST_ADDRESS,
        epoll: 3,
        timer: 4,
        manifest: &told,
        command_line: &[b'x'; MAX_COMMAND_LINE_BYTES],
    };
    let filter = filter::program(3, 4, &attached);
    assert!(filter.len() <= MAX_INSTRUCTIONS);
    let list = (BOOT_INFO_ADDRESS + u64::try_from(info.encode().len()).unwrap()).next_multiple_of(16);
    let departure = Departure {
        wiped: vec![0..1, 2..3],
        calls: vec![[11, 0, 0, 0]; 16],
        filter,
        entry: LOWEST_ADDRESS,
        stack: 32 << 20,
    };
    let end = list + u64::try_from(departure.encode(list).len()).unwrap();
    assert!(end <= LOWEST_ADDRESS, "{end:#x} is where the image may be");
}

fn attach(plan: &DevicePlan<'_>, descriptor: i32) -> Device {
    let properties = match plan.source {
        Attach::Net { mac, .. } => Properties::Net { mac: mac.unwrap_or([2, 0, 0, 0, 0, 1]), mtu: 1500 },
        Attach::Block { sector_size, .. } => Properties::Block { capacity: 1 << 20, sector_size },
    };
    Device { index: plan.index, descriptor, properties }
}
