//! Each rule of the console, by what the machine is told and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use albatross_proto::command::{History, UnikernelCommand};
use albatross_proto::frame::FrameReader;
use albatross_proto::{Command, ConsoleCommand, Data, Header, Int, Name, Payload, Success, Time, Wire};

use super::{Console, FifoId, HOLD, Input, MAX_CONSOLES, Notice, Output, PENDING_HIGH};
use crate::machine::{ClientId, Level, Now};

mod slow;

const DAEMON: ClientId = ClientId(0);

/// The console with clients that read at once, and fifos that open when they should.
struct Host {
    console: Console,
    now: Now,
    /// What was sent to each client and not looked at.
    sent: BTreeMap<ClientId, Vec<u8>>,
    /// Clients that do not take what is sent to them.
    stuck: BTreeSet<ClientId>,
    closed: BTreeSet<ClientId>,
    fifos: BTreeMap<FifoId, Name>,
    paused: BTreeSet<FifoId>,
    /// What opening a fifo is answered with.
    open: fn(FifoId) -> Input<'static>,
    notices: Vec<Notice>,
    next_client: usize,
}

impl Host {
    fn new() -> Self {
        Self {
            console: Console::new(5),
            now: Now { wall: Time::from_unix(1_000_000, 0).unwrap(), monotonic: Duration::ZERO },
            sent: BTreeMap::new(),
            stuck: BTreeSet::new(),
            closed: BTreeSet::new(),
            fifos: BTreeMap::new(),
            paused: BTreeSet::new(),
            open: Input::FifoOpened,
            notices: Vec::new(),
            next_client: 1,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        for output in self.console.handle(self.now, input) {
            match output {
                Output::Send { to, frames } => {
                    for client in to {
                        assert!(!self.closed.contains(&client), "sent to a closed connection");
                        self.sent.entry(client).or_default().extend_from_slice(&frames);
                        if !self.stuck.contains(&client) {
                            self.give(Input::Written(client, frames.len()));
                        }
                    }
                }
                Output::Close(client) => assert!(self.closed.insert(client), "closed twice"),
                Output::OpenFifo { fifo, name, .. } => {
                    let answer = (self.open)(fifo);
                    if matches!(answer, Input::FifoOpened(_)) {
                        self.fifos.insert(fifo, name);
                    }
                    self.give(answer);
                }
                Output::CloseFifo(fifo) => {
                    assert!(self.fifos.remove(&fifo).is_some());
                    self.paused.remove(&fifo);
                }
                Output::PauseFifo(fifo) => assert!(self.paused.insert(fifo)),
                Output::ResumeFifo(fifo) => assert!(self.paused.remove(&fifo)),
                Output::Log(notice) => self.notices.push(notice),
            }
        }
    }

    fn command(&mut self, client: ClientId, sequence: i64, name: &str, command: ConsoleCommand) {
        let header = Header::new(sequence, name.parse().unwrap());
        let bytes = Wire::new(header, Payload::Command(Command::Console(command))).encode().unwrap();
        self.give(Input::Frame(client, &bytes));
    }

    fn client(&mut self) -> ClientId {
        self.next_client += 1;
        ClientId(self.next_client)
    }

    /// `console add` of a unikernel, which succeeds.
    fn start(&mut self, name: &str, limit: i64) -> FifoId {
        self.command(DAEMON, 7, name, ConsoleCommand::Add(Int::new(limit).unwrap()));
        assert_eq!(self.seen(DAEMON), [format!("7 {name} empty")]);
        self.fifo(name)
    }

    fn fifo(&self, name: &str) -> FifoId {
        *self.fifos.iter().rev().find(|(_, other)| other.to_string() == name).unwrap().0
    }

    fn write(&mut self, fifo: FifoId, bytes: &[u8]) {
        self.give(Input::FifoBytes(fifo, bytes));
    }

    fn stop(&mut self, fifo: FifoId) {
        self.paused.remove(&fifo);
        self.fifos.remove(&fifo);
        self.give(Input::FifoClosed(fifo));
    }

    fn subscribe(&mut self, name: &str, count: i64) -> ClientId {
        let client = self.client();
        let history = History::Count(Int::new(count).unwrap());
        self.command(client, 3, name, ConsoleCommand::Subscribe(history));
        client
    }

    fn list(&mut self, path: &str) -> Vec<String> {
        let client = self.client();
        self.command(client, 0, path, ConsoleCommand::ListInactive);
        assert!(self.closed.contains(&client));
        self.seen(client)
    }

    /// What was sent to `client` since the last look, as text.
    fn seen(&mut self, client: ClientId) -> Vec<String> {
        let bytes = self.sent.remove(&client).unwrap_or_default();
        let (mut input, mut reader, mut seen) = (&bytes[..], FrameReader::new(usize::MAX), Vec::new());
        while !input.is_empty() {
            seen.extend(reader.read(&mut input).unwrap().map(|payload| show(&payload)));
        }
        assert!(!reader.is_partial());
        seen
    }

    fn wait(&mut self, time: Duration) {
        self.now.monotonic += time;
        if self.console.next_deadline().is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.give(Input::Tick);
        }
    }
}

fn show(payload: &[u8]) -> String {
    let Wire { header, payload } = Wire::decode(payload).unwrap();
    let what = match payload {
        Payload::Success(Success::Empty) => "empty".to_owned(),
        Payload::Success(Success::Text(text)) => format!("success {text}"),
        Payload::Success(Success::Consoles(names)) => {
            names.iter().map(Name::to_string).collect::<Vec<_>>().join(" ")
        }
        Payload::Failure(text) => format!("failure {text}"),
        Payload::Data(Data::Console { timestamp, line }) => {
            format!("{} {}", timestamp.unix_seconds(), String::from_utf8_lossy(&line))
        }
        other => panic!("{other:?}"),
    };
    format!("{} {} {what}", header.sequence, header.name)
}

#[test]
fn history_then_live_lines() {
    let mut host = Host::new();
    let fifo = host.start("foo:hello", 1);
    host.write(fifo, b"one\ntwo\n\nthr");
    let client = host.subscribe("foo:hello", 1);
    assert_eq!(host.seen(client), ["3 foo:hello success subscribed", "0 foo:hello 1000000 two"]);
    assert!(host.console.handle(host.now, Input::FifoBytes(fifo, b"")).is_empty(), "nothing to send");
    host.now.wall = Time::from_unix(1_000_001, 0).unwrap();
    host.write(fifo, b"ee\nfour\r\n");
    assert_eq!(host.seen(client), ["0 foo:hello 1000001 three", "0 foo:hello 1000001 four\r"]);
    let since = host.client();
    let time = Time::from_unix(1_000_001, 0).unwrap();
    host.command(since, 0, "foo:hello", ConsoleCommand::Subscribe(History::Since(time)));
    assert_eq!(host.seen(since).len(), 3);
    let none = host.subscribe("foo:hello", 0);
    assert_eq!(host.seen(none), ["3 foo:hello success subscribed"]);
}

#[test]
fn several_subscribers_get_the_same_and_the_oldest_makes_room() {
    let mut host = Host::new();
    let fifo = host.start(":a", 1);
    let clients: Vec<_> = (0..6).map(|_| host.subscribe(":a", 20)).collect();
    assert!(host.closed.contains(&clients[0]));
    assert!(host.notices.contains(&Notice::Displaced(clients[0], ":a".parse().unwrap())));
    host.write(fifo, b"line\n");
    for client in &clients[1..] {
        assert_eq!(host.seen(*client), ["3 :a success subscribed", "0 :a 1000000 line"]);
    }
    assert_eq!(host.seen(clients[0]), ["3 :a success subscribed"]);
}

#[test]
fn who_subscribes_before_the_start_waits() {
    let mut host = Host::new();
    let client = host.subscribe("foo:later", 20);
    assert_eq!(host.seen(client), ["3 foo:later success waiting for VM"]);
    assert_eq!(host.list(":"), ["0 : "]);
    let fifo = host.start("foo:later", 1);
    host.write(fifo, b"here\n");
    assert_eq!(host.seen(client), ["0 foo:later 1000000 here"]);
}

#[test]
fn a_subscription_ends_with_any_frame_or_with_the_connection() {
    let mut host = Host::new();
    let fifo = host.start(":a", 1);
    let (first, second) = (host.subscribe(":a", 0), host.subscribe(":a", 0));
    host.give(Input::Frame(first, b"anything"));
    assert!(host.closed.contains(&first));
    host.give(Input::Closed(second));
    host.write(fifo, b"line\n");
    assert_eq!(host.seen(first).len() + host.seen(second).len(), 2);
    // Nobody waits for it any more, so it is not kept.
    let client = host.subscribe("c:b", 0);
    assert!(host.console.rooms.get(&"c:b".parse().unwrap()).is_some());
    host.give(Input::Closed(client));
    assert!(host.console.rooms.get(&"c:b".parse().unwrap()).is_none());
    // As long as somebody does, it is.
    let (first, second) = (host.subscribe("d:c", 0), host.subscribe("d:c", 0));
    host.give(Input::Closed(first));
    let fifo = host.start("d:c", 1);
    host.write(fifo, b"line\n");
    assert_eq!(host.seen(second)[1..], ["0 d:c 1000000 line"]);
}

#[test]
fn lines_outlive_the_unikernel_and_go_on_with_the_next() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    let client = host.subscribe("foo:a", 0);
    host.write(fifo, b"first\nunfinished");
    host.stop(fifo);
    assert_eq!(host.list(":"), ["0 : foo:a"]);
    let fifo = host.start("foo:a", 1);
    assert_eq!(host.list(":"), ["0 : "]);
    host.write(fifo, b"second\n");
    let wanted = ["0 foo:a 1000000 first", "0 foo:a 1000000 unfinished", "0 foo:a 1000000 second"];
    assert_eq!(host.seen(client)[1..], wanted);
    let late = host.subscribe("foo:a", 99);
    assert_eq!(host.seen(late)[1..], wanted);
}

#[test]
fn inactive_consoles_are_listed_relative_to_the_path() {
    let mut host = Host::new();
    for name in [":top", "foo:a", "foo:bar:b", "foo:bar:c", "fooo:d"] {
        let fifo = host.start(name, 9);
        if name != "foo:bar:c" {
            host.stop(fifo);
        }
    }
    assert_eq!(host.list(":"), ["0 : :top foo:a foo:bar:b fooo:d"]);
    assert_eq!(host.list("foo:"), ["0 foo: :a bar:b"]);
    assert_eq!(host.list("foo:bar:"), ["0 foo:bar: :b"]);
    assert_eq!(host.list("foo:a"), ["0 foo:a failure name used"]);
}

#[test]
fn a_path_where_a_name_is_needed_is_a_failure() {
    let mut host = Host::new();
    host.command(DAEMON, 1, "foo:", ConsoleCommand::Add(Int::ONE));
    assert_eq!(host.seen(DAEMON), ["1 foo: failure path used instead of name"]);
    assert!(host.closed.is_empty(), "the connection of albatrossd stays open");
    host.start("foo:a", 1);
    let client = host.subscribe("foo:", 1);
    assert_eq!(host.seen(client), ["3 foo: failure path used instead of name"]);
    assert!(host.closed.contains(&client));
}

#[test]
fn a_fifo_that_cannot_be_opened_is_a_failure() {
    let mut host = Host::new();
    host.open = |fifo| Input::FifoFailed(fifo, "no such file");
    host.command(DAEMON, 1, "foo:a", ConsoleCommand::Add(Int::ONE));
    assert_eq!(host.seen(DAEMON), ["1 foo:a failure fifo cannot be opened: no such file"]);
    assert!(!host.closed.contains(&DAEMON));
    assert_eq!(host.list(":"), ["0 : "]);
    host.open = Input::FifoOpened;
    host.start("foo:a", 1);
}

#[test]
fn garbage_and_foreign_messages_close_the_connection() {
    let mut host = Host::new();
    let header = || Header::new(0, "foo:a".parse().unwrap());
    let foreign = Payload::Command(Command::Unikernel(UnikernelCommand::Info));
    let foreign = Wire::new(header(), foreign).encode().unwrap();
    let reply = Wire::new(header(), Payload::Success(Success::Empty)).encode().unwrap();
    for bytes in [&b""[..], b"\x30\x00", b"garbage", &foreign, &reply] {
        let client = host.client();
        host.give(Input::Frame(client, bytes));
        assert!(host.closed.contains(&client), "{bytes:?}");
        assert!(host.seen(client).is_empty());
    }
    assert_eq!(host.notices.len(), 5);
}

#[test]
fn a_path_keeps_as_many_consoles_as_the_last_add_said() {
    let mut host = Host::new();
    let a = host.start("foo:a", 2);
    let b = host.start("foo:b", 2);
    let watcher = host.subscribe("foo:b", 0);
    host.stop(b);
    host.stop(a);
    let c = host.start("foo:c", 2);
    // `b` has not run for longer than `a`, and takes its subscriber along.
    assert_eq!(host.list("foo:"), ["0 foo: :a"]);
    assert!(host.closed.contains(&watcher));
    // The running ones stay, even where they are too many.
    host.start("foo:d", 1);
    assert_eq!(host.list("foo:"), ["0 foo: "]);
    host.start("foo:e", 0);
    for name in ["foo:c", "foo:d", "foo:e"] {
        let client = host.subscribe(name, 0);
        assert_eq!(host.seen(client), [format!("3 {name} success subscribed")]);
    }
    // Another path has a number of its own.
    let other = host.start("bar:a", 1);
    host.stop(other);
    host.stop(c);
    assert_eq!(host.list(":"), ["0 : bar:a foo:c"]);
}

#[test]
fn a_path_that_only_subscribers_know_keeps_one_console() {
    let mut host = Host::new();
    let (first, second) = (host.subscribe("foo:a", 0), host.subscribe("foo:b", 0));
    assert!(host.closed.contains(&first) && !host.closed.contains(&second));
    // And one that is full of running ones keeps none that waits.
    host.start("foo:b", 1);
    let third = host.subscribe("foo:c", 0);
    assert!(host.closed.contains(&third) && !host.closed.contains(&second));
}

#[test]
fn who_has_waited_longest_goes_first() {
    let mut host = Host::new();
    host.start("foo:x", 3);
    let (first, second) = (host.subscribe("foo:b", 0), host.subscribe("foo:a", 0));
    let third = host.subscribe("foo:c", 0);
    assert!(host.closed.contains(&first));
    assert!(!host.closed.contains(&second) && !host.closed.contains(&third));
}

#[test]
fn consoles_are_bounded_altogether() {
    let mut host = Host::new();
    for number in 0..MAX_CONSOLES + 10 {
        let fifo = host.start(&format!(":u{number}"), Int::MAX.get());
        host.stop(fifo);
        host.notices.clear();
    }
    let listed = host.list(":").remove(0);
    assert_eq!(listed.split(' ').count() - 2, MAX_CONSOLES);
    assert!(!listed.contains(":u9 ") && listed.contains(":u10 "));
}

#[test]
fn adding_what_runs_already_loses_no_line_and_cuts_none() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    let client = host.subscribe("foo:a", 0);
    host.write(fifo, b"one\nhal");
    host.open = Input::FifoKept;
    host.command(ClientId(99), 1, "foo:a", ConsoleCommand::Add(Int::ONE));
    assert_eq!(host.seen(ClientId(99)), ["1 foo:a empty"]);
    host.write(fifo, b"f\n");
    assert_eq!(host.seen(client)[1..], ["0 foo:a 1000000 one", "0 foo:a 1000000 half"]);
}

#[test]
fn a_new_fifo_takes_the_place_of_the_old() {
    let mut host = Host::new();
    let old = host.start("foo:a", 1);
    let new = host.start("foo:a", 1);
    assert!(old != new && !host.fifos.contains_key(&old));
    host.write(old, b"nobody's\n");
    host.write(new, b"line\n");
    let client = host.subscribe("foo:a", 9);
    assert_eq!(host.seen(client)[1..], ["0 foo:a 1000000 line"]);
}

/// Whatever comes in whatever order: the assertions of [`Host::give`] hold, what is held is bounded, and who is
/// subscribed is known on both sides.
#[test]
fn any_order_of_events() {
    let names = ["foo:a", "foo:b", "foo:c", "bar:a", ":a"];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let mut host = Host::new();
    let block = [&[b'x'; 500][..], b"\n"].concat().repeat(100);
    for _ in 0..5_000 {
        let name = names[random(names.len())];
        let fifos: Vec<_> = host.fifos.keys().copied().filter(|fifo| !host.paused.contains(fifo)).collect();
        let clients: Vec<_> = host.console.subscribers.keys().copied().collect();
        match random(12) {
            0 => _ = host.start(name, i64::try_from(random(4)).unwrap()),
            1 => _ = host.subscribe(name, 1000),
            2 => _ = host.list(":"),
            3 if !fifos.is_empty() => host.stop(fifos[random(fifos.len())]),
            4 if !clients.is_empty() => host.give(Input::Closed(clients[random(clients.len())])),
            5 if !clients.is_empty() => host.give(Input::Frame(clients[random(clients.len())], b"x")),
            6 if !clients.is_empty() => _ = host.stuck.insert(clients[random(clients.len())]),
            7 if !clients.is_empty() => host.give(Input::Written(clients[random(clients.len())], 100_000)),
            8 => host.wait(HOLD / 2),
            _ if !fifos.is_empty() => host.write(fifos[random(fifos.len())], &block),
            _ => {}
        }
        host.sent.clear();
        let console = &host.console;
        let watching: usize = names
            .iter()
            .filter_map(|name| console.rooms.get(&name.parse().unwrap()))
            .map(|room| room.subscribers.len())
            .sum();
        assert_eq!(watching, console.subscribers.len());
        assert_eq!(console.holds.len(), host.paused.len());
        assert_eq!(console.fifos.len(), host.fifos.len());
        assert!(console.subscribers.values().all(|subscriber| subscriber.pending < 2 * PENDING_HIGH));
    }
}

/// The operator reads these: each names whom or what it is about, and what is wrong.
#[test]
fn notices_say_whom_they_are_about_and_what_is_wrong() {
    let (client, name) = (ClientId(7), "foo:one".parse::<Name>().unwrap());
    let undecodable = Wire::decode(b"nonsense").unwrap_err();
    let said = format!("client 7 sent no message: {undecodable}");
    let all: [(Notice, Level, &str); 9] = [
        (Notice::Undecodable(client, undecodable), Level::Warning, &said),
        (Notice::Unexpected(client), Level::Warning, "client 7 sent what no console understands"),
        (
            Notice::WrongName(client, name.clone()),
            Level::Warning,
            "client 7 used foo:one for a command that needs a name of the other kind",
        ),
        (Notice::Opened(name.clone()), Level::Info, "console of foo:one is read"),
        (
            Notice::NotOpened(name.clone(), "no such file".to_owned()),
            Level::Warning,
            "fifo of foo:one cannot be opened: no such file",
        ),
        (Notice::Ended(name.clone()), Level::Info, "console of foo:one ended"),
        (
            Notice::ConsoleDropped(name.clone()),
            Level::Info,
            "console of foo:one is dropped, its path may keep no more",
        ),
        (
            Notice::Displaced(client, name.clone()),
            Level::Info,
            "client 7 is no longer subscribed to foo:one: too many are",
        ),
        (
            Notice::TooSlow(client, name),
            Level::Warning,
            "client 7 is no longer subscribed to foo:one: it does not read what is sent",
        ),
    ];
    for (notice, level, text) in all {
        assert_eq!((notice.level(), notice.to_string().as_str()), (level, text));
    }
}
