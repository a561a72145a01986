//! Statistics as InfluxDB's line protocol: the lines, and the rules of the program that forwards them.
//!
//! The machine ([`Forwarder`]) is told what happens ([`Input`]) and says what is to be done ([`Output`]). It is
//! subscribed to statistics, and writes the lines of each message to the database as they come.
//!
//! * Lines carry no time: what is late would be taken for what is. So while the database is not reached, or takes less
//!   than comes, what does not fit into [`MAX_WAITING`] is left out, by whole messages, and counted.
//! * Both sides are looked for for ever, after 250 ms at first and after 5 s at most.
//! * A database that takes nothing for [`PATIENCE`] is left and connected to again.

mod address;
mod database;
mod lines;
pub mod report;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use albatross_proto::Name;

use crate::machine::{Level, Now};
use crate::stats::subscription::{Broken, Subscription};
pub use address::{Address, AddressError, DEFAULT_PORT};
use database::{Database, Outcome};
pub use database::{FromDatabase, ToDatabase};
pub(crate) use lines::Line;
pub use lines::lines;

/// Octets of lines that may wait for the database: what a thousand unikernels with a network device each make in an
/// interval.
pub const MAX_WAITING: usize = 1024 * 1024;

/// How long the database may take to accept a connection, or to take anything of what waits.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a daemon writes what it measures of itself.
pub const PERIOD: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The statistics daemon was reached.
    StatisticsConnected,
    /// The statistics daemon sent a frame.
    StatisticsFrame(&'a [u8]),
    /// The statistics daemon was not reached ([`Broken::Unreachable`]) or is gone ([`Broken::Lost`]).
    StatisticsClosed(Broken),
    /// Something happened to the connection to the database.
    Database(FromDatabase),
    /// The deadline of [`Forwarder::next_deadline`] has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the statistics daemon: [`Input::StatisticsConnected`] or [`Input::StatisticsClosed`] answers.
    ConnectStatistics,
    /// Send this message to the statistics daemon as a frame.
    SendStatistics(Vec<u8>),
    /// Close the connection to the statistics daemon. Nothing is said of it any more.
    CloseStatistics,
    /// Do this with the database.
    Database(ToDatabase),
    /// Put this into the log.
    Log(Notice),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The subscription is broken; it is tried again.
    Subscription(Broken),
    /// The database was reached, and so many messages were left out while it was not.
    Database(u64),
    /// The database was not reached or is gone, and why; it is tried again.
    DatabaseClosed(String),
    /// The database takes less than comes: messages are left out.
    DatabaseSlow,
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Database(_) => Level::Info,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(broken) => broken.fmt(f),
            Self::Database(0) => f.write_str("the database is reached"),
            Self::Database(missed) => {
                write!(f, "the database is reached; {missed} messages were left out before")
            }
            Self::DatabaseClosed(why) => write!(f, "the database is not reached: {why}"),
            Self::DatabaseSlow => f.write_str("the database takes less than comes: statistics are left out"),
        }
    }
}

/// Forwards statistics to a database.
#[derive(Debug)]
pub struct Forwarder {
    subscription: Subscription,
    drop_path: bool,
    database: Database,
    outputs: Vec<Output>,
}

impl Forwarder {
    /// Forwards the statistics of what is under `name`; [`Input::Tick`] begins. Unikernels are called by their labels,
    /// or by their whole names where the path is not dropped.
    #[must_use]
    pub fn new(name: Name, drop_path: bool) -> Self {
        Self {
            subscription: Subscription::new(name),
            drop_path,
            database: Database::default(),
            outputs: Vec::new(),
        }
    }

    /// Takes in what happened and returns what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Vec<Output> {
        match input {
            Input::StatisticsConnected => {
                let message = self.subscription.connected();
                self.outputs.push(Output::SendStatistics(message));
            }
            Input::StatisticsFrame(payload) => self.frame(now, payload),
            Input::StatisticsClosed(why) => self.unsubscribed(now.monotonic, why),
            Input::Database(what) => {
                let outcome = self.database.happened(now.monotonic, what);
                self.outputs.extend(outcome.map(Output::from));
            }
            Input::Tick => self.tick(now.monotonic),
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Tick`] is next due; `None` while there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.database.deadline().into_iter().chain(self.subscription.deadline()).min()
    }

    fn frame(&mut self, now: Now, payload: &[u8]) {
        match self.subscription.frame(payload) {
            Ok(None) => {}
            Ok(Some((name, statistics))) => {
                let label = name.label().filter(|_| self.drop_path).map(|label| label.as_str().to_owned());
                let vm = label.unwrap_or_else(|| name.to_string());
                let outcome = self.database.write(now.monotonic, lines(&vm, &statistics, now.wall));
                self.outputs.extend(outcome.map(Output::from));
            }
            Err(broken) => {
                self.outputs.push(Output::CloseStatistics);
                self.unsubscribed(now.monotonic, broken);
            }
        }
    }

    fn unsubscribed(&mut self, now: Duration, why: Broken) {
        self.subscription.lost(now);
        self.outputs.push(Output::Log(Notice::Subscription(why)));
    }

    fn tick(&mut self, now: Duration) {
        if self.subscription.is_due(now) {
            self.outputs.push(Output::ConnectStatistics);
        }
        self.outputs.extend(self.database.tick(now).into_iter().map(Output::from));
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
