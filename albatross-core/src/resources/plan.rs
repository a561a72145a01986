//! Several changes as one: all of them are made, or none.
//!
//! A plan is a list of [`Change`]s, each made to what those before it left. [`Resources::check_plan`] asks
//! whether all of it would fit and leaves everything as it was; [`Resources::apply_plan`] makes the changes.
//! A refusal says which change does not fit and why: which policy, which limit, how much is in use, how much
//! was asked for.
//!
//! What was done is written down as what undoes it, so a plan costs by its own length and the depth of its
//! paths, and not by what else runs. A policy is also held against each policy below it, as ever.
//!
//! The policies of one [`Change::Policies`] are put up together: only the state with all of them counts.
//! Neither order of one after the other does for the policies of a chain: outermost first fails where all
//! shrink, innermost first where all grow.
//!
//! ```
//! use albatross_core::resources::{Change, Resources};
//! use albatross_proto::{Arguments, Int, Policy};
//!
//! let policy = |unikernels| Policy {
//!     cpuids: [Int::ZERO].into(),
//!     unikernels: Int::from(unikernels),
//!     memory: Int::from(64),
//!     block: None,
//!     bridges: [].into(),
//! };
//! let mut tree = Resources::default();
//! let create = |name: &str| Change::CreateUnikernel {
//!     name: name.parse().unwrap(),
//!     arguments: Arguments::new(),
//! };
//! let chain = [("alice".parse().unwrap(), policy(2)), ("alice:bob".parse().unwrap(), policy(1))];
//! let plan = [Change::Policies(chain.to_vec()), create("alice:bob:x"), create("alice:bob:y")];
//!
//! let refused = tree.check_plan(&plan).unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "change 2, alice:bob:y: policy alice:bob: allows 1 unikernel, 1 is running"
//! );
//! tree.apply_plan(&plan[..2]).unwrap();
//! assert_eq!(tree.usage(&"alice".parse().unwrap()).unikernels, Int::ONE);
//! ```

use core::fmt;
use std::collections::BTreeSet;

use albatross_proto::{Arguments, Int, Label, Name, Path, Policy};

use super::{BlockUser, Demand, Refused, Resources, check_depth};

#[cfg(test)]
mod tests;

/// One change of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Puts these policies up together, each in place of one that is there. One that is there already as it
    /// is, is no change and not checked.
    Policies(Vec<(Path, Policy)>),
    /// Takes a policy away.
    RemovePolicy(Path),
    /// Adds a unikernel.
    CreateUnikernel {
        /// Its name.
        name: Name,
        /// What it asks for.
        arguments: Arguments,
    },
    /// Adds a unikernel in place of the one of its name, if there is one.
    ReplaceUnikernel {
        /// Its name.
        name: Name,
        /// What it asks for.
        arguments: Arguments,
    },
    /// Takes a unikernel away.
    DestroyUnikernel(Name),
    /// Adds a block device.
    AddBlock {
        /// Its name.
        name: Name,
        /// Its size in MB.
        size: Int,
    },
    /// Takes a block device away.
    RemoveBlock(Name),
}

/// Why a plan is refused. The tree is then as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanRefused {
    /// A change is refused.
    Change {
        /// Which, from 0.
        index: usize,
        /// What it would change; for a policy its path.
        name: Name,
        /// Why.
        refused: Refused,
    },
    /// Two policies for the same path in one change.
    PathTwice {
        /// Which change, from 0.
        index: usize,
        /// The path.
        path: Path,
    },
}

/// What takes a change back. Invariant: the tree is as the change left it.
#[derive(Debug)]
enum Undo {
    Policy(Path, Option<Policy>),
    RemoveUnikernel(Name),
    /// With the block devices that were in use by it.
    RestoreUnikernel(Name, Demand, Vec<Label>),
    RemoveBlock(Name),
    RestoreBlock(Name, Int),
}

impl Change {
    /// Puts one policy up, in place of one that is there.
    #[must_use]
    pub fn policy(path: Path, policy: Policy) -> Self {
        Self::Policies(vec![(path, policy)])
    }
}

/// Plans.
impl Resources {
    /// Whether all changes of a plan could be made, one after the other. The tree is as before in any case;
    /// it is borrowed mutably, as the changes are made and taken back.
    ///
    /// # Errors
    /// [`PlanRefused`]: the first change that is refused.
    pub fn check_plan(&mut self, plan: &[Change]) -> Result<(), PlanRefused> {
        let log = self.make(plan)?;
        self.take_back(log);
        Ok(())
    }

    /// Makes all changes of a plan, or none.
    ///
    /// # Errors
    /// [`PlanRefused`]: the first change that is refused. None was made then.
    pub fn apply_plan(&mut self, plan: &[Change]) -> Result<(), PlanRefused> {
        self.make(plan).map(drop)
    }

    /// Puts the policies of a chain up as one change: see [`Change::Policies`].
    ///
    /// # Errors
    /// [`PlanRefused`] with the index 0. None was put up then.
    pub fn insert_policies(&mut self, policies: &[(Path, Policy)]) -> Result<(), PlanRefused> {
        let mut log = Vec::new();
        let result = self.make_policies(0, policies, &mut log);
        if result.is_err() {
            self.take_back(log);
        }
        result
    }

    fn make(&mut self, plan: &[Change]) -> Result<Vec<Undo>, PlanRefused> {
        let mut log = Vec::new();
        for (index, change) in plan.iter().enumerate() {
            if let Err(refused) = self.make_change(index, change, &mut log) {
                self.take_back(log);
                return Err(refused);
            }
        }
        Ok(log)
    }

    fn make_change(&mut self, index: usize, change: &Change, log: &mut Vec<Undo>) -> Result<(), PlanRefused> {
        let (name, result) = match change {
            Change::Policies(policies) => return self.make_policies(index, policies, log),
            Change::RemovePolicy(path) => (path.to_name(), self.make_remove_policy(path, log)),
            Change::CreateUnikernel { name, arguments } => {
                let result = self.insert_unikernel(name, arguments);
                (name.clone(), result.map(|()| log.push(Undo::RemoveUnikernel(name.clone()))))
            }
            Change::ReplaceUnikernel { name, arguments } => {
                (name.clone(), self.make_replacement(name, arguments, log))
            }
            Change::DestroyUnikernel(name) => (name.clone(), self.make_destroy(name, log)),
            Change::AddBlock { name, size } => {
                let result = self.insert_block(name, *size);
                (name.clone(), result.map(|()| log.push(Undo::RemoveBlock(name.clone()))))
            }
            Change::RemoveBlock(name) => {
                let result = self.remove_block(name);
                let logged = result.map(|block| log.push(Undo::RestoreBlock(name.clone(), block.size())));
                (name.clone(), logged)
            }
        };
        result.map_err(|refused| PlanRefused::Change { index, name, refused })
    }

    /// Puts all of them up, and then looks whether each may stand there.
    fn make_policies(
        &mut self,
        index: usize,
        policies: &[(Path, Policy)],
        log: &mut Vec<Undo>,
    ) -> Result<(), PlanRefused> {
        let refused = |path: &Path| {
            let name = path.to_name();
            move |refused| PlanRefused::Change { index, name, refused }
        };
        let (mut seen, mut changed) = (BTreeSet::new(), Vec::new());
        for (path, policy) in policies {
            check_depth(path).map_err(refused(path))?;
            if !seen.insert(path) {
                return Err(PlanRefused::PathTwice { index, path: path.clone() });
            }
            let before = self.policy(path);
            if before != Some(policy) {
                log.push(Undo::Policy(path.clone(), before.cloned()));
                self.put_policy(path, policy.clone());
                changed.push((path, policy));
            }
        }
        changed
            .into_iter()
            .try_for_each(|(path, policy)| self.check_policy(path, policy).map_err(refused(path)))
    }

    fn make_remove_policy(&mut self, path: &Path, log: &mut Vec<Undo>) -> Result<(), Refused> {
        let before = self.remove_policy(path)?;
        log.push(Undo::Policy(path.clone(), Some(before)));
        Ok(())
    }

    fn make_replacement(
        &mut self,
        name: &Name,
        arguments: &Arguments,
        log: &mut Vec<Undo>,
    ) -> Result<(), Refused> {
        self.check_replacement(name, arguments)?;
        if self.unikernel(name).is_some() {
            self.make_destroy(name, log)?;
        }
        self.adopt_unikernel(name, arguments)?;
        log.push(Undo::RemoveUnikernel(name.clone()));
        Ok(())
    }

    fn make_destroy(&mut self, name: &Name, log: &mut Vec<Undo>) -> Result<(), Refused> {
        let used = self.blocks_used_by(name);
        let demand = self.remove_unikernel(name)?;
        log.push(Undo::RestoreUnikernel(name.clone(), demand, used));
        Ok(())
    }

    /// The block devices that this unikernel really has: one that was adopted may list others', too.
    fn blocks_used_by(&self, name: &Name) -> Vec<Label> {
        let (Some(node), Some(label)) = (self.root.find(name.path()), name.label()) else {
            return Vec::new();
        };
        let Some(demand) = node.unikernels.get(label) else { return Vec::new() };
        let user = BlockUser::Unikernel(label.clone());
        let is_used = |device: &&Label| node.blocks.get(device).and_then(|b| b.user.as_ref()) == Some(&user);
        demand.block_devices().iter().filter(is_used).cloned().collect()
    }

    /// The last change first. Each undoing finds what its change left, so none fails.
    fn take_back(&mut self, log: Vec<Undo>) {
        for undo in log.into_iter().rev() {
            let undone = match undo {
                Undo::Policy(path, Some(before)) => {
                    self.put_policy(&path, before);
                    Ok(())
                }
                Undo::Policy(path, None) => self.remove_policy(&path).map(drop),
                Undo::RemoveUnikernel(name) => self.remove_unikernel(&name).map(drop),
                Undo::RestoreUnikernel(name, demand, used) => {
                    self.restore_unikernel(&name, demand, used);
                    Ok(())
                }
                Undo::RemoveBlock(name) => self.remove_block(&name).map(drop),
                Undo::RestoreBlock(name, size) => self.adopt_block(&name, size),
            };
            debug_assert_eq!(undone, Ok(()));
        }
    }

    fn restore_unikernel(&mut self, name: &Name, demand: Demand, used: Vec<Label>) {
        let Some(label) = name.label() else { return };
        let node = self.root.change(name.path(), |node| node.totals.add(&demand));
        for device in used {
            if let Some(block) = node.blocks.get_mut(&device) {
                block.user = Some(BlockUser::Unikernel(label.clone()));
            }
        }
        node.unikernels.insert(label.clone(), demand);
    }
}

impl PlanRefused {
    /// Which change, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Change { index, .. } | Self::PathTwice { index, .. } => *index,
        }
    }
}

impl fmt::Display for PlanRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { index, name, refused } => write!(f, "change {index}, {name}: {refused}"),
            Self::PathTwice { index, path } => {
                write!(f, "change {index} has two policies for {}", path.to_name())
            }
        }
    }
}

impl core::error::Error for PlanRefused {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Change { refused, .. } => Some(refused),
            Self::PathTwice { .. } => None,
        }
    }
}
