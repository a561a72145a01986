//! What must be so where everything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use albatross_core::journal;
use albatross_core::resources::inside;
use albatross_core::vmmd::Input;
use albatross_proto::reply::{Info, State, Status};
use albatross_proto::{
    Command, Header, Name, Path, Payload, Policy, PolicyCommand, Success, UnikernelCommand, Wire,
};

use crate::checks::Used;
use crate::host::{Host, flat};
use crate::script::PATHS;

/// Longer than everything that is tried again waits: a start at most a minute, a record and a console daemon
/// seconds.
const QUIET: Duration = Duration::from_secs(130);

/// Longer than an end may take: what starts comes to its end, what runs is killed.
const END: Duration = Duration::from_secs(25);

impl Host {
    /// Lets everything be done, without any trouble, and looks at what is left.
    pub(crate) fn settle(&mut self) {
        self.disarm();
        if self.console.frozen {
            // Who waits for it is told so, and the others are served.
            self.be_quiet();
            if let Some(unanswered) = self.unanswered(true) {
                return self.broke(unanswered);
            }
            self.console.frozen = false;
        }
        self.console_up();
        self.log.dies = None;
        self.log_up();
        self.wake_subscribers();
        self.wake_gathering();
        // Who asks for figures is told none of what only an albatrossd of before has named.
        self.subscribe_to_figures(0);
        self.be_quiet();
        // Who has sent all is answered, whether it goes on listening or not.
        if let Some(unanswered) = self.unanswered(true) {
            return self.broke(unanswered);
        }
        self.end_clients();
        self.be_quiet();
        if self.broken.is_some() {
            return;
        }
        self.counts.settled += 1;
        if let Some(unanswered) = self.unanswered(false) {
            return self.broke(unanswered);
        }
        self.clients.clear();
        self.check_settled();
        self.clients.clear();
    }

    /// Minutes in which nobody does anything.
    fn be_quiet(&mut self) {
        let (begun, until) = (self.now, self.now + QUIET);
        let mut ending = self.is_ending();
        for _ in 0..400 {
            self.begin_again();
            self.drain();
            ending &= self.is_ending();
            if ending && self.now > begun + END {
                self.broke("it was asked to end, and does not");
            }
            if self.broken.is_some() || self.now >= until {
                return;
            }
            // Who reads statistics does so before the next come.
            let due = [self.vmmd.next_deadline(), self.next_work(), self.gathering.next_deadline()];
            let due = due.into_iter().flatten().min();
            let due = due.unwrap_or(until).clamp(self.now, until);
            self.wait((due - self.now).max(Duration::from_millis(1)));
        }
        self.broke("there is no end of deadlines");
    }

    fn check_settled(&mut self) {
        if !self.jobs.is_empty() || !self.spools.is_empty() {
            let text = format!("{} tasks and spools {:?} are left", self.jobs.len(), self.spools.keys());
            return self.broke(text);
        }
        let Some(contents) = self.read_record() else { return };
        let (unikernels, policies) = contents;
        if let Some(wrong) = self.ledger.settle(&unikernels) {
            return self.broke(format!("once all was done: {wrong}"));
        }
        let statuses = self.ask_status();
        let infos = self.ask_info();
        if !statuses.keys().eq(unikernels.keys()) {
            let (known, recorded) = (statuses.keys(), unikernels.keys());
            return self.broke(format!("known are {known:?}, on record {recorded:?}"));
        }
        for (name, info) in &infos {
            let version = &unikernels[name];
            let same = info.argv == version.arguments.argv
                && info.memory == version.arguments.memory
                && info.cpuids == version.arguments.cpuids
                && info.fail_behaviour == version.arguments.fail_behaviour
                && info.digest.as_bytes() == version.digest;
            if !same {
                return self.broke(format!("{name} runs as {info:?}, on record is {version:?}"));
            }
        }
        self.check_statuses(&statuses, &infos);
        self.check_devices(&unikernels);
        self.check_left(&infos);
        self.check_lent();
        self.check_images(&unikernels);
        self.check_policies(&policies, &unikernels);
        self.check_consoles();
        self.check_gathering_settled();
    }

    fn read_record(&mut self) -> Option<(BTreeMap<Name, crate::ledger::Version>, BTreeMap<Path, Policy>)> {
        let Some(octets) = self.disk.read_durable(&self.config.record()) else {
            return Some((BTreeMap::new(), BTreeMap::new()));
        };
        match journal::read(octets) {
            Ok(contents) => Some(flat(&contents.record)),
            Err(error) => {
                self.broke(format!("the record is not read: {error}"));
                None
            }
        }
    }

    /// What is on record runs, or says why it cannot.
    fn check_statuses(&mut self, statuses: &BTreeMap<Name, Status>, infos: &BTreeMap<Name, Info>) {
        for (name, status) in statuses {
            let why = match &status.state {
                State::Running if infos.contains_key(name) => continue,
                State::Failed(why) => why.to_string(),
                other => format!("{other:?}"),
            };
            let bridge = !self.bridge && why.contains("bridge");
            // Where policies were changed while it did not run, or its image is another than its arguments say.
            // So is it with block devices.
            if !bridge && !why.contains("policy") && !why.contains("block device") {
                self.broke(format!("{name} does not run: {why}"));
            }
        }
    }

    /// Everything that is there belongs to what runs.
    fn check_left(&mut self, infos: &BTreeMap<Name, Info>) {
        let running: BTreeSet<&Name> = self.processes.values().map(|process| &process.name).collect();
        let taps: BTreeSet<&String> = self.processes.values().flat_map(|process| &process.taps).collect();
        let names: BTreeSet<String> = running.iter().map(ToString::to_string).collect();
        let files = |paths: Vec<&PathBuf>, end: &str| -> BTreeSet<String> {
            let file = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            paths.into_iter().map(|path| file(path).strip_suffix(end).unwrap().to_owned()).collect()
        };
        let fifos = files(self.fifos.keys().collect(), "");
        let placed = files(self.placed.keys().collect(), ".img");
        if !infos.keys().eq(running.iter().copied()) {
            self.broke(format!("{running:?} run, known are {:?}", infos.keys()));
        } else if !self.groups.iter().eq(running.iter().copied()) {
            self.broke(format!("groups of {:?} are left, {names:?} run", self.groups));
        } else if !self.taps.iter().eq(taps) {
            self.broke(format!("taps {:?} are left of {names:?}", self.taps));
        } else if fifos != names || placed != names {
            self.broke(format!("fifos {fifos:?}, images {placed:?} are left, {names:?} run"));
        }
    }

    /// The store has what is needed and nothing else.
    fn check_images(&mut self, unikernels: &BTreeMap<Name, crate::ledger::Version>) {
        let needed: BTreeSet<PathBuf> =
            unikernels.values().map(|version| self.config.stored_image(&version.digest)).collect();
        let stored: BTreeSet<PathBuf> = self.disk.list(&self.config.images()).into_iter().collect();
        let few = !stored.is_superset(&needed);
        if few || stored.difference(&needed).any(|path| !self.kept.contains(path)) {
            self.broke(format!("images {stored:?} are kept, {needed:?} are needed"));
        }
    }

    /// Policies are those of the last word on each, in memory and on the disk.
    fn check_policies(
        &mut self,
        recorded: &BTreeMap<Path, Policy>,
        unikernels: &BTreeMap<Name, crate::ledger::Version>,
    ) {
        let asked = self.probe(Name::root(), Command::Policy(PolicyCommand::Info));
        let Some(Payload::Success(Success::Policies(list))) = asked else { return };
        let known: BTreeMap<Path, Policy> = list
            .into_iter()
            .map(|(name, policy)| (name.path().clone(), policy))
            .filter(|(path, _)| !path.is_root())
            .collect();
        if known != *recorded {
            return self.broke(format!("policies {known:?} are in force, on record are {recorded:?}"));
        }
        for path in PATHS {
            let path = path.parse::<Name>().unwrap().path().clone();
            let (said, found) = (self.ledger.settled_policies(&path), known.get(&path).cloned());
            let stays = |said: &Option<Policy>| self.cannot_go_back(&path, said.as_ref(), &known, unikernels);
            let told = said.contains(&found) || said.iter().any(stays);
            if !path.is_root() && !told {
                return self.broke(format!("the policy of {path} is {found:?}, last was said {said:?}"));
            }
            self.ledger.policy_is(&path, found);
        }
    }

    /// Whether a policy that was refused stays as more is in use than the one before allows.
    fn cannot_go_back(
        &self,
        path: &Path,
        said: Option<&Policy>,
        known: &BTreeMap<Path, Policy>,
        unikernels: &BTreeMap<Name, crate::ledger::Version>,
    ) -> bool {
        let Some(said) = said else { return false };
        let mut used = Used::default();
        for (_, version) in unikernels.iter().filter(|(name, _)| name.path().is_within(path)) {
            used.unikernels += 1;
            used.memory += version.arguments.memory.get();
            used.cpus.extend(version.arguments.cpuids.iter().map(|id| id.get()));
            used.bridge |= !version.arguments.net_devices.is_empty();
        }
        used.block = self.used_block(path);
        let contradicts = |(other, policy): (&Path, &Policy)| {
            other != path
                && (other.is_within(path) && inside(policy, said).is_err()
                    || path.is_within(other) && inside(said, policy).is_err())
        };
        !used.fits(said) || known.iter().any(contradicts)
    }

    /// Asks the machine, as a client that is no part of the script.
    pub(crate) fn probe(&mut self, name: Name, command: Command<'_>) -> Option<Payload<'static>> {
        let client = albatross_core::machine::ClientId(usize::MAX - self.next_client);
        self.next_client += 1;
        let message = Wire::new(Header::new(0, name), Payload::Command(command)).encode().unwrap();
        let now = self.clock();
        self.vmmd.handle(now, Input::Connected(client));
        let outputs = self.vmmd.handle(now, Input::Frame(client, message));
        let sent = outputs.into_iter().find_map(|output| match output {
            albatross_core::vmmd::Output::Send(to, message) if to == client => Some(message),
            _ => None,
        });
        match sent.as_deref().map(Wire::decode) {
            Some(Ok(Wire { payload: Payload::Success(success), .. })) => match success {
                Success::Status(list) => Some(Payload::Success(Success::Status(list))),
                Success::Info(list) => Some(Payload::Success(Success::Info(list))),
                Success::Policies(list) => Some(Payload::Success(Success::Policies(list))),
                Success::BlockDevices(list) => Some(Payload::Success(Success::BlockDevices(list))),
                _ => None,
            },
            other => {
                self.broke(format!("a question is not answered: {other:?}"));
                None
            }
        }
    }

    fn ask_status(&mut self) -> BTreeMap<Name, Status> {
        match self.probe(Name::root(), Command::Unikernel(UnikernelCommand::Status)) {
            Some(Payload::Success(Success::Status(list))) => list.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    }

    fn ask_info(&mut self) -> BTreeMap<Name, Info> {
        match self.probe(Name::root(), Command::Unikernel(UnikernelCommand::Info)) {
            Some(Payload::Success(Success::Info(list))) => list.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    }
}
