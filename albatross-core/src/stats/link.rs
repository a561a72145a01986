//! The connection to albatrossd, which says what runs.

use std::time::Duration;

use albatross_proto::{Command, Header, Name, Payload, StatisticsCommand, Success};

use super::{Notice, Output, RECONNECT, Stats};
use crate::machine::ClientId;

/// How things stand with albatrossd.
#[derive(Debug)]
pub(super) enum Link {
    /// It is to be reached then.
    Away(Duration),
    /// It is being reached.
    Reaching,
    /// It was asked what runs.
    Asked(ClientId),
    /// It says what runs.
    Told(ClientId),
}

impl Default for Link {
    fn default() -> Self {
        Self::Away(Duration::ZERO)
    }
}

impl Link {
    /// Whether this is the connection to albatrossd.
    pub(super) fn is(&self, client: ClientId) -> bool {
        matches!(self, Self::Asked(link) | Self::Told(link) if *link == client)
    }

    pub(super) fn awaits_answer(&self, client: ClientId) -> bool {
        matches!(self, Self::Asked(link) if *link == client)
    }

    pub(super) const fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Away(until) => Some(*until),
            _ => None,
        }
    }

    /// Whether it is to be reached now; then it is being reached.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let due = matches!(self, Self::Away(until) if *until <= now);
        if due {
            *self = Self::Reaching;
        }
        due
    }

    /// The connection is gone, if it is this one; then it is reached again later.
    pub(super) fn lost(&mut self, now: Duration, client: ClientId) -> bool {
        let is_this = self.is(client);
        if is_this {
            *self = Self::Away(now + RECONNECT);
        }
        is_this
    }
}

impl Stats {
    pub(super) fn vmmd_connected(&mut self, client: ClientId) {
        self.link = Link::Asked(client);
        self.reached += 1;
        self.settled = None;
        let initial = Payload::Command(Command::Statistics(StatisticsCommand::Initial));
        self.reply(client, Header::new(0, Name::root()), initial);
    }

    pub(super) fn vmmd_unreachable(&mut self, now: Duration, why: String) {
        self.link = Link::Away(now + RECONNECT);
        self.outputs.push(Output::Log(Notice::VmmdUnreachable(why)));
    }

    pub(super) fn vmmd_answered(&mut self, now: Duration, client: ClientId, payload: Payload<'_>) {
        match payload {
            Payload::Success(Success::Empty) => {
                self.link = Link::Told(client);
                self.settled = Some(now + super::SETTLE);
                self.outputs.push(Output::Log(Notice::VmmdReached));
                // What ended while nobody said so.
                self.gather();
            }
            Payload::Failure(why) => self.refuse(now, client, Notice::VmmdRefused(why)),
            _ => self.refuse(now, client, Notice::Unexpected(client)),
        }
    }
}
