//! Configurations and arguments as older versions wrote them. They are read, never written.

use alloc::{borrow::Cow, collections::BTreeSet, vec::Vec};

use der::Tag;

use super::{
    Arguments, BlockDevice, Config, FailBehaviour, NetDevice, Resources, Typ, read_argv, read_image,
    read_startup,
};
use crate::{DecodeError, Text, codec::Decoder};

type Result<T> = core::result::Result<T, DecodeError>;

/// One cpu, no cpus and no linux-boot-partition: what versions 3 and 4 have after the fail behaviour.
fn resources_of_one_cpu(fields: &mut Decoder<'_>) -> Result<Resources> {
    let cpuids = BTreeSet::from([fields.int("config.cpuid")?]);
    Resources::read_since_memory(fields, cpuids)
}

/// ```asn1
/// Config (v4) ::= SEQUENCE { typ, compressed, image, startup OPTIONAL, add-name, FailBehaviour, cpuid INTEGER,
///                 memory, blocks [0] .. , bridges [1] .. , argv [2] .. }
/// ```
pub(crate) fn config_v4<'a>(from: &mut Decoder<'a>) -> Result<Config<'a>> {
    let mut fields = from.sequence("config-v4")?;
    let (typ, compressed, image) = read_image(&mut fields)?;
    let (startup, add_name) = read_startup(&mut fields)?;
    let fail_behaviour = FailBehaviour::read(&mut fields)?;
    let arguments = resources_of_one_cpu(&mut fields)?.with(fail_behaviour, startup, add_name);
    fields.finish("config-v4")?;
    Ok(Config { typ, compressed, image, arguments })
}

/// ```asn1
/// Config (v3) ::= v4 without startup and add-name, which reads as TRUE
/// ```
pub(crate) fn config_v3<'a>(from: &mut Decoder<'a>) -> Result<Config<'a>> {
    let mut fields = from.sequence("config-v3")?;
    let (typ, compressed, image) = read_image(&mut fields)?;
    let fail_behaviour = FailBehaviour::read(&mut fields)?;
    let arguments = resources_of_one_cpu(&mut fields)?.with(fail_behaviour, None, true);
    fields.finish("config-v3")?;
    Ok(Config { typ, compressed, image, arguments })
}

/// ```asn1
/// Config (v2) ::= SEQUENCE { typ, compressed, image, FailBehaviour, cpuid, memory,
///                 blocks [0] SET OF UTF8String OPTIONAL,
///                 bridges [1] SEQUENCE OF SEQUENCE { netif UTF8String, bridge UTF8String OPTIONAL } OPTIONAL, argv [2] .. }
/// ```
pub(crate) fn config_v2<'a>(from: &mut Decoder<'a>) -> Result<Config<'a>> {
    config_v1_or_v2(from, |item| {
        item.sequence("config.bridges")?.list(|item| {
            let mut fields = item.sequence("config.bridges")?;
            let name = fields.text("config.bridges.netif")?;
            let bridge = fields.optional(Tag::Utf8String, |fields| fields.text("config.bridges.bridge"))?;
            fields.finish("config.bridges")?;
            Ok(NetDevice { name, bridge, mac: None })
        })
    })
}

/// ```asn1
/// Config (v1) ::= v2 with bridges [1] SET OF UTF8String
/// ```
pub(crate) fn config_v1<'a>(from: &mut Decoder<'a>) -> Result<Config<'a>> {
    config_v1_or_v2(from, |item| {
        item.set("config.bridges")?.list(|item| item.text("config.bridges").map(net_device))
    })
}

fn config_v1_or_v2<'a>(
    from: &mut Decoder<'a>,
    read_bridges: impl FnOnce(&mut Decoder<'a>) -> Result<Vec<NetDevice>>,
) -> Result<Config<'a>> {
    let mut fields = from.sequence("config")?;
    let (typ, compressed, image) = read_image(&mut fields)?;
    let fail_behaviour = FailBehaviour::read(&mut fields)?;
    let cpuids = BTreeSet::from([fields.int("config.cpuid")?]);
    let memory = fields.int("config.memory")?;
    let block_devices = fields
        .optional_explicit(0, "config.blocks", |item| {
            item.set("config.blocks")?.list(|item| item.text("config.blocks").map(block_device))
        })?
        .unwrap_or_default();
    let net_devices = fields.optional_explicit(1, "config.bridges", read_bridges)?.unwrap_or_default();
    let argv = fields.optional_explicit(2, "config.argv", read_argv)?;
    fields.finish("config")?;
    let arguments =
        Arguments { fail_behaviour, cpuids, memory, block_devices, net_devices, argv, ..Arguments::new() };
    Ok(Config { typ, compressed, image, arguments })
}

/// ```asn1
/// Config (v0) ::= SEQUENCE { cpu INTEGER, memory INTEGER, block UTF8String OPTIONAL,
///                 network SEQUENCE OF UTF8String OPTIONAL,
///                 image CHOICE { hvt-amd64 [0] OCTET STRING, hvt-arm64 [1] OCTET STRING, hvt-amd64-compressed [2] OCTET STRING },
///                 arguments SEQUENCE OF UTF8String OPTIONAL }     -- quit on failure
/// ```
pub(crate) fn config_v0<'a>(from: &mut Decoder<'a>) -> Result<Config<'a>> {
    let mut fields = from.sequence("config-v0")?;
    let cpuids = BTreeSet::from([fields.int("config.cpu")?]);
    let memory = fields.int("config.memory")?;
    let block = fields.optional(Tag::Utf8String, |fields| fields.text("config.block"))?;
    let network: Vec<Text> = fields
        .optional(Tag::Sequence, |fields| {
            fields.sequence("config.network")?.list(|item| item.text("config.network"))
        })?
        .unwrap_or_default();
    let (number, mut content) = fields.choice("config.image")?;
    let compressed = match number {
        0 | 1 => false,
        2 => true,
        _ => return content.unknown("config.image", number),
    };
    let image = Cow::Borrowed(content.octets("config.image")?);
    content.finish("config.image")?;
    let argv = fields.optional(Tag::Sequence, read_argv)?;
    fields.finish("config-v0")?;
    let arguments = Arguments {
        cpuids,
        memory,
        block_devices: block.into_iter().map(block_device).collect(),
        net_devices: network.into_iter().map(net_device).collect(),
        argv,
        ..Arguments::new()
    };
    Ok(Config { typ: Typ::Solo5, compressed, image, arguments })
}

/// ```asn1
/// Arguments (v1) ::= Arguments (v2) with one cpuid and without cpus and linux-boot-partition
/// ```
pub(crate) fn arguments_v1(from: &mut Decoder<'_>) -> Result<Arguments> {
    let mut fields = from.sequence("arguments-v1")?;
    let fail_behaviour = FailBehaviour::read(&mut fields)?;
    let (startup, add_name) = read_startup(&mut fields)?;
    let resources = resources_of_one_cpu(&mut fields)?;
    fields.finish("arguments-v1")?;
    Ok(resources.with(fail_behaviour, startup, add_name))
}

/// ```asn1
/// Arguments (v0) ::= Arguments (v1) without startup and add-name
/// ```
pub(crate) fn arguments_v0(from: &mut Decoder<'_>) -> Result<Arguments> {
    let mut fields = from.sequence("arguments-v0")?;
    let fail_behaviour = FailBehaviour::read(&mut fields)?;
    let resources = resources_of_one_cpu(&mut fields)?;
    fields.finish("arguments-v0")?;
    Ok(resources.with(fail_behaviour, None, true))
}

const fn block_device(name: Text) -> BlockDevice {
    BlockDevice { name, device: None, sector_size: None }
}

const fn net_device(name: Text) -> NetDevice {
    NetDevice { name, bridge: None, mac: None }
}
