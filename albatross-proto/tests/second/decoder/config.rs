//! Policies, configurations and arguments, in every version.

use std::borrow::Cow;

use albatross_proto::{
    Arguments, BlockDevice, Config, FailBehaviour, Int, MacAddress, NetDevice, Policy, Text, Typ,
};
use asn1_rs::{Any, Tag};

use super::{
    Refused, Result,
    parts::{Parts, explicit, sequence, set},
    scalars::{boolean, fixed, int, null, octets, set_of, text},
};

pub(super) fn policy(any: &Any<'_>) -> Result<Policy> {
    let mut fields = sequence(any)?;
    let cpuids = set_of(sequence(&fields.take()?)?.all(int)?);
    let unikernels = int(&fields.take()?)?;
    let memory = int(&fields.take()?)?;
    let block = fields.take_if(Tag::Integer).map(|any| int(&any)).transpose()?;
    let bridges = sequence(&fields.take()?)?.all(text)?.into_iter().collect();
    fields.end()?;
    Ok(Policy { cpuids, unikernels, memory, block, bridges })
}

pub(super) fn typ(any: &Any<'_>) -> Result<Typ> {
    let (number, content) = explicit(any)?;
    null(&content)?;
    match number {
        0 => Ok(Typ::Solo5),
        1 => Ok(Typ::Bhyve),
        _ => Err(Refused),
    }
}

pub(super) fn fail_behaviour(any: &Any<'_>) -> Result<FailBehaviour> {
    let (number, content) = explicit(any)?;
    match number {
        0 => null(&content).map(|()| FailBehaviour::Quit),
        1 => Ok(FailBehaviour::Restart(set_of(set(&content)?.all(int)?))),
        _ => Err(Refused),
    }
}

fn block_device(any: &Any<'_>) -> Result<BlockDevice> {
    let mut fields = sequence(any)?;
    let name = text(&fields.take()?)?;
    let device = fields.take_if(Tag::Utf8String).map(|any| text(&any)).transpose()?;
    let sector_size = fields.take_if(Tag::Integer).map(|any| int(&any)).transpose()?;
    fields.end()?;
    Ok(BlockDevice { name, device, sector_size })
}

fn net_device(any: &Any<'_>) -> Result<NetDevice> {
    let mut fields = sequence(any)?;
    let name = text(&fields.take()?)?;
    let bridge = fields.take_if(Tag::Utf8String).map(|any| text(&any)).transpose()?;
    let mac = fields.take_if(Tag::OctetString).map(|any| fixed(&any).map(MacAddress)).transpose()?;
    fields.end()?;
    Ok(NetDevice { name, bridge, mac })
}

pub(super) fn argv(any: &Any<'_>) -> Result<Vec<Text>> {
    sequence(any)?.all(text)
}

/// The versions of what a unikernel is started with, as they differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// Block devices are names, and so are bridges.
    V1,
    /// Bridges are pairs in a SEQUENCE OF.
    V2,
    /// Both are as today.
    V3,
    /// Startup and add-name are there.
    V4,
    /// Cpuids is a set; cpus and linux-boot-partition are there.
    V5,
}

/// What follows startup, add-name and the fail behaviour.
fn resources(fields: &mut Parts<'_>, version: Version) -> Result<Arguments> {
    let mut arguments = Arguments::new();
    arguments.cpuids = if version >= Version::V5 {
        set_of(set(&fields.take()?)?.all(int)?)
    } else {
        set_of(vec![int(&fields.take()?)?])
    };
    arguments.memory = int(&fields.take()?)?;
    let blocks = fields.optional(0, |any| {
        if version >= Version::V3 {
            set(any)?.all(block_device)
        } else {
            set(any)?.all(|any| text(any).map(block_device_named))
        }
    })?;
    let bridges = fields.optional(1, |any| match version {
        Version::V1 => set(any)?.all(|any| text(any).map(net_device_named)),
        Version::V2 => sequence(any)?.all(net_device_without_mac),
        _ => set(any)?.all(net_device),
    })?;
    arguments.block_devices = blocks.unwrap_or_default();
    arguments.net_devices = bridges.unwrap_or_default();
    arguments.argv = fields.optional(2, argv)?;
    if version >= Version::V5 {
        arguments.cpus = fields.optional(3, int)?.unwrap_or(Int::ONE);
        arguments.linux_boot_partition = fields.optional(4, text)?;
    }
    Ok(arguments)
}

fn block_device_named(name: Text) -> BlockDevice {
    BlockDevice { name, device: None, sector_size: None }
}

fn net_device_named(name: Text) -> NetDevice {
    NetDevice { name, bridge: None, mac: None }
}

fn net_device_without_mac(any: &Any<'_>) -> Result<NetDevice> {
    let device = net_device(any)?;
    if device.mac.is_some() { Err(Refused) } else { Ok(device) }
}

fn startup(fields: &mut Parts<'_>) -> Result<(Option<Int>, bool)> {
    let startup = fields.take_if(Tag::Integer).map(|any| int(&any)).transpose()?;
    Ok((startup, boolean(&fields.take()?)?))
}

/// Versions 1 to 5.
pub(super) fn config<'a>(any: &Any<'a>, version: Version) -> Result<Config<'a>> {
    let mut fields = sequence(any)?;
    let typ = typ(&fields.take()?)?;
    let compressed = boolean(&fields.take()?)?;
    let image = Cow::Borrowed(octets(&fields.take()?)?);
    let (startup, add_name) = if version >= Version::V4 { startup(&mut fields)? } else { (None, true) };
    let fail_behaviour = fail_behaviour(&fields.take()?)?;
    let arguments = Arguments { startup, add_name, fail_behaviour, ..resources(&mut fields, version)? };
    fields.end()?;
    Ok(Config { typ, compressed, image, arguments })
}

/// Arguments of version 0 (with resources as of version 3), 1 (as of 4) and 2 (as of 5).
pub(super) fn arguments(any: &Any<'_>, version: Version) -> Result<Arguments> {
    let mut fields = sequence(any)?;
    let fail_behaviour = fail_behaviour(&fields.take()?)?;
    let (startup, add_name) = if version >= Version::V4 { startup(&mut fields)? } else { (None, true) };
    let arguments = Arguments { startup, add_name, fail_behaviour, ..resources(&mut fields, version)? };
    fields.end()?;
    Ok(arguments)
}

pub(super) fn config_v0<'a>(any: &Any<'a>) -> Result<Config<'a>> {
    let mut fields = sequence(any)?;
    let mut arguments = Arguments::new();
    arguments.cpuids = set_of(vec![int(&fields.take()?)?]);
    arguments.memory = int(&fields.take()?)?;
    if let Some(block) = fields.take_if(Tag::Utf8String) {
        arguments.block_devices.push(block_device_named(text(&block)?));
    }
    if let Some(network) = fields.take_if(Tag::Sequence) {
        arguments.net_devices = sequence(&network)?.all(|any| text(any).map(net_device_named))?;
    }
    let (number, image) = explicit(&fields.take()?)?;
    let image = Cow::Borrowed(octets(&image)?);
    arguments.argv = fields.take_if(Tag::Sequence).map(|any| argv(&any)).transpose()?;
    fields.end()?;
    match number {
        0..=2 => Ok(Config { typ: Typ::Solo5, compressed: number == 2, image, arguments }),
        _ => Err(Refused),
    }
}
