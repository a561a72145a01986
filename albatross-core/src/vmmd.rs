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
use albatross_proto::state::Record;
use albatross_proto::{Header, Int, Name, Payload, Policy, Text, Wire};

use crate::image::Target;
use crate::machine::{ClientId, Level, Now};
use crate::resources::{Overcommit, Resources};

mod command;
#[cfg(test)]
mod paths;
mod query;
mod start;
mod stop;
mod store;
#[cfg(test)]
mod tests;
mod unikernel;
mod users;

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
    },
    /// A client connected.
    Connected(ClientId),
    /// A client sent a frame.
    Frame(ClientId, Vec<u8>),
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
        /// How it ended.
        exit: Exit,
    },
    /// A task was carried out, or was not, and why.
    Done(TaskId, Result<Outcome, TaskFailure>),
    /// A deadline of [`Vmmd::next_deadline`] may have come.
    Tick,
    /// The daemon was asked to end.
    Terminate,
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
    /// End this tender.
    Kill(u32, Signal),
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

/// Something that may fail and is waited for. A task that fails leaves nothing behind.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Write this file, durably; one that is there already is kept, as it has the same content.
    StoreImage {
        /// Where.
        path: PathBuf,
        /// The image, not compressed.
        image: Vec<u8>,
    },
    /// Read this file: [`Outcome::Image`].
    LoadImage {
        /// Where.
        path: PathBuf,
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
    /// Start a tender: [`Outcome::Process`].
    Spawn(Spawn),
    /// Replace the record by this one, atomically and durably. Several are carried out in the order given.
    Persist {
        /// Where.
        path: PathBuf,
        /// The encoded record.
        record: Vec<u8>,
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
    /// The content of an image.
    Image(Vec<u8>),
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
    clients: BTreeMap<ClientId, Client>,
    /// What a task is waited for by.
    tasks: BTreeMap<TaskId, Waiting>,
    next_task: u64,
    /// Stored images that the record no longer needs, with the number of the task that persists that.
    unneeded: Vec<(u64, [u8; 32])>,
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
    Ending,
    Ended,
}

#[derive(Debug, Default)]
struct Client {
    /// A command is being carried out.
    busy: bool,
    /// Commands that came in the meantime.
    pipelined: VecDeque<Vec<u8>>,
    /// No more will come.
    ended: bool,
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
}

/// What goes on when a task is done.
#[derive(Debug)]
enum Waiting {
    /// The next step of this unikernel's start.
    Start(Name),
    /// The image of this create is stored.
    Stored(Box<command::Prepared>),
    /// The image that `get` asked for.
    Get(Requester, Int),
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
            clients: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 0,
            unneeded: Vec::new(),
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
            Input::Begin { host, record } => self.begin(now, host, record),
            Input::Connected(client) => {
                self.clients.insert(client, Client::default());
            }
            Input::Frame(client, frame) => self.frame(now, client, frame),
            Input::Ended(client) => self.ended(client),
            Input::Closed(client) => {
                self.clients.remove(&client);
            }
            Input::ConsoleConnected => self.console_connected(now),
            Input::ConsoleFrame(frame) => self.console_frame(now, &frame),
            Input::ConsoleClosed => self.console_closed(now),
            Input::Exited { pid, exit } => self.exited(now, pid, exit),
            Input::Done(task, result) => self.done(now, task, result),
            Input::Tick => {}
            Input::Terminate => self.terminate(now),
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
            Some(Waiting::Stored(prepared)) => self.image_stored(now, *prepared, result),
            Some(Waiting::Get(requester, level)) => self.image_loaded(&requester, level, result),
            Some(Waiting::Persisted) => {
                self.persisted(id, result.is_ok());
                if let Err(TaskFailure(why)) = result {
                    self.log(Level::Error, format!("the record was not written: {why}"));
                }
            }
            Some(Waiting::Acknowledge(requester, text, undo)) => match result {
                Ok(_) => {
                    self.persisted(id, true);
                    self.succeed(&requester, text);
                }
                Err(TaskFailure(why)) => {
                    self.undo(undo);
                    self.fail(&requester, format!("not done, as the record was not written: {why}"));
                }
            },
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
        if !state.busy && state.pipelined.is_empty() {
            self.close(client);
        }
    }

    fn close(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.output(Output::Close(client));
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

    fn stored_image(&self, digest: &[u8; 32]) -> PathBuf {
        let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        self.dbdir.join("images").join(hex)
    }

    /// The record of what is to run ([`Record`]).
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
