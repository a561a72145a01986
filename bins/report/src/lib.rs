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

use albatross_core::influx::Address;
use albatross_core::influx::report::{Input, Output, Reporter, of_connections, of_process};
use albatross_core::stats::process::{Units, Usage, started};
use albatross_driver::clock::{Clock, wall_clock};
use albatross_driver::lines::Lines;
use albatross_driver::logging::Logger;
use albatross_driver::server::{ConnectionId, Event, Server};
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
    /// Somebody came, or is gone; who sends no more is.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Connected(id) => {
                self.open.insert(*id);
                self.total += 1;
            }
            Event::Ended(id) | Event::Closed(id, _) => self.closed(*id),
            _ => {}
        }
    }

    /// This one was closed.
    pub fn closed(&mut self, id: ConnectionId) {
        self.open.remove(&id);
    }

    /// The line about them of the daemon that is called `vm`.
    #[must_use]
    pub fn line(&self, vm: &str) -> String {
        of_connections(vm, "unix", self.open.len(), self.total)
    }
}

/// A daemon's report to a database, where it has one.
#[derive(Debug)]
pub struct Report(Option<Database>);

/// A database that is told.
#[derive(Debug)]
struct Database {
    /// What the daemon is called there.
    vm: &'static str,
    reporter: Reporter,
    lines: Lines,
    stat: File,
    status: File,
    units: Units,
    clock: Clock,
    happened: VecDeque<Input>,
}

impl Report {
    /// To the database at `address`, of the daemon that is called `vm` there; to none where there is no address.
    ///
    /// # Errors
    /// Where the own files of /proc cannot be opened.
    pub fn new(address: Option<Address>, vm: &'static str, server: &mut Server) -> io::Result<Self> {
        Ok(Self(address.map(|address| Database::new(address, vm, server)).transpose()?))
    }

    /// When to call [`Self::turn`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let database = self.0.as_ref()?;
        database.clock.instant(database.reporter.next_deadline())
    }

    /// Takes an event, if it is about the database; whether it is.
    pub fn note(&mut self, event: &Event) -> bool {
        match (&mut self.0, event) {
            (Some(database), Event::Source(source)) if database.lines.is(source.token) => {
                let happened = database.lines.ready();
                database.happened.extend(happened.map(Input::Database));
                true
            }
            _ => false,
        }
    }

    /// Does what is to be done; `measure` makes the lines that are the daemon's own.
    pub fn turn(&mut self, server: &Server, log: &Logger, measure: impl Fn() -> Vec<String>) {
        if let Some(database) = &mut self.0 {
            database.turn(server, log, &measure);
        }
    }
}

impl Database {
    fn new(address: Address, vm: &'static str, server: &mut Server) -> io::Result<Self> {
        let number = |variable| Ok::<_, io::Error>(sysconf(variable)?.unwrap_or(1));
        let units = Units { ticks: number(SysconfVar::CLK_TCK)?, page: number(SysconfVar::PAGE_SIZE)? };
        Ok(Self {
            vm,
            reporter: Reporter::default(),
            lines: Lines::new(address.0, server.token()),
            stat: File::open("/proc/self/stat")?,
            status: File::open("/proc/self/status")?,
            units,
            clock: Clock::start(),
            happened: VecDeque::new(),
        })
    }

    fn turn(&mut self, server: &Server, log: &Logger, measure: &impl Fn() -> Vec<String>) {
        if self.clock.has_come(self.reporter.next_deadline()) {
            self.happened.push_back(Input::Tick);
        }
        while let Some(input) = self.happened.pop_front() {
            for output in self.reporter.handle(self.clock.now().monotonic, input) {
                let answer = match output {
                    Output::Database(what) => {
                        self.lines.carry_out(what, server.registry()).map(Input::Database)
                    }
                    Output::Measure => Some(Input::Lines(self.measured(log, measure))),
                    Output::Log(notice) => {
                        log.log(notice.level().into(), notice);
                        None
                    }
                };
                self.happened.extend(answer);
            }
        }
    }

    /// The lines of this process and of what the daemon has.
    fn measured(&self, log: &Logger, measure: &impl Fn() -> Vec<String>) -> Vec<String> {
        let mut lines = self.own().unwrap_or_else(|error| {
            log.warning(format_args!("the own process cannot be measured: {error}"));
            Vec::new()
        });
        lines.extend(measure());
        lines
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
