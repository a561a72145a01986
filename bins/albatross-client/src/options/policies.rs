//! The commands about policies.

use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_proto::{Int, Path, Policy as Limits};

use super::values;

/// Shows the policies at a path and below.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "policy")]
pub(crate) struct Policy {
    /// the path (the root)
    #[argh(option, short = 'p', arg_name = "PATH", default = "Path::root()", from_str_fn(values::path))]
    pub(crate) path: Path,
}

/// Declares a command that sets a policy.
macro_rules! sets_policy {
    ($(#[$($meta:tt)*])* pub(crate) struct $name:ident;) => {
        #[derive(Debug, FromArgs, ArgsInfo)]
        $(#[$($meta)*])*
        pub(crate) struct $name {
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

        impl $name {
            /// The policy.
            pub(crate) fn policy(&self) -> Limits {
                Limits {
                    cpuids: values::cpu_set(&self.cpu),
                    unikernels: self.unikernels,
                    memory: self.mem,
                    block: self.size,
                    bridges: self.network.iter().map(|bridge| bridge.as_str().into()).collect(),
                }
            }
        }
    };
}

sets_policy! {
    /// Sets the policy of a path; with --csr asks for an intermediate certificate with it.
    #[argh(subcommand, name = "add-policy")]
    pub(crate) struct AddPolicy;
}

sets_policy! {
    /// Sets the policy of a path in place of the one that is there, as add-policy does too.
    #[argh(subcommand, name = "replace-policy")]
    pub(crate) struct ReplacePolicy;
}

/// Removes the policy of a path.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "remove-policy")]
pub(crate) struct RemovePolicy {
    /// the path (the root)
    #[argh(option, short = 'p', arg_name = "PATH", default = "Path::root()", from_str_fn(values::path))]
    pub(crate) path: Path,
}
