//! The machine against a modelled host: files, fifos, taps and processes are sets, tasks are answered at
//! once unless a test makes them fail or holds them back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use albatross_proto::reply::{Exit, State as StatusState};
use albatross_proto::state::{Record, Tender};
use albatross_proto::{
    Arguments, Command, Config as UnikernelConfig, FailBehaviour, Header, Int, Name, NetDevice, Path,
    Payload, Policy, PolicyCommand, Success, Text, Time, Typ, UnikernelCommand, Wire,
};

use super::*;

mod block;
mod block_takeover;
mod bounds;
mod events;
mod found;
mod group;
mod host;
mod life;
mod measure;
mod state;
mod statistics;
mod strange;
mod takeover;
mod timing;

/// Images that can be looked at, see `testdata/images`.
const NO_DEVICES: &[u8] = include_bytes!("../../../testdata/images/spt-no-devices.elf");
const NET_SERVICE: &[u8] = include_bytes!("../../../testdata/images/spt-net-service.elf");

/// The host that the machine drives.
#[derive(Debug)]
struct Host {
    vmmd: Vmmd,
    /// What it offers when it is looked at again.
    host: Policy,
    now: Duration,
    files: BTreeMap<PathBuf, Vec<u8>>,
    fifos: BTreeSet<PathBuf>,
    taps: BTreeSet<String>,
    /// Control groups, where tenders get some.
    groups: BTreeMap<Name, Group>,
    processes: BTreeMap<u32, Vec<String>>,
    /// What is noted of tenders.
    notes: BTreeMap<PathBuf, (u32, Tender)>,
    record: Record,
    /// The file that the record is in.
    journal: Vec<u8>,
    /// The files of block devices.
    blocks: BTreeMap<PathBuf, Vec<u8>>,
    /// Those that belong to the user of a tender.
    lent: BTreeSet<PathBuf>,
    /// What clients stream, as it comes from their connections.
    streams: BTreeMap<ClientId, Vec<u8>>,
    /// Images on the way in.
    spools: BTreeMap<SpoolId, Vec<u8>>,
    /// Tasks that are held back, by a part of their Debug form.
    holding: Option<&'static str>,
    held_tasks: Vec<(TaskId, Task)>,
    next_pid: u32,
    next_tap: u32,
    next_client: usize,
    /// Replies and closings by client.
    replies: BTreeMap<ClientId, Vec<Payload<'static>>>,
    closed: BTreeSet<ClientId>,
    /// The kind of task that fails, by a part of its Debug form.
    failing: Option<&'static str>,
    /// Console commands are not answered.
    console_silent: bool,
    console_up: bool,
    held: Vec<Vec<u8>>,
    deaf: bool,
    /// What was sent to statistics daemons.
    statistics: BTreeMap<ClientId, Vec<Vec<u8>>>,
    killed: Vec<(u32, Signal)>,
    killed_groups: Vec<Name>,
    exited: bool,
    /// How often it was told to listen no more.
    stopped_listening: usize,
    /// What is in the daemon's own log.
    said: Vec<String>,
    log: events::LogDaemon,
}

fn host_policy() -> Policy {
    Policy {
        cpuids: [0, 1].map(Int::from).into(),
        unikernels: Int::MAX,
        memory: Int::from(1024),
        block: Some(Int::from(1000)),
        bridges: [Text::from("service")].into(),
    }
}

fn begin(record: Record, left: Left) -> Input {
    Input::Begin { host: host_policy(), record, seed: [3; 32], left }
}

fn policy(unikernels: i32, memory: i32) -> Policy {
    Policy { unikernels: Int::from(unikernels), memory: Int::from(memory), ..host_policy() }
}

impl Host {
    fn new() -> Self {
        Self::with_record(Record::default(), BTreeMap::new())
    }

    fn with_record(record: Record, files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut host = Self::unborn(files);
        host.record.clone_from(&record);
        host.input(begin(record, Left::default()));
        host
    }

    /// A host whose machine has not begun.
    fn unborn(files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let config = Config {
            tmpdir: "/run/albatross".into(),
            dbdir: "/var/lib/albatross".into(),
            drop_path: true,
            overcommit: Overcommit::default(),
        };
        Self {
            vmmd: Vmmd::new(config),
            host: host_policy(),
            now: Duration::from_secs(1),
            files,
            fifos: BTreeSet::new(),
            taps: BTreeSet::new(),
            groups: BTreeMap::new(),
            processes: BTreeMap::new(),
            notes: BTreeMap::new(),
            record: Record::default(),
            journal: Vec::new(),
            blocks: BTreeMap::new(),
            lent: BTreeSet::new(),
            streams: BTreeMap::new(),
            spools: BTreeMap::new(),
            holding: None,
            held_tasks: Vec::new(),
            next_pid: 100,
            next_tap: 0,
            next_client: 0,
            replies: BTreeMap::new(),
            closed: BTreeSet::new(),
            failing: None,
            console_silent: false,
            console_up: true,
            held: Vec::new(),
            deaf: false,
            statistics: BTreeMap::new(),
            killed: Vec::new(),
            killed_groups: Vec::new(),
            exited: false,
            stopped_listening: 0,
            said: Vec::new(),
            log: events::LogDaemon::default(),
        }
    }

    fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = Now {
                monotonic: self.now,
                wall: Time::from_unix(1_700_000_000 + i64::try_from(self.now.as_secs()).unwrap(), 0).unwrap(),
            };
            for output in self.vmmd.handle(now, input) {
                inputs.extend(self.carry_out(output));
            }
        }
        self.check();
    }

    /// Every tap, fifo, process and placed image belongs to what runs or is being started.
    fn check(&self) {
        for (name, unikernel) in &self.vmmd.unikernels {
            if let Some(running) = unikernel.running() {
                assert!(self.fifos.contains(&self.vmmd.config.fifo(name)), "{name} has its fifo");
                assert!(running.taps.iter().all(|tap| self.taps.contains(tap)), "{name} has its taps");
                let noted = self.notes.get(&self.vmmd.config.note(name));
                assert!(noted.is_some_and(|(pid, _)| *pid == running.pid), "{name} has its note");
            }
        }
        let busy = self
            .vmmd
            .unikernels
            .values()
            .filter(|u| !matches!(u.state, unikernel::State::Waiting { .. }))
            .count()
            + self.vmmd.strays.len();
        assert!(self.fifos.len() <= busy, "no fifo without an owner: {:?}", self.fifos);
        if busy == 0 {
            assert!(self.taps.is_empty(), "no tap without an owner: {:?}", self.taps);
            assert!(!self.files.keys().any(|path| path.extension().is_some()), "no image without an owner");
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Send(client, message) if self.statistics.contains_key(&client) => {
                self.statistics.entry(client).or_default().push(message);
            }
            Output::Send(client, message) => {
                let wire = Wire::decode(&message).unwrap();
                let payload = match wire.payload {
                    Payload::Success(Success::UnikernelImage { compressed, image }) => {
                        Payload::Success(Success::UnikernelImage {
                            compressed,
                            image: image.into_owned().into(),
                        })
                    }
                    Payload::Success(Success::Text(text)) => Payload::Success(Success::Text(text)),
                    Payload::Success(Success::Info(list)) => Payload::Success(Success::Info(list)),
                    Payload::Success(Success::Status(list)) => Payload::Success(Success::Status(list)),
                    Payload::Success(Success::Policies(list)) => Payload::Success(Success::Policies(list)),
                    Payload::Success(Success::BlockDevices(list)) => {
                        Payload::Success(Success::BlockDevices(list))
                    }
                    Payload::Failure(text) => Payload::Failure(text),
                    other => panic!("unexpected reply {other:?}"),
                };
                self.replies.entry(client).or_default().push(payload);
            }
            Output::Close(client) => assert!(self.closed.insert(client), "closed once"),
            Output::ConnectConsole if self.console_up => return Some(Input::ConsoleConnected),
            Output::ConnectConsole => return Some(Input::ConsoleClosed),
            Output::ConnectLog if self.log.up => return Some(Input::LogConnected),
            Output::ConnectLog => return Some(Input::LogClosed),
            Output::SendLog(message) => return self.log_got(message),
            Output::CloseLog => self.log.hung_up = true,
            Output::SendConsole(message) if self.console_silent => self.held.push(message),
            Output::SendConsole(message) => return Some(Input::ConsoleFrame(console_answer(&message))),
            Output::Task(id, task)
                if self.holding.is_some_and(|part| format!("{task:?}").starts_with(part)) =>
            {
                self.held_tasks.push((id, task));
            }
            Output::EndStream(client) => {
                self.streams.insert(client, Vec::new());
            }
            Output::OpenSpool(spool) => assert!(self.spools.insert(spool, Vec::new()).is_none()),
            Output::FillSpool(spool, octets) => self.spools.get_mut(&spool).unwrap().extend(octets),
            Output::DropSpool(spool) => assert!(self.spools.remove(&spool).is_some(), "dropped once"),
            Output::Task(id, task) => return Some(Input::Done(id, self.task(task))),
            Output::Kill(pid, signal) => {
                self.killed.push((pid, signal));
                if signal == Signal::Kill || !self.deaf {
                    let number = Int::from(if signal == Signal::Kill { 9 } else { 15 });
                    self.processes.remove(&pid).expect("kills what runs");
                    return Some(Input::Exited { pid, exit: Some(Exit::Signalled(number)) });
                }
            }
            Output::RemoveFile(path) => {
                let known = self.fifos.remove(&path)
                    | self.files.remove(&path).is_some()
                    | self.blocks.remove(&path).is_some()
                    | self.notes.remove(&path).is_some();
                assert!(known, "removes what is there: {path:?}");
            }
            Output::Note(pid, Note { path, tender }) => {
                assert!(self.processes.contains_key(&pid), "noted while it runs");
                self.notes.insert(path, (pid, tender));
            }
            Output::LimitGroup(group) => {
                assert!(self.groups.insert(group.name.clone(), group).is_some(), "limits one that is there");
            }
            Output::KillGroup(name) => self.killed_groups.push(name),
            Output::RemoveGroup(name) => {
                assert!(self.groups.remove(&name).is_some(), "removes a group that is there");
            }
            Output::RemoveTap(tap) => assert!(self.taps.remove(&tap), "removes a tap that is there"),
            Output::TakeBackBlocks(files) => {
                files.iter().for_each(|file| assert!(self.lent.remove(file), "is a tender's: {file:?}"));
            }
            Output::Log(_, text) => self.said.push(text),
            Output::StopListening => self.stopped_listening += 1,
            Output::Exit => self.exited = true,
        }
        None
    }

    fn task(&mut self, task: Task) -> Result<Outcome, TaskFailure> {
        if self.failing.is_some_and(|part| format!("{task:?}").starts_with(part)) {
            return Err(TaskFailure("the disk is on fire".to_owned()));
        }
        Ok(match task {
            Task::StoreImage { source, compressed, limit, expected } => {
                let sent = match source {
                    ImageSource::Octets(octets) => octets,
                    ImageSource::Spool(spool) => self.spools.remove(&spool).expect("the spool is there"),
                };
                self.store(&sent, compressed, limit, expected)?
            }
            Task::InspectImage { path, digest } => {
                let image = self.files.get(&path).ok_or_else(|| TaskFailure("gone".into()))?;
                if crate::image::digest(image) != digest {
                    return Err(TaskFailure("the image is damaged".to_owned()));
                }
                Outcome::Inspected(crate::image::inspect(image).map_err(|e| TaskFailure(e.to_string()))?)
            }
            Task::SendImage { client, header, path, level } => {
                let image = self.files.get(&path).ok_or_else(|| TaskFailure("gone".into()))?;
                let compressed = level > 0;
                let image = if compressed { crate::image::deflate(image, level) } else { image.clone() };
                assert_eq!(header.sequence, 0);
                let reply = Payload::Success(Success::UnikernelImage { compressed, image: image.into() });
                self.replies.entry(client).or_default().push(reply);
                Outcome::Done
            }
            Task::LookAtHost => Outcome::Host(self.host.clone()),
            Task::FindTender { .. } => Outcome::Tender("/bin/solo5-spt".into()),
            Task::PlaceImage { from, to } => {
                let image = self.files.get(&from).expect("the image is stored").clone();
                self.files.insert(to, image);
                Outcome::Done
            }
            Task::MakeFifo { path } => {
                self.fifos.insert(path);
                Outcome::Done
            }
            Task::MakeTap { .. } => {
                let tap = format!("vmmtap{}", self.next_tap);
                self.next_tap += 1;
                self.taps.insert(tap.clone());
                Outcome::Tap(tap)
            }
            Task::Spawn(spawn) => {
                self.next_pid += 1;
                let line = spawn.arguments.iter().map(|a| String::from_utf8(a.by_name()).unwrap()).collect();
                self.processes.insert(self.next_pid, line);
                self.lent.extend(spawn.user.map_or_else(Vec::new, |_| spawn.reach.blocks.clone()));
                if let Some(group) = spawn.group {
                    assert!(self.groups.insert(group.name.clone(), group).is_none(), "a group of its own");
                }
                self.notes.insert(spawn.note.path, (self.next_pid, spawn.note.tender));
                Outcome::Process(self.next_pid)
            }
            task @ (Task::MakeBlock { .. }
            | Task::FillBlock { .. }
            | Task::ReceiveBlock { .. }
            | Task::SendBlock { .. }
            | Task::RemoveBlock { .. }) => self.block_task(task)?,
            Task::Persist { record, .. } => {
                self.journal = record;
                self.journal_changed()
            }
            Task::Append { entry, .. } => {
                self.journal.extend(entry);
                self.journal_changed()
            }
        })
    }

    fn journal_changed(&mut self) -> Outcome {
        let crate::journal::Contents { record, torn: 0 } = crate::journal::read(&self.journal).unwrap()
        else {
            panic!("nothing is torn")
        };
        for (name, unikernel) in &record.unikernels {
            let path = self.vmmd.config.stored_image(&unikernel.digest);
            assert!(self.files.contains_key(&path), "{name} on record has its image");
        }
        self.record = record;
        Outcome::Done
    }

    fn store(
        &mut self,
        sent: &[u8],
        compressed: bool,
        limit: usize,
        expected: Option<[u8; 32]>,
    ) -> Result<Outcome, TaskFailure> {
        let mut intake = crate::image::Intake::new(compressed, limit, expected);
        let mut image = Vec::new();
        let keep = |octets: &[u8]| {
            image.extend_from_slice(octets);
            Ok::<_, ()>(())
        };
        let digest = intake.feed(sent, keep).unwrap().and_then(|()| intake.finish());
        let digest = digest.map_err(|e| TaskFailure(e.to_string()))?;
        let inspected = crate::image::inspect(&image).map_err(|e| TaskFailure(e.to_string()))?;
        self.files.insert(self.vmmd.config.stored_image(&digest), image);
        Ok(Outcome::Stored { digest, image: inspected })
    }

    fn send(&mut self, name: &str, command: Command<'_>) -> ClientId {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        self.input(Input::Connected(client));
        self.send_on(client, name, command);
        client
    }

    fn send_on(&mut self, client: ClientId, name: &str, command: Command<'_>) {
        let wire = Wire::new(Header::new(0, name.parse().unwrap()), Payload::Command(command));
        self.input(Input::Frame(client, wire.encode().unwrap()));
    }

    /// The one reply to a command.
    fn ask(&mut self, name: &str, command: Command<'_>) -> Payload<'static> {
        let client = self.send(name, command);
        self.reply(client)
    }

    fn reply(&mut self, client: ClientId) -> Payload<'static> {
        let replies = self.replies.remove(&client).unwrap_or_default();
        assert_eq!(replies.len(), 1, "answered exactly once: {replies:?}");
        replies.into_iter().next().unwrap()
    }

    fn create(&mut self, name: &str, arguments: Arguments) -> Payload<'static> {
        self.ask(name, create(arguments))
    }

    fn tick(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(deadline) = self.vmmd.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
        }
        self.now = until;
        self.input(Input::Tick);
    }

    fn exit(&mut self, code: i32) {
        let pid = *self.processes.keys().next().expect("one runs");
        self.processes.remove(&pid);
        self.input(Input::Exited { pid, exit: Some(Exit::Exited(Int::from(code))) });
    }

    fn command_line(&self) -> &[String] {
        self.processes.values().next().expect("one runs")
    }

    fn recorded(&self) -> Vec<String> {
        self.record.unikernels.iter().map(|(name, _)| name.to_string()).collect()
    }
}

fn console_answer(message: &[u8]) -> Vec<u8> {
    let Wire { header, .. } = Wire::decode(message).unwrap();
    Wire::new(header, Payload::Success(Success::Empty)).encode().unwrap()
}

fn create(arguments: Arguments) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Create(config(arguments)))
}

fn config(arguments: Arguments) -> UnikernelConfig<'static> {
    let image = if arguments.net_devices.is_empty() { NO_DEVICES } else { NET_SERVICE };
    UnikernelConfig { typ: Typ::Solo5, compressed: false, image: image.into(), arguments }
}

fn arguments() -> Arguments {
    Arguments::new()
}

fn with_net() -> Arguments {
    let net = NetDevice { name: Text::from("service"), bridge: None, mac: None };
    Arguments { net_devices: vec![net], ..Arguments::new() }
}

fn restarting() -> Arguments {
    Arguments { fail_behaviour: FailBehaviour::Restart(BTreeSet::new()), ..Arguments::new() }
}

fn said(text: &str) -> Payload<'static> {
    Payload::Success(Success::Text(Text::from(text)))
}

fn refused(payload: &Payload<'_>) -> String {
    match payload {
        Payload::Failure(text) => text.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

const DESTROY: Command<'static> = Command::Unikernel(UnikernelCommand::Destroy);
const INFO: Command<'static> = Command::Unikernel(UnikernelCommand::Info);
const RESTART: Command<'static> = Command::Unikernel(UnikernelCommand::Restart(None));

fn add(policy: Policy) -> Command<'static> {
    Command::Policy(PolicyCommand::Add(policy))
}
