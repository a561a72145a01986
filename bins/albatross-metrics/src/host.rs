//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use albatross_core::machine::Now;
use albatross_core::metrics::{Exporter, Input, Output};
use albatross_core::stats::subscription::Broken;
use albatross_driver::clock::wall_clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{Event, Server};
use albatross_driver::signals::Signal;
use albatross_driver::upstream::{Heard, Upstream};

use crate::clients::{Clients, Happened};

/// The longest frame that is read, in octets: what is told of one unikernel. With 64 network devices it has some 15 000
/// of them; a FreeBSD peer's has counters of its virtual machine besides, a hundred or two.
const MAX_FRAME: usize = 256 * 1024;

/// The machine with its connections.
pub(crate) struct Host<'a> {
    exporter: Exporter,
    server: Server,
    clients: Clients,
    statistics: Upstream,
    log: &'a Logger,
    start: Instant,
}

impl<'a> Host<'a> {
    /// The statistics daemon is reached at `socket`.
    pub(crate) fn new(
        exporter: Exporter,
        server: Server,
        clients: Clients,
        socket: PathBuf,
        log: &'a Logger,
    ) -> Self {
        let statistics = Upstream::new(socket, MAX_FRAME);
        Self { exporter, server, clients, statistics, log, start: Instant::now() }
    }

    /// Serves until a signal asks it to end.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            if self.exporter.next_deadline().is_some_and(|deadline| deadline <= self.start.elapsed()) {
                self.happened(Input::Tick);
            }
            let deadline = self.exporter.next_deadline().and_then(|when| self.start.checked_add(when));
            self.server.poll(deadline, &mut events)?;
            for event in events.drain(..) {
                if self.event(event).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn event(&mut self, event: Event) -> ControlFlow<()> {
        let event = match self.statistics.event(&mut self.server, event) {
            Ok(Heard::Frame(payload)) => {
                self.happened(Input::StatisticsFrame(&payload));
                return ControlFlow::Continue(());
            }
            Ok(Heard::Lost(why)) => {
                self.happened(Input::StatisticsClosed(Broken::Lost(why)));
                return ControlFlow::Continue(());
            }
            Err(event) => event,
        };
        match event {
            Event::Source(source) => {
                let all = self.clients.ready(source, &mut self.server);
                self.clients_did(all);
            }
            Event::Signal(Signal::SIGHUP) => self.log.info("nothing to reopen on SIGHUP"),
            Event::Signal(signal) => {
                self.log.info(format_args!("ends on {signal}"));
                return ControlFlow::Break(());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn clients_did(&mut self, all: Vec<Happened>) {
        for happened in all {
            match happened {
                Happened::Connected(client) => self.happened(Input::Connected(client)),
                Happened::Octets(client, octets) => self.happened(Input::Octets(client, &octets)),
                Happened::Closed(client) => self.happened(Input::Closed(client)),
                Happened::AcceptFailed(error) => {
                    self.log.error(format_args!("no client can be accepted: {error}"));
                }
            }
        }
    }

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        let now = Now { wall: wall_clock(), monotonic: self.start.elapsed() };
        for output in self.exporter.handle(now, input) {
            match output {
                Output::ConnectStatistics => {
                    let answer = self.connect_statistics();
                    self.happened(answer);
                }
                Output::SendStatistics(message) => {
                    self.statistics.send(&mut self.server, &message);
                }
                Output::CloseStatistics => {
                    self.statistics.close(&mut self.server);
                }
                Output::Answer(client, octets) => {
                    let all = self.clients.answer(client, octets);
                    self.clients_did(all);
                }
                Output::Close(client) => self.clients.close(client),
                Output::Log(notice) => self.log.log(notice.level().into(), notice),
            }
        }
    }

    fn connect_statistics(&mut self) -> Input<'static> {
        match self.statistics.connect(&mut self.server) {
            Ok(()) => Input::StatisticsConnected,
            Err(text) => Input::StatisticsClosed(Broken::Unreachable(text)),
        }
    }
}
