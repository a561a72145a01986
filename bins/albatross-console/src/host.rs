//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use albatross_core::console::{Console, FifoId, Input, Output};
use albatross_core::influx::report::of_connections;
use albatross_driver::clock::Clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{ConnectionId, Event, Server};
use albatross_driver::signals::Signal;
use albatross_proto::Name;
use albatross_report::{Connections, Report};

use crate::fifos::{Fifos, Opened, Progress, READ_PER_TURN};

/// What this daemon is called in a database.
pub(crate) const CALLED: &str = "albatross_console";

/// The longest frame that is read: a console command, whose only long part is a name. Names have no
/// limit of their own; in a certificate's CommonName they have 64 characters.
pub(crate) const MAX_FRAME: usize = 64 * 1024;

/// The console with its sockets and fifos.
pub(crate) struct Host<'a> {
    console: Console,
    server: Server,
    fifos: Fifos,
    connections: Connections,
    /// Fifos that were opened.
    opened: usize,
    log: &'a Logger,
    clock: Clock,
    /// What is read from a fifo; taken out while it is in use.
    buffer: Vec<u8>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(server: Server, fifos: Fifos, max_subscribers: usize, log: &'a Logger) -> Self {
        let console = Console::new(max_subscribers);
        let (connections, clock) = (Connections::default(), Clock::start());
        let buffer = vec![0; READ_PER_TURN];
        Self { console, server, fifos, connections, opened: 0, log, clock, buffer }
    }

    /// Serves until a signal asks it to end, and tells a database about it where there is one.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self, mut report: Report) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            report.turn(&self.server, self.log, || self.measurements());
            let deadline = self.deadline().into_iter().chain(report.deadline()).min();
            self.server.poll(deadline, &mut events)?;
            for event in events.drain(..) {
                if !report.note(&event) && self.event(event).is_break() {
                    return Ok(());
                }
            }
            for fifo in self.fifos.ready() {
                self.read(fifo);
            }
            if self.clock.has_come(self.console.next_deadline()) {
                self.happened(Input::Tick);
            }
        }
    }

    /// When to look again at the latest: at once where a fifo has more to read.
    fn deadline(&self) -> Option<Instant> {
        if !self.fifos.ready().is_empty() {
            return Some(Instant::now());
        }
        self.clock.instant(self.console.next_deadline())
    }

    fn event(&mut self, event: Event) -> ControlFlow<()> {
        event.log(self.log);
        self.connections.note(&event);
        match event {
            Event::Frame(id, payload) => self.happened(Input::Frame(id.into(), &payload)),
            Event::Ended(id) => {
                self.happened(Input::Closed(id.into()));
                self.server.close(id);
            }
            Event::Closed(id, _) => self.happened(Input::Closed(id.into())),
            Event::Written(id, octets) => self.happened(Input::Written(id.into(), octets)),
            Event::Signal(Signal::SIGHUP) => self.log.info("nothing to reopen on SIGHUP"),
            Event::Signal(_) => return ControlFlow::Break(()),
            Event::Source(source) => self.fifos.note_ready(source.token),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.closed(id);
        self.server.close(id);
    }

    /// What this daemon tells a database of itself.
    fn measurements(&self) -> Vec<String> {
        let fifos = of_connections(CALLED, "fifo", self.fifos.open_now(), self.opened);
        vec![self.connections.line(CALLED), fifos]
    }

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        for output in self.console.handle(self.clock.now(), input) {
            match output {
                Output::Send { to, frames } => {
                    for client in to {
                        self.server.send_frames(client.into(), &frames);
                    }
                }
                Output::Close(client) => self.close(client.into()),
                Output::OpenFifo { fifo, name, open } => self.open(fifo, &name, open),
                Output::CloseFifo(fifo) => self.fifos.close(fifo),
                Output::PauseFifo(fifo) => self.fifos.set_paused(fifo, true),
                Output::ResumeFifo(fifo) => self.fifos.set_paused(fifo, false),
                Output::Log(notice) => self.log.log(notice.level().into(), notice),
            }
        }
    }

    /// Opens a fifo, after what the one before holds is read. That may end, and so be closed.
    fn open(&mut self, fifo: FifoId, name: &Name, before: Option<FifoId>) {
        if let Some(before) = before {
            let mut left = Fifos::drain_reads();
            while left.next().is_some() && matches!(self.read(before), Progress::Octets(_)) {}
        }
        let token = self.server.token();
        match self.fifos.open(fifo, name, before, self.server.registry(), token) {
            Ok(Opened::New) => {
                self.opened += 1;
                self.happened(Input::FifoOpened(fifo));
            }
            Ok(Opened::Kept) => self.happened(Input::FifoKept(fifo)),
            Err(error) => self.happened(Input::FifoFailed(fifo, &error.to_string())),
        }
    }

    /// Reads once from a fifo.
    fn read(&mut self, fifo: FifoId) -> Progress {
        let mut buffer = std::mem::take(&mut self.buffer);
        let progress = self.fifos.read(fifo, &mut buffer);
        match progress {
            Progress::Octets(count) => {
                self.happened(Input::FifoBytes(fifo, buffer.get(..count).unwrap_or_default()));
            }
            Progress::Nothing => {}
            Progress::Ended => self.happened(Input::FifoClosed(fifo)),
        }
        self.buffer = buffer;
        progress
    }
}
