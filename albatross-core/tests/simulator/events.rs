//! The log daemon's side: its connection with albatrossd, its file on the modelled disk, and what must be in it.
//!
//! albatrossd promises that a command that changes something is in the log before it is answered, where the log
//! daemon is there and can write. Once it could not, nothing is expected of that connection any more.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use albatross_core::eventlog::{Chain, LINK, Reader};
use albatross_core::log::{EventLog, Input, Output};
use albatross_core::machine::ClientId;
use albatross_core::vmmd;
use albatross_proto::frame::FrameReader;
use albatross_proto::log::{Event, LogRecord};
use albatross_proto::{Name, Payload, Success, Wire};

use crate::Sabotage;
use crate::host::Host;

/// The connection between the two.
struct Link {
    id: ClientId,
    to_log: VecDeque<Vec<u8>>,
    to_vmmd: VecDeque<Vec<u8>>,
    /// albatrossd has to keep its promise.
    counts: bool,
}

pub(crate) struct LogSide {
    machine: Option<EventLog>,
    link: Option<Link>,
    /// It ends when it gets something, and has written that.
    pub(crate) dies: Option<bool>,
    /// albatrossd wants a connection.
    pub(crate) wanted: bool,
    next: usize,
    file: PathBuf,
    /// Has read what is durable of the file.
    reader: Reader,
    /// Results of commands that are durably in the file: how often each of a name, and whether it had failed.
    written: BTreeMap<(Name, bool), usize>,
    /// The same of those that were answered and have to be there.
    answered: BTreeMap<(Name, bool), usize>,
}

impl LogSide {
    pub(crate) fn new() -> Self {
        Self {
            machine: None,
            link: None,
            dies: None,
            wanted: false,
            next: 0,
            file: "/var/log/albatross/events".into(),
            reader: Reader::new(),
            written: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    fn note(&mut self, record: &LogRecord) {
        if let Event::Command { failure, .. } = &record.entry.event {
            *self.written.entry((record.name.clone(), failure.is_some())).or_default() += 1;
        }
    }
}

impl Host {
    fn tell_log(&mut self, input: Input<'_>) {
        let now = self.clock();
        let Some(machine) = &mut self.log.machine else { return };
        for output in machine.handle(now, input) {
            match output {
                Output::Send(client, frames) => {
                    let (mut input, mut reader) = (frames.as_slice(), FrameReader::new(1 << 20));
                    while !input.is_empty() {
                        let message = reader.read(&mut input).unwrap();
                        if let Some(link) = self.log.link.as_mut().filter(|link| link.id == client) {
                            link.to_vmmd.extend(message);
                        }
                    }
                }
                Output::Append { octets, .. } => self.append_events(&octets),
                Output::Log(_) => {}
                other => self.broke(format!("the log does {other:?}")),
            }
        }
    }

    /// As `Files::append` of albatross-log.
    fn append_events(&mut self, octets: &[u8]) {
        let file = self.log.file.clone();
        let before = self.disk.read(&file).unwrap_or_default().to_vec();
        if self.disk_full {
            self.counts.faults += 1;
            self.disk.append(&file, &octets[..octets.len() / 2]);
            self.disk.write(&file, &before);
            self.disk.sync(&file);
            return self.tell_log(Input::Appended(Err("no space left")));
        }
        if !self.spoils(Sabotage::LoseEvent) {
            self.disk.append(&file, octets);
        } else {
            // The chain goes on as if nothing was written.
            return self.tell_log(Input::Appended(Ok(())));
        }
        self.disk.sync(&file);
        let mut records = Vec::new();
        let pushed = self.log.reader.push(octets, |record, _| records.push(record));
        if pushed.is_err() && self.sabotage != Some(Sabotage::LoseEvent) {
            self.broke(format!("the event log is not a chain: {pushed:?}"));
        }
        records.iter().for_each(|record| self.log.note(record));
        self.tell_log(Input::Appended(Ok(())));
    }

    /// The log daemon begins: it begins its file, or reads it and repairs its end.
    pub(crate) fn log_up(&mut self) {
        if self.log.machine.is_some() {
            return;
        }
        let file = self.log.file.clone();
        let directory = file.parent().map(Path::to_owned).unwrap_or_default();
        let found = self.disk.read(&file).unwrap_or_default().to_vec();
        let begin = Chain::begin([0; LINK]).1;
        if found.len() < begin.len() || found.iter().all(|octet| *octet == 0) {
            self.disk.create(&file, &begin);
        }
        let found = self.disk.read(&file).unwrap_or_default().to_vec();
        self.log.reader = Reader::new();
        let mut records = Vec::new();
        let pushed = self.log.reader.push(&found, |record, _| records.push(record));
        let end = match pushed.and_then(|()| self.log.reader.finish()) {
            Ok(end) => end,
            Err(error) => return self.broke(format!("the event log cannot be read: {error}")),
        };
        let whole = usize::try_from(end.mark.position).unwrap();
        self.disk.write(&file, &found[..whole]);
        self.disk.sync(&file);
        self.disk.sync_directory(&directory);
        self.log.reader = Reader::after(end.mark);
        self.log.written.clear();
        records.iter().for_each(|record| self.log.note(record));
        self.log.machine = Some(EventLog::new(end));
        self.check_log();
    }

    pub(crate) fn log_down(&mut self) {
        self.log.machine = None;
        if self.log.link.take().is_some() {
            self.give(vmmd::Input::LogClosed);
        }
    }

    /// It ends, and albatrossd with it, which learns nothing of that.
    pub(crate) fn log_without_power(&mut self) {
        self.log.machine = None;
        self.log.link = None;
    }

    /// albatrossd is gone.
    pub(crate) fn close_log_link(&mut self) {
        self.log.wanted = false;
        if let Some(link) = self.log.link.take() {
            self.tell_log(Input::Closed(link.id));
        }
    }

    /// albatrossd connects, which is done before anything else happens.
    fn connect_log(&mut self) {
        if self.log.machine.is_none() {
            return self.give(vmmd::Input::LogClosed);
        }
        if self.log.link.is_some() {
            return self.broke("there are two connections to the log daemon");
        }
        self.log.next += 1;
        let id = ClientId(self.log.next);
        self.log.link = Some(Link { id, to_log: VecDeque::new(), to_vmmd: VecDeque::new(), counts: true });
        self.give(vmmd::Input::LogConnected);
    }

    pub(crate) fn send_log(&mut self, message: Vec<u8>) {
        let skips = self.spoils(Sabotage::SkipLog);
        let Some(link) = &mut self.log.link else { return };
        if let (true, Ok(wire)) = (skips, Wire::decode(&message)) {
            let answer = Wire::new(wire.header, Payload::Success(Success::Empty));
            return link.to_vmmd.push_back(answer.encode().unwrap());
        }
        link.to_log.push_back(message);
    }

    /// What the two have to say to each other. It is answered before anything else happens: when commands are
    /// answered is when the ledger learns of them. That nobody waits for long is shown elsewhere.
    pub(crate) fn converse_with_log(&mut self) {
        if std::mem::take(&mut self.log.wanted) && !self.stopped() {
            self.connect_log();
        }
        while let Some(link) = self.log.link.as_mut().filter(|link| !link.to_log.is_empty()) {
            let (id, messages) = (link.id, std::mem::take(&mut link.to_log));
            if self.log.dies.take_if(|written| !*written).is_some() {
                return self.log_down();
            }
            messages.iter().for_each(|message| self.tell_log(Input::Frame(id, message)));
            while self.log.machine.as_ref().is_some_and(EventLog::is_busy) {
                self.tell_log(Input::Turn);
            }
            if self.log.dies.take().is_some() {
                return self.log_down();
            }
        }
        while let Some(message) = self.log.link.as_mut().and_then(|link| link.to_vmmd.pop_front()) {
            let failed = matches!(Wire::decode(&message), Ok(Wire { payload: Payload::Failure(_), .. }));
            if let Some(link) = &mut self.log.link {
                link.counts &= !failed;
            }
            self.give(vmmd::Input::LogFrame(message));
        }
    }

    /// A command that changes something is answered.
    pub(crate) fn answered_command(&mut self, name: &Name, failed: bool) {
        if self.log.link.as_ref().is_some_and(|link| link.counts) {
            *self.log.answered.entry((name.clone(), failed)).or_default() += 1;
            self.check_log();
        }
    }

    /// What was answered is in the log.
    fn check_log(&mut self) {
        let is_missing = |(key, count): &(&(Name, bool), &usize)| {
            self.log.written.get(*key).is_none_or(|written| written < *count)
        };
        if let Some(((name, failed), count)) = self.log.answered.iter().find(is_missing) {
            let text =
                format!("{count} commands of {name} are answered (failed: {failed}) and not in the log");
            self.broke(text);
        }
    }
}
