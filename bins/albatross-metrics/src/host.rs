//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use albatross_core::metrics::{Exporter, Input, Output};
use albatross_core::stats::subscription::Broken;
use albatross_driver::clock::Clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{Event, Server};
use albatross_driver::signals::Signal;
use albatross_driver::upstream::{Heard, Upstream};

use crate::clients::{Clients, Happened};

/// The machine with its connections.
pub(crate) struct Host<'a> {
    exporter: Exporter,
    server: Server,
    clients: Clients,
    statistics: Upstream,
    log: &'a Logger,
    clock: Clock,
}

impl<'a> Host<'a> {
    /// The statistics daemon is reached below `tmpdir`.
    pub(crate) fn new(
        exporter: Exporter,
        server: Server,
        clients: Clients,
        tmpdir: &Path,
        log: &'a Logger,
    ) -> Self {
        let (statistics, clock) = (Upstream::statistics(tmpdir), Clock::start());
        Self { exporter, server, clients, statistics, log, clock }
    }

    /// Serves until a signal asks it to end.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            if self.clock.has_come(self.exporter.next_deadline()) {
                self.happened(Input::Tick);
            }
            self.server.poll(self.clock.instant(self.exporter.next_deadline()), &mut events)?;
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
        event.log(self.log);
        match event {
            Event::Source(source) => {
                let all = self.clients.ready(source, &mut self.server);
                self.clients_did(all);
            }
            Event::Signal(Signal::SIGHUP) => self.log.info("nothing to reopen on SIGHUP"),
            Event::Signal(_) => return ControlFlow::Break(()),
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
        for output in self.exporter.handle(self.clock.now(), input) {
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
