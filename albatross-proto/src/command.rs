//! What may be asked of the daemons.

use alloc::{borrow::Cow, vec::Vec};

use crate::{
    Arguments, Config, DecodeError, Int, Policy, Text, Time,
    codec::{Decoder, Encoder},
    log::LogCommand,
    unikernel::old,
};

/// A command. Who answers it is said by [`Command::daemon`].
///
/// ```asn1
/// Command ::= CHOICE { console [0] Console, statistics [1] Statistics, unikernel [3] Unikernel,
///             policy [4] PolicyCmd, block [5] BlockCmd, log [29] Log, revocation [30] Revocation }
/// ```
/// Tag 2 was a log once and is refused. `log` and `revocation` are ours (NEW).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Asks albatross-console.
    Console(ConsoleCommand),
    /// Asks albatross-stats, or albatrossd on its behalf.
    Statistics(StatisticsCommand),
    /// Asks albatrossd about unikernels.
    Unikernel(UnikernelCommand<'a>),
    /// Asks albatrossd about policies.
    Policy(PolicyCommand),
    /// Asks albatrossd about block devices.
    Block(BlockCommand<'a>),
    /// Asks albatross-log (NEW).
    Log(LogCommand),
    /// Asks the TLS endpoint (NEW).
    Revocation(RevocationCommand<'a>),
}

/// The daemon that answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// albatrossd, on `vmmd.sock`.
    Vmmd,
    /// albatross-console, on `console.sock`.
    Console,
    /// albatross-stats, on `stat.sock`.
    Stats,
    /// albatross-log, on `log.sock`.
    Log,
    /// The TLS endpoint itself, which has no socket of this kind.
    Endpoint,
}

/// ```asn1
/// Console ::= CHOICE { add [0] INTEGER, subscribe [2] CHOICE { since [0] time, count [1] INTEGER },
///             list-inactive [3] NULL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleCommand {
    /// Open the fifo of a unikernel; its path may keep so many consoles.
    Add(Int),
    /// History, then lines as they come.
    Subscribe(History),
    /// Which consoles are kept of unikernels that do not run.
    ListInactive,
}

/// How much of the past a subscription begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// What is not older than this.
    Since(Time),
    /// The newest so many.
    Count(Int),
}

/// ```asn1
/// Statistics ::= CHOICE { add [0] SEQUENCE { vmmdev UTF8String, pid INTEGER,
///                                            network SEQUENCE OF SEQUENCE { bridge UTF8String, tap UTF8String } },
///                         remove [1] NULL, subscribe [2] NULL, initial [3] NULL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatisticsCommand {
    /// Gather statistics of a process.
    Add {
        /// The vmm device, empty but on FreeBSD.
        vmmdev: Text,
        /// The tender's process id.
        pid: Int,
        /// Pairs of the unikernel's device name and the tap.
        network: Vec<(Text, Text)>,
    },
    /// Gather no more.
    Remove,
    /// Send statistics as they are gathered.
    Subscribe,
    /// The statistics daemon asks albatrossd what runs.
    Initial,
}

/// ```asn1
/// Unikernel ::= CHOICE { destroy [3] NULL, create-v3 [9] Config (v3), force-create-v3 [10] Config (v3), get [11] INTEGER,
///               restart [14] CHOICE { none [0] NULL, v0 [1] Arguments (v0), v1 [2] Arguments (v1), v2 [3] Arguments (v2) },
///               info-v4 [15] NULL, create-v4 [16] Config (v4), force-create-v4 [17] Config (v4), info-v5 [18] NULL,
///               info [19] NULL, create [20] Config, force-create [21] Config,
///               status [28] NULL, create-by-digest [29] ByDigest, force-create-by-digest [30] ByDigest }
/// ```
/// The last three are ours (NEW). Older creates are read into the current ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnikernelCommand<'a> {
    /// What runs.
    Info,
    /// What runs, answered in the fifth form.
    InfoV5,
    /// What runs, answered in the fourth form.
    InfoV4,
    /// Start it.
    Create(Config<'a>),
    /// Start it in place of what runs under that name.
    ForceCreate(Config<'a>),
    /// Stop it and start it again, with other arguments if given.
    Restart(Option<Arguments>),
    /// Stop it.
    Destroy,
    /// Send its image, compressed at this level (0: not).
    Get(Int),
    /// What is on record, running or not (NEW).
    Status,
    /// Start it from an image that is streamed and must have this digest (NEW).
    CreateByDigest(ByDigest),
    /// The same in place of what runs under that name (NEW).
    ForceCreateByDigest(ByDigest),
}

/// A unikernel whose image is bound by its digest (NEW).
///
/// ```asn1
/// ByDigest ::= SEQUENCE { config Config (v5) with an empty image, sha256 OCTET STRING (32), size INTEGER }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByDigest {
    /// The configuration; its image is empty.
    pub config: Config<'static>,
    /// SHA-256 of the image as it is streamed.
    pub sha256: [u8; 32],
    /// The most octets that are streamed.
    pub size: Int,
}

/// ```asn1
/// PolicyCmd ::= CHOICE { info [0] NULL, add [1] Policy, remove [2] NULL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyCommand {
    /// The policies at the path and below.
    Info,
    /// Set the policy of the path.
    Add(Policy),
    /// Remove the policy of the path.
    Remove,
}

/// ```asn1
/// BlockCmd ::= CHOICE { info [0] NULL, add [1] INTEGER, remove [2] NULL,
///              add-old [3] SEQUENCE { size INTEGER, compressed BOOLEAN, data OCTET STRING OPTIONAL },
///              set-old [4] SEQUENCE { compressed BOOLEAN, data OCTET STRING }, dump-old [5] INTEGER,
///              dump [6] INTEGER, set [7] BOOLEAN }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockCommand<'a> {
    /// The block devices at the path and below.
    Info,
    /// Make one of so many MB.
    Add(Int),
    /// Remove it.
    Remove,
    /// Make one of so many MB with this content, as older clients do.
    AddOld {
        /// In MB.
        size: Int,
        /// Whether the data is a zlib stream.
        compressed: bool,
        /// The content.
        data: Option<Cow<'a, [u8]>>,
    },
    /// Replace its content, as older clients do.
    SetOld {
        /// Whether the data is a zlib stream.
        compressed: bool,
        /// The content.
        data: Cow<'a, [u8]>,
    },
    /// Send its content in one reply, compressed at this level.
    DumpOld(Int),
    /// Stream its content, compressed at this level.
    Dump(Int),
    /// Replace its content by the stream that follows.
    Set {
        /// Whether the stream is a zlib stream.
        compressed: bool,
    },
}

/// A certificate revocation list for the endpoint (NEW).
///
/// ```asn1
/// Revocation ::= CHOICE { install [0] OCTET STRING (the DER of an RFC 5280 CertificateList) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationCommand<'a> {
    /// Honour this list from now on.
    Install(Cow<'a, [u8]>),
}

impl Command<'_> {
    /// The daemon that answers this command.
    #[must_use]
    pub const fn daemon(&self) -> Daemon {
        match self {
            Self::Console(_) => Daemon::Console,
            Self::Statistics(StatisticsCommand::Initial)
            | Self::Unikernel(_)
            | Self::Policy(_)
            | Self::Block(_) => Daemon::Vmmd,
            Self::Statistics(_) => Daemon::Stats,
            Self::Log(_) => Daemon::Log,
            Self::Revocation(_) => Daemon::Endpoint,
        }
    }

    /// The same command with content of its own.
    #[must_use]
    pub fn into_owned(self) -> Command<'static> {
        match self {
            Self::Console(command) => Command::Console(command),
            Self::Statistics(command) => Command::Statistics(command),
            Self::Unikernel(command) => Command::Unikernel(command.into_owned()),
            Self::Policy(command) => Command::Policy(command),
            Self::Block(command) => Command::Block(command.into_owned()),
            Self::Log(command) => Command::Log(command),
            Self::Revocation(RevocationCommand::Install(list)) => {
                Command::Revocation(RevocationCommand::Install(Cow::Owned(list.into_owned())))
            }
        }
    }

    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Console(command) => out.explicit(0, |out| command.write(out)),
            Self::Statistics(command) => out.explicit(1, |out| command.write(out)),
            Self::Unikernel(command) => out.explicit(3, |out| command.write(out)),
            Self::Policy(command) => out.explicit(4, |out| command.write(out)),
            Self::Block(command) => out.explicit(5, |out| command.write(out)),
            Self::Log(command) => out.explicit(29, |out| command.write(out)),
            Self::Revocation(RevocationCommand::Install(list)) => {
                out.explicit(30, |out| out.explicit(0, |out| out.octets(list)));
            }
        }
    }
}

impl<'a> Command<'a> {
    pub(crate) fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("command")?;
        let command = match number {
            0 => Self::Console(ConsoleCommand::read(&mut content)?),
            1 => Self::Statistics(StatisticsCommand::read(&mut content)?),
            3 => Self::Unikernel(UnikernelCommand::read(&mut content)?),
            4 => Self::Policy(PolicyCommand::read(&mut content)?),
            5 => Self::Block(BlockCommand::read(&mut content)?),
            29 => Self::Log(LogCommand::read(&mut content)?),
            30 => Self::Revocation(RevocationCommand::read(&mut content)?),
            _ => return content.unknown("command", number),
        };
        content.finish("command")?;
        Ok(command)
    }
}

impl History {
    pub(crate) fn write(self, out: &mut Encoder<'_>) {
        match self {
            Self::Since(time) => out.explicit(0, |out| time.write(out)),
            Self::Count(count) => out.explicit(1, |out| out.int(count)),
        }
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("subscribe")?;
        let history = match number {
            0 => Self::Since(Time::read(&mut content, "subscribe.since")?),
            1 => Self::Count(content.int("subscribe.count")?),
            _ => return content.unknown("subscribe", number),
        };
        content.finish("subscribe")?;
        Ok(history)
    }
}

impl ConsoleCommand {
    fn write(self, out: &mut Encoder<'_>) {
        match self {
            Self::Add(consoles) => out.explicit(0, |out| out.int(consoles)),
            Self::Subscribe(history) => out.explicit(2, |out| history.write(out)),
            Self::ListInactive => out.explicit_null(3),
        }
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("console")?;
        let command = match number {
            0 => Self::Add(content.int("console.add")?),
            2 => Self::Subscribe(History::read(&mut content)?),
            3 => {
                content.null("console.list-inactive")?;
                Self::ListInactive
            }
            _ => return content.unknown("console", number),
        };
        content.finish("console")?;
        Ok(command)
    }
}

impl StatisticsCommand {
    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Add { vmmdev, pid, network } => out.explicit(0, |out| {
                out.sequence(|out| {
                    out.text(vmmdev);
                    out.int(*pid);
                    out.sequence(|out| network.iter().for_each(|pair| write_pair(out, pair)));
                });
            }),
            Self::Remove => out.explicit_null(1),
            Self::Subscribe => out.explicit_null(2),
            Self::Initial => out.explicit_null(3),
        }
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("statistics")?;
        let command = match number {
            0 => {
                let mut fields = content.sequence("statistics.add")?;
                let vmmdev = fields.text("statistics.add.vmmdev")?;
                let pid = fields.int("statistics.add.pid")?;
                let network = fields.sequence("statistics.add.network")?.list(read_pair)?;
                fields.finish("statistics.add")?;
                Self::Add { vmmdev, pid, network }
            }
            1 => nothing(&mut content, Self::Remove)?,
            2 => nothing(&mut content, Self::Subscribe)?,
            3 => nothing(&mut content, Self::Initial)?,
            _ => return content.unknown("statistics", number),
        };
        content.finish("statistics")?;
        Ok(command)
    }
}

fn write_pair(out: &mut Encoder<'_>, (bridge, tap): &(Text, Text)) {
    out.sequence(|out| {
        out.text(bridge);
        out.text(tap);
    });
}

fn read_pair(item: &mut Decoder<'_>) -> Result<(Text, Text), DecodeError> {
    let mut fields = item.sequence("statistics.add.network")?;
    let pair = (fields.text("statistics.add.network.bridge")?, fields.text("statistics.add.network.tap")?);
    fields.finish("statistics.add.network")?;
    Ok(pair)
}

/// A NULL that stands for `value`.
fn nothing<T>(content: &mut Decoder<'_>, value: T) -> Result<T, DecodeError> {
    content.null("command").map(|()| value)
}

impl UnikernelCommand<'_> {
    fn into_owned(self) -> UnikernelCommand<'static> {
        match self {
            Self::Info => UnikernelCommand::Info,
            Self::InfoV5 => UnikernelCommand::InfoV5,
            Self::InfoV4 => UnikernelCommand::InfoV4,
            Self::Create(config) => UnikernelCommand::Create(config.into_owned()),
            Self::ForceCreate(config) => UnikernelCommand::ForceCreate(config.into_owned()),
            Self::Restart(arguments) => UnikernelCommand::Restart(arguments),
            Self::Destroy => UnikernelCommand::Destroy,
            Self::Get(level) => UnikernelCommand::Get(level),
            Self::Status => UnikernelCommand::Status,
            Self::CreateByDigest(by_digest) => UnikernelCommand::CreateByDigest(by_digest),
            Self::ForceCreateByDigest(by_digest) => UnikernelCommand::ForceCreateByDigest(by_digest),
        }
    }

    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Destroy => out.explicit_null(3),
            Self::Get(level) => out.explicit(11, |out| out.int(*level)),
            Self::Restart(None) => out.explicit(14, |out| out.explicit_null(0)),
            Self::Restart(Some(arguments)) => {
                out.explicit(14, |out| out.explicit(3, |out| arguments.write(out)));
            }
            Self::InfoV4 => out.explicit_null(15),
            Self::InfoV5 => out.explicit_null(18),
            Self::Info => out.explicit_null(19),
            Self::Create(config) => out.explicit(20, |out| config.write(out)),
            Self::ForceCreate(config) => out.explicit(21, |out| config.write(out)),
            Self::Status => out.explicit_null(28),
            Self::CreateByDigest(by_digest) => out.explicit(29, |out| by_digest.write(out)),
            Self::ForceCreateByDigest(by_digest) => out.explicit(30, |out| by_digest.write(out)),
        }
    }
}

impl<'a> UnikernelCommand<'a> {
    fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("unikernel")?;
        let command = match number {
            3 => nothing(&mut content, Self::Destroy)?,
            9 => Self::Create(old::config_v3(&mut content)?),
            10 => Self::ForceCreate(old::config_v3(&mut content)?),
            11 => Self::Get(content.int("unikernel.get")?),
            14 => Self::Restart(read_restart(&mut content)?),
            15 => nothing(&mut content, Self::InfoV4)?,
            16 => Self::Create(old::config_v4(&mut content)?),
            17 => Self::ForceCreate(old::config_v4(&mut content)?),
            18 => nothing(&mut content, Self::InfoV5)?,
            19 => nothing(&mut content, Self::Info)?,
            20 => Self::Create(Config::read(&mut content)?),
            21 => Self::ForceCreate(Config::read(&mut content)?),
            28 => nothing(&mut content, Self::Status)?,
            29 => Self::CreateByDigest(ByDigest::read(&mut content)?),
            30 => Self::ForceCreateByDigest(ByDigest::read(&mut content)?),
            _ => return content.unknown("unikernel", number),
        };
        content.finish("unikernel")?;
        Ok(command)
    }
}

fn read_restart(from: &mut Decoder<'_>) -> Result<Option<Arguments>, DecodeError> {
    let (number, mut content) = from.choice("unikernel.restart")?;
    let arguments = match number {
        0 => nothing(&mut content, None)?,
        1 => Some(old::arguments_v0(&mut content)?),
        2 => Some(old::arguments_v1(&mut content)?),
        3 => Some(Arguments::read(&mut content)?),
        _ => return content.unknown("unikernel.restart", number),
    };
    content.finish("unikernel.restart")?;
    Ok(arguments)
}

impl ByDigest {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.config.write(out);
            out.octets(&self.sha256);
            out.int(self.size);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("by-digest")?;
        let at = fields.error("by-digest.config.image", crate::DecodeErrorKind::TrailingData);
        let config = Config::read(&mut fields)?.into_owned();
        if !config.image.is_empty() {
            let kind = crate::DecodeErrorKind::WrongLength { expected: 0, found: config.image.len() };
            return Err(DecodeError { kind, ..at });
        }
        let by_digest =
            Self { config, sha256: fields.fixed("by-digest.sha256")?, size: fields.int("by-digest.size")? };
        fields.finish("by-digest")?;
        Ok(by_digest)
    }
}

impl PolicyCommand {
    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Info => out.explicit_null(0),
            Self::Add(policy) => out.explicit(1, |out| policy.write(out)),
            Self::Remove => out.explicit_null(2),
        }
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("policy")?;
        let command = match number {
            0 => nothing(&mut content, Self::Info)?,
            1 => Self::Add(Policy::read(&mut content)?),
            2 => nothing(&mut content, Self::Remove)?,
            _ => return content.unknown("policy", number),
        };
        content.finish("policy")?;
        Ok(command)
    }
}

impl BlockCommand<'_> {
    fn into_owned(self) -> BlockCommand<'static> {
        match self {
            Self::Info => BlockCommand::Info,
            Self::Add(size) => BlockCommand::Add(size),
            Self::Remove => BlockCommand::Remove,
            Self::AddOld { size, compressed, data } => BlockCommand::AddOld {
                size,
                compressed,
                data: data.map(|data| Cow::Owned(data.into_owned())),
            },
            Self::SetOld { compressed, data } => {
                BlockCommand::SetOld { compressed, data: Cow::Owned(data.into_owned()) }
            }
            Self::DumpOld(level) => BlockCommand::DumpOld(level),
            Self::Dump(level) => BlockCommand::Dump(level),
            Self::Set { compressed } => BlockCommand::Set { compressed },
        }
    }

    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Info => out.explicit_null(0),
            Self::Add(size) => out.explicit(1, |out| out.int(*size)),
            Self::Remove => out.explicit_null(2),
            Self::AddOld { size, compressed, data } => out.explicit(3, |out| {
                out.sequence(|out| {
                    out.int(*size);
                    out.boolean(*compressed);
                    if let Some(data) = data {
                        out.octets(data);
                    }
                });
            }),
            Self::SetOld { compressed, data } => out.explicit(4, |out| {
                out.sequence(|out| {
                    out.boolean(*compressed);
                    out.octets(data);
                });
            }),
            Self::DumpOld(level) => out.explicit(5, |out| out.int(*level)),
            Self::Dump(level) => out.explicit(6, |out| out.int(*level)),
            Self::Set { compressed } => out.explicit(7, |out| out.boolean(*compressed)),
        }
    }
}

impl<'a> BlockCommand<'a> {
    fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("block")?;
        let command = match number {
            0 => nothing(&mut content, Self::Info)?,
            1 => Self::Add(content.int("block.add")?),
            2 => nothing(&mut content, Self::Remove)?,
            3 => Self::read_add_old(&mut content)?,
            4 => {
                let mut fields = content.sequence("block.set-old")?;
                let compressed = fields.boolean("block.set-old.compressed")?;
                let data = Cow::Borrowed(fields.octets("block.set-old.data")?);
                fields.finish("block.set-old")?;
                Self::SetOld { compressed, data }
            }
            5 => Self::DumpOld(content.int("block.dump-old")?),
            6 => Self::Dump(content.int("block.dump")?),
            7 => Self::Set { compressed: content.boolean("block.set")? },
            _ => return content.unknown("block", number),
        };
        content.finish("block")?;
        Ok(command)
    }

    fn read_add_old(content: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let mut fields = content.sequence("block.add-old")?;
        let size = fields.int("block.add-old.size")?;
        let compressed = fields.boolean("block.add-old.compressed")?;
        let data = fields.optional(der::Tag::OctetString, |fields| fields.octets("block.add-old.data"))?;
        fields.finish("block.add-old")?;
        Ok(Self::AddOld { size, compressed, data: data.map(Cow::Borrowed) })
    }
}

impl<'a> RevocationCommand<'a> {
    fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("revocation")?;
        let command = match number {
            0 => Self::Install(Cow::Borrowed(content.octets("revocation.install")?)),
            _ => return content.unknown("revocation", number),
        };
        content.finish("revocation")?;
        Ok(command)
    }
}
