//! The statistics daemon itself: its connection with albatrossd, the processes that /proc shows it, and its subscribers,
//! who know whose figures they must get.
//!
//! Figures carry which process they are of (`utime`), whatever its id is: an id may be that of a stranger by now.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use albatross_core::machine::ClientId;
use albatross_core::stats::process::{Units, Usage};
use albatross_core::stats::{
    Gathered, Input, MAX_SUBSCRIBERS_OF_NAME, Output, PATIENCE, RECONNECT, SETTLE, Stats, WatchId,
};
use albatross_core::vmmd;
use albatross_proto::frame::FrameReader;
use albatross_proto::stats::{IfData, KinfoMem, Rusage, TimeVal};
use albatross_proto::{Command, Data, Header, Int, Name, Payload, StatisticsCommand, Success, Wire};

use crate::Sabotage;
use crate::host::Host;
use crate::script::{Kind, NAMES, PATHS};
use crate::work::Pending;

/// How often figures are gathered.
const INTERVAL: Duration = Duration::from_secs(10);
/// Its connections with albatrossd are numbered from here.
const LINKS: usize = 3_000_000;
/// The processes that are no tenders begin from here on.
const STRANGERS: u64 = 1_000_000;

/// The connection between the two: it has the same number for both.
struct Link {
    id: ClientId,
    to_daemon: VecDeque<Vec<u8>>,
    to_vmmd: VecDeque<Vec<u8>>,
    /// albatrossd has closed it; what it sent before comes first.
    closing: bool,
    /// albatrossd tells what runs.
    answered: bool,
}

/// What the driver keeps open of a process.
struct Watch {
    pid: u32,
    /// Which process it was: no other begins at the same time.
    start: u64,
    taps: Vec<String>,
}

struct Subscriber {
    name: Name,
    unread: usize,
    stalled: bool,
    /// When it last took something, or nothing waited for it.
    moved: Duration,
    /// It takes a part the next time.
    slow: bool,
}

/// Figures that somebody got: of whom, which process, and of how many network devices.
type Seen = (Name, u64, usize);

#[derive(Default)]
pub(crate) struct Gathering {
    machine: Option<Stats>,
    link: Option<Link>,
    watched: BTreeMap<WatchId, Watch>,
    /// What is watched by what it was told.
    known: BTreeMap<Name, WatchId>,
    /// How often albatrossd had been reached when it last named it.
    named: BTreeMap<Name, u64>,
    reached: u64,
    /// When it has named all that runs.
    settled: Option<Duration>,
    /// What it could not watch, and albatrossd was told so.
    refused: BTreeSet<Name>,
    subscribers: BTreeMap<ClientId, Subscriber>,
    /// What came in this round, by subscriber.
    round: Option<BTreeMap<ClientId, Vec<Seen>>>,
    /// Processes that have the id of a tender that ended, and when they began.
    strangers: BTreeMap<u32, u64>,
    next: usize,
    /// It does nothing at all, and its connections stay.
    frozen: bool,
    /// Since when it does something.
    awake: Duration,
}

impl Gathering {
    pub(crate) fn has(&self, client: ClientId) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == client && !link.closing)
    }

    /// It may let go whom albatrossd did not name since it was reached.
    fn forget_unnamed(&mut self, watch: WatchId, now: Duration) {
        if self.settled.is_some_and(|settled| settled <= now) {
            let (named, reached) = (&self.named, self.reached);
            self.known.retain(|name, id| *id != watch || named.get(name).is_some_and(|it| *it == reached));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.machine.as_ref().filter(|_| !self.frozen).and_then(Stats::next_deadline)
    }

    pub(crate) fn pending(&self, all: &mut Vec<Pending>) {
        if let Some(link) = &self.link {
            let told = !link.to_daemon.is_empty() || link.closing;
            all.extend((told && !self.frozen).then_some(Pending::ToStatistics));
            all.extend((!link.to_vmmd.is_empty() && !link.closing).then_some(Pending::FromStatistics));
        }
        let takes = |subscriber: &Subscriber| subscriber.unread > 0 && !subscriber.stalled;
        let taking = self.subscribers.iter().filter(|(_, subscriber)| takes(subscriber) && !self.frozen);
        all.extend(taking.map(|(client, _)| Pending::Figures(*client)));
    }
}

impl Host {
    fn tell_gathering(&mut self, input: Input<'_>) {
        let now = self.clock();
        let Some(machine) = &mut self.gathering.machine else { return };
        for output in machine.handle(now, input) {
            if self.broken.is_some() {
                return;
            }
            match output {
                Output::Send { to, frames } => {
                    to.into_iter().for_each(|client| self.gathering_sent(client, &frames));
                }
                Output::Close(client) => self.gathering_closes(client),
                Output::ConnectVmmd => self.connect_vmmd(),
                Output::Watch { watch, pid, taps } => self.watch(watch, pid, taps),
                Output::Unwatch(watch) => {
                    if self.spoils(Sabotage::KeepWatch) {
                        continue;
                    }
                    self.gathering.forget_unnamed(watch, self.now);
                    if self.gathering.watched.remove(&watch).is_none() {
                        self.broke(format!("the statistics daemon forgets {watch:?}, which is not watched"));
                    }
                }
                Output::Gather => self.gather(),
                Output::Log(_) => {}
            }
        }
    }

    /// Which process has this id.
    fn identity(&self, pid: u32) -> Option<u64> {
        let tender = self.processes.contains_key(&pid).then(|| u64::from(pid));
        tender.or_else(|| self.gathering.strangers.get(&pid).copied())
    }

    fn watch(&mut self, watch: WatchId, pid: u32, taps: Vec<String>) {
        if self.fails(Kind::Watch) {
            return self.tell_gathering(Input::NotWatched(watch, "too many open files".to_owned()));
        }
        let Some(start) = self.identity(pid) else {
            return self.tell_gathering(Input::NotWatched(watch, "no such process".to_owned()));
        };
        self.gathering.watched.insert(watch, Watch { pid, start, taps });
        let up = Duration::from_secs(1_000) + self.now;
        self.tell_gathering(Input::Watched(watch, Box::new(usage(start, start)), up));
    }

    /// Reads all processes that are watched, and looks at what everybody gets of it.
    fn gather(&mut self) {
        let hides = self.sabotage == Some(Sabotage::HideReuse);
        let read = |watch: &Watch| {
            let identity = self.identity(watch.pid);
            let is_there = |tap: &String| self.taps.contains(tap).then(IfData::default);
            Gathered {
                usage: identity.map(|identity| usage(identity, if hides { watch.start } else { identity })),
                interfaces: watch.taps.iter().map(is_there).collect(),
            }
        };
        let all = self.gathering.watched.iter().map(|(id, watch)| (*id, read(watch))).collect();
        let is_same = |id: &WatchId| {
            self.gathering.watched.get(id).is_some_and(|it| self.identity(it.pid) == Some(it.start))
        };
        let gone: Vec<Name> = self
            .gathering
            .known
            .iter()
            .filter(|(_, id)| !is_same(id))
            .map(|(name, _)| name.clone())
            .collect();
        gone.iter().for_each(|name| _ = self.gathering.known.remove(name));
        let expected: BTreeMap<ClientId, Vec<Seen>> =
            self.gathering.subscribers.iter().map(|(id, it)| (*id, self.expected(it))).collect();
        self.gathering.round = Some(BTreeMap::new());
        self.tell_gathering(Input::Gathered(all));
        let round = self.gathering.round.take().unwrap_or_default();
        for (client, expected) in expected {
            let seen = round.get(&client).cloned().unwrap_or_default();
            self.counts.figures += u64::try_from(seen.len()).unwrap();
            if seen != expected {
                let text = format!(
                    "the statistics daemon sends other figures than it has to: {seen:?}, {expected:?}"
                );
                return self.broke(text);
            }
        }
    }

    /// What a subscriber has to get: nothing while something waits for it.
    fn expected(&self, subscriber: &Subscriber) -> Vec<Seen> {
        if subscriber.unread > 0 {
            return Vec::new();
        }
        let figures = |(name, id): (&Name, &WatchId)| {
            let watch = self.gathering.watched.get(id)?;
            let is_meant = subscriber.name.label().is_none() || subscriber.name == *name;
            let relative = name.relative_to(subscriber.name.path()).filter(|_| is_meant)?;
            let taps = watch.taps.iter().filter(|tap| self.taps.contains(*tap)).count();
            Some((relative, watch.start, taps))
        };
        self.gathering.known.iter().filter_map(figures).collect()
    }

    fn gathering_sent(&mut self, client: ClientId, frames: &[u8]) {
        let (mut input, mut reader, mut messages) = (frames, FrameReader::new(1 << 24), Vec::new());
        while !input.is_empty() {
            messages.extend(reader.read(&mut input).unwrap());
        }
        if client.0 >= LINKS {
            match self.gathering.link.as_mut().filter(|link| link.id == client) {
                Some(link) => link.to_vmmd.extend(messages),
                None => self.broke("the statistics daemon sends something on a connection that is gone"),
            }
            return;
        }
        let now = self.now;
        let Some(subscriber) = self.gathering.subscribers.get_mut(&client) else {
            return self
                .broke(format!("the statistics daemon sends something to {client:?}, who is not there"));
        };
        if subscriber.unread == 0 {
            subscriber.moved = now;
        }
        subscriber.unread += frames.len();
        for message in &messages {
            match Wire::decode(message).map(|wire| (wire.header.name, wire.payload)) {
                Ok((name, Payload::Data(Data::Statistics(it)))) => {
                    let identity = it.rusage.utime.seconds.unsigned_abs();
                    let Some(round) = &mut self.gathering.round else {
                        return self.broke("the statistics daemon sends figures that were not gathered");
                    };
                    round.entry(client).or_default().push((name, identity, it.interfaces.len()));
                }
                Ok((_, Payload::Success(Success::Text(_)) | Payload::Failure(_))) => {}
                other => return self.broke(format!("the statistics daemon sends {other:?}")),
            }
        }
    }

    fn gathering_closes(&mut self, client: ClientId) {
        if let Some(link) = self.gathering.link.take_if(|link| link.id == client) {
            if !link.closing {
                self.give(vmmd::Input::Closed(link.id));
            }
        } else if self.gathering.subscribers.remove(&client).is_none() {
            self.broke(format!("the statistics daemon closes {client:?}, which is nobody's"));
        }
    }

    /// It connects to albatrossd, which is done before anything else happens.
    fn connect_vmmd(&mut self) {
        if self.gathering.link.is_some() {
            return self.broke("there are two connections of the statistics daemon");
        }
        if self.stopped() || self.fails(Kind::Connect) {
            return self.tell_gathering(Input::VmmdUnreachable("no such file".to_owned()));
        }
        self.gathering.next += 1;
        let id = ClientId(LINKS + self.gathering.next);
        let (to_daemon, to_vmmd) = (VecDeque::new(), VecDeque::new());
        self.gathering.link = Some(Link { id, to_daemon, to_vmmd, closing: false, answered: false });
        self.give(vmmd::Input::Connected(id));
        self.gathering.reached += 1;
        self.gathering.settled = None;
        self.tell_gathering(Input::VmmdConnected(id));
    }

    pub(crate) fn gathering_told(&mut self, message: &[u8]) {
        if let Some(link) = &mut self.gathering.link {
            link.to_daemon.push_back(message.to_vec());
        }
    }

    /// albatrossd closes the connection, or is gone.
    pub(crate) fn close_gathering(&mut self) {
        if let Some(link) = &mut self.gathering.link {
            link.closing = true;
            link.to_vmmd.clear();
        }
    }

    pub(crate) fn deliver_to_gathering(&mut self) {
        let Some(link) = &mut self.gathering.link else { return };
        let id = link.id;
        let Some(message) = link.to_daemon.pop_front() else {
            if self.gathering.link.take_if(|link| link.closing).is_some() {
                self.tell_gathering(Input::Closed(id));
            }
            return;
        };
        let told = Wire::decode(&message).map(|wire| (wire.header.name, wire.payload));
        let lost = matches!(told, Ok((_, Payload::Command(_)))) && self.spoils(Sabotage::LoseStatistics);
        if lost {
            return;
        }
        let before: BTreeSet<WatchId> = self.gathering.watched.keys().copied().collect();
        let known = told.as_ref().ok().and_then(|(name, _)| self.gathering.known.get(name));
        let had = known.and_then(|id| self.gathering.watched.get(id)).map(|watch| i64::from(watch.pid));
        self.tell_gathering(Input::Frame(id, &message));
        match told {
            Ok((_, Payload::Success(Success::Empty))) => {
                self.gathering.link.iter_mut().for_each(|link| link.answered = true);
                self.gathering.settled = Some(self.now + SETTLE);
            }
            Ok((name, Payload::Command(Command::Statistics(StatisticsCommand::Add { pid, .. })))) => {
                let opened = self.gathering.watched.keys().find(|id| !before.contains(id)).copied();
                if opened.is_some() || had == Some(pid.get()) {
                    self.gathering.named.insert(name.clone(), self.gathering.reached);
                }
                match opened {
                    Some(id) => {
                        self.gathering.refused.remove(&name);
                        self.gathering.known.insert(name, id);
                    }
                    None => _ = self.gathering.refused.insert(name),
                }
            }
            Ok((name, Payload::Command(Command::Statistics(StatisticsCommand::Remove)))) => {
                self.gathering.refused.remove(&name);
                self.gathering.known.remove(&name);
            }
            _ => {}
        }
    }

    pub(crate) fn deliver_from_gathering(&mut self) {
        let Some(link) = &mut self.gathering.link else { return };
        if let (id, Some(message)) = (link.id, link.to_vmmd.pop_front()) {
            self.give(vmmd::Input::Frame(id, message));
        }
    }

    pub(crate) fn tick_gathering(&mut self) {
        if self.gathering.next_deadline().is_some_and(|due| due <= self.now) {
            self.tell_gathering(Input::Tick);
        }
    }

    pub(crate) fn subscribe_to_figures(&mut self, at: usize) {
        if self.gathering.machine.is_none() || self.gathering.frozen {
            return;
        }
        self.counts.command("statistics-subscribe");
        let all: Vec<&str> = PATHS.iter().chain(&NAMES).copied().collect();
        let name: Name = all[at % all.len()].parse().unwrap();
        self.gathering.next += 1;
        let client = ClientId(self.gathering.next);
        let (unread, moved) = (0, self.now);
        let subscriber = Subscriber { name: name.clone(), unread, stalled: false, moved, slow: false };
        self.gathering.subscribers.insert(client, subscriber);
        let command = Payload::Command(Command::Statistics(StatisticsCommand::Subscribe));
        let message = Wire::new(Header::new(0, name), command).encode().unwrap();
        self.tell_gathering(Input::Frame(client, &message));
        if self.gathering.subscribers.get(&client).is_none_or(|subscriber| subscriber.unread == 0) {
            self.broke("a subscriber of statistics is not answered");
        }
    }

    fn figure_reader(&self, choice: usize) -> Option<ClientId> {
        let all: Vec<ClientId> = self.gathering.subscribers.keys().copied().collect();
        (!all.is_empty()).then(|| all[choice % all.len()])
    }

    pub(crate) fn stall_figures(&mut self, choice: usize) {
        let client = self.figure_reader(choice);
        if let Some(subscriber) = client.and_then(|client| self.gathering.subscribers.get_mut(&client)) {
            subscriber.stalled = !subscriber.stalled;
        }
    }

    pub(crate) fn unsubscribe_from_figures(&mut self, choice: usize, gone: bool) {
        let Some(client) = self.figure_reader(choice).filter(|_| !self.gathering.frozen) else { return };
        if gone {
            self.gathering.subscribers.remove(&client);
            return self.tell_gathering(Input::Closed(client));
        }
        self.tell_gathering(Input::Frame(client, b"any"));
        if self.gathering.subscribers.contains_key(&client) {
            self.broke("a subscriber of statistics that sends something is kept");
        }
    }

    /// A subscriber reads: all, or half of it.
    pub(crate) fn take_figures(&mut self, client: ClientId) {
        let now = self.now;
        let Some(subscriber) = self.gathering.subscribers.get_mut(&client) else { return };
        subscriber.slow = !subscriber.slow && subscriber.unread > 1;
        let taken = if subscriber.slow { subscriber.unread / 2 } else { subscriber.unread };
        subscriber.unread -= taken;
        subscriber.moved = now;
        self.tell_gathering(Input::Written(client, taken));
    }

    /// Another process gets the id of a tender that has ended.
    pub(crate) fn come_stranger(&mut self, choice: usize) {
        let waits = |pid: &u32| self.exits.iter().any(|(other, _)| other == pid);
        let free: Vec<u32> = self.ended.keys().filter(|pid| !waits(pid)).copied().collect();
        if !free.is_empty() {
            self.gathering.next += 1;
            let start = STRANGERS + u64::try_from(self.gathering.next).unwrap();
            self.gathering.strangers.insert(free[choice % free.len()], start);
        }
    }

    pub(crate) fn gathering_down(&mut self) {
        if let Some(link) = self.gathering.link.take().filter(|link| !link.closing) {
            self.give(vmmd::Input::Closed(link.id));
        }
        let strangers = std::mem::take(&mut self.gathering.strangers);
        self.gathering_without_power();
        self.gathering.strangers = strangers;
    }

    /// It ends, and every process with it: albatrossd learns nothing of that.
    pub(crate) fn gathering_without_power(&mut self) {
        self.gathering = Gathering { next: self.gathering.next, ..Gathering::default() };
    }

    pub(crate) fn gathering_up(&mut self) {
        if self.gathering.machine.is_none() {
            self.gathering.machine = Some(Stats::new(INTERVAL, Units { ticks: 100, page: 4096 }));
            self.gathering.awake = self.now;
            self.tell_gathering(Input::Tick);
        }
    }

    pub(crate) fn freeze_gathering(&mut self) {
        self.gathering.frozen = !self.gathering.frozen;
        self.gathering.awake = self.now;
    }

    /// No more trouble: it runs, and everybody reads.
    pub(crate) fn wake_gathering(&mut self) {
        if self.gathering.frozen {
            self.freeze_gathering();
        }
        self.gathering_up();
        self.gathering.subscribers.values_mut().for_each(|subscriber| subscriber.stalled = false);
    }

    /// After every step.
    pub(crate) fn check_gathering(&mut self) {
        let watched: BTreeSet<WatchId> = self.gathering.watched.keys().copied().collect();
        let known: BTreeSet<WatchId> = self.gathering.known.values().copied().collect();
        if watched != known {
            return self.broke(format!("the statistics daemon watches {watched:?} and knows {known:?}"));
        }
        let Some(machine) = self.gathering.machine.as_ref().filter(|_| !self.gathering.frozen) else {
            return;
        };
        let deadline = machine.next_deadline();
        let (link, anybody) = (self.gathering.link.is_some(), !self.gathering.subscribers.is_empty());
        let most = self.now + if link { INTERVAL } else { RECONNECT };
        let wrong = if deadline.is_none() && (anybody || !link) {
            "sleeps for ever"
        } else if deadline.is_some_and(|_| link && !anybody) {
            "wakes up for nobody"
        } else if deadline.is_some_and(|deadline| deadline > most) {
            "sleeps for too long"
        } else {
            ""
        };
        if !wrong.is_empty() {
            return self.broke(format!("the statistics daemon {wrong}: {deadline:?} at {:?}", self.now));
        }
        let mut of_name: BTreeMap<&Name, usize> = BTreeMap::new();
        for subscriber in self.gathering.subscribers.values() {
            *of_name.entry(&subscriber.name).or_default() += 1;
            let since = subscriber.moved.max(self.gathering.awake);
            if subscriber.unread > 0 && self.now > since + PATIENCE + INTERVAL {
                return self.broke("a subscriber of statistics that does not read is kept");
            }
        }
        if of_name.values().any(|count| *count > MAX_SUBSCRIBERS_OF_NAME) {
            self.broke("there are too many subscribers of statistics of one name");
        }
    }

    /// Where everything is done.
    pub(crate) fn check_gathering_settled(&mut self) {
        if self.gathering.link.as_ref().is_none_or(|link| !link.answered) {
            return self.broke("the statistics daemon has not found albatrossd again");
        }
        // Of what it was told anew and could not open it may have what it had before.
        let is_told = |name: &Name| !self.gathering.refused.contains(name);
        let known = self.gathering.known.iter().filter(|(name, _)| is_told(name));
        let known: BTreeMap<&Name, u32> =
            known.map(|(name, id)| (name, self.gathering.watched[id].pid)).collect();
        let running = self.statistics.running.iter().filter(|(_, name)| is_told(name));
        let running: BTreeMap<&Name, u32> = running.map(|(pid, name)| (name, *pid)).collect();
        if known != running {
            let text = format!("the statistics daemon watches {known:?}, there run {running:?}");
            self.broke(text);
        }
    }
}

/// Of the process that this is, which says that it began then.
fn usage(identity: u64, start: u64) -> Usage {
    let utime = TimeVal { seconds: i64::try_from(identity).unwrap(), microseconds: Int::ZERO };
    Usage { rusage: Rusage { utime, ..Rusage::default() }, memory: KinfoMem::default(), start }
}
