//! Subscribers that take what is sent late, never, or have nothing to take.

use super::*;

#[test]
fn who_does_not_read_costs_no_more_than_a_limit_and_goes() {
    let mut host = Host::new();
    host.deaf.insert(ClientId(1));
    host.subscribe(1, ":", count(0));
    host.subscribe(2, ":", count(0));
    for number in 1..=6000 {
        host.event(0, number, "a:x");
        host.settle();
    }
    assert!(host.unread[&ClientId(1)] < PENDING_HIGH + 1000, "{}", host.unread[&ClientId(1)]);
    assert_eq!(host.numbers(2).len(), 6000);
    // One who takes something in time gets everything.
    host.deaf.clear();
    host.now += PATIENCE - Duration::from_secs(1);
    let unread = host.unread.remove(&ClientId(1)).unwrap();
    host.give(Input::Written(ClientId(1), unread));
    host.settle();
    assert_eq!(host.numbers(1), (1..=6000).collect::<Vec<_>>());
    host.deaf.insert(ClientId(1));
    host.event(0, 6001, "a:x");
    host.settle();
    let deadline = host.machine.next_deadline().unwrap();
    assert_eq!(deadline, host.now + PATIENCE);
    host.now = deadline;
    host.give(Input::Tick);
    assert!(host.closed.contains(&ClientId(1)) && !host.closed.contains(&ClientId(2)));
    assert_eq!(host.notices, [Notice::TooSlow(ClientId(1), Name::root())]);
    assert!(host.answers(1)[1].1.as_ref().unwrap().contains("not read in time"));
}

/// Reading the file for each would cost the others time.
#[test]
fn who_keeps_up_is_sent_what_comes_without_a_look_at_the_file() {
    let mut host = Host::new();
    host.event(0, 1, "a:x");
    host.settle();
    host.subscribe(1, ":", count(1));
    host.settle();
    let reads = host.reads;
    assert!(reads > 0, "history is read");
    for number in 2..100 {
        host.event(0, number, "a:x");
        host.settle();
    }
    assert_eq!((host.reads, host.numbers(1).len()), (reads, 99));
}

#[test]
fn who_has_nothing_to_take_stays_and_who_takes_nothing_goes_under_his_name() {
    let mut host = Host::new();
    host.subscribe(1, "a:b", count(0));
    host.subscribe(2, "a:", count(0));
    assert_eq!(host.machine.next_deadline(), None, "nothing waits for them");
    host.now += 5 * PATIENCE;
    host.give(Input::Tick);
    assert!(host.closed.is_empty());
    // He has as long as ever from when something waits, and no longer for what comes in addition.
    let begin = host.now;
    host.deaf.insert(ClientId(1));
    host.event(0, 1, "a:b");
    host.settle();
    host.now += PATIENCE / 2;
    host.event(0, 2, "a:b");
    host.settle();
    assert_eq!(host.machine.next_deadline(), Some(begin + PATIENCE));
    host.give(Input::Tick);
    assert!(host.closed.is_empty());
    host.now = begin + PATIENCE;
    host.give(Input::Tick);
    assert_eq!(host.closed, [ClientId(1)].into());
    let last = host.got[&ClientId(1)].last().unwrap();
    assert!(matches!(last.payload, Payload::Failure(_)) && last.header.name == "a:b".parse().unwrap());
}
