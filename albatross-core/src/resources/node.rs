//! One path of the tree, with the sums of everything at it and below.

use std::collections::BTreeMap;

use albatross_proto::{Arguments, Int, Label, NetDevice, Path, Policy, Text};

/// What a unikernel takes from its path: the part of its configuration that policies count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    memory: Int,
    cpuids: Box<[Int]>,
    bridges: Box<[Text]>,
    blocks: Box<[Label]>,
}

impl Demand {
    /// Memory in MB.
    #[must_use]
    pub const fn memory(&self) -> Int {
        self.memory
    }

    /// The cpus it is pinned to, ascending.
    #[must_use]
    pub const fn cpuids(&self) -> &[Int] {
        &self.cpuids
    }

    /// The host bridges of its network devices, in their order.
    #[must_use]
    pub const fn bridges(&self) -> &[Text] {
        &self.bridges
    }

    /// The host names of its block devices, at its path, in their order.
    #[must_use]
    pub const fn block_devices(&self) -> &[Label] {
        &self.blocks
    }
}

impl From<&Arguments> for Demand {
    /// Host devices that are no labels are left out: there is no such device.
    fn from(arguments: &Arguments) -> Self {
        Self {
            memory: arguments.memory,
            cpuids: arguments.cpuids.iter().copied().collect(),
            bridges: arguments.net_devices.iter().map(NetDevice::host_bridge).cloned().collect(),
            blocks: arguments
                .block_devices
                .iter()
                .filter_map(|device| device.host_device().as_str()?.parse().ok())
                .collect(),
        }
    }
}

/// A block device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub(super) size: Int,
    pub(super) user: Option<BlockUser>,
}

/// Who has a block device to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockUser {
    /// The unikernel of this label at the path of the device.
    Unikernel(Label),
    /// A command that reads or writes its content.
    Command,
}

impl Block {
    /// Size in MB.
    #[must_use]
    pub const fn size(&self) -> Int {
        self.size
    }

    /// Who has it, `None` when it is free.
    #[must_use]
    pub const fn user(&self) -> Option<&BlockUser> {
        self.user.as_ref()
    }
}

/// What is in use at a path and below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many unikernels there are.
    pub unikernels: Int,
    /// Their memory in MB.
    pub memory: Int,
    /// The size of all block devices in MB.
    pub block: Int,
}

/// A path of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) path: Path,
    pub(super) policy: Option<Box<Policy>>,
    /// Invariant: the number of policies here and below.
    pub(super) policies: usize,
    /// Invariant: the sums over everything here and below.
    pub(super) totals: Totals,
    /// By label. Invariant: none of them [`is_empty`](Self::is_empty).
    pub(super) children: BTreeMap<Box<str>, Box<Self>>,
    pub(super) unikernels: BTreeMap<Label, Demand>,
    pub(super) blocks: BTreeMap<Label, Block>,
}

/// Sums that can be taken apart again: wider than any number of 63-bit values, so that none saturates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) unikernels: usize,
    pub(super) memory: i128,
    pub(super) block: i128,
    /// How many unikernels are pinned to a cpu.
    pub(super) cpuids: Counts<Int>,
    /// How many network devices are on a bridge.
    pub(super) bridges: Counts<Text>,
}

/// A set that remembers how often each item was put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts<T>(BTreeMap<T, usize>);

impl Node {
    pub(super) fn new(path: Path) -> Self {
        Self {
            path,
            policy: None,
            policies: 0,
            totals: Totals::default(),
            children: BTreeMap::new(),
            unikernels: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policy.is_none()
            && self.children.is_empty()
            && self.unikernels.is_empty()
            && self.blocks.is_empty()
    }

    /// The node at `path` below this one.
    pub(super) fn find(&self, path: &Path) -> Option<&Self> {
        path.labels().try_fold(self, |node, label| node.children.get(label).map(AsRef::as_ref))
    }

    /// The nodes from this one towards `path`, as far as there are any.
    pub(super) fn towards(&self, path: &Path) -> Vec<&Self> {
        let mut found = vec![self];
        let mut node = self;
        for label in path.labels() {
            let Some(child) = node.children.get(label) else { break };
            node = child;
            found.push(node);
        }
        found
    }

    /// The node at `path`, made if need be, after `change` was done to it and to all above it.
    pub(super) fn change(&mut self, path: &Path, change: impl Fn(&mut Self)) -> &mut Self {
        change(self);
        let mut node = self;
        for (above, label) in (0..path.depth()).rev().zip(path.labels()) {
            let here = || path.ancestors().nth(above).unwrap_or_default();
            node = node.children.entry(label.into()).or_insert_with(|| Box::new(Self::new(here())));
            change(node);
        }
        node
    }

    /// Takes away the nodes towards the path of `labels` that hold nothing any more.
    ///
    /// Recurses as deep as there are nodes, which is [`super::MAX_DEPTH`] at most.
    pub(super) fn prune(&mut self, labels: &mut dyn Iterator<Item = &str>) {
        let Some(label) = labels.next() else { return };
        let Some(child) = self.children.get_mut(label) else { return };
        child.prune(labels);
        if child.is_empty() {
            self.children.remove(label);
        }
    }
}

impl Totals {
    pub(super) fn add(&mut self, demand: &Demand) {
        self.unikernels += 1;
        self.memory += i128::from(demand.memory.get());
        demand.cpuids.iter().for_each(|id| self.cpuids.put(id));
        demand.bridges.iter().for_each(|bridge| self.bridges.put(bridge));
    }

    pub(super) fn subtract(&mut self, demand: &Demand) {
        self.unikernels -= 1;
        self.memory -= i128::from(demand.memory.get());
        demand.cpuids.iter().for_each(|id| self.cpuids.take(id));
        demand.bridges.iter().for_each(|bridge| self.bridges.take(bridge));
    }

    /// The sums as they are reported, held at the ends of the range.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            unikernels: Int::try_from(self.unikernels).unwrap_or(Int::MAX),
            memory: to_int(self.memory),
            block: to_int(self.block),
        }
    }
}

/// The number, held at the ends of the range.
pub(super) fn to_int(sum: i128) -> Int {
    let end = if sum < 0 { Int::MIN } else { Int::MAX };
    i64::try_from(sum).map_or(end, |sum| Int::new(sum).unwrap_or(end))
}

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone + Ord> Counts<T> {
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }

    fn put(&mut self, item: &T) {
        match self.0.get_mut(item) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(item.clone(), 1)),
        }
    }

    fn take(&mut self, item: &T) {
        if let Some(count) = self.0.get_mut(item) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(item);
            }
        }
    }
}
