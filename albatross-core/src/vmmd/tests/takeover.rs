//! Daemons that end and leave what runs to the next one, or are killed.

use albatross_proto::state::Stage;

use super::*;

const STATUS: Command<'static> = Command::Unikernel(UnikernelCommand::Status);

impl Host {
    /// What a daemon that begins now finds. How those ended that do not run any more is `exit`.
    pub(super) fn left(&self, exit: Option<Exit>) -> Left {
        let fate = |pid| if self.processes.contains_key(pid) { Fate::Runs } else { Fate::Ended(exit) };
        let tenders = self.notes.values();
        let name = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.strip_suffix(".img").unwrap_or(file).parse().unwrap()
        };
        Left {
            tenders: tenders
                .map(|(pid, tender)| LeftTender { pid: *pid, tender: tender.clone(), fate: fate(pid) })
                .collect(),
            taps: self.taps.iter().cloned().collect(),
            images: self.files.keys().filter(|path| path.starts_with("/run")).map(name).collect(),
            fifos: self.fifos.iter().map(name).collect(),
        }
    }

    /// The daemon is gone, whatever it was doing, and the next one begins.
    fn next_daemon(&mut self, exit: Option<Exit>) {
        let left = self.left(exit);
        self.vmmd = Vmmd::new(self.vmmd.config.clone());
        self.holding = None;
        self.held_tasks.clear();
        self.replies.clear();
        self.exited = false;
        self.input(begin(self.record.clone(), left));
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    fn info(&mut self) -> Vec<(String, Time)> {
        let Payload::Success(Success::Info(list)) = self.ask(":", INFO) else { panic!() };
        list.into_iter().map(|(name, info)| (name.to_string(), info.started)).collect()
    }

    fn restarts(&mut self, name: &str) -> (StatusState, i64, Option<Exit>) {
        let Payload::Success(Success::Status(list)) = self.ask(name, STATUS) else { panic!() };
        let [(_, status)] = &list[..] else { panic!("{list:?}") };
        (status.state.clone(), status.restarts.get(), status.last_exit)
    }

    fn is_empty(&self) -> bool {
        self.record.unikernels.is_empty()
            && self.processes.is_empty()
            && self.notes.is_empty()
            && self.files.is_empty()
            && self.fifos.is_empty()
            && self.taps.is_empty()
    }
}

fn exited(code: i32) -> Option<Exit> {
    Some(Exit::Exited(Int::from(code)))
}

#[test]
fn what_runs_is_taken_over_with_all_that_it_holds() {
    let mut host = Host::new();
    host.ask("p:", add(policy(2, 64)));
    host.create("p:net", with_net());
    host.tick(5);
    host.create("p:plain", restarting());
    let (before, pids, taps) = (host.info(), host.pids(), host.taps.clone());
    for _ in 0..3 {
        host.tick(60);
        host.next_daemon(None);
        assert_eq!(
            (host.info(), host.pids(), host.taps.clone()),
            (before.clone(), pids.clone(), taps.clone())
        );
        assert_eq!(host.killed, []);
        let why = refused(&host.create("p:third", arguments()));
        assert!(why.contains("2 unikernels"), "{why}");
    }
    assert_eq!(host.ask("p:net", RESTART), said("created unikernel"));
    assert_eq!(host.pids().len(), 2);
    assert!(host.taps != taps && host.taps.len() == 1, "{:?}", host.taps);
    // The other one ends, and is started again as by the daemon that started it.
    host.exit(3);
    host.tick(1);
    assert_eq!(host.restarts("p:plain"), (StatusState::Running, 1, exited(3)));
    host.next_daemon(None);
    assert_eq!(host.restarts("p:plain").1, 1);
    for name in ["p:net", "p:plain"] {
        assert_eq!(host.ask(name, DESTROY), said("destroyed unikernel"));
    }
    assert!(host.is_empty(), "{host:?}");
}

#[test]
fn a_daemon_that_hands_over_leaves_what_runs() {
    let mut host = Host::new();
    host.create(":net", with_net());
    let pids = host.pids();
    host.input(Input::HandOver);
    assert!(host.exited && host.pids() == pids && host.killed.is_empty() && host.taps.len() == 1);
    host.next_daemon(None);
    assert_eq!(host.pids(), pids);
    host.input(Input::Terminate);
    assert!(host.exited && host.processes.is_empty() && host.taps.is_empty() && host.notes.is_empty());
    assert_eq!(host.recorded(), [":net"]);
}

#[test]
fn a_hand_over_waits_for_what_is_being_started_or_stopped() {
    let mut host = Host::new();
    for name in [":restarts", ":goes", ":stays"] {
        host.create(name, arguments());
    }
    host.deaf = true;
    let restarts = host.send(":restarts", RESTART);
    let goes = host.send(":goes", DESTROY);
    host.holding = Some("Spawn");
    let starts = host.send(":starts", create(arguments()));
    host.input(Input::HandOver);
    assert!(!host.exited);
    assert!(refused(&host.create(":late", arguments())).contains("ending"));
    assert!(refused(&host.reply(restarts)).contains("ending"));
    for (id, task) in std::mem::take(&mut host.held_tasks) {
        let result = host.task(task);
        host.input(Input::Done(id, result));
    }
    assert_eq!(host.reply(starts), said("created unikernel"));
    host.tick(GRACE.as_secs());
    assert_eq!(host.reply(goes), said("destroyed unikernel"));
    assert!(host.exited);
    assert_eq!(host.processes.len(), 2, "the one that stays, and the one that was started");
    host.deaf = false;
    host.next_daemon(None);
    assert_eq!(host.processes.len(), 3, "and the one that was to be started again");
    assert_eq!(host.recorded(), [":restarts", ":starts", ":stays"]);
}

#[test]
fn what_was_only_being_made_ready_at_a_hand_over_is_not_started() {
    let mut host = Host::new();
    host.holding = Some("MakeFifo");
    let client = host.send(":a", create(arguments()));
    host.input(Input::HandOver);
    assert!(!host.exited);
    host.go_on();
    refused(&host.reply(client));
    assert!(host.exited && host.processes.is_empty() && host.recorded().is_empty());
}

#[test]
fn sigterm_ends_a_hand_over_that_has_not_come_to_its_end() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.create(":b", arguments());
    host.deaf = true;
    host.send(":a", DESTROY);
    host.input(Input::HandOver);
    host.deaf = false;
    host.input(Input::Terminate);
    assert_eq!(host.processes.len(), 1);
    host.tick(GRACE.as_secs());
    assert!(host.exited && host.processes.is_empty());
    assert_eq!(host.recorded(), [":b"]);
}

#[test]
fn an_exit_during_a_hand_over_follows_the_fail_behaviour() {
    let mut host = Host::new();
    host.create(":quits", arguments());
    let quits = host.pids()[0];
    host.create(":held", arguments());
    host.deaf = true;
    host.send(":held", DESTROY);
    host.input(Input::HandOver);
    host.processes.remove(&quits);
    host.input(Input::Exited { pid: quits, exit: exited(0) });
    assert_eq!(host.recorded(), [":held"]);
}

#[test]
fn exits_while_there_was_no_daemon_follow_the_fail_behaviour() {
    let listed = |codes: &[i32]| Arguments {
        fail_behaviour: FailBehaviour::Restart(codes.iter().copied().map(Int::from).collect()),
        ..with_net()
    };
    for (arguments, exit, restarts) in [
        (arguments(), exited(0), false),
        (arguments(), None, false),
        (listed(&[]), exited(0), true),
        (listed(&[]), exited(1), false),
        (listed(&[]), Some(Exit::Signalled(Int::from(9))), false),
        (listed(&[2]), exited(3), false),
        (listed(&[2]), None, true),
    ] {
        let mut host = Host::new();
        host.create(":a", arguments);
        host.processes.clear();
        host.next_daemon(exit);
        if restarts {
            assert_eq!(host.processes.len(), 0, "it waits a little");
            host.tick(1);
            assert_eq!(host.restarts(":a"), (StatusState::Running, 1, exit));
            assert_eq!((host.taps.len(), host.notes.len()), (1, 1));
        } else {
            assert!(host.is_empty(), "{exit:?}: {host:?}");
        }
    }
}

#[test]
fn one_that_did_not_know_its_name_is_started_without_by_the_next_daemon() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.processes.clear();
    host.next_daemon(exited(64));
    assert!(!host.command_line().iter().any(|word| word.starts_with("--name")));
    assert!(!host.record.unikernels[0].1.config.arguments.add_name);
}

#[test]
fn what_a_predecessor_was_stopping_is_started_again() {
    for ended in [false, true] {
        for command in [RESTART, DESTROY] {
            let mut host = Host::new();
            host.create(":a", with_net());
            let first = host.pids();
            host.deaf = true;
            host.send(":a", command);
            host.deaf = false;
            if ended {
                host.processes.clear();
            }
            // Nothing was acknowledged: it is on record as it was.
            host.next_daemon(Some(Exit::Signalled(Int::from(15))));
            assert_eq!(host.recorded(), [":a"]);
            assert!(host.pids() != first && host.pids().len() == 1, "{:?}", host.pids());
            assert_eq!((host.taps.len(), host.notes.len()), (1, 1));
        }
    }
}

#[test]
fn what_a_predecessor_was_stopping_is_started_when_it_has_ended() {
    let mut host = Host::new();
    host.create(":a", arguments());
    let first = host.pids();
    host.deaf = true;
    host.send(":a", RESTART);
    host.next_daemon(None);
    assert_eq!(host.pids(), first);
    host.tick(GRACE.as_secs());
    assert!(host.pids() != first && host.pids().len() == 1);
}

#[test]
fn the_note_of_what_ended_and_is_on_no_record_goes() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.processes.clear();
    host.record = Record::default();
    host.next_daemon(exited(0));
    assert!(host.notes.is_empty() && host.processes.is_empty());
}

#[test]
fn what_may_not_have_come_to_run_is_started_again() {
    for runs in [false, true] {
        let mut host = Host::new();
        host.create(":a", with_net());
        let first = host.pids();
        for (_, tender) in host.notes.values_mut() {
            assert_eq!(tender.stage, Stage::Running);
            tender.stage = Stage::Starting;
        }
        if !runs {
            host.processes.clear();
        }
        host.next_daemon(None);
        assert_eq!((host.recorded(), host.taps.len(), host.notes.len()), (vec![":a".to_owned()], 1, 1));
        assert_eq!(host.pids() == first, runs);
        assert!(host.notes.values().all(|(_, tender)| tender.stage == Stage::Running));
        // From now on its end is its own.
        host.exit(0);
        assert!(host.is_empty(), "{host:?}");
    }
}

#[test]
fn sigterm_and_a_kill_on_top_lose_nothing() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.deaf = true;
    host.input(Input::Terminate);
    host.deaf = false;
    host.processes.clear();
    host.next_daemon(None);
    assert_eq!((host.recorded(), host.processes.len()), (vec![":a".to_owned()], 1));
}

#[test]
fn a_tender_that_is_not_on_record_is_killed_and_freed() {
    let mut host = Host::new();
    host.create(":a", with_net());
    let pid = host.pids()[0];
    host.record = Record::default();
    let left = host.left(None);
    host.vmmd = Vmmd::new(host.vmmd.config.clone());
    // Its end takes a while.
    let now = Now { monotonic: host.now, wall: Time::from_unix(1_700_000_000, 0).unwrap() };
    let outputs = host.vmmd.handle(now, begin(Record::default(), left));
    assert!(outputs.contains(&Output::Kill(pid, Signal::Kill)), "{outputs:?}");
    host.input(Input::LogClosed);
    let frees = |output: &Output| matches!(output, Output::RemoveFile(_) | Output::RemoveTap(_));
    assert!(!outputs.iter().any(frees), "{outputs:?}");
    let why = refused(&host.create(":a", with_net()));
    assert!(why.contains("being killed"), "{why}");
    host.processes.remove(&pid);
    host.input(Input::Exited { pid, exit: Some(Exit::Signalled(Int::from(9))) });
    assert!(host.taps.is_empty() && host.fifos.is_empty() && host.notes.is_empty());
    host.input(Input::ConsoleConnected);
    assert_eq!(host.create(":a", with_net()), said("created unikernel"));
}

#[test]
fn what_nobody_has_any_more_is_removed() {
    let mut host = Host::new();
    host.create(":a", with_net());
    let kept = (host.taps.clone(), host.fifos.clone(), host.files.clone());
    host.taps.insert("vmmtap9".to_owned());
    host.fifos.insert("/run/albatross/fifo/b:gone".into());
    host.files.insert("/run/albatross/b:gone.img".into(), Vec::new());
    host.next_daemon(None);
    assert_eq!((host.taps.clone(), host.fifos.clone(), host.files.clone()), kept);
}

#[test]
fn a_start_that_was_cut_off_leaves_nothing_and_is_made_again() {
    for part in ["MakeFifo", "MakeTap", "Append", "Spawn"] {
        let mut host = Host::new();
        host.ask(":", add(policy(9, 900)));
        host.ask("p:", add(policy(9, 900)));
        host.holding = Some(part);
        host.send("p:a", create(with_net()));
        assert!(!host.held_tasks.is_empty(), "{part}");
        let is_recorded = host.recorded() == ["p:a"];
        host.next_daemon(None);
        assert_eq!(host.processes.len(), usize::from(is_recorded), "{part}");
        assert_eq!(
            (host.taps.len(), host.fifos.len()),
            (host.processes.len(), host.processes.len()),
            "{part}"
        );
        assert_eq!(is_recorded, part == "Spawn", "{part}");
    }
}

#[test]
fn an_exit_is_known_until_it_is_durable() {
    let mut host = Host::new();
    host.create(":quits", arguments());
    host.create(":other", arguments());
    host.holding = Some("Append");
    host.exit(0);
    assert_eq!((host.notes.len(), host.recorded().len()), (2, 2));
    host.next_daemon(exited(0));
    assert_eq!((host.recorded(), host.notes.len(), host.processes.len()), (vec![":other".to_owned()], 1, 1));
}

#[test]
fn a_new_unikernel_is_not_taken_for_one_of_its_name_that_ended() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.create(":other", arguments());
    host.holding = Some("Append");
    host.exit(0);
    host.send(":a", create(arguments()));
    assert_eq!(host.notes.len(), 1, "what was noted of the first is gone");
}

#[test]
fn the_user_id_of_a_tender_that_was_taken_over_is_not_given_again() {
    let mut host = Host::new();
    let range = UserRange::new(100_000, 3).unwrap();
    host.vmmd = Vmmd::new(host.vmmd.config.clone()).with_users(range);
    host.input(begin(Record::default(), Left::default()));
    let users = |host: &Host| -> Vec<i64> {
        host.notes.values().map(|(_, tender)| tender.user.unwrap().get()).collect()
    };
    host.create(":a", arguments());
    assert_eq!(users(&host), [100_001]);
    let left = host.left(None);
    host.vmmd = Vmmd::new(host.vmmd.config.clone()).with_users(range);
    host.input(begin(host.record.clone(), left));
    host.create(":b", arguments());
    assert_eq!(users(&host), [100_001, 100_002]);
    assert!(refused(&host.create(":c", arguments())).contains("user id"));
    host.ask(":a", DESTROY);
    assert_eq!(host.create(":c", arguments()), said("created unikernel"));
    assert_eq!(users(&host), [100_002, 100_001]);
}

#[test]
fn new_arguments_must_have_the_devices_that_a_tender_runs_with() {
    let mut host = Host::new();
    host.create(":a", with_net());
    host.next_daemon(None);
    let pids = host.pids();
    let restart = |arguments| Command::Unikernel(UnikernelCommand::Restart(Some(arguments)));
    let why = refused(&host.ask(":a", restart(arguments())));
    assert!(why.contains("networks [service]"), "{why}");
    assert_eq!(host.pids(), pids);
    assert_eq!(host.ask(":a", restart(with_net())), said("created unikernel"));
}

#[test]
fn one_that_would_not_be_admitted_any_more_runs_on_and_is_counted() {
    let mut host = Host::new();
    host.ask("p:", add(policy(2, 64)));
    host.create("p:a", arguments());
    host.create("p:b", arguments());
    for (_, recorded) in &mut host.record.policies {
        recorded.unikernels = Int::ONE;
    }
    host.next_daemon(None);
    assert_eq!(host.processes.len(), 2);
    host.ask("p:b", DESTROY);
    let why = refused(&host.create("p:b", arguments()));
    assert!(why.contains("allows 1 unikernel"), "{why}");
}
