//! A machine whose bridges come and go.

use super::*;

fn on(bridge: &str) -> Arguments {
    let net = NetDevice { name: "service".into(), bridge: Some(bridge.into()), mac: None };
    Arguments { net_devices: vec![net], ..arguments() }
}

fn create_on(bridge: &str) -> Command<'static> {
    let config = UnikernelConfig { image: NET_SERVICE.into(), ..config(on(bridge)) };
    Command::Unikernel(UnikernelCommand::Create(config))
}

impl Host {
    fn add_bridge(&mut self, bridge: &str) {
        self.host.bridges.insert(bridge.into());
    }
}

#[test]
fn a_bridge_that_was_made_later_is_found_when_it_is_asked_for() {
    let mut host = Host::new();
    assert!(refused(&host.ask(":a", create_on("later"))).contains("bridge later"));
    host.add_bridge("later");
    assert_eq!(host.ask(":a", create_on("later")), said("created unikernel"));
    let restart = |bridge| Command::Unikernel(UnikernelCommand::Restart(Some(on(bridge))));
    assert!(refused(&host.ask(":a", restart("last"))).contains("bridge last"));
    host.add_bridge("last");
    assert_eq!(host.ask(":a", restart("last")), said("created unikernel"));
    // A policy on the way still holds.
    assert_eq!(host.ask("p:", add(policy(1, 64))), said("added policy"));
    assert!(refused(&host.ask("p:a", create_on("last"))).contains("policy p"));
}

/// It was refused again and again until the daemon was started anew.
#[test]
fn what_waits_for_a_bridge_is_started_when_that_is_there() {
    let mut host = Host::new();
    host.add_bridge("later");
    assert_eq!(host.ask(":a", create_on("later")), said("created unikernel"));
    let (record, mut files) = (host.record.clone(), host.files.clone());
    files.retain(|path, _| path.extension().is_none());
    let mut host = Host::with_record(record, files);
    host.tick(300);
    assert!(host.processes.is_empty() && host.recorded() == [":a"]);
    host.add_bridge("later");
    host.tick(60);
    assert_eq!(host.processes.len(), 1);
    assert_eq!(host.ask(":a", DESTROY), said("destroyed unikernel"));
}

#[test]
fn a_client_that_is_gone_when_the_machine_was_looked_at_leaves_nothing() {
    let mut host = Host::new();
    host.holding = Some("LookAtHost");
    let client = host.send(":a", create_on("later"));
    assert_eq!(host.held_tasks.len(), 1, "nothing is refused before the machine was looked at");
    host.input(Input::Closed(client));
    host.holding = None;
    for (id, task) in std::mem::take(&mut host.held_tasks) {
        let result = host.task(task);
        host.input(Input::Done(id, result));
    }
    assert!(host.replies.is_empty() && host.recorded().is_empty());
    assert_eq!(host.create(":a", arguments()), said("created unikernel"));
}

#[test]
fn the_machine_is_looked_at_for_a_new_bridge_and_for_nothing_else() {
    let mut host = Host::new();
    host.holding = Some("LookAtHost");
    assert_eq!(host.ask(":a", create_on("service")), said("created unikernel"));
    let restart = Command::Unikernel(UnikernelCommand::Restart(Some(on("service"))));
    assert_eq!(host.ask(":a", restart), said("created unikernel"));
    assert!(host.held_tasks.is_empty());
    // However the image comes.
    host.add_bridge("later");
    let config = UnikernelConfig { image: Vec::new().into(), ..config(on("later")) };
    let size = Int::try_from(NET_SERVICE.len()).unwrap();
    let by_digest =
        albatross_proto::command::ByDigest { config, sha256: crate::image::digest(NET_SERVICE), size };
    let client = host.send(":b", Command::Unikernel(UnikernelCommand::CreateByDigest(by_digest)));
    assert_eq!(host.held_tasks.len(), 1);
    host.go_on();
    for chunk in [NET_SERVICE, b""] {
        host.input(Input::Frame(client, chunk.to_vec()));
    }
    assert_eq!(host.reply(client), said("created unikernel"));
}
