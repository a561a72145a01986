//! Sequences of inputs to the machine of the log daemon, and to what writes to it.

use std::collections::{BTreeMap, BTreeSet};

use albatross_core::eventlog::{Chain, LINK, Log, Reader};
use albatross_core::log::{
    EventLog, FileId, Input, MAX_UNANSWERED, MAX_WAITING, Opened, Output, Sender, SenderOutput,
};
use albatross_core::machine::ClientId;
use albatross_proto::command::History;
use albatross_proto::log::{Event, LogCommand, LogEntry};
use albatross_proto::{Command, Data, Header, Int, Name, Payload, Success, Time, Wire};

use crate::script::{Script, at, each_message};

/// Few names, so that they meet.
const NAMES: [&str; 6] = [":a", "a:b", "a:c", "a:b:c", "a:", ":"];

fn message(number: i64, name: Name, payload: Payload<'_>) -> Vec<u8> {
    Wire::new(Header::new(number, name), payload).encode().unwrap()
}

/// Runs the machine of the log daemon as the bytes say; whatever happens in whatever order, what it acknowledges is
/// in a file whose chain holds, each sees what is at his path and below, and nothing is sent to who is gone.
pub fn events(bytes: &[u8]) -> bool {
    let begin = Chain::begin([0; LINK]).1;
    let mut reader = Reader::new();
    reader.push(&begin, |_, _| {}).unwrap();
    let mut host = Host {
        script: Script(bytes),
        machine: EventLog::new(reader.finish().unwrap()),
        files: BTreeMap::from([(FileId(0), begin)]),
        current: FileId(0),
        subscribers: BTreeMap::new(),
        gone: BTreeSet::new(),
        acknowledged: BTreeSet::new(),
        written: Vec::new(),
        next: 0,
        millis: 0,
    };
    while host.step().is_some() {}
    while host.machine.is_busy() {
        host.handle(Input::Turn);
    }
    let numbers: BTreeSet<i64> = host.written.iter().copied().collect();
    assert!(host.acknowledged.is_subset(&numbers), "an event is acknowledged and not written");
    for file in host.files.values() {
        assert_eq!(Log::read(file).expect("the chain holds").torn, 0);
    }
    !host.acknowledged.is_empty()
}

/// What is around the machine.
struct Host<'a> {
    script: Script<'a>,
    machine: EventLog,
    files: BTreeMap<FileId, Vec<u8>>,
    current: FileId,
    subscribers: BTreeMap<ClientId, Name>,
    gone: BTreeSet<ClientId>,
    acknowledged: BTreeSet<i64>,
    written: Vec<i64>,
    next: i64,
    millis: u64,
}

impl Host<'_> {
    /// `None` when the script is at its end.
    fn step(&mut self) -> Option<()> {
        let kind = self.script.octet()?;
        let client = ClientId(usize::from(self.script.octet()? % 6));
        self.millis += u64::from(self.script.octet()?) * 16;
        let frame;
        let input = match kind % 9 {
            0..3 => {
                self.next += 1;
                let timestamp = Time::from_unix(i64::from(self.script.octet()?), 0).unwrap();
                let event = Event::UnikernelStarted(Int::new(self.next).unwrap());
                let data = Payload::Data(Data::Log(LogEntry { timestamp, event }));
                frame = message(self.next, self.script.name(&NAMES)?, data);
                Input::Frame(client, &frame)
            }
            3 => {
                let number = i64::from(self.script.octet()?);
                let history = match number % 2 {
                    0 => History::Count(Int::new(number / 2 - 1).unwrap()),
                    _ => History::Since(Time::from_unix(number, 0).unwrap()),
                };
                let name = self.script.name(&NAMES)?;
                self.subscribers.insert(client, name.clone());
                frame = message(0, name, Payload::Command(Command::Log(LogCommand(history))));
                Input::Frame(client, &frame)
            }
            4 => Input::Frame(client, self.script.octets()?),
            5 => Input::Closed(client),
            6 => Input::Written(client, usize::from(self.script.octet()?) * 256),
            7 => Input::Reopen,
            _ if kind.is_multiple_of(2) => Input::Tick,
            _ => Input::Turn,
        };
        self.handle(input);
        Some(())
    }

    fn handle(&mut self, input: Input<'_>) {
        match input {
            // A number that was closed and sends is another client.
            Input::Frame(client, _) => drop(self.gone.remove(&client)),
            Input::Closed(client) => drop(self.gone.insert(client)),
            _ => {}
        }
        for output in self.machine.handle(at(self.millis), input) {
            match output {
                Output::Send(client, frames) => self.sent(client, &frames),
                Output::Close(client) => drop(self.gone.insert(client)),
                Output::Append { position, octets } => self.append(position, &octets),
                Output::Read { client, file, position, length } => {
                    let position = usize::try_from(position).unwrap();
                    let octets = self.files[&file][position..position + length].to_vec();
                    self.handle(Input::Read(client, Ok(&octets)));
                }
                Output::Reopen { file, begin } => match self.script.octet().unwrap_or(0) % 3 {
                    0 => self.handle(Input::Opened(Err("no reason"))),
                    1 => self.handle(Input::Opened(Ok(Opened::Same))),
                    _ => {
                        let end = u64::try_from(begin.len()).unwrap();
                        self.files.insert(file, begin);
                        self.current = file;
                        self.handle(Input::Opened(Ok(Opened::New { end })));
                    }
                },
                Output::CloseFile(file) => {
                    assert!(file != self.current, "the file that is written is closed");
                    assert!(self.files.remove(&file).is_some(), "a file that is not open");
                }
                Output::Log(notice) => assert!(!notice.to_string().is_empty()),
            }
        }
    }

    fn append(&mut self, position: u64, octets: &[u8]) {
        let file = self.files.get_mut(&self.current).unwrap();
        assert_eq!(file.len(), usize::try_from(position).unwrap());
        if self.script.octet().unwrap_or(1).is_multiple_of(4) {
            return self.handle(Input::Appended(Err("no space left")));
        }
        file.extend(octets);
        for record in Log::read(file).expect("the chain holds").records {
            if let Event::UnikernelStarted(number) = record.entry.event {
                self.written.push(number.get());
            }
        }
        self.handle(Input::Appended(Ok(())));
    }

    fn sent(&mut self, client: ClientId, frames: &[u8]) {
        each_message(frames, |Wire { header, payload }| match payload {
            Payload::Success(Success::Empty) if header.sequence > 0 => {
                self.acknowledged.insert(header.sequence);
            }
            // Answers go to whoever sent the event; the driver knows whether he is there.
            Payload::Data(Data::Log(_)) => {
                assert!(!self.gone.contains(&client), "sent to who is gone");
                let asked = self.subscribers.get(&client).expect("somebody who subscribed");
                let sees = match asked.label() {
                    Some(_) => *asked == header.name,
                    None => header.name.path().is_within(asked.path()),
                };
                assert!(sees, "{} is shown to who asked for {asked}", header.name);
            }
            _ => {}
        });
    }
}

/// Runs the writing end as the bytes say: it keeps no more than it may, sends only while it is connected, and what is
/// given is in the end written or still there, but for what it had no room for.
pub fn sender(bytes: &[u8]) -> bool {
    let (mut script, mut sender) = (Script(bytes), Sender::new());
    let (mut millis, mut connected, mut sent) = (0, false, 0);
    while let (Some(kind), Some(number)) = (script.octet(), script.octet()) {
        millis += u64::from(number) * 16;
        let now = at(millis);
        match kind % 8 {
            0..3 => _ = sender.event(now, "a:b".parse().unwrap(), Event::DaemonStarted),
            3 => sender.tick(now),
            4 if connected => sender.frame(now, script.octets().unwrap_or_default()),
            5 | 6 if connected => {
                let failure = kind.is_multiple_of(2).then(|| Payload::Failure("no".into()));
                let payload = failure.unwrap_or(Payload::Success(Success::Empty));
                sender.frame(now, &message(i64::from(number), Name::root(), payload));
            }
            7 if connected => {
                connected = false;
                sender.closed(now);
            }
            _ => {}
        }
        loop {
            let outputs = sender.outputs();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                match output {
                    SenderOutput::Connect => {
                        assert!(!connected, "it is connected to twice");
                        connected = number % 2 == 0;
                        if connected { sender.connected(now) } else { sender.closed(now) }
                    }
                    SenderOutput::Send(message) => {
                        assert!(connected, "sent to nobody");
                        Wire::decode(&message).expect("a message that can be read");
                        sent += 1;
                    }
                    SenderOutput::Close => connected = false,
                    _ => {}
                }
            }
        }
        assert!(sender.unwritten() <= MAX_UNANSWERED + MAX_WAITING);
    }
    sent > 0
}
