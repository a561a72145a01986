//! The command is with the daemon: its answer goes to the client, a stream of the client to it.

use std::time::Duration;

use albatross_proto::command::Daemon;

use super::{
    ask::Kind,
    limits::{MAX_CHUNK, MAX_REPLY, MAX_UNEXPECTED, STREAM_PATIENCE, STREAM_STEP},
    report::{Failure, Outcome},
    scan::{Passed, Says, Scanner},
};

/// What passes between the client and the daemon.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) daemon: Daemon,
    kind: Kind,
    answer: Scanner,
    /// The first frame of the answer has passed, and was a success.
    answered: bool,
    /// The client's stream as far as it has come, `None` when its end has passed.
    upload: Option<Scanner>,
    upload_patience: Patience,
    unexpected: usize,
    /// When the daemon last did something.
    pub(super) daemon_moved: Duration,
}

/// What follows from octets that came.
#[derive(Debug)]
pub(super) enum Step {
    /// They are passed on.
    Go,
    /// So many of them are passed on, and this is the end.
    End(usize, Outcome),
    /// None of them is passed on, and the client is told.
    Fail(Failure),
    /// Nothing can be said to the client any more.
    CutOff,
}

/// How long a stream may take for its next step.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) until: Duration,
    progress: usize,
}

impl Patience {
    pub(super) const fn new(now: Duration) -> Self {
        Self { until: now.saturating_add(STREAM_PATIENCE), progress: 0 }
    }

    /// `count` octets came.
    pub(super) const fn advance(&mut self, now: Duration, count: usize) {
        self.progress = self.progress.saturating_add(count);
        if self.progress >= STREAM_STEP {
            *self = Self::new(now);
        }
    }
}

impl Relay {
    pub(super) fn new(now: Duration, daemon: Daemon, kind: Kind) -> Self {
        Self {
            daemon,
            kind,
            answer: Scanner::new(MAX_REPLY),
            answered: false,
            upload: (kind == Kind::Upload).then(|| Scanner::new(MAX_CHUNK)),
            upload_patience: Patience::new(now),
            unexpected: 0,
            daemon_moved: now,
        }
    }

    /// Whether the client has a part of a frame, so that no other can be sent to it.
    pub(super) const fn is_within_frame(&self) -> bool {
        self.answer.is_partial()
    }

    /// Whether the client still has to send something.
    pub(super) const fn awaits_client(&self) -> bool {
        self.upload.is_some()
    }

    /// Until when the client has to send the next part of its stream.
    pub(super) const fn client_until(&self) -> Duration {
        self.upload_patience.until
    }

    /// The clock of the client's stream starts again: it could not be sent before.
    pub(super) const fn daemon_took(&mut self, now: Duration) {
        self.daemon_moved = now;
        self.upload_patience = Patience::new(now);
    }

    /// Whether the daemon has to say something within its patience.
    pub(super) fn awaits_daemon(&self) -> bool {
        !(self.kind == Kind::Subscription && self.answered) || self.answer.is_partial()
    }

    /// Octets of the daemon.
    pub(super) fn daemon_data(&mut self, now: Duration, data: &[u8]) -> Step {
        self.daemon_moved = now;
        let mut rest = data;
        while !rest.is_empty() {
            match self.answer.scan(&mut rest) {
                Err(_) => return Step::CutOff,
                Ok(None) => {}
                Ok(Some(passed)) => {
                    if let Some(outcome) = self.frame_passed(&passed) {
                        return Step::End(data.len() - rest.len(), outcome);
                    }
                }
            }
        }
        Step::Go
    }

    /// What the end of a frame means, `None` where more follow.
    fn frame_passed(&mut self, passed: &Passed) -> Option<Outcome> {
        if self.answered && self.kind == Kind::Subscription {
            return None;
        }
        match (passed.says(), self.kind) {
            (Says::Failure(text), _) => Some(Outcome::Refused(text)),
            (Says::EndOfBlock, Kind::Dump) if self.answered => Some(Outcome::Done),
            (Says::Data, Kind::Dump) if self.answered => None,
            (Says::Success, Kind::Dump | Kind::Subscription) if !self.answered => {
                self.answered = true;
                None
            }
            (Says::Success, Kind::Reply | Kind::Upload) => Some(Outcome::Done),
            // It has passed as it is; the client will say so too.
            _ => Some(Outcome::Failed(Failure::Nonsense(self.daemon))),
        }
    }

    /// The daemon sends no more.
    pub(super) fn daemon_ended(&self) -> Step {
        if self.answer.is_partial() {
            Step::CutOff
        } else if self.answered {
            Step::Fail(Failure::StreamEnded(self.daemon))
        } else {
            Step::Fail(Failure::Closed(self.daemon))
        }
    }

    /// Octets of the client.
    pub(super) fn client_data(&mut self, now: Duration, data: &[u8]) -> ClientStep {
        let Some(upload) = &mut self.upload else { return self.unexpected(data.len()) };
        self.upload_patience.advance(now, data.len());
        let mut rest = data;
        while !rest.is_empty() {
            match upload.scan(&mut rest) {
                Err(error) => return ClientStep::Fail(Failure::Chunk(error)),
                Ok(Some(passed)) if passed.length == 0 => {
                    self.upload = None;
                    self.daemon_moved = now;
                    self.unexpected += rest.len();
                    return ClientStep::Pass(data.len() - rest.len());
                }
                Ok(_) => {}
            }
        }
        ClientStep::Pass(data.len())
    }

    const fn unexpected(&mut self, count: usize) -> ClientStep {
        // What comes before the answer is no farewell: older clients send an empty stream after their certificates.
        if matches!(self.kind, Kind::Subscription) && self.answered {
            return ClientStep::Leave;
        }
        self.unexpected = self.unexpected.saturating_add(count);
        if self.unexpected > MAX_UNEXPECTED {
            return ClientStep::Fail(Failure::Unexpected);
        }
        ClientStep::Pass(0)
    }

    /// The client sends no more.
    pub(super) const fn client_ended(&self) -> ClientStep {
        if self.upload.is_some() {
            ClientStep::Fail(Failure::StreamCut)
        } else if matches!(self.kind, Kind::Subscription) {
            ClientStep::Leave
        } else {
            // It may still read the answer.
            ClientStep::Pass(0)
        }
    }
}

/// What follows from what the client did.
#[derive(Debug)]
pub(super) enum ClientStep {
    /// The first so many octets are for the daemon.
    Pass(usize),
    /// The client is told and the conversation ends.
    Fail(Failure),
    /// The client has seen enough.
    Leave,
}
