//! The machine with a file in memory: what is to be written and read is done at once, unless a test fails it.

use std::collections::{BTreeMap, BTreeSet};

use albatross_proto::command::History;
use albatross_proto::frame::FrameReader;
use albatross_proto::log::Event;
use albatross_proto::{Int, Name, Text, Time};

use super::*;
use crate::eventlog::{BEGIN, Log, Reader};
use crate::machine::Level;

mod files;
mod slow;

struct Host {
    machine: EventLog,
    files: BTreeMap<FileId, Vec<u8>>,
    current: FileId,
    now: Duration,
    /// What each client was sent.
    got: BTreeMap<ClientId, Vec<Wire<'static>>>,
    /// Octets that a client has not taken.
    unread: BTreeMap<ClientId, usize>,
    /// Who takes nothing.
    deaf: BTreeSet<ClientId>,
    closed: BTreeSet<ClientId>,
    notices: Vec<Notice>,
    appends: usize,
    reads: usize,
    failing: bool,
    /// Writes are not answered.
    slow: bool,
    next_file: Option<Vec<u8>>,
}

impl Host {
    fn new() -> Self {
        Self::with(Chain::begin([0; LINK]).1)
    }

    fn with(file: Vec<u8>) -> Self {
        let mut reader = Reader::new();
        reader.push(&file, |_, _| {}).unwrap();
        Self {
            machine: EventLog::new(reader.finish().unwrap()),
            files: [(FileId(0), file)].into(),
            current: FileId(0),
            now: Duration::from_secs(1),
            got: BTreeMap::new(),
            unread: BTreeMap::new(),
            deaf: BTreeSet::new(),
            closed: BTreeSet::new(),
            notices: Vec::new(),
            appends: 0,
            reads: 0,
            failing: false,
            slow: false,
            next_file: None,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        let now = Now { monotonic: self.now, wall: Time::default() };
        for output in self.machine.handle(now, input) {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(client, frames) => {
                assert!(!self.closed.contains(&client), "sent to who is gone");
                let (mut input, mut reader) = (frames.as_slice(), FrameReader::new(1 << 20));
                while !input.is_empty() {
                    let frame = reader.read(&mut input).unwrap();
                    let wire = frame.map(|frame| {
                        let Wire { header, payload } = Wire::decode(&frame).unwrap();
                        let payload = match payload {
                            Payload::Success(Success::Empty) => Payload::Success(Success::Empty),
                            Payload::Failure(why) => Payload::Failure(why),
                            Payload::Data(Data::Log(entry)) => Payload::Data(Data::Log(entry)),
                            other => panic!("{other:?}"),
                        };
                        Wire::new(header, payload)
                    });
                    self.got.entry(client).or_default().extend(wire);
                }
                if self.deaf.contains(&client) {
                    *self.unread.entry(client).or_default() += frames.len();
                } else {
                    self.give(Input::Written(client, frames.len()));
                }
            }
            Output::Close(client) => assert!(self.closed.insert(client), "closed once"),
            Output::Append { position, octets } => {
                self.appends += 1;
                let file = self.files.get_mut(&self.current).unwrap();
                assert_eq!(file.len(), usize::try_from(position).unwrap());
                if self.failing {
                    return self.give(Input::Appended(Err("no space left")));
                }
                file.extend(octets);
                if !self.slow {
                    self.give(Input::Appended(Ok(())));
                }
            }
            Output::Read { client, file, position, length } => {
                self.reads += 1;
                let position = usize::try_from(position).unwrap();
                let octets = self.files[&file][position..position + length].to_vec();
                self.give(Input::Read(client, Ok(&octets)));
            }
            Output::Reopen { file, begin } => match self.next_file.take() {
                None => self.give(Input::Opened(Ok(Opened::Same))),
                Some(found) if found.is_empty() => {
                    let end = u64::try_from(begin.len()).unwrap();
                    self.files.insert(file, begin);
                    self.current = file;
                    self.give(Input::Opened(Ok(Opened::New { end })));
                }
                Some(found) => {
                    let mut reader = Reader::new();
                    if let Err(error) = reader.push(&found, |_, _| {}) {
                        return self.give(Input::Opened(Err(&error.to_string())));
                    }
                    self.files.insert(file, found);
                    self.current = file;
                    self.give(Input::Opened(Ok(Opened::Found(reader.finish().unwrap()))));
                }
            },
            Output::CloseFile(file) => {
                assert!(file != self.current && self.files.remove(&file).is_some());
            }
            Output::Log(notice) => self.notices.push(notice),
        }
    }

    fn settle(&mut self) {
        while self.machine.is_busy() {
            self.give(Input::Turn);
        }
    }

    fn event(&mut self, client: usize, number: i32, name: &str) {
        let entry = LogEntry {
            timestamp: Time::from_unix(i64::from(number), 0).unwrap(),
            event: Event::UnikernelStarted(Int::from(number)),
        };
        let header = Header::new(i64::from(number), name.parse().unwrap());
        let message = Wire::new(header, Payload::Data(Data::Log(entry))).encode().unwrap();
        self.give(Input::Frame(ClientId(client), &message));
    }

    fn subscribe(&mut self, client: usize, name: &str, history: History) {
        let command = Command::Log(LogCommand(history));
        let wire = Wire::new(Header::new(0, name.parse().unwrap()), Payload::Command(command));
        self.give(Input::Frame(ClientId(client), &wire.encode().unwrap()));
    }

    /// The numbers of the events that a client got, and their names.
    fn events(&self, client: usize) -> Vec<(i64, String)> {
        let got = self.got.get(&ClientId(client)).map_or(&[][..], Vec::as_slice);
        let event = |wire: &Wire<'_>| match &wire.payload {
            Payload::Data(Data::Log(LogEntry { event: Event::UnikernelStarted(number), .. })) => {
                Some((number.get(), wire.header.name.to_string()))
            }
            _ => None,
        };
        got.iter().filter_map(event).collect()
    }

    fn numbers(&self, client: usize) -> Vec<i64> {
        self.events(client).into_iter().map(|(number, _)| number).collect()
    }

    fn answers(&self, client: usize) -> Vec<(i64, Option<String>)> {
        let answer = |wire: &Wire<'_>| match &wire.payload {
            Payload::Success(Success::Empty) => Some((wire.header.sequence, None)),
            Payload::Failure(why) => Some((wire.header.sequence, Some(why.to_string()))),
            _ => None,
        };
        self.got.get(&ClientId(client)).map_or(&[][..], Vec::as_slice).iter().filter_map(answer).collect()
    }

    fn log(&self) -> Vec<i64> {
        let log = Log::read(&self.files[&self.current]).unwrap();
        assert_eq!((log.torn, log.link), (0, *self.machine.link()));
        let number = |record: &LogRecord| match record.entry.event {
            Event::UnikernelStarted(number) => number.get(),
            _ => 0,
        };
        log.records.iter().map(number).collect()
    }
}

fn count(number: i32) -> History {
    History::Count(Int::from(number))
}

#[test]
fn events_are_answered_when_they_are_durable_and_many_with_one_write() {
    let mut host = Host::new();
    for number in 1..=100 {
        host.event(usize::try_from(number % 3).unwrap(), number, "a:b");
    }
    assert!(host.got.is_empty() && host.machine.is_busy());
    host.settle();
    assert_eq!((host.appends, host.log()), (1, (1..=100).collect()));
    assert_eq!(host.answers(0).len() + host.answers(1).len() + host.answers(2).len(), 100);
    assert!(host.answers(1).iter().all(|(number, failure)| number % 3 == 1 && failure.is_none()));
    assert!(!host.machine.is_busy() && host.machine.next_deadline().is_none());
}

/// Else what is being written would be forgotten, and never answered.
#[test]
fn there_is_one_write_at_a_time() {
    let mut host = Host::new();
    host.slow = true;
    host.event(0, 1, ":a");
    host.give(Input::Turn);
    for number in 2..4 {
        host.event(0, number, ":a");
        assert!(!host.machine.is_busy(), "the disk is waited for");
        host.give(Input::Turn);
    }
    assert_eq!((host.appends, host.answers(0).len()), (1, 0));
    host.slow = false;
    host.give(Input::Appended(Ok(())));
    assert_eq!(host.answers(0), [(1, None)]);
    host.settle();
    assert_eq!((host.appends, host.log()), (2, vec![1, 2, 3]));
    assert_eq!(host.answers(0).len(), 3);
    // Nor is anything written while the file is being replaced.
    host.give(Input::Reopen);
    let now = Now { monotonic: host.now, wall: Time::default() };
    assert!(matches!(host.machine.handle(now, Input::Turn)[..], [Output::Reopen { .. }]));
    host.event(0, 4, ":a");
    assert!(!host.machine.is_busy());
    host.give(Input::Turn);
    assert_eq!(host.appends, 2);
    host.give(Input::Opened(Ok(Opened::Same)));
    host.settle();
    assert_eq!(host.log(), [1, 2, 3, 4]);
}

#[test]
fn what_is_not_written_is_answered_with_a_failure_and_the_chain_goes_on() {
    let mut host = Host::new();
    host.event(0, 1, ":a");
    host.settle();
    host.failing = true;
    for number in 2..5 {
        host.event(0, number, ":a");
        host.settle();
    }
    host.failing = false;
    host.event(0, 5, ":a");
    host.settle();
    assert_eq!(host.log(), [1, 5]);
    let failed: Vec<i64> =
        host.answers(0).into_iter().filter_map(|(number, why)| why.map(|_| number)).collect();
    assert_eq!(failed, [2, 3, 4]);
    // Once each, however many there were.
    assert_eq!(host.notices, [Notice::NotWritten("no space left".to_owned()), Notice::WritesAgain]);
}

#[test]
fn a_batch_has_a_limit_and_so_has_a_record() {
    let mut host = Host::new();
    let long = "x".repeat(60_000);
    let send = |host: &mut Host, text: &str, number| {
        let event = Event::Command { command: Text::from(text), failure: None };
        let entry = LogEntry { timestamp: Time::default(), event };
        let wire = Wire::new(Header::new(number, Name::root()), Payload::Data(Data::Log(entry)));
        host.give(Input::Frame(ClientId(0), &wire.encode().unwrap()));
    };
    for number in 0..40 {
        send(&mut host, &long, number);
    }
    host.settle();
    assert_eq!((host.appends, host.answers(0).len()), (3, 40));
    send(&mut host, &long.repeat(2), 40);
    assert!(host.answers(0)[40].1.as_ref().unwrap().contains("65536"));
}

#[test]
fn a_subscriber_sees_his_path_and_nothing_else() {
    let mut host = Host::new();
    let names = ["a:", "a:x", "a:b:y", "ab:z", ":a", "b:x"];
    for (number, name) in (1..).zip(names) {
        host.event(0, number, name);
    }
    host.settle();
    for (client, name) in [(1, ":"), (2, "a:"), (3, "a:x"), (4, "a:b:"), (5, "c:")] {
        host.subscribe(client, name, count(100));
    }
    host.settle();
    for (number, name) in (7..).zip(names) {
        host.event(0, number, name);
    }
    host.settle();
    for (client, wanted) in [
        (1, vec!["a:", "a:x", "a:b:y", "ab:z", ":a", "b:x"]),
        (2, vec!["a:", "a:x", "a:b:y"]),
        (3, vec!["a:x"]),
        (4, vec!["a:b:y"]),
        (5, vec![]),
    ] {
        let names: Vec<String> = host.events(client).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, [wanted.clone(), wanted].concat(), "client {client}");
    }
    assert_eq!(host.answers(5), [(0, None)]);
}

#[test]
fn history_is_by_count_or_time_and_what_comes_follows_without_a_gap() {
    let mut host = Host::new();
    // Times are numbers; one is earlier than those before it.
    for number in [1, 2, 3, 9, 4, 5] {
        host.event(0, number, if number == 3 { "b:x" } else { "a:x" });
    }
    host.settle();
    let since = |second| History::Since(Time::from_unix(second, 0).unwrap());
    for (client, history) in
        (1..).zip([count(2), count(99), count(0), count(-1), since(4), since(5), since(100), since(0)])
    {
        host.subscribe(client, "a:", history);
        host.settle();
    }
    host.event(0, 6, "a:x");
    host.settle();
    let wanted: [&[i64]; 8] =
        [&[4, 5, 6], &[1, 2, 9, 4, 5, 6], &[6], &[6], &[9, 4, 5, 6], &[5, 6], &[6], &[1, 2, 9, 4, 5, 6]];
    for (client, wanted) in (1..).zip(wanted) {
        assert_eq!(host.numbers(client), wanted, "client {client}");
    }
}

#[test]
fn a_long_history_is_read_in_steps_between_which_others_are_served() {
    let mut host = Host::new();
    for number in 1..=20_000 {
        host.event(0, number, "a:x");
    }
    host.settle();
    host.subscribe(1, ":", count(i32::MAX));
    // It is not read with one of these steps, nor with twenty.
    for turn in 1..=20 {
        host.event(0, 20_000 + turn, "b:x");
        host.give(Input::Turn);
        assert_eq!(host.answers(0).len(), 20_000 + usize::try_from(turn).unwrap());
        assert!(host.numbers(1).is_empty());
    }
    host.settle();
    let last = 20_020;
    let numbers = host.numbers(1);
    let first = numbers[0];
    assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
    assert!(last - first >= i64::try_from(MAX_HISTORY).unwrap() - 1, "{first}");
    assert!(first > 2000, "{first}");
}

#[test]
fn too_many_of_one_path_do_not_keep_others_away() {
    let mut host = Host::new();
    host.subscribe(0, ":", count(0));
    host.subscribe(1, "a:x", count(0));
    for client in 2..=MAX_SUBSCRIBERS + 10 {
        host.subscribe(client, "b:", count(0));
    }
    assert_eq!(host.closed, (2..=12).map(ClientId).collect());
    assert_eq!(host.notices.len(), 11);
    // Be they the first or the last by their name.
    let mut host = Host::new();
    host.subscribe(1, "b:x", count(0));
    for client in 2..=MAX_SUBSCRIBERS + 10 {
        host.subscribe(client, "a:", count(0));
    }
    assert_eq!(host.closed, (2..=11).map(ClientId).collect());
}

#[test]
fn what_is_no_message_of_the_log_ends_its_connection() {
    let mut host = Host::new();
    host.give(Input::Frame(ClientId(0), b"garbage"));
    let info = Wire::new(
        Header::new(0, Name::root()),
        Payload::Command(Command::Unikernel(albatross_proto::UnikernelCommand::Info)),
    );
    host.give(Input::Frame(ClientId(1), &info.encode().unwrap()));
    host.subscribe(2, ":", count(1));
    host.event(2, 1, ":a");
    host.subscribe(3, ":", count(1));
    host.give(Input::Closed(ClientId(3)));
    host.event(4, 2, ":a");
    host.settle();
    assert_eq!(host.closed, (0..3).map(ClientId).collect());
    assert_eq!(host.log(), [2], "what a subscriber sends is no event");
}

/// The operator reads these: each names whom or what it is about, and what is wrong.
#[test]
fn notices_say_whom_they_are_about_and_what_is_wrong() {
    let (client, name) = (ClientId(7), "alice:bob".parse::<Name>().unwrap());
    let link = [0xab; LINK];
    let hex = "ab".repeat(LINK);
    let undecodable = Wire::decode(b"nonsense").unwrap_err();
    let said = format!("client 7 sent no message: {undecodable}");
    let all = [
        (Notice::Undecodable(client, undecodable), Level::Warning, said),
        (
            Notice::Unexpected(client),
            Level::Warning,
            "client 7 sent what no event log understands".to_owned(),
        ),
        (
            Notice::NotWritten("no space left".to_owned()),
            Level::Error,
            "events are not written: no space left".to_owned(),
        ),
        (Notice::WritesAgain, Level::Warning, "events are written again".to_owned()),
        (
            Notice::NotRead(client, "gone".to_owned()),
            Level::Warning,
            "client 7 is no longer subscribed: the file cannot be read: gone".to_owned(),
        ),
        (
            Notice::TooSlow(client, name.clone()),
            Level::Warning,
            "client 7 is no longer subscribed to alice:bob: it does not read what is sent".to_owned(),
        ),
        (
            Notice::Displaced(client, name),
            Level::Info,
            "client 7 is no longer subscribed to alice:bob: too many are".to_owned(),
        ),
        (
            Notice::Rotated(link),
            Level::Info,
            format!("a new file was begun; the one before ends with link {hex}"),
        ),
        (
            Notice::OtherFile(link),
            Level::Warning,
            format!(
                "the file was replaced by another one, which is gone on with after link {hex}; it does not go on \
                 from the one before"
            ),
        ),
        (Notice::SameFile, Level::Info, "the file was not replaced".to_owned()),
        (
            Notice::NotReopened("full".to_owned()),
            Level::Error,
            "the file that is there now cannot be used, the one before goes on: full".to_owned(),
        ),
    ];
    for (notice, level, text) in all {
        assert_eq!((notice.level(), notice.to_string()), (level, text));
    }
}
