//! Each rule of the statistics daemon, by what the machine is told and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use albatross_proto::frame::FrameReader;
use albatross_proto::stats::{KinfoMem, Rusage};
use albatross_proto::{Int, Time};

use super::*;
use crate::machine::Level;

mod bounds;
mod slow;

const INTERVAL: Duration = Duration::from_secs(10);
const UNITS: Units = Units { ticks: 100, page: 4096 };

/// The machine with clients that read at once, albatrossd, and processes.
struct Host {
    stats: Stats,
    now: Now,
    /// What was sent to each client and not looked at.
    sent: BTreeMap<ClientId, Vec<u8>>,
    /// Clients that do not take what is sent to them.
    stuck: BTreeSet<ClientId>,
    closed: BTreeSet<ClientId>,
    notices: Vec<Notice>,
    /// The processes that there are, each with its start.
    processes: BTreeMap<u32, u64>,
    /// What is watched: which process, and its taps.
    watched: BTreeMap<WatchId, (u32, Vec<String>)>,
    /// The taps that there are.
    taps: BTreeSet<String>,
    gathers: usize,
    /// What reaching albatrossd is answered with.
    vmmd: Option<ClientId>,
    next_client: usize,
}

impl Host {
    fn new() -> Self {
        Self {
            stats: Stats::new(INTERVAL, UNITS),
            now: Now { wall: Time::from_unix(1_000_000, 0).unwrap(), monotonic: Duration::ZERO },
            sent: BTreeMap::new(),
            stuck: BTreeSet::new(),
            closed: BTreeSet::new(),
            notices: Vec::new(),
            processes: BTreeMap::new(),
            watched: BTreeMap::new(),
            taps: BTreeSet::new(),
            gathers: 0,
            vmmd: None,
            next_client: 100,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        for output in self.stats.handle(self.now, input) {
            match output {
                Output::Send { to, frames } => to.into_iter().for_each(|client| self.sent(client, &frames)),
                Output::Close(client) => assert!(self.closed.insert(client), "closed twice"),
                Output::ConnectVmmd => match self.vmmd {
                    Some(client) => self.give(Input::VmmdConnected(client)),
                    None => self.give(Input::VmmdUnreachable("no such file".to_owned())),
                },
                Output::Watch { watch, pid, taps } => match self.processes.get(&pid) {
                    Some(start) => {
                        assert!(self.watched.insert(watch, (pid, taps)).is_none());
                        let usage = usage(*start);
                        self.give(Input::Watched(watch, Box::new(usage), Duration::from_secs(100)));
                    }
                    None => self.give(Input::NotWatched(watch, "no such process".to_owned())),
                },
                Output::Unwatch(watch) => assert!(self.watched.remove(&watch).is_some(), "not watched"),
                Output::Gather => self.gather(),
                Output::Log(notice) => self.notices.push(notice),
            }
        }
    }

    fn sent(&mut self, client: ClientId, frames: &[u8]) {
        assert!(!self.closed.contains(&client), "sent to a closed connection");
        self.sent.entry(client).or_default().extend_from_slice(frames);
        if !self.stuck.contains(&client) {
            self.give(Input::Written(client, frames.len()));
        }
    }

    fn gather(&mut self) {
        self.gathers += 1;
        let tap = |name: &String| self.taps.contains(name).then(|| IfData { mtu: 1500, ..IfData::default() });
        let read = |(pid, taps): &(u32, Vec<String>)| Gathered {
            usage: self.processes.get(pid).map(|start| usage(*start)),
            interfaces: taps.iter().map(tap).collect(),
        };
        let all = self.watched.iter().map(|(watch, it)| (*watch, read(it))).collect();
        self.give(Input::Gathered(all));
    }

    fn command(&mut self, client: ClientId, name: &str, command: StatisticsCommand) {
        let header = Header::new(7, name.parse().unwrap());
        let wire = Wire::new(header, Payload::Command(Command::Statistics(command)));
        self.give(Input::Frame(client, &wire.encode().unwrap()));
    }

    fn add(&mut self, client: ClientId, name: &str, pid: u32) {
        self.command(client, name, add(pid));
    }

    fn subscribe(&mut self, name: &str) -> ClientId {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.command(client, name, StatisticsCommand::Subscribe);
        client
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(next) = self.stats.next_deadline().filter(|next| *next <= end) {
            self.now.monotonic = self.now.monotonic.max(next);
            self.give(Input::Tick);
        }
        self.now.monotonic = end;
    }

    /// What a client was sent since the last call, in short.
    fn seen(&mut self, client: ClientId) -> Vec<String> {
        let octets = self.sent.remove(&client).unwrap_or_default();
        let (mut reader, mut rest, mut seen) = (FrameReader::new(1 << 20), octets.as_slice(), Vec::new());
        while let Some(frame) = reader.read(&mut rest).unwrap() {
            let Wire { header, payload } = Wire::decode(&frame).unwrap();
            let told = match payload {
                Payload::Success(Success::Text(text)) => text.to_string(),
                Payload::Success(Success::Empty) => "yes".to_owned(),
                Payload::Failure(text) => format!("no: {text}"),
                Payload::Data(Data::Statistics(it)) => {
                    let bridges: Vec<String> = it.interfaces.iter().map(|it| it.bridge.to_string()).collect();
                    format!("{}s {}", it.rusage.utime.seconds, bridges.join(","))
                }
                Payload::Command(Command::Statistics(StatisticsCommand::Initial)) => "initial".to_owned(),
                other => panic!("{other:?}"),
            };
            seen.push(format!("{} {} {told}", header.sequence, header.name).trim_end().to_owned());
        }
        seen
    }
}

fn usage(start: u64) -> Usage {
    let utime = TimeVal { seconds: i64::try_from(start).unwrap(), microseconds: Int::ZERO };
    Usage { rusage: Rusage { utime, ..Rusage::default() }, memory: KinfoMem::default(), start }
}

fn add(pid: u32) -> StatisticsCommand {
    let network = vec![("service".into(), format!("vmmtap{pid}").as_str().into())];
    StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(pid), network }
}

const VMMD: ClientId = ClientId(1);
const CLIENT: ClientId = ClientId(2);

/// A machine to which albatrossd talks.
fn told() -> Host {
    let mut host = Host::new();
    host.vmmd = Some(VMMD);
    host.pass(Duration::ZERO);
    assert_eq!(host.seen(VMMD), ["0 : initial"]);
    let wire = Wire::new(Header::new(0, Name::root()), Payload::Success(Success::Empty));
    host.give(Input::Frame(VMMD, &wire.encode().unwrap()));
    host
}

#[test]
fn albatrossd_is_asked_for_ever_and_says_what_runs() {
    let mut host = Host::new();
    host.pass(Duration::from_secs(5));
    assert_eq!(host.notices, vec![Notice::VmmdUnreachable("no such file".to_owned()); 6]);
    host.vmmd = Some(VMMD);
    host.pass(RECONNECT);
    assert_eq!(host.seen(VMMD), ["0 : initial"]);
    // It is not asked again while it thinks.
    assert_eq!(host.stats.next_deadline(), None);
    let wire = Wire::new(Header::new(0, Name::root()), Payload::Success(Success::Empty));
    host.give(Input::Frame(VMMD, &wire.encode().unwrap()));
    host.processes.insert(10, 3);
    host.add(VMMD, "a:one", 10);
    host.command(VMMD, "a:two", StatisticsCommand::Remove);
    assert_eq!(host.seen(VMMD), ["7 a:one added", "7 a:two removed"]);
    // It goes: what is known stays, and it is looked for.
    host.give(Input::Closed(VMMD));
    assert_eq!(host.watched.len(), 1);
    assert_eq!(host.stats.next_deadline(), Some(host.now.monotonic + RECONNECT));
    host.vmmd = Some(ClientId(3));
    host.processes.clear();
    host.pass(RECONNECT);
    assert_eq!(host.seen(ClientId(3)), ["0 : initial"]);
    // What ended meanwhile is noticed although nobody is subscribed.
    host.give(Input::Frame(ClientId(3), &wire.encode().unwrap()));
    assert!(host.watched.is_empty());
    assert_eq!(host.notices.last(), Some(&Notice::Gone("a:one".parse().unwrap(), 10)));
}

#[test]
fn albatrossd_that_refuses_or_sends_nonsense_is_left_and_asked_again() {
    let answers = [
        Wire::new(Header::new(0, Name::root()), Payload::Failure("no".into())).encode().unwrap(),
        Wire::new(Header::new(0, Name::root()), Payload::Success(Success::Text("yes".into())))
            .encode()
            .unwrap(),
        b"nonsense".to_vec(),
    ];
    for answer in &answers {
        let mut host = Host::new();
        host.vmmd = Some(VMMD);
        host.pass(Duration::ZERO);
        host.give(Input::Frame(VMMD, answer));
        assert!(host.closed.contains(&VMMD));
        assert_eq!(host.stats.next_deadline(), Some(RECONNECT));
        let refused = Notice::VmmdRefused("no".into());
        assert_eq!(host.notices == [refused], *answer == answers[0], "{:?}", host.notices);
        assert_eq!(host.notices.len(), 1);
    }
    // So it is later, and is answered nothing: it asked nothing.
    let mut host = told();
    host.command(VMMD, ":", StatisticsCommand::Subscribe);
    assert!(host.closed.contains(&VMMD) && host.seen(VMMD).is_empty());
    assert_eq!(host.stats.next_deadline(), Some(RECONNECT));
}

#[test]
fn every_interval_each_subscriber_gets_what_is_under_his_name() {
    let mut host = told();
    for (name, pid) in [("a:one", 10), ("a:b:two", 11), ("c:three", 12), ("top", 13)] {
        host.processes.insert(pid, u64::from(pid));
        host.add(VMMD, name, pid);
    }
    host.taps.extend(["vmmtap10".to_owned(), "vmmtap12".to_owned()]);
    let (all, below, one, later) =
        (host.subscribe(":"), host.subscribe("a:"), host.subscribe("a:b:two"), host.subscribe("d:not-yet"));
    assert_eq!(host.seen(one), ["7 a:b:two subscribed"]);
    assert_eq!(host.seen(all), ["7 : subscribed"]);
    assert_eq!(host.seen(below), ["7 a: subscribed"]);
    assert_eq!(host.seen(later), ["7 d:not-yet subscribed"]);
    host.pass(INTERVAL - Duration::from_millis(1));
    assert_eq!(host.gathers, 0);
    host.pass(Duration::from_millis(1));
    // A tap that is not there is left out.
    let mut everything = host.seen(all);
    everything.sort();
    assert_eq!(everything, ["0 :top 13s", "0 a:b:two 11s", "0 a:one 10s service", "0 c:three 12s service"]);
    let mut under = host.seen(below);
    under.sort();
    assert_eq!(under, ["0 :one 10s service", "0 b:two 11s"]);
    assert_eq!(host.seen(one), ["0 :two 11s"]);
    assert!(host.seen(later).is_empty());
    host.processes.insert(14, 14);
    host.add(VMMD, "d:not-yet", 14);
    host.command(VMMD, "a:one", StatisticsCommand::Remove);
    host.pass(INTERVAL);
    assert_eq!(host.seen(later), ["0 :not-yet 14s"]);
    assert_eq!(host.seen(below), ["0 b:two 11s"]);
    // Everybody goes, and nothing wakes up.
    for client in [all, below, one, later] {
        host.give(Input::Closed(client));
    }
    assert_eq!(host.stats.next_deadline(), None);
}

#[test]
fn a_second_add_replaces_and_a_process_with_the_id_of_another_is_not_taken_for_it() {
    let mut host = told();
    host.processes.extend([(10, 5), (11, 6)]);
    host.add(VMMD, "a:one", 10);
    host.add(VMMD, "a:one", 11);
    assert_eq!(host.seen(VMMD), ["7 a:one added", "7 a:one added"]);
    assert_eq!(host.watched.values().map(|(pid, _)| *pid).collect::<Vec<_>>(), [11]);
    let client = host.subscribe(":");
    host.pass(INTERVAL);
    assert_eq!(host.seen(client), ["7 : subscribed", "0 a:one 6s"]);
    // Another process, the same id.
    host.processes.insert(11, 9);
    host.pass(INTERVAL);
    assert!(host.seen(client).is_empty() && host.watched.is_empty());
    host.add(VMMD, "a:one", 11);
    host.pass(INTERVAL);
    assert_eq!(host.seen(client), ["0 a:one 9s"]);
    host.processes.clear();
    host.pass(INTERVAL);
    assert!(host.seen(client).is_empty() && host.watched.is_empty());
}

/// What an albatrossd said that is gone may have been read late, when its process had ended and another had got the id.
#[test]
fn whom_the_next_albatrossd_does_not_name_is_let_go() {
    let mut host = told();
    host.processes.extend([(7, 70), (8, 80), (9, 90)]);
    for (name, pid) in [("a:b", 7), ("a:c", 8), ("a:d", 9)] {
        host.add(VMMD, name, pid);
    }
    let client = host.subscribe("a:");
    host.seen(client);
    host.vmmd = Some(CLIENT);
    host.give(Input::Closed(VMMD));
    host.pass(RECONNECT);
    let wire = Wire::new(Header::new(0, Name::root()), Payload::Success(Success::Empty));
    host.give(Input::Frame(CLIENT, &wire.encode().unwrap()));
    host.add(CLIENT, "a:b", 7);
    // This one cannot be opened again, and is still what it was.
    let start = host.processes.remove(&8).unwrap();
    host.add(CLIENT, "a:c", 8);
    host.processes.insert(8, start);
    host.seen(client);
    host.pass(INTERVAL);
    assert_eq!(host.seen(client), ["0 :b 70s", "0 :c 80s", "0 :d 90s"]);
    host.pass(SETTLE);
    host.seen(client);
    host.pass(INTERVAL);
    assert_eq!(host.seen(client), ["0 :b 70s", "0 :c 80s"]);
    assert_eq!(host.watched.len(), 2);
}

#[test]
fn what_cannot_be_watched_is_refused_in_words_and_the_connection_stays() {
    let mut host = told();
    host.add(VMMD, "a:gone", 10);
    host.command(
        VMMD,
        "a:one",
        StatisticsCommand::Add { vmmdev: "".into(), pid: Int::ZERO, network: Vec::new() },
    );
    let tap = |name: &str| vec![("service".into(), name.into())];
    for network in [tap(""), tap("a-name-of-sixteen")] {
        host.command(VMMD, "a:one", StatisticsCommand::Add { vmmdev: "".into(), pid: Int::ONE, network });
    }
    let seen = host.seen(VMMD);
    assert_eq!(seen[..2], ["7 a:gone no: process 10: no such process", "7 a:one no: 0 is no process id"]);
    assert!(seen[2..].iter().all(|text| text.contains("is no name of a network interface")), "{seen:?}");
    assert!(!host.closed.contains(&VMMD) && host.watched.is_empty());
    host.processes.insert(10, 1);
    host.add(CLIENT, "a:one", 10);
    assert_eq!(host.seen(CLIENT), ["7 a:one added"]);
}

#[test]
fn what_is_no_command_for_it_is_refused_and_closed() {
    let mut host = told();
    host.command(CLIENT, ":", StatisticsCommand::Initial);
    assert_eq!(host.seen(CLIENT), ["7 : no: unexpected command"]);
    assert!(host.closed.contains(&CLIENT));
    host.give(Input::Frame(ClientId(3), b"nonsense"));
    assert!(host.closed.contains(&ClientId(3)));
    let subscriber = host.subscribe(":");
    host.add(subscriber, "a:one", 10);
    assert_eq!(host.seen(subscriber), ["7 : subscribed"]);
    assert!(host.closed.contains(&subscriber) && host.stats.next_deadline().is_none());
}

#[test]
fn the_start_of_a_process_is_told_as_it_was_when_it_was_added() {
    let mut host = told();
    host.processes.insert(10, 2500);
    host.add(VMMD, "a:one", 10);
    let client = host.subscribe(":");
    host.now.wall = Time::from_unix(2_000_000, 0).unwrap();
    host.pass(INTERVAL);
    let octets = host.sent.remove(&client).unwrap();
    let (mut reader, mut rest, mut starts) = (FrameReader::new(1 << 20), octets.as_slice(), Vec::new());
    while let Some(frame) = reader.read(&mut rest).unwrap() {
        if let Payload::Data(Data::Statistics(it)) = Wire::decode(&frame).unwrap().payload {
            starts.push(it.kinfo_mem.unwrap().start.seconds);
        }
    }
    // Up since 100 s at 1 000 000, begun 25 s after.
    assert_eq!(starts, [999_925]);
}

/// The operator reads these: each names whom or what it is about, and what is wrong.
#[test]
fn notices_say_whom_they_are_about_and_what_is_wrong() {
    let (client, name) = (ClientId(7), "a:one".parse::<Name>().unwrap());
    let undecodable = Wire::decode(b"nonsense").unwrap_err();
    let said = format!("client 7 sent no message: {undecodable}");
    let all: [(Notice, Level, &str); 10] = [
        (Notice::Undecodable(client, undecodable), Level::Warning, &said),
        (Notice::Unexpected(client), Level::Warning, "client 7 sent what no statistics daemon understands"),
        (Notice::VmmdReached, Level::Info, "albatrossd says what runs"),
        (
            Notice::VmmdUnreachable("no such file".to_owned()),
            Level::Debug,
            "albatrossd cannot be reached: no such file",
        ),
        (Notice::VmmdRefused("no".into()), Level::Warning, "albatrossd does not say what runs: no"),
        (Notice::VmmdLost, Level::Warning, "the connection to albatrossd is gone"),
        (Notice::NotAdded(name.clone(), "why".to_owned()), Level::Warning, "a:one cannot be watched: why"),
        (Notice::Gone(name.clone(), 12), Level::Info, "process 12 of a:one is gone"),
        (
            Notice::Displaced(client, name.clone()),
            Level::Info,
            "client 7 is no longer subscribed to a:one: too many are",
        ),
        (Notice::TooMany(client), Level::Warning, "client 7 is not subscribed: too many are"),
    ];
    for (notice, level, text) in all {
        assert_eq!((notice.level(), notice.to_string().as_str()), (level, text));
    }
    let slow = Notice::TooSlow(client, name);
    assert_eq!(slow.to_string(), "client 7 is no longer subscribed to a:one: it does not read what is sent");
}
