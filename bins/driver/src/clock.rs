//! The time of day.

use std::time::{Duration, SystemTime};

use albatross_proto::Time;

/// What the clock of the system says. One that is set to before 1970 is there then, one beyond the year 9999 at its end.
#[must_use]
pub fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Time::from_unix(seconds, since.subsec_nanos()).unwrap_or(Time::MAX)
}
