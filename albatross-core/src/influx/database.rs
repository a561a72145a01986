//! The connection to the database: what is written to it, and what is left out.

use std::time::Duration;

use super::{MAX_WAITING, Notice, PATIENCE};
use crate::stats::subscription::Retry;

/// What happened to the connection to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromDatabase {
    /// It was reached.
    Connected,
    /// So many octets were written to it.
    Written(usize),
    /// It was not reached or is gone, and why. What waited for it is gone, too.
    Closed(String),
}

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToDatabase {
    /// Connect to it: [`FromDatabase::Connected`] or [`FromDatabase::Closed`] answers.
    Connect,
    /// Write this, as one piece if it takes it.
    Write(String),
    /// Close the connection, also one that is being made. Nothing is said of it any more.
    Close,
}

/// What comes of it.
pub(super) enum Outcome {
    Do(ToDatabase),
    Say(Notice),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be connected then.
    Away(Duration),
    /// Being connected; given up then.
    Connecting(Duration),
    /// Takes lines.
    Here {
        /// Octets that wait.
        waiting: usize,
        /// When it last took something, or nothing waited.
        moved: Duration,
        /// Messages are being left out.
        slow: bool,
    },
}

/// The database as a writer sees it.
#[derive(Debug)]
pub(super) struct Database {
    state: State,
    retry: Retry,
    /// Messages that were left out since the database was last reached.
    missed: u64,
}

impl Default for Database {
    fn default() -> Self {
        Self { state: State::Away(Duration::ZERO), retry: Retry::default(), missed: 0 }
    }
}

impl Database {
    pub(super) const fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Away(until) | State::Connecting(until) => Some(until),
            State::Here { waiting: 0, .. } => None,
            State::Here { moved, .. } => Some(moved.saturating_add(PATIENCE)),
        }
    }

    pub(super) const fn is_here(&self) -> bool {
        matches!(self.state, State::Here { .. })
    }

    /// Writes the lines of a message, or leaves all of them out.
    pub(super) fn write(&mut self, now: Duration, lines: String) -> Option<Outcome> {
        let State::Here { waiting, moved, slow } = &mut self.state else {
            self.missed += 1;
            return None;
        };
        if *waiting + lines.len() > MAX_WAITING {
            self.missed += 1;
            return (!std::mem::replace(slow, true)).then_some(Outcome::Say(Notice::DatabaseSlow));
        }
        if *waiting == 0 {
            *moved = now;
            *slow = false;
        }
        *waiting += lines.len();
        Some(Outcome::Do(ToDatabase::Write(lines)))
    }

    pub(super) fn happened(&mut self, now: Duration, what: FromDatabase) -> Option<Outcome> {
        match what {
            FromDatabase::Connected => {
                self.retry.worked();
                self.state = State::Here { waiting: 0, moved: now, slow: false };
                Some(Outcome::Say(Notice::Database(std::mem::take(&mut self.missed))))
            }
            FromDatabase::Written(octets) => {
                if let State::Here { waiting, moved, .. } = &mut self.state {
                    *waiting = waiting.saturating_sub(octets);
                    *moved = now;
                }
                None
            }
            FromDatabase::Closed(why) => Some(self.closed(now, why)),
        }
    }

    fn closed(&mut self, now: Duration, why: String) -> Outcome {
        self.state = State::Away(self.retry.failed(now));
        Outcome::Say(Notice::DatabaseClosed(why))
    }

    pub(super) fn tick(&mut self, now: Duration) -> Vec<Outcome> {
        match self.state {
            State::Away(until) if until <= now => {
                self.state = State::Connecting(now + PATIENCE);
                vec![Outcome::Do(ToDatabase::Connect)]
            }
            State::Connecting(until) if until <= now => self.give_up(now, "no answer"),
            State::Here { waiting, moved, .. } if waiting > 0 && moved + PATIENCE <= now => {
                self.give_up(now, "it takes nothing of what is sent")
            }
            _ => Vec::new(),
        }
    }

    fn give_up(&mut self, now: Duration, why: &str) -> Vec<Outcome> {
        vec![Outcome::Do(ToDatabase::Close), self.closed(now, why.to_owned())]
    }
}
