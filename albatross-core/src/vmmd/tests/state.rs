//! What is kept and when: the record, images by digest, and images that come as streams.

use albatross_proto::command::ByDigest;

use super::*;

const STATUS: Command<'static> = Command::Unikernel(UnikernelCommand::Status);

fn by_digest(image: &[u8], size: usize) -> ByDigest {
    let config = UnikernelConfig { image: Vec::new().into(), ..config(arguments()) };
    ByDigest { config, sha256: crate::image::digest(image), size: Int::from(i32::try_from(size).unwrap()) }
}

fn create_by_digest(image: &[u8], size: usize) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::CreateByDigest(by_digest(image, size)))
}

fn force(arguments: Arguments) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::ForceCreate(config(arguments)))
}

fn states(host: &mut Host) -> Vec<(String, StatusState)> {
    let Payload::Success(Success::Status(list)) = host.ask(":", STATUS) else { panic!() };
    list.into_iter().map(|(name, status)| (name.to_string(), status.state)).collect()
}

impl Host {
    /// Streams an image after a command, and returns the reply.
    fn stream(&mut self, command: Command<'_>, chunks: &[&[u8]]) -> Payload<'static> {
        let client = self.send(":hello", command);
        for chunk in chunks {
            self.input(Input::Frame(client, chunk.to_vec()));
        }
        self.reply(client)
    }

    fn release(&mut self) {
        self.holding = None;
        for (id, task) in std::mem::take(&mut self.held_tasks) {
            let result = self.task(task);
            self.input(Input::Done(id, result));
        }
    }
}

#[test]
fn an_image_by_digest_is_streamed_checked_and_only_then_started() {
    let mut host = Host::new();
    let length = NO_DEVICES.len();
    let (first, second) = NO_DEVICES.split_at(100);
    let reply = host.stream(create_by_digest(NO_DEVICES, length), &[first, second, b""]);
    assert_eq!(reply, said("created unikernel"));
    assert!(host.spools.is_empty());
    let why = refused(&host.stream(create_by_digest(NO_DEVICES, length), &[]));
    assert!(why.contains("exists already"), "{why}");
    let again = Command::Unikernel(UnikernelCommand::ForceCreateByDigest(by_digest(NO_DEVICES, length)));
    assert_eq!(host.stream(again, &[NO_DEVICES, b""]), said("created unikernel"));
    assert_eq!(host.processes.len(), 1);

    let sent = crate::image::deflate(NO_DEVICES, 9);
    let mut compressed = by_digest(&sent, sent.len());
    compressed.config.compressed = true;
    let compressed = Command::Unikernel(UnikernelCommand::ForceCreateByDigest(compressed));
    assert_eq!(host.stream(compressed, &[&sent, b""]), said("created unikernel"));
    assert_eq!(host.files.len(), 2, "stored and placed once");
}

#[test]
fn a_wrong_longer_or_cut_stream_starts_nothing() {
    let mut host = Host::new();
    let length = NO_DEVICES.len();
    let wrong = [&NO_DEVICES[..length - 1], b"x"].concat();
    let short = &NO_DEVICES[..length - 1];
    let long = vec![0; albatross_proto::frame::MAX_CHUNK + 1];
    for (size, chunks, expected) in [
        (length, [&wrong[..], b""].as_slice(), "SHA-256"),
        (length, &[short, b""], "SHA-256"),
        (length - 1, &[NO_DEVICES], "longer than was announced"),
        (length, &[NO_DEVICES, b"x"], "longer than was announced"),
        (long.len(), &[&long], "longer than a frame"),
        (0, &[], "cannot be streamed"),
    ] {
        let why = refused(&host.stream(create_by_digest(NO_DEVICES, size), chunks));
        assert!(why.contains(expected), "{why}");
        assert!(host.spools.is_empty() && host.files.is_empty() && host.vmmd.unikernels.is_empty());
    }
    let client = host.send(":hello", create_by_digest(NO_DEVICES, length));
    host.input(Input::Frame(client, NO_DEVICES.to_vec()));
    host.input(Input::Ended(client));
    assert!(refused(&host.reply(client)).contains("cut off"));
    let client = host.send(":hello", create_by_digest(NO_DEVICES, length));
    host.input(Input::Closed(client));
    assert!(host.spools.is_empty() && host.processes.is_empty());
}

#[test]
fn streams_do_not_mix() {
    let mut host = Host::new();
    let net = by_digest(NET_SERVICE, NET_SERVICE.len());
    let net = ByDigest { config: UnikernelConfig { arguments: with_net(), ..net.config }, ..net };
    let net = Command::Unikernel(UnikernelCommand::CreateByDigest(net));
    let first = host.send(":a", create_by_digest(NO_DEVICES, NO_DEVICES.len()));
    let second = host.send(":b", net);
    for (one, other) in [(&NO_DEVICES[..99], &NET_SERVICE[..99]), (&NO_DEVICES[99..], &NET_SERVICE[99..])] {
        host.input(Input::Frame(second, other.to_vec()));
        host.input(Input::Frame(first, one.to_vec()));
    }
    for client in [first, second] {
        host.input(Input::Frame(client, Vec::new()));
        assert_eq!(host.reply(client), said("created unikernel"));
    }
    assert!(host.spools.is_empty());
}

#[test]
fn an_image_is_streamed_or_sent_with_the_command_and_not_both() {
    let mut host = Host::new();
    let both = ByDigest { config: config(arguments()), ..by_digest(NO_DEVICES, NO_DEVICES.len()) };
    let client = host.send(":a", Command::Unikernel(UnikernelCommand::CreateByDigest(both)));
    assert!(host.closed.contains(&client) && host.spools.is_empty());
    assert!(host.said.last().unwrap().contains("by-digest.config.image"), "{:?}", host.said);
}

#[test]
fn a_create_whose_image_is_not_in_memory_is_a_create_like_any_other() {
    let mut host = Host::new();
    let large = |host: &mut Host, command: Command<'_>, image: &[u8]| {
        let client = ClientId(host.next_client);
        host.next_client += 1;
        host.input(Input::Connected(client));
        let spool = SpoolId::Frame(u64::try_from(client.0).unwrap());
        host.spools.insert(spool, image.to_vec());
        let wire = Wire::new(Header::new(0, ":hello".parse().unwrap()), Payload::Command(command));
        host.input(Input::LargeFrame(client, wire.encode().unwrap(), spool));
        host.reply(client)
    };
    let empty = UnikernelConfig { image: Vec::new().into(), ..config(arguments()) };
    let create =
        |config: &UnikernelConfig<'static>| Command::Unikernel(UnikernelCommand::Create(config.clone()));
    assert_eq!(large(&mut host, create(&empty), NO_DEVICES), said("created unikernel"));
    assert!(refused(&large(&mut host, create(&empty), NO_DEVICES)).contains("exists already"));
    assert_eq!(large(&mut host, DESTROY, b"of no use"), said("destroyed unikernel"));
    assert!(host.spools.is_empty() && host.files.is_empty());
}

#[test]
fn an_image_is_shared_and_goes_with_its_last_user() {
    let mut host = Host::new();
    let stored = |host: &Host| host.files.keys().filter(|path| path.starts_with("/var")).count();
    for name in [":a", ":b", "p:c"] {
        host.create(name, arguments());
    }
    assert_eq!(stored(&host), 1);
    host.ask(":a", DESTROY);
    host.ask(":b", DESTROY);
    assert_eq!(stored(&host), 1);
    host.ask("p:c", force(with_net()));
    assert_eq!(stored(&host), 1, "the other image came, this one went");
    host.ask("p:c", DESTROY);
    assert_eq!(stored(&host), 0);
}

#[test]
fn the_image_of_what_waits_to_take_anothers_place_stays() {
    let mut host = Host::new();
    host.create(":a", with_net());
    host.create(":b", arguments());
    let pid = *host.pids().last().unwrap();
    host.deaf = true;
    let client = host.send(":a", force(arguments()));
    host.processes.remove(&pid);
    host.input(Input::Exited { pid, exit: Some(Exit::Exited(Int::ZERO)) });
    assert_eq!(host.recorded(), [":a"], "the other one that had it is gone");
    host.tick(GRACE.as_secs());
    assert_eq!(host.reply(client), said("created unikernel"));
}

#[test]
fn new_arguments_come_on_record_when_they_are_written_for_their_own_sake() {
    let mut host = Host::new();
    host.create(":a", arguments());
    let recorded = |host: &Host| host.record.unikernels[0].1.config.arguments.memory;
    host.holding = Some("MakeFifo");
    let memory = Int::from(64);
    let restart = UnikernelCommand::Restart(Some(Arguments { memory, ..arguments() }));
    let client = host.send(":a", Command::Unikernel(restart));
    // All is written meanwhile.
    host.failing = Some("Append");
    refused(&host.ask("p:", add(policy(1, 64))));
    host.failing = None;
    host.journal.clear();
    host.tick(RECORD_RETRY.as_secs());
    assert_eq!(recorded(&host), arguments().memory);
    host.release();
    assert_eq!((host.reply(client), recorded(&host)), (said("created unikernel"), memory));
}

#[test]
fn an_image_that_is_being_stored_is_not_removed() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.holding = Some("StoreImage");
    let client = host.send(":b", create(arguments()));
    let sent = Command::Unikernel(UnikernelCommand::Create(UnikernelConfig {
        image: b"no image".into(),
        ..config(arguments())
    }));
    let bad = host.send(":c", sent);
    assert_eq!(host.ask(":a", DESTROY), said("destroyed unikernel"));
    assert_eq!(host.files.len(), 1, "what is stored for :b may be the same");
    host.release();
    assert_eq!(host.reply(client), said("created unikernel"));
    refused(&host.reply(bad));
    assert_eq!(host.ask(":b", DESTROY), said("destroyed unikernel"));
    assert!(host.files.is_empty());
}

#[test]
fn an_image_stays_until_the_record_without_it_is_durable() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.holding = Some("FindTender");
    let replacing = host.send(":a", force(with_net()));
    // The record of another change says nothing about :a.
    host.ask("p:", add(policy(2, 512)));
    assert_eq!(host.recorded(), [":a"]);
    let kept = host.record.unikernels[0].1.digest;
    assert!(host.files.contains_key(&host.vmmd.config.stored_image(&kept)));
    host.release();
    assert_eq!(host.reply(replacing), said("created unikernel"));
    assert_ne!(host.record.unikernels[0].1.digest, kept);
    assert!(!host.files.contains_key(&host.vmmd.config.stored_image(&kept)));
}

#[test]
fn a_change_costs_an_entry_and_now_and_then_all_is_written() {
    let mut host = Host::new();
    let mut before = 0;
    let (mut appended, mut replaced) = (0, 0);
    for index in 0..400 {
        let path = format!("p{index}:");
        assert_eq!(host.ask(&path, add(policy(2, 512))), said("added policy"));
        let entries = host.journal.len();
        if entries > before && entries - before < 100 {
            appended += 1;
        } else {
            replaced += 1;
        }
        before = entries;
    }
    assert_eq!(host.record.policies.len(), 400);
    assert!(replaced < 4 && appended > 396, "{replaced} {appended}");
    for index in 0..400 {
        host.ask(&format!("p{index}:"), Command::Policy(PolicyCommand::Remove));
    }
    assert!(host.record.policies.is_empty());
    assert!(host.journal.len() < 50_000, "{}", host.journal.len());
}

#[test]
fn all_is_written_when_as_much_was_appended_as_is_on_record_or_a_little() {
    let mut host = Host::new();
    for index in 0..20 {
        host.ask(&format!("p{index}:"), add(policy(2, 512)));
        host.create(&format!("p{index}:a"), Arguments { memory: Int::ONE, ..arguments() });
    }
    let (mut length, mut written) = (host.journal.len(), 0);
    for change in 0..2 * 257 {
        host.ask("p0:", add(policy(2, 400 + change)));
        written += usize::from(host.journal.len() < length);
        length = host.journal.len();
    }
    assert_eq!(written, 2);
}

#[test]
fn a_start_that_fails_says_nothing_about_the_record() {
    for failing in ["FindTender", "MakeFifo", "Spawn"] {
        let mut host = Host::new();
        for index in 0..9 {
            host.ask(&format!("p{index}:"), add(policy(2, 512)));
        }
        let begin = host.journal.clone();
        host.failing = Some(failing);
        refused(&host.create(":a", arguments()));
        host.failing = None;
        host.ask("q:", add(policy(2, 512)));
        assert!(host.journal.starts_with(&begin), "{failing}: entries are appended, it is not written anew");
    }
}

#[test]
fn what_could_not_be_written_is_written_later() {
    for failing in ["Append", "Persist"] {
        let mut host = Host::new();
        if failing == "Append" {
            host.ask("q:", add(policy(2, 512)));
        }
        host.create(":a", arguments());
        host.create(":b", arguments());
        let failed_first = host.vmmd.config.record();
        host.failing = Some("Append");
        let why = refused(&host.ask(":a", DESTROY));
        assert!(why.contains("not written"), "{why}");
        host.failing = Some("Persist");
        assert!(refused(&host.ask("p:", add(policy(2, 512)))).contains("not written"));
        assert_eq!(host.recorded(), [":a", ":b"], "{failed_first:?}");
        host.tick(3 * RECORD_RETRY.as_secs());
        assert_eq!(host.recorded(), [":a", ":b"]);
        host.failing = None;
        host.tick(RECORD_RETRY.as_secs());
        assert_eq!(host.recorded(), [":b"], "the destroyed one does not come back");
        assert!(
            host.record.policies.iter().all(|(path, _)| path.to_string() != "p"),
            "the refused one neither"
        );
        assert!(host.vmmd.next_deadline().is_none(), "and nothing is tried any more");
    }
}

#[test]
fn what_could_not_be_written_is_written_at_the_end() {
    for end in [Input::Terminate, Input::HandOver] {
        let mut host = Host::new();
        host.create(":a", arguments());
        host.failing = Some("Append");
        refused(&host.ask(":a", DESTROY));
        assert_eq!(host.recorded(), [":a"]);
        host.failing = None;
        host.input(end);
        assert!(host.exited && host.recorded().is_empty(), "the destroyed one does not come back");
    }
    // It is tried once.
    let mut host = Host::new();
    host.create(":a", arguments());
    host.failing = Some("Append");
    refused(&host.ask(":a", DESTROY));
    host.failing = Some("Persist");
    host.input(Input::Terminate);
    assert!(host.exited);
}

#[test]
fn what_is_on_record_keeps_its_place_until_it_is_started() {
    let mut host = Host::new();
    host.ask("p:", add(policy(2, 64)));
    host.create("p:a", arguments());
    host.create("p:b", arguments());
    host.input(Input::Terminate);
    let (record, files) = (host.record.clone(), host.files.clone());

    let mut host = Host::unborn(files);
    host.console_up = false;
    host.input(begin(record, Left::default()));
    assert!(host.processes.is_empty(), "they wait for the console daemon");
    refused(&host.create("p:c", arguments()));
    refused(&host.ask("p:", add(policy(1, 64))));
    host.console_up = true;
    host.tick(5);
    assert_eq!(host.processes.len(), 2);
}

#[test]
fn a_replacement_is_checked_before_what_runs_is_stopped() {
    let mut host = Host::new();
    host.ask("p:", add(policy(1, 64)));
    host.create("p:a", arguments());
    let large = Arguments { memory: Int::from(65), ..arguments() };
    for refusal in [force(large.clone()), Command::Unikernel(UnikernelCommand::Restart(Some(large)))] {
        refused(&host.ask("p:a", refusal));
        assert!(host.killed.is_empty() && host.processes.len() == 1);
    }
    // As if the old one were gone: 64 MB are there for it once it is.
    let whole = Arguments { memory: Int::from(64), ..arguments() };
    assert_eq!(host.ask("p:a", force(whole.clone())), said("created unikernel"));
    let replaced = Arguments { argv: Some(vec![Text::from("--new")]), ..whole };
    let restart = Command::Unikernel(UnikernelCommand::Restart(Some(replaced.clone())));
    assert_eq!(host.ask("p:a", restart), said("created unikernel"));
    assert_eq!(host.command_line().last().unwrap(), "--new");
    assert_eq!(host.record.unikernels[0].1.config.arguments, replaced);
}

#[test]
fn names_are_relative_to_the_path_and_full_with_a_label() {
    let mut host = Host::new();
    for name in [":x", "p:a", "p:b", "p:q:c", "pq:d"] {
        host.create(name, arguments());
    }
    let names = |payload| match payload {
        Payload::Success(Success::Info(list)) => list.into_iter().map(|(name, _)| name.to_string()).collect(),
        Payload::Success(Success::Status(list)) => {
            list.into_iter().map(|(name, _)| name.to_string()).collect()
        }
        other => panic!("unexpected {other:?}"),
    };
    for command in [INFO, STATUS] {
        let mut all: Vec<String> = names(host.ask(":", command.clone()));
        assert_eq!(all, [":x", "pq:d", "p:q:c", "p:b", "p:a"]);
        all = names(host.ask("p:", command.clone()));
        assert_eq!(all, ["q:c", ":b", ":a"]);
        all = names(host.ask("p:q:c", command.clone()));
        assert_eq!(all, ["p:q:c"]);
        all = names(host.ask("p:q", command));
        assert!(all.is_empty());
    }
}

#[test]
fn status_shows_what_does_not_run_and_why() {
    let mut host = Host::new();
    host.create(":a", restarting());
    host.exit(3);
    host.create(":b", arguments());
    host.holding = Some("FindTender");
    let client = host.send(":c", create(arguments()));
    let shown = states(&mut host);
    assert!(
        matches!(&shown[..], [(c, StatusState::Starting), (b, StatusState::Running), (a, StatusState::Waiting(_))]
        if a == ":a" && b == ":b" && c == ":c"),
        "{shown:?}"
    );
    host.release();
    assert_eq!(host.reply(client), said("created unikernel"));
    let mut next = Host::with_record(host.record, BTreeMap::new());
    let shown = states(&mut next);
    assert!(shown.iter().all(|(_, state)| matches!(state, StatusState::Failed(_))), "{shown:?}");
    assert_eq!(next.recorded(), [":a", ":b", ":c"]);
}
