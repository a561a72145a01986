//! The event log: what is said to it, and who waits for it.

use albatross_proto::log::{Event, LogEntry};
use albatross_proto::{Data, PolicyCommand};

use super::*;
use crate::log::{LATE, MAX_WAITING, REFUSED_RETRY, RETRY};

/// The log daemon, as far as it is seen from here.
#[derive(Debug, Default)]
pub(super) struct LogDaemon {
    pub(super) up: bool,
    pub(super) hung_up: bool,
    /// It takes events and does not answer.
    silent: bool,
    /// It cannot write.
    full: bool,
    /// What it has written.
    written: Vec<(Name, Event)>,
    held: Vec<Vec<u8>>,
}

impl LogDaemon {
    /// Takes an event, and answers.
    fn take(&mut self, message: &[u8]) -> Vec<u8> {
        let Wire { header, payload } = Wire::decode(message).unwrap();
        let Payload::Data(Data::Log(LogEntry { event, .. })) = payload else { panic!("{payload:?}") };
        let answer = if self.full {
            Payload::Failure("no space left".into())
        } else {
            self.written.push((header.name.clone(), event));
            Payload::Success(Success::Empty)
        };
        Wire::new(header, answer).encode().unwrap()
    }

    /// Commands with their results, and what else happened, in short.
    fn seen(&self) -> Vec<String> {
        let seen = |(name, event): &(Name, Event)| match event {
            Event::Command { command, failure: None } => format!("{name} {command}"),
            Event::Command { command, failure: Some(_) } => format!("{name} {command} failed"),
            Event::UnikernelStarted(_) => format!("{name} +"),
            Event::UnikernelStopped { exit: Some(Exit::Exited(code)), .. } => format!("{name} -{code}"),
            Event::UnikernelStopped { .. } => format!("{name} -"),
            other => format!("{name} {other:?}"),
        };
        self.written.iter().map(seen).collect()
    }
}

impl Host {
    pub(super) fn log_got(&mut self, message: Vec<u8>) -> Option<Input> {
        if self.log.silent {
            self.log.held.push(message);
            return None;
        }
        Some(Input::LogFrame(self.log.take(&message)))
    }

    fn answer_log(&mut self) {
        self.log.silent = false;
        for message in std::mem::take(&mut self.log.held) {
            let answer = self.log.take(&message);
            self.input(Input::LogFrame(answer));
        }
    }

    /// A host that has begun with a log daemon.
    fn logged() -> Self {
        let mut host = Self::unborn(BTreeMap::new());
        host.log.up = true;
        host.input(begin(Record::default(), Left::default()));
        assert_eq!(host.log.seen(), [": DaemonStarted"]);
        host.log.written.clear();
        host
    }
}

#[test]
fn what_changes_something_is_logged_and_questions_are_not() {
    let mut host = Host::logged();
    host.ask("alice:", add(policy(2, 512)));
    host.ask("alice:", add(policy(2, 512)));
    host.create("alice:a", restarting());
    host.create("alice:a", arguments());
    for question in [UnikernelCommand::Info, UnikernelCommand::Status, UnikernelCommand::Get(Int::ZERO)] {
        host.ask("alice:a", Command::Unikernel(question));
    }
    host.ask("alice:", Command::Policy(PolicyCommand::Info));
    host.exit(7);
    host.tick(60);
    host.ask("alice:a", RESTART);
    host.ask("alice:a", DESTROY);
    host.ask("alice:a", DESTROY);
    host.ask("alice:", Command::Policy(PolicyCommand::Remove));
    let policy = "alice: policy add: 2 unikernels, 512 MB, cpus 0,1, block storage 1000 MB, bridges service";
    assert_eq!(
        host.log.seen(),
        [
            policy,
            "alice:a +",
            "alice:a create",
            "alice:a create failed",
            "alice:a -7",
            "alice:a +",
            "alice:a -",
            "alice:a +",
            "alice:a restart",
            "alice:a -",
            "alice:a destroy",
            "alice:a destroy failed",
            "alice: policy remove",
        ]
    );
}

#[test]
fn a_command_is_answered_when_it_is_in_the_log_and_questions_at_once() {
    let mut host = Host::logged();
    host.log.silent = true;
    let client = host.send("alice:", add(policy(2, 512)));
    host.send_on(client, "alice:a", create(arguments()));
    assert!(
        !host.replies.contains_key(&client) && host.processes.is_empty(),
        "the second waits for the first"
    );
    assert!(matches!(host.ask(":", Command::Policy(PolicyCommand::Info)), Payload::Success(_)));
    host.answer_log();
    assert_eq!(host.replies[&client], [said("added policy"), said("created unikernel")]);
    assert!(host.closed.contains(&client));
}

#[test]
fn nobody_waits_long_for_the_log_daemon() {
    let mut host = Host::logged();
    host.log.silent = true;
    let client = host.send(":a", create(arguments()));
    assert_eq!(host.processes.len(), 1, "what is done is not held up");
    assert!(!host.replies.contains_key(&client));
    host.tick(LATE.as_secs());
    assert_eq!(host.reply(client), said("created unikernel"));
    assert_eq!(host.ask(":a", DESTROY), said("destroyed unikernel"));
    // When it goes on, so does the rule.
    host.answer_log();
    assert_eq!(host.log.seen(), [":a +", ":a create", ":a -", ":a destroy"]);
    host.log.silent = true;
    let client = host.send(":b", create(arguments()));
    assert!(!host.replies.contains_key(&client));
    // It is gone, and with it what it had not answered; the next one gets that.
    host.log.up = false;
    host.log.held.clear();
    host.input(Input::LogClosed);
    assert_eq!(host.reply(client), said("created unikernel"));
    assert_eq!(host.ask(":b", DESTROY), said("destroyed unikernel"));
    host.log.up = true;
    host.log.silent = false;
    host.log.written.clear();
    host.tick(RETRY.as_secs());
    assert_eq!(host.log.seen(), [":b +", ":b create", ":b -", ":b destroy"]);
}

#[test]
fn a_log_daemon_that_cannot_write_stops_nobody() {
    let mut host = Host::logged();
    host.log.full = true;
    assert_eq!(host.create(":a", arguments()), said("created unikernel"));
    assert_eq!(host.ask(":a", DESTROY), said("destroyed unikernel"));
    assert!(host.log.written.is_empty());
    host.log.full = false;
    host.tick(REFUSED_RETRY.as_secs());
    assert_eq!(host.log.seen(), [":a +", ":a create", ":a -", ":a destroy"]);
    host.log.silent = true;
    let client = host.send(":b", create(arguments()));
    assert!(!host.replies.contains_key(&client), "it is waited for again");
}

#[test]
fn the_first_command_after_the_log_daemon_came_back_is_logged_before_it_is_answered() {
    let mut host = Host::logged();
    host.log.up = false;
    host.input(Input::LogClosed);
    host.tick(3600);
    host.log.up = true;
    host.log.silent = true;
    let client = host.send("alice:", add(policy(2, 512)));
    assert!(!host.replies.contains_key(&client));
    host.answer_log();
    assert_eq!(host.reply(client), said("added policy"));
}

#[test]
fn who_hangs_up_before_the_answer_is_logged_all_the_same() {
    let mut host = Host::logged();
    host.log.silent = true;
    let client = host.send("alice:", add(policy(2, 512)));
    host.input(Input::Closed(client));
    host.answer_log();
    assert!(host.log.seen()[0].starts_with("alice: policy add") && !host.replies.contains_key(&client));
}

#[test]
fn the_end_waits_for_the_log_and_not_for_long() {
    for answers in [true, false] {
        let mut host = Host::logged();
        host.create(":a", arguments());
        host.log.silent = true;
        host.log.written.clear();
        host.input(Input::Terminate);
        assert!(host.processes.is_empty() && !host.exited);
        if answers {
            host.answer_log();
            assert_eq!(host.log.seen(), [":a -"]);
        } else {
            host.tick(LATE.as_secs());
        }
        assert!(host.exited);
    }
}

#[test]
fn the_end_of_a_tender_on_no_record_is_logged_under_its_name() {
    let mut host = Host::logged();
    host.create("a:stray", arguments());
    let left = host.left(None);
    host.vmmd = Vmmd::new(host.vmmd.config.clone());
    host.log.written.clear();
    host.input(begin(Record::default(), left));
    assert_eq!(host.log.seen(), [": DaemonStarted", "a:stray -"]);
}

#[test]
fn what_is_in_no_log_at_the_end_is_counted() {
    let told = |host: &Host| -> Vec<String> {
        host.said.iter().filter(|text| text.contains("not in the log")).cloned().collect()
    };
    let mut host = Host::new();
    host.create(":a", arguments());
    host.input(Input::Terminate);
    assert!(host.exited);
    // The begin, the start, the command and the end.
    assert_eq!(told(&host), ["4 events are not in the log: the log daemon is not there"]);
    let mut host = Host::logged();
    host.create(":a", arguments());
    host.input(Input::Terminate);
    assert!(host.exited && told(&host).is_empty());
}

#[test]
fn a_policy_that_is_there_is_no_event_though_it_comes_too_late() {
    let mut host = Host::logged();
    host.ask("alice:", add(policy(2, 512)));
    host.create(":a", arguments());
    host.deaf = true;
    host.input(Input::Terminate);
    host.log.written.clear();
    for unikernels in [2, 3] {
        let why = refused(&host.ask("alice:", add(policy(unikernels, 512))));
        assert_eq!(why, "albatrossd is ending");
    }
    let [seen] = &host.log.seen()[..] else { panic!("{:?}", host.log.seen()) };
    assert!(seen.starts_with("alice: policy add: 3 unikernels") && seen.ends_with("failed"), "{seen}");
}

#[test]
fn what_is_kept_for_the_log_daemon_is_bounded() {
    let mut host = Host::new();
    for number in 0..MAX_WAITING {
        host.ask("alice:", add(policy(1 + i32::try_from(number % 2).unwrap(), 512)));
    }
    host.log.up = true;
    host.ask("alice:", Command::Policy(PolicyCommand::Remove));
    host.tick(RETRY.as_secs());
    host.ask("alice:", add(policy(1, 512)));
    assert_eq!(host.log.written.len(), MAX_WAITING);
    assert!(host.log.seen()[MAX_WAITING - 2].starts_with("alice: policy remove"));
    host.input(Input::LogFrame(b"garbage".to_vec()));
    assert!(host.log.hung_up);
}
