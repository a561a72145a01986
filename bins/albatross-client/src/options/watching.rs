//! The commands that show what happens, as it does.

use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_proto::{Int, Name, Path, Time};

use super::values;

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
