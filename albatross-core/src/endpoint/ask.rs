//! What is said to the daemon before the answer is passed on: the chain's policies, then the command.

use std::time::Duration;

use albatross_proto::{
    BlockCommand, Command, ConsoleCommand, EncodeError, Header, Name, Path, Payload, Policy, PolicyCommand,
    StatisticsCommand, UnikernelCommand, Wire,
    command::Daemon,
    frame::{self, FrameReader},
};

use super::{
    limits::{CONNECT_PATIENCE, DAEMON_PATIENCE, MAX_POLICY_REPLY, MAX_QUOTED},
    report::Failure,
};
use crate::authority::Authority;

/// How the conversation with the daemon goes on after the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One reply.
    Reply,
    /// A reply, then messages until one side closes.
    Subscription,
    /// A reply, then a block device's content up to its end.
    Dump,
    /// The client's stream, then one reply.
    Upload,
}

/// On the way to the answer.
#[derive(Debug)]
pub(super) struct Asking {
    authority: Authority<'static>,
    pub(super) phase: Phase,
    /// The policies were tried outermost first, and one was refused.
    deepest_first: bool,
    /// The policies and the command are sent at once: it changes nothing, so nothing is lost where a policy is
    /// refused and its answer is not passed on.
    together: bool,
    /// What the client streamed already. Bounded: nothing more is read from it in the meantime.
    pub(super) early: Vec<u8>,
    pub(super) client_ended: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    Connecting {
        until: Duration,
        /// When to try again.
        again: Option<Duration>,
    },
    /// The answer to the policy with this index (in the order in which they are sent) is awaited.
    Policy { index: usize, reader: FrameReader, until: Duration },
}

/// What follows from the answer to a policy.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has not all come.
    Wait,
    /// The next policy, or the command.
    Next(usize),
    /// Once more from the beginning, over a new connection, in the other order.
    OtherOrder,
    Fail(Failure),
}

impl Asking {
    pub(super) fn new(now: Duration, mut authority: Authority<'static>) -> Self {
        if authority.command.daemon() != Daemon::Vmmd {
            // Only albatrossd knows policies.
            authority.policies.clear();
        }
        let together = !authority.policies.is_empty() && changes_nothing(&authority.command);
        let (phase, early) = (Phase::connecting(now), Vec::new());
        Self { authority, phase, deepest_first: false, together, early, client_ended: false }
    }

    pub(super) const fn daemon(&self) -> Daemon {
        self.authority.command.daemon()
    }

    pub(super) const fn kind(&self) -> Kind {
        match &self.authority.command {
            Command::Console(ConsoleCommand::Subscribe(_))
            | Command::Statistics(StatisticsCommand::Subscribe)
            | Command::Log(_) => Kind::Subscription,
            Command::Block(BlockCommand::Dump(_)) => Kind::Dump,
            Command::Block(BlockCommand::Set { .. }) => Kind::Upload,
            _ => Kind::Reply,
        }
    }

    /// Whether all frames are sent at once.
    pub(super) const fn is_together(&self) -> bool {
        self.together
    }

    /// The frames of all policies and of the command. `Err` where one cannot be encoded.
    pub(super) fn all_frames(&self) -> Result<Vec<u8>, EncodeError> {
        let mut frames = Vec::new();
        for index in 0..self.authority.policies.len() {
            frames.extend(self.policy_frame(index).transpose()?.unwrap_or_default());
        }
        let Authority { name, policies, command } = &self.authority;
        frames.extend(command_frame(policies.len(), name.clone(), command.clone())?);
        Ok(frames)
    }

    /// Whether there is a policy with this index.
    pub(super) fn has_policy(&self, index: usize) -> bool {
        self.policy(index).is_some()
    }

    /// The frame of the policy with this index in the order of sending; `None` after the last. `Err` where
    /// it cannot be encoded.
    pub(super) fn policy_frame(&self, index: usize) -> Option<Result<Vec<u8>, EncodeError>> {
        let (path, policy) = self.policy(index)?;
        let command = Command::Policy(PolicyCommand::Add(policy.clone()));
        Some(command_frame(index, path.to_name(), command))
    }

    /// Waits for the answer to the policy with this index.
    pub(super) fn await_policy(&mut self, now: Duration, index: usize) {
        let reader = FrameReader::new(MAX_POLICY_REPLY);
        self.phase = Phase::Policy { index, reader, until: now.saturating_add(DAEMON_PATIENCE) };
    }

    /// What follows from these octets of the answer to a policy. What is left of them is of the next answer.
    pub(super) fn policy_answer(&mut self, data: &mut &[u8]) -> Verdict {
        let (daemon, together) = (self.daemon(), self.together);
        let Phase::Policy { index, reader, .. } = &mut self.phase else {
            return Verdict::Fail(Failure::Nonsense(daemon));
        };
        let index = *index;
        let answer = match reader.read(data) {
            Ok(Some(answer)) if together || data.is_empty() => answer,
            Ok(None) => return Verdict::Wait,
            Ok(Some(_)) | Err(_) => return Verdict::Fail(Failure::Nonsense(daemon)),
        };
        match Wire::decode(&answer).map(|wire| wire.payload) {
            Ok(Payload::Success(_)) => Verdict::Next(index + 1),
            Ok(Payload::Failure(text)) => self.policy_refused(index, &text.to_string()),
            _ => Verdict::Fail(Failure::Nonsense(daemon)),
        }
    }

    /// Outermost first fails where all policies of a chain shrink, deepest first where all grow.
    fn policy_refused(&mut self, index: usize, text: &str) -> Verdict {
        if self.authority.policies.len() > 1 && !self.deepest_first {
            self.deepest_first = true;
            return Verdict::OtherOrder;
        }
        let path = self.policy(index).map_or_else(Path::root, |(path, _)| path.clone());
        let end = text.floor_char_boundary(MAX_QUOTED);
        let text = text.get(..end).unwrap_or_default().to_owned();
        Verdict::Fail(Failure::PolicyRefused { path, text })
    }

    fn policy(&self, index: usize) -> Option<&(Path, Policy)> {
        if self.deepest_first {
            self.authority.policies.iter().rev().nth(index)
        } else {
            self.authority.policies.get(index)
        }
    }

    /// The frame of the command itself.
    pub(super) fn command_frame(self) -> Result<Vec<u8>, EncodeError> {
        let Authority { name, policies, command } = self.authority;
        command_frame(policies.len(), name, command)
    }
}

impl Phase {
    pub(super) const fn connecting(now: Duration) -> Self {
        Self::Connecting { until: now.saturating_add(CONNECT_PATIENCE), again: None }
    }

    /// Whether another try to connect was put off until now. It is noted as done.
    pub(super) fn takes_another_try(&mut self) -> bool {
        match self {
            Self::Connecting { again, .. } => again.take().is_some(),
            Self::Policy { .. } => false,
        }
    }
}

/// Whether a command asks and does nothing else, and its answer is a single message.
const fn changes_nothing(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::Unikernel(
            UnikernelCommand::Info
                | UnikernelCommand::InfoV5
                | UnikernelCommand::InfoV4
                | UnikernelCommand::Status
        ) | Command::Policy(PolicyCommand::Info)
            | Command::Block(BlockCommand::Info)
    )
}

fn command_frame(sequence: usize, name: Name, command: Command<'_>) -> Result<Vec<u8>, EncodeError> {
    let header = Header::new(i64::try_from(sequence).unwrap_or(i64::MAX), name);
    // An image is large: the command is dropped when it is encoded, and what it was encoded to is not copied.
    let mut frame = Wire::new(header, Payload::Command(command)).encode()?;
    let header = frame::header(frame.len()).ok_or(EncodeError::TooLong { length: frame.len() })?;
    frame.reserve_exact(header.len());
    frame.splice(..0, header);
    Ok(frame)
}
