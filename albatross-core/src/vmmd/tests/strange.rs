//! What should not come: it is said, and does no harm.

use super::*;

impl Host {
    /// What is said about an input that changes nothing.
    fn said_about(&mut self, input: Input) -> Vec<String> {
        let now = Now { monotonic: self.now, wall: Time::default() };
        let outputs = self.vmmd.handle(now, input);
        let said = outputs.iter().map(|output| match output {
            Output::Log(_, text) => text.clone(),
            Output::Close(_) => "closed".to_owned(),
            other => panic!("{other:?}"),
        });
        said.collect()
    }
}

fn restart_with(argv: &str) -> Command<'static> {
    let arguments = Arguments { argv: Some(vec![argv.into()]), ..arguments() };
    Command::Unikernel(UnikernelCommand::Restart(Some(arguments)))
}

#[test]
fn a_client_that_does_not_wait_for_replies_is_closed_beyond_a_few() {
    let mut host = Host::new();
    host.holding = Some("StoreImage");
    let client = host.send(":a", create(arguments()));
    for _ in 0..MAX_PIPELINED {
        host.send_on(client, ":", INFO);
    }
    assert!(!host.closed.contains(&client), "so many may wait");
    let wire = Wire::new(Header::new(0, Name::root()), Payload::Command(INFO));
    let said = host.said_about(Input::Frame(client, wire.encode().unwrap()));
    assert_eq!(said, ["client 0: sends commands without waiting for replies", "closed"]);
    // Others are served.
    assert!(matches!(host.ask(":", INFO), Payload::Success(Success::Info(_))));
}

#[test]
fn what_a_client_sends_that_is_no_command_ends_its_connection_and_no_other() {
    let mut host = Host::new();
    for (number, sent) in [console_answer(&command_of(":a")), b"nonsense".to_vec()].into_iter().enumerate() {
        let client = ClientId(1000 + number);
        host.input(Input::Connected(client));
        let said = host.said_about(Input::Frame(client, sent));
        assert!(said[0].starts_with(&format!("client {}: ", client.0)) && said[1] == "closed", "{said:?}");
    }
    assert_eq!(host.create(":a", arguments()), said("created unikernel"));
}

/// A message whose header the other side would answer with.
fn command_of(name: &str) -> Vec<u8> {
    Wire::new(Header::new(7, name.parse().unwrap()), Payload::Command(INFO)).encode().unwrap()
}

#[test]
fn what_the_console_daemon_says_that_nobody_asked_is_told_and_nothing_else() {
    let mut host = Host::new();
    let said = host.said_about(Input::ConsoleFrame(b"nonsense".to_vec()));
    assert!(said[0].starts_with("the console daemon sent what is no message: "), "{said:?}");
    let said = host.said_about(Input::ConsoleFrame(console_answer(&command_of(":a"))));
    assert_eq!(said, [":a: the console daemon answered what was not asked"]);
}

#[test]
fn an_answer_of_the_console_daemon_that_is_none_fails_the_create_and_leaves_nothing() {
    let mut host = Host::new();
    host.console_silent = true;
    let client = host.send(":a", create(arguments()));
    let question = host.held.pop().unwrap();
    let Wire { header, .. } = Wire::decode(&question).unwrap();
    let answer = Wire::new(header, Payload::Command(INFO)).encode().unwrap();
    host.input(Input::ConsoleFrame(answer));
    assert_eq!(refused(&host.reply(client)), "the console daemon did not answer the question");
    assert!(host.processes.is_empty() && host.fifos.is_empty() && host.recorded().is_empty());
}

#[test]
fn the_end_of_a_process_that_is_no_tender_is_said() {
    let mut host = Host::new();
    host.create(":a", arguments());
    let said = host.said_about(Input::Exited { pid: 4711, exit: None });
    assert_eq!(said, ["process 4711 ended, which is no tender of ours"]);
    assert_eq!(host.ask(":a", DESTROY), super::said("destroyed unikernel"));
}

#[test]
fn whoever_asks_again_while_one_is_being_stopped_is_answered_with_the_first_or_refused() {
    let mut host = Host::new();
    host.deaf = true;
    host.create(":a", arguments());
    let first = host.send(":a", DESTROY);
    let second = host.send(":a", DESTROY);
    assert!(refused(&host.ask(":a", restart_with("x"))).contains("being stopped, try again"));
    assert!(refused(&host.create(":a", arguments())).contains("exists already"));
    host.tick(GRACE.as_secs());
    for client in [first, second] {
        assert_eq!(host.reply(client), said("destroyed unikernel"));
    }
    // One that is stopped to be started again is not destroyed on the way.
    host.create(":a", arguments());
    let restarting = host.send(":a", RESTART);
    assert!(refused(&host.ask(":a", DESTROY)).contains("being stopped, try again"));
    host.tick(GRACE.as_secs());
    assert!(matches!(host.reply(restarting), Payload::Success(_)));
    assert_eq!(host.processes.len(), 1);
}

#[test]
fn what_was_to_run_anew_when_the_daemon_ends_is_refused_and_stays_on_record_as_it_was() {
    let force = || Command::Unikernel(UnikernelCommand::ForceCreate(config(arguments())));
    for command in [RESTART, force()] {
        let mut host = Host::new();
        host.deaf = true;
        host.create(":a", with_net());
        let client = host.send(":a", command);
        host.input(Input::Terminate);
        assert_eq!(refused(&host.reply(client)), "albatrossd is ending");
        host.tick(GRACE.as_secs());
        assert!(host.exited && host.processes.is_empty() && host.taps.is_empty());
        let [(_, unikernel)] = &host.record.unikernels[..] else { panic!() };
        assert_eq!(unikernel.config.arguments.net_devices.len(), 1, "the one that ran");
    }
}

#[test]
fn one_that_is_being_started_when_the_daemon_ends_is_stopped_and_destroyed_where_that_was_asked() {
    for destroyed in [false, true] {
        let mut host = Host::new();
        host.holding = Some("MakeFifo");
        let client = host.send(":a", create(arguments()));
        let destroying = destroyed.then(|| host.send(":a", DESTROY));
        host.input(Input::Terminate);
        // Nobody is let in any more.
        assert_eq!(refused(&host.ask(":a", DESTROY)), "albatrossd is ending");
        assert!(!host.exited, "the step is waited for");
        host.holding = None;
        for (id, task) in std::mem::take(&mut host.held_tasks) {
            let result = host.task(task);
            host.input(Input::Done(id, result));
        }
        assert!(host.exited && host.processes.is_empty() && host.fifos.is_empty());
        host.reply(client);
        if let Some(client) = destroying {
            assert_eq!(host.reply(client), said("destroyed unikernel"));
            assert!(host.recorded().is_empty());
        }
    }
}

#[test]
fn a_second_word_to_end_is_not_waited_for() {
    let mut host = Host::new();
    host.deaf = true;
    host.create(":a", arguments());
    host.input(Input::Terminate);
    assert!(!host.exited);
    host.input(Input::Terminate);
    assert!(host.exited, "whoever says it twice has waited long enough");
}
