//! The command line: every word that `albatross-client` knows, as argh definitions.
//!
//! What is not in here is refused with exit code 124. Options that stand for the whole program
//! (`--destination`, `--csr`, logging, ..) may stand before or after the command; which of them a command
//! does not take is checked in [`Options::check`]. See README.md.

use std::path::PathBuf;

use albatross_core::issue::KeyKind;
use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_driver::logging::{Color, Level, Logger};
use albatross_driver::options::{Aliases, DEFAULT_TMPDIR, Program};
use albatross_proto::{Int, Label, Name, Path, Time, Typ};

mod offline;
mod role;
pub(crate) mod values;

pub(crate) use offline::{Certificate, Decode, ExtractDump, Generate, InspectDump, Revoke, Sign, Verify};
pub(crate) use role::Role;
use values::{BlockOption, CompressionLevel, NetOption};

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

/// Shows the policies at a path and below.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "policy")]
pub(crate) struct Policy {
    /// the path (the root)
    #[argh(option, short = 'p', arg_name = "PATH", default = "Path::root()", from_str_fn(values::path))]
    pub(crate) path: Path,
}

/// Sets the policy of a path; with --csr asks for an intermediate certificate with it.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "add-policy")]
pub(crate) struct AddPolicy {
    /// the path
    #[argh(positional, arg_name = "PATH", from_str_fn(values::path))]
    pub(crate) path: Path,
    /// how many unikernels may run
    #[argh(positional, arg_name = "UNIKERNELS", from_str_fn(values::natural))]
    pub(crate) unikernels: Int,
    /// memory of all unikernels together, in MB (512)
    #[argh(option, arg_name = "MB", default = "values::DEFAULT_POLICY_MEMORY", from_str_fn(values::natural))]
    pub(crate) mem: Int,
    /// a cpu that may be used; may be repeated (0)
    #[argh(option, arg_name = "ID", from_str_fn(values::natural))]
    pub(crate) cpu: Vec<Int>,
    /// size of all block devices together, in MB; also --block (none allowed)
    #[argh(option, arg_name = "MB", from_str_fn(values::natural))]
    pub(crate) size: Option<Int>,
    /// a bridge that may be used; may be repeated; also --bridge
    #[argh(option, arg_name = "NAME", from_str_fn(values::bridge))]
    pub(crate) network: Vec<String>,
}

/// Sets the policy of a path in place of the one that is there, as add-policy does too.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "replace-policy")]
pub(crate) struct ReplacePolicy {
    /// the path
    #[argh(positional, arg_name = "PATH", from_str_fn(values::path))]
    pub(crate) path: Path,
    /// how many unikernels may run
    #[argh(positional, arg_name = "UNIKERNELS", from_str_fn(values::natural))]
    pub(crate) unikernels: Int,
    /// memory of all unikernels together, in MB (512)
    #[argh(option, arg_name = "MB", default = "values::DEFAULT_POLICY_MEMORY", from_str_fn(values::natural))]
    pub(crate) mem: Int,
    /// a cpu that may be used; may be repeated (0)
    #[argh(option, arg_name = "ID", from_str_fn(values::natural))]
    pub(crate) cpu: Vec<Int>,
    /// size of all block devices together, in MB; also --block (none allowed)
    #[argh(option, arg_name = "MB", from_str_fn(values::natural))]
    pub(crate) size: Option<Int>,
    /// a bridge that may be used; may be repeated; also --bridge
    #[argh(option, arg_name = "NAME", from_str_fn(values::bridge))]
    pub(crate) network: Vec<String>,
}

/// Removes the policy of a path.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "remove-policy")]
pub(crate) struct RemovePolicy {
    /// the path (the root)
    #[argh(option, short = 'p', arg_name = "PATH", default = "Path::root()", from_str_fn(values::path))]
    pub(crate) path: Path,
}

/// Shows the unikernels that run.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "info")]
pub(crate) struct Info {
    /// a unikernel, or a path with ':' at its end (all)
    #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()", from_str_fn(values::name))]
    pub(crate) name: Name,
}

/// Fetches the image of a unikernel into a file under $TMPDIR.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "get")]
pub(crate) struct Get {
    /// the unikernel
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// compression for the transfer, 0 to 9 (0 locally, else 9)
    #[argh(option, arg_name = "N")]
    pub(crate) compression_level: Option<CompressionLevel>,
}

/// Declares the options of a command that starts a unikernel, besides its own. (These pass as they are
/// written: argh looks at the words of a type, and would not see an Option that a macro has read.)
macro_rules! with_start_options {
    (
        $(#[$($meta:tt)*])*
        pub(crate) struct $name:ident { $($own:tt)* }
    ) => {
        #[derive(Debug, FromArgs, ArgsInfo)]
        $(#[$($meta)*])*
        pub(crate) struct $name {
            $($own)*
            /// memory in MB (32)
            #[argh(option, arg_name = "MB", from_str_fn(values::natural))]
            mem: Option<Int>,
            /// a cpu to run on; may be repeated (0)
            #[argh(option, arg_name = "ID", from_str_fn(values::natural))]
            cpu: Vec<Int>,
            /// number of virtual cpus (1)
            #[argh(option, arg_name = "N", from_str_fn(values::natural))]
            cpus: Option<Int>,
            /// an argument for the unikernel; may be repeated, never split
            #[argh(option, arg_name = "ARG")]
            arg: Vec<String>,
            /// a block device of the image, and which device of the host it is; may be repeated
            #[argh(option, arg_name = "NAME[:DEVICE][@SECTOR]")]
            block: Vec<BlockOption>,
            /// a network device of the image, its bridge and its address; may be repeated
            #[argh(option, arg_name = "[NAME:]BRIDGE[@MAC]")]
            net: Vec<NetOption>,
            /// start it again when it ends with a failure; also --restart-on-fail
            #[argh(switch)]
            restart: bool,
            /// with --restart: an exit code after which it is started again; may be repeated (every one)
            #[argh(option, arg_name = "N", from_str_fn(values::integer))]
            exit_code: Vec<Int>,
            /// place in the order of starts, 0 first (50)
            #[argh(option, arg_name = "N", from_str_fn(values::natural))]
            startup: Option<Int>,
            /// do not put --name=NAME before the arguments
            #[argh(switch)]
            no_add_name: bool,
            /// of a bhyve guest that boots Linux: the partition
            #[argh(option, arg_name = "PART")]
            linux_boot: Option<String>,
        }

        impl $name {
            /// The options that say how it is started.
            pub(crate) fn start(&self) -> StartOptions<'_> {
                StartOptions {
                    mem: self.mem,
                    cpu: &self.cpu,
                    cpus: self.cpus,
                    arg: &self.arg,
                    block: &self.block,
                    net: &self.net,
                    restart: self.restart,
                    exit_code: &self.exit_code,
                    startup: self.startup,
                    no_add_name: self.no_add_name,
                    linux_boot: self.linux_boot.as_deref(),
                }
            }
        }
    };
}

/// How a unikernel is started, as typed: what `create` and `restart` share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartOptions<'a> {
    pub(crate) mem: Option<Int>,
    pub(crate) cpu: &'a [Int],
    pub(crate) cpus: Option<Int>,
    pub(crate) arg: &'a [String],
    pub(crate) block: &'a [BlockOption],
    pub(crate) net: &'a [NetOption],
    pub(crate) restart: bool,
    pub(crate) exit_code: &'a [Int],
    pub(crate) startup: Option<Int>,
    pub(crate) no_add_name: bool,
    pub(crate) linux_boot: Option<&'a str>,
}

with_start_options! {
    /// Starts a unikernel.
    #[argh(subcommand, name = "create")]
    pub(crate) struct Create {
        /// what it is called
        #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
        pub(crate) name: Name,
        /// file with the image; a bhyve guest has none
        #[argh(positional, arg_name = "IMAGE")]
        pub(crate) image: Option<PathBuf>,
        /// stop the one that runs under this name first
        #[argh(switch, short = 'f')]
        pub(crate) force: bool,
        /// kind of unikernel: solo5, bhyve (solo5)
        #[argh(option, arg_name = "KIND", default = "Typ::Solo5", from_str_fn(values::typ))]
        pub(crate) typ: Typ,
        /// compression of the image for the transfer, 0 to 9 (0 locally, else 9)
        #[argh(option, arg_name = "N")]
        pub(crate) compression_level: Option<CompressionLevel>,
        /// send the image, not compressed, beside the command, which has its SHA-256: keeps a certificate
        /// small that is signed for it; the OCaml implementation does not know this
        #[argh(switch)]
        pub(crate) by_digest: bool,
    }
}

with_start_options! {
    /// Stops a unikernel and starts it again.
    #[argh(subcommand, name = "restart")]
    pub(crate) struct Restart {
        /// the unikernel
        #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
        pub(crate) name: Name,
        /// with these options in place of those it was created with; what is not given gets its default
        #[argh(switch)]
        pub(crate) replace_arguments: bool,
    }
}

/// Stops a unikernel.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "destroy")]
pub(crate) struct Destroy {
    /// the unikernel
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
}

/// Shows what a unikernel prints, and follows it.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "console")]
pub(crate) struct Console {
    /// the unikernel
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// begin with the lines since then: RFC 3339, or a date; wins over --count
    #[argh(option, arg_name = "TIME", from_str_fn(values::time))]
    pub(crate) since: Option<Time>,
    /// begin with so many lines (20)
    #[argh(option, arg_name = "N", default = "values::DEFAULT_COUNT", from_str_fn(values::integer))]
    pub(crate) count: Int,
}

/// Shows which consoles are kept of unikernels that do not run.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "inactive-consoles")]
pub(crate) struct InactiveConsoles {
    /// the path (the root)
    #[argh(option, short = 'p', arg_name = "PATH", default = "Path::root()", from_str_fn(values::path))]
    pub(crate) path: Path,
}

/// Shows statistics of unikernels as they are gathered.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stats")]
pub(crate) struct Stats {
    /// a unikernel, or a path with ':' at its end (all)
    #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()", from_str_fn(values::name))]
    pub(crate) name: Name,
}

/// Has statistics gathered of a process.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stats-add")]
pub(crate) struct StatsAdd {
    /// the process id
    #[argh(positional, arg_name = "PID", from_str_fn(values::natural))]
    pub(crate) pid: Int,
    /// the name to gather them under (the root)
    #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// the vmm device, on FreeBSD
    #[argh(option, arg_name = "DEV", default = "String::new()")]
    pub(crate) vmmdev: String,
    /// a network device and its tap; may be repeated
    #[argh(option, arg_name = "BRIDGE:TAP", from_str_fn(values::bridge_and_tap))]
    pub(crate) bridge: Vec<(String, String)>,
}

/// Has no more statistics gathered.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stats-remove")]
pub(crate) struct StatsRemove {
    /// the name they are gathered under (the root)
    #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()", from_str_fn(values::name))]
    pub(crate) name: Name,
}

/// Shows the block devices.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "block")]
pub(crate) struct Block {
    /// a block device, or a path with ':' at its end (all)
    #[argh(option, arg_name = "NAME", default = "Name::root()", from_str_fn(values::name))]
    pub(crate) name: Name,
}

/// Makes a block device, all zeros or with the content of a file.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create-block")]
pub(crate) struct CreateBlock {
    /// what it is called
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// its size in MB
    #[argh(positional, arg_name = "MB", from_str_fn(values::natural))]
    pub(crate) size: Int,
    /// file with its content, which must fit
    #[argh(option, arg_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// compression of the content for the transfer, 0 to 9 (0 locally, else 9)
    #[argh(option, arg_name = "N")]
    pub(crate) compression_level: Option<CompressionLevel>,
}

/// Replaces the content of a block device.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "set-block")]
pub(crate) struct SetBlock {
    /// the block device
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// file with its content, which must fit; the rest becomes zeros
    #[argh(positional, arg_name = "FILE")]
    pub(crate) file: PathBuf,
    /// compression of the content for the transfer, 0 to 9 (0 locally, else 9)
    #[argh(option, arg_name = "N")]
    pub(crate) compression_level: Option<CompressionLevel>,
}

/// Writes the content of a block device to a file.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "dump-block")]
pub(crate) struct DumpBlock {
    /// the block device
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// compression of the content for the transfer, 0 to 9 (0 locally, else 9)
    #[argh(option, arg_name = "N")]
    pub(crate) compression_level: Option<CompressionLevel>,
}

/// Removes a block device and what is on it.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "destroy-block")]
pub(crate) struct DestroyBlock {
    /// the block device
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
}

/// Replaces a unikernel by the latest build of it that a build server has.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "update")]
#[allow(rustdoc::bare_urls, reason = "the default, as the help shows it")]
pub(crate) struct Update {
    /// the unikernel
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// the build server, scheme and host only (https://builds.robur.coop)
    #[argh(option, arg_name = "URL", default = "values::DEFAULT_HTTP_HOST.to_owned()")]
    pub(crate) http_host: String,
    /// only say what would be done; also --dry-run
    #[argh(switch)]
    pub(crate) dryrun: bool,
    /// compression of the image for the transfer, 0 to 9 (0 locally, else 9)
    #[argh(option, arg_name = "N")]
    pub(crate) compression_level: Option<CompressionLevel>,
}

/// Shows what runs on the terminal, as it changes: unikernels with what they use, policies, and a console.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "top")]
pub(crate) struct Top {
    /// the path (the root)
    #[argh(option, short = 'p', arg_name = "PATH", default = "Path::root()", from_str_fn(values::path))]
    pub(crate) path: Path,
}

/// Shows what happened, and follows it: who came in, what was asked, what started and ended.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "log")]
pub(crate) struct Log {
    /// what it is about: a unikernel, or a path with ':' at its end (all)
    #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// begin with what happened since then: RFC 3339, or a date; wins over --count
    #[argh(option, arg_name = "TIME", from_str_fn(values::time))]
    pub(crate) since: Option<Time>,
    /// begin with so many events (20)
    #[argh(option, arg_name = "N", default = "values::DEFAULT_COUNT", from_str_fn(values::integer))]
    pub(crate) count: Int,
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

/// Options that do not go together, or that a command does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Conflict {
    /// Two of `--socket`, `--destination` and `--csr`.
    TwoDestinations,
    /// An option that this command does not take.
    NotForThisCommand(&'static str),
    /// An option that means something only together with another.
    OnlyWith { option: &'static str, with: &'static str },
    /// The command cannot do without this option.
    Needs(&'static str),
    /// Endpoints refuse this command.
    NotRemote,
    /// A block device with its content is not made by one command.
    TwoCommands,
    /// An update is a question and a command.
    NotShown,
    /// A view of many questions, to daemons of their own.
    ManyQuestions,
    /// What is covered by a digest is sent as it is.
    CompressedByDigest,
    /// The program of this name has a fixed destination, or a few commands only.
    NotForThisProgram(&'static str),
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TwoDestinations => {
                f.write_str("only one of --socket, --destination and --csr can be given")
            }
            Self::NotForThisCommand(option) => write!(f, "this command does not take {option}"),
            Self::OnlyWith { option, with } => write!(f, "{option} is of use only with {with}"),
            Self::Needs(option) => write!(f, "this command needs {option}"),
            Self::TwoCommands => f.write_str(
                "create-block with --data is two commands, which cannot be shown or requested together: use \
                 create-block and set-block",
            ),
            Self::NotShown => f.write_str(
                "update is several commands, of which the first is answered before the others are known: it \
                 cannot be shown or requested; use update --dry-run, then create --force",
            ),
            Self::ManyQuestions => f.write_str(
                "top asks several daemons again and again: use --tmpdir or --destination, and neither --csr, --socket nor \
                 -d -",
            ),
            Self::NotForThisProgram(what) => {
                write!(f, "this program does not take {what}, albatross-client does")
            }
            Self::CompressedByDigest => f.write_str(
                "with --by-digest the image is sent as it is, so that everybody can compare its digest: leave \
                 out --compression-level",
            ),
            Self::NotRemote => f.write_str(
                "endpoints refuse this command: a policy travels in an intermediate certificate \
                 (add-policy --csr, then sign), statistics are added on the host",
            ),
        }
    }
}

impl StartOptions<'_> {
    /// Whether any of these options is given.
    pub(crate) fn is_any_given(&self) -> bool {
        let values = self.mem.is_some() || self.cpus.is_some() || self.startup.is_some();
        let lists = [self.cpu.len(), self.arg.len(), self.block.len(), self.net.len(), self.exit_code.len()];
        values
            || lists.iter().any(|length| *length > 0)
            || self.restart
            || self.no_add_name
            || self.linux_boot.is_some()
    }
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

    /// Whether the options go together.
    ///
    /// # Errors
    /// The first [`Conflict`].
    pub(crate) fn check(&self) -> Result<(), Conflict> {
        const LOCAL: [&str; 4] = ["--socket", "--csr", "--tmpdir", "--destination"];
        const REMOTE: [&str; 4] = ["--ca", "--ca-key", "--server-ca", "--server-name"];
        match &self.action {
            Action::Generate(_) => self.refuse(&LOCAL).and_then(|()| self.refuse(&REMOTE)),
            Action::Sign(_)
            | Action::Verify(_)
            | Action::Decode(_)
            | Action::InspectDump(_)
            | Action::ExtractDump(_) => {
                self.refuse(&LOCAL)?;
                self.refuse(&REMOTE)?;
                self.refuse(&["--key-type"])
            }
            Action::Certificate(_) => self.check_certificate(),
            Action::Revoke(_) => self.check_revoke(),
            _ => self.check_destination(),
        }
    }

    /// The list is installed with a certificate that CACERT signs.
    fn check_revoke(&self) -> Result<(), Conflict> {
        self.refuse(&["--socket", "--csr", "--tmpdir", "--ca", "--ca-key"])?;
        if self.destination.is_some() { Ok(()) } else { self.needs_destination() }
    }

    /// Refuses what is of use only with a destination.
    fn needs_destination(&self) -> Result<(), Conflict> {
        for option in ["--ca", "--ca-key", "--server-ca", "--server-name", "--key-type"] {
            if self.is_given(option) {
                let with = if option == "--key-type" { "--destination or --csr" } else { "--destination" };
                return Err(Conflict::OnlyWith { option, with });
            }
        }
        Ok(())
    }

    fn check_certificate(&self) -> Result<(), Conflict> {
        self.refuse(&["--socket", "--csr", "--tmpdir", "--ca", "--ca-key", "--key-type"])?;
        if self.destination.is_none() { Err(Conflict::Needs("--destination")) } else { Ok(()) }
    }

    fn check_destination(&self) -> Result<(), Conflict> {
        let destinations = [self.socket.is_some(), self.destination.is_some(), self.csr];
        if destinations.iter().filter(|given| **given).count() > 1 {
            return Err(Conflict::TwoDestinations);
        }
        let to = self.destination();
        let is_kept = matches!(to, Destination::SocketDump | Destination::RemoteDump | Destination::Request);
        if is_kept && matches!(&self.action, Action::CreateBlock(it) if it.data.is_some()) {
            return Err(Conflict::TwoCommands);
        }
        if is_kept && matches!(&self.action, Action::Update(_)) {
            return Err(Conflict::NotShown);
        }
        if matches!(&self.action, Action::Top(_)) {
            if is_kept || self.socket.is_some() {
                return Err(Conflict::ManyQuestions);
            }
            if self.json {
                return Err(Conflict::NotForThisCommand("--json"));
            }
        }
        if matches!(&self.action, Action::Create(it) if it.by_digest && it.compression_level.is_some()) {
            return Err(Conflict::CompressedByDigest);
        }
        if self.destination.is_none() {
            return match self.needs_destination() {
                Err(Conflict::OnlyWith { option: "--key-type", .. }) if self.csr => Ok(()),
                other => other,
            };
        }
        match self.action {
            Action::AddPolicy(_)
            | Action::ReplacePolicy(_)
            | Action::RemovePolicy(_)
            | Action::StatsAdd(_)
            | Action::StatsRemove(_) => Err(Conflict::NotRemote),
            _ => Ok(()),
        }
    }

    fn refuse(&self, options: &[&'static str]) -> Result<(), Conflict> {
        match options.iter().find(|option| self.is_given(option)) {
            Some(option) => Err(Conflict::NotForThisCommand(option)),
            None => Ok(()),
        }
    }

    fn is_given(&self, option: &str) -> bool {
        match option {
            "--socket" => self.socket.is_some(),
            "--destination" => self.destination.is_some(),
            "--csr" => self.csr,
            "--tmpdir" => self.tmpdir.is_some(),
            "--ca" => self.ca.is_some(),
            "--ca-key" => self.ca_key.is_some(),
            "--server-ca" => self.server_ca.is_some(),
            "--server-name" => self.server_name.is_some(),
            "--key-type" => self.key_type.is_some(),
            _ => false,
        }
    }
}

/// The last label of a name, for the CommonName of a command's certificate.
pub(crate) fn only_label(name: &Name) -> Option<Option<&Label>> {
    name.path().is_root().then(|| name.label())
}
