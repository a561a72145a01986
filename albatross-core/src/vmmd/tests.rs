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
mod measure;
mod state;
mod statistics;
mod strange;
mod takeover;

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
            Output::Log(..) | Output::StopListening => {}
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

#[test]
fn a_unikernel_is_created_shown_and_destroyed() {
    let mut host = Host::new();
    assert_eq!(host.create("foo:hello", with_net()), said("created unikernel"));
    assert_eq!(host.recorded(), ["foo:hello"]);
    assert_eq!(
        host.command_line(),
        [
            "--mem=32",
            "--net:service=vmmtap0",
            &mac_argument(),
            "--",
            "/run/albatross/foo:hello.img",
            "--name=hello"
        ]
    );
    let Payload::Success(Success::Info(list)) = host.ask("foo:", INFO) else { panic!() };
    assert_eq!(list.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), [":hello"]);
    assert_eq!(host.ask("foo:hello", DESTROY), said("destroyed unikernel"));
    assert!(
        host.recorded().is_empty()
            && host.processes.is_empty()
            && host.files.is_empty()
            && host.taps.is_empty()
    );
    assert_eq!(refused(&host.ask("foo:hello", DESTROY)), "unikernel foo:hello is not running");
}

fn mac_argument() -> String {
    let mac = crate::mac::derive(&Text::from("service"), &"foo:hello".parse().unwrap());
    format!("--net-mac:service={mac}")
}

#[test]
fn a_start_that_fails_at_any_step_leaves_nothing_behind() {
    for step in ["StoreImage", "FindTender", "PlaceImage", "MakeFifo", "MakeTap", "Persist", "Spawn"] {
        let mut host = Host::new();
        host.failing = Some(step);
        let why = refused(&host.create("foo:hello", with_net()));
        assert!(why.contains("fire"), "{step}: {why}");
        host.failing = None;
        assert!(host.vmmd.unikernels.is_empty(), "{step}");
        assert!(host.fifos.is_empty() && host.taps.is_empty() && host.processes.is_empty(), "{step}");
        // What is stored goes with the next record at the latest.
        assert_eq!(host.create("foo:other", arguments()), said("created unikernel"), "{step}");
        assert_eq!(host.ask("foo:other", DESTROY), said("destroyed unikernel"), "{step}");
        assert!(host.files.is_empty() && host.recorded().is_empty(), "{step}: {:?}", host.files.keys());
    }
}

#[test]
fn nonsense_is_refused_before_anything_is_made() {
    let mut host = Host::new();
    let no_memory = Arguments { memory: Int::from(-1), ..arguments() };
    let nul = Arguments { argv: Some(vec![Text::from("a\0b")]), ..arguments() };
    let no_cpu = Arguments { cpuids: BTreeSet::new(), ..arguments() };
    let foreign_cpu = Arguments { cpuids: [Int::from(7)].into(), ..arguments() };
    for bad in [no_memory, nul, no_cpu, foreign_cpu] {
        refused(&host.create("foo:hello", bad));
    }
    assert!(refused(&host.create("foo:", arguments())).contains("path used instead of name"));
    let deep = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(":");
    assert!(refused(&host.create(&deep, arguments())).contains("too long"));
    let garbage = UnikernelConfig { image: b"garbage".into(), ..config(arguments()) };
    refused(&host.ask("foo:hello", Command::Unikernel(UnikernelCommand::Create(garbage))));
    let bhyve = UnikernelConfig { typ: Typ::Bhyve, ..config(arguments()) };
    refused(&host.ask("foo:hello", Command::Unikernel(UnikernelCommand::Create(bhyve))));
    let unlisted = UnikernelConfig { arguments: with_net(), ..config(arguments()) };
    refused(&host.ask("foo:hello", Command::Unikernel(UnikernelCommand::Create(unlisted))));
    assert!(host.files.is_empty() && host.vmmd.unikernels.is_empty());
    host.input(Input::Connected(ClientId(900)));
    host.input(Input::Frame(ClientId(900), b"garbage".to_vec()));
    assert!(host.closed.contains(&ClientId(900)) && !host.replies.contains_key(&ClientId(900)));
}

#[test]
fn policies_hold_at_the_path_and_at_every_ancestor() {
    let mut host = Host::new();
    for path in ["alice:", "alice:bob:", "alice:charlie:"] {
        assert_eq!(host.ask(path, add(policy(2, 512))), said("added policy"));
    }
    assert_eq!(host.ask("alice:", add(policy(2, 512))), said("no modification of policy"));
    host.create("alice:bob:one", arguments());
    assert_eq!(host.create("alice:charlie:two", arguments()), said("created unikernel"));
    let why = refused(&host.create("alice:charlie:three", arguments()));
    assert!(why.contains("alice") && why.contains('2'), "{why}");
    let large = Arguments { memory: Int::from(2000), ..arguments() };
    refused(&host.create("dave:huge", large));
    assert_eq!(host.record.policies.len(), 3);
    let Payload::Success(Success::Policies(list)) = host.ask("alice:", Command::Policy(PolicyCommand::Info))
    else {
        panic!()
    };
    assert_eq!(list.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>(), [":", "charlie:", "bob:"]);
    assert_eq!(host.ask("alice:", Command::Policy(PolicyCommand::Remove)), said("removed policy"));
    assert_eq!(host.record.policies.len(), 2);
    refused(&host.ask("alice:", Command::Policy(PolicyCommand::Remove)));
}

#[test]
fn a_change_that_cannot_be_written_is_not_made() {
    let mut host = Host::new();
    host.failing = Some("Persist");
    assert!(refused(&host.ask("alice:", add(policy(2, 512)))).contains("fire"));
    host.failing = None;
    assert_eq!(host.vmmd.resources.policy(&"alice".parse::<Path>().unwrap()), None);
    assert_eq!(host.ask("alice:", add(policy(2, 512))), said("added policy"));
}

#[test]
fn several_commands_follow_an_accepted_policy_and_nothing_else() {
    let mut host = Host::new();
    let client = host.send("alice:", add(policy(2, 512)));
    assert!(!host.closed.contains(&client));
    host.send_on(client, "alice:hello", create(arguments()));
    assert_eq!(host.replies[&client], [said("added policy"), said("created unikernel")]);
    assert!(host.closed.contains(&client));
}

#[test]
fn exits_follow_the_fail_behaviour() {
    let mut host = Host::new();
    host.create(":once", arguments());
    host.exit(0);
    assert!(host.recorded().is_empty() && host.files.is_empty() && host.processes.is_empty());
    host.create(":again", restarting());
    for _ in 0..3 {
        host.exit(7);
        assert!(host.processes.is_empty(), "not at once");
        host.tick(60);
        assert_eq!(host.processes.len(), 1);
    }
    let Payload::Success(Success::Status(list)) = host.ask(":", Command::Unikernel(UnikernelCommand::Status))
    else {
        panic!()
    };
    assert_eq!(list[0].1.restarts, Int::from(3));
    assert_eq!(list[0].1.last_exit, Some(Exit::Exited(Int::from(7))));
    host.exit(1);
    assert!(host.recorded().is_empty(), "a tender's error is not tried again");
}

#[test]
fn what_waits_can_be_destroyed_and_restarted() {
    let mut host = Host::new();
    host.create(":again", restarting());
    host.exit(7);
    assert_eq!(host.ask(":again", RESTART), said("created unikernel"));
    host.exit(7);
    assert_eq!(host.ask(":again", DESTROY), said("destroyed: removed from restarting"));
    host.tick(100);
    assert!(host.processes.is_empty() && host.recorded().is_empty() && host.files.is_empty());
}

#[test]
fn a_unikernel_that_does_not_know_its_name_is_started_without() {
    let mut host = Host::new();
    host.create(":dance", arguments());
    assert_eq!(host.command_line().last().unwrap(), "--name=dance");
    host.exit(64);
    assert_eq!(host.command_line().last().unwrap(), "/run/albatross/:dance.img");
    assert!(!host.record.unikernels[0].1.config.arguments.add_name);
    host.exit(64);
    assert!(host.recorded().is_empty());
}

#[test]
fn force_create_replaces_and_restart_keeps_the_image() {
    let mut host = Host::new();
    host.ask("alice:", add(policy(1, 64)));
    host.create("alice:a", arguments());
    let forced = Command::Unikernel(UnikernelCommand::ForceCreate(config(Arguments {
        memory: Int::from(64),
        ..arguments()
    })));
    assert_eq!(host.ask("alice:a", forced), said("created unikernel"));
    assert_eq!((host.processes.len(), host.command_line()[0].as_str()), (1, "--mem=64"));
    let too_much = Arguments { memory: Int::from(65), ..arguments() };
    let restart = |arguments| Command::Unikernel(UnikernelCommand::Restart(Some(arguments)));
    refused(&host.ask("alice:a", restart(too_much.clone())));
    assert_eq!(host.processes.len(), 1, "what is refused goes on running");
    let forced = Command::Unikernel(UnikernelCommand::ForceCreate(config(too_much)));
    refused(&host.ask("alice:a", forced));
    assert_eq!(host.processes.len(), 1);
    let other = Arguments { argv: Some(vec![Text::from("--x")]), ..arguments() };
    assert_eq!(host.ask("alice:a", restart(other)), said("created unikernel"));
    assert_eq!(host.command_line().last().unwrap(), "--x");
    assert_eq!(host.ask("alice:a", RESTART), said("created unikernel"));
    assert_eq!(host.command_line().last().unwrap(), "--x");
    assert!(refused(&host.create("alice:a", arguments())).contains("exists"));
}

#[test]
fn a_tender_that_does_not_end_is_killed() {
    let mut host = Host::new();
    host.create(":deaf", arguments());
    host.deaf = true;
    let client = host.send(":deaf", DESTROY);
    let second = host.send(":deaf", DESTROY);
    assert!(refused(&host.ask(":deaf", RESTART)).contains("being stopped"));
    assert!(!host.replies.contains_key(&client));
    host.tick(GRACE.as_secs());
    assert_eq!(host.reply(client), said("destroyed unikernel"));
    assert_eq!(host.reply(second), said("destroyed unikernel"));
    assert_eq!(
        host.killed.iter().map(|(_, signal)| *signal).collect::<Vec<_>>(),
        [Signal::Terminate, Signal::Kill]
    );
}

#[test]
fn creates_need_the_console_daemon_and_running_ones_do_not() {
    let mut host = Host::new();
    host.create(":runs", arguments());
    host.console_up = false;
    host.input(Input::ConsoleClosed);
    assert!(refused(&host.create(":new", arguments())).contains("console"));
    assert_eq!(host.processes.len(), 1);
    host.console_up = true;
    host.tick(2);
    assert_eq!(host.create(":new", arguments()), said("created unikernel"));
}

#[test]
fn a_silent_or_lost_console_daemon_fails_the_start() {
    let mut host = Host::new();
    host.console_silent = true;
    let client = host.send(":a", create(arguments()));
    host.tick(CONSOLE_PATIENCE.as_secs());
    assert!(refused(&host.reply(client)).contains("did not answer"));
    let client = host.send(":a", create(arguments()));
    host.input(Input::ConsoleClosed);
    assert!(refused(&host.reply(client)).contains("went away"));
    // An answer that comes too late starts nothing.
    let late = console_answer(&host.held.pop().unwrap());
    host.input(Input::ConsoleFrame(late));
    assert!(host.processes.is_empty() && host.fifos.is_empty());
}

#[test]
fn what_is_destroyed_while_it_starts_does_not_start() {
    let mut host = Host::new();
    host.console_silent = true;
    let creator = host.send(":a", create(with_net()));
    let destroyer = host.send(":a", DESTROY);
    let answer = console_answer(&host.held.pop().unwrap());
    host.input(Input::ConsoleFrame(answer));
    assert!(refused(&host.reply(creator)).contains("destroyed"));
    assert_eq!(host.reply(destroyer), said("destroyed unikernel"));
    assert!(host.processes.is_empty() && host.recorded().is_empty());
}

#[test]
fn get_returns_the_image() {
    let mut host = Host::new();
    host.create(":a", arguments());
    let image = config(arguments()).image.into_owned();
    let get = |level| Command::Unikernel(UnikernelCommand::Get(Int::from(level)));
    let plain = Payload::Success(Success::UnikernelImage { compressed: false, image: image.clone().into() });
    assert_eq!(host.ask(":a", get(0)), plain);
    let Payload::Success(Success::UnikernelImage { compressed: true, image: small }) = host.ask(":a", get(9))
    else {
        panic!()
    };
    assert_eq!(crate::image::inflate(&small, 1 << 20).unwrap(), image);
    refused(&host.ask(":b", get(0)));
}

#[test]
fn the_end_frees_everything_and_the_next_begin_brings_it_back_by_priority() {
    let mut host = Host::new();
    let late = Arguments { startup: Some(Int::from(90)), ..restarting() };
    let first = Arguments { startup: Some(Int::ZERO), ..arguments() };
    host.create(":a-late", late);
    host.create(":b-middle", arguments());
    host.create(":c-first", first);
    host.ask("alice:", add(policy(2, 512)));
    host.input(Input::Terminate);
    assert!(host.exited && host.processes.is_empty() && host.fifos.is_empty());
    assert_eq!(host.recorded(), [":a-late", ":b-middle", ":c-first"]);
    let mut next = Host::with_record(host.record, host.files);
    let lines: Vec<&str> = next.processes.values().map(|line| line.last().unwrap().as_str()).collect();
    assert_eq!(lines, ["--name=c-first", "--name=b-middle", "--name=a-late"]);
    assert_eq!(next.ask("alice:", add(policy(2, 512))), said("no modification of policy"));
}

/// A thousand that were started at once kept the driver from clients for seconds.
#[test]
fn many_are_started_a_few_at_a_time_and_the_room_of_all_is_their_own() {
    const MANY: usize = 2 * MAX_RESTARTING + 1;
    let label = |number: usize| format!("x{:02}", MANY - number);
    let mut host = Host::new();
    let memory = 1024 / i32::try_from(MANY).unwrap();
    for number in 0..MANY {
        let startup = Some(Int::from(i32::try_from(number).unwrap()));
        let arguments = Arguments { memory: Int::from(memory), startup, ..arguments() };
        host.create(&format!(":{}", label(number)), arguments);
    }
    host.input(Input::Terminate);
    let mut next = Host::unborn(host.files);
    next.record.clone_from(&host.record);
    next.holding = Some("Spawn");
    next.input(begin(host.record, Left::default()));
    let mut started = Vec::new();
    loop {
        assert!(next.held_tasks.len() <= MAX_RESTARTING);
        assert!(
            refused(&next.create(":more", Arguments { memory: Int::from(memory), ..arguments() }))
                .contains("memory")
        );
        if next.held_tasks.is_empty() {
            break;
        }
        let (id, task) = next.held_tasks.remove(0);
        let result = next.task(task);
        started.push(next.processes.values().last().unwrap().last().unwrap().clone());
        next.input(Input::Done(id, result));
    }
    let names = (0..MANY).map(|number| format!("--name={}", label(number)));
    assert_eq!(started, names.collect::<Vec<_>>(), "by priority");
}

#[test]
fn what_cannot_be_started_stays_on_record_and_is_tried_again() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.input(Input::Terminate);
    let mut files = host.files.clone();
    let (path, image) = files.pop_first().unwrap();
    let mut next = Host::with_record(host.record, BTreeMap::new());
    assert!(next.processes.is_empty());
    let Payload::Success(Success::Status(list)) =
        next.ask(":a", Command::Unikernel(UnikernelCommand::Status))
    else {
        panic!()
    };
    assert!(matches!(&list[0].1.state, StatusState::Failed(why) if why.to_string().contains("gone")));
    assert_eq!(next.recorded(), [":a"]);
    next.files.insert(path.clone(), b"damaged".to_vec());
    next.tick(10);
    assert!(next.processes.is_empty(), "an image that is not the one on record is not run");
    next.files.insert(path, image);
    next.tick(120);
    assert_eq!(next.processes.len(), 1);
}

#[test]
fn names_that_look_like_paths_are_plain_file_names() {
    let mut host = Host::new();
    for name in [":.", ":..", "..:..", "a.b:c-d"] {
        assert_eq!(host.create(name, arguments()), said("created unikernel"));
        let name: Name = name.parse().unwrap();
        for path in [host.vmmd.config.fifo(&name), host.vmmd.config.image(&name)] {
            let file = path.file_name().unwrap().to_str().unwrap();
            assert!(!file.contains('/') && file != "." && file != "..");
            assert!(path.starts_with("/run/albatross") && !path.to_str().unwrap().contains("/../"));
        }
    }
}
