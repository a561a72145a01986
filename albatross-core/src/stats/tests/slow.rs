//! Subscribers that take what is sent late, never, or have nothing to take.

use super::*;

#[test]
fn who_does_not_read_gets_no_more_and_then_goes() {
    let mut host = told();
    host.processes.insert(10, 10);
    host.add(VMMD, "a:one", 10);
    let (reader, stuck) = (host.subscribe(":"), host.subscribe("a:"));
    host.stuck.insert(stuck);
    host.pass(INTERVAL * 3);
    assert_eq!(host.seen(reader).len(), 4);
    assert_eq!(host.seen(stuck), ["7 a: subscribed", "0 :one 10s"]);
    assert!(!host.closed.contains(&stuck));
    host.pass(INTERVAL);
    assert!(host.closed.contains(&stuck));
    assert!(host.seen(stuck)[0].contains("octets were not read in time"));
    host.pass(INTERVAL);
    assert_eq!(host.seen(reader).len(), 2);
}

#[test]
fn who_reads_slowly_stays() {
    let mut host = told();
    host.processes.insert(10, 10);
    host.add(VMMD, "a:one", 10);
    let slow = host.subscribe(":");
    host.stuck.insert(slow);
    for _ in 0..20 {
        host.pass(INTERVAL);
        host.give(Input::Written(slow, 1));
    }
    assert!(!host.closed.contains(&slow));
    assert_eq!(host.seen(slow).len(), 2);
}

#[test]
fn who_has_nothing_to_take_stays() {
    let mut host = told();
    let client = host.subscribe("a:");
    host.pass(10 * PATIENCE);
    assert!(!host.closed.contains(&client));
    host.processes.insert(10, 10);
    host.add(VMMD, "a:one", 10);
    host.pass(INTERVAL);
    assert_eq!(host.seen(client), ["7 a: subscribed", "0 :one 10s"]);
}
