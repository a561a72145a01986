//! Between the machine and the system.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use albatross_core::stats::{Input, Output, Stats};
use albatross_driver::clock::Clock;
use albatross_driver::logging::Logger;
use albatross_driver::server::{ConnectionId, Event, Server};
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
    clock: Clock,
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
        let (connections, clock) = (Connections::default(), Clock::start());
        Self { stats, server, processes, vmmd, connections, log, clock }
    }

    /// Serves until a signal asks it to end, and tells a database about it where there is one.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn run(mut self, mut report: Report) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            report.turn(&self.server, self.log, || vec![self.connections.line(CALLED)]);
            if self.clock.has_come(self.stats.next_deadline()) {
                self.happened(Input::Tick);
            }
            let deadline = self.clock.instant(self.stats.next_deadline());
            self.server.poll(deadline.into_iter().chain(report.deadline()).min(), &mut events)?;
            for event in events.drain(..) {
                if !report.note(&event) && self.event(event).is_break() {
                    return Ok(());
                }
            }
        }
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
        for output in self.stats.handle(self.clock.now(), input) {
            match output {
                Output::Send { to, frames } => {
                    for client in to {
                        self.server.send_frames(client.into(), &frames);
                    }
                }
                Output::Close(client) => self.close(client.into()),
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
            Ok(id) => Input::VmmdConnected(id.into()),
            Err(error) => Input::VmmdUnreachable(format!("{}: {error}", self.vmmd.display())),
        }
    }
}
