//! Between the machine and the system.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use albatross_core::influx::{Forwarder, Input, Output};
use albatross_core::stats::subscription::Broken;
use albatross_driver::clock::Clock;
use albatross_driver::lines::Lines;
use albatross_driver::logging::Logger;
use albatross_driver::server::{Event, Server};
use albatross_driver::signals::Signal;
use albatross_driver::upstream::{Heard, Upstream};

/// The machine with its connections.
pub(crate) struct Host<'a> {
    forwarder: Forwarder,
    server: Server,
    database: Lines,
    statistics: Upstream,
    /// What happened while something was done.
    happened: VecDeque<Input<'static>>,
    log: &'a Logger,
    clock: Clock,
}

impl<'a> Host<'a> {
    /// The statistics daemon is reached below `tmpdir`.
    pub(crate) fn new(
        forwarder: Forwarder,
        server: Server,
        database: Lines,
        tmpdir: &Path,
        log: &'a Logger,
    ) -> Self {
        let statistics = Upstream::statistics(tmpdir);
        let (happened, clock) = (VecDeque::new(), Clock::start());
        Self { forwarder, server, database, statistics, happened, log, clock }
    }

    /// Forwards until a signal asks it to end.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            if self.clock.has_come(self.forwarder.next_deadline()) {
                self.happened(Input::Tick);
            }
            self.server.poll(self.clock.instant(self.forwarder.next_deadline()), &mut events)?;
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
            Event::Source(source) if self.database.is(source.token) => {
                if let Some(happened) = self.database.ready() {
                    self.happened(Input::Database(happened));
                }
            }
            Event::Signal(Signal::SIGHUP) => self.log.info("nothing to reopen on SIGHUP"),
            Event::Signal(_) => return ControlFlow::Break(()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        self.handle(input);
        while let Some(input) = self.happened.pop_front() {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        for output in self.forwarder.handle(self.clock.now(), input) {
            let answer = match output {
                Output::ConnectStatistics => Some(self.connect_statistics()),
                Output::SendStatistics(message) => {
                    self.statistics.send(&mut self.server, &message);
                    None
                }
                Output::CloseStatistics => {
                    self.statistics.close(&mut self.server);
                    None
                }
                Output::Database(what) => {
                    self.database.carry_out(what, self.server.registry()).map(Input::Database)
                }
                Output::Log(notice) => {
                    self.log.log(notice.level().into(), notice);
                    None
                }
            };
            self.happened.extend(answer);
        }
    }

    fn connect_statistics(&mut self) -> Input<'static> {
        match self.statistics.connect(&mut self.server) {
            Ok(()) => Input::StatisticsConnected,
            Err(text) => Input::StatisticsClosed(Broken::Unreachable(text)),
        }
    }
}
