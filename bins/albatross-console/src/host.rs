//! Between the machine and the system.

use std::io;
use std::time::Instant;

use albatross_core::console::{Console, FifoId, Input, Output};
use albatross_core::influx::report::of_connections;
use albatross_core::machine::{ClientId, Now};
use albatross_driver::clock::wall_clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{CloseReason, ConnectionId, Event, Server};
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
    start: Instant,
    /// What is read from a fifo; taken out while it is in use.
    buffer: Vec<u8>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(server: Server, fifos: Fifos, max_subscribers: usize, log: &'a Logger) -> Self {
        let console = Console::new(max_subscribers);
        let (connections, start) = (Connections::default(), Instant::now());
        let buffer = vec![0; READ_PER_TURN];
        Self { console, server, fifos, connections, opened: 0, log, start, buffer }
    }

    /// Serves until a signal asks it to end, and tells a database about it where there is one.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self, mut report: Option<Report>) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            if let Some(report) = &mut report {
                report.turn(&self.server, self.log, || self.measurements());
            }
            let deadline =
                self.deadline().into_iter().chain(report.as_ref().and_then(Report::deadline)).min();
            self.server.poll(deadline, &mut events)?;
            for event in events.drain(..) {
                if let (Event::Source(source), Some(report)) = (&event, &mut report)
                    && report.note(*source)
                {
                    continue;
                }
                if self.event(event).is_break() {
                    return Ok(());
                }
            }
            for fifo in self.fifos.ready() {
                self.read(fifo);
            }
            if self.console.next_deadline().is_some_and(|deadline| deadline <= self.start.elapsed()) {
                self.happened(Input::Tick);
            }
        }
    }

    /// When to look again at the latest: at once where a fifo has more to read.
    fn deadline(&self) -> Option<Instant> {
        if !self.fifos.ready().is_empty() {
            return Some(self.start);
        }
        self.console.next_deadline().map(|deadline| self.start + deadline)
    }

    fn event(&mut self, event: Event) -> std::ops::ControlFlow<()> {
        match event {
            Event::Connected(id) => {
                self.connections.connected(id);
                self.log.debug(format_args!("client {} connected", id.0));
            }
            Event::Frame(id, payload) => self.happened(Input::Frame(client(id), &payload)),
            Event::Ended(id) => {
                self.happened(Input::Closed(client(id)));
                self.close(id);
            }
            Event::Closed(id, reason) => {
                self.connections.closed(id);
                self.note_closed(id, &reason);
                self.happened(Input::Closed(client(id)));
            }
            Event::Written(id, octets) => self.happened(Input::Written(client(id), octets)),
            Event::Signal(Signal::SIGHUP) => self.log.info("nothing to reopen on SIGHUP"),
            Event::Signal(signal) => {
                self.log.info(format_args!("ends on {signal}"));
                return std::ops::ControlFlow::Break(());
            }
            Event::Source(source) => self.fifos.note_ready(source.token),
            Event::AcceptFailed(error) => self.log.error(format_args!("no client can be accepted: {error}")),
            _ => {}
        }
        std::ops::ControlFlow::Continue(())
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

    fn note_closed(&self, id: ConnectionId, reason: &CloseReason) {
        match reason {
            CloseReason::Peer => self.log.debug(format_args!("client {}: {reason}", id.0)),
            _ => self.log.warning(format_args!("client {}: {reason}", id.0)),
        }
    }

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        let now = Now { wall: wall_clock(), monotonic: self.start.elapsed() };
        for output in self.console.handle(now, input) {
            match output {
                Output::Send { to, frames } => {
                    for ClientId(id) in to {
                        self.server.send_frames(ConnectionId(id), &frames);
                    }
                }
                Output::Close(ClientId(id)) => self.close(ConnectionId(id)),
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

const fn client(ConnectionId(id): ConnectionId) -> ClientId {
    ClientId(id)
}
