//! The loop: what happens goes into the machine, what it wants is carried out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::influx::Address;
use albatross_core::machine::{ClientId, Now};
use albatross_core::vmmd::{
    CALLED, Config, Input, Outcome, Output, Spawn, Task, TaskFailure, TaskId, UserRange, Vmmd,
};
use albatross_driver::clock::wall_clock;
use albatross_driver::listener::{self, Listener};
use albatross_driver::logging::Logger;
use albatross_driver::notify::Notifier;
use albatross_driver::options::Common;
use albatross_driver::server::{CloseReason, ConnectionId, Detached, Event, Server, SourceEvent};
use albatross_driver::signals::{Signal, Signals};
use albatross_proto::Name;
use albatross_proto::frame::{self, MAX_ENCODED};
use albatross_report::Report;
use mio::{Token, Waker};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

use crate::blocks::{self, Blocks, Wanted};
use crate::confine::Confinement;
use crate::images::{Answer, Images};
use crate::incoming::{Incoming, WHOLE};
use crate::net::Taps;
use crate::process::{self, Begun, Ended, Processes};
use crate::record::RecordFile;
use crate::sending::Sending;
use crate::tender::Tenders;
use crate::{files, host, import, net, takeover};

/// The longest frame that the console or the log daemon sends here, in octets: a short text under a name.
const MAX_PEER_FRAME: usize = 64 * 1024;

/// How long the socket may be in use although no other daemon has the lock, and how often that is looked at:
/// a forked process needs a few milliseconds to end or to come to exec.
const SOCKET_PATIENCE: Duration = Duration::from_secs(1);
const SOCKET_INTERVAL: Duration = Duration::from_millis(5);

/// Tenders that are started in one turn of the loop: enough for all processors of a small machine to have something to
/// do. Each takes up to a millisecond or two, and a thousand at once would let clients wait for seconds.
const STARTS: usize = 4;

/// What is read instead of interrupting: what asks to end, to hand over, and what means nothing here.
const SIGNALS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1];

/// Serves until it is asked to end. Tenders run under the ids of `users`, if there are any and it is root. The database
/// at `influx` is told about it, if there is one.
pub(crate) fn run(
    common: &Common,
    config: Config,
    users: Option<UserRange>,
    influx: Option<Address>,
    log: &Logger,
) -> io::Result<()> {
    check_directories(&config)?;
    let _lock = takeover::lock(&config)?;
    files::make_directories(&config.dbdir)?;
    let confinement = Arc::new(Confinement::begin(&config, users, log)?);
    let record = import::load(&config, log)?;
    let host = host::policy(&config.dbdir)?;
    let blocks = blocks::list(&config.blocks())?;
    let seed = random()?;
    let mut server = Server::new(Signals::new(&SIGNALS)?)?;
    server.split_above(WHOLE);
    server.listen(open(common, log)?, MAX_ENCODED)?;
    let taps = Taps::new(&config.tmpdir);
    let mut processes = Processes::default();
    let left = takeover::find(&config, &taps, &mut processes, &mut server, log)?;
    let waker_token = server.token();
    let waker = Arc::new(Waker::new(server.registry(), waker_token)?);
    let mut found = VecDeque::from([Input::BlockFiles(blocks)]);
    found.extend(confinement.groups.made_before()?.map(Input::Groups));
    found.push_back(Input::Begin { host, record, seed, left });
    let report = influx.map(|to| Report::new(to, CALLED, &mut server)).transpose()?;
    let mut daemon = Daemon {
        report,
        images: Images::new(&config, &waker),
        blocks: Blocks::new(Arc::clone(&waker)),
        incoming: Incoming::default(),
        sending: Sending::default(),
        record: RecordFile::new(),
        tenders: Tenders::new(&config.dbdir, Arc::clone(&confinement), waker),
        waker_token,
        dbdir: config.dbdir.clone(),
        console_socket: listener::socket_path(&config.tmpdir, "console"),
        log_socket: listener::socket_path(&config.tmpdir, "log"),
        vmmd: match confinement.users {
            Some(range) => Vmmd::new(config).with_users(range),
            None => Vmmd::new(config),
        },
        server,
        started: Instant::now(),
        console: None,
        events: None,
        taps,
        processes,
        confinement,
        spawns: VecDeque::new(),
        inputs: found,
        over: false,
        log,
    };
    albatross_driver::memory::forget_the_start();
    Notifier::connect(log).ready(log);
    daemon.serve()
}

/// Octets that nobody can know.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|Unspecified| io::Error::other("the system gives no random octets"))?;
    Ok(octets)
}

/// The socket. A process that the daemon before had forked when it was killed may have it for a moment still.
fn open(common: &Common, log: &Logger) -> io::Result<Listener> {
    let deadline = Instant::now() + SOCKET_PATIENCE;
    loop {
        match listener::open(common, "vmmd", log) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(SOCKET_INTERVAL);
            }
            result => return result,
        }
    }
}

fn check_directories(config: &Config) -> io::Result<()> {
    for directory in [config.tmpdir.join("util"), config.tmpdir.join("fifo"), config.dbdir.clone()] {
        if !directory.is_dir() {
            let text = format!("{}: no such directory, make it first", directory.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
    }
    Ok(())
}

struct Daemon<'a> {
    vmmd: Vmmd,
    report: Option<Report>,
    server: Server,
    tenders: Tenders,
    images: Images,
    blocks: Blocks,
    incoming: Incoming,
    sending: Sending,
    record: RecordFile,
    waker_token: Token,
    taps: Taps,
    processes: Processes,
    confinement: Arc<Confinement>,
    dbdir: PathBuf,
    console_socket: PathBuf,
    console: Option<ConnectionId>,
    log_socket: PathBuf,
    /// The connection to the log daemon.
    events: Option<ConnectionId>,
    /// The beginning of the monotonic clock.
    started: Instant,
    /// Tenders that are to be started, [`STARTS`] in each turn of the loop.
    spawns: VecDeque<(TaskId, Spawn)>,
    inputs: VecDeque<Input>,
    over: bool,
    log: &'a Logger,
}

impl Daemon<'_> {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            self.handle_inputs();
            self.start_some();
            if self.over {
                // Whoever was answered last gets what still fits into his socket.
                return self.server.poll(Some(Instant::now()), &mut events);
            }
            if let Some(report) = &mut self.report {
                report.turn(&self.server, self.log, || self.vmmd.measurements());
            }
            let report = self.report.as_ref().and_then(Report::deadline);
            let next = self.next_turn().into_iter().chain(report).min();
            self.server.poll(next, &mut events)?;
            for event in events.drain(..) {
                self.note(event);
            }
            self.inputs.push_back(Input::Tick);
        }
    }

    /// When the loop goes on though nothing happens.
    fn next_turn(&self) -> Option<Instant> {
        if !self.spawns.is_empty() {
            return Some(Instant::now());
        }
        self.vmmd.next_deadline().and_then(|when| self.started.checked_add(when))
    }

    fn handle_inputs(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            for output in self.vmmd.handle(now(self.started), input) {
                self.carry_out(output);
            }
        }
    }

    fn note(&mut self, event: Event) {
        let input = match event {
            Event::Connected(client) => Input::Connected(ClientId(client.0)),
            Event::Frame(connection, frame) if self.console == Some(connection) => Input::ConsoleFrame(frame),
            Event::Frame(connection, frame) if self.events == Some(connection) => Input::LogFrame(frame),
            Event::Frame(client, frame) => Input::Frame(ClientId(client.0), frame),
            Event::Part(connection, part) if ![self.console, self.events].contains(&Some(connection)) => {
                let client = ClientId(connection.0);
                // The rest of a frame whose sender was turned away.
                if !self.server.is_open(connection) {
                    return;
                }
                match self.incoming.part(client, part, &mut self.images) {
                    Ok(Some(input)) => input,
                    Ok(None) => return,
                    Err(why) => {
                        self.log.warning(format_args!("client {}: {why}", client.0));
                        self.server.abort(connection);
                        Input::Closed(client)
                    }
                }
            }
            Event::Written(connection, _) => {
                let ended = self.sending.go_on(connection, &mut self.server);
                return self.done(ended);
            }
            Event::Ended(connection) if self.console == Some(connection) => {
                self.console = None;
                self.server.abort(connection);
                Input::ConsoleClosed
            }
            Event::Ended(connection) if self.events == Some(connection) => {
                self.events = None;
                self.server.abort(connection);
                Input::LogClosed
            }
            Event::Ended(client) => Input::Ended(ClientId(client.0)),
            Event::Closed(connection, _) if self.console == Some(connection) => {
                self.console = None;
                Input::ConsoleClosed
            }
            Event::Closed(connection, _) if self.events == Some(connection) => {
                self.events = None;
                Input::LogClosed
            }
            Event::Closed(client, reason) => {
                if !matches!(reason, CloseReason::Peer) {
                    self.log.warning(format_args!("client {}: {reason}", client.0));
                }
                self.incoming.forget(ClientId(client.0), &mut self.images);
                let ended = self.sending.forget(client);
                self.inputs.push_back(Input::Closed(ClientId(client.0)));
                return self.done(ended);
            }
            Event::Signal(Signal::SIGHUP) => return,
            Event::Signal(Signal::SIGUSR1) => {
                self.log.info(format_args!("SIGUSR1: ending, and leaving what runs to the next daemon"));
                Input::HandOver
            }
            Event::Signal(signal) => {
                self.log.info(format_args!("{signal}: ending"));
                Input::Terminate
            }
            Event::Source(event) if self.report.as_mut().is_some_and(|report| report.note(event)) => return,
            Event::Source(event) => return self.note_source(event),
            Event::AcceptFailed(error) => {
                return self.log.error(format_args!("cannot accept a client: {error}"));
            }
            _ => return,
        };
        self.inputs.push_back(input);
    }

    fn note_source(&mut self, SourceEvent { token, .. }: SourceEvent) {
        if token == self.waker_token {
            let answers = self.tenders.answers(self.log);
            self.inputs.extend(answers.into_iter().map(|(task, result)| Input::Done(task, result)));
            for answer in self.images.answers() {
                let done = match answer {
                    Answer::Done(task, result) => Some((task, result)),
                    Answer::Ready(task, file) => self.sending.ready(task, file, &mut self.server),
                };
                self.done(done);
            }
            for answer in self.blocks.answers() {
                self.take_back(answer);
            }
        } else if let Some(Some(ended)) = self.processes.ended(token, self.server.registry()) {
            let Ended { pid, exit, name } = ended;
            let ran_out = self.confinement.groups.ran_out(&name);
            self.inputs.extend(ran_out.then_some(Input::OutOfMemory { pid }));
            self.inputs.push_back(Input::Exited { pid, exit });
        }
    }

    fn done(&mut self, ended: Option<(TaskId, Result<Outcome, TaskFailure>)>) {
        self.inputs.extend(ended.map(|(task, result)| Input::Done(task, result)));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(client, message) => self.server.send(ConnectionId(client.0), &message),
            Output::Close(client) => {
                // What it has begun to send is of no use to anybody.
                self.incoming.forget(client, &mut self.images);
                self.server.close(ConnectionId(client.0));
            }
            Output::OpenSpool(spool) => self.images.open(spool),
            Output::FillSpool(spool, octets) => self.images.fill(spool, &octets),
            Output::DropSpool(spool) => self.images.drop_spool(spool),
            Output::EndStream(client) => self.blocks.end_stream(client),
            Output::ConnectConsole => {
                self.console = self.connect("console", &self.console_socket.clone());
                let there = self.console.is_some();
                self.inputs.push_back(if there { Input::ConsoleConnected } else { Input::ConsoleClosed });
            }
            Output::ConnectLog => {
                self.events = self.connect("log", &self.log_socket.clone());
                let there = self.events.is_some();
                self.inputs.push_front(if there { Input::LogConnected } else { Input::LogClosed });
            }
            Output::SendLog(message) => {
                if let Some(events) = self.events {
                    self.server.send(events, &message);
                }
            }
            Output::CloseLog => {
                if let Some(events) = self.events.take() {
                    self.server.abort(events);
                }
            }
            Output::SendConsole(message) => {
                if let Some(console) = self.console {
                    self.server.send(console, &message);
                }
            }
            Output::Task(id, task) => {
                if let Some(result) = self.task(id, task) {
                    self.inputs.push_back(Input::Done(id, result));
                }
            }
            Output::Kill(pid, signal) => {
                if let Err(error) = self.processes.kill(pid, signal) {
                    self.log.error(format_args!("cannot end process {pid}: {error}"));
                }
            }
            Output::LimitGroup(group) => {
                let limited = self.confinement.groups.limit(&group);
                self.report_group("limit", &group.name, limited);
            }
            Output::KillGroup(name) => self.report_group("kill", &name, self.confinement.groups.kill(&name)),
            Output::RemoveGroup(name) => {
                self.report_group("remove", &name, self.confinement.groups.remove(&name));
            }
            Output::Note(pid, note) => {
                if let Err(error) = self.processes.note(pid, &note) {
                    self.log.error(format_args!("cannot write {}: {error}", note.path.display()));
                }
            }
            Output::RemoveFile(path) => self.report(files::remove(&path)),
            Output::RemoveTap(tap) => self.report(net::remove_tap(&tap)),
            Output::TakeBackBlocks(files) => self.report(process::take_back_blocks(&files)),
            Output::Log(level, text) => self.log.log(level.into(), text),
            Output::StopListening => self.server.stop_listening(),
            Output::Exit => self.over = true,
            other => self.log.error(format_args!("the machine wants what this daemon cannot do: {other:?}")),
        }
    }

    /// Starts the first of the tenders that are to be started. While one is on its way, which is mostly waiting for
    /// the kernel, the next is begun.
    fn start_some(&mut self) {
        let some = self.spawns.len().min(STARTS);
        let spawns: Vec<_> = self.spawns.drain(..some).collect();
        let begun: Vec<_> = spawns.iter().map(|(_, spawn)| self.begin(spawn)).collect();
        for ((id, spawn), begun) in spawns.iter().zip(begun) {
            let registry = self.server.registry();
            let became =
                begun.and_then(|begun| self.processes.became(begun, &self.confinement, spawn, registry));
            self.inputs.push_back(Input::Done(*id, became.map(Outcome::Process)));
        }
        self.handle_inputs();
    }

    fn begin(&mut self, spawn: &Spawn) -> Result<Begun, TaskFailure> {
        let (token, needs) = (self.server.token(), self.tenders.needs(&spawn.tender));
        self.processes.begin(&self.confinement, spawn, needs, self.server.registry(), token)
    }

    /// Takes the connection of a client out of the loop, with the octets of frames that came already.
    fn take_out(&mut self, client: ClientId) -> Option<(Detached, Vec<u8>)> {
        let connection = match self.server.detach(ConnectionId(client.0)) {
            Ok(connection) => connection?,
            Err(error) => {
                self.log.warning(format_args!("client {}: {error}", client.0));
                return None;
            }
        };
        // The beginning of a frame that is no chunk; its length is with the connection.
        self.incoming.forget(client, &mut self.images);
        let mut came = Vec::new();
        let images = &mut self.images;
        self.inputs.retain(|input| match input {
            Input::Frame(from, octets) if *from == client => {
                came.extend(frame::frame(octets));
                false
            }
            Input::LargeFrame(from, _, spool) if *from == client => {
                images.drop_spool(*spool);
                // Longer than any chunk.
                came.extend([u8::MAX; frame::HEADER_LENGTH]);
                false
            }
            _ => true,
        });
        Some((connection, came))
    }

    /// A task about a block device is over.
    fn take_back(&mut self, blocks::Answer { task, result, back, last }: blocks::Answer) {
        if let Some((client, stream)) = back {
            match self.server.reattach(ConnectionId(client.0), stream, MAX_ENCODED) {
                // What its client asks for when it has this is heard when the task is known to be done.
                Ok(()) => self.server.send_frames(ConnectionId(client.0), &last),
                Err(error) => self.log.warning(format_args!("client {}: {error}", client.0)),
            }
        }
        self.inputs.push_back(Input::Done(task, result));
    }

    fn report_group(&self, what: &str, name: &Name, result: io::Result<()>) {
        if let Err(error) = result {
            self.log.error(format_args!("{name}: cannot {what} the control group of its tender: {error}"));
        }
    }

    fn report(&self, result: Result<(), TaskFailure>) {
        if let Err(TaskFailure(why)) = result {
            self.log.error(why);
        }
    }

    /// A connection to another daemon, if that is there.
    fn connect(&mut self, daemon: &str, socket: &Path) -> Option<ConnectionId> {
        let connected = mio::net::UnixStream::connect(socket)
            .and_then(|stream| self.server.add(UnixStream::from(OwnedFd::from(stream)), MAX_PEER_FRAME));
        connected
            .inspect_err(|error| {
                self.log.debug(format_args!("{daemon} daemon at {}: {error}", socket.display()));
            })
            .ok()
    }

    /// Carries out a task; `None` where the answer comes later.
    fn task(&mut self, id: TaskId, task: Task) -> Option<Result<Outcome, TaskFailure>> {
        let done = |result: Result<(), TaskFailure>| Some(result.map(|()| Outcome::Done));
        match task {
            Task::StoreImage { source, compressed, limit, expected } => {
                self.images.store(id, source, compressed, limit, expected);
                None
            }
            Task::InspectImage { path, digest } => {
                self.images.inspect(id, path, digest);
                None
            }
            Task::SendImage { client, header, path, level } => {
                self.sending.announce(id, ConnectionId(client.0), header, level > 0);
                self.images.prepare(id, path, level);
                None
            }
            Task::MakeBlock { file, content } => {
                self.blocks.make(id, file, content);
                None
            }
            Task::FillBlock { file, content } => {
                self.blocks.fill(id, file, content);
                None
            }
            Task::RemoveBlock { path } => {
                self.blocks.remove(id, path);
                None
            }
            Task::ReceiveBlock { client, begun, file, compressed } => {
                let Some((connection, came)) = self.take_out(client) else { return Some(client_is_gone()) };
                self.blocks.receive(id, client, connection, [begun, came].concat(), file, compressed);
                None
            }
            Task::SendBlock { client, header, file: place, level, form } => {
                let Some((connection, _)) = self.take_out(client) else { return Some(client_is_gone()) };
                self.blocks.send(id, client, connection, Wanted { header, place, level, form });
                None
            }
            Task::LookAtHost => {
                let looked = host::policy(&self.dbdir).map(Outcome::Host);
                let result = looked.map_err(|error| TaskFailure(error.to_string()));
                // Before whatever came from a client behind the command that waits for it.
                self.inputs.push_front(Input::Done(id, result));
                None
            }
            Task::FindTender { target, abi_version } => self.tenders.find(id, target, abi_version),
            Task::PlaceImage { from, to } => done(files::place(&from, &to)),
            Task::MakeFifo { path } => done(files::make_fifo(&path)),
            Task::MakeTap { bridge, owner } => Some(self.taps.make(&bridge, owner).map(Outcome::Tap)),
            Task::Spawn(spawn) => {
                self.spawns.push_back((id, spawn));
                None
            }
            Task::Persist { path, record } => done(self.record.replace(&path, &record)),
            Task::Append { path, entry } => done(self.record.append(&path, &entry)),
            _ => Some(Err(TaskFailure("this daemon cannot do that".to_owned()))),
        }
    }
}

fn client_is_gone() -> Result<Outcome, TaskFailure> {
    Err(TaskFailure("the client is gone".to_owned()))
}

/// Both clocks, the monotonic one since `started`.
fn now(started: Instant) -> Now {
    Now { monotonic: started.elapsed(), wall: wall_clock() }
}
