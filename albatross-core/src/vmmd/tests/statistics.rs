//! What a statistics daemon is told.

use albatross_proto::StatisticsCommand;

use super::*;

const INITIAL: Command<'static> = Command::Statistics(StatisticsCommand::Initial);

impl Host {
    /// A statistics daemon that begins with this number.
    fn begin_statistics(&mut self, sequence: i64) -> ClientId {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        self.statistics.insert(client, Vec::new());
        self.input(Input::Connected(client));
        let wire = Wire::new(Header::new(sequence, ":".parse().unwrap()), Payload::Command(INITIAL));
        self.input(Input::Frame(client, wire.encode().unwrap()));
        client
    }

    /// What it was told since it was asked last: number, name, and what.
    fn told(&mut self, client: ClientId) -> Vec<(i64, String, String)> {
        let messages = std::mem::take(self.statistics.get_mut(&client).unwrap());
        let told = |message: &Vec<u8>| {
            let Wire { header, payload } = Wire::decode(message).unwrap();
            let what = match payload {
                Payload::Success(Success::Empty) => "empty".to_owned(),
                Payload::Command(Command::Statistics(StatisticsCommand::Remove)) => "remove".to_owned(),
                Payload::Command(Command::Statistics(StatisticsCommand::Add { vmmdev, pid, network })) => {
                    assert!(vmmdev.as_bytes().is_empty());
                    let pairs: Vec<String> =
                        network.iter().map(|(net, tap)| format!("{net}={tap}")).collect();
                    format!("add {pid} {}", pairs.join(" "))
                }
                other => panic!("{other:?}"),
            };
            (header.sequence, header.name.to_string(), what)
        };
        messages.iter().map(told).collect()
    }

    fn answer(&mut self, client: ClientId, payload: Payload<'_>) {
        let wire = Wire::new(Header::new(1, ":hello".parse().unwrap()), payload);
        self.input(Input::Frame(client, wire.encode().unwrap()));
    }
}

fn told(sequence: i64, name: &str, what: &str) -> (i64, String, String) {
    (sequence, name.to_owned(), what.to_owned())
}

#[test]
fn a_statistics_daemon_is_told_what_runs_and_what_changes() {
    let mut host = Host::new();
    assert_eq!(host.create(":hello", arguments()), said("created unikernel"));
    let client = host.begin_statistics(41);
    assert_eq!(host.told(client), [told(41, ":", "empty"), told(42, ":hello", "add 101 ")]);

    let net = NetDevice { name: "service".into(), bridge: None, mac: None };
    let with_net = Arguments { net_devices: vec![net], ..arguments() };
    let config = UnikernelConfig { image: NET_SERVICE.into(), ..config(with_net) };
    let create = Command::Unikernel(UnikernelCommand::Create(config));
    assert_eq!(host.ask("foo:net", create), said("created unikernel"));
    host.answer(client, said("added"));
    assert_eq!(host.told(client), [told(43, "foo:net", "add 102 service=vmmtap0")]);

    let restart = Command::Unikernel(UnikernelCommand::Restart(None));
    assert_eq!(host.ask(":hello", restart), said("created unikernel"));
    assert_eq!(host.told(client), [told(44, ":hello", "remove"), told(45, ":hello", "add 103 ")]);
    assert_eq!(host.ask("foo:net", DESTROY), said("destroyed unikernel"));
    assert_eq!(host.told(client), [told(46, "foo:net", "remove")]);
    assert!(!host.closed.contains(&client));
}

#[test]
fn a_new_statistics_daemon_takes_the_place_of_the_old() {
    let mut host = Host::new();
    let first = host.begin_statistics(0);
    let second = host.begin_statistics(7);
    assert!(host.closed.contains(&first) && !host.closed.contains(&second));
    assert_eq!(host.create(":hello", arguments()), said("created unikernel"));
    assert_eq!((host.told(first).len(), host.told(second).len()), (1, 2));
    // One that went is not told any more, and the next begins anew.
    host.input(Input::Closed(second));
    assert_eq!(host.ask(":hello", DESTROY), said("destroyed unikernel"));
    assert_eq!(host.told(second), []);
    let third = host.begin_statistics(0);
    assert_eq!(host.told(third), [told(0, ":", "empty")]);
}

#[test]
fn what_a_statistics_daemon_answers_harms_nobody() {
    let mut host = Host::new();
    let client = host.begin_statistics(0);
    host.answer(client, Payload::Failure("no".into()));
    assert!(!host.closed.contains(&client));
    // It commands nothing on this connection.
    host.answer(client, Payload::Command(Command::Unikernel(UnikernelCommand::Destroy)));
    assert!(host.closed.contains(&client));
    let client = host.begin_statistics(0);
    host.input(Input::Frame(client, b"garbage".to_vec()));
    assert!(host.closed.contains(&client));
    assert_eq!(host.create(":hello", arguments()), said("created unikernel"));
}

/// What was sent to one that had stopped reading waited in memory, without an end.
#[test]
fn a_statistics_daemon_that_does_not_answer_is_let_go() {
    let mut host = Host::new();
    assert_eq!(host.create(":hello", arguments()), said("created unikernel"));
    let restart = || Command::Unikernel(UnikernelCommand::Restart(None));
    let (slow, mut told) = (host.begin_statistics(0), 0);
    while !host.closed.contains(&slow) {
        assert_eq!(host.ask(":hello", restart()), said("created unikernel"));
        told = host.statistics[&slow].len();
        assert!(told < 2 * MAX_UNANSWERED, "told {told} times");
    }
    assert!(told > MAX_UNANSWERED, "told {told} times");
    // One that answers stays.
    let quick = host.begin_statistics(0);
    for _ in 0..MAX_UNANSWERED {
        assert_eq!(host.ask(":hello", restart()), said("created unikernel"));
        host.answer(quick, said("removed"));
        host.answer(quick, said("added"));
    }
    assert!(!host.closed.contains(&quick));
}
