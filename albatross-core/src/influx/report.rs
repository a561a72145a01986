//! What a daemon tells a database about itself, for as long as it runs (`--influx`).

use std::time::Duration;

use albatross_proto::Time;
use albatross_proto::stats::TimeVal;

use super::database::{Database, FromDatabase, Outcome, ToDatabase};
use super::lines::{Line, kinfo_mem, rusage};
use super::{Notice, PERIOD};
use crate::stats::process::Usage;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Something happened to the connection to the database.
    Database(FromDatabase),
    /// What the daemon measured, in lines; each is written or left out.
    Lines(Vec<String>),
    /// The deadline of [`Reporter::next_deadline`] has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Do this with the database.
    Database(ToDatabase),
    /// Measure: [`Input::Lines`] answers.
    Measure,
    /// Put this into the log.
    Log(Notice),
}

/// Writes what a daemon measures of itself to a database, every [`PERIOD`], while it is reached.
#[derive(Debug, Default)]
pub struct Reporter {
    database: Database,
    next: Duration,
}

impl Reporter {
    /// Takes in what happened at `now` and returns what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let outcomes = match input {
            Input::Database(what) => self.database.happened(now, what).into_iter().collect(),
            Input::Lines(lines) => lines.into_iter().filter_map(|it| self.database.write(now, it)).collect(),
            Input::Tick => self.database.tick(now),
        };
        let mut outputs: Vec<Output> = outcomes.into_iter().map(Output::from).collect();
        if self.database.is_here() && self.next <= now {
            self.next = now + PERIOD;
            outputs.push(Output::Measure);
        }
        outputs
    }

    /// When [`Input::Tick`] is next due; `None` while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let next = self.database.is_here().then_some(self.next);
        next.into_iter().chain(self.database.deadline()).min()
    }
}

impl From<Outcome> for Output {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Do(what) => Self::Database(what),
            Outcome::Say(notice) => Self::Log(notice),
        }
    }
}

/// What the process of the daemon `vm` has used, which began at `start`.
#[must_use]
pub fn of_process(vm: &str, usage: &Usage, start: TimeVal, now: Time) -> Vec<String> {
    let (mut own, mut memory) = (String::new(), String::new());
    rusage(&mut own, vm, &usage.rusage);
    kinfo_mem(&mut memory, vm, &albatross_proto::stats::KinfoMem { start, ..usage.memory }, now);
    vec![own, memory]
}

/// The connections of one kind that the daemon `vm` has, and has had since it began.
#[must_use]
pub fn of_connections(vm: &str, kind: &str, active: usize, total: usize) -> String {
    let mut out = String::new();
    let mut line = Line::new(&mut out, "connections", &[("vm", vm.as_bytes()), ("kind", kind.as_bytes())]);
    line.field(b"active", format_args!("{active}i"));
    line.field(b"total", format_args!("{total}i"));
    line.end();
    out
}
