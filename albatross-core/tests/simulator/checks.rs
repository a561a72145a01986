//! What must be so after every step.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use albatross_core::{image, journal};
use albatross_proto::{Name, Path, Policy, Text};

use crate::blocks::{MB, name_of};
use crate::host::{BRIDGE, Host, Process, flat};
use crate::script::PATHS;

/// What of the policies is used at a path and below.
#[derive(Default)]
pub(crate) struct Used {
    pub(crate) unikernels: i64,
    pub(crate) memory: i64,
    pub(crate) cpus: BTreeSet<i64>,
    pub(crate) bridge: bool,
    pub(crate) block: i64,
}

impl Used {
    pub(crate) fn fits(&self, policy: &Policy) -> bool {
        self.unikernels <= policy.unikernels.get()
            && self.memory <= policy.memory.get()
            && self.cpus.iter().all(|cpu| policy.cpuids.iter().any(|id| id.get() == *cpu))
            && (!self.bridge || policy.bridges.contains(&Text::from(BRIDGE)))
            && self.block <= policy.block.map_or(0, |block| block.get())
    }
}

/// After every step.
impl Host {
    pub(crate) fn check(&mut self) {
        for path in PATHS {
            let path = path.parse::<Name>().unwrap().path().clone();
            let used = self.used(&path);
            let allowed = if path.is_root() {
                used.fits(&self.root)
            } else {
                self.ledger.policies(&path).iter().flatten().any(|policy| used.fits(policy))
                    || self.ledger.policies(&path).contains(&None)
                    || self.ledger.was_refused(&path)
            };
            if !allowed {
                let Used { unikernels, memory, block, .. } = used;
                return self.broke(format!(
                    "{unikernels} run at {path:?} with {memory} MB and {block} MB of block storage, against its policy"
                ));
            }
        }
        let held: usize = self.processes.values().map(|process| process.taps.len()).sum();
        if self.taps.len() < held {
            self.broke("a tap of what runs is gone");
        }
        for process in self.processes.values() {
            let fifo = self.config.tmpdir.join("fifo").join(process.name.to_string());
            if !self.fifos.contains_key(&fifo) {
                return self.broke("a fifo of what runs is gone");
            }
        }
    }

    /// What runs at a path and below takes, by looking at every process.
    fn used(&self, path: &Path) -> Used {
        let mut used = Used::default();
        for process in self.processes.values().filter(|process| process.name.path().is_within(path)) {
            used.unikernels += 1;
            used.memory += process.memory;
            used.cpus.extend(process.cpus.iter().map(|cpu| i64::try_from(*cpu).unwrap()));
            used.bridge |= !process.taps.is_empty();
        }
        used.block = self.used_block(path);
        used
    }

    /// MB of all block devices at a path and below.
    pub(crate) fn used_block(&self, path: &Path) -> i64 {
        let devices = self.devices();
        let below = devices.iter().filter(|(name, _)| name.path().is_within(path));
        below.map(|(_, content)| i64::try_from(content.len() / MB).unwrap()).sum()
    }

    /// The record was changed, or an image: both it and what of it would survive can be read and need no image
    /// that is not there.
    pub(crate) fn check_record(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let path = self.config.record();
        let read = |disk: fn(&crate::disk::Disk, &FilePath) -> Option<Vec<u8>>| {
            let Some(octets) = disk(&self.disk, &path) else { return Ok(()) };
            let contents =
                journal::read(&octets).map_err(|error| format!("the record is not read: {error}"))?;
            let lost = contents.record.unikernels.iter().find(|(_, one)| {
                let image = disk(&self.disk, &self.config.stored_image(&one.digest));
                image.is_none_or(|image| image::digest(&image) != one.digest)
            });
            lost.map_or(Ok(()), |(name, _)| Err(format!("{name} is on record without its image")))
        };
        let now = read(|disk, path| disk.read(path).map(<[u8]>::to_vec));
        let durable = read(|disk, path| disk.read_durable(path).map(<[u8]>::to_vec));
        if let Err(wrong) = now.and(durable) {
            self.broke(wrong);
        }
    }

    /// A tender is started.
    pub(crate) fn check_start(&mut self, process: &Process, placed: &FilePath) {
        let name = &process.name;
        let recorded = self.disk.read_durable(&self.config.record()).map(journal::read);
        let version = match recorded {
            Some(Ok(contents)) => flat(&contents.record).0.remove(name),
            _ => None,
        };
        let image = self.placed.get(placed).map(|image| image::digest(image));
        let others = || self.processes.values();
        let wrong = if version.is_none() {
            "is started and is not durably on record"
        } else if version.as_ref().map(|version| version.digest) != image {
            "is started with another image than is on record"
        } else if version.is_some_and(|version| version.arguments.memory.get() != process.memory) {
            "is started with other arguments than are on record"
        } else if others().any(|other| other.name == *name) {
            "is started and runs already"
        } else if others().any(|other| other.user == process.user) {
            "is started as a user that another runs as"
        } else if process.taps.iter().any(|tap| !self.taps.contains(tap)) {
            "is started with a tap that is not there"
        } else if others().any(|other| other.taps.iter().any(|tap| process.taps.contains(tap))) {
            "is started with a tap of another"
        } else if others().any(|other| other.blocks.iter().any(|file| process.blocks.contains(file))) {
            "is started with a block device of another"
        } else if self.jobs.iter().any(|job| job.block.iter().any(|file| process.blocks.contains(file))) {
            "is started with a block device that a command has"
        } else if process.blocks.iter().any(|file| !self.is_device(file)) {
            "is started with a block device that is not there"
        } else {
            return;
        };
        let text = format!("{name} {wrong}");
        self.broke(text);
    }
}

/// What is left where the daemon left it to the next one.
impl Host {
    /// Each that runs is noted, and nothing else is there.
    pub(crate) fn check_handed_over(&mut self) {
        let noted = |pid: &u32| self.notes.values().any(|(other, _)| other == pid);
        let missing = self.processes.keys().find(|pid| !noted(pid)).copied();
        let ended = |name: &str| {
            self.exits
                .iter()
                .any(|(pid, _)| self.statistics.running.get(pid).is_some_and(|it| it.to_string() == name))
        };
        let held: BTreeSet<&String> = self.processes.values().flat_map(|process| &process.taps).collect();
        let runs = |name: &str| self.processes.values().any(|process| process.name.to_string() == name);
        let file = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let stale = self.fifos.keys().map(file).find(|name| !runs(name) && !ended(name));
        let tap = self.taps.iter().find(|tap| !held.contains(tap)).filter(|_| self.exits.is_empty());
        let wrong = if let Some(pid) = missing {
            format!("process {pid} is left to the next daemon without a note")
        } else if let Some(left) = stale.or_else(|| tap.cloned()) {
            format!("the hand-over left {left}, which nobody has")
        } else {
            return;
        };
        self.broke(wrong);
    }

    /// The file of a block device, unless a removal that failed took it.
    fn is_device(&self, file: &FilePath) -> bool {
        let gone = |name: &Name| self.ledger.devices.may_be(name, &None);
        self.disk.read(file).is_some() || name_of(file).is_some_and(|name| gone(&name))
    }
}
