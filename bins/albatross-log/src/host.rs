//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use albatross_core::eventlog::{End, MAX_RECORD};
use albatross_core::log::{EventLog, Hex, Input, Output, READ};
use albatross_core::machine::{ClientId, Now};
use albatross_driver::clock::wall_clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{CloseReason, ConnectionId, Event, Server};
use albatross_driver::signals::Signal;

use crate::files::Files;

/// The longest frame that is read: the longest record, under a name, and enough more to refuse one that is too
/// long with a reason.
pub(crate) const MAX_FRAME: usize = 2 * MAX_RECORD;

/// The log with its sockets and files.
pub(crate) struct Host<'a> {
    machine: EventLog,
    server: Server,
    files: Files,
    log: &'a Logger,
    start: Instant,
    /// What is read from a file; taken out while it is in use.
    buffer: Vec<u8>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(server: Server, files: Files, end: End, log: &'a Logger) -> Self {
        let machine = EventLog::new(end);
        Self { machine, server, files, log, start: Instant::now(), buffer: vec![0; READ] }
    }

    /// Serves until a signal asks it to end.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            self.server.poll(self.deadline(), &mut events)?;
            let mut ends = false;
            for event in events.drain(..) {
                ends |= self.event(event).is_break();
            }
            if self.machine.is_busy() {
                self.happened(Input::Turn);
            }
            if ends {
                self.log.info(format_args!("the log ends with link {}", Hex(self.machine.link())));
                // Whoever was answered last gets what still fits into his socket.
                return self.server.poll(Some(self.start), &mut events);
            }
            if self.machine.next_deadline().is_some_and(|deadline| deadline <= self.start.elapsed()) {
                self.happened(Input::Tick);
            }
        }
    }

    /// When to look again at the latest: at once where the machine has more to do.
    fn deadline(&self) -> Option<Instant> {
        if self.machine.is_busy() {
            return Some(self.start);
        }
        self.machine.next_deadline().map(|deadline| self.start + deadline)
    }

    fn event(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Connected(id) => self.log.debug(format_args!("client {} connected", id.0)),
            Event::Frame(id, payload) => self.happened(Input::Frame(client(id), &payload)),
            Event::Ended(id) => {
                // Its last events may not be answered yet.
                self.happened(Input::Turn);
                self.happened(Input::Closed(client(id)));
                self.server.close(id);
            }
            Event::Closed(id, reason) => {
                self.note_closed(id, &reason);
                self.happened(Input::Closed(client(id)));
            }
            Event::Written(id, octets) => self.happened(Input::Written(client(id), octets)),
            Event::Signal(Signal::SIGHUP) => self.happened(Input::Reopen),
            Event::Signal(signal) => {
                self.log.info(format_args!("ends on {signal}"));
                return ControlFlow::Break(());
            }
            Event::AcceptFailed(error) => self.log.error(format_args!("no client can be accepted: {error}")),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn note_closed(&self, id: ConnectionId, reason: &CloseReason) {
        match reason {
            CloseReason::Peer => self.log.debug(format_args!("client {}: {reason}", id.0)),
            _ => self.log.warning(format_args!("client {}: {reason}", id.0)),
        }
    }

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        let now = Now { wall: wall_clock(), monotonic: self.start.elapsed() };
        for output in self.machine.handle(now, input) {
            match output {
                Output::Send(ClientId(id), frames) => self.server.send_frames(ConnectionId(id), &frames),
                Output::Close(ClientId(id)) => self.server.close(ConnectionId(id)),
                Output::Append { position, octets } => {
                    let written = self.files.append(position, &octets);
                    self.happened(Input::Appended(written.as_ref().copied().map_err(String::as_str)));
                }
                Output::Read { client, file, position, length } => {
                    let mut buffer = std::mem::take(&mut self.buffer);
                    let room = buffer.get_mut(..length).unwrap_or_default();
                    let read = self.files.read(file, position, room);
                    let read = read.as_ref().map(|count| buffer.get(..*count).unwrap_or_default());
                    self.happened(Input::Read(client, read.map_err(String::as_str)));
                    self.buffer = buffer;
                }
                Output::Reopen { file, begin } => {
                    let opened = self.files.reopen(file, &begin, self.log);
                    self.happened(Input::Opened(opened.as_ref().copied().map_err(String::as_str)));
                }
                Output::CloseFile(file) => self.files.close(file),
                Output::Log(notice) => self.log.log(notice.level().into(), notice),
            }
        }
    }
}

const fn client(id: ConnectionId) -> ClientId {
    ClientId(id.0)
}
