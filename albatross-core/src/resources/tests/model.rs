//! The same rules without a tree: everything is found by looking at everything.

use std::collections::{BTreeMap, BTreeSet};

use albatross_proto::{Arguments, Int, Label, Name, NetDevice, Path, Policy};

use crate::resources::{Exceeded, Refused, Resources, Siblings, inside};

/// What is there, in flat maps.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) policies: BTreeMap<Path, Policy>,
    pub(super) unikernels: BTreeMap<Name, Arguments>,
    pub(super) blocks: BTreeMap<Name, Int>,
    pub(super) held: BTreeSet<Name>,
}

/// One operation of the tree.
#[derive(Clone, Debug)]
pub(super) enum Step {
    InsertPolicy(Path, Policy),
    RemovePolicy(Path),
    CheckReplacement(Name, Arguments),
    InsertUnikernel(Name, Arguments),
    RemoveUnikernel(Name),
    InsertBlock(Name, Int),
    RemoveBlock(Name),
    HoldBlock(Name),
    ReleaseBlock(Name),
}

impl Step {
    pub(super) fn take(&self, tree: &mut Resources) -> Result<(), Refused> {
        match self {
            Self::InsertPolicy(path, policy) => tree.insert_policy(path, policy.clone()),
            Self::RemovePolicy(path) => tree.remove_policy(path).map(drop),
            Self::CheckReplacement(name, arguments) => tree.check_replacement(name, arguments),
            Self::InsertUnikernel(name, arguments) => tree.insert_unikernel(name, arguments),
            Self::RemoveUnikernel(name) => tree.remove_unikernel(name).map(drop),
            Self::InsertBlock(name, size) => tree.insert_block(name, *size),
            Self::RemoveBlock(name) => tree.remove_block(name).map(drop),
            Self::HoldBlock(name) => tree.hold_block(name),
            Self::ReleaseBlock(name) => {
                tree.release_block(name);
                Ok(())
            }
        }
    }
}

impl Model {
    pub(super) fn take(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::InsertPolicy(path, policy) => {
                self.check_policy(path, policy)?;
                self.policies.insert(path.clone(), policy.clone());
            }
            Step::RemovePolicy(path) => {
                self.policies.remove(path).ok_or_else(|| Refused::PolicyNotFound(path.clone()))?;
            }
            Step::CheckReplacement(name, arguments) => {
                let mut without = self.clone();
                without.unikernels.remove(name);
                without.check_unikernel(name, arguments)?;
            }
            Step::InsertUnikernel(name, arguments) => {
                self.check_unikernel(name, arguments)?;
                self.unikernels.insert(name.clone(), arguments.clone());
            }
            Step::RemoveUnikernel(name) => {
                self.unikernels.remove(name).ok_or_else(|| Refused::UnikernelNotFound(name.clone()))?;
            }
            Step::InsertBlock(name, size) => {
                self.check_block(name, *size)?;
                self.blocks.insert(name.clone(), *size);
            }
            Step::RemoveBlock(name) => {
                self.check_free(name)?;
                self.blocks.remove(name);
            }
            Step::HoldBlock(name) => {
                self.check_free(name)?;
                self.held.insert(name.clone());
            }
            Step::ReleaseBlock(name) => drop(self.held.remove(name)),
        }
        Ok(())
    }

    fn check_policy(&self, path: &Path, policy: &Policy) -> Result<(), Refused> {
        for above in path.ancestors().skip(1).filter(|above| !above.is_root()) {
            if let Some(sup) = self.policies.get(&above) {
                inside(policy, sup).map_err(|exceeded| Refused::Policy { at: above, exceeded })?;
            }
        }
        for (below, sub) in self.policies.iter().filter(|(p, _)| *p != path && p.is_within(path)) {
            inside(sub, policy).map_err(|exceeded| Refused::PolicyBelow { at: below.clone(), exceeded })?;
        }
        self.check_use(path, policy).map_err(|exceeded| Refused::InUse { exceeded })
    }

    /// Whether what is in use at the path and below is inside the policy.
    pub(super) fn check_use(&self, path: &Path, policy: &Policy) -> Result<(), Exceeded> {
        let running: Vec<&Arguments> = self.running(path).collect();
        let cpuids: BTreeSet<Int> = running.iter().flat_map(|one| one.cpuids.iter().copied()).collect();
        if let Some(id) = cpuids.difference(&policy.cpuids).next() {
            return Err(Exceeded::Cpuid { id: *id });
        }
        let bridges: BTreeSet<_> = running
            .iter()
            .flat_map(|one| one.net_devices.iter().map(NetDevice::host_bridge).cloned())
            .collect();
        if let Some(name) = bridges.difference(&policy.bridges).next() {
            return Err(Exceeded::Bridge { name: name.clone() });
        }
        let asked = Int::ZERO;
        let used = Int::try_from(running.len()).unwrap();
        if used > policy.unikernels {
            return Err(Exceeded::Unikernels { allowed: policy.unikernels, used, asked });
        }
        let sum = self.memory(path);
        if sum > policy.memory.get().into() {
            let used = in_range(sum);
            return Err(Exceeded::Memory { allowed: policy.memory, used, asked });
        }
        let sum = self.block(path);
        if sum > policy.block.map_or(0, Int::get).into() {
            let used = in_range(sum);
            return Err(Exceeded::Block { allowed: policy.block, used, asked });
        }
        Ok(())
    }

    fn check_unikernel(&self, name: &Name, arguments: &Arguments) -> Result<(), Refused> {
        for at in name.path().ancestors() {
            if let Some(policy) = self.policies.get(&at) {
                self.check_one_more(&at, policy, arguments)
                    .map_err(|exceeded| Refused::Policy { at, exceeded })?;
            }
        }
        let mut listed = BTreeSet::new();
        for device in &arguments.block_devices {
            let label: Label = device.host_device().as_str().unwrap().parse().unwrap();
            let block = Name::new(name.path().clone(), Some(label));
            self.check_free(&block)?;
            if !listed.insert(block.clone()) {
                return Err(Refused::BlockInUse(block));
            }
        }
        if self.unikernels.contains_key(name) { Err(Refused::UnikernelExists(name.clone())) } else { Ok(()) }
    }

    fn check_one_more(&self, at: &Path, policy: &Policy, arguments: &Arguments) -> Result<(), Exceeded> {
        let used = Int::try_from(self.running(at).count()).unwrap();
        if used.saturating_add(Int::ONE) > policy.unikernels {
            return Err(Exceeded::Unikernels { allowed: policy.unikernels, used, asked: Int::ONE });
        }
        let (allowed, sum, asked) = (policy.memory, self.memory(at), arguments.memory);
        if sum + i128::from(asked.get()) > allowed.get().into() {
            let used = in_range(sum);
            return Err(Exceeded::Memory { allowed, used, asked });
        }
        if let Some(id) = arguments.cpuids.difference(&policy.cpuids).next() {
            return Err(Exceeded::Cpuid { id: *id });
        }
        let mut bridges = arguments.net_devices.iter().map(NetDevice::host_bridge);
        match bridges.find(|bridge| !policy.bridges.contains(bridge)) {
            Some(name) => Err(Exceeded::Bridge { name: name.clone() }),
            None => Ok(()),
        }
    }

    fn check_block(&self, name: &Name, asked: Int) -> Result<(), Refused> {
        if self.blocks.contains_key(name) {
            return Err(Refused::BlockExists(name.clone()));
        }
        for at in name.path().ancestors() {
            let Some(policy) = self.policies.get(&at) else { continue };
            let sum = self.block(&at);
            let held = |allowed: Int| sum + i128::from(asked.get()) <= allowed.get().into();
            if !policy.block.is_some_and(held) {
                let used = in_range(sum);
                let exceeded = Exceeded::Block { allowed: policy.block, used, asked };
                return Err(Refused::Policy { at, exceeded });
            }
        }
        Ok(())
    }

    fn check_free(&self, name: &Name) -> Result<(), Refused> {
        let uses = |(user, arguments): (&Name, &Arguments)| {
            let label = name.label().map(Label::as_str);
            let listed = arguments.block_devices.iter().any(|d| d.host_device().as_str() == label);
            user.path() == name.path() && listed
        };
        if !self.blocks.contains_key(name) {
            Err(Refused::BlockNotFound(name.clone()))
        } else if self.held.contains(name) || self.unikernels.iter().any(uses) {
            Err(Refused::BlockInUse(name.clone()))
        } else {
            Ok(())
        }
    }

    fn running(&self, path: &Path) -> impl Iterator<Item = &Arguments> {
        self.unikernels.iter().filter(|(name, _)| name.path().is_within(path)).map(|(_, one)| one)
    }

    fn memory(&self, path: &Path) -> i128 {
        self.running(path).map(|one| i128::from(one.memory.get())).sum()
    }

    fn block(&self, path: &Path) -> i128 {
        let below = self.blocks.iter().filter(|(name, _)| name.path().is_within(path));
        below.map(|(_, size)| i128::from(size.get())).sum()
    }

    /// Both hold the same, in every order, and the tree has no node too many.
    pub(super) fn assert_same(&self, tree: &Resources) {
        tree.root.assert_sums();
        for order in [Siblings::Ascending, Siblings::Descending] {
            let mut policies: Vec<_> = self.policies.iter().collect();
            policies.sort_by_key(|(path, _)| sort_key(&path.to_name(), order));
            let found = tree.policies(&Path::root(), order);
            assert!(found.iter().map(|(path, policy)| (path, *policy)).eq(policies), "{found:?}");
            let found = tree.unikernels(&Path::root(), order).into_iter().map(|(name, _)| name);
            assert_eq!(found.collect::<Vec<_>>(), sorted(self.unikernels.keys(), order));
            let found = tree.blocks(&Path::root(), order).into_iter().map(|(name, _)| name);
            assert_eq!(found.collect::<Vec<_>>(), sorted(self.blocks.keys(), order));
        }
        for (name, block) in tree.blocks(&Path::root(), Siblings::Ascending) {
            assert_eq!(block.size(), self.blocks[&name]);
            assert_eq!(block.user().is_some(), self.check_free(&name).is_err(), "{name}");
        }
    }
}

fn in_range(sum: i128) -> Int {
    let held = sum.clamp(Int::MIN.get().into(), Int::MAX.get().into());
    Int::new(held.try_into().unwrap()).unwrap()
}

/// Labels as bytes, made so that the usual order of lists is the order asked for. The label of a unikernel
/// or block device counts as one of the path, before a path of the same labels.
fn sort_key(name: &Name, order: Siblings) -> Vec<Vec<i16>> {
    let octet = |octet: u8| match order {
        Siblings::Ascending => i16::from(octet),
        Siblings::Descending => -i16::from(octet),
    };
    // An end of label: shorter ones come first in ascending order, last in descending order.
    let end = if order == Siblings::Ascending { -1 } else { 1 };
    let key = |label: &str| label.bytes().map(octet).chain([end]).collect();
    name.path().labels().chain(name.label().map(Label::as_str)).map(key).collect()
}

fn sorted<'a>(names: impl Iterator<Item = &'a Name>, order: Siblings) -> Vec<Name> {
    let mut names: Vec<Name> = names.cloned().collect();
    names.sort_by_key(|name| sort_key(name, order));
    names
}

impl super::super::Node {
    /// Sums and counts are those of what is below, and nothing below is empty.
    fn assert_sums(&self) {
        let mut expected = super::super::node::Totals::default();
        let mut policies = usize::from(self.policy.is_some());
        self.count(&mut expected);
        assert_eq!(self.totals, expected, "{}", self.path.to_name());
        for (label, child) in &self.children {
            assert!(!child.is_empty(), "{} is empty", child.path.to_name());
            assert_eq!(child.path, self.path.join(&label.parse().unwrap()));
            child.assert_sums();
            policies += child.policies;
        }
        assert_eq!(self.policies, policies);
    }

    fn count(&self, totals: &mut super::super::node::Totals) {
        self.unikernels.values().for_each(|demand| totals.add(demand));
        totals.block += self.blocks.values().map(|block| i128::from(block.size.get())).sum::<i128>();
        self.children.values().for_each(|child| child.count(totals));
    }
}
