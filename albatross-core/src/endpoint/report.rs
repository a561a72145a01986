//! What became of a connection: texts for the client and for the log.

use std::fmt;

use albatross_proto::{
    Command, Name, Path,
    command::{BlockCommand, ConsoleCommand, Daemon, PolicyCommand, StatisticsCommand, UnikernelCommand},
    frame::FrameError,
};

use super::limits::{
    HANDSHAKE_PATIENCE, LARGE_PLACES, LARGE_STEP, LARGE_STEP_PATIENCE, MAX_STREAMED_IMAGE, MAX_UNEXPECTED,
    PLACE_PATIENCE, WRITE_PATIENCE,
};
use crate::{
    authority::AuthorityError, certificate::ChainError, machine::Level, revocation::RevocationError,
};

/// How the answer begins to a client whose chain is refused ([`Failure::Chain`]): by it a client tells that from a
/// command that failed.
pub const CHAIN_REFUSED: &str = "the client's chain is refused: ";

/// The one line that is logged for a connection.
#[derive(Debug)]
pub struct Report {
    /// What the chain names, where it was accepted.
    pub name: Option<Name>,
    /// What the leaf commands, in words.
    pub command: Option<&'static str>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The command was carried out and answered.
    Done,
    /// The daemon answered with a failure, here as far as it is known.
    Refused(Option<String>),
    /// The endpoint answered with a failure.
    Failed(Failure),
    /// The client has seen enough of a stream.
    Left,
    /// The client closed before it was answered.
    Gone,
    /// The client does not take what is sent.
    NotReading,
    /// The client's half of the connection failed or the client broke the rules of TLS.
    Broken(String),
    /// The daemon ended within a frame, of which the client has a part already.
    CutOff(Daemon),
    /// The handshake was not done in time.
    Silent,
    /// The client sent more than a handshake takes.
    LongHandshake {
        /// In octets.
        limit: usize,
    },
    /// The client's chain is a large one, and there was no place for it.
    NoPlace,
    /// The client's chain is a large one, and came too slowly.
    SlowChain,
    /// A newer client needed the room.
    Crowded,
    /// The endpoint ends.
    Shutdown,
}

/// Why the endpoint answers with a failure of its own. The text goes to the client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// What the client showed is not a path to the root, or a certificate of it was revoked.
    Chain(ChainError),
    /// The client's revocation list was not installed.
    NotInstalled(InstallError),
    /// The chain is valid and carries no authority for what it asks.
    Authority(AuthorityError),
    /// The daemon's socket does not answer.
    Unreachable(Daemon, std::io::Error),
    /// The daemon closed the connection before the answer was complete.
    Closed(Daemon),
    /// The daemon closed the connection, and so ended a stream.
    StreamEnded(Daemon),
    /// The daemon was silent for too long.
    DaemonSilent(Daemon),
    /// The daemon's answer is no message.
    Nonsense(Daemon),
    /// A policy of the chain was not accepted.
    PolicyRefused {
        /// The path of the policy.
        path: Path,
        /// What the daemon says about it.
        text: String,
    },
    /// The client announced a chunk that is too long.
    Chunk(FrameError),
    /// The streamed image is longer than is taken.
    ImageTooLong {
        /// Octets taken.
        limit: usize,
    },
    /// No image came.
    ImageEmpty,
    /// The streamed image is not the one that was signed.
    WrongDigest,
    /// The client's stream ended without its last, empty chunk.
    StreamCut,
    /// The client's stream does not get on.
    StreamSlow,
    /// The client sent what nobody asked for.
    Unexpected,
    /// The message for the daemon is too long to be sent.
    TooLong(albatross_proto::EncodeError),
}

/// Why a revocation list that a client brought was not installed.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// The endpoint was not told where to keep lists.
    NoFolder,
    /// The list is not to be honoured.
    Refused(RevocationError),
    /// It counts, but could not be written: it is forgotten when the endpoint ends.
    NotWritten(std::io::Error),
}

impl Report {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self.outcome {
            Outcome::Done | Outcome::Left | Outcome::Shutdown => Level::Info,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}, ")?;
        }
        if let Some(command) = self.command {
            write!(f, "{command}: ")?;
        }
        self.outcome.fmt(f)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(Some(text)) => write!(f, "failed: {text}"),
            Self::Refused(None) => f.write_str("failed"),
            // What the operator needs beyond what the client is told.
            Self::Failed(Failure::Unreachable(daemon, error)) => {
                write!(f, "failed: {} is not reachable: {error}", program(*daemon))
            }
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Left => f.write_str("the client left"),
            Self::Gone => f.write_str("the client closed the connection before it was answered"),
            Self::NotReading => {
                write!(f, "dropped, as the client did not read for {} s", WRITE_PATIENCE.as_secs())
            }
            Self::Broken(text) => f.write_str(text),
            Self::CutOff(daemon) => {
                write!(f, "dropped, as {} closed the connection within a frame", program(*daemon))
            }
            Self::Silent => {
                write!(f, "dropped, as the handshake was not done within {} s", HANDSHAKE_PATIENCE.as_secs())
            }
            Self::LongHandshake { limit } => {
                write!(f, "dropped, as the handshake took more than {limit} octets")
            }
            Self::NoPlace => write!(
                f,
                "dropped, as for {} s {LARGE_PLACES} others were sending large certificates",
                PLACE_PATIENCE.as_secs()
            ),
            Self::SlowChain => write!(
                f,
                "dropped, as less than {LARGE_STEP} octets of large certificates came in {} s",
                LARGE_STEP_PATIENCE.as_secs()
            ),
            Self::Crowded => f.write_str("dropped, as there are too many connections"),
            Self::Shutdown => f.write_str("dropped, as the endpoint ends"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(error) => error.fmt(f),
            Self::Chain(error) => write!(f, "{CHAIN_REFUSED}{error}"),
            Self::NotInstalled(error) => error.fmt(f),
            Self::Unreachable(daemon, _) => write!(f, "{} is not reachable", program(*daemon)),
            Self::Closed(daemon) => write!(f, "{} closed the connection without an answer", program(*daemon)),
            Self::StreamEnded(daemon) => write!(f, "{} ended the stream", program(*daemon)),
            Self::DaemonSilent(daemon) => write!(f, "{} does not answer", program(*daemon)),
            Self::Nonsense(daemon) => write!(f, "{} answered with what is no message", program(*daemon)),
            Self::PolicyRefused { path, text } => write!(f, "policy of {path} was not accepted: {text}"),
            Self::Chunk(error) => error.fmt(f),
            Self::ImageTooLong { limit } => {
                write!(f, "the streamed image is longer than {limit} octets")?;
                if *limit == MAX_STREAMED_IMAGE { Ok(()) } else { f.write_str(", the size that was signed") }
            }
            Self::ImageEmpty => f.write_str(
                "the image is empty: it stands neither in the certificate nor came it as a stream",
            ),
            Self::WrongDigest => {
                f.write_str("the streamed image has another SHA-256 than the certificate says")
            }
            Self::StreamCut => f.write_str("the stream ended without its last, empty chunk"),
            Self::StreamSlow => f.write_str("the stream came too slowly"),
            Self::Unexpected => {
                write!(f, "more than {MAX_UNEXPECTED} octets were sent where none are expected")
            }
            Self::TooLong(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFolder => f.write_str("this endpoint keeps no revocation lists: start it with --crl-dir"),
            Self::Refused(error) => error.fmt(f),
            Self::NotWritten(error) => write!(
                f,
                "the revocation list counts until the endpoint ends, but could not be written to the folder \
                 of --crl-dir: {error}; send it again when that is mended"
            ),
        }
    }
}

impl std::error::Error for InstallError {}

impl std::error::Error for Failure {}

/// The program that a daemon is.
pub(super) const fn program(daemon: Daemon) -> &'static str {
    match daemon {
        Daemon::Vmmd => "albatrossd",
        Daemon::Console => "albatross-console",
        Daemon::Stats => "albatross-stats",
        Daemon::Log => "albatross-log",
        Daemon::Endpoint => "the endpoint",
    }
}

/// What a command is, in words.
pub(super) const fn words(command: &Command<'_>) -> &'static str {
    match command {
        Command::Console(ConsoleCommand::Add(_)) => "console add",
        Command::Console(ConsoleCommand::Subscribe(_)) => "console subscribe",
        Command::Console(ConsoleCommand::ListInactive) => "console list-inactive",
        Command::Statistics(StatisticsCommand::Add { .. }) => "stats add",
        Command::Statistics(StatisticsCommand::Remove) => "stats remove",
        Command::Statistics(StatisticsCommand::Subscribe) => "stats subscribe",
        Command::Statistics(StatisticsCommand::Initial) => "stats initial",
        Command::Unikernel(command) => unikernel_words(command),
        Command::Policy(PolicyCommand::Info) => "policy info",
        Command::Policy(PolicyCommand::Add(_)) => "policy add",
        Command::Policy(PolicyCommand::Remove) => "policy remove",
        Command::Block(command) => block_words(command),
        Command::Log(_) => "log",
        Command::Revocation(_) => "revocation",
    }
}

const fn unikernel_words(command: &UnikernelCommand<'_>) -> &'static str {
    match command {
        UnikernelCommand::Info | UnikernelCommand::InfoV5 | UnikernelCommand::InfoV4 => "info",
        UnikernelCommand::Create(_) => "create",
        UnikernelCommand::ForceCreate(_) => "force-create",
        UnikernelCommand::Restart(_) => "restart",
        UnikernelCommand::Destroy => "destroy",
        UnikernelCommand::Get(_) => "get",
        UnikernelCommand::Status => "status",
        UnikernelCommand::CreateByDigest(_) => "create by digest",
        UnikernelCommand::ForceCreateByDigest(_) => "force-create by digest",
    }
}

const fn block_words(command: &BlockCommand<'_>) -> &'static str {
    match command {
        BlockCommand::Info => "block info",
        BlockCommand::Add(_) | BlockCommand::AddOld { .. } => "block add",
        BlockCommand::Remove => "block remove",
        BlockCommand::SetOld { .. } | BlockCommand::Set { .. } => "block set",
        BlockCommand::DumpOld(_) | BlockCommand::Dump(_) => "block dump",
    }
}
