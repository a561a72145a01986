//! The console daemon's side: its connection with albatrossd, its fifos, and its subscribers, who know which
//! lines they must get.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use albatross_core::console::{Console, FifoId, Input, Output, PENDING_HIGH, RING_LINES};
use albatross_core::machine::ClientId;
use albatross_core::vmmd;
use albatross_proto::command::History;
use albatross_proto::frame::FrameReader;
use albatross_proto::{Command, ConsoleCommand, Data, Header, Int, Name, Payload, Success, Wire};

use crate::Sabotage;
use crate::host::{Host, Pipe};
use crate::script::{Kind, NAMES};
use crate::work::Pending;

/// Subscribers of one console.
const MAX_SUBSCRIBERS: usize = 2;
/// Octets that are read from a fifo at once: as the driver reads.
const READ: usize = 64 * 1024;
/// Connections of albatrossd to the console daemon are numbered from here.
const LINKS: usize = 1_000_000;

/// The connection between the two.
struct Link {
    id: ClientId,
    to_console: VecDeque<Vec<u8>>,
    to_vmmd: VecDeque<Vec<u8>>,
}

struct Reader {
    name: Name,
    pipe: usize,
    paused: bool,
    /// A writer was there since it was opened.
    writer_seen: bool,
    /// What was read of a line.
    partial: Vec<u8>,
}

struct Subscriber {
    name: Name,
    lines: i64,
    /// Which line of the name comes next; not known before the reply.
    next: Option<usize>,
    unread: usize,
    stalled: bool,
}

pub(crate) struct ConsoleSide {
    machine: Option<Console>,
    link: Option<Link>,
    /// albatrossd was not told that its connection is gone.
    pub(crate) lost: bool,
    readers: BTreeMap<FifoId, Reader>,
    subscribers: BTreeMap<ClientId, Subscriber>,
    /// All lines that were read of each name.
    logs: BTreeMap<Name, Vec<Vec<u8>>>,
    next: usize,
    spoilt: bool,
    /// It does nothing at all, and its connections stay.
    pub(crate) frozen: bool,
}

impl ConsoleSide {
    pub(crate) fn new() -> Self {
        Self {
            machine: Some(Console::new(MAX_SUBSCRIBERS)),
            link: None,
            lost: false,
            readers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            logs: BTreeMap::new(),
            next: 0,
            spoilt: false,
            frozen: false,
        }
    }

    /// Another one begins, which knows nothing.
    pub(crate) fn forget(&mut self) {
        *self = Self { next: self.next, ..Self::new() };
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.machine.as_ref().filter(|_| !self.frozen).and_then(Console::next_deadline)
    }

    pub(crate) fn pending(&self, pipes: &[Pipe], all: &mut Vec<Pending>) {
        all.extend(self.lost.then_some(Pending::LostLink));
        if let Some(link) = &self.link {
            all.extend((!link.to_console.is_empty() && !self.frozen).then_some(Pending::ToConsole));
            all.extend((!link.to_vmmd.is_empty()).then_some(Pending::FromConsole));
        }
        if self.frozen {
            return;
        }
        for (fifo, reader) in &self.readers {
            let pipe = &pipes[reader.pipe];
            let ended = pipe.writer.is_none() && (reader.writer_seen || !pipe.linked);
            if !reader.paused && (!pipe.octets.is_empty() || ended) {
                all.push(Pending::Read(*fifo));
            }
        }
        let takes = |subscriber: &Subscriber| subscriber.unread > 0 && !subscriber.stalled;
        let taking = self.subscribers.iter().filter(|(_, subscriber)| takes(subscriber));
        all.extend(taking.map(|(client, _)| Pending::Taken(*client)));
    }

    pub(crate) fn writer_came(&mut self, pipe: usize) {
        self.readers.values_mut().filter(|one| one.pipe == pipe).for_each(|one| one.writer_seen = true);
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.machine.is_some()
    }
}

impl Host {
    fn tell_console(&mut self, input: Input<'_>) {
        let now = self.clock();
        let Some(machine) = &mut self.console.machine else { return };
        for output in machine.handle(now, input) {
            if self.broken.is_some() {
                return;
            }
            match output {
                Output::Send { to, frames } => {
                    for client in to {
                        self.console_sent(client, &frames);
                    }
                }
                Output::Close(client) => {
                    if self.console.subscribers.remove(&client).is_none() {
                        self.broke(format!(
                            "the console closes {client:?}, which is none of its subscribers"
                        ));
                    }
                }
                Output::OpenFifo { fifo, name, open } => self.open_fifo(fifo, &name, open),
                Output::CloseFifo(fifo) => {
                    if self.console.readers.remove(&fifo).is_none() {
                        self.broke("the console closes a fifo that is not open");
                    }
                }
                Output::PauseFifo(fifo) => self.pause(fifo, true),
                Output::ResumeFifo(fifo) => self.pause(fifo, false),
                Output::Log(_) => {}
            }
        }
    }

    fn pause(&mut self, fifo: FifoId, paused: bool) {
        match self.console.readers.get_mut(&fifo) {
            Some(reader) => reader.paused = paused,
            None => self.broke("the console holds up a fifo that is not open"),
        }
    }

    pub(crate) fn tick_console(&mut self) {
        if self.console.next_deadline().is_some_and(|due| due <= self.now) {
            self.tell_console(Input::Tick);
        }
    }

    /// As `Host::open` of albatross-console: what the one before holds is read first.
    fn open_fifo(&mut self, fifo: FifoId, name: &Name, before: Option<FifoId>) {
        let path = self.config.tmpdir.join("fifo").join(name.to_string());
        for _ in 0..2 {
            let known = before.filter(|before| self.console.readers.contains_key(before));
            if let Some(before) = known {
                self.read_fifo(before);
            }
        }
        let pipe = self.fifos.get(&path).copied();
        let Some(pipe) = pipe.filter(|_| !self.fails(Kind::OpenFifo)) else {
            return self.tell_console(Input::FifoFailed(fifo, "no such file"));
        };
        let known = before.and_then(|before| self.console.readers.get(&before));
        if known.is_some_and(|reader| reader.pipe == pipe) {
            return self.tell_console(Input::FifoKept(fifo));
        }
        let writer_seen = self.pipes[pipe].writer.is_some();
        let reader = Reader { name: name.clone(), pipe, paused: false, writer_seen, partial: Vec::new() };
        self.console.readers.insert(fifo, reader);
        self.tell_console(Input::FifoOpened(fifo));
    }

    /// Reads once from a fifo.
    pub(crate) fn read_fifo(&mut self, fifo: FifoId) {
        let Some(reader) = self.console.readers.get_mut(&fifo) else { return };
        let pipe = &mut self.pipes[reader.pipe];
        let count = pipe.octets.len().min(READ);
        let octets: Vec<u8> = pipe.octets.drain(..count).collect();
        let log = self.console.logs.entry(reader.name.clone()).or_default();
        if octets.is_empty() {
            if pipe.writer.is_some() || pipe.linked && !reader.writer_seen {
                return;
            }
            self.console.readers.remove(&fifo);
            return self.tell_console(Input::FifoClosed(fifo));
        }
        reader.partial.extend_from_slice(&octets);
        while let Some(end) = reader.partial.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = reader.partial.drain(..=end).collect();
            log.push(line[..end].to_vec());
        }
        let mut octets = octets.as_slice();
        if self.sabotage == Some(Sabotage::LoseLine) && log.len() > 1 && !self.console.spoilt {
            self.console.spoilt = true;
            octets = &octets[octets.iter().position(|octet| *octet == b'\n').map_or(0, |end| end + 1)..];
        }
        if !octets.is_empty() {
            self.tell_console(Input::FifoBytes(fifo, octets));
        }
    }

    /// The console daemon sent something.
    fn console_sent(&mut self, client: ClientId, frames: &[u8]) {
        let (mut input, mut reader, mut messages) = (frames, FrameReader::new(1 << 24), Vec::new());
        while !input.is_empty() {
            messages.extend(reader.read(&mut input).unwrap());
        }
        if client.0 >= LINKS {
            if let Some(link) = self.console.link.as_mut().filter(|link| link.id == client) {
                link.to_vmmd.extend(messages);
            }
            return;
        }
        let Some(subscriber) = self.console.subscribers.get_mut(&client) else {
            return self.broke(format!("the console sends something to {client:?}, who is not there"));
        };
        subscriber.unread += frames.len();
        if subscriber.unread > 2 * PENDING_HIGH {
            let unread = subscriber.unread;
            return self.broke(format!("{unread} octets are kept for one subscriber"));
        }
        let is_first = subscriber.next.is_none();
        let empty = Vec::new();
        let log = self.console.logs.get(&subscriber.name).unwrap_or(&empty);
        let mut lines = Vec::new();
        for message in &messages {
            match Wire::decode(message).map(|wire| wire.payload) {
                Ok(Payload::Data(Data::Console { line, .. })) => lines.push(line.into_owned()),
                Ok(Payload::Success(Success::Text(_) | Success::Consoles(_)) | Payload::Failure(_)) => {}
                other => return self.broke(format!("the console sends {other:?}")),
            }
        }
        let begin = if is_first { log.len().checked_sub(lines.len()) } else { subscriber.next };
        let most = usize::try_from(subscriber.lines).unwrap_or(0).min(RING_LINES);
        let expected = begin.and_then(|begin| log.get(begin..begin + lines.len()));
        let counted = lines.len();
        if expected != Some(&lines[..]) || is_first && counted > most {
            let text = format!("a subscriber of {} got other lines than were read", subscriber.name);
            return self.broke(text);
        }
        subscriber.next = begin.map(|begin| begin + counted);
        self.counts.lines += u64::try_from(counted).unwrap();
    }

    pub(crate) fn subscribe(&mut self, name: usize, lines: i32) {
        let history = History::Count(Int::from(lines));
        self.console_client(NAMES[name], lines, ConsoleCommand::Subscribe(history));
    }

    pub(crate) fn list_inactive(&mut self) {
        self.console_client("alice:", 0, ConsoleCommand::ListInactive);
    }

    fn console_client(&mut self, name: &str, lines: i32, command: ConsoleCommand) {
        if !self.console.is_up() || self.console.frozen {
            return;
        }
        self.counts.command(if lines == 0 { "console-other" } else { "console-history" });
        let name: Name = name.parse().unwrap();
        self.console.next += 1;
        let client = ClientId(self.console.next);
        let subscriber =
            Subscriber { name: name.clone(), lines: lines.into(), next: None, unread: 0, stalled: false };
        self.console.subscribers.insert(client, subscriber);
        let message = Wire::new(Header::new(0, name), Payload::Command(Command::Console(command)));
        self.tell_console(Input::Frame(client, &message.encode().unwrap()));
        let answered = |subscriber: &Subscriber| subscriber.next.is_some();
        if self.console.subscribers.get(&client).is_some_and(|subscriber| !answered(subscriber)) {
            self.broke("a subscriber is not answered");
        }
    }

    fn subscriber(&self, choice: usize) -> Option<ClientId> {
        let all: Vec<ClientId> = self.console.subscribers.keys().copied().collect();
        (!all.is_empty()).then(|| all[choice % all.len()])
    }

    pub(crate) fn stall(&mut self, choice: usize) {
        let subscriber = self.subscriber(choice).and_then(|client| self.console.subscribers.get_mut(&client));
        if let Some(subscriber) = subscriber {
            subscriber.stalled = !subscriber.stalled;
        }
    }

    pub(crate) fn unsubscribe(&mut self, choice: usize, gone: bool) {
        let Some(client) = self.subscriber(choice).filter(|_| !self.console.frozen) else { return };
        if gone {
            self.console.subscribers.remove(&client);
            self.tell_console(Input::Closed(client));
        } else {
            self.tell_console(Input::Frame(client, b"any"));
        }
    }

    /// A subscriber reads.
    pub(crate) fn taken(&mut self, client: ClientId) {
        let Some(subscriber) = self.console.subscribers.get_mut(&client) else { return };
        let octets = std::mem::take(&mut subscriber.unread);
        self.tell_console(Input::Written(client, octets));
    }

    pub(crate) fn console_down(&mut self) {
        if !self.console.is_up() {
            return;
        }
        let lost = self.console.link.is_some() || self.console.lost;
        self.console.forget();
        self.console.machine = None;
        self.console.lost = lost;
    }

    pub(crate) fn console_up(&mut self) {
        if !self.console.is_up() {
            self.console.machine = Some(Console::new(MAX_SUBSCRIBERS));
        }
    }

    /// albatrossd is gone.
    pub(crate) fn close_link(&mut self) {
        self.console.lost = false;
        if let Some(link) = self.console.link.take() {
            self.tell_console(Input::Closed(link.id));
        }
    }

    pub(crate) fn connect_console(&mut self) {
        self.connects -= 1;
        if !self.console.is_up() || self.fails(Kind::Connect) {
            return self.give(vmmd::Input::ConsoleClosed);
        }
        if self.console.link.is_some() {
            return self.broke("there are two connections to the console daemon");
        }
        self.console.next += 1;
        let id = ClientId(LINKS + self.console.next);
        self.console.link = Some(Link { id, to_console: VecDeque::new(), to_vmmd: VecDeque::new() });
        self.give(vmmd::Input::ConsoleConnected);
    }

    pub(crate) fn send_console(&mut self, message: Vec<u8>) {
        if let Some(link) = &mut self.console.link {
            link.to_console.push_back(message);
        }
    }

    pub(crate) fn deliver_to_console(&mut self) {
        let Some(link) = &mut self.console.link else { return };
        if let (id, Some(message)) = (link.id, link.to_console.pop_front()) {
            self.tell_console(Input::Frame(id, &message));
        }
    }

    pub(crate) fn deliver_from_console(&mut self) {
        if let Some(message) = self.console.link.as_mut().and_then(|link| link.to_vmmd.pop_front()) {
            self.give(vmmd::Input::ConsoleFrame(message));
        }
    }

    /// All read again.
    pub(crate) fn wake_subscribers(&mut self) {
        self.console.subscribers.values_mut().for_each(|subscriber| subscriber.stalled = false);
    }

    /// What is not as it must be of the consoles where everything is done.
    pub(crate) fn check_consoles(&mut self) {
        let behind = self.console.subscribers.values().find(|subscriber| {
            let log = self.console.logs.get(&subscriber.name).map_or(0, Vec::len);
            subscriber.next != Some(log)
        });
        if let Some(subscriber) = behind {
            let name = subscriber.name.clone();
            return self.broke(format!("a subscriber of {name} was not sent all lines"));
        }
        let read = self.console.readers.values().filter(|reader| self.pipes[reader.pipe].linked).count();
        if self.console.readers.len() != read || read != self.processes.len() {
            let (readers, running) = (self.console.readers.len(), self.processes.len());
            self.broke(format!("the console has {readers} fifos open, and {running} tenders run"));
        }
    }
}
