//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use albatross_core::machine::{ClientId, Now};
use albatross_core::stats::{Input, Output, Stats};
use albatross_driver::clock::wall_clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{CloseReason, ConnectionId, Event, Server};
use albatross_driver::signals::Signal;
use albatross_driver::upstream;
use albatross_report::{Connections, Report};

use crate::processes::{self, Processes};

/// What this daemon is called in a database.
pub(crate) const CALLED: &str = "albatross_stats";

/// The longest frame that is read, in octets: a `stats add` with the longest name and 64 network devices, which is
/// what an image may have, is some 15 000.
pub(crate) const MAX_FRAME: usize = 64 * 1024;

/// The machine with its sockets and processes.
pub(crate) struct Host<'a> {
    stats: Stats,
    server: Server,
    processes: Processes,
    vmmd: PathBuf,
    connections: Connections,
    log: &'a Logger,
    start: Instant,
}

impl<'a> Host<'a> {
    /// albatrossd is reached at `vmmd`.
    pub(crate) fn new(
        stats: Stats,
        server: Server,
        processes: Processes,
        vmmd: PathBuf,
        log: &'a Logger,
    ) -> Self {
        let (connections, start) = (Connections::default(), Instant::now());
        Self { stats, server, processes, vmmd, connections, log, start }
    }

    /// Serves until a signal asks it to end, and tells a database about it where there is one.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self, mut report: Option<Report>) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            if let Some(report) = &mut report {
                report.turn(&self.server, self.log, || vec![self.connections.line(CALLED)]);
            }
            if self.stats.next_deadline().is_some_and(|deadline| deadline <= self.start.elapsed()) {
                self.happened(Input::Tick);
            }
            let deadline = self.stats.next_deadline().and_then(|when| self.start.checked_add(when));
            let deadline = deadline.into_iter().chain(report.as_ref().and_then(Report::deadline)).min();
            self.server.poll(deadline, &mut events)?;
            for event in events.drain(..) {
                if let (Event::Source(source), Some(report)) = (&event, &mut report) {
                    report.note(*source);
                }
                if self.event(event).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn event(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Connected(id) => {
                self.connections.connected(id);
                self.log.debug(format_args!("client {} connected", id.0));
            }
            Event::Frame(id, payload) => self.happened(Input::Frame(ClientId(id.0), &payload)),
            Event::Ended(id) => {
                self.happened(Input::Closed(ClientId(id.0)));
                self.close(id);
            }
            Event::Closed(id, reason) => {
                self.connections.closed(id);
                self.note_closed(id, &reason);
                self.happened(Input::Closed(ClientId(id.0)));
            }
            Event::Written(id, octets) => self.happened(Input::Written(ClientId(id.0), octets)),
            Event::Signal(Signal::SIGHUP) => self.log.info("nothing to reopen on SIGHUP"),
            Event::Signal(signal) => {
                self.log.info(format_args!("ends on {signal}"));
                return ControlFlow::Break(());
            }
            Event::AcceptFailed(error) => self.log.error(format_args!("no client can be accepted: {error}")),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.closed(id);
        self.server.close(id);
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
        for output in self.stats.handle(now, input) {
            match output {
                Output::Send { to, frames } => {
                    for ClientId(id) in to {
                        self.server.send_frames(ConnectionId(id), &frames);
                    }
                }
                Output::Close(ClientId(id)) => self.close(ConnectionId(id)),
                Output::ConnectVmmd => {
                    let answer = self.connect();
                    self.happened(answer);
                }
                Output::Watch { watch, pid, taps } => {
                    let watched = self.processes.watch(watch, pid, taps);
                    let since_boot = processes::since_boot();
                    self.happened(match watched {
                        Ok(usage) => Input::Watched(watch, Box::new(usage), since_boot),
                        Err(error) => Input::NotWatched(watch, error.to_string()),
                    });
                }
                Output::Unwatch(watch) => self.processes.unwatch(watch),
                Output::Gather => {
                    let all = self.processes.gather(self.log);
                    self.happened(Input::Gathered(all));
                }
                Output::Log(notice) => self.log.log(notice.level().into(), notice),
            }
        }
    }

    fn connect(&mut self) -> Input<'static> {
        match upstream::connect(&self.vmmd).and_then(|stream| self.server.add(stream, MAX_FRAME)) {
            Ok(id) => Input::VmmdConnected(ClientId(id.0)),
            Err(error) => Input::VmmdUnreachable(format!("{}: {error}", self.vmmd.display())),
        }
    }
}
