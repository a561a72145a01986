//! The control group of each tender, where the system delegates some to the daemon: how it is called, what
//! may be used in it, and when it goes.
//!
//! A tender is in its group before it runs. The group outlives the daemon with its tender, and goes when the
//! tender has ended; one that nobody has any more is removed by the next daemon. Whoever is still in a group
//! that is removed is killed: a tender that was taken over may have started others.

use albatross_proto::{Int, Name};

use super::{Output, Vmmd};
use crate::machine::Level;
use crate::resources::Overcommit;

/// Octets in a MB of memory.
const MB: u64 = 1024 * 1024;

/// Octets that a tender may use besides the memory of its guest: its program, libraries and stack, buffers of
/// its devices and what the kernel keeps about it take some 5 MB. What it reads from files counts, too, but is given
/// back before anybody is killed.
const TENDER_MEMORY: u64 = 32 * MB;

/// One octet for so many of the guest's goes to page tables: 8 octets for each page of 4096, on a virtual
/// machine twice, and as much again for rounding.
const OCTETS_PER_TABLE: u64 = 128;

/// Processes and threads in a group: a tender of a virtual machine has a few threads, and the kernel adds some for
/// the machine and its network. Those that need one alone are held to that by their own limits.
const TASKS: u64 = 16;

/// What a group is called is this and the name of its unikernel, so that it is no file of the kernel's.
const PREFIX: &str = "vmm-";

/// The control group of a tender: nobody else is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The unikernel.
    pub name: Name,
    /// Octets of memory that it may use.
    pub memory: u64,
    /// Octets of that which may be on a swap device besides.
    pub swap: u64,
    /// Processes and threads.
    pub tasks: u64,
}

impl Group {
    /// The group of a tender whose guest has so many MB of memory.
    pub(super) fn new(name: Name, memory: Int, overcommit: Overcommit) -> Self {
        let guest = u64::try_from(memory.get()).unwrap_or_default().saturating_mul(MB);
        let memory = guest.saturating_add(guest / OCTETS_PER_TABLE).saturating_add(TENDER_MEMORY);
        // Else what is too much would go there, and no memory of a guest is to be found on a disk. Who promises
        // more memory than there is needs a place for it.
        let swap = if overcommit == Overcommit::NONE { 0 } else { guest };
        Self { name, memory, swap, tasks: TASKS }
    }

    /// The name of the directory of this unikernel's group.
    #[must_use]
    pub fn directory(name: &Name) -> String {
        format!("{PREFIX}{name}")
    }

    /// The unikernel whose group has this directory.
    #[must_use]
    pub fn unikernel(directory: &str) -> Option<Name> {
        let name: Name = directory.strip_prefix(PREFIX)?.parse().ok()?;
        (name.label().is_some() && Self::directory(&name) == directory).then_some(name)
    }
}

/// What there is of control groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Whether tenders get some.
    given: bool,
    /// The unikernels whose group was there at the start.
    found: Vec<Name>,
}

impl Groups {
    pub(super) fn begin(&mut self, found: Vec<Name>) {
        *self = Self { given: true, found };
    }
}

impl Vmmd {
    /// Removes the groups that predecessors left and whose tender does not run.
    pub(super) fn remove_unused_groups(&mut self) {
        for name in std::mem::take(&mut self.groups.found) {
            if !self.has_tender(&name) {
                self.log(Level::Info, format!("{name}: a control group that nobody has any more is removed"));
                self.remove_group(&name);
            }
        }
    }

    /// The group that the tender of this unikernel is to have.
    pub(super) fn group(&self, name: &Name) -> Option<Group> {
        let memory = self.unikernels.get(name).filter(|_| self.groups.given)?.arguments.memory;
        Some(Group::new(name.clone(), memory, self.config.overcommit))
    }

    /// Gives a group that a predecessor made the limits that this daemon would.
    pub(super) fn limit_group(&mut self, name: &Name) {
        if let Some(group) = self.group(name) {
            self.output(Output::LimitGroup(group));
        }
    }

    /// Kills whoever is in a group.
    pub(super) fn kill_group(&mut self, name: &Name) {
        if self.groups.given {
            self.output(Output::KillGroup(name.clone()));
        }
    }

    /// The tender of a group is gone.
    pub(super) fn remove_group(&mut self, name: &Name) {
        if self.groups.given {
            self.output(Output::RemoveGroup(name.clone()));
        }
    }

    /// A tender used more memory than its group may: its end is on the way.
    pub(super) fn out_of_memory(&mut self, pid: u32) {
        let Some(name) = self.processes.get(&pid).cloned() else { return };
        let most = self.group(&name).map_or(0, |group| group.memory / MB);
        let text =
            format!("{name}: process {pid} used more than {most} MB of memory, so the kernel killed it");
        self.log(Level::Warning, text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn a_directory_is_that_of_one_unikernel_and_nothing_else() {
        for name in [":a", "a:b", "a.b:c.d", "a:-b"] {
            let Ok(name) = name.parse::<Name>() else { continue };
            assert_eq!(Group::unikernel(&Group::directory(&name)), Some(name));
        }
        assert_eq!(Group::directory(&"a:b".parse().unwrap()), "vmm-a:b");
        for other in
            ["", "vmm-", "vmm-a:", "a:b", "vmm-a:b/c", "vmm-../x", "albatrossd", "memory.max", "vmm-b"]
        {
            assert_eq!(Group::unikernel(other), None, "{other}");
        }
    }

    #[test]
    fn a_group_has_room_for_the_guest_and_its_tender() {
        let name: Name = "a:b".parse().unwrap();
        let group = |memory: i64, overcommit| Group::new(name.clone(), Int::new(memory).unwrap(), overcommit);
        let small = group(2, Overcommit::NONE);
        assert_eq!(small.memory, (34 << 20) + (2 << 20) / 128);
        assert_eq!((small.swap, small.tasks), (0, 16));
        // 64 GB: 512 MB for page tables.
        assert_eq!(group(65_536, Overcommit::NONE).memory, (65_536 + 512 + 32) << 20);
        assert_eq!(group(2, "2".parse().unwrap()).swap, 2 << 20);
    }
}
