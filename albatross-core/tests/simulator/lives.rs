//! How a daemon ends, in whatever way, and how the next one begins with what it left.

use std::collections::BTreeSet;
use std::path::PathBuf;

use albatross_core::journal;
use albatross_core::vmmd::{Fate, Input, Left, LeftTender};
use albatross_proto::state::{Record, Stage, Tender};
use albatross_proto::{Int, Policy};

use crate::Sabotage;
use crate::host::{Crash, Host, LESS_MEMORY, MEMORY, flat, machine};
use crate::random::Random;

impl Host {
    /// Begins again where the daemon ended.
    pub(crate) fn begin_again(&mut self) {
        while self.broken.is_none() {
            if self.crashed {
                self.crash();
            } else if self.over {
                self.ended();
            } else {
                return;
            }
            self.begin();
        }
    }

    fn crash(&mut self) {
        let Some(Crash { power, chance, .. }) = self.crash.take() else { return };
        self.crashed = false;
        // It may come at the very end.
        self.over = false;
        if power {
            self.counts.power_cuts += 1;
            self.end_tenders();
            self.notes.clear();
            self.disk.power_cut(&mut Random::new(chance));
            self.taps.clear();
            self.groups.clear();
            self.placed.clear();
            self.fifos.clear();
            self.console.forget();
            self.log_without_power();
            self.gathering_without_power();
            // It may come back with less than it had.
            self.root.memory = Int::from(if chance.is_multiple_of(5) { LESS_MEMORY } else { MEMORY });
        } else {
            self.counts.kills += 1;
        }
        self.forget_daemon();
    }

    /// They outlive the daemon, and not the machine.
    fn end_tenders(&mut self) {
        for process in std::mem::take(&mut self.processes).into_values() {
            self.pipes[process.pipe].writer = None;
        }
    }

    /// An orderly end leaves nothing.
    fn ended(&mut self) {
        self.counts.ends += 1;
        self.over = false;
        let (asked, handed_over) = (self.asked_to_end, self.handing_over);
        if asked > 1 {
            // Who asks twice does not want to wait: what still runs is the next one's.
            return self.forget_daemon();
        }
        if asked == 0 && handed_over {
            self.counts.hand_overs += 1;
            self.check_handed_over();
            return self.forget_daemon();
        }
        // A note stays where it could not be made durable that its tender ended: the next daemon learns it so.
        if !self.processes.is_empty() || !self.taps.is_empty() {
            self.broke(format!("the end left {} tenders, taps {:?}", self.processes.len(), self.taps));
        }
        if !self.groups.is_empty() {
            self.broke(format!("the end left the groups of {:?}", self.groups));
        }
        if !self.fifos.is_empty() || !self.placed.is_empty() {
            self.broke(format!("the end left {:?} {:?}", self.fifos.keys(), self.placed.keys()));
        }
        self.forget_daemon();
    }

    /// What a daemon takes with it.
    fn forget_daemon(&mut self) {
        self.jobs.clear();
        self.threads.clear();
        self.statistics.forget();
        self.exits.clear();
        self.spools.clear();
        self.clients.clear();
        self.connects = 0;
        self.asked_to_end = 0;
        self.handing_over = false;
        self.damaged = true;
        self.close_link();
        self.close_log_link();
        self.close_gathering();
    }

    /// What albatrossd does at its start: reads the record, removes the images that it does not name, and what
    /// is left of a dead predecessor.
    pub(crate) fn begin(&mut self) {
        // A daemon that was killed may have left what is not durable: it is, before anything is built on it.
        self.disk.sync(&self.config.record());
        self.disk.sync_directory(&self.config.dbdir);
        let contents = self.disk.read(&self.config.record()).map(journal::read);
        let is_first = contents.is_none();
        let record = match contents {
            None => Record::default(),
            Some(Ok(contents)) => contents.record,
            Some(Err(error)) => return self.broke(format!("the record cannot be read: {error}")),
        };
        let needed: BTreeSet<PathBuf> =
            record.unikernels.iter().map(|(_, one)| self.config.stored_image(&one.digest)).collect();
        self.kept.clear();
        for path in self.disk.list(&self.config.images()) {
            let is_whole = path.extension().is_none();
            if is_whole && is_first {
                self.kept.insert(path);
            } else if !needed.contains(&path) {
                self.disk.remove(&path);
            }
        }
        if let Some(missing) = needed.iter().find(|path| self.disk.read(path).is_none()) {
            return self.broke(format!("{} is on record and not there", missing.display()));
        }
        let left = self.left();
        let files = self.block_files();
        let (unikernels, policies) = flat(&record);
        let wrong = self.ledger.begin(&unikernels, &policies);
        let devices = self.devices();
        if let Some(wrong) = wrong.or_else(|| self.ledger.devices.begin(&devices)) {
            return self.broke(format!("after a crash or end: {wrong}"));
        }
        // Of these the next daemon learns the end, and what follows from it.
        for (pid, tender) in self.notes.values().filter(|(_, tender)| tender.stage != Stage::Stopping) {
            if let Some(exit) = self.ended.get(pid) {
                self.ledger.ended(&tender.name, *exit);
            }
        }
        self.vmmd = machine();
        self.starts = self.starts.wrapping_add(1);
        self.give(Input::Groups(self.groups.iter().cloned().collect()));
        let host = self.told_root();
        for LeftTender { pid, tender, fate } in &left.tenders {
            if *fate == Fate::Runs && unikernels.contains_key(&tender.name) {
                self.statistics.running.insert(*pid, tender.name.clone());
            }
        }
        self.give(Input::BlockFiles(files));
        if !self.stopped() {
            self.check_unfinished();
        }
        self.give(Input::Begin { host, record, seed: [self.starts; 32], left });
    }

    /// What a predecessor left: notes of tenders, taps, placed images, fifos.
    fn left(&self) -> Left {
        let fate = |pid: &u32| match self.processes.contains_key(pid) {
            true => Fate::Runs,
            false => Fate::Ended(self.ended.get(pid).copied()),
        };
        let tender =
            |(pid, tender): &(u32, Tender)| LeftTender { pid: *pid, tender: tender.clone(), fate: fate(pid) };
        let name = |path: &PathBuf| path.with_extension("").file_name()?.to_str()?.parse().ok();
        let fifo = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        Left {
            tenders: self.notes.values().map(tender).collect(),
            taps: self.taps.iter().cloned().collect(),
            images: self.placed.keys().filter_map(name).collect(),
            fifos: self.fifos.keys().filter_map(fifo).collect(),
        }
    }

    fn told_root(&self) -> Policy {
        let mut host = self.root.clone();
        if self.sabotage == Some(Sabotage::ForgetLimits) {
            host.memory = Int::MAX;
        }
        if self.sabotage == Some(Sabotage::ForgetBlockLimit) {
            host.block = Some(Int::MAX);
        }
        host
    }
}
