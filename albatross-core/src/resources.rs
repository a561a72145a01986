//! The tree of policies, unikernels and block devices, and what it admits.
//!
//! Policies sit on paths, unikernels and block devices on names. A policy limits what the unikernels and
//! block devices at its path and below use *together*: what Alice delegates to Bob and Charlie stays
//! within what Alice has. A unikernel `:a` and the path `a:` have nothing to do with each other.
//!
//! * A policy is inserted if each policy above it holds it (but the root's), it holds each policy below
//!   it, and it holds what is in use at its path and below.
//! * A unikernel or block device is admitted if the policy at its path and each policy above it, the
//!   root's included, still hold their subtree with it.
//!
//! Every node carries the sums of its subtree, so an admission costs by the depth of the path and not by
//! what else runs. The tree decides only: images, taps, files and processes are not its business, nor
//! is whether a policy is [`usable`], nor the least size of a block device.
//!
//! Rules: `docs/protocol.md`, "Resources and policies".
//!
//! ```
//! use albatross_core::resources::Resources;
//! use albatross_proto::{Arguments, Int, Policy};
//!
//! let mut tree = Resources::default();
//! let one = Policy {
//!     cpuids: [Int::ZERO].into(),
//!     unikernels: Int::ONE,
//!     memory: Int::from(64),
//!     block: None,
//!     bridges: ["service".into()].into(),
//! };
//! tree.insert_policy(&"alice".parse().unwrap(), one).unwrap();
//! tree.insert_unikernel(&"alice:bob:hello".parse().unwrap(), &Arguments::new()).unwrap();
//!
//! let refused = tree.check_unikernel(&"alice:second".parse().unwrap(), &Arguments::new()).unwrap_err();
//! assert_eq!(refused.to_string(), "policy alice: allows 1 unikernel, 1 is running");
//! ```

use albatross_proto::{Arguments, BlockDevice, Int, Label, Name, NetDevice, Path, Policy};
use std::collections::BTreeSet;

mod node;
mod overcommit;
mod plan;
mod policy;
mod query;
mod refused;
#[cfg(test)]
mod tests;

use node::{Node, to_int};

pub use node::{Block, BlockUser, Demand, Usage};
pub use overcommit::{Overcommit, OvercommitError};
pub use plan::{Change, PlanRefused};
pub use policy::{Exceeded, MINIMUM_MEMORY, Unusable, allows, inside, usable};
pub use query::Siblings;
pub use refused::Refused;

/// The most labels in a path of the tree. A chain of certificates has at most 9; what is deeper comes from
/// a local client, and the tree must not grow without bound in the direction in which it recurses.
pub const MAX_DEPTH: usize = 64;

/// The tree. An operation that is refused changes nothing.
#[derive(Clone, Debug)]
pub struct Resources {
    root: Node,
    overcommit: Overcommit,
}

impl Default for Resources {
    fn default() -> Self {
        Self::new(Overcommit::NONE)
    }
}

impl Resources {
    /// An empty tree. `overcommit` relaxes the memory of the root's policy, and nothing else.
    #[must_use]
    pub fn new(overcommit: Overcommit) -> Self {
        Self { root: Node::new(Path::root()), overcommit }
    }
}

/// Policies.
impl Resources {
    /// Whether `policy` may stand at `path`, in place of one that is there.
    ///
    /// # Errors
    /// [`Refused::Policy`] (above, nearest first), [`Refused::PolicyBelow`] (in tree order),
    /// [`Refused::InUse`], in this order; [`Refused::TooDeep`].
    pub fn check_policy(&self, path: &Path, policy: &Policy) -> Result<(), Refused> {
        check_depth(path)?;
        let nodes = self.root.towards(path);
        let above = nodes.iter().filter(|node| node.path != *path && !node.path.is_root()).rev();
        for (node, sup) in above.filter_map(|node| Some((node, node.policy.as_deref()?))) {
            inside(policy, sup).map_err(|exceeded| Refused::Policy { at: node.path.clone(), exceeded })?;
        }
        let Some(here) = nodes.last().filter(|node| node.path == *path) else {
            return hold_nothing(policy);
        };
        hold_policies_below(here, policy)?;
        hold_use(here, policy)
    }

    /// Puts `policy` at `path`; one that was there is replaced.
    ///
    /// # Errors
    /// As [`check_policy`](Self::check_policy).
    pub fn insert_policy(&mut self, path: &Path, policy: Policy) -> Result<(), Refused> {
        self.check_policy(path, &policy)?;
        self.put_policy(path, policy);
        Ok(())
    }

    /// Puts `policy` at `path` whatever it says: the root's as discovered, or one of a stored state.
    ///
    /// # Errors
    /// [`Refused::TooDeep`].
    pub fn adopt_policy(&mut self, path: &Path, policy: Policy) -> Result<(), Refused> {
        check_depth(path)?;
        self.put_policy(path, policy);
        Ok(())
    }

    /// Takes the policy at `path` away.
    ///
    /// # Errors
    /// [`Refused::PolicyNotFound`].
    pub fn remove_policy(&mut self, path: &Path) -> Result<Policy, Refused> {
        if self.policy(path).is_none() {
            return Err(Refused::PolicyNotFound(path.clone()));
        }
        let removed = self.root.change(path, |node| node.policies -= 1).policy.take();
        self.root.prune(&mut path.labels());
        removed.map(|policy| *policy).ok_or_else(|| Refused::PolicyNotFound(path.clone()))
    }

    fn put_policy(&mut self, path: &Path, policy: Policy) {
        let added = usize::from(self.policy(path).is_none());
        self.root.change(path, |node| node.policies += added).policy = Some(Box::new(policy));
    }
}

/// Unikernels.
impl Resources {
    /// Whether a unikernel may be added.
    ///
    /// # Errors
    /// [`Refused::NoLabel`], [`Refused::TooDeep`], [`Refused::NoMemory`]; then [`Refused::Policy`] (the
    /// path first, then upwards), the first block device that does not exist or is in use, and
    /// [`Refused::UnikernelExists`], in this order.
    pub fn check_unikernel(&self, name: &Name, arguments: &Arguments) -> Result<(), Refused> {
        self.check_admission(name, arguments, None)?;
        if self.unikernel(name).is_some() {
            return Err(Refused::UnikernelExists(name.clone()));
        }
        Ok(())
    }

    /// Whether a unikernel may be added once the one of this name, if any, is gone.
    ///
    /// # Errors
    /// As [`check_unikernel`](Self::check_unikernel), but a unikernel of this name is no obstacle, and
    /// what it uses counts as free.
    pub fn check_replacement(&self, name: &Name, arguments: &Arguments) -> Result<(), Refused> {
        self.check_admission(name, arguments, self.unikernel(name))
    }

    /// Adds a unikernel; its block devices are in use from now on.
    ///
    /// # Errors
    /// As [`check_unikernel`](Self::check_unikernel).
    pub fn insert_unikernel(&mut self, name: &Name, arguments: &Arguments) -> Result<(), Refused> {
        self.check_unikernel(name, arguments)?;
        self.adopt_unikernel(name, arguments)
    }

    /// Adds a unikernel that runs already, whatever it uses, in place of one of this name.
    ///
    /// A block device that does not exist or is in use is not marked.
    ///
    /// # Errors
    /// [`Refused::NoLabel`], [`Refused::TooDeep`], [`Refused::NoMemory`].
    pub fn adopt_unikernel(&mut self, name: &Name, arguments: &Arguments) -> Result<(), Refused> {
        let label = target(name)?;
        check_memory(arguments)?;
        if self.unikernel(name).is_some() {
            self.remove_unikernel(name)?;
        }
        let demand = Demand::from(arguments);
        let node = self.root.change(name.path(), |node| node.totals.add(&demand));
        for device in demand.block_devices() {
            if let Some(block) = node.blocks.get_mut(device).filter(|block| block.user.is_none()) {
                block.user = Some(BlockUser::Unikernel(label.clone()));
            }
        }
        node.unikernels.insert(label.clone(), demand);
        Ok(())
    }

    /// Takes a unikernel away; its block devices are free again.
    ///
    /// # Errors
    /// [`Refused::UnikernelNotFound`].
    pub fn remove_unikernel(&mut self, name: &Name) -> Result<Demand, Refused> {
        let not_found = || Refused::UnikernelNotFound(name.clone());
        let label = name.label().ok_or_else(not_found)?;
        let demand = self.unikernel(name).ok_or_else(not_found)?.clone();
        let node = self.root.change(name.path(), |node| node.totals.subtract(&demand));
        node.unikernels.remove(label);
        let used = BlockUser::Unikernel(label.clone());
        for device in demand.block_devices() {
            if let Some(block) = node.blocks.get_mut(device).filter(|b| b.user.as_ref() == Some(&used)) {
                block.user = None;
            }
        }
        self.root.prune(&mut name.path().labels());
        Ok(demand)
    }

    /// `gone` is the unikernel of this name that counts as no longer there.
    fn check_admission(
        &self,
        name: &Name,
        arguments: &Arguments,
        gone: Option<&Demand>,
    ) -> Result<(), Refused> {
        let label = target(name)?;
        check_memory(arguments)?;
        let nodes = self.root.towards(name.path());
        for (node, policy) in nodes.iter().rev().filter_map(|node| Some((node, node.policy.as_deref()?))) {
            self.hold_one_more(node, policy, arguments, gone)
                .map_err(|exceeded| Refused::Policy { at: node.path.clone(), exceeded })?;
        }
        let here = nodes.last().copied().filter(|node| node.path == *name.path());
        check_devices(here, name.path(), label, &arguments.block_devices, gone.is_some())
    }

    fn hold_one_more(
        &self,
        node: &Node,
        policy: &Policy,
        arguments: &Arguments,
        gone: Option<&Demand>,
    ) -> Result<(), Exceeded> {
        let running = node.totals.unikernels - usize::from(gone.is_some());
        let used = Int::try_from(running).unwrap_or(Int::MAX);
        if used >= policy.unikernels {
            return Err(Exceeded::Unikernels { allowed: policy.unikernels, used, asked: Int::ONE });
        }
        let is_root = node.path.is_root();
        let allowed = if is_root { self.overcommit.relax(policy.memory) } else { policy.memory };
        let used = node.totals.memory - gone.map_or(0, |demand| demand.memory().get().into());
        if used + i128::from(arguments.memory.get()) > allowed.get().into() {
            return Err(Exceeded::Memory { allowed, used: to_int(used), asked: arguments.memory });
        }
        policy::cpuids_inside(&arguments.cpuids, policy)?;
        policy::bridges_inside(arguments.net_devices.iter().map(NetDevice::host_bridge), policy)
    }
}

/// Block devices.
impl Resources {
    /// Whether a block device of `size` MB may be added. The size is taken as it is given: that it is at
    /// least 1 is for whoever makes the device to see to.
    ///
    /// # Errors
    /// [`Refused::NoLabel`], [`Refused::TooDeep`]; then [`Refused::BlockExists`], and [`Refused::Policy`]
    /// (the path first, then upwards).
    pub fn check_block(&self, name: &Name, size: Int) -> Result<(), Refused> {
        target(name)?;
        if self.block(name).is_some() {
            return Err(Refused::BlockExists(name.clone()));
        }
        let nodes = self.root.towards(name.path());
        for (node, policy) in nodes.iter().rev().filter_map(|node| Some((node, node.policy.as_deref()?))) {
            let sum = node.totals.block + i128::from(size.get());
            if policy.block.is_none_or(|allowed| sum > allowed.get().into()) {
                let used = to_int(node.totals.block);
                let exceeded = Exceeded::Block { allowed: policy.block, used, asked: size };
                return Err(Refused::Policy { at: node.path.clone(), exceeded });
            }
        }
        Ok(())
    }

    /// Adds a block device of `size` MB that nobody uses.
    ///
    /// # Errors
    /// As [`check_block`](Self::check_block).
    pub fn insert_block(&mut self, name: &Name, size: Int) -> Result<(), Refused> {
        self.check_block(name, size)?;
        self.adopt_block(name, size)
    }

    /// Adds a block device that is there already, whatever the policies say.
    ///
    /// # Errors
    /// [`Refused::NoLabel`], [`Refused::TooDeep`], [`Refused::BlockExists`].
    pub fn adopt_block(&mut self, name: &Name, size: Int) -> Result<(), Refused> {
        let label = target(name)?;
        if self.block(name).is_some() {
            return Err(Refused::BlockExists(name.clone()));
        }
        let node = self.root.change(name.path(), |node| node.totals.block += i128::from(size.get()));
        node.blocks.insert(label.clone(), Block { size, user: None });
        Ok(())
    }

    /// Takes a block device away.
    ///
    /// # Errors
    /// [`Refused::BlockNotFound`], [`Refused::BlockInUse`].
    pub fn remove_block(&mut self, name: &Name) -> Result<Block, Refused> {
        let size = i128::from(self.check_free(name)?.size.get());
        let node = self.root.change(name.path(), |node| node.totals.block -= size);
        let removed = name.label().and_then(|label| node.blocks.remove(label));
        self.root.prune(&mut name.path().labels());
        removed.ok_or_else(|| Refused::BlockNotFound(name.clone()))
    }

    /// The block device, if nobody uses it.
    ///
    /// # Errors
    /// [`Refused::BlockNotFound`], [`Refused::BlockInUse`].
    pub fn check_free(&self, name: &Name) -> Result<&Block, Refused> {
        match self.block(name) {
            None => Err(Refused::BlockNotFound(name.clone())),
            Some(block) if block.user.is_some() => Err(Refused::BlockInUse(name.clone())),
            Some(block) => Ok(block),
        }
    }

    /// Gives the block device to a command that reads or writes it, until
    /// [`release_block`](Self::release_block).
    ///
    /// # Errors
    /// [`Refused::BlockNotFound`], [`Refused::BlockInUse`].
    pub fn hold_block(&mut self, name: &Name) -> Result<(), Refused> {
        self.check_free(name)?;
        self.set_block_user(name, Some(BlockUser::Command));
        Ok(())
    }

    /// Ends [`hold_block`](Self::hold_block). Does nothing to a device that no command holds.
    pub fn release_block(&mut self, name: &Name) {
        if self.block(name).and_then(Block::user) == Some(&BlockUser::Command) {
            self.set_block_user(name, None);
        }
    }

    fn set_block_user(&mut self, name: &Name, user: Option<BlockUser>) {
        let node = self.root.change(name.path(), |_| ());
        if let Some(block) = name.label().and_then(|label| node.blocks.get_mut(label)) {
            block.user = user;
        }
    }
}

fn check_depth(path: &Path) -> Result<(), Refused> {
    let depth = path.depth();
    if depth > MAX_DEPTH { Err(Refused::TooDeep { depth }) } else { Ok(()) }
}

fn target(name: &Name) -> Result<&Label, Refused> {
    check_depth(name.path())?;
    name.label().ok_or_else(|| Refused::NoLabel(name.clone()))
}

fn check_memory(arguments: &Arguments) -> Result<(), Refused> {
    let memory = arguments.memory;
    if memory <= Int::ZERO { Err(Refused::NoMemory { memory }) } else { Ok(()) }
}

/// Whether the devices exist at `here` and are free, or in use by `label` itself where that is `gone`.
fn check_devices(
    here: Option<&Node>,
    path: &Path,
    label: &Label,
    devices: &[BlockDevice],
    gone: bool,
) -> Result<(), Refused> {
    let mut listed = BTreeSet::new();
    for device in devices {
        let text = device.host_device();
        let parsed = text.as_str().and_then(|text| text.parse::<Label>().ok());
        let host = parsed.ok_or_else(|| Refused::BlockNameInvalid(text.clone()))?;
        let name = |host| Name::new(path.clone(), Some(host));
        let Some(block) = here.and_then(|node| node.blocks.get(&host)) else {
            return Err(Refused::BlockNotFound(name(host)));
        };
        let free = match &block.user {
            None => true,
            Some(BlockUser::Unikernel(user)) => gone && user == label,
            Some(BlockUser::Command) => false,
        };
        if !free || listed.contains(&host) {
            return Err(Refused::BlockInUse(name(host)));
        }
        listed.insert(host);
    }
    Ok(())
}

/// Recurses as deep as there are nodes, which is [`MAX_DEPTH`] at most.
fn hold_policies_below(node: &Node, policy: &Policy) -> Result<(), Refused> {
    for child in node.children.values().filter(|child| child.policies > 0) {
        if let Some(sub) = &child.policy {
            inside(sub, policy)
                .map_err(|exceeded| Refused::PolicyBelow { at: child.path.clone(), exceeded })?;
        }
        hold_policies_below(child, policy)?;
    }
    Ok(())
}

fn hold_nothing(policy: &Policy) -> Result<(), Refused> {
    hold_use(&Node::new(Path::root()), policy)
}

fn hold_use(node: &Node, policy: &Policy) -> Result<(), Refused> {
    use_inside(node, policy).map_err(|exceeded| Refused::InUse { exceeded })
}

fn use_inside(node: &Node, policy: &Policy) -> Result<(), Exceeded> {
    let (usage, asked) = (node.totals.usage(), Int::ZERO);
    policy::cpuids_inside(node.totals.cpuids.items(), policy)?;
    policy::bridges_inside(node.totals.bridges.items(), policy)?;
    if usage.unikernels > policy.unikernels {
        return Err(Exceeded::Unikernels { allowed: policy.unikernels, used: usage.unikernels, asked });
    }
    if node.totals.memory > policy.memory.get().into() {
        return Err(Exceeded::Memory { allowed: policy.memory, used: usage.memory, asked });
    }
    if node.totals.block > policy.block.map_or(0, Int::get).into() {
        return Err(Exceeded::Block { allowed: policy.block, used: usage.block, asked });
    }
    Ok(())
}
