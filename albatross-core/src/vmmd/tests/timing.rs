//! What comes when something else has happened meanwhile: timers of an earlier start, places in the queue of those that
//! are started, answers that are late.

use super::*;

fn memory(memory: i32) -> Arguments {
    Arguments { memory: Int::from(memory), ..arguments() }
}

/// A daemon that begins with more on record than is started at one time, and what is on record. Nobody's tender has
/// come to run, and the last waits for its turn.
fn crowd() -> (Host, Vec<String>) {
    let names: Vec<String> = (0..=MAX_RESTARTING).map(|number| format!(":x{number:02}")).collect();
    let mut host = Host::new();
    for name in &names {
        host.create(name, memory(1));
    }
    host.input(Input::Terminate);
    let mut next = Host::unborn(host.files);
    next.record.clone_from(&host.record);
    next.holding = Some("Spawn");
    next.input(begin(host.record, Left::default()));
    assert_eq!(next.held_tasks.len(), MAX_RESTARTING);
    (next, names)
}

#[test]
fn who_was_started_by_hand_while_he_waited_for_his_turn_is_not_started_again() {
    let (mut host, names) = crowd();
    host.holding = None;
    assert_eq!(host.ask(&names[MAX_RESTARTING], RESTART), said("created unikernel"));
    host.go_on();
    assert_eq!(host.processes.len(), names.len(), "one tender for each");
}

#[test]
fn nobody_is_started_whose_turn_comes_when_the_daemon_ends() {
    let (mut host, names) = crowd();
    host.deaf = true;
    host.input(Input::Terminate);
    host.go_on();
    assert_eq!(host.processes.len(), MAX_RESTARTING, "those that were being started");
    host.tick(GRACE.as_secs());
    assert!(host.exited && host.processes.is_empty());
    assert_eq!(host.recorded(), names);
}

#[test]
fn nobody_is_started_whose_turn_comes_when_the_console_daemon_is_gone() {
    let (mut host, names) = crowd();
    host.console_up = false;
    host.input(Input::ConsoleClosed);
    host.go_on();
    assert_eq!(host.processes.len(), MAX_RESTARTING);
    host.console_up = true;
    host.tick(1);
    assert_eq!(host.processes.len(), names.len());
}

#[test]
fn one_that_has_no_room_is_not_tried_before_its_time() {
    let mut host = Host::new();
    host.create(":a", memory(600));
    host.input(Input::Terminate);
    let mut next = Host::unborn(host.files);
    next.record.clone_from(&host.record);
    let small = Policy { memory: Int::from(512), ..host_policy() };
    let left = Left::default();
    next.input(Input::Begin { host: small, record: host.record, seed: [3; 32], left });
    let tried = |host: &Host| host.vmmd.unikernels.values().map(|it| it.backoff.ends()).sum::<u32>();
    assert_eq!((next.processes.len(), tried(&next)), (0, 1));
    for _ in 0..3 {
        next.input(Input::ConsoleClosed);
        next.input(Input::ConsoleConnected);
    }
    assert_eq!(tried(&next), 1);
    next.now += crate::restart::Backoff::FIRST_DELAY;
    next.input(Input::Tick);
    assert_eq!(tried(&next), 2);
}

#[test]
fn who_is_asked_to_end_has_as_long_as_ever_whatever_was_before() {
    let mut host = Host::new();
    host.deaf = true;
    host.create(":a", arguments());
    let client = host.send(":a", RESTART);
    host.tick(1);
    let first = host.pids()[0];
    host.processes.remove(&first);
    host.input(Input::Exited { pid: first, exit: None });
    assert_eq!(host.reply(client), said("created unikernel"));
    host.tick(2);
    host.send(":a", DESTROY);
    let second = host.pids()[0];
    // The timer of the first comes in between.
    host.tick(GRACE.as_secs() - 1);
    assert_eq!(host.killed, [(first, Signal::Terminate), (second, Signal::Terminate)]);
    // However late its own is.
    host.now += Duration::from_secs(60);
    host.input(Input::Tick);
    assert_eq!(host.killed.last(), Some(&(second, Signal::Kill)));
}

#[test]
fn the_console_daemon_has_as_long_for_one_start_as_for_another() {
    let mut host = Host::new();
    host.console_silent = true;
    let first = host.send(":a", create(arguments()));
    host.input(Input::ConsoleClosed);
    assert!(refused(&host.reply(first)).contains("went away"));
    let half = CONSOLE_PATIENCE.as_secs() / 2;
    host.tick(half);
    let second = host.send(":a", create(arguments()));
    // The timer of the first comes.
    host.tick(half);
    assert!(!host.replies.contains_key(&second));
    host.tick(half);
    assert!(refused(&host.reply(second)).contains("did not answer"));
}

#[test]
fn the_end_of_one_does_not_take_the_answer_that_another_waits_for() {
    let mut host = Host::new();
    host.create(":ends", arguments());
    host.console_silent = true;
    let client = host.send(":a", create(arguments()));
    host.exit(0);
    let answer = console_answer(&host.held.pop().unwrap());
    host.input(Input::ConsoleFrame(answer));
    assert_eq!(host.reply(client), said("created unikernel"));
}

/// The answer of a console daemon that cannot open the fifo which the last question was about.
fn cannot_open(host: &mut Host) {
    let Wire { header, .. } = Wire::decode(&host.held.pop().unwrap()).unwrap();
    let failure = Wire::new(header, Payload::Failure(Text::from("no descriptors"))).encode().unwrap();
    host.input(Input::ConsoleFrame(failure));
}

#[test]
fn a_fifo_that_cannot_be_opened_fails_the_create_in_the_words_of_the_console_daemon() {
    let mut host = Host::new();
    host.console_silent = true;
    let client = host.send(":a", create(arguments()));
    cannot_open(&mut host);
    assert_eq!(refused(&host.reply(client)), "the console daemon refused: no descriptors");
}

#[test]
fn nobody_asks_again_for_the_fifo_of_what_is_gone_or_where_no_console_daemon_is() {
    for gone in [true, false] {
        let mut host = Host::new();
        host.create(":a", arguments());
        host.console_silent = true;
        host.input(Input::ConsoleClosed);
        host.tick(1);
        cannot_open(&mut host);
        if gone {
            host.ask(":a", DESTROY);
        } else {
            host.console_up = false;
            host.input(Input::ConsoleClosed);
        }
        host.tick(FIFO_RETRY.as_secs());
        assert!(host.held.is_empty(), "gone: {gone}");
    }
}

#[test]
fn it_runs_since_its_tender_was_to_be_started() {
    let mut host = Host::new();
    host.holding = Some("Persist");
    host.send(":a", create(arguments()));
    host.now += Duration::from_secs(3);
    host.holding = Some("Spawn");
    let (id, task) = host.held_tasks.remove(0);
    let result = host.task(task);
    host.input(Input::Done(id, result));
    let spawned = 1_700_000_000 + i64::try_from(host.now.as_secs()).unwrap();
    host.now += Duration::from_secs(3);
    host.go_on();
    let Payload::Success(Success::Info(list)) = host.ask(":a", INFO) else { panic!() };
    assert_eq!(list[0].1.started.unix_seconds(), spawned);
    assert_eq!(host.notes.values().next().unwrap().1.since, list[0].1.started);
}

#[test]
fn what_is_known_is_not_read_again_and_what_is_on_record_not_written() {
    let mut host = Host::new();
    host.failing = Some("InspectImage");
    assert_eq!(host.create(":a", restarting()), said("created unikernel"));
    assert_eq!(host.ask(":a", RESTART), said("created unikernel"));
    let journal = host.journal.clone();
    host.exit(7);
    host.tick(1);
    assert_eq!(host.processes.len(), 1);
    assert_eq!(host.journal, journal);
}

#[test]
fn who_sends_no_more_is_answered_what_he_asked() {
    let mut host = Host::new();
    host.holding = Some("StoreImage");
    let client = host.send(":a", create(arguments()));
    host.input(Input::Ended(client));
    assert!(!host.closed.contains(&client));
    host.go_on();
    assert_eq!(host.reply(client), said("created unikernel"));
    assert!(host.closed.contains(&client));
}

#[test]
fn what_ended_is_noted_whoever_else_is_created() {
    let mut host = Host::new();
    host.create(":a", arguments());
    host.create(":other", arguments());
    host.holding = Some("Append");
    host.exit(0);
    host.send(":new", create(arguments()));
    let noted: Vec<String> = host.notes.values().map(|(_, tender)| tender.name.to_string()).collect();
    assert_eq!(noted, [":a", ":other"]);
}

#[test]
fn how_a_tender_ended_is_said() {
    let number = Int::from(7);
    for (exit, how) in [
        (Some(Exit::Exited(number)), "exited with code 7"),
        (Some(Exit::Signalled(number)), "was ended by signal 7"),
        (Some(Exit::Stopped(number)), "was stopped by signal 7"),
        (None, "ended, how is not known"),
    ] {
        let mut host = Host::new();
        host.create(":a", arguments());
        let pid = host.pids()[0];
        host.processes.clear();
        host.input(Input::Exited { pid, exit });
        assert!(host.said.contains(&format!(":a: process {pid} {how}")), "{:?}", host.said);
    }
}

#[test]
fn nobody_is_let_in_any_more_from_the_first_word_to_end() {
    for words in [vec![Input::Terminate], vec![Input::HandOver, Input::Terminate]] {
        let mut host = Host::new();
        host.deaf = true;
        host.create(":a", arguments());
        host.send(":a", DESTROY);
        words.into_iter().for_each(|word| host.input(word));
        assert_eq!(host.stopped_listening, 1);
    }
}

#[test]
fn a_console_daemon_that_comes_back_is_told_of_what_has_a_fifo_and_of_nothing_else() {
    let mut host = Host::new();
    host.create(":waits", restarting());
    host.exit(7);
    host.console_silent = true;
    host.input(Input::ConsoleClosed);
    host.input(Input::ConsoleConnected);
    assert!(host.held.is_empty());
}
