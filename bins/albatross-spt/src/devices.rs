//! Which host resource is attached to which manifest entry.
//!
//! Every device that the manifest declares has to be attached, and nothing else may be.

use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::field;
use crate::notes::{DeviceKind, ENTRY_BYTES, MANIFEST_HEADER_BYTES, Manifest};
use crate::options::{DeviceOption, Host, MIN_SECTOR_BYTES, Setting};

/// A device to attach, before anything is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan<'a> {
    /// Index of its manifest entry: the handle by which the guest names it.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What to attach.
    pub source: Source<'a>,
}

/// What a device is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A tap.
    Net {
        /// The interface.
        interface: Host<&'a [u8]>,
        /// The guest's MAC address; `None` asks for a random one.
        mac: Option<[u8; 6]>,
    },
    /// A file or block device.
    Block {
        /// The file.
        file: Host<&'a [u8]>,
        /// Sector size in bytes.
        sector_size: u16,
    },
}

/// Matches the devices of a manifest with the options, in the manifest's order.
///
/// # Errors
///
/// Fails for an option about a device that the manifest does not declare or declares as another kind, and for a device
/// without an option.
pub fn plan<'a>(
    manifest: &Manifest,
    options: &[DeviceOption<'a>],
) -> Result<Vec<DevicePlan<'a>>, DeviceError> {
    for option in options {
        let kind = option.setting.kind();
        let declared = manifest.devices().iter().find(|device| device.name == option.name);
        if declared.is_none_or(|device| device.kind != kind) {
            return Err(DeviceError::NotDeclared { name: option.name.into(), kind });
        }
    }
    let devices = (1..).zip(manifest.devices());
    devices
        .map(|(index, device)| {
            let settings =
                options.iter().filter(|option| option.name == device.name).map(|option| option.setting);
            let source = source(device.kind, settings)
                .ok_or_else(|| DeviceError::NotAttached { name: device.name.clone(), kind: device.kind })?;
            Ok(DevicePlan { index, name: device.name.clone(), source })
        })
        .collect()
}

fn source<'a>(kind: DeviceKind, settings: impl Iterator<Item = Setting<'a>>) -> Option<Source<'a>> {
    let (mut net, mut block, mut mac, mut sector_size) = (None, None, None, MIN_SECTOR_BYTES);
    for setting in settings {
        match setting {
            Setting::Net(interface) => net = Some(interface),
            Setting::Mac(address) => mac = Some(address).filter(|address| *address != [0; 6]),
            Setting::Block(file) => block = Some(file),
            Setting::SectorSize(size) => sector_size = size,
        }
    }
    match kind {
        DeviceKind::Net => net.map(|interface| Source::Net { interface, mac }),
        DeviceKind::Block => block.map(|file| Source::Block { file, sector_size }),
    }
}

impl Setting<'_> {
    /// The kind of device this says something about.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::Net(_) | Self::Mac(_) => DeviceKind::Net,
            Self::Block(_) | Self::SectorSize(_) => DeviceKind::Block,
        }
    }
}

/// A device that is attached: what the guest is told, and what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Index of its manifest entry.
    pub index: usize,
    /// The open descriptor; not negative.
    pub descriptor: i32,
    /// What is behind it.
    pub properties: Properties,
}

/// What the guest is told about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Properties {
    /// A tap. It is in the epoll set.
    Net {
        /// The guest's MAC address.
        mac: [u8; 6],
        /// Largest packet in bytes, without the Ethernet header.
        mtu: u16,
    },
    /// A file.
    Block {
        /// Its size in bytes, a multiple of the sector size and at least one sector.
        capacity: u64,
        /// Sector size in bytes.
        sector_size: u16,
    },
}

impl Device {
    /// The mark of this device in the epoll set; `None` when it is not in it.
    #[must_use]
    pub fn event_mark(&self) -> Option<u64> {
        match self.properties {
            Properties::Net { .. } => u64::try_from(self.index).ok(),
            Properties::Block { .. } => None,
        }
    }

    /// Fills in this device's entry in the guest's copy of the manifest.
    pub fn describe(&self, manifest: &mut [u8]) {
        let place = MANIFEST_HEADER_BYTES + self.index * ENTRY_BYTES;
        let Some(entry) = manifest.get_mut(place..).and_then(|rest| rest.get_mut(..ENTRY_BYTES)) else {
            return;
        };
        match self.properties {
            Properties::Net { mac, mtu } => {
                field::put(entry, 72, &mac);
                field::put(entry, 78, &mtu.to_le_bytes());
            }
            Properties::Block { capacity, sector_size } => {
                field::put(entry, 72, &capacity.to_le_bytes());
                field::put(entry, 80, &sector_size.to_le_bytes());
            }
        }
        field::put(entry, 88, &self.descriptor.to_le_bytes());
        field::put(entry, 96, &[1]);
    }
}

/// Why options and manifest do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// An option is about a device that is not declared.
    NotDeclared {
        /// The name in the option.
        name: String,
        /// The kind the option is for.
        kind: DeviceKind,
    },
    /// A device has no option.
    NotAttached {
        /// Its name.
        name: String,
        /// Its kind.
        kind: DeviceKind,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDeclared { name, kind } => write!(f, "the image declares no {kind} '{name}'"),
            Self::NotAttached { name, kind: DeviceKind::Net } => {
                write!(f, "network device '{name}' is not attached, use --net:{name}=INTERFACE")
            }
            Self::NotAttached { name, kind: DeviceKind::Block } => {
                write!(f, "block device '{name}' is not attached, use --block:{name}=PATH")
            }
        }
    }
}

impl Error for DeviceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_device_in_the_manifest() {
        let mut manifest = [0; 8 + 2 * ENTRY_BYTES];
        let properties = Properties::Net { mac: [2, 3, 4, 5, 6, 7], mtu: 0x0579 };
        let device = Device { index: 1, descriptor: 9, properties };
        device.describe(&mut manifest);
        let entry = &manifest[8 + ENTRY_BYTES..];
        assert_eq!(entry[72..80], [2, 3, 4, 5, 6, 7, 0x79, 5]);
        assert_eq!((&entry[88..92], entry[96]), (&[9, 0, 0, 0][..], 1));
        assert_eq!(device.event_mark(), Some(1));
    }

    #[test]
    fn a_block_device_in_the_manifest() {
        let mut manifest = [0; 8 + 2 * ENTRY_BYTES];
        let properties = Properties::Block { capacity: 0x0102_0300, sector_size: 512 };
        let device = Device { index: 1, descriptor: 5, properties };
        device.describe(&mut manifest);
        let entry = &manifest[8 + ENTRY_BYTES..];
        assert_eq!(entry[72..82], [0, 3, 2, 1, 0, 0, 0, 0, 0, 2]);
        assert_eq!((&entry[88..92], entry[96]), (&[5, 0, 0, 0][..], 1));
        assert_eq!(device.event_mark(), None);
    }
}
