//! What was promised to clients: kept beside the machine, from nothing but commands and replies.
//!
//! Of each name, what the record may say after a crash now ([`Slot::may`]) and what it may say once everything
//! is done ([`Slot::settled`]). An acknowledged change leaves one possibility. A change that is on its way, or was
//! refused after it had begun, adds one.

use std::collections::{BTreeMap, BTreeSet};

use albatross_proto::reply::Exit;
use albatross_proto::{Arguments, FailBehaviour, Name, Path, Policy};

use crate::devices::{BlockChange, Devices};

/// A unikernel as it stands on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) digest: [u8; 32],
    pub(crate) arguments: Arguments,
}

/// What a command is to change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Nothing,
    Create(Name, Version),
    Force(Name, Version),
    Restart(Name, Option<Arguments>),
    Destroy(Name),
    Policy(Path, Option<Policy>),
    Block(Name, BlockChange),
}

#[derive(Clone, Debug)]
struct Slot<T> {
    may: Vec<Option<T>>,
    settled: Vec<Option<T>>,
    /// What commands on their way may make of it.
    coming: Vec<(i64, Vec<Option<T>>)>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { may: vec![None], settled: vec![None], coming: Vec::new() }
    }
}

impl<T: Clone + PartialEq> Slot<T> {
    fn add(list: &mut Vec<Option<T>>, more: Vec<Option<T>>) {
        for one in more {
            if !list.contains(&one) {
                list.push(one);
            }
        }
    }

    fn sent(&mut self, number: i64, outcomes: Vec<Option<T>>) {
        self.coming.push((number, outcomes));
    }

    fn take(&mut self, number: i64) -> Vec<Option<T>> {
        let at = self.coming.iter().position(|(other, _)| *other == number);
        at.map(|at| self.coming.remove(at).1).unwrap_or_default()
    }

    fn allows(&self, found: &Option<T>) -> bool {
        self.may.contains(found) || self.coming.iter().any(|(_, outcomes)| outcomes.contains(found))
    }

    fn is(&mut self, found: Option<T>) {
        *self = Self { may: vec![found.clone()], settled: vec![found], coming: Vec::new() };
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    unikernels: BTreeMap<Name, Slot<Version>>,
    policies: BTreeMap<Path, Slot<Policy>>,
    /// Policies that were refused and came back after a crash: what is in use was admitted without them.
    refused: BTreeSet<Path>,
    pub(crate) devices: Devices,
}

impl Ledger {
    /// A command was sent that may be carried out from now on.
    pub(crate) fn sent(&mut self, number: i64, change: &Change) {
        match change {
            Change::Nothing => {}
            Change::Create(name, version) => {
                self.unikernel(name).sent(number, vec![Some(version.clone())]);
            }
            Change::Force(name, version) => {
                self.unikernel(name).sent(number, vec![Some(version.clone()), None]);
            }
            Change::Destroy(name) => self.unikernel(name).sent(number, vec![None]),
            Change::Restart(name, arguments) => {
                let outcomes = self.restarted(name, arguments.as_ref());
                self.unikernel(name).sent(number, outcomes);
            }
            Change::Policy(path, policy) => {
                self.policies.entry(path.clone()).or_default().sent(number, vec![policy.clone()]);
            }
            Change::Block(name, change) => self.devices.sent(name, number, change.clone()),
        }
    }

    fn unikernel(&mut self, name: &Name) -> &mut Slot<Version> {
        self.unikernels.entry(name.clone()).or_default()
    }

    /// Whatever image it has, with other arguments.
    fn restarted(&mut self, name: &Name, arguments: Option<&Arguments>) -> Vec<Option<Version>> {
        let slot = self.unikernel(name);
        let known = slot.may.iter().chain(slot.coming.iter().flat_map(|(_, outcomes)| outcomes)).flatten();
        let with = |version: &Version| {
            let arguments = arguments.unwrap_or(&version.arguments).clone();
            Some(Version { arguments, ..version.clone() })
        };
        known.map(with).collect()
    }

    /// A command was answered.
    pub(crate) fn answered(&mut self, number: i64, change: &Change, success: bool) {
        match change {
            // Block devices are looked at by themselves.
            Change::Nothing | Change::Block(..) => {}
            Change::Policy(path, policy) => {
                let slot = self.policies.entry(path.clone()).or_default();
                let outcomes = slot.take(number);
                if success {
                    self.refused.remove(path);
                    slot.may = vec![policy.clone()];
                    slot.settled = vec![policy.clone()];
                } else {
                    // Some of it may be on the disk until that is written again.
                    Slot::add(&mut slot.may, outcomes);
                }
            }
            Change::Create(name, version) => {
                let slot = self.unikernel(name);
                let outcomes = slot.take(number);
                if success {
                    slot.may = vec![Some(version.clone())];
                    slot.settled = vec![Some(version.clone())];
                } else {
                    Slot::add(&mut slot.may, outcomes);
                }
            }
            Change::Force(name, _) | Change::Destroy(name) | Change::Restart(name, _) => {
                // Images may have become known since it was sent.
                if let Change::Restart(name, arguments) = change {
                    let more = self.restarted(name, arguments.as_ref());
                    let slot = self.unikernel(name);
                    let mut outcomes = slot.take(number);
                    Slot::add(&mut outcomes, more);
                    slot.sent(number, outcomes);
                }
                let slot = self.unikernel(name);
                let mut outcomes = slot.take(number);
                if success {
                    if let Change::Force(..) = change {
                        outcomes.retain(Option::is_some);
                    }
                    slot.may.clone_from(&outcomes);
                    slot.settled = outcomes;
                } else {
                    // What it had begun goes on.
                    Slot::add(&mut slot.may, outcomes.clone());
                    Slot::add(&mut slot.settled, outcomes);
                }
            }
        }
    }

    /// A tender of this name ended by itself.
    pub(crate) fn ended(&mut self, name: &Name, exit: Exit) {
        let slot = self.unikernel(name);
        let known = slot.may.iter().chain(slot.coming.iter().flat_map(|(_, outcomes)| outcomes)).flatten();
        let after: Vec<_> = known.filter_map(|version| after(version, exit)).collect();
        Slot::add(&mut slot.may, after.clone());
        Slot::add(&mut slot.settled, after);
    }

    /// What the policy of a path may be now; `None` in it: there may be none.
    pub(crate) fn policies(&self, path: &Path) -> Vec<Option<Policy>> {
        let Some(slot) = self.policies.get(path) else { return vec![None] };
        let mut all = slot.may.clone();
        slot.coming.iter().for_each(|(_, outcomes)| Slot::add(&mut all, outcomes.clone()));
        all
    }

    /// Whether the policy there was refused, and could not be kept off the disk.
    pub(crate) fn was_refused(&self, path: &Path) -> bool {
        self.refused.contains(path)
    }

    /// What the policy is by the last word on it, and what somebody who is gone may have made of it.
    pub(crate) fn settled_policies(&self, path: &Path) -> Vec<Option<Policy>> {
        let Some(slot) = self.policies.get(path) else { return vec![None] };
        let mut all = slot.settled.clone();
        slot.coming.iter().for_each(|(_, outcomes)| Slot::add(&mut all, outcomes.clone()));
        all
    }

    /// albatrossd begins with this record after a crash: says what must not be so. What it says is so from now on.
    pub(crate) fn begin(
        &mut self,
        unikernels: &BTreeMap<Name, Version>,
        policies: &BTreeMap<Path, Policy>,
    ) -> Option<String> {
        let mut wrong = None;
        for name in unikernels.keys() {
            self.unikernels.entry(name.clone()).or_default();
        }
        for path in policies.keys() {
            self.policies.entry(path.clone()).or_default();
        }
        for (name, slot) in &mut self.unikernels {
            let found = unikernels.get(name).cloned();
            if !slot.allows(&found) {
                wrong = Some(format!("{name} is {found:?} on record, and may be {:?}", slot.may));
            }
            slot.is(found);
        }
        self.refused.clear();
        for (path, slot) in &mut self.policies {
            let found = policies.get(path).cloned();
            let comes = slot.coming.iter().any(|(_, outcomes)| outcomes.contains(&found));
            if !slot.settled.contains(&found) && !comes {
                self.refused.insert(path.clone());
            }
            if !slot.allows(&found) {
                wrong = Some(format!("the policy of {path} is {found:?} on record, may be {:?}", slot.may));
            }
            slot.is(found);
        }
        wrong
    }

    /// The same where everything is done: what was refused has left nothing.
    pub(crate) fn settle(&mut self, unikernels: &BTreeMap<Name, Version>) -> Option<String> {
        let mut wrong = None;
        for (name, slot) in &mut self.unikernels {
            let found = unikernels.get(name).cloned();
            let by_lost = slot.coming.iter().any(|(_, outcomes)| outcomes.contains(&found));
            if !slot.settled.contains(&found) && !by_lost {
                wrong = Some(format!("{name} is {found:?}, and can only be {:?}", slot.settled));
            }
            slot.is(found);
        }
        wrong
    }

    /// The policy of a path is known.
    pub(crate) fn policy_is(&mut self, path: &Path, policy: Option<Policy>) {
        self.policies.entry(path.clone()).or_default().is(policy);
    }
}

/// What becomes of the record when a tender ends; `None` where it stays as it is.
fn after(version: &Version, exit: Exit) -> Option<Option<Version>> {
    let Exit::Exited(code) = exit else { return Some(None) };
    let code = code.get();
    if version.arguments.add_name && code == 64 {
        let arguments = Arguments { add_name: false, ..version.arguments.clone() };
        return Some(Some(Version { arguments, ..version.clone() }));
    }
    let listed = match &version.arguments.fail_behaviour {
        FailBehaviour::Quit => false,
        FailBehaviour::Restart(codes) => codes.is_empty() || codes.iter().any(|one| one.get() == code),
    };
    if listed && code != 1 && !(60..=64).contains(&code) { None } else { Some(None) }
}
