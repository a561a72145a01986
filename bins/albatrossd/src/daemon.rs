//! The loop: what happens goes into the machine, what it wants is carried out.

mod outputs;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::influx::Address;
use albatross_core::vmmd::{CALLED, Config, Input, Outcome, Spawn, TaskFailure, TaskId, UserRange, Vmmd};
use albatross_driver::clock::Clock;
use albatross_driver::listener::{self, Listener};
use albatross_driver::logging::Logger;
use albatross_driver::notify::Notifier;
use albatross_driver::options::Common;
use albatross_driver::server::{CloseReason, Event, Server, SourceEvent};
use albatross_driver::signals::{Signal, Signals};
use albatross_driver::upstream::{Heard, Upstream};
use albatross_proto::frame::MAX_ENCODED;
use albatross_report::Report;
use mio::{Token, Waker};

use crate::blocks::{self, Blocks};
use crate::confine::Confinement;
use crate::images::{Answer, Images};
use crate::incoming::{Incoming, WHOLE};
use crate::net::Taps;
use crate::process::{Ended, Processes};
use crate::random::random;
use crate::record::RecordFile;
use crate::sending::Sending;
use crate::tender::Tenders;
use crate::{files, host, import, takeover};

/// The longest frame that the console or the log daemon sends here, in octets: a short text under a name.
const MAX_PEER_FRAME: usize = 64 * 1024;

/// How long the socket may be in use although no other daemon has the lock, and how often that is looked at:
/// a forked process needs a few milliseconds to end or to come to exec.
const SOCKET_PATIENCE: Duration = Duration::from_secs(1);
const SOCKET_INTERVAL: Duration = Duration::from_millis(5);

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
    let report = Report::new(influx, CALLED, &mut server)?;
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
        console: Upstream::new(listener::socket_path(&config.tmpdir, "console"), MAX_PEER_FRAME),
        event_log: Upstream::new(listener::socket_path(&config.tmpdir, "log"), MAX_PEER_FRAME),
        vmmd: match confinement.users {
            Some(range) => Vmmd::new(config).with_users(range),
            None => Vmmd::new(config),
        },
        server,
        clock: Clock::start(),
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
    report: Report,
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
    console: Upstream,
    event_log: Upstream,
    clock: Clock,
    /// Tenders that are to be started, a few in each turn of the loop.
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
            self.report.turn(&self.server, self.log, || self.vmmd.measurements());
            let next = self.next_turn().into_iter().chain(self.report.deadline()).min();
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
        self.clock.instant(self.vmmd.next_deadline())
    }

    fn handle_inputs(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            for output in self.vmmd.handle(self.clock.now(), input) {
                self.carry_out(output);
            }
        }
    }

    fn note(&mut self, event: Event) {
        if self.report.note(&event) {
            return;
        }
        let event = match self.console.event(&mut self.server, event) {
            Ok(Heard::Frame(frame)) => return self.inputs.push_back(Input::ConsoleFrame(frame)),
            Ok(Heard::Lost(_)) => return self.inputs.push_back(Input::ConsoleClosed),
            Err(event) => event,
        };
        let event = match self.event_log.event(&mut self.server, event) {
            Ok(Heard::Frame(frame)) => return self.inputs.push_back(Input::LogFrame(frame)),
            Ok(Heard::Lost(_)) => return self.inputs.push_back(Input::LogClosed),
            Err(event) => event,
        };
        let input = match event {
            Event::Connected(client) => Input::Connected(client.into()),
            Event::Frame(client, frame) => Input::Frame(client.into(), frame),
            Event::Part(client, part) => {
                // The rest of a frame whose sender was turned away.
                if !self.server.is_open(client) {
                    return;
                }
                match self.incoming.part(client.into(), part, &mut self.images) {
                    Ok(Some(input)) => input,
                    Ok(None) => return,
                    Err(why) => {
                        self.log.warning(format_args!("client {}: {why}", client.0));
                        self.server.abort(client);
                        Input::Closed(client.into())
                    }
                }
            }
            Event::Written(client, _) => {
                let ended = self.sending.go_on(client, &mut self.server);
                return self.done(ended);
            }
            Event::Ended(client) => Input::Ended(client.into()),
            Event::Closed(client, reason) => {
                if !matches!(reason, CloseReason::Peer) {
                    self.log.warning(format_args!("client {}: {reason}", client.0));
                }
                self.incoming.forget(client.into(), &mut self.images);
                let ended = self.sending.forget(client);
                self.inputs.push_back(Input::Closed(client.into()));
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
}
