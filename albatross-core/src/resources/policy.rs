//! What a policy says on its own, against another policy, and about one unikernel.

use core::fmt;
use std::collections::BTreeSet;

use albatross_proto::{Arguments, Int, NetDevice, Policy, Text};

/// A usable policy allows more memory than this, in MB: no unikernel starts in less.
pub const MINIMUM_MEMORY: i32 = 16;

/// Why nothing could run under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// It allows no unikernel.
    Unikernels {
        /// How many it allows.
        allowed: Int,
    },
    /// It allows no cpu.
    Cpuids,
    /// It allows [`MINIMUM_MEMORY`] or less.
    Memory {
        /// The MB it allows.
        allowed: Int,
    },
    /// Its block storage is negative.
    Block {
        /// The MB it allows.
        allowed: Int,
    },
}

/// Which limit of a policy is exceeded, and by how much.
///
/// `used` is what is in use already (0 where two policies are compared), `asked` what would be added
/// (0 where a policy is held against what is in use).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exceeded {
    /// The number of unikernels.
    Unikernels {
        /// How many are allowed.
        allowed: Int,
        /// How many run.
        used: Int,
        /// How many more are asked for.
        asked: Int,
    },
    /// Memory in MB.
    Memory {
        /// How much is allowed.
        allowed: Int,
        /// How much is used.
        used: Int,
        /// How much more is asked for.
        asked: Int,
    },
    /// A cpu that is not allowed.
    Cpuid {
        /// The lowest such cpu.
        id: Int,
    },
    /// A bridge that is not allowed.
    Bridge {
        /// The first such bridge.
        name: Text,
    },
    /// Block storage in MB.
    Block {
        /// How much is allowed; `None` where the policy has no block storage at all.
        allowed: Option<Int>,
        /// How much is used.
        used: Int,
        /// How much more is asked for.
        asked: Int,
    },
}

/// Whether anything could run under this policy. Who signs a policy asks; the tree does not.
///
/// # Errors
/// The first of unikernels, cpuids, memory, block that leaves nothing.
pub fn usable(policy: &Policy) -> Result<(), Unusable> {
    if policy.unikernels <= Int::ZERO {
        Err(Unusable::Unikernels { allowed: policy.unikernels })
    } else if policy.cpuids.is_empty() {
        Err(Unusable::Cpuids)
    } else if policy.memory <= Int::from(MINIMUM_MEMORY) {
        Err(Unusable::Memory { allowed: policy.memory })
    } else {
        match policy.block {
            Some(allowed) if allowed < Int::ZERO => Err(Unusable::Block { allowed }),
            _ => Ok(()),
        }
    }
}

/// Whether `sub` asks for no more than `sup` allows. Equal is inside.
///
/// # Errors
/// The first of unikernels, memory, cpuids, bridges, block of `sub` that `sup` does not hold.
pub fn inside(sub: &Policy, sup: &Policy) -> Result<(), Exceeded> {
    let used = Int::ZERO;
    if sub.unikernels > sup.unikernels {
        return Err(Exceeded::Unikernels { allowed: sup.unikernels, used, asked: sub.unikernels });
    }
    if sub.memory > sup.memory {
        return Err(Exceeded::Memory { allowed: sup.memory, used, asked: sub.memory });
    }
    cpuids_inside(&sub.cpuids, sup)?;
    bridges_inside(&sub.bridges, sup)?;
    match sub.block {
        Some(asked) if sup.block.is_none_or(|allowed| asked > allowed) => {
            Err(Exceeded::Block { allowed: sup.block, used, asked })
        }
        _ => Ok(()),
    }
}

/// Whether `policy` allows this unikernel when nothing else runs.
///
/// # Errors
/// The first of cpuids, memory, bridges that it does not allow.
pub fn allows(policy: &Policy, arguments: &Arguments) -> Result<(), Exceeded> {
    cpuids_inside(&arguments.cpuids, policy)?;
    if arguments.memory > policy.memory {
        return Err(Exceeded::Memory { allowed: policy.memory, used: Int::ZERO, asked: arguments.memory });
    }
    bridges_inside(arguments.net_devices.iter().map(NetDevice::host_bridge), policy)
}

pub(super) fn cpuids_inside<'a>(
    ids: impl IntoIterator<Item = &'a Int>,
    policy: &Policy,
) -> Result<(), Exceeded> {
    first_outside(ids, &policy.cpuids).map_or(Ok(()), |id| Err(Exceeded::Cpuid { id: *id }))
}

pub(super) fn bridges_inside<'a>(
    bridges: impl IntoIterator<Item = &'a Text>,
    policy: &Policy,
) -> Result<(), Exceeded> {
    first_outside(bridges, &policy.bridges)
        .map_or(Ok(()), |name| Err(Exceeded::Bridge { name: name.clone() }))
}

fn first_outside<'a, T: Ord>(items: impl IntoIterator<Item = &'a T>, set: &BTreeSet<T>) -> Option<&'a T> {
    items.into_iter().find(|item| !set.contains(item))
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unikernels { allowed } => {
                write!(f, "the policy allows {allowed} unikernels: allow at least 1")
            }
            Self::Cpuids => f.write_str("the policy allows no cpu: name at least one cpuid"),
            Self::Memory { allowed } => {
                write!(f, "the policy allows {allowed} MB of memory: allow more than {MINIMUM_MEMORY}")
            }
            Self::Block { allowed } => {
                write!(f, "the policy allows {allowed} MB of block storage: allow 0 or more, or leave it out")
            }
        }
    }
}

impl core::error::Error for Unusable {}

impl fmt::Display for Exceeded {
    /// Reads on from the name of a policy: "allows 2 unikernels, 2 are running".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unikernels { allowed, used, asked } => {
                let (noun, verb) = (plural(*allowed, "unikernel", "unikernels"), |n| plural(n, "is", "are"));
                write!(f, "allows {allowed} {noun}, ")?;
                if *used == Int::ZERO && *asked != Int::ZERO {
                    write!(f, "{asked} {} asked for", verb(*asked))
                } else {
                    write!(f, "{used} {} running", verb(*used))
                }
            }
            Self::Memory { allowed, used, asked } => {
                write!(f, "allows {allowed} MB of memory, ")?;
                write_use(f, *used, *asked)
            }
            Self::Cpuid { id } => write!(f, "does not allow cpu {id}"),
            Self::Bridge { name } => write!(f, "does not allow bridge {name}"),
            Self::Block { allowed: None, .. } => f.write_str("does not allow block storage"),
            Self::Block { allowed: Some(allowed), used, asked } => {
                write!(f, "allows {allowed} MB of block storage, ")?;
                write_use(f, *used, *asked)
            }
        }
    }
}

impl core::error::Error for Exceeded {}

fn write_use(f: &mut fmt::Formatter<'_>, used: Int, asked: Int) -> fmt::Result {
    if asked == Int::ZERO {
        write!(f, "{used} MB are in use")
    } else if used == Int::ZERO {
        write!(f, "{asked} MB are asked for")
    } else {
        write!(f, "{used} MB are in use and {asked} MB more are asked for")
    }
}

fn plural(number: Int, one: &'static str, many: &'static str) -> &'static str {
    if number == Int::ONE { one } else { many }
}
