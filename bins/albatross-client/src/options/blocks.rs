//! The commands about block devices.

use std::path::PathBuf;

use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_proto::{Int, Name};

use super::values::{self, CompressionLevel};

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
