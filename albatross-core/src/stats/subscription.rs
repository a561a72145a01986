//! Being subscribed to statistics, for as long as a program runs: what a forwarder of them has to do.

use std::fmt;
use std::time::Duration;

use albatross_proto::stats::Statistics;
use albatross_proto::{
    Command, Data, DecodeError, Header, Name, Payload, StatisticsCommand, Success, Text, Wire,
};

/// How long is waited before a connection is made again, at first; each time twice as long.
pub const RETRY_FIRST: Duration = Duration::from_millis(250);

/// How long is waited at most.
pub const RETRY_MOST: Duration = Duration::from_secs(5);

/// When to make a connection again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { wait: RETRY_FIRST }
    }
}

impl Retry {
    /// Another attempt failed at `now`: when the next is due.
    pub fn failed(&mut self, now: Duration) -> Duration {
        let next = now + self.wait;
        self.wait = (self.wait * 2).min(RETRY_MOST);
        next
    }

    /// It works: the next failure is the first.
    pub fn worked(&mut self) {
        *self = Self::default();
    }
}

/// A subscription to the statistics of what is under a name.
#[derive(Debug)]
pub struct Subscription {
    name: Name,
    state: State,
    retry: Retry,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be connected then.
    Away(Duration),
    /// Being connected.
    Connecting,
    /// The statistics daemon was asked.
    Asked,
    Subscribed,
}

/// Why a subscription cannot go on: the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The statistics daemon is not there.
    Unreachable(String),
    /// The connection is gone.
    Lost(String),
    /// What came is no message.
    Undecodable(DecodeError),
    /// The statistics daemon refused, or ended the subscription.
    Refused(Text),
    /// What came is no statistics.
    Unexpected,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "albatross-stats cannot be reached: {why}"),
            Self::Lost(why) => write!(f, "the connection to albatross-stats is gone: {why}"),
            Self::Undecodable(error) => write!(f, "albatross-stats sent no message: {error}"),
            Self::Refused(why) => write!(f, "albatross-stats refuses: {why}"),
            Self::Unexpected => f.write_str("albatross-stats sent something else than statistics"),
        }
    }
}

impl std::error::Error for Broken {}

impl Subscription {
    /// To what is under `name`; to be connected at once.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self { name, state: State::Away(Duration::ZERO), retry: Retry::default() }
    }

    /// What is subscribed to.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Whether statistics come.
    #[must_use]
    pub const fn is_subscribed(&self) -> bool {
        matches!(self.state, State::Subscribed)
    }

    /// When to call [`Self::is_due`]; `None` while there is nothing to wait for.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Away(until) => Some(until),
            _ => None,
        }
    }

    /// Whether a connection is to be made now.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = matches!(self.state, State::Away(until) if until <= now);
        if due {
            self.state = State::Connecting;
        }
        due
    }

    /// The connection is made: the message to be sent on it.
    #[must_use]
    pub fn connected(&mut self) -> Vec<u8> {
        self.state = State::Asked;
        let subscribe = Command::Statistics(StatisticsCommand::Subscribe);
        let wire = Wire::new(Header::new(0, self.name.clone()), Payload::Command(subscribe));
        // A name is never near the limit of what is encoded.
        wire.encode().unwrap_or_default()
    }

    /// The connection is gone or was given up.
    pub fn lost(&mut self, now: Duration) {
        self.state = State::Away(self.retry.failed(now));
    }

    /// A frame came: whose statistics it has, under the whole name.
    ///
    /// # Errors
    /// [`Broken`]; the connection is to be closed, and [`Self::lost`] called.
    pub fn frame(&mut self, payload: &[u8]) -> Result<Option<(Name, Box<Statistics>)>, Broken> {
        let Wire { header, payload } = Wire::decode(payload).map_err(Broken::Undecodable)?;
        match (self.state, payload) {
            (State::Asked, Payload::Success(Success::Text(_))) => {
                self.state = State::Subscribed;
                self.retry.worked();
                Ok(None)
            }
            (State::Subscribed, Payload::Data(Data::Statistics(statistics))) => {
                Ok(Some((self.whole(&header.name), statistics)))
            }
            (_, Payload::Failure(why)) => Err(Broken::Refused(why)),
            _ => Err(Broken::Unexpected),
        }
    }

    /// The name that is this one below the path of the subscription.
    fn whole(&self, relative: &Name) -> Name {
        let path = self.name.path();
        if path.is_root() {
            return relative.clone();
        }
        let below = relative.to_string();
        let text = format!("{}:{}", path.as_str(), below.strip_prefix(':').unwrap_or(&below));
        // Two that can be read are one that can.
        text.parse().unwrap_or_else(|_| relative.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    fn answer(subscription: &mut Subscription, payload: Payload<'_>) -> Broken {
        let wire = Wire::new(Header::new(0, Name::root()), payload);
        subscription.frame(&wire.encode().unwrap()).unwrap_err()
    }

    #[test]
    fn a_statistics_daemon_that_refuses_is_told_from_one_that_sends_something_else() {
        let mut subscription = Subscription::new("a:b".parse().unwrap());
        assert_eq!(subscription.name().to_string(), "a:b");
        assert!(subscription.is_due(Duration::ZERO) && !subscription.is_due(Duration::ZERO));
        let Wire { header, .. } = Wire::decode(&subscription.connected()).unwrap();
        assert_eq!(header.name, *subscription.name());
        let refused = answer(&mut subscription, Payload::Failure("no".into()));
        assert_eq!(refused, Broken::Refused("no".into()));
        let unexpected = answer(&mut subscription, Payload::Success(Success::Empty));
        assert_eq!(unexpected, Broken::Unexpected);
        subscription.lost(Duration::ZERO);
        assert!(!subscription.is_due(RETRY_FIRST - Duration::from_millis(1)));
        assert!(subscription.is_due(RETRY_FIRST));
        let error = subscription.frame(b"nonsense").unwrap_err();
        for (broken, text) in [
            (error, "albatross-stats sent no message: "),
            (refused, "albatross-stats refuses: no"),
            (unexpected, "albatross-stats sent something else than statistics"),
            (Broken::Unreachable("why".to_owned()), "albatross-stats cannot be reached: why"),
            (Broken::Lost("why".to_owned()), "the connection to albatross-stats is gone: why"),
        ] {
            assert!(broken.to_string().starts_with(text), "{broken}");
        }
    }
}
