//! Between the machine and the system.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use albatross_core::influx::{Forwarder, FromDatabase, Input, Output, ToDatabase};
use albatross_core::machine::Now;
use albatross_core::stats::subscription::Broken;
use albatross_driver::clock::wall_clock;
use albatross_driver::lines::{Lines, Progress};
use albatross_driver::logging::Logger;
use albatross_driver::server::{Event, Server};
use albatross_driver::signals::Signal;
use albatross_driver::upstream::{Heard, Upstream};

/// The longest frame that is read, in octets: what is told of one unikernel. With 64 network devices it has some 15 000
/// of them; a FreeBSD peer's has counters of its virtual machine besides, a hundred or two.
const MAX_FRAME: usize = 256 * 1024;

/// The machine with its connections.
pub(crate) struct Host<'a> {
    forwarder: Forwarder,
    server: Server,
    database: Lines,
    statistics: Upstream,
    /// What happened while something was done.
    happened: VecDeque<Input<'static>>,
    log: &'a Logger,
    start: Instant,
}

impl<'a> Host<'a> {
    /// The statistics daemon is reached at `socket`.
    pub(crate) fn new(
        forwarder: Forwarder,
        server: Server,
        database: Lines,
        socket: PathBuf,
        log: &'a Logger,
    ) -> Self {
        let statistics = Upstream::new(socket, MAX_FRAME);
        let (happened, start) = (VecDeque::new(), Instant::now());
        Self { forwarder, server, database, statistics, happened, log, start }
    }

    /// Forwards until a signal asks it to end.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            if self.forwarder.next_deadline().is_some_and(|deadline| deadline <= self.start.elapsed()) {
                self.happened(Input::Tick);
            }
            let deadline = self.forwarder.next_deadline().and_then(|when| self.start.checked_add(when));
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
            Event::Source(source) if self.database.is(source.token) => {
                if let Some(progress) = self.database.ready() {
                    self.happened(told(progress));
                }
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

    /// Tells the machine and does what it says.
    fn happened(&mut self, input: Input<'_>) {
        self.handle(input);
        while let Some(input) = self.happened.pop_front() {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = Now { wall: wall_clock(), monotonic: self.start.elapsed() };
        for output in self.forwarder.handle(now, input) {
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
                Output::Database(ToDatabase::Connect) => {
                    let begun = self.database.connect(self.server.registry());
                    begun.err().map(|error| Input::Database(FromDatabase::Closed(error.to_string())))
                }
                Output::Database(ToDatabase::Write(text)) => self.database.write(text.as_bytes()).map(told),
                Output::Database(ToDatabase::Close) => {
                    self.database.close();
                    None
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

fn told(progress: Progress) -> Input<'static> {
    Input::Database(match progress {
        Progress::Connected => FromDatabase::Connected,
        Progress::Written(octets) => FromDatabase::Written(octets),
        Progress::Closed(error) => FromDatabase::Closed(error.to_string()),
    })
}
