//! The machine of albatrossd: every rule about unikernels and policies, and no system call.
//!
//! [`Vmmd::handle`] is told what happened and returns what is to be done, in that order. What may fail
//! and is waited for is a [`Task`]; the driver answers each with [`Input::Done`], in any order. Until
//! then the machine goes on serving others. What needs no answer (sending, killing, removing) is an
//! [`Output`] of its own.
//!
//! A unikernel is in one of three states: starting (one task at a time, see
//! the module `start`), running, or waiting to be started again. A change is persisted before it is
//! acknowledged. What is on record and cannot be started waits with a growing delay and is tried again.
//!
//! It follows `docs/protocol.md` (conversations) and `docs/architecture.md` (the life of a command).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use albatross_proto::reply::Exit;
use albatross_proto::state::{Record, Tender};
use albatross_proto::{Header, Name, Payload, Policy, Text, Wire};

use crate::image::{Image, Target};
use crate::machine::{ClientId, Level, Now};
use crate::resources::{Overcommit, Resources};

mod command;
mod create;
#[cfg(test)]
mod paths;
mod query;
mod start;
mod stop;
mod store;
mod takeover;
#[cfg(test)]
mod tests;
mod unikernel;
mod users;

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

/// Commands that a client may send ahead of the replies on one connection. The endpoint sends a chain's
/// policies and the command; a chain has at most eight intermediates.
pub const MAX_PIPELINED: usize = 16;

/// How long to wait before the record is written again that could not be written. A full disk is not
/// emptied within a second, and every command tries, too.
pub const RECORD_RETRY: Duration = Duration::from_secs(5);

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

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The daemon begins: what the machine offers as a whole, and what is on record.
    Begin {
        /// The root policy: cpus, memory, storage and bridges that are there.
        host: Policy,
        /// What was persisted last.
        record: Record,
        /// Random octets that nobody else knows.
        seed: [u8; 32],
        /// What a predecessor left: tenders that run on, and what they had.
        left: Left,
    },
    /// A client connected.
    Connected(ClientId),
    /// A client sent a frame.
    Frame(ClientId, Vec<u8>),
    /// A client sent a create whose image is not in memory: the message with an empty image, and where the
    /// image is. It is the machine's from now on: it is stored or dropped.
    LargeFrame(ClientId, Vec<u8>, SpoolId),
    /// A client sends no more, and may wait for a reply.
    Ended(ClientId),
    /// A client's connection is gone.
    Closed(ClientId),
    /// The console daemon was reached.
    ConsoleConnected,
    /// The console daemon sent a frame.
    ConsoleFrame(Vec<u8>),
    /// The console daemon was not reached, or its connection is gone.
    ConsoleClosed,
    /// A tender ended.
    Exited {
        /// Its process id.
        pid: u32,
        /// How it ended; `None` where that cannot be known of a tender that was taken over.
        exit: Option<Exit>,
    },
    /// A task was carried out, or was not, and why.
    Done(TaskId, Result<Outcome, TaskFailure>),
    /// A deadline of [`Vmmd::next_deadline`] may have come.
    Tick,
    /// The daemon was asked to end, and its unikernels with it.
    Terminate,
    /// The daemon was asked to end and to leave what runs to the next one.
    HandOver,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Send this message as a frame.
    Send(ClientId, Vec<u8>),
    /// Close the connection when all is sent.
    Close(ClientId),
    /// Connect to the console daemon: [`Input::ConsoleConnected`] or [`Input::ConsoleClosed`] answers.
    ConnectConsole,
    /// Send this message to the console daemon as a frame.
    SendConsole(Vec<u8>),
    /// Carry this out and answer with [`Input::Done`].
    Task(TaskId, Task),
    /// Make room for an image that comes in pieces. That there is none is the failure of the task that
    /// stores the image.
    OpenSpool(SpoolId),
    /// These are the next octets of the image.
    FillSpool(SpoolId, Vec<u8>),
    /// The image is not wanted after all.
    DropSpool(SpoolId),
    /// End this tender.
    Kill(u32, Signal),
    /// Replace the note of this tender, before whatever comes next.
    Note(u32, Note),
    /// Remove these files of the daemon's own; what is not there is no error.
    RemoveFile(PathBuf),
    /// Remove this tap.
    RemoveTap(String),
    /// Write this to the log.
    Log(Level, String),
    /// Accept no more clients.
    StopListening,
    /// All is freed: end the daemon.
    Exit,
}

/// A signal for a tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Numbers a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// An image on its way in that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpoolId {
    /// It was part of a frame, numbered by the driver.
    Frame(u64),
    /// It is streamed after its command, numbered by the machine.
    Stream(u64),
}

/// Where an image is that is to be stored.
#[derive(Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// In memory: it is small.
    Octets(Vec<u8>),
    /// Not in memory. Storing it uses it up.
    Spool(SpoolId),
}

/// Something that may fail and is waited for. A task that fails leaves nothing behind.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Look at this image and keep it, uncompressed and durably, at [`Config::stored_image`]:
    /// [`Outcome::Stored`]. One that is there already and whole is kept.
    StoreImage {
        /// Where it is.
        source: ImageSource,
        /// Whether it is a zlib stream.
        compressed: bool,
        /// The most octets that it may have uncompressed.
        limit: usize,
        /// The SHA-256 that it must have as it came, if that was told.
        expected: Option<[u8; 32]>,
    },
    /// Look at this stored image, which must have this SHA-256: [`Outcome::Inspected`].
    InspectImage {
        /// Where.
        path: PathBuf,
        /// Its SHA-256.
        digest: [u8; 32],
    },
    /// Send this stored image to a client as the reply with this header. Done when all is sent or waits to
    /// be written; not done where nothing was sent.
    SendImage {
        /// To whom.
        client: ClientId,
        /// The header of the reply.
        header: Header,
        /// Where the image is.
        path: PathBuf,
        /// 0: as it is; else compressed at this level.
        level: u32,
    },
    /// Find a tender that runs such images: [`Outcome::Tender`].
    FindTender {
        /// What the image was linked for.
        target: Target,
        /// The version of the interface.
        abi_version: u32,
    },
    /// Make the file `to` with the content of `from`.
    PlaceImage {
        /// The stored image.
        from: PathBuf,
        /// The image of the running unikernel.
        to: PathBuf,
    },
    /// Make this fifo, for the console daemon to read.
    MakeFifo {
        /// Where.
        path: PathBuf,
    },
    /// Make a tap that is up and belongs to this bridge: [`Outcome::Tap`].
    MakeTap {
        /// The bridge.
        bridge: String,
        /// The user id that may open it, besides root.
        owner: Option<u32>,
    },
    /// Start a tender: [`Outcome::Process`]. It does not run before its note is there.
    Spawn(Spawn),
    /// Replace the file of the record by this one, atomically and durably. This and
    /// [`Append`](Self::Append) are carried out in the order given.
    Persist {
        /// Where.
        path: PathBuf,
        /// The whole file ([`crate::journal`]).
        record: Vec<u8>,
    },
    /// Append this to the file of the record, durably. After one that failed, no other may be carried out
    /// before the file was replaced.
    Append {
        /// Where.
        path: PathBuf,
        /// One entry ([`crate::journal`]).
        entry: Vec<u8>,
    },
}

/// How a tender is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The program.
    pub tender: PathBuf,
    /// Its arguments; any octets, none of them 0.
    pub arguments: Vec<Vec<u8>>,
    /// The cpus that it is pinned to.
    pub cpus: Vec<usize>,
    /// The fifo that is its standard input, output and error.
    pub fifo: PathBuf,
    /// The user and group id that it runs under, which no other tender has; `None`: that of the daemon.
    pub user: Option<u32>,
    /// What its arguments make it open, and it may.
    pub reach: Reach,
    /// What is noted of it for the next daemon.
    pub note: Box<Note>,
}

/// What is noted of a tender that runs. The driver adds which process it is, which makes it
/// [`albatross_proto::state::Running`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where, below [`Config::notes`].
    pub path: PathBuf,
    /// What.
    pub tender: Tender,
}

/// What a tender may reach: all else is none of its business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The image, to read.
    pub image: PathBuf,
    /// The files of its block devices, to read and write.
    pub blocks: Vec<PathBuf>,
    /// Whether it opens taps.
    pub taps: bool,
    /// Whether it opens the device of the kernel's virtual machines.
    pub virtual_machines: bool,
    /// Memory of the guest, in MB.
    pub memory: u64,
}

/// What a task that was carried out gave.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// An image is stored.
    Stored {
        /// Its SHA-256.
        digest: [u8; 32],
        /// What it says about itself.
        image: Image,
    },
    /// What an image says about itself.
    Inspected(Image),
    /// The path of a tender.
    Tender(PathBuf),
    /// The name of a tap.
    Tap(String),
    /// The id of a process.
    Process(u32),
}

/// Why a task was not carried out: one sentence that names the file or device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure(pub String);

/// The machine.
#[derive(Debug)]
pub struct Vmmd {
    config: Config,
    phase: Phase,
    resources: Resources,
    unikernels: BTreeMap<Name, Unikernel>,
    users: Users,
    /// Which unikernel a running tender belongs to.
    processes: BTreeMap<u32, Name>,
    /// Tenders that a predecessor left and that are on no record; they are killed.
    strays: BTreeMap<u32, Tender>,
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
}

/// The connection to the console daemon.
#[derive(Debug)]
struct Console {
    connected: bool,
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
    /// Write the record again, if it is not on the disk as it is.
    Persist,
}

/// What goes on when a task is done.
#[derive(Debug)]
enum Waiting {
    /// The next step of this unikernel's start.
    Start(Name),
    /// The image of this create is stored.
    Stored(Box<create::Creation>),
    /// The image that `get` asked for is sent.
    Sent(Requester),
    /// Nobody, but a failure is logged.
    Persisted,
    /// The reply to a change, and how to undo the change if it cannot be persisted.
    Acknowledge(Requester, Text, Undo),
}

#[derive(Debug)]
enum Undo {
    Nothing,
    Policy(albatross_proto::Path, Option<Policy>),
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
            processes: BTreeMap::new(),
            strays: BTreeMap::new(),
            clients: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 0,
            unneeded: Vec::new(),
            doubtful: Vec::new(),
            journal: store::Journal::default(),
            next_spool: 0,
            console: Console { connected: false, sequence: 0, pending: BTreeMap::new() },
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
        self.timers.first().map(|(when, _)| *when)
    }

    /// The one entrance: what happened goes in, what is to be done comes out, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        match input {
            Input::Begin { host, record, seed, left } => {
                self.begin(now, host, record, seed);
                self.take_over(now, left);
                self.output(Output::ConnectConsole);
            }
            Input::Connected(client) => {
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
            Input::Exited { pid, exit } => self.exited(now, pid, exit),
            Input::Done(task, result) => self.done(now, task, result),
            Input::Tick => {}
            Input::Terminate => self.terminate(now),
            Input::HandOver => self.hand_over(now),
        }
        self.expire(now);
        self.next_pipelined(now);
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
                self.persisted(id, result.is_ok());
                self.step_done(now, &name, result);
            }
            Some(Waiting::Stored(creation)) => self.image_stored(now, *creation, result),
            Some(Waiting::Sent(requester)) => self.image_sent(&requester, result),
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
                        self.undo(undo);
                        self.persist_later(now);
                        self.fail(&requester, format!("the record was not written: {why}"));
                    }
                }
            }
        }
    }

    fn expire(&mut self, now: Now) {
        while let Some((_, timer)) = self.timers.first().filter(|(when, _)| *when <= now.monotonic).cloned() {
            self.timers.pop_first();
            match timer {
                Timer::ReconnectConsole if !self.console.connected => self.output(Output::ConnectConsole),
                Timer::ReconnectConsole => {}
                Timer::Start(name) => self.start_if_due(now, &name),
                Timer::Kill(name) => self.kill_if_due(now, &name),
                Timer::ConsolePatience(name) => self.console_patience_ended(now, &name),
                Timer::Persist => self.persist_again(),
            }
        }
    }

    /// Answers `requester`: his command is done.
    fn reply(&mut self, requester: &Requester, payload: Payload<'_>) {
        let keep = matches!(&payload, Payload::Success(albatross_proto::Success::Text(text))
            if [ADDED_POLICY, UNMODIFIED_POLICY].contains(&text.as_bytes()));
        let Requester { client, header } = requester;
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
        let Some(state) = self.clients.remove(&client) else { return };
        let received = state.receiving.map(|receiving| receiving.spool);
        let pipelined = state.pipelined.into_iter().filter_map(|message| message.image);
        let spools: Vec<SpoolId> = received.into_iter().chain(pipelined).collect();
        spools.into_iter().for_each(|spool| self.output(Output::DropSpool(spool)));
    }

    fn succeed(&mut self, requester: &Requester, text: impl Into<Text>) {
        let text = text.into();
        self.log(Level::Info, format!("{}: {text}", requester.header.name));
        self.reply(requester, Payload::Success(albatross_proto::Success::Text(text)));
    }

    fn fail(&mut self, requester: &Requester, why: impl Into<String>) {
        let why = why.into();
        self.log(Level::Info, format!("{}: refused: {why}", requester.header.name));
        self.reply(requester, Payload::Failure(Text::from(why)));
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

    /// The record of what is to run ([`Record`], kept as [`crate::journal`] tells).
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
