//! Sequences of inputs to the machine of the console daemon.

use std::collections::BTreeSet;
use std::time::Duration;

use albatross_core::console::{Console, FifoId, Input, Output};
use albatross_core::machine::{ClientId, Now};
use albatross_proto::command::History;
use albatross_proto::frame::{FrameReader, MAX_MESSAGE};
use albatross_proto::{Command, ConsoleCommand, Header, Int, Name, Payload, Time, Wire};

/// What is left of the bytes that say what happens.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.octet()?).min(self.0.len());
        let (octets, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(octets)
    }

    fn name(&mut self) -> Option<Name> {
        const NAMES: [&str; 5] = [":a", "a:b", "a:c", "a:b:c", "a:"];
        let index = usize::from(self.octet()?) % NAMES.len();
        Some(NAMES[index].parse().unwrap())
    }
}

/// Runs the machine as the bytes say; whatever happens in whatever order, it sends nothing to who is gone,
/// and every message that it sends can be read.
pub fn console(bytes: &[u8]) -> bool {
    let mut host = Host {
        script: Script(bytes),
        machine: Console::new(2),
        gone: BTreeSet::new(),
        fifos: Vec::new(),
        millis: 0,
    };
    let mut steps = 0;
    while host.step().is_some() {
        steps += 1;
    }
    steps > 0
}

/// What is around the machine.
struct Host<'a> {
    script: Script<'a>,
    machine: Console,
    gone: BTreeSet<ClientId>,
    /// Those that the machine asked for and that were not closed.
    fifos: Vec<FifoId>,
    millis: u32,
}

impl Host<'_> {
    /// `None` when the script is at its end.
    fn step(&mut self) -> Option<()> {
        let kind = self.script.octet()?;
        let client = ClientId(usize::from(self.script.octet()? % 6));
        let fifo = usize::from(self.script.octet()?);
        let fifo = self.fifos.get(fifo % self.fifos.len().max(1)).copied().unwrap_or(FifoId(1000));
        self.millis += u32::from(self.script.octet()?);
        let command = |command: ConsoleCommand, name: Name| {
            Wire::new(Header::new(1, name), Payload::Command(Command::Console(command))).encode().unwrap()
        };
        let frame;
        let input = match kind % 9 {
            0 => {
                let limit = Int::from(i32::from(self.script.octet()?) - 1);
                frame = command(ConsoleCommand::Add(limit), self.script.name()?);
                Input::Frame(client, &frame)
            }
            1 => {
                let count = History::Count(Int::from(i32::from(self.script.octet()?) - 1));
                frame = command(ConsoleCommand::Subscribe(count), self.script.name()?);
                Input::Frame(client, &frame)
            }
            2 => {
                frame = command(ConsoleCommand::ListInactive, self.script.name()?);
                Input::Frame(client, &frame)
            }
            3 => Input::Frame(client, self.script.octets()?),
            4 => Input::Closed(client),
            5 => Input::Written(client, usize::from(self.script.octet()?) * 4096),
            6 => Input::FifoBytes(fifo, self.script.octets()?),
            7 => Input::FifoClosed(fifo),
            _ => Input::Tick,
        };
        self.handle(input);
        Some(())
    }

    fn handle(&mut self, input: Input<'_>) {
        match input {
            // A number that was closed and sends is another client.
            Input::Frame(client, _) => drop(self.gone.remove(&client)),
            Input::Closed(client) => drop(self.gone.insert(client)),
            Input::FifoClosed(closed) => self.fifos.retain(|fifo| *fifo != closed),
            _ => {}
        }
        let now = Now {
            monotonic: Duration::from_millis(u64::from(self.millis)),
            wall: Time::from_unix_millis(i64::from(self.millis)).unwrap(),
        };
        for output in self.machine.handle(now, input) {
            match output {
                Output::Send { to, frames } => self.sent(&to, &frames),
                Output::Close(client) => drop(self.gone.insert(client)),
                Output::CloseFifo(closed) => self.fifos.retain(|fifo| *fifo != closed),
                // Answered before anything else happens.
                Output::OpenFifo { fifo, open, .. } => match (self.script.octet().unwrap_or(0) % 3, open) {
                    (0, _) => self.handle(Input::FifoFailed(fifo, "no reason")),
                    (1, Some(_)) => self.handle(Input::FifoKept(fifo)),
                    (_, open) => {
                        self.fifos.retain(|other| Some(*other) != open);
                        self.fifos.push(fifo);
                        self.handle(Input::FifoOpened(fifo));
                    }
                },
                Output::PauseFifo(fifo) | Output::ResumeFifo(fifo) => {
                    assert!(self.fifos.contains(&fifo), "a fifo that is not open");
                }
                Output::Log(notice) => assert!(!notice.to_string().is_empty()),
            }
        }
    }

    fn sent(&self, to: &[ClientId], frames: &[u8]) {
        assert!(!to.is_empty());
        for client in to {
            assert!(!self.gone.contains(client), "sent to who is gone");
        }
        let mut rest = frames;
        let mut reader = FrameReader::new(MAX_MESSAGE);
        while !rest.is_empty() {
            if let Some(frame) = reader.read(&mut rest).expect("a short frame") {
                Wire::decode(&frame).expect("a message that can be read");
            }
        }
        assert!(!reader.is_partial(), "half a frame");
    }
}
