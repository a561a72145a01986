//! The life of a unikernel: created, shown, restarted, ended, and what fails on the way.

use std::rc::Rc;

use super::*;
use crate::image::{Image, Target};

#[test]
fn a_unikernel_is_created_shown_and_destroyed() {
    let mut host = Host::new();
    assert_eq!(host.create("foo:hello", with_net()), said("created unikernel"));
    assert_eq!(host.recorded(), ["foo:hello"]);
    assert_eq!(
        host.command_line(),
        [
            "--mem=32",
            "--net:service=vmmtap0",
            &mac_argument(),
            "--",
            "/run/albatross/foo:hello.img",
            "--name=hello"
        ]
    );
    let Payload::Success(Success::Info(list)) = host.ask("foo:", INFO) else { panic!() };
    assert_eq!(list.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), [":hello"]);
    assert_eq!(host.ask("foo:hello", DESTROY), said("destroyed unikernel"));
    assert!(
        host.recorded().is_empty()
            && host.processes.is_empty()
            && host.files.is_empty()
            && host.taps.is_empty()
    );
    assert_eq!(refused(&host.ask("foo:hello", DESTROY)), "unikernel foo:hello is not running");
}

fn mac_argument() -> String {
    let mac = crate::mac::derive(&Text::from("service"), &"foo:hello".parse().unwrap());
    format!("--net-mac:service={mac}")
}

#[test]
fn a_tender_is_told_what_to_open_by_name_or_by_descriptor() {
    let opens = |what| Argument::Opens { option: b"--net:service=".to_vec(), what };
    for (argument, name, descriptor) in [
        (Argument::Octets(b"--mem=32".to_vec()), &b"--mem=32"[..], &b"--mem=32"[..]),
        (opens(Opened::Tap("vmmtap0".to_owned())), b"--net:service=vmmtap0", b"--net:service=@7"),
        (opens(Opened::Block("/b/a:b".into())), b"--net:service=/b/a:b", b"--net:service=@7"),
    ] {
        assert_eq!((&argument.by_name()[..], &argument.by_descriptor(7)[..]), (name, descriptor));
    }
}

#[test]
fn a_tender_may_reach_what_its_guest_needs_and_nothing_else() {
    let reach = |host: &mut Host, command| {
        host.holding = Some("Spawn");
        host.send(":a", command);
        let Some((_, Task::Spawn(spawn))) = host.held_tasks.pop() else { panic!() };
        spawn.reach
    };
    let least = || Reach {
        image: "/run/albatross/:a.img".into(),
        blocks: Vec::new(),
        taps: false,
        virtual_machines: false,
        memory: 32,
    };
    assert_eq!(reach(&mut Host::new(), create(arguments())), least());
    assert_eq!(reach(&mut Host::new(), create(with_net())), Reach { taps: true, ..least() });
    // One for a virtual machine.
    let mut host = Host::new();
    host.create(":a", arguments());
    let unikernel = host.vmmd.unikernels.get_mut(&":a".parse().unwrap()).unwrap();
    let image = (**unikernel.image.as_ref().unwrap()).clone();
    unikernel.image = Some(Rc::new(Image { target: Target::Hvt, ..image }));
    assert_eq!(reach(&mut host, RESTART), Reach { virtual_machines: true, ..least() });
}

#[test]
fn a_unikernel_is_told_its_label_or_its_whole_name() {
    for (drop_path, argument) in [(true, "--name=hello"), (false, "--name=foo:hello")] {
        let mut host = Host::unborn(BTreeMap::new());
        host.vmmd = Vmmd::new(Config { drop_path, ..host.vmmd.config.clone() });
        host.input(begin(Record::default(), Left::default()));
        host.create("foo:hello", arguments());
        assert_eq!(host.command_line().last().unwrap(), argument);
    }
}

#[test]
fn a_start_that_fails_at_any_step_leaves_nothing_behind() {
    for step in ["StoreImage", "FindTender", "PlaceImage", "MakeFifo", "MakeTap", "Persist", "Spawn"] {
        let mut host = Host::new();
        host.failing = Some(step);
        let why = refused(&host.create("foo:hello", with_net()));
        assert!(why.contains("fire"), "{step}: {why}");
        host.failing = None;
        assert!(host.vmmd.unikernels.is_empty(), "{step}");
        assert!(host.fifos.is_empty() && host.taps.is_empty() && host.processes.is_empty(), "{step}");
        // What is stored goes with the next record at the latest.
        assert_eq!(host.create("foo:other", arguments()), said("created unikernel"), "{step}");
        assert_eq!(host.ask("foo:other", DESTROY), said("destroyed unikernel"), "{step}");
        assert!(host.files.is_empty() && host.recorded().is_empty(), "{step}: {:?}", host.files.keys());
    }
}

#[test]
fn nonsense_is_refused_before_anything_is_made() {
    let mut host = Host::new();
    let no_memory = Arguments { memory: Int::from(-1), ..arguments() };
    let nul = Arguments { argv: Some(vec![Text::from("a\0b")]), ..arguments() };
    let no_cpu = Arguments { cpuids: BTreeSet::new(), ..arguments() };
    let foreign_cpu = Arguments { cpuids: [Int::from(7)].into(), ..arguments() };
    for bad in [no_memory, nul, no_cpu, foreign_cpu] {
        refused(&host.create("foo:hello", bad));
    }
    assert!(refused(&host.create("foo:", arguments())).contains("path used instead of name"));
    let deep = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(":");
    assert!(refused(&host.create(&deep, arguments())).contains("too long"));
    let garbage = UnikernelConfig { image: b"garbage".into(), ..config(arguments()) };
    refused(&host.ask("foo:hello", Command::Unikernel(UnikernelCommand::Create(garbage))));
    let bhyve = UnikernelConfig { typ: Typ::Bhyve, ..config(arguments()) };
    refused(&host.ask("foo:hello", Command::Unikernel(UnikernelCommand::Create(bhyve))));
    let unlisted = UnikernelConfig { arguments: with_net(), ..config(arguments()) };
    refused(&host.ask("foo:hello", Command::Unikernel(UnikernelCommand::Create(unlisted))));
    assert!(host.files.is_empty() && host.vmmd.unikernels.is_empty());
    host.input(Input::Connected(ClientId(900)));
    host.input(Input::Frame(ClientId(900), b"garbage".to_vec()));
    assert!(host.closed.contains(&ClientId(900)) && !host.replies.contains_key(&ClientId(900)));
}

#[test]
fn policies_hold_at_the_path_and_at_every_ancestor() {
    let mut host = Host::new();
    for path in ["alice:", "alice:bob:", "alice:charlie:"] {
        assert_eq!(host.ask(path, add(policy(2, 512))), said("added policy"));
    }
    assert_eq!(host.ask("alice:", add(policy(2, 512))), said("no modification of policy"));
    host.create("alice:bob:one", arguments());
    assert_eq!(host.create("alice:charlie:two", arguments()), said("created unikernel"));
    let why = refused(&host.create("alice:charlie:three", arguments()));
    assert!(why.contains("alice") && why.contains('2'), "{why}");
    let large = Arguments { memory: Int::from(2000), ..arguments() };
    refused(&host.create("dave:huge", large));
    assert_eq!(host.record.policies.len(), 3);
    let Payload::Success(Success::Policies(list)) = host.ask("alice:", Command::Policy(PolicyCommand::Info))
    else {
        panic!()
    };
    assert_eq!(list.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>(), [":", "charlie:", "bob:"]);
    assert_eq!(host.ask("alice:", Command::Policy(PolicyCommand::Remove)), said("removed policy"));
    assert_eq!(host.record.policies.len(), 2);
    refused(&host.ask("alice:", Command::Policy(PolicyCommand::Remove)));
}

#[test]
fn a_change_that_cannot_be_written_is_not_made() {
    let mut host = Host::new();
    host.failing = Some("Persist");
    assert!(refused(&host.ask("alice:", add(policy(2, 512)))).contains("fire"));
    host.failing = None;
    assert_eq!(host.vmmd.resources.policy(&"alice".parse::<Path>().unwrap()), None);
    assert_eq!(host.ask("alice:", add(policy(2, 512))), said("added policy"));
}

#[test]
fn several_commands_follow_an_accepted_policy_and_nothing_else() {
    let mut host = Host::new();
    let client = host.send("alice:", add(policy(2, 512)));
    assert!(!host.closed.contains(&client));
    host.send_on(client, "alice:hello", create(arguments()));
    assert_eq!(host.replies[&client], [said("added policy"), said("created unikernel")]);
    assert!(host.closed.contains(&client));
}

#[test]
fn exits_follow_the_fail_behaviour() {
    let mut host = Host::new();
    host.create(":once", arguments());
    host.exit(0);
    assert!(host.recorded().is_empty() && host.files.is_empty() && host.processes.is_empty());
    host.create(":again", restarting());
    for _ in 0..3 {
        host.exit(7);
        assert!(host.processes.is_empty(), "not at once");
        host.tick(60);
        assert_eq!(host.processes.len(), 1);
    }
    let Payload::Success(Success::Status(list)) = host.ask(":", Command::Unikernel(UnikernelCommand::Status))
    else {
        panic!()
    };
    assert_eq!(list[0].1.restarts, Int::from(3));
    assert_eq!(list[0].1.last_exit, Some(Exit::Exited(Int::from(7))));
    host.exit(1);
    assert!(host.recorded().is_empty(), "a tender's error is not tried again");
}

#[test]
fn what_waits_can_be_destroyed_and_restarted() {
    let mut host = Host::new();
    host.create(":again", restarting());
    host.exit(7);
    assert_eq!(host.ask(":again", RESTART), said("created unikernel"));
    host.exit(7);
    assert_eq!(host.ask(":again", DESTROY), said("destroyed: removed from restarting"));
    host.tick(100);
    assert!(host.processes.is_empty() && host.recorded().is_empty() && host.files.is_empty());
}

#[test]
fn a_unikernel_that_does_not_know_its_name_is_started_without() {
    let mut host = Host::new();
    host.create(":dance", arguments());
    assert_eq!(host.command_line().last().unwrap(), "--name=dance");
    host.exit(64);
    assert_eq!(host.command_line().last().unwrap(), "/run/albatross/:dance.img");
    assert!(!host.record.unikernels[0].1.config.arguments.add_name);
    host.exit(64);
    assert!(host.recorded().is_empty());
}

#[test]
fn force_create_replaces_and_restart_keeps_the_image() {
    let mut host = Host::new();
    host.ask("alice:", add(policy(1, 64)));
    host.create("alice:a", arguments());
    let forced = Command::Unikernel(UnikernelCommand::ForceCreate(config(Arguments {
        memory: Int::from(64),
        ..arguments()
    })));
    assert_eq!(host.ask("alice:a", forced), said("created unikernel"));
    assert_eq!((host.processes.len(), host.command_line()[0].as_str()), (1, "--mem=64"));
    let too_much = Arguments { memory: Int::from(65), ..arguments() };
    let restart = |arguments| Command::Unikernel(UnikernelCommand::Restart(Some(arguments)));
    refused(&host.ask("alice:a", restart(too_much.clone())));
    assert_eq!(host.processes.len(), 1, "what is refused goes on running");
    let forced = Command::Unikernel(UnikernelCommand::ForceCreate(config(too_much)));
    refused(&host.ask("alice:a", forced));
    assert_eq!(host.processes.len(), 1);
    let other = Arguments { argv: Some(vec![Text::from("--x")]), ..arguments() };
    assert_eq!(host.ask("alice:a", restart(other)), said("created unikernel"));
    assert_eq!(host.command_line().last().unwrap(), "--x");
    assert_eq!(host.ask("alice:a", RESTART), said("created unikernel"));
    assert_eq!(host.command_line().last().unwrap(), "--x");
    assert!(refused(&host.create("alice:a", arguments())).contains("exists"));
}

#[test]
fn a_tender_that_does_not_end_is_killed() {
    let mut host = Host::new();
    host.create(":deaf", arguments());
    host.deaf = true;
    let client = host.send(":deaf", DESTROY);
    let second = host.send(":deaf", DESTROY);
    assert!(refused(&host.ask(":deaf", RESTART)).contains("being stopped"));
    assert!(!host.replies.contains_key(&client));
    host.tick(GRACE.as_secs());
    assert_eq!(host.reply(client), said("destroyed unikernel"));
    assert_eq!(host.reply(second), said("destroyed unikernel"));
    assert_eq!(
        host.killed.iter().map(|(_, signal)| *signal).collect::<Vec<_>>(),
        [Signal::Terminate, Signal::Kill]
    );
}

#[test]
fn creates_need_the_console_daemon_and_running_ones_do_not() {
    let mut host = Host::new();
    host.create(":runs", arguments());
    host.console_up = false;
    host.input(Input::ConsoleClosed);
    assert!(refused(&host.create(":new", arguments())).contains("console"));
    assert_eq!(host.processes.len(), 1);
    host.console_up = true;
    host.tick(2);
    assert_eq!(host.create(":new", arguments()), said("created unikernel"));
}

#[test]
fn a_silent_or_lost_console_daemon_fails_the_start() {
    let mut host = Host::new();
    host.console_silent = true;
    let client = host.send(":a", create(arguments()));
    host.tick(CONSOLE_PATIENCE.as_secs());
    assert!(refused(&host.reply(client)).contains("did not answer"));
    let client = host.send(":a", create(arguments()));
    host.input(Input::ConsoleClosed);
    assert!(refused(&host.reply(client)).contains("went away"));
    // An answer that comes too late starts nothing.
    let late = console_answer(&host.held.pop().unwrap());
    host.input(Input::ConsoleFrame(late));
    assert!(host.processes.is_empty() && host.fifos.is_empty());
}

#[test]
fn what_is_destroyed_while_it_starts_does_not_start() {
    let mut host = Host::new();
    host.console_silent = true;
    let creator = host.send(":a", create(with_net()));
    let destroyer = host.send(":a", DESTROY);
    let answer = console_answer(&host.held.pop().unwrap());
    host.input(Input::ConsoleFrame(answer));
    assert!(refused(&host.reply(creator)).contains("destroyed"));
    assert_eq!(host.reply(destroyer), said("destroyed unikernel"));
    assert!(host.processes.is_empty() && host.recorded().is_empty());
}

#[test]
fn get_returns_the_image() {
    let mut host = Host::new();
    host.create(":a", arguments());
    let image = config(arguments()).image.into_owned();
    let get = |level| Command::Unikernel(UnikernelCommand::Get(Int::from(level)));
    let plain = Payload::Success(Success::UnikernelImage { compressed: false, image: image.clone().into() });
    assert_eq!(host.ask(":a", get(0)), plain);
    let Payload::Success(Success::UnikernelImage { compressed: true, image: small }) = host.ask(":a", get(9))
    else {
        panic!()
    };
    assert_eq!(crate::image::inflate(&small, 1 << 20).unwrap(), image);
    refused(&host.ask(":b", get(0)));
}

#[test]
fn the_end_frees_everything_and_the_next_begin_brings_it_back_by_priority() {
    let mut host = Host::new();
    let late = Arguments { startup: Some(Int::from(90)), ..restarting() };
    let first = Arguments { startup: Some(Int::ZERO), ..arguments() };
    host.create(":a-late", late);
    host.create(":b-middle", arguments());
    host.create(":c-first", first);
    host.ask("alice:", add(policy(2, 512)));
    host.input(Input::Terminate);
    assert!(host.exited && host.processes.is_empty() && host.fifos.is_empty());
    assert_eq!(host.recorded(), [":a-late", ":b-middle", ":c-first"]);
    let mut next = Host::with_record(host.record, host.files);
    let lines: Vec<&str> = next.processes.values().map(|line| line.last().unwrap().as_str()).collect();
    assert_eq!(lines, ["--name=c-first", "--name=b-middle", "--name=a-late"]);
    assert_eq!(next.ask("alice:", add(policy(2, 512))), said("no modification of policy"));
}

/// A thousand that were started at once kept the driver from clients for seconds.
#[test]
fn many_are_started_a_few_at_a_time_and_the_room_of_all_is_their_own() {
    const MANY: usize = 2 * MAX_RESTARTING + 1;
    let label = |number: usize| format!("x{:02}", MANY - number);
    let mut host = Host::new();
    let memory = 1024 / i32::try_from(MANY).unwrap();
    for number in 0..MANY {
        let startup = Some(Int::from(i32::try_from(number).unwrap()));
        let arguments = Arguments { memory: Int::from(memory), startup, ..arguments() };
        host.create(&format!(":{}", label(number)), arguments);
    }
    host.input(Input::Terminate);
    let mut next = Host::unborn(host.files);
    next.record.clone_from(&host.record);
    next.holding = Some("Spawn");
    next.input(begin(host.record, Left::default()));
    let mut started = Vec::new();
    loop {
        assert!(next.held_tasks.len() <= MAX_RESTARTING);
        assert!(
            refused(&next.create(":more", Arguments { memory: Int::from(memory), ..arguments() }))
                .contains("memory")
        );
        if next.held_tasks.is_empty() {
            break;
        }
        let (id, task) = next.held_tasks.remove(0);
        let result = next.task(task);
        started.push(next.processes.values().last().unwrap().last().unwrap().clone());
        next.input(Input::Done(id, result));
    }
    let names = (0..MANY).map(|number| format!("--name={}", label(number)));
    assert_eq!(started, names.collect::<Vec<_>>(), "by priority");
}

#[test]
fn what_cannot_be_started_stays_on_record_and_is_tried_again() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.input(Input::Terminate);
    let mut files = host.files.clone();
    let (path, image) = files.pop_first().unwrap();
    let mut next = Host::with_record(host.record, BTreeMap::new());
    assert!(next.processes.is_empty());
    let Payload::Success(Success::Status(list)) =
        next.ask(":a", Command::Unikernel(UnikernelCommand::Status))
    else {
        panic!()
    };
    assert!(matches!(&list[0].1.state, StatusState::Failed(why) if why.to_string().contains("gone")));
    assert_eq!(next.recorded(), [":a"]);
    next.files.insert(path.clone(), b"damaged".to_vec());
    next.tick(10);
    assert!(next.processes.is_empty(), "an image that is not the one on record is not run");
    next.files.insert(path, image);
    next.tick(120);
    assert_eq!(next.processes.len(), 1);
}

#[test]
fn names_that_look_like_paths_are_plain_file_names() {
    let mut host = Host::new();
    for name in [":.", ":..", "..:..", "a.b:c-d"] {
        assert_eq!(host.create(name, arguments()), said("created unikernel"));
        let name: Name = name.parse().unwrap();
        for path in [host.vmmd.config.fifo(&name), host.vmmd.config.image(&name)] {
            let file = path.file_name().unwrap().to_str().unwrap();
            assert!(!file.contains('/') && file != "." && file != "..");
            assert!(path.starts_with("/run/albatross") && !path.to_str().unwrap().contains("/../"));
        }
    }
}
