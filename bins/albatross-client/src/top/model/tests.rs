use std::collections::BTreeSet;
use std::time::Duration;

use albatross_proto::stats::{IfData, KinfoMem, Rusage, TimeVal};
use albatross_proto::{FailBehaviour, Int, Text, Typ};

use super::*;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn int(value: usize) -> Int {
    Int::new(i64::try_from(value).unwrap()).unwrap()
}

pub(crate) fn time(seconds: i64) -> Time {
    Time::from_unix(seconds, 0).unwrap()
}

pub(crate) fn status(state: State, restarts: usize) -> Status {
    let pid = matches!(state, State::Running).then(|| int(100 + restarts));
    Status { state, since: time(1000), restarts: int(restarts), pid, last_exit: None }
}

pub(crate) fn info(memory: usize) -> Info {
    Info {
        typ: Typ::Solo5,
        startup: None,
        fail_behaviour: FailBehaviour::Quit,
        cpuids: BTreeSet::from([Int::ZERO]),
        memory: int(memory),
        digest: Text::from("d"),
        block_devices: Vec::new(),
        net_devices: Vec::new(),
        argv: None,
        started: time(1000),
        cpus: Int::ONE,
        linux_boot_partition: None,
    }
}

pub(crate) fn policy(unikernels: usize, memory: usize, block: Option<usize>) -> Policy {
    Policy {
        cpuids: BTreeSet::new(),
        unikernels: int(unikernels),
        memory: int(memory),
        block: block.map(int),
        bridges: BTreeSet::new(),
    }
}

/// Unikernels of 32 MB each that run, and nothing else.
pub(crate) fn running(names: &[&str]) -> Round {
    Round {
        running: names.iter().map(|it| (name(it), info(32))).collect(),
        statuses: Some(names.iter().map(|it| (name(it), status(State::Running, 0))).collect()),
        ..Round::default()
    }
}

pub(crate) fn statistics(cpu_millis: i64, rss: i64, received: i64, sent: i64) -> Statistics {
    let micros = Int::new(cpu_millis % 1000 * 1000).unwrap();
    let utime = TimeVal { seconds: cpu_millis / 1000, microseconds: micros };
    Statistics {
        rusage: Rusage { utime, ..Rusage::default() },
        interfaces: vec![IfData { input_bytes: sent, output_bytes: received, ..IfData::default() }],
        vmm: None,
        kinfo_mem: Some(KinfoMem { rss, ..KinfoMem::default() }),
    }
}

fn ordered(model: &Model) -> Vec<String> {
    model.ordered().iter().map(|(name, _)| name.to_string()).collect()
}

fn selected(model: &Model) -> String {
    model.selected().map(Name::to_string).unwrap_or_default()
}

fn lines(model: &Model, rows: usize) -> Vec<String> {
    model.console(rows).0.map(|line| String::from_utf8_lossy(&line.octets).into_owned()).collect()
}

#[test]
fn what_is_used_per_second_comes_of_two_samples_of_one_process() {
    let mut model = Model::default();
    model.learn(running(&["a:x"]));
    let begin = Instant::now();
    let of = |model: &Model| model.ordered()[0].1.rates;
    model.sample(begin, &name("a:x"), &statistics(1000, 5, 100, 50));
    assert_eq!(of(&model), None);
    // Held up on its way: not counted, nor does it take the place of the one before.
    model.sample(begin + Duration::from_millis(1), &name("a:x"), &statistics(1500, 5, 100, 50));
    assert_eq!(of(&model), None);
    model.sample(begin + Duration::from_secs(2), &name("a:x"), &statistics(2500, 7, 2100, 1050));
    assert_eq!(of(&model), Some(Rates { cpu: 750, received: 1000, sent: 500 }));
    assert_eq!(model.ordered()[0].1.sample.as_ref().unwrap().memory, 7);
    // Counters that went back are those of another process.
    model.sample(begin + Duration::from_secs(4), &name("a:x"), &statistics(10, 7, 0, 0));
    assert_eq!(of(&model), None);
    model.sample(begin + Duration::from_secs(5), &name("a:x"), &statistics(20, 7, 0, 0));
    assert_eq!(of(&model), Some(Rates { cpu: 10, received: 0, sent: 0 }));
    // So are those of a process with another number.
    let statuses = Some(vec![(name("a:x"), status(State::Running, 1))]);
    model.learn(Round { statuses, ..running(&["a:x"]) });
    assert_eq!(of(&model), None);
    // Nobody gathers: what was is no more.
    model.sample(begin + Duration::from_secs(8), &name("a:x"), &statistics(20, 7, 0, 0));
    model.sample(begin + Duration::from_secs(9), &name("a:x"), &statistics(20, 7, 0, 0));
    assert!(of(&model).is_some());
    model.trouble(Link::Statistics, Some("gone".to_owned()));
    assert_eq!((of(&model), model.troubles().collect::<Vec<_>>()), (None, vec!["gone"]));
    model.sample(begin + Duration::from_secs(10), &name("a:x"), &statistics(20, 7, 0, 0));
    assert_eq!(model.troubles().count(), 0);
    // Statistics of what is not on record say nothing.
    model.sample(begin, &name("b:other"), &statistics(0, 0, 0, 0));
    assert_eq!(ordered(&model), ["a:x"]);
}

#[test]
fn counters_at_the_ends_of_their_range_are_no_trouble() {
    let mut model = Model::default();
    model.learn(running(&["x"]));
    let begin = Instant::now();
    let mut most = statistics(0, i64::MAX, i64::MAX, i64::MAX);
    most.interfaces.push(most.interfaces[0].clone());
    most.rusage.utime.seconds = i64::MAX;
    let mut least = statistics(0, i64::MIN, i64::MIN, i64::MIN);
    least.rusage.utime.seconds = i64::MIN;
    for (at, sample) in [(0, &least), (1, &most), (2, &least), (3, &most)] {
        model.sample(begin + Duration::from_secs(at), &name("x"), sample);
    }
    assert_eq!(model.ordered()[0].1.rates, None);
}

#[test]
fn the_selection_stays_with_its_unikernel() {
    let mut model = Model::default();
    assert_eq!(model.selected(), None);
    model.wish(Wish::Select(1));
    model.learn(running(&["b:1", "b:2", "b:3"]));
    assert_eq!(selected(&model), "b:1");
    model.wish(Wish::Select(1));
    assert_eq!((selected(&model), model.selected_at()), ("b:2".to_owned(), 1));
    model.learn(running(&["a:0", "b:1", "b:2", "b:3"]));
    assert_eq!((selected(&model), model.selected_at()), ("b:2".to_owned(), 2));
    // Gone: the next one, or the last.
    model.learn(running(&["a:0", "b:1", "b:3"]));
    assert_eq!(selected(&model), "b:3");
    model.learn(running(&["a:0", "b:1"]));
    assert_eq!(selected(&model), "b:1");
    for (wish, at) in [
        (Wish::Select(100), "b:1"),
        (Wish::Select(-100), "a:0"),
        (Wish::SelectEnd(true), "b:1"),
        (Wish::SelectEnd(false), "a:0"),
    ] {
        model.wish(wish);
        assert_eq!(selected(&model), at);
    }
    let before = model.selections();
    model.learn(running(&[]));
    assert_eq!((model.selected(), model.selections()), (None, before + 1));
}

#[test]
fn who_uses_most_comes_first_where_that_is_asked_for() {
    let mut model = Model::default();
    model.learn(running(&["a", "b", "c"]));
    let begin = Instant::now();
    for (at, factor) in [(0, 0), (1, 1)] {
        for (of, cpu, memory) in [("b", 10, 7), ("c", 900, 5)] {
            model.sample(begin + Duration::from_secs(at), &name(of), &statistics(factor * cpu, memory, 0, 0));
        }
    }
    assert_eq!(ordered(&model), [":a", ":b", ":c"]);
    model.wish(Wish::Reorder);
    assert_eq!((model.order, ordered(&model)), (Order::Cpu, [":c", ":b", ":a"].map(str::to_owned).to_vec()));
    model.wish(Wish::Reorder);
    assert_eq!(ordered(&model), [":b", ":c", ":a"]);
    // The selected one goes along.
    assert_eq!((selected(&model), model.selected_at()), (":a".to_owned(), 2));
    model.wish(Wish::Reorder);
    assert_eq!(model.order, Order::Name);
}

#[test]
fn policies_count_what_is_below_them_as_the_daemon_does() {
    let mut model = Model::default();
    let mut round = running(&["a:1", "a:b:2", "ab:3"]);
    let statuses = round.statuses.as_mut().unwrap();
    statuses[1].1 = status(State::Waiting(time(1)), 1);
    statuses.push((name("a:failed"), status(State::Failed(Text::from("no room")), 0)));
    round.policies = Some(vec![
        (name("ab:"), policy(1, 1, None)),
        (name("a:"), policy(9, 512, Some(10))),
        (name("a:b:"), policy(9, 512, None)),
    ]);
    let block = |size| BlockDeviceInfo { size: int(size), active: false };
    round.blocks = Some(vec![(name("a:b:data"), block(4)), (name("ab:data"), block(7))]);
    model.learn(round);
    let used: Vec<_> =
        model.policies().map(|(at, _, it)| (at.to_string(), it.unikernels, it.memory, it.block)).collect();
    let of = |at: &str, unikernels, memory, block| (at.to_owned(), unikernels, memory, block);
    assert_eq!(used, [of("a", 2, 64, 4), of("a:b", 1, 32, 4), of("ab", 1, 32, 7)]);
    assert_eq!(model.nearest_policy(), 0);
    model.wish(Wish::Select(1));
    assert_eq!((selected(&model).as_str(), model.nearest_policy()), ("a:failed", 0));
    model.wish(Wish::Select(1));
    assert_eq!((selected(&model).as_str(), model.nearest_policy()), ("a:b:2", 1));
    // A round that did not ask for them leaves them.
    model.learn(running(&["a:1"]));
    assert_eq!(model.policy_count(), 3);
    // A daemon without statuses.
    model.learn(Round { statuses: None, ..running(&["a:1", "a:2"]) });
    assert_eq!(model.policies().next().unwrap().2.unikernels, 2);
}

#[test]
fn a_console_is_bounded_and_who_looks_back_sees_the_same() {
    let mut model = Model::default();
    model.learn(running(&["a", "b"]));
    model.set_page(3);
    model.begin_console(&name("a"));
    for number in 0..MAX_LINES + 10 {
        model.console_line(&name("a"), time(0), number.to_string().as_bytes());
    }
    assert_eq!(
        (model.kept_lines(), lines(&model, 2)),
        (MAX_LINES, vec!["1032".to_owned(), "1033".to_owned()])
    );
    model.console_line(&name("a"), time(0), &[b'x'; MAX_LINE + 1]);
    assert_eq!(lines(&model, 1)[0].len(), MAX_LINE);
    model.wish(Wish::Scroll(1));
    let before = lines(&model, 3);
    assert_eq!(before, ["1029", "1030", "1031"].map(str::to_owned));
    model.console_line(&name("a"), time(0), b"new");
    assert_eq!((lines(&model, 3), model.console(3).1), (before, 4));
    // To the oldest line, and back to the newest.
    model.wish(Wish::Scroll(1_000_000));
    assert_eq!(lines(&model, 3)[0], "12");
    for _ in 0..MAX_LINES {
        model.console_line(&name("a"), time(0), b"more");
    }
    assert_eq!((lines(&model, 3).len(), model.console(3).1), (3, MAX_LINES - 3));
    model.wish(Wish::Scroll(-1_000_000));
    assert_eq!(model.console(3).1, 0);
    // Lines of another console do not belong here.
    model.console_line(&name("b"), time(0), b"from b");
    assert_eq!(lines(&model, 1), ["more"]);
    model.wish(Wish::Select(1));
    assert_eq!(model.kept_lines(), 0);
    // It is followed again: its history comes again.
    model.console_line(&name("b"), time(0), b"from b");
    model.begin_console(&name("b"));
    assert_eq!(model.kept_lines(), 0);
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let names: Vec<_> = (0..MAX_UNIKERNELS + 3).map(|number| format!("u{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut model = Model::default();
    let mut round = running(&names);
    let policies = (0..MAX_POLICIES + 1).map(|number| (name(&format!("p{number}:")), policy(1, 1, None)));
    round.policies = Some(policies.collect());
    model.learn(round);
    assert_eq!((model.ordered().len(), model.policy_count()), (MAX_UNIKERNELS, MAX_POLICIES));
    assert_eq!(model.left_out, 3);
}
