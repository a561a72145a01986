//! The clocks of a daemon.

use std::time::{Duration, Instant, SystemTime};

use albatross_core::machine::Now;
use albatross_proto::Time;

/// What the clock of the system says. One that is set to before 1970 is there then, one beyond the year 9999 at its end.
#[must_use]
pub fn wall_clock() -> Time {
    let since = since_1970();
    time(since, since.subsec_nanos())
}

/// The same to the second, as certificates have it.
#[must_use]
pub fn wall_clock_second() -> Time {
    time(since_1970(), 0)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

fn time(since: Duration, nanoseconds: u32) -> Time {
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Time::from_unix(seconds, nanoseconds).unwrap_or(Time::MAX)
}

/// The clock of a machine, in which its deadlines are.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    beginning: Instant,
}

impl Clock {
    /// One that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { beginning: Instant::now() }
    }

    /// What the machine is told with every input.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { monotonic: self.beginning.elapsed(), wall: wall_clock() }
    }

    /// Whether this deadline of the machine has come.
    #[must_use]
    pub fn has_come(&self, deadline: Option<Duration>) -> bool {
        deadline.is_some_and(|deadline| deadline <= self.beginning.elapsed())
    }

    /// When this deadline of the machine is; `None` where there is none.
    #[must_use]
    pub fn instant(&self, deadline: Option<Duration>) -> Option<Instant> {
        deadline.and_then(|deadline| self.beginning.checked_add(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_once_the_clock_is_there() {
        let clock = Clock::start();
        assert!(clock.has_come(Some(Duration::ZERO)) && clock.has_come(Some(clock.now().monotonic)));
        assert!(!clock.has_come(Some(Duration::from_secs(3600))) && !clock.has_come(None));
        assert!(clock.instant(Some(Duration::ZERO)) <= Some(Instant::now()));
        // Further off than the system can say: never.
        assert_eq!([clock.instant(Some(Duration::MAX)), clock.instant(None)], [None, None]);
    }
}
