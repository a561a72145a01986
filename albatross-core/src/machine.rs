//! Words that all machines share.

use std::time::Duration;

use albatross_proto::Time;

/// A client's connection, numbered by the driver. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub usize);

/// The two clocks that a machine is told with every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// A clock that never goes back, from a beginning of the driver's choice. Deadlines are in it.
    pub monotonic: Duration,
    /// The time of day, for what is shown and stored.
    pub wall: Time,
}

/// How much a message for the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something that was asked for could not be done.
    Error,
    /// Something is not as it should be.
    Warning,
    /// What happens.
    Info,
    /// What happens, in detail.
    Debug,
}
