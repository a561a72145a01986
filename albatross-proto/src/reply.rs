//! What the daemons answer and send on their own account.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeSet, vec::Vec};

use der::Tag;

use crate::{
    DecodeError, FailBehaviour, Int, MacAddress, Name, Policy, Text, Time, Typ,
    codec::{Decoder, Encoder, context},
    log::LogEntry,
    stats::Statistics,
    unikernel::{read_argv, read_int_set, write_argv},
};

mod old;

/// The answer to a command that was carried out.
///
/// ```asn1
/// Success ::= CHOICE { empty [0] NULL, string [1] UTF8String, policies [2] SEQUENCE OF SEQUENCE { name, Policy },
///             block-devices [4] SEQUENCE OF SEQUENCE { name, size INTEGER, active BOOLEAN },
///             unikernel-image [6] SEQUENCE { compressed BOOLEAN, image OCTET STRING },
///             block-device-image-old [7] SEQUENCE { compressed BOOLEAN, image OCTET STRING },
///             info-v4 [9] SEQUENCE OF SEQUENCE { name, InfoV4 }, block-device-image [10] BOOLEAN,
///             info-v5 [11] SEQUENCE OF SEQUENCE { name, InfoV5 }, consoles [12] SEQUENCE OF name,
///             info [13] SEQUENCE OF SEQUENCE { name, Info }, status [30] SEQUENCE OF SEQUENCE { name, Status } }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success<'a> {
    /// Done; nothing to say.
    Empty,
    /// Done, in words.
    Text(Text),
    /// Policies by path.
    Policies(Vec<(Name, Policy)>),
    /// Block devices by name.
    BlockDevices(Vec<(Name, BlockDeviceInfo)>),
    /// The image of a unikernel.
    UnikernelImage {
        /// Whether the image is a zlib stream.
        compressed: bool,
        /// The image.
        image: Cow<'a, [u8]>,
    },
    /// The content of a block device, for older clients.
    BlockDeviceImageOld {
        /// Whether the content is a zlib stream.
        compressed: bool,
        /// The content.
        image: Cow<'a, [u8]>,
    },
    /// The content of a block device follows as data.
    BlockDeviceImage {
        /// Whether it is a zlib stream.
        compressed: bool,
    },
    /// Unikernels that run, for older clients: written with the lowest cpu, or 0, and without startup.
    InfoV4(Vec<(Name, Info)>),
    /// Unikernels that run, for older clients: written with the lowest cpu, or 0.
    InfoV5(Vec<(Name, Info)>),
    /// Unikernels that run.
    Info(Vec<(Name, Info)>),
    /// Consoles of unikernels that do not run.
    Consoles(Vec<Name>),
    /// Unikernels on record, running or not (NEW).
    Status(Vec<(Name, Status)>),
}

/// A block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDeviceInfo {
    /// In MB.
    pub size: Int,
    /// Whether a running unikernel uses it.
    pub active: bool,
}

/// A unikernel that runs.
///
/// ```asn1
/// Info ::= SEQUENCE { typ, startup INTEGER OPTIONAL, FailBehaviour, cpuids SET OF INTEGER, memory INTEGER,
///          digest OCTET STRING,
///          blocks [0] SET OF SEQUENCE { unikernel-device UTF8String, host-device UTF8String, sector-size INTEGER,
///                                       size INTEGER } OPTIONAL,
///          bridges [1] SET OF SEQUENCE { unikernel-device UTF8String, host-device UTF8String, mac } OPTIONAL,
///          argv [2] SEQUENCE OF UTF8String OPTIONAL, started [3] time OPTIONAL, cpus [4] INTEGER OPTIONAL,
///          linux-boot-partition [5] UTF8String OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The kind of unikernel.
    pub typ: Typ,
    /// Its place in the order of starts.
    pub startup: Option<Int>,
    /// What happens when it ends.
    pub fail_behaviour: FailBehaviour,
    /// The cpus it is pinned to.
    pub cpuids: BTreeSet<Int>,
    /// Its memory in MB.
    pub memory: Int,
    /// SHA-256 of its uncompressed image.
    pub digest: Text,
    /// Its block devices.
    pub block_devices: Vec<InfoBlock>,
    /// Its network devices.
    pub net_devices: Vec<InfoNet>,
    /// Its arguments.
    pub argv: Option<Vec<Text>>,
    /// When it was started; the epoch where the encoding has none.
    pub started: Time,
    /// How many virtual cpus it has.
    pub cpus: Int,
    /// Of a bhyve guest that boots Linux: the partition.
    pub linux_boot_partition: Option<Text>,
}

/// A block device of a running unikernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoBlock {
    /// The name in the manifest.
    pub unikernel_device: Text,
    /// The device on the host.
    pub host_device: Text,
    /// Bytes per sector.
    pub sector_size: Int,
    /// In MB.
    pub size: Int,
}

/// A network device of a running unikernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoNet {
    /// The name in the manifest.
    pub unikernel_device: Text,
    /// The bridge on the host.
    pub host_device: Text,
    /// Its address.
    pub mac: MacAddress,
}

/// A unikernel on record, running or not (NEW).
///
/// ```asn1
/// Status ::= SEQUENCE { state State, since time, restarts INTEGER, pid [0] INTEGER OPTIONAL, last-exit [1] Exit OPTIONAL, .. }
/// State  ::= CHOICE { running [0] NULL, starting [1] NULL, waiting [2] time, failed [3] UTF8String }
/// ```
/// Fields under higher context tags are for later versions and are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// How often it was started again since it was created.
    pub restarts: Int,
    /// The tender's process id, while it runs.
    pub pid: Option<Int>,
    /// How it ended last.
    pub last_exit: Option<Exit>,
}

/// What a unikernel is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its tender runs.
    Running,
    /// Its devices are being made.
    Starting,
    /// It will be started again at this time.
    Waiting(Time),
    /// It was not started, and why.
    Failed(Text),
}

/// How a process ended.
///
/// ```asn1
/// Exit ::= CHOICE { exited [0] INTEGER, signalled [1] INTEGER, stopped [2] INTEGER }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Exited(Int),
    /// By this signal.
    Signalled(Int),
    /// It was stopped by this signal.
    Stopped(Int),
}

/// What a daemon sends to a subscriber.
///
/// ```asn1
/// Data ::= CHOICE { statistics [1] .., console [3] SEQUENCE { timestamp time, line bytes-as-text },
///                   block [4] CHOICE { some [0] OCTET STRING, none [1] NULL }, log [30] LogEntry }
/// ```
/// Tag 2 is refused. `log` is ours (NEW).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Statistics of one unikernel.
    Statistics(Box<Statistics>),
    /// A line of a console.
    Console {
        /// When it was read.
        timestamp: Time,
        /// The line without its end; any octets.
        line: Cow<'a, [u8]>,
    },
    /// A part of a block device's content, `None` after the last.
    Block(Option<Cow<'a, [u8]>>),
    /// A record of the event log (NEW).
    Log(LogEntry),
}

/// A list of pairs of a name and something: `SEQUENCE OF SEQUENCE { name, .. }`.
pub(crate) fn write_named<T>(
    out: &mut Encoder<'_>,
    list: &[(Name, T)],
    write: impl Fn(&mut Encoder<'_>, &T),
) {
    out.sequence(|out| {
        for (name, value) in list {
            out.sequence(|out| {
                name.write(out);
                write(out, value);
            });
        }
    });
}

pub(crate) fn read_named<'a, T>(
    from: &mut Decoder<'a>,
    field: &'static str,
    mut read: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<(Name, T)>, DecodeError> {
    from.sequence(field)?.list(|item| {
        let mut fields = item.sequence(field)?;
        let pair = (Name::read(&mut fields, field)?, read(&mut fields)?);
        fields.finish(field)?;
        Ok(pair)
    })
}

impl Success<'_> {
    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Empty => out.explicit_null(0),
            Self::Text(text) => out.explicit(1, |out| out.text(text)),
            Self::Policies(list) => {
                out.explicit(2, |out| write_named(out, list, |out, policy| policy.write(out)));
            }
            Self::BlockDevices(list) => out.explicit(4, |out| {
                out.sequence(|out| {
                    for (name, info) in list {
                        out.sequence(|out| {
                            name.write(out);
                            out.int(info.size);
                            out.boolean(info.active);
                        });
                    }
                });
            }),
            Self::UnikernelImage { compressed, image } => {
                out.explicit(6, |out| write_image(out, *compressed, image))
            }
            Self::BlockDeviceImageOld { compressed, image } => {
                out.explicit(7, |out| write_image(out, *compressed, image));
            }
            Self::InfoV4(list) => out.explicit(9, |out| write_named(out, list, old::write_v4)),
            Self::BlockDeviceImage { compressed } => out.explicit(10, |out| out.boolean(*compressed)),
            Self::InfoV5(list) => out.explicit(11, |out| write_named(out, list, old::write_v5)),
            Self::Consoles(names) => {
                out.explicit(12, |out| out.sequence(|out| names.iter().for_each(|name| name.write(out))));
            }
            Self::Info(list) => out.explicit(13, |out| write_named(out, list, |out, info| info.write(out))),
            Self::Status(list) => {
                out.explicit(30, |out| write_named(out, list, |out, status| status.write(out)))
            }
        }
    }
}

impl<'a> Success<'a> {
    pub(crate) fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("success")?;
        let success = match number {
            0 => {
                content.null("success.empty")?;
                Self::Empty
            }
            1 => Self::Text(content.text("success.string")?),
            2 => Self::Policies(read_named(&mut content, "success.policies", Policy::read)?),
            4 => Self::BlockDevices(read_named(&mut content, "success.block-devices", |fields| {
                Ok(BlockDeviceInfo {
                    size: fields.int("success.block-devices.size")?,
                    active: fields.boolean("success.block-devices.active")?,
                })
            })?),
            6 => {
                let (compressed, image) = read_image(&mut content)?;
                Self::UnikernelImage { compressed, image }
            }
            7 => {
                let (compressed, image) = read_image(&mut content)?;
                Self::BlockDeviceImageOld { compressed, image }
            }
            9 => Self::InfoV4(read_named(&mut content, "success.info-v4", old::read_v4)?),
            10 => Self::BlockDeviceImage { compressed: content.boolean("success.block-device-image")? },
            11 => Self::InfoV5(read_named(&mut content, "success.info-v5", old::read_v5)?),
            12 => {
                let names = content.sequence("success.consoles")?;
                Self::Consoles(names.list(|item| Name::read(item, "success.consoles"))?)
            }
            13 => Self::Info(read_named(&mut content, "success.info", Info::read)?),
            30 => Self::Status(read_named(&mut content, "success.status", Status::read)?),
            _ => return content.unknown("success", number),
        };
        content.finish("success")?;
        Ok(success)
    }
}

/// The beginning of a message that carries the image of a unikernel ([`Success::UnikernelImage`]) of
/// `length` octets: the message is these octets and the image.
#[must_use]
pub fn image_head(header: &crate::Header, compressed: bool, length: usize) -> Vec<u8> {
    // Out from the image: its SEQUENCE, `unikernel-image [6]`, `success [1]`.
    head(header, Some(compressed), length, &[0x30, 0xa6, 0xa1])
}

/// The same for the content of a block device ([`Success::BlockDeviceImageOld`]).
#[must_use]
pub fn old_block_head(header: &crate::Header, compressed: bool, length: usize) -> Vec<u8> {
    // Its SEQUENCE, `block-device-image-old [7]`, `success [1]`.
    head(header, Some(compressed), length, &[0x30, 0xa7, 0xa1])
}

/// The same for a part of a block device's content ([`Data::Block`]).
#[must_use]
pub fn block_head(header: &crate::Header, length: usize) -> Vec<u8> {
    // `some [0]`, `block [4]`, `data [3]`.
    head(header, None, length, &[0xa0, 0xa4, 0xa3])
}

/// What goes before the OCTET STRING of `length` octets that ends a message; `around` are the tags around
/// it, from the innermost.
fn head(header: &crate::Header, compressed: Option<bool>, length: usize, around: &[u8]) -> Vec<u8> {
    use crate::large::header as tag;
    let compressed = compressed.map(|compressed| Vec::from([0x01, 0x01, if compressed { 0xff } else { 0 }]));
    let mut parts = Vec::from([tag(0x04, length)]);
    parts.extend(compressed);
    let mut octets = length + parts.iter().map(Vec::len).sum::<usize>();
    for outer in around {
        let begin = tag(*outer, octets);
        octets += begin.len();
        parts.push(begin);
    }
    let header = header.encode();
    octets += header.len();
    parts.extend([header, tag(0x30, octets)]);
    parts.reverse();
    parts.concat()
}

fn write_image(out: &mut Encoder<'_>, compressed: bool, image: &[u8]) {
    out.sequence(|out| {
        out.boolean(compressed);
        out.octets(image);
    });
}

fn read_image<'a>(from: &mut Decoder<'a>) -> Result<(bool, Cow<'a, [u8]>), DecodeError> {
    let mut fields = from.sequence("success.image")?;
    let compressed = fields.boolean("success.image.compressed")?;
    let image = fields.octets("success.image.image")?;
    fields.finish("success.image")?;
    Ok((compressed, Cow::Borrowed(image)))
}

impl Info {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.typ.write(out);
            self.write_startup(out);
            self.fail_behaviour.write(out);
            out.set_of(&self.cpuids, |out, id| out.int(*id));
            self.write_since_memory(out);
            out.explicit(4, |out| out.int(self.cpus));
            out.optional(5, self.linux_boot_partition.as_ref(), |out, partition| out.text(partition));
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("info")?;
        let typ = Typ::read(&mut fields)?;
        let startup = Self::read_startup(&mut fields)?;
        let fail_behaviour = FailBehaviour::read(&mut fields)?;
        let cpuids = read_int_set(&mut fields, "info.cpuids")?;
        let mut info = Self::read_since_memory(&mut fields, typ, startup, fail_behaviour, cpuids)?;
        if let Some(cpus) = fields.optional_explicit(4, "info.cpus", |item| item.int("info.cpus"))? {
            info.cpus = cpus;
        }
        info.linux_boot_partition = fields.optional_explicit(5, "info.linux-boot-partition", |item| {
            item.text("info.linux-boot-partition")
        })?;
        fields.finish("info")?;
        Ok(info)
    }

    fn write_startup(&self, out: &mut Encoder<'_>) {
        if let Some(startup) = self.startup {
            out.int(startup);
        }
    }

    fn read_startup(fields: &mut Decoder<'_>) -> Result<Option<Int>, DecodeError> {
        fields.optional(Tag::Integer, |fields| fields.int("info.startup"))
    }

    /// Memory to started: what all three forms share.
    fn write_since_memory(&self, out: &mut Encoder<'_>) {
        out.int(self.memory);
        out.octets(self.digest.as_bytes());
        if !self.block_devices.is_empty() {
            out.explicit(0, |out| out.set_of(&self.block_devices, |out, device| device.write(out)));
        }
        if !self.net_devices.is_empty() {
            out.explicit(1, |out| out.set_of(&self.net_devices, |out, device| device.write(out)));
        }
        out.optional(2, self.argv.as_ref(), |out, argv| write_argv(out, argv));
        out.explicit(3, |out| self.started.write(out));
    }

    fn read_since_memory(
        fields: &mut Decoder<'_>,
        typ: Typ,
        startup: Option<Int>,
        fail_behaviour: FailBehaviour,
        cpuids: BTreeSet<Int>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            typ,
            startup,
            fail_behaviour,
            cpuids,
            memory: fields.int("info.memory")?,
            digest: Text::from(fields.octets("info.digest")?),
            block_devices: fields
                .optional_explicit(0, "info.blocks", |item| item.set("info.blocks")?.list(InfoBlock::read))?
                .unwrap_or_default(),
            net_devices: fields
                .optional_explicit(1, "info.bridges", |item| item.set("info.bridges")?.list(InfoNet::read))?
                .unwrap_or_default(),
            argv: fields.optional_explicit(2, "info.argv", read_argv)?,
            started: fields
                .optional_explicit(3, "info.started", |item| Time::read(item, "info.started"))?
                .unwrap_or_default(),
            cpus: Int::ONE,
            linux_boot_partition: None,
        })
    }
}

impl InfoBlock {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.unikernel_device);
            out.text(&self.host_device);
            out.int(self.sector_size);
            out.int(self.size);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("info.blocks")?;
        let device = Self {
            unikernel_device: fields.text("info.blocks.unikernel-device")?,
            host_device: fields.text("info.blocks.host-device")?,
            sector_size: fields.int("info.blocks.sector-size")?,
            size: fields.int("info.blocks.size")?,
        };
        fields.finish("info.blocks")?;
        Ok(device)
    }
}

impl InfoNet {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.unikernel_device);
            out.text(&self.host_device);
            out.octets(&self.mac.0);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("info.bridges")?;
        let device = Self {
            unikernel_device: fields.text("info.bridges.unikernel-device")?,
            host_device: fields.text("info.bridges.host-device")?,
            mac: MacAddress(fields.fixed("info.bridges.mac")?),
        };
        fields.finish("info.bridges")?;
        Ok(device)
    }
}

impl Status {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.state.write(out);
            self.since.write(out);
            out.int(self.restarts);
            out.optional(0, self.pid, |out, pid| out.int(*pid));
            out.optional(1, self.last_exit, |out, exit| exit.write(out));
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("status")?;
        let status = Self {
            state: State::read(&mut fields)?,
            since: Time::read(&mut fields, "status.since")?,
            restarts: fields.int("status.restarts")?,
            pid: fields.optional_explicit(0, "status.pid", |item| item.int("status.pid"))?,
            last_exit: fields.optional_explicit(1, "status.last-exit", Exit::read)?,
        };
        skip_later_fields(fields, "status", 2)?;
        Ok(status)
    }
}

/// Fields of later versions: context tags from `first` upwards, in ascending order.
pub(crate) fn skip_later_fields(
    mut fields: Decoder<'_>,
    field: &'static str,
    first: u32,
) -> Result<(), DecodeError> {
    let mut next = first;
    while !fields.is_finished() {
        let before = fields.error(field, crate::DecodeErrorKind::TrailingData);
        let (number, _) = fields.choice(field)?;
        if number < next {
            return Err(DecodeError {
                kind: crate::DecodeErrorKind::UnknownChoice { found: context(number) },
                ..before
            });
        }
        next = number.saturating_add(1);
    }
    Ok(())
}

impl State {
    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Running => out.explicit_null(0),
            Self::Starting => out.explicit_null(1),
            Self::Waiting(until) => out.explicit(2, |out| until.write(out)),
            Self::Failed(why) => out.explicit(3, |out| out.text(why)),
        }
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("status.state")?;
        let state = match number {
            0 => content.null("status.state").map(|()| Self::Running)?,
            1 => content.null("status.state").map(|()| Self::Starting)?,
            2 => Self::Waiting(Time::read(&mut content, "status.state.waiting")?),
            3 => Self::Failed(content.text("status.state.failed")?),
            _ => return content.unknown("status.state", number),
        };
        content.finish("status.state")?;
        Ok(state)
    }
}

impl Exit {
    pub(crate) fn write(self, out: &mut Encoder<'_>) {
        match self {
            Self::Exited(code) => out.explicit(0, |out| out.int(code)),
            Self::Signalled(signal) => out.explicit(1, |out| out.int(signal)),
            Self::Stopped(signal) => out.explicit(2, |out| out.int(signal)),
        }
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("exit")?;
        let value = content.int("exit")?;
        let exit = match number {
            0 => Self::Exited(value),
            1 => Self::Signalled(value),
            2 => Self::Stopped(value),
            _ => return content.unknown("exit", number),
        };
        content.finish("exit")?;
        Ok(exit)
    }
}

impl Data<'_> {
    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Statistics(statistics) => out.explicit(1, |out| statistics.write(out)),
            Self::Console { timestamp, line } => out.explicit(3, |out| {
                out.sequence(|out| {
                    timestamp.write(out);
                    out.utf8(line);
                });
            }),
            Self::Block(Some(part)) => out.explicit(4, |out| out.explicit(0, |out| out.octets(part))),
            Self::Block(None) => out.explicit(4, |out| out.explicit_null(1)),
            Self::Log(entry) => out.explicit(30, |out| entry.write(out)),
        }
    }
}

impl<'a> Data<'a> {
    pub(crate) fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("data")?;
        let data = match number {
            1 => Self::Statistics(Box::new(Statistics::read(&mut content)?)),
            3 => {
                let mut fields = content.sequence("data.console")?;
                let timestamp = Time::read(&mut fields, "data.console.timestamp")?;
                let line = Cow::Borrowed(fields.utf8("data.console.line")?);
                fields.finish("data.console")?;
                Self::Console { timestamp, line }
            }
            4 => Self::Block(read_block(&mut content)?),
            30 => Self::Log(LogEntry::read(&mut content)?),
            _ => return content.unknown("data", number),
        };
        content.finish("data")?;
        Ok(data)
    }
}

fn read_block<'a>(from: &mut Decoder<'a>) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
    let (number, mut content) = from.choice("data.block")?;
    let part = match number {
        0 => Some(Cow::Borrowed(content.octets("data.block.some")?)),
        1 => content.null("data.block.none").map(|()| None)?,
        _ => return content.unknown("data.block", number),
    };
    content.finish("data.block")?;
    Ok(part)
}
