//! The console daemon's rules: what is kept of each unikernel's output, and who receives it.
//!
//! The machine ([`Console`]) is told what happens ([`Input`]) and says what is to be done ([`Output`]). It
//! holds no descriptor and knows no clock. It follows docs/protocol.md, "Console".
//!
//! * Lines are cut at LF, at most [`LINE_LENGTH`] octets of each are kept, empty ones are left out; the
//!   newest [`RING_LINES`] of each unikernel are kept, also while it does not run.
//! * A path keeps as many consoles as the last `console add` there said; beyond them one whose unikernel
//!   does not run goes, with its subscribers.
//! * A subscriber holds up nobody. Where more than [`PENDING_HIGH`] octets wait for one, its guest is read
//!   no further until that subscriber has taken them. It goes when it takes nothing for [`HOLD`], or has
//!   not caught up after [`HOLD_MOST`]. So one that does not read costs its guest a quarter of a second once, a
//!   flood is paced for those who can follow it at 1 MB/s or so, and memory is bounded: per subscriber to [`PENDING_HIGH`] and what one read of
//!   the fifo makes, per console to [`RING_LINES`] lines.
//!
//! A connection may send several `console add`: albatrossd keeps one for all. It stays open whatever the
//! answer is. Any other command is the last of its connection.

mod lines;
mod messages;
mod ring;
mod rooms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use albatross_proto::command::History;
use albatross_proto::{
    Command, ConsoleCommand, Data, Header, Int, Name, Payload, Success, Time, Wire, frame,
};

use crate::machine::{ClientId, Now};
use lines::Lines;
pub use messages::{FifoId, Input, Notice, Output};

pub use lines::{LINE_LENGTH, TRUNCATED};
pub use ring::RING_LINES;
use rooms::{Room, Rooms};

/// Octets that may wait for one subscriber before its guest is read no further: more than a whole history
/// of the longest lines (some 600 KiB), so that asking for it is not held against anyone.
pub const PENDING_HIGH: usize = 1024 * 1024;

/// When no more octets than these wait for any of its subscribers, a guest is read again.
pub const PENDING_LOW: usize = 256 * 1024;

/// How long a guest is held up for a subscriber that takes nothing, before that subscriber goes. A socket
/// says that it has room again only when most of its 200 KiB are read; a reader at 1 MB/s that
/// shares its processor with others needs this long.
pub const HOLD: Duration = Duration::from_millis(250);

/// How long a guest is held up at most for subscribers that do take something, before they go.
pub const HOLD_MOST: Duration = Duration::from_secs(2);

/// Consoles kept altogether. Beyond them the one goes that has not run for longest; the root path alone
/// would allow any number. With the longest lines they take 2 GiB, with lines of 30 octets 200 MiB.
pub const MAX_CONSOLES: usize = 4096;

/// The console daemon.
#[derive(Debug)]
pub struct Console {
    max_subscribers: usize,
    rooms: Rooms,
    subscribers: HashMap<ClientId, Subscriber>,
    fifos: HashMap<FifoId, Fifo>,
    opening: HashMap<FifoId, Opening>,
    /// The consoles whose guests are held up.
    holds: BTreeMap<Name, Hold>,
    next_fifo: u64,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Subscriber {
    header: Header,
    /// Octets that wait to be written.
    pending: usize,
    /// Whether some were written since its guest was last looked at.
    moves: bool,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    /// When to look who has taken something.
    look: Duration,
    /// When it ends.
    end: Duration,
}

#[derive(Debug)]
struct Fifo {
    name: Name,
    lines: Lines,
}

/// A `console add` that waits for its fifo.
#[derive(Debug)]
struct Opening {
    client: ClientId,
    header: Header,
    limit: Int,
}

impl Console {
    /// A console without any history, that serves at most `max_subscribers` (at least one) of each
    /// unikernel.
    #[must_use]
    pub fn new(max_subscribers: usize) -> Self {
        Self {
            max_subscribers: max_subscribers.max(1),
            rooms: Rooms::default(),
            subscribers: HashMap::new(),
            fifos: HashMap::new(),
            opening: HashMap::new(),
            holds: BTreeMap::new(),
            next_fifo: 0,
            outputs: Vec::new(),
        }
    }

    /// Takes in what happened and returns what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Vec<Output> {
        match input {
            Input::Frame(client, payload) => self.frame(client, payload),
            Input::Closed(client) => self.unsubscribe(client),
            Input::Written(client, octets) => self.written(client, octets),
            Input::FifoOpened(fifo) => self.fifo_opened(fifo),
            Input::FifoKept(fifo) => self.fifo_kept(fifo),
            Input::FifoFailed(fifo, why) => self.fifo_failed(fifo, why),
            Input::FifoBytes(fifo, bytes) => self.fifo_bytes(now, fifo, bytes),
            Input::FifoClosed(fifo) => self.fifo_closed(now, fifo),
            Input::Tick => self.tick(now.monotonic),
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Tick`] is next due; `None` while nothing is held up.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.holds.values().map(|hold| hold.look).min()
    }

    fn frame(&mut self, client: ClientId, payload: &[u8]) {
        if self.subscribers.contains_key(&client) {
            // Whatever a subscriber sends ends the subscription.
            self.unsubscribe(client);
            self.outputs.push(Output::Close(client));
            return;
        }
        let message = match Wire::decode(payload) {
            Ok(message) => message,
            Err(error) => return self.refuse(client, Notice::Undecodable(client, error)),
        };
        let header = message.header;
        match message.payload {
            Payload::Command(Command::Console(ConsoleCommand::Add(limit))) => self.add(client, header, limit),
            Payload::Command(Command::Console(ConsoleCommand::Subscribe(history))) => {
                self.subscribe(client, header, history);
            }
            Payload::Command(Command::Console(ConsoleCommand::ListInactive)) => self.list(client, header),
            _ => self.refuse(client, Notice::Unexpected(client)),
        }
    }

    fn refuse(&mut self, client: ClientId, notice: Notice) {
        self.outputs.push(Output::Log(notice));
        self.outputs.push(Output::Close(client));
    }

    /// Answers `client`.
    fn reply(&mut self, client: ClientId, header: Header, payload: Payload<'_>) {
        let mut frames = Vec::new();
        append_frame(&mut frames, &Wire::new(header, payload));
        self.outputs.push(Output::Send { to: vec![client], frames });
    }

    fn wrong_name(&mut self, client: ClientId, header: Header, text: &str) {
        self.outputs.push(Output::Log(Notice::WrongName(client, header.name.clone())));
        self.reply(client, header, Payload::Failure(text.into()));
    }

    fn add(&mut self, client: ClientId, header: Header, limit: Int) {
        if header.name.label().is_none() {
            // The connection is albatrossd's only one: it must survive a mistake in one command.
            return self.wrong_name(client, header, "path used instead of name");
        }
        let fifo = FifoId(self.next_fifo);
        self.next_fifo += 1;
        let name = header.name.clone();
        let open = self.rooms.get(&name).and_then(|room| room.fifo);
        self.opening.insert(fifo, Opening { client, header, limit });
        self.outputs.push(Output::OpenFifo { fifo, name, open });
    }

    fn fifo_failed(&mut self, fifo: FifoId, why: &str) {
        let Some(Opening { client, header, .. }) = self.opening.remove(&fifo) else { return };
        self.outputs.push(Output::Log(Notice::NotOpened(header.name.clone(), why.to_owned())));
        let text = format!("fifo cannot be opened: {why}");
        self.reply(client, header, Payload::Failure(text.into()));
    }

    fn fifo_kept(&mut self, fifo: FifoId) {
        let Some(Opening { client, header, limit }) = self.opening.remove(&fifo) else { return };
        self.rooms.set_limit(header.name.path(), limit);
        self.make_room(&header.name);
        self.reply(client, header, Payload::Success(Success::Empty));
    }

    fn fifo_opened(&mut self, fifo: FifoId) {
        let Some(Opening { client, header, limit }) = self.opening.remove(&fifo) else { return };
        let name = header.name.clone();
        let room = self.rooms.entry(&name);
        room.ring.get_or_insert_default();
        if let Some(before) = room.fifo.replace(fifo) {
            // Its writer is another process than the one to come, and no longer albatrossd's.
            self.fifos.remove(&before);
            self.outputs.push(Output::CloseFifo(before));
        }
        self.holds.remove(&name);
        self.fifos.insert(fifo, Fifo { name: name.clone(), lines: Lines::default() });
        self.rooms.set_limit(name.path(), limit);
        self.make_room(&name);
        self.outputs.push(Output::Log(Notice::Opened(name)));
        self.reply(client, header, Payload::Success(Success::Empty));
    }

    /// Where there are more consoles than may be, drops one that does not run, with its subscribers:
    /// the one that has not run for longest, and `newest` only if there is no other.
    fn make_room(&mut self, newest: &Name) {
        let Some(name) = self.rooms.superfluous(newest) else { return };
        let Some(room) = self.rooms.remove(&name) else { return };
        self.outputs.push(Output::Log(Notice::ConsoleDropped(name)));
        for client in room.subscribers {
            self.subscribers.remove(&client);
            self.outputs.push(Output::Close(client));
        }
    }

    fn list(&mut self, client: ClientId, header: Header) {
        if header.name.label().is_some() {
            self.wrong_name(client, header, "name used");
        } else {
            let names = self.rooms.inactive(header.name.path());
            self.reply(client, header, Payload::Success(Success::Consoles(names)));
        }
        self.outputs.push(Output::Close(client));
    }

    fn subscribe(&mut self, client: ClientId, header: Header, history: History) {
        if header.name.label().is_none() {
            self.wrong_name(client, header, "path used instead of name");
            self.outputs.push(Output::Close(client));
            return;
        }
        let name = header.name.clone();
        let is_new = self.rooms.get(&name).is_none();
        let room = self.rooms.entry(&name);
        let is_full = room.subscribers.len() >= self.max_subscribers;
        let displaced = if is_full { room.subscribers.pop_front() } else { None };
        room.subscribers.push_back(client);
        let mut frames = Vec::new();
        let text = if room.ring.is_some() { "subscribed" } else { "waiting for VM" };
        append_frame(&mut frames, &Wire::new(header.clone(), Payload::Success(Success::Text(text.into()))));
        let mut encoder = LineEncoder::new(&name);
        if let Some(ring) = &room.ring {
            ring.history(history, |time, line| encoder.append(&mut frames, time, line));
        }
        self.subscribers.insert(client, Subscriber { header, pending: frames.len(), moves: true });
        self.outputs.push(Output::Send { to: vec![client], frames });
        if let Some(displaced) = displaced {
            self.subscribers.remove(&displaced);
            self.outputs.push(Output::Log(Notice::Displaced(displaced, name.clone())));
            self.outputs.push(Output::Close(displaced));
            self.settle(&name);
        }
        if is_new {
            self.make_room(&name);
        }
    }

    /// Forgets a subscriber; a console that waits only for its sake goes too.
    fn unsubscribe(&mut self, client: ClientId) {
        let Some(subscriber) = self.subscribers.remove(&client) else { return };
        let name = subscriber.header.name;
        let Some(room) = self.rooms.get_mut(&name) else { return };
        room.subscribers.retain(|other| *other != client);
        if room.is_forgettable() {
            self.rooms.remove(&name);
        }
        self.settle(&name);
    }

    fn fifo_bytes(&mut self, now: Now, fifo: FifoId, bytes: &[u8]) {
        let Some(Fifo { name, lines }) = self.fifos.get_mut(&fifo) else { return };
        let Some(room) = self.rooms.get_mut(name) else { return };
        let mut delivery = Delivery::new(name, room, now.wall);
        lines.push(bytes, |line| delivery.line(line));
        let frames = delivery.frames;
        let name = name.clone();
        self.deliver(now, &name, frames);
    }

    fn fifo_closed(&mut self, now: Now, fifo: FifoId) {
        let Some(Fifo { name, mut lines }) = self.fifos.remove(&fifo) else { return };
        let Some(room) = self.rooms.get_mut(&name) else { return };
        let mut delivery = Delivery::new(&name, room, now.wall);
        lines.finish(|line| delivery.line(line));
        let frames = delivery.frames;
        self.deliver(now, &name, frames);
        self.holds.remove(&name);
        self.rooms.stopped(&name, fifo);
        self.outputs.push(Output::Log(Notice::Ended(name)));
    }

    /// Sends new lines to everybody who watches `name`, and pauses its guest where they do not keep up.
    fn deliver(&mut self, now: Now, name: &Name, frames: Vec<u8>) {
        let Some(room) = self.rooms.get(name) else { return };
        // Nobody is subscribed, or no line has ended.
        if frames.is_empty() {
            return;
        }
        let mut behind = false;
        for client in &room.subscribers {
            if let Some(subscriber) = self.subscribers.get_mut(client) {
                subscriber.pending += frames.len();
                behind |= subscriber.pending > PENDING_HIGH;
            }
        }
        self.outputs.push(Output::Send { to: room.subscribers.iter().copied().collect(), frames });
        if let (true, Some(fifo), false) = (behind, room.fifo, self.holds.contains_key(name)) {
            for client in &room.subscribers {
                self.subscribers.entry(*client).and_modify(|subscriber| subscriber.moves = false);
            }
            let hold = Hold { look: now.monotonic + HOLD, end: now.monotonic + HOLD_MOST };
            self.holds.insert(name.clone(), hold);
            self.outputs.push(Output::PauseFifo(fifo));
        }
    }

    fn written(&mut self, client: ClientId, octets: usize) {
        let Some(subscriber) = self.subscribers.get_mut(&client) else { return };
        subscriber.pending = subscriber.pending.saturating_sub(octets);
        subscriber.moves = true;
        if subscriber.pending <= PENDING_LOW && !self.holds.is_empty() {
            let name = subscriber.header.name.clone();
            self.settle(&name);
        }
    }

    /// Reads the guest again if it is held up and nobody is behind any more.
    fn settle(&mut self, name: &Name) {
        if !self.holds.contains_key(name) {
            return;
        }
        let room = self.rooms.get(name);
        let behind = room.is_some_and(|room| self.behind(room).next().is_some());
        let fifo = room.and_then(|room| room.fifo);
        if !behind {
            self.holds.remove(name);
            self.outputs.extend(fifo.map(Output::ResumeFifo));
        }
    }

    fn behind<'a>(&'a self, room: &'a Room) -> impl Iterator<Item = ClientId> + 'a {
        let is_behind = |client: &ClientId| {
            self.subscribers.get(client).is_some_and(|subscriber| subscriber.pending > PENDING_LOW)
        };
        room.subscribers.iter().copied().filter(is_behind)
    }

    /// Lets those subscribers go who hold up their guests and take nothing, or have done so for too long.
    fn tick(&mut self, now: Duration) {
        let due = |(name, hold): (&Name, &Hold)| (hold.look <= now).then(|| (name.clone(), *hold));
        for (name, hold) in self.holds.iter().filter_map(due).collect::<Vec<_>>() {
            let behind = self.rooms.get(&name).map(|room| self.behind(room).collect::<Vec<_>>());
            for client in behind.unwrap_or_default() {
                let Some(subscriber) = self.subscribers.get_mut(&client) else { continue };
                if !std::mem::take(&mut subscriber.moves) || hold.end <= now {
                    self.drop_slow(client, &name);
                }
            }
            self.holds.entry(name.clone()).and_modify(|hold| hold.look = now + HOLD);
            self.settle(&name);
        }
    }

    fn drop_slow(&mut self, client: ClientId, name: &Name) {
        let Some(subscriber) = self.subscribers.get(&client) else { return };
        let header = Header::new(0, name.clone());
        let text = format!("subscription ended: {} octets were not read in time", subscriber.pending);
        self.reply(client, header, Payload::Failure(text.into()));
        self.outputs.push(Output::Log(Notice::TooSlow(client, name.clone())));
        self.outputs.push(Output::Close(client));
        self.unsubscribe(client);
    }
}

/// Puts lines into a ring, and into frames where somebody is subscribed.
struct Delivery<'a> {
    room: &'a mut Room,
    time: Time,
    encoder: Option<LineEncoder>,
    frames: Vec<u8>,
}

impl<'a> Delivery<'a> {
    fn new(name: &Name, room: &'a mut Room, time: Time) -> Self {
        let encoder = (!room.subscribers.is_empty()).then(|| LineEncoder::new(name));
        Self { room, time, encoder, frames: Vec::new() }
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(ring) = &mut self.room.ring {
            ring.push(self.time, line);
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.append(&mut self.frames, self.time, line);
        }
    }
}

/// Makes data messages of lines.
struct LineEncoder {
    header: Header,
}

impl LineEncoder {
    fn new(name: &Name) -> Self {
        Self { header: Header::new(0, name.clone()) }
    }

    fn append(&mut self, frames: &mut Vec<u8>, timestamp: Time, line: &[u8]) {
        let data = Data::Console { timestamp, line: line.into() };
        let header = std::mem::replace(&mut self.header, Header::new(0, Name::root()));
        let message = Wire::new(header, Payload::Data(data));
        append_frame(frames, &message);
        self.header = message.header;
    }
}

fn append_frame(frames: &mut Vec<u8>, message: &Wire<'_>) {
    // Neither fails: what the console sends is far shorter than the longest message, but for a list of
    // names, of which there are at most MAX_CONSOLES.
    if let Ok(payload) = message.encode()
        && let Some(header) = frame::header(payload.len())
    {
        frames.extend_from_slice(&header);
        frames.extend_from_slice(&payload);
    }
}
