//! The host around the machines: what there is, what waits to be carried out, and how a daemon dies and begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use albatross_core::machine::Now;
use albatross_core::vmmd::{Config, Input, SpoolId, Task, TaskFailure, TaskId, UserRange, Vmmd};
use albatross_core::vmmd::{Fate, Left, LeftTender, Outcome, Output};
use albatross_core::{journal, machine::ClientId};
use albatross_proto::reply::Exit;
use albatross_proto::state::{Record, Stage, Tender};
use albatross_proto::{Int, Name, Path, Policy, Text, Time};

use crate::Sabotage;
use crate::clients::Client;
use crate::console::ConsoleSide;
use crate::counts::Counts;
use crate::disk::Disk;
use crate::images::Images;
use crate::ledger::{Ledger, Version};
use crate::random::Random;
use crate::script::{Kind, Step};

/// Memory of the host, in MB.
pub(crate) const MEMORY: i32 = 256;
/// The same where some of it is broken.
const LESS_MEMORY: i32 = 100;
/// The bridge that there is, now and then.
pub(crate) const BRIDGE: &str = "service";

pub(crate) struct Process {
    pub(crate) name: Name,
    pub(crate) memory: i64,
    pub(crate) cpus: Vec<usize>,
    pub(crate) taps: Vec<String>,
    pub(crate) user: Option<u32>,
    pub(crate) pipe: usize,
    pub(crate) deaf: bool,
    /// It was asked to end.
    pub(crate) killed: bool,
    pub(crate) lines: usize,
}

/// A task that was given out: to be carried out, or done and not answered.
pub(crate) struct Job {
    pub(crate) id: TaskId,
    /// It writes the record.
    pub(crate) record: bool,
    pub(crate) task: Option<Task>,
    pub(crate) answer: Option<Result<Outcome, TaskFailure>>,
}

/// A fifo, with or without a name.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) octets: VecDeque<u8>,
    pub(crate) writer: Option<u32>,
    pub(crate) linked: bool,
}

/// The end that comes, after so many more effects.
#[derive(Clone, Copy)]
pub(crate) struct Crash {
    power: bool,
    after: usize,
    chance: u64,
}

pub(crate) struct Host {
    pub(crate) vmmd: Vmmd,
    pub(crate) config: Config,
    pub(crate) images: &'static Images,
    pub(crate) now: Duration,
    pub(crate) disk: Disk,
    /// Images of running unikernels, fifos: files that do not survive the power.
    pub(crate) placed: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) fifos: BTreeMap<PathBuf, usize>,
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) taps: BTreeSet<String>,
    /// The control groups, by unikernel.
    pub(crate) groups: BTreeSet<Name>,
    pub(crate) bridge: bool,
    pub(crate) processes: BTreeMap<u32, Process>,
    /// What is noted of tenders, under the files of the notes: which process, and what.
    pub(crate) notes: BTreeMap<PathBuf, (u32, Tender)>,
    /// How processes ended whose note is there.
    pub(crate) ended: BTreeMap<u32, Exit>,
    /// Ends that the daemon was not told of.
    pub(crate) exits: VecDeque<(u32, Exit)>,
    pub(crate) next_pid: u32,
    pub(crate) jobs: Vec<Job>,
    /// How often a connection to the console daemon is being made.
    pub(crate) connects: usize,
    /// Images on their way in, which are files.
    pub(crate) spools: BTreeMap<SpoolId, PathBuf>,
    pub(crate) next_spool: u64,
    /// Images that stay, as there was no record at the start.
    pub(crate) kept: BTreeSet<PathBuf>,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) next_client: usize,
    pub(crate) next_sequence: i64,
    pub(crate) console: ConsoleSide,
    pub(crate) ledger: Ledger,
    pub(crate) faults: BTreeMap<Kind, usize>,
    /// The driver of the record's file does not append to it.
    pub(crate) damaged: bool,
    /// Those of all files of the record.
    pub(crate) salts: BTreeSet<Vec<u8>>,
    pub(crate) root: Policy,
    crash: Option<Crash>,
    crashed: bool,
    /// The machine said that it is over.
    pub(crate) over: bool,
    /// How often it was asked to end.
    asked_to_end: u8,
    starts: u8,
    pub(crate) broken: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) sabotaged: usize,
}

fn config() -> Config {
    Config {
        tmpdir: "/run/albatross".into(),
        dbdir: "/var/lib/albatross".into(),
        drop_path: true,
        overcommit: albatross_core::resources::Overcommit::default(),
    }
}

fn machine() -> Vmmd {
    let users = UserRange::new(100_000, 9).unwrap();
    Vmmd::new(config()).with_users(users)
}

impl Host {
    pub(crate) fn new(sabotage: Option<Sabotage>) -> Self {
        let root = Policy {
            cpuids: [0, 1].map(Int::from).into(),
            unikernels: Int::MAX,
            memory: Int::from(MEMORY),
            block: Some(Int::from(1000)),
            bridges: [Text::from(BRIDGE)].into(),
        };
        let mut host = Self {
            vmmd: machine(),
            config: config(),
            images: Images::get(),
            now: Duration::from_secs(1),
            disk: Disk::default(),
            placed: BTreeMap::new(),
            fifos: BTreeMap::new(),
            pipes: Vec::new(),
            taps: BTreeSet::new(),
            groups: BTreeSet::new(),
            bridge: true,
            processes: BTreeMap::new(),
            notes: BTreeMap::new(),
            ended: BTreeMap::new(),
            exits: VecDeque::new(),
            next_pid: 100,
            jobs: Vec::new(),
            connects: 0,
            spools: BTreeMap::new(),
            next_spool: 0,
            kept: BTreeSet::new(),
            clients: BTreeMap::new(),
            next_client: 0,
            next_sequence: 1,
            console: ConsoleSide::new(),
            ledger: Ledger::default(),
            faults: BTreeMap::new(),
            damaged: true,
            salts: BTreeSet::new(),
            root,
            crash: None,
            crashed: false,
            over: false,
            asked_to_end: 0,
            starts: 0,
            broken: None,
            counts: Counts::default(),
            sabotage,
            sabotaged: 0,
        };
        host.begin();
        host
    }

    /// Something is not as it must be. The first time counts.
    pub(crate) fn broke(&mut self, what: impl Into<String>) {
        self.broken.get_or_insert_with(|| what.into());
    }

    /// Nothing more happens before the daemon begins again, or at all.
    pub(crate) const fn stopped(&self) -> bool {
        self.crashed || self.over || self.broken.is_some()
    }

    pub(crate) fn clock(&self) -> Now {
        let seconds = i64::try_from(self.now.as_secs()).unwrap();
        Now { monotonic: self.now, wall: Time::from_unix(1_700_000_000 + seconds, 0).unwrap() }
    }

    /// An effect took place; the armed end may come now, before the next.
    pub(crate) fn atom(&mut self) {
        if let Some(crash) = &mut self.crash {
            if crash.after == 0 {
                self.crashed = true;
            }
            crash.after = crash.after.saturating_sub(1);
        }
    }

    /// Tells the machine what happened and carries out what it wants.
    pub(crate) fn give(&mut self, input: Input) {
        if self.stopped() {
            return;
        }
        let outputs: Vec<Output> = self.vmmd.handle(self.clock(), input);
        for output in outputs {
            if self.stopped() {
                return;
            }
            self.carry_out(output);
            self.atom();
        }
    }

    /// Takes one step, with what follows if the daemon ends by it, and looks at everything.
    pub(crate) fn take(&mut self, step: Step) {
        self.counts.steps += 1;
        match step {
            Step::Ask(ask) => {
                let client = self.connect();
                self.ask(client, ask);
            }
            Step::Chain(first, second) => {
                let client = self.connect();
                self.ask(client, first);
                self.ask(client, second);
            }
            Step::Pipeline(client, ask) => self.pipeline(client, ask),
            Step::Stream(client, chunk) => self.stream(client, chunk),
            Step::Garbage(client) => self.garbage(client),
            Step::HangUp { client, gone } => self.hang_up(client, gone),
            Step::Flood(client) => self.flood(client),
            Step::Churn => self.churn(),
            Step::Subscribe { name, lines } => self.subscribe(name, lines),
            Step::ListInactive => self.list_inactive(),
            Step::Stall(subscriber) => self.stall(subscriber),
            Step::Unsubscribe { subscriber, gone } => self.unsubscribe(subscriber, gone),
            Step::Work { choice, times } => self.work_some(choice, times),
            Step::Drain => self.drain(),
            Step::Wait { millis } => self.wait(Duration::from_millis(millis)),
            Step::Fail(kind, times) => *self.faults.entry(kind).or_default() += times,
            Step::Bridge => self.bridge = !self.bridge,
            Step::Print { process, lines, long } => self.print(process, lines, long),
            Step::Die { process, end } => self.die(process, end),
            Step::Deafen(process) => self.deafen(process),
            Step::ConsoleDown => self.console_down(),
            Step::ConsoleUp => self.console_up(),
            Step::Crash { power, after, chance } => self.crash = Some(Crash { power, after, chance }),
            Step::Terminate => {
                self.asked_to_end += 1;
                self.give(Input::Terminate);
            }
            Step::Settle => self.settle(),
        }
        self.begin_again();
        if self.broken.is_none() {
            self.check();
        }
    }

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
        if std::mem::take(&mut self.asked_to_end) > 1 {
            // Who asks twice does not want to wait: what still runs is the next one's.
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
        self.exits.clear();
        self.spools.clear();
        self.clients.clear();
        self.connects = 0;
        self.asked_to_end = 0;
        self.damaged = true;
        self.close_link();
    }

    /// What albatrossd does at its start: reads the record, removes the images that it does not name, and what
    /// is left of a dead predecessor.
    fn begin(&mut self) {
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
        let (unikernels, policies) = flat(&record);
        if let Some(wrong) = self.ledger.begin(&unikernels, &policies) {
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
        host
    }

    /// Time passes; what is due happens.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let due = [self.vmmd.next_deadline(), self.console.next_deadline()].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= until) else {
                self.now = until;
                return self.give(Input::Tick);
            };
            self.now = self.now.max(due);
            self.give(Input::Tick);
            self.tick_console();
            if self.stopped() {
                return;
            }
        }
        self.broke("a deadline does not pass");
    }

    pub(crate) fn disarm(&mut self) {
        self.crash = None;
    }

    /// Whether the next task of this kind is to fail.
    pub(crate) fn fails(&mut self, kind: Kind) -> bool {
        let Some(left) = self.faults.get_mut(&kind).filter(|left| **left > 0) else { return false };
        *left -= 1;
        self.counts.faults += 1;
        true
    }
}

/// A record as maps.
pub(crate) fn flat(record: &Record) -> (BTreeMap<Name, Version>, BTreeMap<Path, Policy>) {
    let version = |(name, recorded): &(Name, albatross_proto::state::RecordedUnikernel)| {
        let arguments = recorded.config.arguments.clone();
        (name.clone(), Version { digest: recorded.digest, arguments })
    };
    (record.unikernels.iter().map(version).collect(), record.policies.iter().cloned().collect())
}
