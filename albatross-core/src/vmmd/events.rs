//! The event log: what is said to it, and the rule that a command is logged before it is acknowledged.
//!
//! Every command that changes something, or was to, is an event with its result; so are the start and the end of
//! a tender, and the begin of this daemon. Questions are none, nor is a policy that was there already: every command
//! over TLS brings those of its chain.
//!
//! The reply to such a command is held until the log daemon says that the event is written. Nobody waits for a log
//! daemon that is not there, that does not answer within [`LATE`](crate::log::LATE), or that cannot write: then
//! replies go out at once, the events are kept and sent when it can take them, up to
//! [`MAX_WAITING`](crate::log::MAX_WAITING), and albatrossd's own log says so. What the command does is never held
//! up: it is done when its event is made.

use std::collections::BTreeMap;
use std::time::Duration;

use albatross_proto::log::Event;
use albatross_proto::reply::Exit;
use albatross_proto::{
    BlockCommand, Command, Int, Name, Payload, Policy, PolicyCommand, Success, Text, UnikernelCommand,
};

use super::{Output, Requester, UNMODIFIED_POLICY, Vmmd};
use crate::log::{Answer, Sender, SenderOutput};
use crate::machine::Level;

/// The connection with the log daemon.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) sender: Sender,
    /// Replies that wait for their events to be written, by the numbers of those. One for each client at most.
    held: BTreeMap<i64, (Requester, Result<Text, Text>)>,
}

impl Events {
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.sender.next_deadline()
    }

    /// Whether all that is worth waiting for was answered.
    pub(super) fn is_told(&self) -> bool {
        self.held.is_empty() && !self.sender.is_waiting()
    }
}

impl Vmmd {
    /// Something happened that goes into the event log; returns its number.
    pub(super) fn event(&mut self, name: Name, event: Event) -> i64 {
        self.events.sender.event(self.now, name, event)
    }

    /// A tender has ended.
    pub(super) fn ended_event(&mut self, name: &Name, pid: u32, exit: Option<Exit>) {
        self.event(name.clone(), Event::UnikernelStopped { pid: Int::from(pid), exit });
    }

    /// A command has come to its end: it is logged, and then answered.
    pub(super) fn conclude(&mut self, requester: &Requester, result: Result<Text, Text>) {
        let changes = result.as_ref().map_or(true, |text| text.as_bytes() != UNMODIFIED_POLICY);
        let Some(command) = requester.command.clone().filter(|_| changes) else {
            return self.answer(requester, result);
        };
        let failure = result.as_ref().err().cloned();
        let number = self.event(requester.header.name.clone(), Event::Command { command, failure });
        if self.events.sender.is_prompt() {
            self.events.held.insert(number, (requester.clone(), result));
        } else {
            self.answer(requester, result);
        }
    }

    fn answer(&mut self, requester: &Requester, result: Result<Text, Text>) {
        let payload = match result {
            Ok(text) => Payload::Success(Success::Text(text)),
            Err(why) => Payload::Failure(why),
        };
        self.reply(requester, payload);
    }

    /// Carries out what the conversation with the log daemon has come to.
    pub(super) fn tell_log(&mut self) {
        for output in self.events.sender.outputs() {
            match output {
                SenderOutput::Connect => self.output(Output::ConnectLog),
                SenderOutput::Send(message) => self.output(Output::SendLog(message)),
                SenderOutput::Close => self.output(Output::CloseLog),
                SenderOutput::Answer(Answer::Written(number)) => {
                    if let Some((requester, result)) = self.events.held.remove(&number) {
                        self.answer(&requester, result);
                    }
                }
                SenderOutput::Answer(Answer::Later) => {
                    for (requester, result) in std::mem::take(&mut self.events.held).into_values() {
                        self.answer(&requester, result);
                    }
                }
                SenderOutput::Warn(text) => self.log(Level::Warning, text),
            }
        }
    }

    /// The daemon ends: what is in no log is not kept.
    pub(super) fn leave_log(&mut self) {
        let unwritten = self.events.sender.unwritten();
        if unwritten > 0 {
            self.log(
                Level::Info,
                format!("{unwritten} events are not in the log: the log daemon is not there"),
            );
        }
    }
}

/// What a command is in words, where it goes into the event log.
pub(super) fn words(command: &Command<'_>) -> Option<Text> {
    let words = match command {
        Command::Unikernel(command) => match command {
            UnikernelCommand::Create(_) => "create",
            UnikernelCommand::ForceCreate(_) => "force-create",
            UnikernelCommand::CreateByDigest(_) => "create by digest",
            UnikernelCommand::ForceCreateByDigest(_) => "force-create by digest",
            UnikernelCommand::Restart(_) => "restart",
            UnikernelCommand::Destroy => "destroy",
            _ => return None,
        },
        Command::Policy(PolicyCommand::Add(policy)) => return Some(policy_words(policy).as_str().into()),
        Command::Policy(PolicyCommand::Remove) => "policy remove",
        Command::Block(BlockCommand::Add(size) | BlockCommand::AddOld { size, .. }) => {
            return Some(format!("block add {size} MB").as_str().into());
        }
        Command::Block(BlockCommand::Set { .. } | BlockCommand::SetOld { .. }) => "block set",
        Command::Block(BlockCommand::Remove) => "block remove",
        _ => return None,
    };
    Some(words.into())
}

fn policy_words(policy: &Policy) -> String {
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(",") };
    let cpus = list(policy.cpuids.iter().map(ToString::to_string).collect());
    let bridges = list(policy.bridges.iter().map(ToString::to_string).collect());
    let block = policy.block.map_or_else(|| "none".to_owned(), |block| format!("{block} MB"));
    let Policy { unikernels, memory, .. } = policy;
    format!(
        "policy add: {unikernels} unikernels, {memory} MB, cpus {cpus}, block storage {block}, bridges {bridges}"
    )
}
