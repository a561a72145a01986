//! What a daemon tells a database about itself (`--influx`): the connection to it, and the figures of the own process.
//!
//! The rules are in [`albatross_core::influx::report`]. A daemon makes a [`Report`], tells it of events, calls
//! [`Report::turn`] in each turn of its loop, and waits no longer than [`Report::deadline`].
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use albatross_core::influx::report::{Input, Output, Reporter, of_connections, of_process};
use albatross_core::influx::{Address, FromDatabase, ToDatabase};
use albatross_core::stats::process::{Units, Usage, started};
use albatross_driver::clock::wall_clock;
use albatross_driver::lines::{Lines, Progress};
use albatross_driver::logging::Logger;
use albatross_driver::server::{ConnectionId, Server, SourceEvent};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Octets that are read of a file of /proc, as albatross-stats does.
const BUFFER: usize = 32 * 1024;

/// The connections that a daemon has and has had.
#[derive(Debug, Default)]
pub struct Connections {
    open: BTreeSet<ConnectionId>,
    total: usize,
}

impl Connections {
    /// Somebody connected.
    pub fn connected(&mut self, id: ConnectionId) {
        self.open.insert(id);
        self.total += 1;
    }

    /// He is gone, or was closed.
    pub fn closed(&mut self, id: ConnectionId) {
        self.open.remove(&id);
    }

    /// The line about them of the daemon that is called `vm`.
    #[must_use]
    pub fn line(&self, vm: &str) -> String {
        of_connections(vm, "unix", self.open.len(), self.total)
    }
}

/// A daemon's report to a database.
#[derive(Debug)]
pub struct Report {
    /// What the daemon is called there.
    vm: &'static str,
    reporter: Reporter,
    lines: Lines,
    stat: File,
    status: File,
    units: Units,
    start: Instant,
    happened: VecDeque<Input>,
}

impl Report {
    /// To the database at `address`, of the daemon that is called `vm` there.
    ///
    /// # Errors
    /// Where the own files of /proc cannot be opened.
    pub fn new(address: Address, vm: &'static str, server: &mut Server) -> io::Result<Self> {
        let number = |variable| Ok::<_, io::Error>(sysconf(variable)?.unwrap_or(1));
        let units = Units { ticks: number(SysconfVar::CLK_TCK)?, page: number(SysconfVar::PAGE_SIZE)? };
        Ok(Self {
            vm,
            reporter: Reporter::default(),
            lines: Lines::new(address.0, server.token()),
            stat: File::open("/proc/self/stat")?,
            status: File::open("/proc/self/status")?,
            units,
            start: Instant::now(),
            happened: VecDeque::new(),
        })
    }

    /// When to call [`Self::turn`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.reporter.next_deadline().and_then(|when| self.start.checked_add(when))
    }

    /// Takes an event that is about the database; whether it is.
    pub fn note(&mut self, event: SourceEvent) -> bool {
        let is_ours = self.lines.is(event.token);
        if is_ours {
            let progress = self.lines.ready();
            self.happened.extend(progress.map(told));
        }
        is_ours
    }

    /// Does what is to be done; `measure` makes the lines that are the daemon's own.
    pub fn turn(&mut self, server: &Server, log: &Logger, measure: impl Fn() -> Vec<String>) {
        if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.happened.push_back(Input::Tick);
        }
        while let Some(input) = self.happened.pop_front() {
            for output in self.reporter.handle(self.start.elapsed(), input) {
                let answer = self.carry_out(output, server, log, &measure);
                self.happened.extend(answer);
            }
        }
    }

    fn carry_out(
        &mut self,
        output: Output,
        server: &Server,
        log: &Logger,
        measure: &impl Fn() -> Vec<String>,
    ) -> Option<Input> {
        match output {
            Output::Database(ToDatabase::Connect) => {
                let begun = self.lines.connect(server.registry());
                begun.err().map(|error| Input::Database(FromDatabase::Closed(error.to_string())))
            }
            Output::Database(ToDatabase::Write(text)) => self.lines.write(text.as_bytes()).map(told),
            Output::Database(ToDatabase::Close) => {
                self.lines.close();
                None
            }
            Output::Measure => {
                let mut lines = self.own().unwrap_or_else(|error| {
                    log.warning(format_args!("the own process cannot be measured: {error}"));
                    Vec::new()
                });
                lines.extend(measure());
                Some(Input::Lines(lines))
            }
            Output::Log(notice) => {
                log.log(notice.level().into(), notice);
                None
            }
        }
    }

    /// What this process has used.
    fn own(&self) -> io::Result<Vec<String>> {
        let read = |file: &File| {
            let mut buffer = vec![0; BUFFER];
            let count = file.read_at(&mut buffer, 0)?;
            buffer.truncate(count);
            Ok::<_, io::Error>(buffer)
        };
        let usage =
            Usage::parse(&read(&self.stat)?, &read(&self.status)?, self.units).map_err(io::Error::other)?;
        let now = wall_clock();
        let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
        Ok(of_process(self.vm, &usage, started(now, since_boot, usage.start, self.units), now))
    }
}

fn told(progress: Progress) -> Input {
    Input::Database(match progress {
        Progress::Connected => FromDatabase::Connected,
        Progress::Written(octets) => FromDatabase::Written(octets),
        Progress::Closed(error) => FromDatabase::Closed(error.to_string()),
    })
}
