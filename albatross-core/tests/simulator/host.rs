//! The host around the machines: what there is, and what waits to be carried out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use albatross_core::machine::{ClientId, Now};
use albatross_core::vmmd::{Config, Input, SpoolId, Task, TaskFailure, TaskId, UserRange, Vmmd};
use albatross_core::vmmd::{Outcome, Output};
use albatross_proto::reply::Exit;
use albatross_proto::state::{Record, Tender};
use albatross_proto::{Int, Name, Path, Policy, Text, Time};

use crate::Sabotage;
use crate::clients::Client;
use crate::console::ConsoleSide;
use crate::counts::Counts;
use crate::disk::Disk;
use crate::events::LogSide;
use crate::gathering::Gathering;
use crate::images::Images;
use crate::ledger::{Ledger, Version};
use crate::script::{Kind, Step};
use crate::statistics::Statistics;
use crate::streams::Thread;

/// Memory of the host, in MB.
pub(crate) const MEMORY: i32 = 256;
/// The same where some of it is broken.
pub(crate) const LESS_MEMORY: i32 = 100;
/// Block storage of the host, in MB.
const BLOCK: i32 = 9;
/// The bridge that there is, now and then.
pub(crate) const BRIDGE: &str = "service";

pub(crate) struct Process {
    pub(crate) name: Name,
    pub(crate) memory: i64,
    pub(crate) cpus: Vec<usize>,
    pub(crate) taps: Vec<String>,
    /// The files of its block devices.
    pub(crate) blocks: Vec<PathBuf>,
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
    /// The file of the block device that it is about.
    pub(crate) block: Option<PathBuf>,
    /// The client whose connection it has.
    pub(crate) client: Option<ClientId>,
    /// It fails, and not before this time.
    pub(crate) hangs: bool,
    pub(crate) begin: Duration,
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
    pub(crate) power: bool,
    after: usize,
    pub(crate) chance: u64,
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
    /// Files of block devices that are not the daemon's own, and the users whose they are.
    pub(crate) lent: BTreeMap<PathBuf, u32>,
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
    /// Connections that are with a thread.
    pub(crate) threads: BTreeMap<ClientId, Thread>,
    /// Images on their way in, which are files where one could be made.
    pub(crate) spools: BTreeMap<SpoolId, Option<PathBuf>>,
    pub(crate) next_spool: u64,
    /// How often something came for an image on its way in.
    pub(crate) spooled: u64,
    /// Images that stay, as there was no record at the start.
    pub(crate) kept: BTreeSet<PathBuf>,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) next_client: usize,
    pub(crate) next_sequence: i64,
    pub(crate) console: ConsoleSide,
    pub(crate) log: LogSide,
    pub(crate) statistics: Statistics,
    pub(crate) gathering: Gathering,
    pub(crate) ledger: Ledger,
    pub(crate) faults: BTreeMap<Kind, usize>,
    /// Nothing more can be written.
    pub(crate) disk_full: bool,
    /// For so many tasks there is no descriptor.
    exhausted: usize,
    /// So many of the tenders that are found next do not answer `--version`.
    pub(crate) mute: usize,
    /// The driver of the record's file does not append to it.
    pub(crate) damaged: bool,
    /// Those of all files of the record.
    pub(crate) salts: BTreeSet<Vec<u8>>,
    pub(crate) root: Policy,
    pub(crate) crash: Option<Crash>,
    pub(crate) crashed: bool,
    /// The machine said that it is over.
    pub(crate) over: bool,
    /// How often it was asked to end.
    pub(crate) asked_to_end: u8,
    /// It was asked to leave what runs to the next one.
    pub(crate) handing_over: bool,
    pub(crate) starts: u8,
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

pub(crate) fn machine() -> Vmmd {
    let users = UserRange::new(100_000, 9).unwrap();
    Vmmd::new(config()).with_users(users)
}

impl Host {
    pub(crate) fn new(sabotage: Option<Sabotage>) -> Self {
        let root = Policy {
            cpuids: [0, 1].map(Int::from).into(),
            unikernels: Int::MAX,
            memory: Int::from(MEMORY),
            block: Some(Int::from(BLOCK)),
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
            lent: BTreeMap::new(),
            groups: BTreeSet::new(),
            bridge: true,
            processes: BTreeMap::new(),
            notes: BTreeMap::new(),
            ended: BTreeMap::new(),
            exits: VecDeque::new(),
            next_pid: 100,
            jobs: Vec::new(),
            connects: 0,
            threads: BTreeMap::new(),
            spools: BTreeMap::new(),
            next_spool: 0,
            spooled: 0,
            kept: BTreeSet::new(),
            clients: BTreeMap::new(),
            next_client: 0,
            next_sequence: 1,
            console: ConsoleSide::new(),
            log: LogSide::new(),
            statistics: Statistics::default(),
            gathering: Gathering::default(),
            ledger: Ledger::default(),
            faults: BTreeMap::new(),
            disk_full: false,
            exhausted: 0,
            mute: 0,
            damaged: true,
            salts: BTreeSet::new(),
            root,
            crash: None,
            crashed: false,
            over: false,
            asked_to_end: 0,
            handing_over: false,
            starts: 0,
            broken: None,
            counts: Counts::default(),
            sabotage,
            sabotaged: 0,
        };
        host.log_up();
        host.begin();
        host.gathering_up();
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
        self.converse_with_log();
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
            Step::LogDown => self.log_down(),
            Step::LogUp => self.log_up(),
            Step::LogDies { written } => self.log.dies = Some(written),
            Step::Crash { power, after, chance } => self.crash = Some(Crash { power, after, chance }),
            Step::Terminate => {
                self.asked_to_end += 1;
                self.give(Input::Terminate);
            }
            Step::HandOver => {
                self.handing_over = true;
                self.give(Input::HandOver);
            }
            Step::Write(process) => self.write_block(process),
            Step::StatisticsCome(sequence) => self.statistics_come(sequence),
            Step::Gather { up: true } => self.gathering_up(),
            Step::Gather { up: false } => self.gathering_down(),
            Step::FreezeGathering => self.freeze_gathering(),
            Step::Figures(at) => self.subscribe_to_figures(at),
            Step::StallFigures(subscriber) => self.stall_figures(subscriber),
            Step::NoFigures { subscriber, gone } => self.unsubscribe_from_figures(subscriber, gone),
            Step::Stranger(process) => self.come_stranger(process),
            Step::StatisticsLeave { gone } => self.statistics_leave(gone),
            Step::StatisticsAnswer(kind) => self.statistics_answer(kind),
            Step::FillDisk => self.disk_full = !self.disk_full,
            Step::Exhaust(tasks) => self.exhausted = tasks,
            Step::Mute(tenders) => self.mute = tenders,
            Step::Freeze => self.console.frozen = !self.console.frozen,
            Step::Settle => self.settle(),
        }
        self.begin_again();
        if self.broken.is_none() {
            self.check();
            self.check_blocks();
            self.check_statistics();
            self.check_gathering();
        }
    }

    /// Time passes; what is due happens.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let others = [self.console.next_deadline(), self.gathering.next_deadline()];
            let due = self.vmmd.next_deadline().into_iter().chain(others.into_iter().flatten()).min();
            let Some(due) = due.filter(|due| *due <= until) else {
                self.now = until;
                return self.give(Input::Tick);
            };
            self.now = self.now.max(due);
            self.give(Input::Tick);
            self.tick_console();
            self.tick_gathering();
            if self.stopped() {
                return;
            }
        }
        self.broke("a deadline does not pass");
    }

    /// No more trouble.
    pub(crate) fn disarm(&mut self) {
        self.crash = None;
        self.faults.clear();
        self.disk_full = false;
        self.exhausted = 0;
        self.mute = 0;
    }

    /// When something happens that the machine does not wait for by itself.
    pub(crate) fn next_work(&self) -> Option<Duration> {
        let begins = self.jobs.iter().map(|job| job.begin).filter(|begin| *begin > self.now);
        begins.chain(self.patience()).min()
    }

    /// Whether it was asked to end, in whatever way.
    pub(crate) const fn is_ending(&self) -> bool {
        self.asked_to_end > 0 || self.handing_over
    }

    /// Whether the next task of this kind is to fail.
    pub(crate) fn fails(&mut self, kind: Kind) -> bool {
        let no_room = self.disk_full && kind.writes();
        let no_descriptor = !no_room && self.exhausted > 0 && kind.opens();
        self.exhausted -= usize::from(no_descriptor);
        if no_room || no_descriptor {
            self.counts.faults += 1;
            return true;
        }
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
