//! What the simulator found, each as it was shrunk by hand.

use super::*;

const STATUS: Command<'static> = Command::Unikernel(UnikernelCommand::Status);

fn restart(arguments: Arguments) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Restart(Some(arguments)))
}

fn force(arguments: Arguments) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::ForceCreate(config(arguments)))
}

fn memory(memory: i32) -> Arguments {
    Arguments { memory: Int::from(memory), ..arguments() }
}

impl Host {
    /// Carries out what was held back, in order.
    pub(super) fn go_on(&mut self) {
        self.holding = None;
        for (id, task) in std::mem::take(&mut self.held_tasks) {
            let result = self.task(task);
            self.input(Input::Done(id, result));
        }
    }
}

/// It was put on record, and forgotten at the next start.
#[test]
fn the_policy_of_the_root_is_nobodys_to_replace() {
    let mut host = Host::new();
    assert!(refused(&host.ask(":", add(policy(2, 512)))).contains("the policy of the root"));
    assert!(host.record.policies.is_empty());
    assert_eq!(host.ask(":", add(host_policy())), said("no modification of policy"));
}

/// The driver would have kept a connection that nobody uses.
#[test]
fn one_connection_to_the_console_daemon_is_made_at_a_time() {
    let mut host = Host::new();
    host.console_up = false;
    host.input(Input::ConsoleClosed);
    host.holding = Some("MakeFifo");
    host.send(":a", create(arguments()));
    host.send(":b", create(arguments()));
    let now = Now { monotonic: host.now, wall: Time::from_unix(1_700_000_000, 0).unwrap() };
    let asked: usize = std::mem::take(&mut host.held_tasks)
        .into_iter()
        .map(|(id, task)| {
            let result = host.task(task);
            let outputs = host.vmmd.handle(now, Input::Done(id, result));
            outputs.iter().filter(|output| **output == Output::ConnectConsole).count()
        })
        .sum();
    assert_eq!(asked, 1);
}

/// It ran with them later, and without them after the next start.
#[test]
fn a_restart_that_fails_before_its_arguments_are_on_record_goes_back() {
    for step in ["MakeFifo", "Append"] {
        let mut host = Host::new();
        host.create(":a", memory(16));
        host.failing = Some(step);
        refused(&host.ask(":a", restart(memory(64))));
        host.failing = None;
        if step == "Append" {
            // It may have come there all the same.
            host.record.unikernels[0].1.config.arguments = memory(64);
        }
        host.tick(60);
        assert_eq!(host.command_line()[0], "--mem=16", "{step}");
        assert_eq!(host.record.unikernels[0].1.config.arguments.memory, Int::from(16), "{step}");
        // What the arguments would have taken is free.
        assert_eq!(host.create(":b", memory(1000)), said("created unikernel"), "{step}");
    }
    let mut host = Host::new();
    host.create(":a", memory(16));
    host.failing = Some("Spawn");
    refused(&host.ask(":a", restart(memory(64))));
    host.failing = None;
    host.tick(60);
    assert_eq!(host.command_line()[0], "--mem=64", "they were on record");
}

/// After a start of the daemon nobody knows what devices an image has.
#[test]
fn a_restart_with_devices_that_the_image_has_not_goes_back() {
    let mut host = Host::new();
    host.create(":a", with_net());
    host.input(Input::Terminate);
    let mut next = Host::with_record(host.record, host.files);
    let known = std::mem::take(&mut next.vmmd.unikernels.get_mut(&":a".parse().unwrap()).unwrap().image);
    assert!(known.is_some());
    refused(&next.ask(":a", restart(arguments())));
    next.tick(60);
    assert!(next.command_line().iter().any(|argument| argument.contains("net")));
}

/// A record that others made may be wrong.
#[test]
fn what_is_on_record_with_devices_that_its_image_has_not_is_mended_by_a_restart() {
    let mut host = Host::new();
    host.create(":a", with_net());
    host.input(Input::Terminate);
    let mut record = host.record;
    record.unikernels[0].1.config.arguments = arguments();
    let mut next = Host::with_record(record, host.files);
    assert!(next.processes.is_empty());
    assert_eq!(next.ask(":a", restart(with_net())), said("created unikernel"));
}

/// It was acknowledged while it was not durable, and never became so.
#[test]
fn an_equal_policy_is_acknowledged_when_the_first_is_durable() {
    let mut host = Host::new();
    host.ask("bob:", add(policy(1, 64)));
    host.holding = Some("Append");
    let (first, second) =
        (host.send("alice:", add(policy(2, 512))), host.send("alice:", add(policy(2, 512))));
    assert!(!host.replies.contains_key(&second));
    host.go_on();
    assert_eq!(
        (host.reply(first), host.reply(second)),
        (said("added policy"), said("no modification of policy"))
    );
}

/// The second was in force, though it was refused.
#[test]
fn policies_that_are_not_written_are_undone_all_of_them() {
    let mut host = Host::new();
    host.ask("alice:", add(policy(1, 64)));
    let path = "alice".parse::<Path>().unwrap();
    for last in [add(policy(3, 512)), Command::Policy(PolicyCommand::Remove)] {
        host.holding = Some("Append");
        let (first, second) = (host.send("alice:", add(policy(2, 512))), host.send("alice:", last));
        host.failing = Some("Append");
        host.go_on();
        host.failing = None;
        refused(&host.reply(first));
        refused(&host.reply(second));
        assert_eq!(host.vmmd.resources.policy(&path), Some(&policy(1, 64)));
        host.tick(10);
        assert_eq!(host.record.policies, [(path.clone(), policy(1, 64))]);
    }
}

/// The old one was ended, the new one had no room: the peer's loss, and it came back with the next start.
#[test]
fn what_is_to_be_replaced_goes_on_where_the_room_is_taken_meanwhile() {
    for command in [force(memory(90)), restart(memory(90))] {
        let mut host = Host::new();
        host.ask("alice:", add(policy(2, 100)));
        host.create("alice:a", memory(32));
        host.deaf = true;
        let client = host.send("alice:a", command);
        assert_eq!(host.create("alice:b", memory(32)), said("created unikernel"));
        host.tick(GRACE.as_secs());
        assert!(refused(&host.reply(client)).contains("100 MB"));
        assert_eq!(host.processes.len(), 2);
        let Payload::Success(Success::Status(list)) = host.ask("alice:a", STATUS) else { panic!() };
        assert_eq!(list[0].1.state, StatusState::Running);
        assert_eq!(host.recorded(), ["alice:a", "alice:b"]);
    }
}

/// Its frames waited behind the command that they belonged to, for ever.
#[test]
fn an_image_may_follow_its_command_while_that_waits() {
    for ended in [false, true] {
        let mut host = Host::new();
        host.holding = Some("Persist");
        let client = host.send("alice:", add(policy(2, 512)));
        let config = UnikernelConfig { image: Vec::new().into(), ..config(arguments()) };
        let (sha256, size) = (crate::image::digest(NO_DEVICES), Int::try_from(NO_DEVICES.len()).unwrap());
        let by_digest = albatross_proto::command::ByDigest { config, sha256, size };
        host.send_on(client, "alice:a", Command::Unikernel(UnikernelCommand::CreateByDigest(by_digest)));
        for chunk in [&NO_DEVICES[..100], &NO_DEVICES[100..]] {
            host.input(Input::Frame(client, chunk.to_vec()));
        }
        if ended {
            // No end of the stream came before that of the connection.
            host.input(Input::Ended(client));
        } else {
            host.input(Input::Frame(client, Vec::new()));
        }
        host.go_on();
        let replies = host.replies.remove(&client).unwrap();
        assert_eq!(replies[0], said("added policy"));
        if ended {
            assert!(refused(&replies[1]).contains("cut off"));
        } else {
            assert_eq!(replies[1], said("created unikernel"));
        }
        assert!(host.spools.is_empty() && host.closed.contains(&client));
    }
}

/// Its guest would have stood still as soon as the fifo was full.
#[test]
fn a_fifo_that_is_not_opened_after_a_reconnection_is_asked_for_again() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.console_silent = true;
    host.input(Input::ConsoleClosed);
    host.tick(1);
    let Wire { header, .. } = Wire::decode(&host.held.pop().unwrap()).unwrap();
    let failure = Wire::new(header, Payload::Failure(Text::from("no descriptors"))).encode().unwrap();
    host.input(Input::ConsoleFrame(failure));
    assert!(host.held.is_empty());
    host.tick(FIFO_RETRY.as_secs());
    let again = host.held.pop().unwrap();
    assert_eq!(Wire::decode(&again).unwrap().header.name.to_string(), ":a");
    host.input(Input::ConsoleFrame(console_answer(&again)));
    host.tick(60);
    assert!(host.held.is_empty(), "asked until it is open");
}

/// It ran, and nobody read its fifo.
#[test]
fn what_is_being_started_is_told_to_a_console_daemon_that_comes_back() {
    let mut host = Host::new();
    host.holding = Some("Persist");
    let client = host.send(":a", create(arguments()));
    host.console_silent = true;
    host.input(Input::ConsoleClosed);
    host.tick(1);
    let told = host.held.pop().expect("the new one is told");
    assert_eq!(Wire::decode(&told).unwrap().header.name.to_string(), ":a");
    host.go_on();
    assert_eq!(host.reply(client), said("created unikernel"));
}
