//! The log daemon's rules: which events are written when, who is told of them, and who may see what.
//!
//! The machine ([`EventLog`]) is told what happens ([`Input`]) and says what is to be done ([`Output`]). It
//! holds no descriptor and knows no clock. It follows docs/protocol.md, "Event log"; the file is that of
//! [`eventlog`](crate::eventlog). What writes to the log uses [`Sender`].
//!
//! * Events that came while others were being written are written with one call and made durable at once
//!   ([`Input::Turn`]); each is answered when that is done, and never before.
//! * What could not be written is answered with a failure, and the chain goes on after the last that was.
//! * A subscriber sees what is at his path and below, or one name. He is a place in the file: what he is sent
//!   is read from there while he takes it, so that who reads slowly costs no memory and holds up nobody. Who
//!   takes nothing for [`PATIENCE`] while something waits for him goes.
//! * The file is read and checked in small steps ([`READ`]), between which others are served.
//! * When the file is replaced (logrotate), the chain goes on in the new one. History reaches back to the
//!   beginning of the file that is written; who was still reading the one before reads it to its end.

mod messages;
mod sender;
mod subscribers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use albatross_proto::log::{LogCommand, LogEntry, LogRecord};
use albatross_proto::{Command, Data, Header, Payload, Success, Wire, frame};

use crate::eventlog::{Chain, End, LINK, Mark};
use crate::machine::{ClientId, Now};
pub use messages::{FileId, Hex, Input, Notice, Opened, Output};
pub use sender::{
    Answer, LATE, MAX_RETRY, MAX_UNANSWERED, MAX_WAITING, REFUSED_RETRY, RETRY, Sender, SenderOutput,
};
use subscribers::Subscribers;
pub use subscribers::{MAX_FILES, MAX_HISTORY, MAX_SUBSCRIBERS, PATIENCE, PENDING_HIGH, PENDING_LOW, READ};

/// Octets of events that are written with one call at the most: what comes in addition waits for the next. It
/// bounds what is lost and answered with a failure where the disk is full.
pub const MAX_BATCH: usize = 1024 * 1024;

/// The log daemon.
#[derive(Debug)]
pub struct EventLog {
    chain: Chain,
    /// The file that is written.
    file: FileId,
    /// What of each file that is still read is durable: where its last record ends.
    ends: BTreeMap<FileId, u64>,
    /// Events that are being written.
    writing: Option<Batch>,
    /// Events that came meanwhile.
    collected: Batch,
    /// The file is to be opened anew as soon as nothing is being written.
    reopen: Reopen,
    /// The last write failed.
    failing: bool,
    subscribers: Subscribers,
    outputs: Vec<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reopen {
    No,
    Wanted,
    Asked,
}

/// Events that are written with one call.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Pending>,
    /// How long they are together.
    octets: usize,
}

/// An event that is not durable.
#[derive(Debug)]
struct Pending {
    client: ClientId,
    header: Header,
    record: LogRecord,
    /// Where it ends in the file; known when it is written.
    end: Option<Mark>,
}

impl EventLog {
    /// The daemon of a file that was read to its end, which is not torn any more.
    #[must_use]
    pub fn new(end: End) -> Self {
        let file = FileId(0);
        Self {
            chain: Chain::after_link(end.mark.link),
            file,
            ends: BTreeMap::from([(file, end.mark.position)]),
            writing: None,
            collected: Batch::default(),
            reopen: Reopen::No,
            failing: false,
            subscribers: Subscribers::default(),
            outputs: Vec::new(),
        }
    }

    /// Takes in what happened and returns what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Vec<Output> {
        match input {
            Input::Frame(client, payload) => self.frame(now, client, payload),
            Input::Closed(client) => self.subscribers.remove(client),
            Input::Written(client, octets) => self.subscribers.written(now.monotonic, client, octets),
            Input::Appended(result) => self.appended(now, result),
            Input::Read(client, octets) => self.read(now, client, octets),
            Input::Reopen => self.reopen = Reopen::Wanted,
            Input::Opened(opened) => self.opened(opened),
            Input::Turn => self.turn(),
            Input::Tick => self.tick(now),
        }
        self.close_files();
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Tick`] is next due; `None` while everybody reads.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.subscribers.next_deadline()
    }

    /// Whether [`Input::Turn`] would do something at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let writes = !self.collected.events.is_empty() || self.reopen == Reopen::Wanted;
        self.writing.is_none() && self.reopen != Reopen::Asked && writes || self.subscribers.is_reading()
    }

    /// The last link of what is durable: kept elsewhere, it shows whether the end of the file is missing.
    #[must_use]
    pub const fn link(&self) -> &[u8; LINK] {
        self.chain.link()
    }

    fn log(&mut self, notice: Notice) {
        self.outputs.push(Output::Log(notice));
    }

    fn frame(&mut self, now: Now, client: ClientId, payload: &[u8]) {
        if self.subscribers.has(client) {
            // Whatever a subscriber sends ends the subscription.
            self.subscribers.remove(client);
            return self.outputs.push(Output::Close(client));
        }
        match Wire::decode(payload) {
            Ok(Wire { header, payload: Payload::Data(Data::Log(entry)) }) => {
                self.event(client, header, entry)
            }
            Ok(Wire { header, payload: Payload::Command(Command::Log(LogCommand(history))) }) => {
                let mut reply = Vec::new();
                append_frame(&mut reply, &Wire::new(header.clone(), Payload::Success(Success::Empty)));
                let pending = reply.len();
                self.outputs.push(Output::Send(client, reply));
                let displaced =
                    self.subscribers.insert(now.monotonic, client, header.name, history, self.file, pending);
                if let Some((displaced, name)) = displaced {
                    self.log(Notice::Displaced(displaced, name));
                    self.outputs.push(Output::Close(displaced));
                }
            }
            Ok(_) => self.refuse(client, Notice::Unexpected(client)),
            Err(error) => self.refuse(client, Notice::Undecodable(client, error)),
        }
    }

    fn refuse(&mut self, client: ClientId, notice: Notice) {
        self.log(notice);
        self.outputs.push(Output::Close(client));
    }

    fn reply(&mut self, client: ClientId, header: Header, payload: Payload<'_>) {
        let mut frames = Vec::new();
        append_frame(&mut frames, &Wire::new(header, payload));
        self.outputs.push(Output::Send(client, frames));
    }

    /// Something happened that is to be written.
    fn event(&mut self, client: ClientId, header: Header, entry: LogEntry) {
        let record = LogRecord { name: header.name.clone(), entry };
        // Whether it can be written, and how long it is, shows on a chain of its own.
        match Chain::after_link([0; LINK]).append(&record) {
            Err(error) => self.reply(client, header, Payload::Failure(error.to_string().into())),
            Ok(octets) => {
                self.collected.octets += octets.len();
                self.collected.events.push(Pending { client, header, record, end: None });
                if self.collected.octets >= MAX_BATCH {
                    self.write();
                }
            }
        }
    }

    /// Nothing else waits to be handled: what came is written, the file is replaced, subscribers read on.
    fn turn(&mut self) {
        self.write();
        if self.writing.is_none() && self.reopen == Reopen::Wanted {
            self.reopen = Reopen::Asked;
            let begin = Chain::begin(*self.chain.link()).1;
            self.outputs.push(Output::Reopen { file: FileId(self.file.0 + 1), begin });
        }
        let outputs = &mut self.outputs;
        self.subscribers.read_on(self.file, &self.ends, |read| outputs.push(read));
    }

    fn write(&mut self) {
        if self.writing.is_some() || self.reopen == Reopen::Asked || self.collected.events.is_empty() {
            return;
        }
        let Batch { mut events, .. } = std::mem::take(&mut self.collected);
        let mut chain = self.chain;
        let mut position = self.end();
        let mut octets = Vec::new();
        // It was made once before, and nothing that is in it has changed.
        events.retain_mut(|event| {
            let Ok(made) = chain.append(&event.record) else { return false };
            position += u64::try_from(made.len()).unwrap_or(u64::MAX);
            event.end = Some(Mark { position, link: *chain.link() });
            octets.extend(made);
            true
        });
        self.writing = Some(Batch { events, octets: octets.len() });
        self.outputs.push(Output::Append { position: self.end(), octets });
    }

    /// Where the last durable record of the file that is written ends.
    fn end(&self) -> u64 {
        self.ends.get(&self.file).copied().unwrap_or_default()
    }

    fn appended(&mut self, now: Now, result: Result<(), &str>) {
        let Some(Batch { events, .. }) = self.writing.take() else { return };
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    self.log(Notice::WritesAgain);
                }
                self.written(now, events);
            }
            Err(why) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.log(Notice::NotWritten(why.to_owned()));
                }
                let text = format!("the event was not written: {why}");
                for Pending { client, header, .. } in events {
                    self.reply(client, header, Payload::Failure(text.as_str().into()));
                }
            }
        }
    }

    /// These are durable: who sent them is told, and who follows the log.
    fn written(&mut self, now: Now, events: Vec<Pending>) {
        let mut before = Mark { position: self.end(), link: *self.chain.link() };
        for Pending { client, header, record, end } in events {
            let to = self.subscribers.followers(&record.name, self.file, before);
            before = end.unwrap_or(before);
            self.reply(client, header, Payload::Success(Success::Empty));
            if !to.is_empty() {
                let mut frames = Vec::new();
                append_entry(&mut frames, record);
                for client in to {
                    self.subscribers.sent(now.monotonic, client, frames.len());
                    self.outputs.push(Output::Send(client, frames.clone()));
                }
            }
        }
        self.chain = Chain::after_link(before.link);
        self.ends.insert(self.file, before.position);
    }

    /// Octets of the file where a subscriber is.
    fn read(&mut self, now: Now, client: ClientId, octets: Result<&[u8], &str>) {
        let mut frames = Vec::new();
        let read = self.subscribers.take_in(client, octets, |record| append_entry(&mut frames, record));
        if !frames.is_empty() {
            self.subscribers.sent(now.monotonic, client, frames.len());
            self.outputs.push(Output::Send(client, frames));
        }
        if let Err(why) = read {
            self.log(Notice::NotRead(client, why.clone()));
            self.drop_subscriber(client, &format!("the event log cannot be read: {why}"));
        }
    }

    fn drop_subscriber(&mut self, client: ClientId, why: &str) {
        if let Some(name) = self.subscribers.name(client) {
            let header = Header::new(0, name.clone());
            self.reply(client, header, Payload::Failure(why.into()));
            self.subscribers.remove(client);
            self.outputs.push(Output::Close(client));
        }
    }

    fn opened(&mut self, opened: Result<Opened, &str>) {
        self.reopen = Reopen::No;
        let next = FileId(self.file.0 + 1);
        match opened {
            Err(why) => self.log(Notice::NotReopened(why.to_owned())),
            Ok(Opened::Same) => self.log(Notice::SameFile),
            Ok(Opened::New { end }) => {
                self.file = next;
                self.ends.insert(next, end);
                self.log(Notice::Rotated(*self.chain.link()));
            }
            Ok(Opened::Found(end)) => {
                self.chain = Chain::after_link(end.mark.link);
                self.file = next;
                self.ends.insert(next, end.mark.position);
                self.log(Notice::OtherFile(end.mark.link));
            }
        }
        while let Some((client, name)) = self.subscribers.far_behind(self.file) {
            self.log(Notice::TooSlow(client, name));
            self.drop_subscriber(
                client,
                "subscription ended: it was too slow to read the files before this one",
            );
        }
    }

    /// Files that nobody reads any more.
    fn close_files(&mut self) {
        let oldest = self.subscribers.oldest_file().unwrap_or(self.file).min(self.file);
        while let Some((file, _)) = self.ends.first_key_value().filter(|(file, _)| **file < oldest) {
            let file = *file;
            self.ends.remove(&file);
            self.outputs.push(Output::CloseFile(file));
        }
    }

    /// Lets those go who take nothing.
    fn tick(&mut self, now: Now) {
        while let Some((client, name, pending)) = self.subscribers.stalled(now.monotonic) {
            self.log(Notice::TooSlow(client, name));
            let text = format!("subscription ended: {pending} octets were not read in time");
            self.drop_subscriber(client, &text);
        }
    }
}

/// What a subscriber is sent of a record.
fn append_entry(frames: &mut Vec<u8>, record: LogRecord) {
    let LogRecord { name, entry } = record;
    append_frame(frames, &Wire::new(Header::new(0, name), Payload::Data(Data::Log(entry))));
}

fn append_frame(frames: &mut Vec<u8>, message: &Wire<'_>) {
    // Neither fails: a record has a limit far below that of a message.
    if let Ok(payload) = message.encode()
        && let Some(header) = frame::header(payload.len())
    {
        frames.extend_from_slice(&header);
        frames.extend_from_slice(&payload);
    }
}
