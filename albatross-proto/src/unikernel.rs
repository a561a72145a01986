//! What a unikernel is started with.

use alloc::{borrow::Cow, collections::BTreeSet, vec::Vec};
use core::{fmt, str::FromStr};

use der::Tag;

use crate::{
    DecodeError, Int, Text,
    codec::{Decoder, Encoder},
};

pub(crate) mod old;

/// The kind of unikernel.
///
/// ```asn1
/// Typ ::= CHOICE { solo5 [0] NULL, bhyve [1] NULL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Typ {
    /// A Solo5 image, run by a Solo5 tender.
    Solo5,
    /// A bhyve guest, FreeBSD only.
    Bhyve,
}

/// What happens when a unikernel ends.
///
/// ```asn1
/// FailBehaviour ::= CHOICE { quit [0] NULL, restart [1] SET OF INTEGER }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailBehaviour {
    /// It is not started again.
    Quit,
    /// It is started again after these exit codes; after every code that may restart if the set is empty.
    Restart(BTreeSet<Int>),
}

/// A block device as a unikernel's configuration names it.
///
/// ```asn1
/// Block ::= SEQUENCE { name UTF8String, device UTF8String OPTIONAL, sector-size INTEGER OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The name in the image's manifest.
    pub name: Text,
    /// The device on the host, at the path of the unikernel; the same as `name` when absent.
    pub device: Option<Text>,
    /// Bytes per sector; 512 when absent.
    pub sector_size: Option<Int>,
}

/// A network device as a unikernel's configuration names it.
///
/// ```asn1
/// Bridge ::= SEQUENCE { netif UTF8String, bridge UTF8String OPTIONAL, mac OCTET STRING (6) OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// The name in the image's manifest.
    pub name: Text,
    /// The bridge on the host; the same as `name` when absent.
    pub bridge: Option<Text>,
    /// The MAC address; derived from the names when absent.
    pub mac: Option<MacAddress>,
}

/// An Ethernet address: `mac OCTET STRING (6)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// Everything about a start but the image.
///
/// ```asn1
/// Arguments (v2) ::= SEQUENCE { FailBehaviour, startup INTEGER OPTIONAL, add-name BOOLEAN,
///                    cpuids SET OF INTEGER, memory INTEGER, blocks [0] SET OF Block OPTIONAL,
///                    bridges [1] SET OF Bridge OPTIONAL, argv [2] SEQUENCE OF UTF8String OPTIONAL,
///                    cpus [3] INTEGER OPTIONAL, linux-boot-partition [4] UTF8String OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What happens when it ends.
    pub fail_behaviour: FailBehaviour,
    /// The place in the order of starts, 0 first; 50 when absent.
    pub startup: Option<Int>,
    /// Whether `--name=` goes before the arguments.
    pub add_name: bool,
    /// The cpus it is pinned to.
    pub cpuids: BTreeSet<Int>,
    /// Its memory in MB.
    pub memory: Int,
    /// Its block devices. An empty list and an absent one are the same.
    pub block_devices: Vec<BlockDevice>,
    /// Its network devices. An empty list and an absent one are the same.
    pub net_devices: Vec<NetDevice>,
    /// Its arguments. An empty list and an absent one differ.
    pub argv: Option<Vec<Text>>,
    /// How many virtual cpus it has; always written, 1 when absent.
    pub cpus: Int,
    /// Of a bhyve guest that boots Linux: the partition.
    pub linux_boot_partition: Option<Text>,
}

/// A unikernel to start: its image and all else.
///
/// ```asn1
/// Config (v5) ::= SEQUENCE { typ Typ, compressed BOOLEAN, image OCTET STRING, startup INTEGER OPTIONAL,
///                 add-name BOOLEAN, FailBehaviour, cpuids SET OF INTEGER .. as Arguments (v2) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config<'a> {
    /// The kind of unikernel.
    pub typ: Typ,
    /// Whether `image` is a zlib stream (RFC 1950).
    pub compressed: bool,
    /// The image. Empty where it is streamed after the command, and for bhyve.
    pub image: Cow<'a, [u8]>,
    /// Everything else.
    pub arguments: Arguments,
}

impl Arguments {
    /// The defaults of the command line: quit, `--name=` added, cpu 0, 32 MB, nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fail_behaviour: FailBehaviour::Quit,
            startup: None,
            add_name: true,
            cpuids: BTreeSet::from([Int::ZERO]),
            memory: Int::from(32),
            block_devices: Vec::new(),
            net_devices: Vec::new(),
            argv: None,
            cpus: Int::ONE,
            linux_boot_partition: None,
        }
    }

    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.fail_behaviour.write(out);
            self.write_startup(out);
            self.write_resources(out);
        });
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("arguments")?;
        let fail_behaviour = FailBehaviour::read(&mut fields)?;
        let (startup, add_name) = read_startup(&mut fields)?;
        let resources = Resources::read(&mut fields)?;
        fields.finish("arguments")?;
        Ok(resources.with(fail_behaviour, startup, add_name))
    }

    fn write_startup(&self, out: &mut Encoder<'_>) {
        if let Some(startup) = self.startup {
            out.int(startup);
        }
        out.boolean(self.add_name);
    }

    fn write_resources(&self, out: &mut Encoder<'_>) {
        out.set_of(&self.cpuids, |out, id| out.int(*id));
        out.int(self.memory);
        if !self.block_devices.is_empty() {
            out.explicit(0, |out| out.set_of(&self.block_devices, |out, device| device.write(out)));
        }
        if !self.net_devices.is_empty() {
            out.explicit(1, |out| out.set_of(&self.net_devices, |out, device| device.write(out)));
        }
        out.optional(2, self.argv.as_ref(), |out, argv| write_argv(out, argv));
        out.explicit(3, |out| out.int(self.cpus));
        out.optional(4, self.linux_boot_partition.as_ref(), |out, partition| out.text(partition));
    }
}

impl Default for Arguments {
    fn default() -> Self {
        Self::new()
    }
}

/// What follows the fail behaviour, startup and add-name in every encoding since version 3.
struct Resources {
    cpuids: BTreeSet<Int>,
    memory: Int,
    block_devices: Vec<BlockDevice>,
    net_devices: Vec<NetDevice>,
    argv: Option<Vec<Text>>,
    cpus: Int,
    linux_boot_partition: Option<Text>,
}

impl Resources {
    fn read(fields: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let cpuids = read_int_set(fields, "config.cpuids")?;
        let mut resources = Self::read_since_memory(fields, cpuids)?;
        if let Some(cpus) = fields.optional_explicit(3, "config.cpus", |item| item.int("config.cpus"))? {
            resources.cpus = cpus;
        }
        resources.linux_boot_partition =
            fields.optional_explicit(4, "config.linux-boot-partition", |item| {
                item.text("config.linux-boot-partition")
            })?;
        Ok(resources)
    }

    fn read_since_memory(fields: &mut Decoder<'_>, cpuids: BTreeSet<Int>) -> Result<Self, DecodeError> {
        let memory = fields.int("config.memory")?;
        let block_devices = fields
            .optional_explicit(0, "config.blocks", |item| item.set("config.blocks")?.list(BlockDevice::read))?
            .unwrap_or_default();
        let net_devices = fields
            .optional_explicit(1, "config.bridges", |item| item.set("config.bridges")?.list(NetDevice::read))?
            .unwrap_or_default();
        let argv = fields.optional_explicit(2, "config.argv", read_argv)?;
        Ok(Self {
            cpuids,
            memory,
            block_devices,
            net_devices,
            argv,
            cpus: Int::ONE,
            linux_boot_partition: None,
        })
    }

    fn with(self, fail_behaviour: FailBehaviour, startup: Option<Int>, add_name: bool) -> Arguments {
        let Self { cpuids, memory, block_devices, net_devices, argv, cpus, linux_boot_partition } = self;
        Arguments {
            fail_behaviour,
            startup,
            add_name,
            cpuids,
            memory,
            block_devices,
            net_devices,
            argv,
            cpus,
            linux_boot_partition,
        }
    }
}

pub(crate) fn read_argv(from: &mut Decoder<'_>) -> Result<Vec<Text>, DecodeError> {
    from.sequence("config.argv")?.list(|item| item.text("config.argv"))
}

pub(crate) fn write_argv(out: &mut Encoder<'_>, argv: &[Text]) {
    out.sequence(|out| argv.iter().for_each(|argument| out.text(argument)));
}

pub(crate) fn read_int_set(
    from: &mut Decoder<'_>,
    field: &'static str,
) -> Result<BTreeSet<Int>, DecodeError> {
    Ok(from.set(field)?.list(|item| item.int(field))?.into_iter().collect())
}

pub(crate) fn read_startup(fields: &mut Decoder<'_>) -> Result<(Option<Int>, bool), DecodeError> {
    let startup = fields.optional(Tag::Integer, |fields| fields.int("config.startup"))?;
    Ok((startup, fields.boolean("config.add-name")?))
}

impl Config<'_> {
    /// The same configuration with an image of its own.
    #[must_use]
    pub fn into_owned(self) -> Config<'static> {
        let Self { typ, compressed, image, arguments } = self;
        Config { typ, compressed, image: Cow::Owned(image.into_owned()), arguments }
    }

    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.typ.write(out);
            out.boolean(self.compressed);
            out.octets(&self.image);
            self.write_after_image(out);
        });
    }

    pub(crate) fn write_after_image(&self, out: &mut Encoder<'_>) {
        self.arguments.write_startup(out);
        self.arguments.fail_behaviour.write(out);
        self.arguments.write_resources(out);
    }
}

impl<'a> Config<'a> {
    pub(crate) fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("config")?;
        let (typ, compressed, image) = read_image(&mut fields)?;
        let (startup, add_name) = read_startup(&mut fields)?;
        let fail_behaviour = FailBehaviour::read(&mut fields)?;
        let arguments = Resources::read(&mut fields)?.with(fail_behaviour, startup, add_name);
        fields.finish("config")?;
        Ok(Self { typ, compressed, image, arguments })
    }
}

fn read_image<'a>(fields: &mut Decoder<'a>) -> Result<(Typ, bool, Cow<'a, [u8]>), DecodeError> {
    let typ = Typ::read(fields)?;
    let compressed = fields.boolean("config.compressed")?;
    Ok((typ, compressed, Cow::Borrowed(fields.octets("config.image")?)))
}

impl Typ {
    pub(crate) fn write(self, out: &mut Encoder<'_>) {
        out.explicit_null(u32::from(self == Self::Bhyve));
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("config.typ")?;
        let typ = match number {
            0 => Self::Solo5,
            1 => Self::Bhyve,
            _ => return content.unknown("config.typ", number),
        };
        content.null("config.typ")?;
        content.finish("config.typ")?;
        Ok(typ)
    }
}

impl FailBehaviour {
    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Quit => out.explicit_null(0),
            Self::Restart(codes) => out.explicit(1, |out| out.set_of(codes, |out, code| out.int(*code))),
        }
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("config.fail-behaviour")?;
        let behaviour = match number {
            0 => {
                content.null("config.fail-behaviour")?;
                Self::Quit
            }
            1 => Self::Restart(read_int_set(&mut content, "config.fail-behaviour")?),
            _ => return content.unknown("config.fail-behaviour", number),
        };
        content.finish("config.fail-behaviour")?;
        Ok(behaviour)
    }
}

impl BlockDevice {
    /// The device on the host: `device`, or `name` where that is absent.
    #[must_use]
    pub fn host_device(&self) -> &Text {
        self.device.as_ref().unwrap_or(&self.name)
    }

    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.name);
            if let Some(device) = &self.device {
                out.text(device);
            }
            if let Some(size) = self.sector_size {
                out.int(size);
            }
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("config.blocks")?;
        let device = Self {
            name: fields.text("config.blocks.name")?,
            device: fields.optional(Tag::Utf8String, |fields| fields.text("config.blocks.device"))?,
            sector_size: fields.optional(Tag::Integer, |fields| fields.int("config.blocks.sector-size"))?,
        };
        fields.finish("config.blocks")?;
        Ok(device)
    }
}

impl NetDevice {
    /// The bridge on the host: `bridge`, or `name` where that is absent.
    #[must_use]
    pub fn host_bridge(&self) -> &Text {
        self.bridge.as_ref().unwrap_or(&self.name)
    }

    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.name);
            if let Some(bridge) = &self.bridge {
                out.text(bridge);
            }
            if let Some(mac) = self.mac {
                out.octets(&mac.0);
            }
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("config.bridges")?;
        let device = Self {
            name: fields.text("config.bridges.netif")?,
            bridge: fields.optional(Tag::Utf8String, |fields| fields.text("config.bridges.bridge"))?,
            mac: fields
                .optional(Tag::OctetString, |fields| fields.fixed("config.bridges.mac"))?
                .map(MacAddress),
        };
        fields.finish("config.bridges")?;
        Ok(device)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is not six hexadecimal octets with `:` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddressError;

impl fmt::Display for MacAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address (write 02:00:00:00:00:01)")
    }
}

impl core::error::Error for MacAddressError {}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && !part.starts_with('+'))
                .ok_or(MacAddressError)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacAddressError)?;
        }
        if parts.next().is_some() { Err(MacAddressError) } else { Ok(Self(octets)) }
    }
}
