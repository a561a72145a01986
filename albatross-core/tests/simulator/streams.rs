//! Block devices on their way from and to clients: connections that are with a thread of the driver, which reads
//! and writes them piece by piece while the machine serves others.

use std::time::Duration;

use albatross_core::block::{Intake, Progress};
use albatross_core::image;
use albatross_core::machine::ClientId;
use albatross_core::vmmd::{BlockPlace, DumpForm, Outcome, Task, TaskFailure};
use albatross_proto::{Data, Header, Name, Payload, Success, frame};

use crate::Sabotage;
use crate::blocks::length_of;
use crate::effects::{Done, failed};
use crate::host::Host;

/// How long a thread waits for a client: `PATIENCE` of the driver.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of a chunk of a dump.
const CHUNK: usize = 7;

/// A connection that is with a thread.
pub(crate) struct Thread {
    /// What came of the stream and was not read.
    pub(crate) came: Vec<u8>,
    /// The client sends no more.
    pub(crate) ended: bool,
    /// The client is gone.
    pub(crate) gone: bool,
    /// The daemon ends.
    cut: bool,
    /// When the client did something.
    pub(crate) since: Duration,
    intake: Option<Intake>,
    kept: Vec<u8>,
    /// Octets of the dump that were sent.
    sent: Option<usize>,
}

impl Thread {
    fn is_late(&self, now: Duration) -> bool {
        self.since + PATIENCE <= now
    }
}

impl Host {
    /// A task that takes a connection is given out: it does so at once.
    pub(crate) fn detach(&mut self, task: &Task) {
        let (client, begun) = match task {
            Task::ReceiveBlock { client, begun, .. } => (*client, begun.clone()),
            Task::SendBlock { client, .. } => (*client, Vec::new()),
            _ => return,
        };
        let Some(state) = self.clients.get(&client).filter(|state| state.is_open()) else {
            return self.broke(format!("a device is to be streamed and client {} is not there", client.0));
        };
        let thread = Thread {
            came: begun,
            ended: state.ended,
            gone: false,
            cut: false,
            since: self.now,
            intake: None,
            kept: Vec::new(),
            sent: None,
        };
        self.threads.insert(client, thread);
    }

    pub(crate) fn end_stream(&mut self, client: ClientId) {
        if self.sabotage == Some(Sabotage::IgnoreEnd) {
            return;
        }
        if let Some(thread) = self.threads.get_mut(&client) {
            thread.cut = true;
        }
    }

    /// Whether a thread has something to do.
    pub(crate) fn may_stream(&self, task: &Task) -> bool {
        match task {
            Task::ReceiveBlock { client, .. } => self.threads.get(client).is_none_or(|thread| {
                !thread.came.is_empty()
                    || thread.intake.is_none()
                    || thread.ended
                    || thread.cut
                    || thread.is_late(self.now)
            }),
            _ => true,
        }
    }

    /// When a thread gives up on its client.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.threads.values().map(|thread| thread.since + PATIENCE).filter(|end| *end > self.now).min()
    }

    /// A thread does some of its work: the answer, where it is done.
    pub(crate) fn stream_task(&mut self, task: &Task) -> Option<Done> {
        match task {
            Task::ReceiveBlock { client, file, compressed, .. } => self.receive(*client, file, *compressed),
            Task::SendBlock { client, header, file, level, form } => {
                self.dump(*client, header, file, *level, *form)
            }
            other => Some(failed(&format!("no stream: {other:?}"))),
        }
    }

    fn receive(&mut self, client: ClientId, place: &BlockPlace, compressed: bool) -> Option<Done> {
        self.check_unused(&place.path);
        let now = self.now;
        if self.threads.get(&client).is_some_and(|thread| thread.intake.is_none()) {
            self.begin_unfinished(place);
            if self.stopped() {
                return Some(Ok(Outcome::Done));
            }
        }
        let thread = self.threads.get_mut(&client)?;
        let limit = u64::try_from(length_of(place)).unwrap();
        let intake = thread.intake.get_or_insert_with(|| Intake::new(compressed, limit));
        let came = std::mem::take(&mut thread.came);
        let kept = &mut thread.kept;
        let fed = intake.feed(&came, |octets| {
            kept.extend_from_slice(octets);
            Ok::<_, ()>(())
        });
        if self.sabotage == Some(Sabotage::OverwriteInPlace) && !kept.is_empty() {
            self.disk.write(&place.path, kept);
        }
        let over = thread.ended || thread.cut || thread.is_late(now);
        let finished = match fed.unwrap() {
            Ok(Progress::More) if !over => return None,
            Ok(_) => thread.intake.take().unwrap().finish().map(|_| ()),
            Err(error) => Err(error),
        };
        let kept = std::mem::take(&mut thread.kept);
        if let Err(error) = finished {
            self.disk.remove(&place.unfinished);
            return Some(Err(TaskFailure(error.to_string())));
        }
        let fails = self.fails(crate::script::Kind::ReceiveBlock);
        Some(self.finish_block(place, &kept, false, fails))
    }

    /// In two parts, with whatever comes between.
    fn dump(
        &mut self,
        client: ClientId,
        header: &Header,
        place: &BlockPlace,
        level: u32,
        form: DumpForm,
    ) -> Option<Done> {
        self.check_unused(&place.path);
        let thread = self.threads.get_mut(&client)?;
        let begun = thread.sent.take();
        if thread.cut {
            // Between two messages, which the client does not see: its connection is shut.
            return Some(self.lose(client));
        }
        if thread.gone {
            return Some(failed("the client is gone"));
        }
        let fails = self.fails(crate::script::Kind::SendBlock);
        let Some(content) = self.disk.read(&place.path).filter(|_| !fails).map(<[u8]>::to_vec) else {
            return Some(failed("cannot read the device"));
        };
        let compressed = level > 0;
        let octets = if compressed { image::deflate(&content, level) } else { content };
        if form == DumpForm::Whole {
            let image = octets.into();
            let reply = Payload::Success(Success::BlockDeviceImageOld { compressed, image });
            self.dumped(client, header, reply);
            return Some(Ok(Outcome::Done));
        }
        let from = begun.unwrap_or(0);
        let until = if begun.is_none() { octets.len() / 2 } else { octets.len() };
        if begun.is_none() {
            let reply = Payload::Success(Success::BlockDeviceImage { compressed });
            self.dumped(client, header, reply);
        }
        for chunk in octets[from..until].chunks(CHUNK) {
            if !self.spoils(Sabotage::LoseChunk) {
                self.dumped(client, header, Payload::Data(Data::Block(Some(chunk.into()))));
            }
        }
        if begun.is_none() {
            self.threads.get_mut(&client)?.sent = Some(until);
            return None;
        }
        self.dumped(client, header, Payload::Data(Data::Block(None)));
        Some(Ok(Outcome::Done))
    }

    /// The connection is of no more use.
    fn lose(&mut self, client: ClientId) -> Done {
        if let Some(state) = self.clients.get_mut(&client) {
            state.gone = true;
            state.unseen = true;
        }
        failed("the daemon ends")
    }

    /// A client is sent a part of a dump.
    fn dumped(&mut self, client: ClientId, header: &Header, payload: Payload<'_>) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        if state.waiting.front().is_none_or(|waiting| waiting.header != *header) {
            return self.broke(format!("client {} is sent a dump that it does not wait for", client.0));
        }
        let whole = match payload {
            Payload::Success(Success::BlockDeviceImage { compressed }) => {
                if state.dump.replace((compressed, Vec::new())).is_some() {
                    self.broke("a dump begins twice");
                }
                return;
            }
            Payload::Data(Data::Block(Some(octets))) => {
                match &mut state.dump {
                    Some((_, dump)) => dump.extend_from_slice(&octets),
                    None => self.broke("a dump goes on that has not begun"),
                }
                return;
            }
            Payload::Success(Success::BlockDeviceImageOld { compressed, image }) => {
                Some((compressed, image.into_owned()))
            }
            _ => state.dump.take(),
        };
        state.waiting.pop_front();
        self.counts.done += 1;
        let content = match whole {
            Some((true, octets)) => image::inflate(&octets, 1 << 20).ok(),
            Some((false, octets)) => Some(octets),
            None => None,
        };
        self.check_dump(&header.name, &content);
    }

    fn check_dump(&mut self, name: &Name, content: &Option<Vec<u8>>) {
        if content.is_none() || !self.ledger.devices.may_be(name, content) {
            self.broke(format!("block device {name} is sent as {content:?}, which is not on it"));
        }
    }

    /// What a client sends while its connection is with a thread.
    pub(crate) fn send_to_thread(&mut self, client: ClientId, octets: &[u8]) -> bool {
        let now = self.now;
        let Some(thread) = self.threads.get_mut(&client) else { return false };
        thread.came.extend(frame::frame(octets));
        thread.since = now;
        true
    }
}
