//! From what was typed to what is sent: a name and a command, with every check that needs no server.
//!
//! What fails in here has exit code 124, and nothing has been sent yet.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use albatross_core::resources::{Unusable, usable};
use albatross_driver::logging::Logger;
use albatross_proto::command::History;
use albatross_proto::log::LogCommand;
use albatross_proto::{
    Arguments, BlockCommand, BlockDevice, Command, Config, ConsoleCommand, FailBehaviour, Int, Name,
    NetDevice, Policy, PolicyCommand, StatisticsCommand, Text, Typ, UnikernelCommand,
};

use crate::error::Error;
use crate::image::{self, ImageError};
use crate::options::values::{self, BlockOption, CompressionLevel, NetOption};
use crate::options::{Action, Create, Destination, Restart, StartOptions, StatsAdd, only_label};

/// The CommonName of a certificate whose command is for the path itself.
pub(crate) const PATH_ITSELF: &str = ".";

/// A command and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The full name; for a certificate only its label counts, the path comes from the chain.
    pub(crate) name: Name,
    /// The command. The image of a create is in it.
    pub(crate) command: Command<'static>,
}

/// Why a command is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum CommandError {
    /// The policy can be of no use.
    Unusable(Unusable),
    /// The command is for one unikernel or block device, and the name is that of a path.
    LabelNeeded(Name),
    /// A path where the path comes from the chain.
    PathInCertificate(Name),
    /// The root, which has no intermediate certificate.
    RootInCertificate,
    /// A solo5 unikernel without an image.
    ImageNeeded,
    /// The content of a block device is longer than the device.
    DataTooLong { path: PathBuf, length: u64, size: Int },
    /// The image is not one, or its devices are not the ones that are given.
    Image(ImageError),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(unusable) => write!(f, "the policy is of no use: {unusable}"),
            Self::LabelNeeded(name) => {
                write!(
                    f,
                    "'{name}' is a path, the name of one unikernel or block device is needed: {name}NAME"
                )
            }
            Self::PathInCertificate(name) => write!(
                f,
                "'{name}' has a path, which a certificate takes from the chain that signs it: give the last \
                 label only, or nothing for the path itself"
            ),
            Self::RootInCertificate => f.write_str("a certificate with a policy needs the label of a path"),
            Self::ImageNeeded => f.write_str("a solo5 unikernel needs an image: create NAME IMAGE"),
            Self::DataTooLong { path, length, size } => {
                let path = path.display();
                write!(f, "{path} has {length} octets, which do not fit on a block device of {size} MB")
            }
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Image(error) => Some(error),
            _ => None,
        }
    }
}

impl Request {
    /// The CommonName of the certificate that carries this command.
    ///
    /// # Errors
    /// [`CommandError`], where the name does not fit into a certificate.
    pub(crate) fn common_name(&self) -> Result<String, CommandError> {
        if let Command::Policy(command) = &self.command {
            return match (command, self.name.path()) {
                (PolicyCommand::Info, path) if path.is_root() => Ok(PATH_ITSELF.to_owned()),
                (_, path) if path.is_root() => Err(CommandError::RootInCertificate),
                (_, path) => Ok(path.as_str().to_owned()),
            };
        }
        match only_label(&self.name) {
            Some(label) => Ok(label.map_or(PATH_ITSELF, |label| label.as_str()).to_owned()),
            None => Err(CommandError::PathInCertificate(self.name.clone())),
        }
    }
}

/// The word for a command, after which files are called where there is no name.
pub(crate) const fn word(command: &Command<'_>) -> &'static str {
    match command {
        Command::Console(ConsoleCommand::ListInactive) => "inactive-consoles",
        Command::Console(_) => "console",
        Command::Statistics(_) => "stats",
        Command::Policy(PolicyCommand::Add(_)) => "add-policy",
        Command::Policy(PolicyCommand::Remove) => "remove-policy",
        Command::Policy(PolicyCommand::Info) => "policy",
        Command::Block(_) => "block",
        Command::Log(_) => "log",
        Command::Revocation(_) => "revocation",
        Command::Unikernel(UnikernelCommand::Create(_) | UnikernelCommand::CreateByDigest(_)) => "create",
        Command::Unikernel(UnikernelCommand::ForceCreate(_) | UnikernelCommand::ForceCreateByDigest(_)) => {
            "create"
        }
        Command::Unikernel(UnikernelCommand::Restart(_)) => "restart",
        Command::Unikernel(UnikernelCommand::Destroy) => "destroy",
        Command::Unikernel(UnikernelCommand::Get(_)) => "get",
        Command::Unikernel(_) => "info",
    }
}

/// What `action` sends, to whom it concerns. Must not be called for the actions that send nothing.
///
/// # Errors
/// [`CommandError`], and files that cannot be read.
pub(crate) fn request(action: &Action, to: &Destination, log: &Logger) -> Result<Request, Error> {
    let (name, needs_label) = target(action).ok_or(Error::NoCommand)?;
    if needs_label && name.label().is_none() {
        return Err(CommandError::LabelNeeded(name).into());
    }
    Ok(Request { name, command: command(action, to, log)? })
}

/// The name of an action, and whether that must be the name of one unikernel or block device: on a path
/// the command would be refused (and `create` costs a peer's albatrossd its console).
fn target(action: &Action) -> Option<(Name, bool)> {
    match action {
        Action::Policy(it) => Some((it.path.to_name(), false)),
        Action::AddPolicy(it) => Some((it.path.to_name(), false)),
        Action::ReplacePolicy(it) => Some((it.path.to_name(), false)),
        Action::RemovePolicy(it) => Some((it.path.to_name(), false)),
        Action::Info(it) => Some((it.name.clone(), false)),
        Action::Get(it) => Some((it.name.clone(), true)),
        Action::Create(it) => Some((it.name.clone(), true)),
        Action::Restart(it) => Some((it.name.clone(), true)),
        Action::Destroy(it) => Some((it.name.clone(), true)),
        Action::Console(it) => Some((it.name.clone(), true)),
        Action::InactiveConsoles(it) => Some((it.path.to_name(), false)),
        Action::Stats(it) => Some((it.name.clone(), false)),
        Action::StatsAdd(it) => Some((it.name.clone(), false)),
        Action::StatsRemove(it) => Some((it.name.clone(), false)),
        Action::Block(it) => Some((it.name.clone(), false)),
        Action::CreateBlock(it) => Some((it.name.clone(), true)),
        Action::SetBlock(it) => Some((it.name.clone(), true)),
        Action::DumpBlock(it) => Some((it.name.clone(), true)),
        Action::DestroyBlock(it) => Some((it.name.clone(), true)),
        Action::Update(it) => Some((it.name.clone(), true)),
        Action::Top(it) => Some((it.path.to_name(), false)),
        Action::Log(it) => Some((it.name.clone(), false)),
        Action::Generate(_)
        | Action::Sign(_)
        | Action::Revoke(_)
        | Action::Certificate(_)
        | Action::InspectDump(_)
        | Action::ExtractDump(_)
        | Action::Verify(_)
        | Action::Decode(_) => None,
    }
}

fn command(action: &Action, to: &Destination, log: &Logger) -> Result<Command<'static>, Error> {
    Ok(match action {
        Action::Policy(_) => Command::Policy(PolicyCommand::Info),
        Action::AddPolicy(it) => set_policy(it.policy())?,
        Action::ReplacePolicy(it) => set_policy(it.policy())?,
        Action::RemovePolicy(_) => Command::Policy(PolicyCommand::Remove),
        Action::Info(_) => Command::Unikernel(UnikernelCommand::Info),
        Action::Get(it) => Command::Unikernel(UnikernelCommand::Get(asked(it.compression_level, to))),
        Action::Create(it) => create(it, to, log)?,
        Action::Restart(it) => restart(it, log)?,
        Action::Destroy(_) => Command::Unikernel(UnikernelCommand::Destroy),
        Action::Console(it) => {
            let history = it.since.map_or(History::Count(it.count), History::Since);
            Command::Console(ConsoleCommand::Subscribe(history))
        }
        Action::InactiveConsoles(_) => Command::Console(ConsoleCommand::ListInactive),
        Action::Stats(_) => Command::Statistics(StatisticsCommand::Subscribe),
        Action::StatsAdd(it) => stats_add(it),
        Action::StatsRemove(_) => Command::Statistics(StatisticsCommand::Remove),
        Action::Block(_) => Command::Block(BlockCommand::Info),
        Action::CreateBlock(it) => Command::Block(BlockCommand::Add(it.size)),
        Action::SetBlock(it) => {
            let level = it.compression_level.unwrap_or_else(|| default_level(to));
            Command::Block(BlockCommand::Set { compressed: level != CompressionLevel::NONE })
        }
        Action::DumpBlock(it) => Command::Block(BlockCommand::Dump(asked(it.compression_level, to))),
        Action::DestroyBlock(_) => Command::Block(BlockCommand::Remove),
        // What runs comes first.
        Action::Update(_) => Command::Unikernel(UnikernelCommand::Info),
        // What runs comes first.
        Action::Top(_) => Command::Unikernel(UnikernelCommand::Info),
        Action::Log(it) => {
            Command::Log(LogCommand(it.since.map_or(History::Count(it.count), History::Since)))
        }
        Action::Generate(_)
        | Action::Sign(_)
        | Action::Revoke(_)
        | Action::Certificate(_)
        | Action::InspectDump(_)
        | Action::ExtractDump(_)
        | Action::Verify(_)
        | Action::Decode(_) => return Err(Error::NoCommand),
    })
}

fn stats_add(it: &StatsAdd) -> Command<'static> {
    let network = it.bridge.iter().map(|(bridge, tap)| (bridge.as_str().into(), tap.as_str().into()));
    Command::Statistics(StatisticsCommand::Add {
        vmmdev: it.vmmdev.as_str().into(),
        pid: it.pid,
        network: network.collect(),
    })
}

/// The level that the server is asked to compress at.
fn asked(level: Option<CompressionLevel>, to: &Destination) -> Int {
    Int::from(i32::from(level.unwrap_or_else(|| default_level(to)).get()))
}

/// Compression where none is asked for: none on the same host.
pub(crate) fn default_level(to: &Destination) -> CompressionLevel {
    match to {
        Destination::Local | Destination::Socket(_) | Destination::SocketDump => CompressionLevel::NONE,
        Destination::Remote(_) | Destination::RemoteDump | Destination::Request => CompressionLevel::BEST,
    }
}

fn set_policy(policy: Policy) -> Result<Command<'static>, CommandError> {
    usable(&policy).map_err(CommandError::Unusable)?;
    Ok(Command::Policy(PolicyCommand::Add(policy)))
}

/// The image of a solo5 unikernel, not compressed, and how it is started.
///
/// # Errors
/// [`CommandError`]: none is given, or its devices are others.
pub(crate) fn image_and_arguments(it: &Create, log: &Logger) -> Result<(Vec<u8>, Arguments), Error> {
    image::check_unique(it.start().block, it.start().net)?;
    let arguments = arguments(it.start(), log);
    match (it.typ, &it.image) {
        (Typ::Solo5, Some(path)) => Ok((image::read(path, &arguments)?, arguments)),
        _ => Err(CommandError::ImageNeeded.into()),
    }
}

fn create(it: &Create, to: &Destination, log: &Logger) -> Result<Command<'static>, Error> {
    image::check_unique(it.start().block, it.start().net)?;
    let arguments = arguments(it.start(), log);
    let (compressed, image) = match (it.typ, &it.image) {
        (Typ::Solo5, None) => return Err(CommandError::ImageNeeded.into()),
        (Typ::Solo5, Some(path)) => {
            let level = it.compression_level.unwrap_or_else(|| default_level(to));
            let image = image::read(path, &arguments)?;
            (level != CompressionLevel::NONE, image::compress(image, level))
        }
        (Typ::Bhyve, file) => {
            if file.is_some() {
                log.warning("a bhyve guest has no image, IMAGE is not used");
            }
            (false, Vec::new())
        }
    };
    let config = Config { typ: it.typ, compressed, image: Cow::Owned(image), arguments };
    Ok(Command::Unikernel(match it.force {
        true => UnikernelCommand::ForceCreate(config),
        false => UnikernelCommand::Create(config),
    }))
}

fn restart(it: &Restart, log: &Logger) -> Result<Command<'static>, CommandError> {
    let start = it.start();
    let replacement = if it.replace_arguments {
        image::check_unique(start.block, start.net).map_err(CommandError::Image)?;
        Some(arguments(start, log))
    } else {
        if start.is_any_given() {
            log.warning("without --replace-arguments it starts as before, the other options are not used");
        }
        None
    };
    Ok(Command::Unikernel(UnikernelCommand::Restart(replacement)))
}

fn arguments(start: StartOptions<'_>, log: &Logger) -> Arguments {
    let defaults = Arguments::new();
    if !start.restart && !start.exit_code.is_empty() {
        log.warning("--exit-code is of use only with --restart");
    }
    let fail_behaviour = if start.restart {
        FailBehaviour::Restart(start.exit_code.iter().copied().collect())
    } else {
        FailBehaviour::Quit
    };
    let argv: Vec<Text> = start.arg.iter().map(|argument| argument.as_str().into()).collect();
    Arguments {
        fail_behaviour,
        startup: start.startup,
        add_name: !start.no_add_name,
        cpuids: values::cpu_set(start.cpu),
        memory: start.mem.unwrap_or(defaults.memory),
        block_devices: start.block.iter().map(block_device).collect(),
        net_devices: start.net.iter().map(net_device).collect(),
        argv: (!argv.is_empty()).then_some(argv),
        cpus: start.cpus.unwrap_or(defaults.cpus),
        linux_boot_partition: start.linux_boot.map(Text::from),
    }
}

fn block_device(option: &BlockOption) -> BlockDevice {
    BlockDevice {
        name: option.name.as_str().into(),
        device: option.device.as_deref().map(Text::from),
        sector_size: option.sector_size,
    }
}

fn net_device(option: &NetOption) -> NetDevice {
    NetDevice {
        name: option.name.as_str().into(),
        bridge: option.bridge.as_deref().map(Text::from),
        mac: option.mac,
    }
}

#[cfg(test)]
mod tests;
