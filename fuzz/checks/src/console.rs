//! Sequences of inputs to the machine of the console daemon.

use std::collections::BTreeSet;

use albatross_core::console::{Console, FifoId, Input, Output};
use albatross_core::machine::ClientId;
use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Header, Int, Name, Payload, Wire};

use crate::script::{Script, at, each_message};

/// Few names, so that they meet.
const NAMES: [&str; 5] = [":a", "a:b", "a:c", "a:b:c", "a:"];

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
    millis: u64,
}

impl Host<'_> {
    /// `None` when the script is at its end.
    fn step(&mut self) -> Option<()> {
        let kind = self.script.octet()?;
        let client = ClientId(usize::from(self.script.octet()? % 6));
        let fifo = usize::from(self.script.octet()?);
        let fifo = self.fifos.get(fifo % self.fifos.len().max(1)).copied().unwrap_or(FifoId(1000));
        self.millis += u64::from(self.script.octet()?);
        let command = |command: ConsoleCommand, name: Name| {
            Wire::new(Header::new(1, name), Payload::Command(Command::Console(command))).encode().unwrap()
        };
        let frame;
        let input = match kind % 9 {
            0 => {
                let limit = Int::from(i32::from(self.script.octet()?) - 1);
                frame = command(ConsoleCommand::Add(limit), self.script.name(&NAMES)?);
                Input::Frame(client, &frame)
            }
            1 => {
                let count = History::Count(Int::from(i32::from(self.script.octet()?) - 1));
                frame = command(ConsoleCommand::Subscribe(count), self.script.name(&NAMES)?);
                Input::Frame(client, &frame)
            }
            2 => {
                frame = command(ConsoleCommand::ListInactive, self.script.name(&NAMES)?);
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
        for output in self.machine.handle(at(self.millis), input) {
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
        each_message(frames, |_| ());
    }
}
