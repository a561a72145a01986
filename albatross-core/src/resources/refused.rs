//! Why the tree refuses a change.

use core::fmt;

use albatross_proto::{Int, Name, Path, Text};

use super::{Exceeded, MAX_DEPTH};

/// Why a change to the tree is refused. The tree is then as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// A policy at the path or above it does not hold what is asked for.
    Policy {
        /// Where that policy is.
        at: Path,
        /// The first of its limits that is exceeded.
        exceeded: Exceeded,
    },
    /// The policy to be inserted does not hold a policy below it.
    PolicyBelow {
        /// Where the policy below is.
        at: Path,
        /// The first limit of the new policy that it exceeds.
        exceeded: Exceeded,
    },
    /// The policy to be inserted does not hold what is in use at its path and below.
    InUse {
        /// The first limit of the new policy that is exceeded.
        exceeded: Exceeded,
    },
    /// There is no policy at this path itself.
    PolicyNotFound(Path),
    /// There is a unikernel of this name.
    UnikernelExists(Name),
    /// There is no unikernel of this name.
    UnikernelNotFound(Name),
    /// There is a block device of this name.
    BlockExists(Name),
    /// There is no block device of this name.
    BlockNotFound(Name),
    /// The configuration gives a host device that cannot be the name of one.
    BlockNameInvalid(Text),
    /// The block device is used, or listed twice by the unikernel that asks for it.
    BlockInUse(Name),
    /// The name is a path: a unikernel and a block device need a label.
    NoLabel(Name),
    /// A unikernel of no memory, or less than none.
    NoMemory {
        /// The MB asked for.
        memory: Int,
    },
    /// The path has more than [`MAX_DEPTH`] labels.
    TooDeep {
        /// How many it has.
        depth: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { at, exceeded } => write!(f, "policy {} {exceeded}", at.to_name()),
            Self::PolicyBelow { at, exceeded } => {
                write!(f, "policy {} below does not fit: the new policy {exceeded}", at.to_name())
            }
            Self::InUse { exceeded } => {
                write!(f, "what is in use does not fit: the new policy {exceeded}")
            }
            Self::PolicyNotFound(path) => write!(f, "there is no policy {}", path.to_name()),
            Self::UnikernelExists(name) => write!(f, "unikernel {name} exists"),
            Self::UnikernelNotFound(name) => write!(f, "unikernel {name} does not exist"),
            Self::BlockExists(name) => write!(f, "block device {name} exists"),
            Self::BlockNotFound(name) => write!(f, "block device {name} does not exist"),
            Self::BlockNameInvalid(text) => {
                write!(f, "block device {text:?} does not exist: this is no name of one")
            }
            Self::BlockInUse(name) => write!(f, "block device {name} is in use"),
            Self::NoLabel(name) => write!(f, "{name} is a path: add a label"),
            Self::NoMemory { memory } => write!(f, "a unikernel cannot have {memory} MB of memory"),
            Self::TooDeep { depth } => write!(f, "a path of {depth} labels: {MAX_DEPTH} are the most"),
        }
    }
}

impl core::error::Error for Refused {}
