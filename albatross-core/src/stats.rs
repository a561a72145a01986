//! The statistics daemon's rules: of which processes statistics are gathered, when, and who receives them.
//!
//! The machine ([`Stats`]) is told what happens ([`Input`]) and says what is to be done ([`Output`]). It holds no
//! descriptor and knows no clock. It follows docs/protocol.md, "Statistics".
//!
//! * It asks albatrossd what runs, again every [`RECONNECT`] until it is answered, and is told from then on. What
//!   it knows stays while albatrossd is away: unikernels run on without it.
//! * A second `stats add` of a name takes the place of the first. A process that is gone is dropped, and so is one
//!   that has the id of one that is gone, which its start tells.
//! * Whoever albatrossd does not name in [`SETTLE`] after it was reached again is dropped: what its predecessor said may
//!   have been heard after the process had ended and another had got its id.
//! * Every interval all processes are read once, and every subscriber is sent one message for each unikernel that is
//!   under the name that he subscribed to. Where nobody is subscribed nothing is read, and nothing wakes up.
//! * A subscriber holds up nobody: while he has not taken what an interval brought he is sent nothing more, and he
//!   goes when he has taken nothing for [`PATIENCE`]. So at most [`MAX_TICK_OCTETS`] wait for one.

mod link;
mod messages;
pub mod process;
pub mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use albatross_proto::stats::{IfData, Statistics, TimeVal};
use albatross_proto::{Command, Data, Header, Name, Payload, StatisticsCommand, Success, Text, Wire, frame};

use crate::machine::{ClientId, Now};
use link::Link;
pub use messages::{Gathered, Input, Notice, Output, WatchId};
use process::{Units, Usage};

/// How long albatrossd is left alone after it was not reached, or was lost.
pub const RECONNECT: Duration = Duration::from_secs(1);

/// How long albatrossd, once it was reached, may take to name all that runs. It does so at once; this is for a machine that
/// does little else.
pub const SETTLE: Duration = Duration::from_secs(10);

/// How long a subscriber may take nothing of what waits for him.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Octets of all messages of one interval. What would make them more is not added: that is some 14 000 unikernels
/// with one network device each, and bounds what waits for a subscriber.
pub const MAX_TICK_OCTETS: usize = 8 * 1024 * 1024;

/// Subscribers of one name at a time. Beyond them the oldest goes, as on a console.
pub const MAX_SUBSCRIBERS_OF_NAME: usize = 5;

/// Subscribers altogether, beyond which nobody is taken: a quarter of the clients that there may be.
pub const MAX_SUBSCRIBERS: usize = 128;

/// Octets of a message without its names and network devices: 331 with the longest numbers, and frame and tags of
/// the names.
const MESSAGE_OCTETS: usize = 384;

/// Octets of a network device without its name: 12 counters of 10, five numbers of at most 6, and tags.
const INTERFACE_OCTETS: usize = 160;

/// The longest name of a network interface on Linux, in octets.
const TAP_LENGTH: usize = 15;

/// The statistics daemon.
#[derive(Debug)]
pub struct Stats {
    interval: Duration,
    units: Units,
    watched: BTreeMap<Name, Watched>,
    opening: HashMap<WatchId, Opening>,
    /// Octets that all of `watched` may make in one interval.
    octets: usize,
    subscribers: BTreeMap<ClientId, Subscriber>,
    link: Link,
    /// How often albatrossd was reached.
    reached: u64,
    /// When all that runs has been named since then.
    settled: Option<Duration>,
    /// When processes are read next. Invariant: there is one exactly while there are subscribers.
    next_tick: Option<Duration>,
    next_watch: u64,
    outputs: Vec<Output>,
}

/// A process of which statistics are gathered.
#[derive(Debug)]
struct Watched {
    watch: WatchId,
    pid: u32,
    /// The start of the process in ticks since the machine's: no other process with this id has the same.
    start: u64,
    /// The same as a time of day, which is told.
    started: TimeVal,
    /// The devices, as the unikernel calls them.
    bridges: Vec<Text>,
    /// Octets of a message about it, at most.
    octets: usize,
    /// How often albatrossd had been reached when it was last named.
    named: u64,
}

/// A `stats add` that waits for its process to be looked at.
#[derive(Debug)]
struct Opening {
    client: ClientId,
    header: Header,
    pid: u32,
    bridges: Vec<Text>,
    octets: usize,
    named: u64,
}

#[derive(Debug)]
struct Subscriber {
    /// What he subscribed to: a unikernel, or all under a path.
    name: Name,
    /// Octets that wait for him.
    pending: usize,
    /// When he last took something, or nothing waited for him.
    moved: Duration,
}

impl Stats {
    /// Knows nothing yet; [`Input::Tick`] begins. Processes are read every `interval`, and their figures are in
    /// these units.
    #[must_use]
    pub fn new(interval: Duration, units: Units) -> Self {
        Self {
            interval: interval.max(Duration::from_millis(1)),
            units,
            watched: BTreeMap::new(),
            opening: HashMap::new(),
            octets: 0,
            subscribers: BTreeMap::new(),
            link: Link::default(),
            reached: 0,
            settled: None,
            next_tick: None,
            next_watch: 0,
            outputs: Vec::new(),
        }
    }

    /// Takes in what happened and returns what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Vec<Output> {
        match input {
            Input::Frame(client, payload) => self.frame(now.monotonic, client, payload),
            Input::Closed(client) => self.closed(now.monotonic, client),
            Input::Written(client, octets) => self.written(now.monotonic, client, octets),
            Input::VmmdConnected(client) => self.vmmd_connected(client),
            Input::VmmdUnreachable(why) => self.vmmd_unreachable(now.monotonic, why),
            Input::Watched(watch, usage, since_boot) => self.opened(now, watch, &usage, since_boot),
            Input::NotWatched(watch, why) => self.not_opened(watch, &why),
            Input::Gathered(all) => self.gathered(now.monotonic, all),
            Input::Tick => self.tick(now.monotonic),
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Tick`] is next due; `None` while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.link.deadline().into_iter().chain(self.next_tick).min()
    }

    fn frame(&mut self, now: Duration, client: ClientId, payload: &[u8]) {
        if self.subscribers.contains_key(&client) {
            // Whatever a subscriber sends ends the subscription.
            self.unsubscribe(client);
            return self.outputs.push(Output::Close(client));
        }
        let message = match Wire::decode(payload) {
            Ok(message) => message,
            Err(error) => return self.refuse(now, client, Notice::Undecodable(client, error)),
        };
        if self.link.awaits_answer(client) {
            return self.vmmd_answered(now, client, message.payload);
        }
        let header = message.header;
        match message.payload {
            Payload::Command(Command::Statistics(StatisticsCommand::Add { vmmdev: _, pid, network })) => {
                self.add(client, header, pid.get(), network);
            }
            Payload::Command(Command::Statistics(StatisticsCommand::Remove)) => {
                self.drop_watched(&header.name);
                self.reply(client, header, Payload::Success(Success::Text("removed".into())));
            }
            Payload::Command(Command::Statistics(StatisticsCommand::Subscribe)) if !self.link.is(client) => {
                self.subscribe(now, client, header);
            }
            Payload::Command(_) if !self.link.is(client) => {
                self.reply(client, header, Payload::Failure("unexpected command".into()));
                self.refuse(now, client, Notice::Unexpected(client));
            }
            _ => self.refuse(now, client, Notice::Unexpected(client)),
        }
    }

    /// Closes the connection, be it that to albatrossd.
    fn refuse(&mut self, now: Duration, client: ClientId, notice: Notice) {
        self.outputs.push(Output::Log(notice));
        self.outputs.push(Output::Close(client));
        self.link.lost(now, client);
    }

    fn closed(&mut self, now: Duration, client: ClientId) {
        self.unsubscribe(client);
        if self.link.lost(now, client) {
            self.outputs.push(Output::Log(Notice::VmmdLost));
        }
    }

    /// Answers `client`, with so many octets.
    fn reply(&mut self, client: ClientId, header: Header, payload: Payload<'_>) -> usize {
        let mut frames = Vec::new();
        append_frame(&mut frames, &Wire::new(header, payload));
        let octets = frames.len();
        self.outputs.push(Output::Send { to: vec![client], frames });
        octets
    }

    fn fail(&mut self, client: ClientId, header: Header, why: String) {
        self.outputs.push(Output::Log(Notice::NotAdded(header.name.clone(), why.clone())));
        self.reply(client, header, Payload::Failure(Text::from(why)));
    }

    fn add(&mut self, client: ClientId, header: Header, pid: i64, network: Vec<(Text, Text)>) {
        let Some(pid) = u32::try_from(pid).ok().filter(|pid| (1..=i32::MAX.unsigned_abs()).contains(pid))
        else {
            return self.fail(client, header, format!("{pid} is no process id"));
        };
        let interfaces: usize = network.iter().map(|(bridge, _)| INTERFACE_OCTETS + octets_of(bridge)).sum();
        let octets = MESSAGE_OCTETS + header.name.to_string().len() + interfaces;
        let replaced = self.watched.get(&header.name).map_or(0, |watched| watched.octets);
        if self.octets - replaced + octets > MAX_TICK_OCTETS {
            let most = MAX_TICK_OCTETS;
            let text = format!("statistics of all unikernels would be more than {most} octets at a time");
            return self.fail(client, header, text);
        }
        let mut taps = Vec::with_capacity(network.len());
        let mut bridges = Vec::with_capacity(network.len());
        for (bridge, tap) in network {
            let Some(name) = tap.as_str().filter(|name| (1..=TAP_LENGTH).contains(&name.len())) else {
                return self.fail(client, header, format!("{tap:?} is no name of a network interface"));
            };
            taps.push(name.to_owned());
            bridges.push(bridge);
        }
        let named = self.reached;
        if let Some(watched) = self.watched.get_mut(&header.name).filter(|watched| watched.pid == pid) {
            // Where it cannot be opened again, what is open is still its process.
            watched.named = named;
        }
        let watch = WatchId(self.next_watch);
        self.next_watch += 1;
        self.opening.insert(watch, Opening { client, header, pid, bridges, octets, named });
        self.outputs.push(Output::Watch { watch, pid, taps });
    }

    fn not_opened(&mut self, watch: WatchId, why: &str) {
        let Some(Opening { client, header, pid, .. }) = self.opening.remove(&watch) else { return };
        self.fail(client, header, format!("process {pid}: {why}"));
    }

    fn opened(&mut self, now: Now, watch: WatchId, usage: &Usage, since_boot: Duration) {
        let Some(Opening { client, header, pid, bridges, octets, named }) = self.opening.remove(&watch)
        else {
            return;
        };
        let name = header.name.clone();
        self.drop_watched(&name);
        let started = process::started(now.wall, since_boot, usage.start, self.units);
        self.octets += octets;
        self.watched
            .insert(name, Watched { watch, pid, start: usage.start, started, bridges, octets, named });
        self.reply(client, header, Payload::Success(Success::Text("added".into())));
    }

    fn drop_watched(&mut self, name: &Name) {
        let Some(watched) = self.watched.remove(name) else { return };
        self.octets -= watched.octets;
        self.outputs.push(Output::Unwatch(watched.watch));
    }

    fn subscribe(&mut self, now: Duration, client: ClientId, header: Header) {
        let same = || self.subscribers.iter().filter(|(_, other)| other.name == header.name);
        // Ids grow, so the first is the oldest.
        let displaced =
            same().next().map(|(id, _)| *id).filter(|_| same().count() >= MAX_SUBSCRIBERS_OF_NAME);
        if displaced.is_none() && self.subscribers.len() >= MAX_SUBSCRIBERS {
            let text = format!("{MAX_SUBSCRIBERS} clients are subscribed to statistics, no more are taken");
            self.reply(client, header, Payload::Failure(Text::from(text)));
            self.outputs.push(Output::Log(Notice::TooMany(client)));
            return self.outputs.push(Output::Close(client));
        }
        if let Some(displaced) = displaced {
            self.subscribers.remove(&displaced);
            self.outputs.push(Output::Log(Notice::Displaced(displaced, header.name.clone())));
            self.outputs.push(Output::Close(displaced));
        }
        self.next_tick.get_or_insert(now + self.interval);
        let name = header.name.clone();
        let pending = self.reply(client, header, Payload::Success(Success::Text("subscribed".into())));
        self.subscribers.insert(client, Subscriber { name, pending, moved: now });
    }

    fn unsubscribe(&mut self, client: ClientId) {
        if self.subscribers.remove(&client).is_some() && self.subscribers.is_empty() {
            self.next_tick = None;
        }
    }

    fn written(&mut self, now: Duration, client: ClientId, octets: usize) {
        let Some(subscriber) = self.subscribers.get_mut(&client) else { return };
        subscriber.pending = subscriber.pending.saturating_sub(octets);
        subscriber.moved = now;
    }

    fn tick(&mut self, now: Duration) {
        if self.link.is_due(now) {
            self.outputs.push(Output::ConnectVmmd);
        }
        if self.next_tick.is_some_and(|next| next <= now) {
            // Counted from here: what was late does not come twice.
            self.next_tick = Some(now + self.interval);
            self.drop_slow(now);
            self.drop_unnamed(now);
            self.gather();
        }
    }

    fn gather(&mut self) {
        if !self.watched.is_empty() {
            self.outputs.push(Output::Gather);
        }
    }

    /// Lets those go who have taken nothing of what waits for them for too long.
    fn drop_slow(&mut self, now: Duration) {
        let is_slow = |(client, subscriber): (&ClientId, &Subscriber)| {
            (subscriber.pending > 0 && subscriber.moved + PATIENCE <= now).then_some(*client)
        };
        for client in self.subscribers.iter().filter_map(is_slow).collect::<Vec<_>>() {
            let Some(subscriber) = self.subscribers.get(&client) else { continue };
            let header = Header::new(0, subscriber.name.clone());
            let text = format!("subscription ended: {} octets were not read in time", subscriber.pending);
            self.outputs.push(Output::Log(Notice::TooSlow(client, subscriber.name.clone())));
            self.reply(client, header, Payload::Failure(Text::from(text)));
            self.outputs.push(Output::Close(client));
            self.unsubscribe(client);
        }
    }

    /// Lets those go whom albatrossd has not named since it was reached.
    fn drop_unnamed(&mut self, now: Duration) {
        if self.settled.take_if(|settled| *settled <= now).is_none() {
            return;
        }
        let unnamed = |(name, watched): (&Name, &Watched)| {
            (watched.named < self.reached).then(|| (name.clone(), watched.pid))
        };
        for (name, pid) in self.watched.iter().filter_map(unnamed).collect::<Vec<_>>() {
            self.drop_watched(&name);
            self.outputs.push(Output::Log(Notice::Gone(name, pid)));
        }
    }

    /// All processes were read: what is there is sent, what is gone is dropped.
    fn gathered(&mut self, now: Duration, mut all: Vec<(WatchId, Gathered)>) {
        all.sort_unstable_by_key(|(watch, _)| *watch);
        let mut figures = Vec::with_capacity(all.len());
        let mut gone = Vec::new();
        for (name, watched) in &self.watched {
            let found = all.binary_search_by_key(&watched.watch, |(watch, _)| *watch);
            let Some((_, gathered)) = found.ok().and_then(|at| all.get_mut(at)) else { continue };
            match gathered.usage.filter(|usage| usage.start == watched.start) {
                Some(usage) => {
                    let interfaces = std::mem::take(&mut gathered.interfaces);
                    figures.push((name, Some(statistics(watched, &usage, interfaces))));
                }
                None => gone.push((name.clone(), watched.pid)),
            }
        }
        drop(all);
        let mut ready: BTreeMap<&Name, Vec<ClientId>> = BTreeMap::new();
        for (client, subscriber) in &self.subscribers {
            if subscriber.pending == 0 {
                ready.entry(&subscriber.name).or_default().push(*client);
            }
        }
        let mut sent = Vec::new();
        for (subscribed, to) in ready {
            let frames = messages_for(subscribed, &mut figures, self.octets);
            if !frames.is_empty() {
                sent.push((to, frames));
            }
        }
        for (to, frames) in sent {
            for client in &to {
                if let Some(subscriber) = self.subscribers.get_mut(client) {
                    subscriber.pending = frames.len();
                    subscriber.moved = now;
                }
            }
            self.outputs.push(Output::Send { to, frames });
        }
        for (name, pid) in gone {
            self.drop_watched(&name);
            self.outputs.push(Output::Log(Notice::Gone(name, pid)));
        }
    }
}

/// What is told of a process.
fn statistics(watched: &Watched, usage: &Usage, interfaces: Vec<Option<IfData>>) -> Box<Statistics> {
    let interfaces = watched.bridges.iter().zip(interfaces);
    let interfaces = interfaces.filter_map(|(bridge, data)| Some(IfData { bridge: bridge.clone(), ..data? }));
    let mut memory = usage.memory;
    memory.start = watched.started;
    Box::new(Statistics {
        rusage: usage.rusage,
        interfaces: interfaces.collect(),
        // Of bhyve's virtual machines, which are FreeBSD's.
        vmm: None,
        kinfo_mem: Some(memory),
    })
}

/// What is told of whom: taken out while it is made a message, and put back.
type Figures<'a> = (&'a Name, Option<Box<Statistics>>);

/// The messages for who subscribed to this name, one after the other; those of all are at most so many octets.
fn messages_for(subscribed: &Name, figures: &mut [Figures<'_>], most: usize) -> Vec<u8> {
    let is_path = subscribed.label().is_none();
    let mut frames = Vec::new();
    for (name, statistics) in figures {
        let is_meant = is_path || subscribed == *name;
        let Some(relative) = name.relative_to(subscribed.path()).filter(|_| is_meant) else { continue };
        if is_path && frames.capacity() == 0 {
            // What of it is not written to is not taken.
            frames.reserve_exact(most);
        }
        let Some(taken) = statistics.take() else { continue };
        let message = Wire::new(Header::new(0, relative), Payload::Data(Data::Statistics(taken)));
        append_frame(&mut frames, &message);
        if let Payload::Data(Data::Statistics(taken)) = message.payload {
            *statistics = Some(taken);
        }
    }
    frames
}

fn octets_of(text: &Text) -> usize {
    text.as_bytes().len()
}

fn append_frame(frames: &mut Vec<u8>, message: &Wire<'_>) {
    // Neither fails: what is sent is far shorter than the longest message.
    if let Ok(payload) = message.encode()
        && let Some(header) = frame::header(payload.len())
    {
        frames.extend_from_slice(&header);
        frames.extend_from_slice(&payload);
    }
}
