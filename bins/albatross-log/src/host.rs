//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use albatross_core::eventlog::{End, MAX_RECORD};
use albatross_core::log::{EventLog, Hex, Input, Output, READ};
use albatross_driver::clock::Clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{ConnectionId, Event, Server};
use albatross_driver::signals::Signal;
use albatross_report::{Connections, Report};

use crate::files::Files;

/// What this daemon is called in a database.
pub(crate) const CALLED: &str = "albatross_log";

/// The longest frame that is read: the longest record, under a name, and enough more to refuse one that is too
/// long with a reason.
pub(crate) const MAX_FRAME: usize = 2 * MAX_RECORD;

/// The log with its sockets and files.
pub(crate) struct Host<'a> {
    machine: EventLog,
    server: Server,
    files: Files,
    connections: Connections,
    log: &'a Logger,
    clock: Clock,
    /// What is read from a file; taken out while it is in use.
    buffer: Vec<u8>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(server: Server, files: Files, end: End, log: &'a Logger) -> Self {
        let (machine, connections) = (EventLog::new(end), Connections::default());
        Self { machine, server, files, connections, log, clock: Clock::start(), buffer: vec![0; READ] }
    }

    /// Serves until a signal asks it to end, and tells a database about it where there is one.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self, mut report: Report) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            report.turn(&self.server, self.log, || vec![self.connections.line(CALLED)]);
            let deadline = self.deadline().into_iter().chain(report.deadline()).min();
            self.server.poll(deadline, &mut events)?;
            let mut ends = false;
            for event in events.drain(..) {
                ends |= !report.note(&event) && self.event(event).is_break();
            }
            if self.machine.is_busy() {
                self.happened(Input::Turn);
            }
            if ends {
                self.log.info(format_args!("the log ends with link {}", Hex(self.machine.link())));
                // Whoever was answered last gets what still fits into his socket.
                return self.server.poll(Some(Instant::now()), &mut events);
            }
            if self.clock.has_come(self.machine.next_deadline()) {
                self.happened(Input::Tick);
            }
        }
    }

    /// When to look again at the latest: at once where the machine has more to do.
    fn deadline(&self) -> Option<Instant> {
        if self.machine.is_busy() {
            return Some(Instant::now());
        }
        self.clock.instant(self.machine.next_deadline())
    }

    fn event(&mut self, event: Event) -> ControlFlow<()> {
        event.log(self.log);
        self.connections.note(&event);
        match event {
            Event::Frame(id, payload) => self.happened(Input::Frame(id.into(), &payload)),
            Event::Ended(id) => {
                // Its last events may not be answered yet.
                self.happened(Input::Turn);
                self.happened(Input::Closed(id.into()));
                self.server.close(id);
            }
            Event::Closed(id, _) => self.happened(Input::Closed(id.into())),
            Event::Written(id, octets) => self.happened(Input::Written(id.into(), octets)),
            Event::Signal(Signal::SIGHUP) => self.happened(Input::Reopen),
            Event::Signal(_) => return ControlFlow::Break(()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.closed(id);
        self.server.close(id);
    }

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        for output in self.machine.handle(self.clock.now(), input) {
            match output {
                Output::Send(client, frames) => self.server.send_frames(client.into(), &frames),
                Output::Close(client) => self.close(client.into()),
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
