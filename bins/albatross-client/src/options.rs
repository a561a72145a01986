//! The command line: every word that `albatross-client` knows, as argh definitions.
//!
//! What is not in here is refused with exit code 124. Options that stand for the whole program
//! (`--destination`, `--csr`, logging, ..) may stand before or after the command; which of them a command
//! does not take is checked in [`Options::check`]. The options of each command stand with those of its like,
//! in the modules below. See README.md.

use std::path::PathBuf;

use albatross_core::issue::KeyKind;
use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_driver::logging::{Color, Level, Logger};
use albatross_driver::options::{Aliases, DEFAULT_TMPDIR, Program};
use albatross_proto::{Label, Name};

mod blocks;
mod check;
mod offline;
mod policies;
mod role;
mod unikernels;
pub(crate) mod values;
mod watching;

pub(crate) use blocks::{Block, CreateBlock, DestroyBlock, DumpBlock, SetBlock};
pub(crate) use check::Conflict;
pub(crate) use offline::{Certificate, Decode, ExtractDump, Generate, InspectDump, Revoke, Sign, Verify};
pub(crate) use policies::{AddPolicy, Policy, RemovePolicy, ReplacePolicy};
pub(crate) use role::Role;
pub(crate) use unikernels::{Create, Destroy, Get, Info, Restart, StartOptions, Update};
pub(crate) use watching::{Console, InactiveConsoles, Log, Stats, StatsAdd, StatsRemove, Top};

/// The name in log lines and messages.
pub(crate) const PROGRAM_NAME: &str = "albatross-client";

/// The program that `top` is done by.
pub(crate) const TOP_PROGRAM: &str = "albatross-top";

/// Second names of options, as users type them already.
pub(crate) const ALIASES: Aliases = &[
    ("--block", "--size"),
    ("--bridge", "--network"),
    ("--restart-on-fail", "--restart"),
    ("--dry-run", "--dryrun"),
];

/// A program of this name, for parsing and for mistakes.
pub(crate) const fn program(name: &'static str) -> Program {
    Program::new(name, env!("CARGO_PKG_VERSION")).with_aliases(ALIASES)
}

/// Asks albatross to do things: here over a socket, elsewhere over TLS (--destination), or later by a
/// certificate that somebody else signs (--csr).
#[derive(Debug, FromArgs, ArgsInfo)]
pub(crate) struct Options {
    /// directory of the daemons' sockets (/run/albatross)
    #[argh(option, arg_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// socket of the daemon to ask; - prints the message instead
    #[argh(option, arg_name = "PATH")]
    pub(crate) socket: Option<String>,
    /// endpoint to ask, its port 1025 where none is given; - prints the certificates instead
    #[argh(option, short = 'd', arg_name = "HOST[:PORT]")]
    pub(crate) destination: Option<String>,
    /// write a certificate signing request instead of asking
    #[argh(switch)]
    pub(crate) csr: bool,
    /// certificates that sign the command's, the signing one first (ca.pem)
    #[argh(option, arg_name = "FILE")]
    ca: Option<PathBuf>,
    /// private key of the first certificate of --ca (ca.key)
    #[argh(option, arg_name = "FILE")]
    ca_key: Option<PathBuf>,
    /// certificate that the server's must be signed by (cacert.pem)
    #[argh(option, arg_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// name or address that the server's certificate must have (its authority alone is checked)
    #[argh(option, arg_name = "HOST")]
    pub(crate) server_name: Option<String>,
    /// kind of a new private key: rsa2048, rsa4096, ed25519, p256, p384, p521 (ed25519)
    #[argh(option, arg_name = "KIND")]
    key_type: Option<KeyKind>,
    /// print results as JSON, one object per line
    #[argh(switch)]
    pub(crate) json: bool,
    /// log more: once what happens, twice in detail
    #[argh(switch, short = 'v')]
    verbose: u8,
    /// log nothing
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// what is logged: quiet, error, warning, info, debug (warning)
    #[argh(option, arg_name = "LEVEL")]
    verbosity: Option<Level>,
    /// colour in log lines: auto, always, never (auto)
    #[argh(option, arg_name = "WHEN", default = "Default::default()")]
    color: Color,
    #[argh(subcommand)]
    pub(crate) action: Action,
}

/// The commands.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum Action {
    Policy(Policy),
    AddPolicy(AddPolicy),
    ReplacePolicy(ReplacePolicy),
    RemovePolicy(RemovePolicy),
    Info(Info),
    Get(Get),
    Create(Create),
    Restart(Restart),
    Destroy(Destroy),
    Console(Console),
    InactiveConsoles(InactiveConsoles),
    Stats(Stats),
    StatsAdd(StatsAdd),
    StatsRemove(StatsRemove),
    Block(Block),
    CreateBlock(CreateBlock),
    SetBlock(SetBlock),
    DumpBlock(DumpBlock),
    DestroyBlock(DestroyBlock),
    Update(Update),
    Top(Top),
    Log(Log),
    Generate(Generate),
    Sign(Sign),
    Revoke(Revoke),
    Certificate(Certificate),
    InspectDump(InspectDump),
    ExtractDump(ExtractDump),
    Verify(Verify),
    Decode(Decode),
}

/// Where a command goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the daemon's socket under `--tmpdir`.
    Local,
    /// To this socket.
    Socket(PathBuf),
    /// Shown, as it would go to a socket.
    SocketDump,
    /// To the endpoint `HOST[:PORT]`.
    Remote(String),
    /// Shown, as it would go to an endpoint.
    RemoteDump,
    /// Into a certificate signing request.
    Request,
}

impl Options {
    /// Where the sockets are.
    pub(crate) fn tmpdir(&self) -> PathBuf {
        self.tmpdir.clone().unwrap_or_else(|| DEFAULT_TMPDIR.into())
    }

    /// The certificates that sign.
    pub(crate) fn ca(&self) -> PathBuf {
        self.ca.clone().unwrap_or_else(|| "ca.pem".into())
    }

    /// The key that signs.
    pub(crate) fn ca_key(&self) -> PathBuf {
        self.ca_key.clone().unwrap_or_else(|| "ca.key".into())
    }

    /// The certificate that the server's must be signed by.
    pub(crate) fn server_ca(&self) -> PathBuf {
        self.server_ca.clone().unwrap_or_else(|| "cacert.pem".into())
    }

    /// The kind of a new key.
    pub(crate) fn key_kind(&self) -> KeyKind {
        self.key_type.unwrap_or_default()
    }

    /// The least important level that is logged.
    pub(crate) fn level(&self) -> Level {
        Level::from_options(self.quiet, self.verbosity, self.verbose)
    }

    pub(crate) fn logger(&self, role: Role) -> Logger {
        Logger::new(role.name(), self.level(), self.color)
    }

    /// Where the command goes. Call [`Self::check`] first.
    pub(crate) fn destination(&self) -> Destination {
        match (&self.socket, &self.destination) {
            _ if self.csr => Destination::Request,
            (Some(socket), _) if socket == "-" => Destination::SocketDump,
            (Some(socket), _) => Destination::Socket(socket.into()),
            (None, Some(host)) if host == "-" => Destination::RemoteDump,
            (None, Some(host)) => Destination::Remote(host.clone()),
            (None, None) => Destination::Local,
        }
    }
}

/// The last label of a name, for the CommonName of a command's certificate.
pub(crate) fn only_label(name: &Name) -> Option<Option<&Label>> {
    name.path().is_root().then(|| name.label())
}
