//! The commands about unikernels.

use std::path::PathBuf;

use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_proto::{Int, Name, Typ};

use super::values::{self, BlockOption, CompressionLevel, NetOption};

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
