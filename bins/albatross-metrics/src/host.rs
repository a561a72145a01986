//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use albatross_core::machine::{Level, Now};
use albatross_core::metrics::{Exporter, Input, Notice, Output};
use albatross_core::stats::subscription::Broken;
use albatross_driver::logging::Logger;
use albatross_driver::server::{ConnectionId, Event, Server};
use albatross_driver::signals::Signal;
use albatross_proto::Time;

use crate::clients::{Clients, Happened};

/// The longest frame that is read, in octets: what is told of one unikernel. With 64 network devices it has some 15 000
/// of them; a FreeBSD peer's has counters of its virtual machine besides, a hundred or two.
const MAX_FRAME: usize = 256 * 1024;

/// The machine with its connections.
pub(crate) struct Host<'a> {
    exporter: Exporter,
    server: Server,
    clients: Clients,
    statistics: Option<ConnectionId>,
    socket: PathBuf,
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
        Self { exporter, server, clients, statistics: None, socket, log, start: Instant::now() }
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
        match event {
            Event::Frame(id, payload) if self.statistics == Some(id) => {
                self.happened(Input::StatisticsFrame(&payload));
            }
            Event::Ended(id) if self.statistics == Some(id) => {
                self.statistics = None;
                self.server.abort(id);
                self.happened(Input::StatisticsClosed(Broken::Lost("closed by the other side".to_owned())));
            }
            Event::Closed(id, reason) if self.statistics == Some(id) => {
                self.statistics = None;
                self.happened(Input::StatisticsClosed(Broken::Lost(reason.to_string())));
            }
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
                    self.statistics.iter().for_each(|id| self.server.send(*id, &message));
                }
                Output::CloseStatistics => {
                    self.statistics.take().into_iter().for_each(|id| self.server.abort(id));
                }
                Output::Answer(client, octets) => {
                    let all = self.clients.answer(client, octets);
                    self.clients_did(all);
                }
                Output::Close(client) => self.clients.close(client),
                Output::Log(notice) => self.note(&notice),
            }
        }
    }

    fn connect_statistics(&mut self) -> Input<'static> {
        match connect(&self.socket).and_then(|stream| self.server.add(stream, MAX_FRAME)) {
            Ok(id) => {
                self.statistics = Some(id);
                Input::StatisticsConnected
            }
            Err(error) => {
                let text = format!("{}: {error}", self.socket.display());
                Input::StatisticsClosed(Broken::Unreachable(text))
            }
        }
    }

    fn note(&self, notice: &Notice) {
        match notice.level() {
            Level::Error => self.log.error(notice),
            Level::Warning => self.log.warning(notice),
            Level::Info => self.log.info(notice),
            Level::Debug => self.log.debug(notice),
        }
    }
}

/// Connects without waiting: where the other daemon has stopped and its queue is full, that is an error.
fn connect(path: &Path) -> io::Result<UnixStream> {
    Ok(UnixStream::from(OwnedFd::from(mio::net::UnixStream::connect(path)?)))
}

fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Time::from_unix(seconds, since.subsec_nanos()).unwrap_or(Time::MAX)
}
