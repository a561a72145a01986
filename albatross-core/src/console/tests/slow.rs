//! Subscribers that do not keep up, and what that costs whom.

use super::super::{HOLD_MOST, PENDING_LOW};
use super::*;

/// Writes until the fifo is paused.
fn flood(host: &mut Host, fifo: FifoId) {
    let block = b"twenty octets, a line\n".repeat(500);
    let mut written = 0;
    while !host.paused.contains(&fifo) {
        host.write(fifo, &block);
        written += block.len();
        assert!(written < 10 * PENDING_HIGH);
    }
}

#[test]
fn a_subscriber_that_does_not_read_goes_and_the_others_stay() {
    let mut host = Host::new();
    let (fifo, other) = (host.start("foo:a", 1), host.start("bar:b", 1));
    let (stuck, good) = (host.subscribe("foo:a", 0), host.subscribe("foo:a", 0));
    host.stuck.insert(stuck);
    flood(&mut host, fifo);
    let sent = host.sent[&stuck].len();
    assert!(sent > PENDING_HIGH && sent < PENDING_HIGH + 100_000, "{sent}");
    assert!(!host.paused.contains(&other));
    assert_eq!(host.console.next_deadline(), Some(HOLD));
    host.wait(HOLD / 2);
    assert!(host.paused.contains(&fifo));
    host.wait(HOLD / 2);
    assert!(host.closed.contains(&stuck) && !host.closed.contains(&good));
    assert!(host.paused.is_empty());
    assert_eq!(host.console.next_deadline(), None);
    assert!(host.seen(stuck).last().unwrap().starts_with("0 foo:a failure subscription ended"));
    host.seen(good);
    host.write(fifo, b"on\n");
    assert_eq!(host.seen(good), ["0 foo:a 1000000 on"]);
}

#[test]
fn a_subscriber_that_catches_up_stays() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    let slow = host.subscribe("foo:a", 0);
    host.stuck.insert(slow);
    flood(&mut host, fifo);
    let sent = host.sent[&slow].len();
    host.give(Input::Written(slow, sent / 2));
    host.wait(HOLD);
    assert!(host.paused.contains(&fifo));
    host.give(Input::Written(slow, sent - sent / 2 - 10));
    assert!(host.paused.is_empty());
    host.wait(HOLD * 2);
    assert!(!host.closed.contains(&slow));
    // As many octets may wait as are said to be few.
    flood(&mut host, fifo);
    let pending = host.console.subscribers[&slow].pending;
    host.give(Input::Written(slow, pending - PENDING_LOW));
    assert!(host.paused.is_empty());
    // One that goes away holds up nobody either.
    flood(&mut host, fifo);
    host.give(Input::Closed(slow));
    assert!(host.paused.is_empty());
    assert_eq!(host.console.next_deadline(), None);
}

#[test]
fn a_subscriber_that_hardly_reads_goes_after_a_while() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    let slow = host.subscribe("foo:a", 0);
    host.stuck.insert(slow);
    flood(&mut host, fifo);
    let mut held = Duration::ZERO;
    while host.paused.contains(&fifo) {
        host.give(Input::Written(slow, 100));
        assert_eq!(
            host.console.next_deadline(),
            Some(host.now.monotonic + HOLD),
            "it is not looked at before"
        );
        host.wait(HOLD);
        held += HOLD;
    }
    assert_eq!(held, HOLD_MOST);
    assert!(host.closed.contains(&slow));
}

#[test]
fn asking_for_the_whole_history_is_not_held_against_anyone() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    for _ in 0..1100 {
        host.write(fifo, &[&[b'x'; 600][..], b"\n"].concat());
    }
    host.next_client = 50;
    host.stuck.insert(ClientId(51));
    let client = host.subscribe("foo:a", 1024);
    assert_eq!(client, ClientId(51));
    host.write(fifo, b"next\n");
    assert!(host.paused.is_empty());
    assert_eq!(host.seen(client).len(), 1026);
}

#[test]
fn a_guest_that_ends_while_it_is_held_up_leaves_nothing_behind() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    let stuck = host.subscribe("foo:a", 0);
    host.stuck.insert(stuck);
    flood(&mut host, fifo);
    host.stop(fifo);
    assert_eq!(host.console.next_deadline(), None);
    assert!(host.console.fifos.is_empty());
    assert!(!host.closed.contains(&stuck), "there is nothing more to send");
}

#[test]
fn as_much_as_may_wait_holds_up_nobody() {
    let mut host = Host::new();
    let fifo = host.start("foo:a", 1);
    let slow = host.subscribe("foo:a", 0);
    host.stuck.insert(slow);
    let pending = |host: &Host| host.console.subscribers[&slow].pending;
    let line = [&[b'x'; 500][..], b"\n"].concat();
    host.write(fifo, &line);
    let each = pending(&host);
    while pending(&host) <= PENDING_HIGH - each {
        host.write(fifo, &line);
    }
    host.give(Input::Written(slow, pending(&host) + each - PENDING_HIGH));
    host.write(fifo, &line);
    assert_eq!((pending(&host), host.paused.len()), (PENDING_HIGH, 0));
    host.write(fifo, &line);
    assert!(host.paused.contains(&fifo));
}
