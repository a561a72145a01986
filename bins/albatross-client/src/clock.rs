//! The clock of this host.

use std::time::SystemTime;

use albatross_proto::Time;

/// The time, to the second.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0).unwrap_or(Time::MAX)
}
