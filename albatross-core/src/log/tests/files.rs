//! Files that are replaced, put in place or damaged while they are read.

use super::*;

#[test]
fn the_chain_goes_on_in_the_next_file_and_subscribers_miss_nothing() {
    let mut host = Host::new();
    host.subscribe(1, ":", count(10));
    host.deaf.insert(ClientId(2));
    host.subscribe(2, ":", count(10));
    host.settle();
    for number in 1..=5000 {
        host.event(0, number, "a:x");
        host.settle();
    }
    let before = *host.machine.link();
    host.next_file = Some(Vec::new());
    host.event(0, 5001, "a:x");
    host.give(Input::Reopen);
    host.settle();
    for number in 5002..=5010 {
        host.event(0, number, "a:x");
        host.settle();
    }
    assert_eq!(host.log(), (5002..=5010).collect::<Vec<_>>());
    let previous = Log::read(&host.files[&host.current]).unwrap().previous;
    assert_eq!(previous, Log::read(&host.files[&FileId(0)]).unwrap().link);
    assert_ne!(previous, before);
    // One is still reading the file before.
    assert_eq!(host.files.len(), 2);
    host.deaf.clear();
    let unread = host.unread[&ClientId(2)];
    host.give(Input::Written(ClientId(2), unread));
    host.settle();
    for client in [1, 2] {
        assert_eq!(host.numbers(client), (1..=5010).collect::<Vec<_>>(), "client {client}");
    }
    assert_eq!(host.files.len(), 1);
}

#[test]
fn files_that_are_kept_for_the_slow_are_few() {
    let mut host = Host::new();
    host.event(0, 1, "a:x");
    host.settle();
    host.deaf.insert(ClientId(1));
    host.subscribe(1, ":", count(10));
    for number in 2..=5000 {
        host.event(0, number, "a:x");
        host.settle();
    }
    for _ in 0..=MAX_FILES {
        host.next_file = Some(Vec::new());
        host.give(Input::Reopen);
        host.settle();
        assert!(host.files.len() <= usize::try_from(MAX_FILES).unwrap());
    }
    assert!(host.closed.contains(&ClientId(1)));
    assert_eq!(host.files.len(), 1);
}

#[test]
fn a_file_that_is_put_in_place_is_gone_on_with_unless_it_is_damaged() {
    let mut other = Host::new();
    for number in 1..=3 {
        other.event(0, number, ":a");
    }
    other.settle();
    let found = other.files.remove(&FileId(0)).unwrap();
    let mut damaged = found.clone();
    damaged[BEGIN + 20] ^= 1;
    let mut host = Host::new();
    host.event(0, 7, ":a");
    host.settle();
    for (file, wanted) in [(None, vec![7]), (Some(damaged), vec![7]), (Some(found), vec![1, 2, 3])] {
        host.next_file = file;
        host.give(Input::Reopen);
        host.settle();
        assert_eq!(host.log(), wanted);
    }
    assert_eq!(host.notices[0], Notice::SameFile);
    assert!(matches!(&host.notices[1], Notice::NotReopened(why) if why.contains("chain")));
    assert!(matches!(&host.notices[2], Notice::OtherFile(_)));
    host.event(0, 8, ":a");
    host.settle();
    assert_eq!(host.log(), [1, 2, 3, 8]);
}

#[test]
fn a_file_that_is_damaged_while_it_is_read_ends_who_reads_it() {
    let mut host = Host::new();
    for number in 1..=3 {
        host.event(0, number, ":a");
    }
    host.settle();
    host.files.get_mut(&FileId(0)).unwrap()[BEGIN + 100] ^= 1;
    host.subscribe(1, ":", count(3));
    host.settle();
    assert!(host.closed.contains(&ClientId(1)));
    assert!(matches!(&host.notices[0], Notice::NotRead(_, why) if why.contains("chain is broken")));
}

#[test]
fn the_longest_event_that_is_sent_is_written() {
    let mut sender = Sender::new();
    let now = Now { monotonic: Duration::from_secs(1), wall: Time::default() };
    let long = Text::from("x".repeat(100_000).as_str());
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(":");
    sender.event(now, name.parse().unwrap(), Event::Command { command: long.clone(), failure: Some(long) });
    sender.connected(now);
    let mut host = Host::new();
    for output in sender.outputs() {
        if let SenderOutput::Send(message) = output {
            host.give(Input::Frame(ClientId(0), &message));
        }
    }
    host.settle();
    assert_eq!((host.answers(0), host.log()), (vec![(1, None)], vec![0]));
}
