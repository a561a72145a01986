//! The machine of albatrossd: every rule about unikernels and policies, and no system call.
//!
//! [`Vmmd::handle`] is told what happened and returns what is to be done, in that order. What may fail
//! and is waited for is a [`Task`]; the driver answers each with [`Input::Done`], in any order. Until
//! then the machine goes on serving others. What needs no answer (sending, killing, removing) is an
//! [`Output`] of its own.
//!
//! A unikernel is in one of three states: starting (one task at a time, see
//! the module `start`), running, or waiting to be started again. A change is persisted before it is
//! acknowledged, and said to the event log (the module `events`). What is on record and cannot be started waits with a
//! growing delay and is tried again.
//!
//! It follows `docs/protocol.md` (conversations) and `docs/architecture.md` (the life of a command).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use albatross_proto::log::Event;
use albatross_proto::{Header, Int, Name, Payload, Policy, Text, Time, Wire};

use crate::machine::{ClientId, Level, Now};
use crate::resources::{Overcommit, Resources};

mod block;
mod command;
mod create;
mod events;
mod group;
mod interface;
mod measure;
#[cfg(test)]
mod paths;
mod query;
mod start;
mod statistics;
mod stop;
mod store;
mod takeover;
#[cfg(test)]
mod tests;
mod unikernel;
mod users;

pub use group::Group;
pub use interface::{
    Argument, BlockContent, BlockFile, BlockPlace, DumpForm, ImageSource, Input, Note, Opened, Outcome,
    Output, Reach, Signal, Spawn, SpoolId, Task, TaskFailure, TaskId,
};
pub use measure::CALLED;
use takeover::Stray;
pub use takeover::{Fate, Left, LeftTender};
use unikernel::Unikernel;
use users::Users;
pub use users::{UserRange, UserRangeError};

/// How long a unikernel may take to end after SIGTERM before it gets SIGKILL. A Solo5 tender has nothing
/// to clean up: it ends at once, or hangs.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long to wait between two attempts to reach the console daemon.
pub const CONSOLE_RETRY: Duration = Duration::from_secs(1);

/// How long the console daemon may take to open a fifo.
pub const CONSOLE_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before the console daemon is asked again to open the fifo of what runs, which it could not
/// open. What it lacks, descriptors mostly, is not there again at once, and a fifo that nobody reads holds a
/// guest up when it is full.
pub const FIFO_RETRY: Duration = Duration::from_secs(5);

/// Commands that a client may send ahead of the replies on one connection. The endpoint sends a chain's
/// policies and the command; a chain has at most eight intermediates.
pub const MAX_PIPELINED: usize = 16;

/// How long to wait before the record is written again that could not be written. A full disk is not
/// emptied within a second, and every command tries, too.
pub const RECORD_RETRY: Duration = Duration::from_secs(5);

/// Commands that the console or the statistics daemon may leave unanswered, besides one for each unikernel that
/// runs. Either answers at once; what is sent to one that has stopped reading waits in memory.
pub const MAX_UNANSWERED: usize = 1024;
/// Unikernels that are started at one time without a client that waits for it. What is made ready of each takes
/// memory and keeps the disk and the cpus busy: more at once would not run sooner, and let clients wait.
pub const MAX_RESTARTING: usize = 16;

/// The most characters of a file name: NAME_MAX of Linux.
const MAX_FILE_NAME: usize = 255;

/// What the machine has to know about its place.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where fifos and the images of running unikernels are (`--tmpdir`).
    pub tmpdir: PathBuf,
    /// Where images and the record are kept (`--dbdir`).
    pub dbdir: PathBuf,
    /// Whether `--name=` is the last label only; the whole name otherwise (`--no-drop-path`).
    pub drop_path: bool,
    /// By how much the memory of the host may be promised more than once (`--overcommit-memory`).
    pub overcommit: Overcommit,
}

/// Streams to and from block devices at one time. Each has a thread of the driver and a file open; more
/// would only share the disk.
pub const MAX_STREAMS: usize = 16;

/// The machine.
#[derive(Debug)]
pub struct Vmmd {
    config: Config,
    phase: Phase,
    resources: Resources,
    unikernels: BTreeMap<Name, Unikernel>,
    users: Users,
    groups: group::Groups,
    /// Those that are to be started, by their place in the order, and wait for one of [`MAX_RESTARTING`] to be done.
    due: BTreeSet<(Int, Name)>,
    /// Those that are being started without a client that waits for it.
    restarting: BTreeSet<Name>,
    /// Which unikernel a running tender belongs to.
    processes: BTreeMap<u32, Name>,
    /// Tenders that a predecessor left and that are on no record; they are killed.
    strays: BTreeMap<u32, Stray>,
    /// Block devices whose files belonged to the user of a tender when the daemon began; none once it has begun.
    lent: Vec<Name>,
    clients: BTreeMap<ClientId, Client>,
    /// What a task is waited for by.
    tasks: BTreeMap<TaskId, Waiting>,
    next_task: u64,
    /// Stored images that are no longer needed as soon as that is durable.
    unneeded: Vec<store::Unneeded>,
    /// Stored images of which it is not known whether they are needed: one that is being stored may be
    /// the same.
    doubtful: Vec<[u8; 32]>,
    journal: store::Journal,
    next_spool: u64,
    console: Console,
    statistics: statistics::Statistics,
    events: events::Events,
    /// The time of the input that is being handled.
    now: Now,
    counts: measure::Counts,
    /// Deadlines; one that has lost its reason is ignored when it comes.
    timers: BTreeSet<(Duration, Timer)>,
    outputs: Vec<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before [`Input::Begin`].
    Idle,
    Serving,
    /// As [`Ending`](Self::Ending), but what runs is left.
    HandingOver,
    Ending,
    Ended,
}

#[derive(Debug, Default)]
struct Client {
    /// A command is being carried out.
    busy: bool,
    /// Commands that came in the meantime.
    pipelined: VecDeque<Message>,
    /// The image that is being streamed.
    receiving: Option<Box<create::Receiving>>,
    /// No more will come.
    ended: bool,
}

/// A message of a client, with its image if that is not in it.
#[derive(Debug)]
struct Message {
    octets: Vec<u8>,
    image: Option<SpoolId>,
}

/// Who is to be answered, and on which command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requester {
    client: ClientId,
    header: Header,
    /// The command in words, where it goes into the event log.
    command: Option<Text>,
}

/// The connection to the console daemon.
#[derive(Debug, Default)]
struct Console {
    connected: bool,
    /// A connection is being made: it is not asked for twice.
    connecting: bool,
    /// The number of the last command that was sent.
    sequence: i64,
    /// What each unanswered `console add` is for; `None`: an announcement after a reconnection.
    pending: BTreeMap<i64, Option<Name>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    ReconnectConsole,
    /// Start it, if it still waits.
    Start(Name),
    /// Kill it, if it has not ended since it was asked to.
    Kill(Name),
    /// Give up on the console daemon for this start.
    ConsolePatience(Name),
    /// Have the console daemon open the fifo of this one, if it runs.
    OpenFifo(Name),
    /// Write the record again, if it is not on the disk as it is.
    Persist,
}

/// What goes on when a task is done.
#[derive(Debug)]
enum Waiting {
    /// The next step of this unikernel's start.
    Start(Name),
    /// This message of a client, which asks for bridges that were not there before.
    Host(ClientId, Message),
    /// The image of this create is stored.
    Stored(Box<create::Creation>),
    /// The image that `get` asked for is sent.
    Sent(Requester),
    /// What was asked of a block device is done.
    Block(Requester, block::Job),
    /// Nobody, but a failure is logged.
    Persisted,
    /// The reply to a change, and how to undo the change if it cannot be persisted.
    Acknowledge(Requester, Text, Undo),
}

#[derive(Debug)]
enum Undo {
    Nothing,
    Policy {
        /// Where.
        path: albatross_proto::Path,
        /// What it was set to.
        made: Option<Policy>,
        /// What it was.
        before: Option<Policy>,
    },
}

impl Vmmd {
    /// A machine that has not begun.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            phase: Phase::Idle,
            resources: Resources::new(config.overcommit),
            config,
            unikernels: BTreeMap::new(),
            users: Users::default(),
            groups: group::Groups::default(),
            due: BTreeSet::new(),
            restarting: BTreeSet::new(),
            processes: BTreeMap::new(),
            strays: BTreeMap::new(),
            lent: Vec::new(),
            clients: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 0,
            unneeded: Vec::new(),
            doubtful: Vec::new(),
            journal: store::Journal::default(),
            next_spool: 0,
            console: Console::default(),
            statistics: statistics::Statistics::default(),
            events: events::Events::default(),
            now: Now { monotonic: Duration::ZERO, wall: Time::default() },
            counts: measure::Counts::default(),
            timers: BTreeSet::new(),
            outputs: Vec::new(),
        }
    }

    /// The same, where each tender runs under a user id of its own, from this range.
    #[must_use]
    pub fn with_users(self, range: UserRange) -> Self {
        Self { users: Users::new(range), ..self }
    }

    /// When the machine wants an [`Input::Tick`], on the monotonic clock; never where nothing waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let own = self.timers.first().map(|(when, _)| *when);
        own.into_iter().chain(self.events.next_deadline()).min()
    }

    /// The one entrance: what happened goes in, what is to be done comes out, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        self.now = now;
        match input {
            Input::BlockFiles(files) => self.adopt_blocks(files),
            Input::Groups(found) => self.groups.begin(found),
            Input::Begin { host, record, seed, left } => {
                self.begin(now, host, record, seed);
                self.event(Name::root(), Event::DaemonStarted);
                self.take_over(now, left);
                self.connect_console();
            }
            Input::Connected(client) => {
                self.counts.connections += 1;
                self.clients.insert(client, Client::default());
            }
            Input::Frame(client, octets) => self.frame(now, client, Message { octets, image: None }),
            Input::LargeFrame(client, octets, image) => {
                self.frame(now, client, Message { octets, image: Some(image) });
            }
            Input::Ended(client) => self.ended(client),
            Input::Closed(client) => self.forget(client),
            Input::ConsoleConnected => self.console_connected(now),
            Input::ConsoleFrame(frame) => self.console_frame(now, &frame),
            Input::ConsoleClosed => self.console_closed(now),
            Input::LogConnected => self.events.sender.connected(now),
            Input::LogFrame(frame) => self.events.sender.frame(now, &frame),
            Input::LogClosed => self.events.sender.closed(now),
            Input::Exited { pid, exit } => self.exited(now, pid, exit),
            Input::OutOfMemory { pid } => self.out_of_memory(pid),
            Input::Done(task, result) => self.done(now, task, result),
            Input::Tick => {}
            Input::Terminate => self.terminate(now),
            Input::HandOver => self.hand_over(now),
        }
        self.expire(now);
        self.tell_log();
        self.start_due(now);
        self.next_pipelined(now);
        self.tell_log();
        self.end_if_free();
        std::mem::take(&mut self.outputs)
    }

    fn output(&mut self, output: Output) {
        self.outputs.push(output);
    }

    fn log(&mut self, level: Level, text: impl Into<String>) {
        self.output(Output::Log(level, text.into()));
    }

    fn task(&mut self, task: Task, waiting: Waiting) {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        self.tasks.insert(id, waiting);
        self.output(Output::Task(id, task));
    }

    fn done(&mut self, now: Now, id: TaskId, result: Result<Outcome, TaskFailure>) {
        match self.tasks.remove(&id) {
            None => self.log(Level::Error, "a task was answered that nobody waits for"),
            Some(Waiting::Start(name)) => {
                if self.is_persisting(&name) {
                    self.persisted(id, result.is_ok());
                }
                self.step_done(now, &name, result);
            }
            Some(Waiting::Host(client, message)) => self.host_looked_at(now, client, message, result),
            Some(Waiting::Stored(creation)) => self.image_stored(now, *creation, result),
            Some(Waiting::Sent(requester)) => self.image_sent(&requester, result),
            Some(Waiting::Block(requester, job)) => self.block_done(&requester, job, result),
            Some(Waiting::Persisted) => {
                self.persisted(id, result.is_ok());
                if let Err(TaskFailure(why)) = result {
                    self.log(Level::Error, format!("the record was not written, it is tried again: {why}"));
                    self.persist_later(now);
                }
            }
            Some(Waiting::Acknowledge(requester, text, undo)) => {
                self.persisted(id, result.is_ok());
                match result {
                    Ok(_) => self.succeed(&requester, text),
                    Err(TaskFailure(why)) => {
                        self.undo(id, undo);
                        self.persist_later(now);
                        self.fail(&requester, format!("the record was not written: {why}"));
                    }
                }
            }
        }
    }

    fn expire(&mut self, now: Now) {
        if self.events.next_deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            self.events.sender.tick(now);
        }
        while let Some((_, timer)) = self.timers.first().filter(|(when, _)| *when <= now.monotonic).cloned() {
            self.timers.pop_first();
            match timer {
                Timer::ReconnectConsole if !self.console.connected => self.connect_console(),
                Timer::ReconnectConsole => {}
                Timer::Start(name) => self.start_if_due(now, &name),
                Timer::Kill(name) => self.kill_if_due(now, &name),
                Timer::ConsolePatience(name) => self.console_patience_ended(now, &name),
                Timer::OpenFifo(name) => self.announce_again(&name),
                Timer::Persist => self.persist_again(),
            }
        }
    }

    /// Answers `requester`: his command is done.
    fn reply(&mut self, requester: &Requester, payload: Payload<'_>) {
        let keep = matches!(&payload, Payload::Success(albatross_proto::Success::Text(text))
            if [ADDED_POLICY, UNMODIFIED_POLICY].contains(&text.as_bytes()));
        self.counts.answered(&payload);
        let Requester { client, header, .. } = requester;
        let Some(state) = self.clients.get_mut(client) else { return };
        state.busy = false;
        let keep = keep && !(state.ended && state.pipelined.is_empty());
        match Wire::new(header.clone(), payload).encode() {
            Ok(message) => self.output(Output::Send(*client, message)),
            Err(error) => {
                self.log(Level::Error, format!("{}: the reply cannot be sent: {error}", header.name))
            }
        }
        if !keep {
            self.close(*client);
        }
    }

    fn ended(&mut self, client: ClientId) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        state.ended = true;
        if state.receiving.is_some() {
            return self.stream_cut(client);
        }
        if !state.busy && state.pipelined.is_empty() {
            self.close(client);
        }
    }

    fn close(&mut self, client: ClientId) {
        self.forget(client);
        self.output(Output::Close(client));
    }

    /// A client is gone, with what it sent and what was not taken up.
    fn forget(&mut self, client: ClientId) {
        self.statistics_forget(client);
        let Some(state) = self.clients.remove(&client) else { return };
        let received = state.receiving.map(|receiving| receiving.spool);
        let pipelined = state.pipelined.into_iter().filter_map(|message| message.image);
        let spools: Vec<SpoolId> = received.into_iter().chain(pipelined).collect();
        spools.into_iter().for_each(|spool| self.output(Output::DropSpool(spool)));
    }

    fn succeed(&mut self, requester: &Requester, text: impl Into<Text>) {
        let text = text.into();
        self.log(Level::Info, format!("{}: {text}", requester.header.name));
        self.conclude(requester, Ok(text));
    }

    fn fail(&mut self, requester: &Requester, why: impl Into<String>) {
        let why = why.into();
        self.log(Level::Info, format!("{}: refused: {why}", requester.header.name));
        self.conclude(requester, Err(Text::from(why)));
    }
}

const ADDED_POLICY: &[u8] = b"added policy";
const UNMODIFIED_POLICY: &[u8] = b"no modification of policy";

/// Where things of a unikernel are.
impl Config {
    fn fifo(&self, name: &Name) -> PathBuf {
        self.tmpdir.join("fifo").join(name.to_string())
    }

    fn image(&self, name: &Name) -> PathBuf {
        self.tmpdir.join(format!("{name}.img"))
    }

    /// Where block devices are.
    #[must_use]
    pub fn blocks(&self) -> PathBuf {
        self.dbdir.join("block")
    }

    /// The file of the block device of this name.
    fn block(&self, name: &Name) -> PathBuf {
        self.blocks().join(name.to_string())
    }

    /// Where images are kept.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.dbdir.join("images")
    }

    /// Where the image of this SHA-256 is kept.
    #[must_use]
    pub fn stored_image(&self, digest: &[u8; 32]) -> PathBuf {
        let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        self.images().join(hex)
    }

    /// The record of what is to run ([`albatross_proto::state::Record`], kept as [`crate::journal`] tells).
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.dbdir.join("record")
    }

    /// Whether all file names of this unikernel are short enough. A name never contains `/` and always
    /// `:`, so that none of them is `.` or `..`.
    fn has_room_for(name: &Name) -> bool {
        Path::new(&format!("{name}.img")).as_os_str().len() <= MAX_FILE_NAME
    }
}
