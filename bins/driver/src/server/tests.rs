//! The loop against clients of every manner.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as Client;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use albatross_proto::frame;

use super::*;
use crate::connection::ConnectionError;
use crate::listener;
use crate::logging::{Color, Level, Logger};

const LIMIT: usize = 1 << 20;

struct Fixture {
    server: Server,
    path: PathBuf,
    waiting: std::collections::VecDeque<(ConnectionId, Vec<u8>)>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let log = Logger::new("test", Level::Quiet, Color::Never);
        let mut server = Server::new(Signals::new(&[]).unwrap()).unwrap();
        server.listen(listener::bind(&path, &log).unwrap(), LIMIT).unwrap();
        // The clients are of our own user; here they are strangers.
        server.clients.trusted.clear();
        Self { server, path, waiting: std::collections::VecDeque::new(), _directory: directory }
    }

    fn connect(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    /// Polls until `wanted` takes one of the events.
    fn until<T>(&mut self, mut wanted: impl FnMut(&mut Server, Event) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        let mut events = Vec::new();
        while Instant::now() < end {
            self.server.poll(Some(end), &mut events).unwrap();
            let mut found = None;
            for event in events.drain(..) {
                let this = wanted(&mut self.server, event);
                found = found.or(this);
            }
            if let Some(found) = found {
                return found;
            }
        }
        panic!("nothing came");
    }

    fn frame(&mut self) -> (ConnectionId, Vec<u8>) {
        self.until(|_, event| match event {
            Event::Frame(id, payload) => Some((id, payload)),
            _ => None,
        })
    }

    /// The next frame or part of one; those that came with it wait.
    fn frame_or_part(&mut self) -> (ConnectionId, Vec<u8>) {
        if self.waiting.is_empty() {
            let mut waiting = std::mem::take(&mut self.waiting);
            self.until(|_, event| {
                waiting.push_back(match event {
                    Event::Frame(id, payload) => (id, payload),
                    Event::Part(id, part) => (id, part.octets),
                    _ => return None,
                });
                Some(())
            });
            self.waiting = waiting;
        }
        self.waiting.pop_front().unwrap()
    }

    fn closed(&mut self) -> (ConnectionId, CloseReason) {
        self.until(|_, event| match event {
            Event::Closed(id, reason) => Some((id, reason)),
            _ => None,
        })
    }
}

fn read_frame(client: &mut Client) -> Vec<u8> {
    let mut header = [0; 4];
    client.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(header)).unwrap()];
    client.read_exact(&mut payload).unwrap();
    payload
}

#[test]
fn a_frame_is_answered_and_the_connection_closed() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&frame::frame(b"hello")).unwrap();
    let (id, payload) = fixture.frame();
    assert_eq!(payload, b"hello");
    fixture.server.send(id, b"answer");
    fixture.server.close(id);
    fixture.server.poll(Some(Instant::now()), &mut Vec::new()).unwrap();
    assert_eq!(read_frame(&mut client), b"answer");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn who_has_stopped_sending_still_gets_an_answer() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&frame::frame(b"hello")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let id = fixture.until(|_, event| match event {
        Event::Ended(id) => Some(id),
        _ => None,
    });
    fixture.server.send(id, b"answer");
    fixture.server.poll(Some(Instant::now()), &mut Vec::new()).unwrap();
    assert_eq!(read_frame(&mut client), b"answer");
    drop(client);
    assert!(matches!(fixture.closed(), (closed, CloseReason::Peer) if closed == id));
}

#[test]
fn broken_clients_go_and_others_are_served() {
    let mut fixture = Fixture::new();
    let _silent = fixture.connect();
    let mut half = fixture.connect();
    half.write_all(&[0, 0, 1, 0, 7]).unwrap();
    let mut huge = fixture.connect();
    huge.write_all(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
    assert!(matches!(fixture.closed(), (_, CloseReason::Failed(ConnectionError::Frame(_)))));
    assert_eq!(huge.read(&mut [0]).unwrap(), 0);
    drop(half);
    assert!(matches!(fixture.closed(), (_, CloseReason::Failed(ConnectionError::Truncated))));
    let mut good = fixture.connect();
    good.write_all(&frame::frame(b"x")).unwrap();
    assert_eq!(fixture.frame().1, b"x");
}

#[test]
fn patience_ends_for_the_silent_and_the_slow_and_not_for_the_idle() {
    let mut fixture = Fixture::new();
    let _silent = fixture.connect();
    let mut slow = fixture.connect();
    slow.write_all(&frame::frame(b"first")).unwrap();
    slow.write_all(&[0, 0, 1, 0, 7]).unwrap();
    let (slow_id, _) = fixture.frame();
    let mut idle = fixture.connect();
    idle.write_all(&frame::frame(b"first")).unwrap();
    let (idle_id, _) = fixture.frame();
    let mut gone = Vec::new();
    let now = Instant::now();
    fixture.server.clients.expire(now + PATIENCE - Duration::from_secs(10), &mut gone);
    assert!(gone.is_empty(), "{gone:?}");
    fixture.server.clients.expire(now + PATIENCE, &mut gone);
    let gone: Vec<_> = gone
        .into_iter()
        .map(|event| match event {
            Event::Closed(id, CloseReason::Silent) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(gone.contains(&slow_id) && !gone.contains(&idle_id));
    assert_eq!(fixture.server.clients.next_deadline(), None);
}

#[test]
fn who_does_not_read_is_closed_and_costs_no_more_than_the_limit() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&frame::frame(b"x")).unwrap();
    let (id, _) = fixture.frame();
    let large = vec![0; crate::connection::MAX_QUEUED / 4];
    for _ in 0..5 {
        fixture.server.send(id, &large);
        assert!(fixture.server.pending(id) <= crate::connection::MAX_QUEUED);
    }
    assert!(matches!(fixture.closed(), (closed, CloseReason::Full) if closed == id));
}

#[test]
fn no_commands_are_taken_from_who_does_not_read_the_answers() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&frame::frame(b"x")).unwrap();
    let (id, _) = fixture.frame();
    fixture.server.send(id, &vec![0; 1 << 20]);
    fixture.server.poll(Some(Instant::now()), &mut Vec::new()).unwrap();
    assert!(fixture.server.pending(id) > crate::connection::PAUSE_READING);
    client.write_all(&frame::frame(b"second")).unwrap();
    let mut events = Vec::new();
    for _ in 0..3 {
        fixture.server.poll(Some(Instant::now()), &mut events).unwrap();
    }
    assert!(!events.iter().any(|event| matches!(event, Event::Frame(..))), "{events:?}");
    let reader = std::thread::spawn(move || read_frame(&mut client).len());
    assert_eq!(fixture.frame(), (id, b"second".to_vec()));
    drop(fixture);
    // The rest may not have been written.
    _ = reader.join();
}

#[test]
fn a_long_frame_comes_in_parts() {
    let mut fixture = Fixture::new();
    fixture.server.split_above(10);
    let mut client = fixture.connect();
    let long: Vec<u8> = (0..100).collect();
    client.write_all(&[frame::frame(b"short"), frame::frame(&long), frame::frame(b"last")].concat()).unwrap();
    let (id, first) = fixture.frame_or_part();
    assert!(fixture.server.is_open(id));
    assert_eq!(first, b"short");
    let mut seen = Vec::new();
    while seen.len() < long.len() {
        seen.extend(fixture.frame_or_part().1);
    }
    assert_eq!(seen, long);
    assert_eq!(fixture.frame_or_part(), (id, b"last".to_vec()));
    fixture.server.close(id);
    assert!(!fixture.server.is_open(id));
}

#[test]
fn what_comes_after_a_short_read_and_after_the_end_is_seen() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    // Before and after epoll watches it, with a pause and without one.
    for text in [&b"one"[..], b"two", b"three"] {
        client.write_all(&frame::frame(text)).unwrap();
        assert_eq!(fixture.frame().1, text);
    }
    client.write_all(&frame::frame(b"four")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut frames = Vec::new();
    fixture.until(|_, event| match event {
        Event::Frame(_, payload) => {
            frames.push(payload);
            None
        }
        Event::Ended(_) => Some(()),
        other => panic!("{other:?}"),
    });
    assert_eq!(frames, [b"four"]);
    // One that ended before epoll ever watched it.
    let mut client = fixture.connect();
    client.write_all(&frame::frame(b"five")).unwrap();
    drop(client);
    assert_eq!(fixture.frame().1, b"five");
    assert!(matches!(fixture.closed().1, CloseReason::Peer));
}

#[test]
fn the_silent_make_room() {
    let mut fixture = Fixture::new();
    let mut speaker = fixture.connect();
    speaker.write_all(&frame::frame(b"x")).unwrap();
    let (speaker_id, _) = fixture.frame();
    let mut silent = Vec::new();
    let crowded = loop {
        silent.push(fixture.connect());
        let mut events = Vec::new();
        fixture.server.poll(Some(Instant::now()), &mut events).unwrap();
        let gone = events.into_iter().find_map(|event| match event {
            Event::Closed(id, CloseReason::Crowded) => Some(id),
            _ => None,
        });
        if let Some(gone) = gone {
            break gone;
        }
        assert!(silent.len() <= MAX_CLIENTS);
    };
    assert_ne!(crowded, speaker_id);
    assert_eq!(silent.len(), MAX_CLIENTS);
    assert_eq!(silent.first_mut().unwrap().read(&mut [0]).unwrap(), 0);
}

#[test]
fn albatrossd_may_keep_silent_however_many_others_come() {
    let mut fixture = Fixture::new();
    fixture.server.clients.trusted.push(geteuid().as_raw());
    let mut albatrossd = fixture.connect();
    let mut others = Vec::new();
    let mut events = Vec::new();
    for _ in 0..MAX_CLIENTS + 100 {
        others.push(fixture.connect());
        fixture.server.poll(Some(Instant::now()), &mut events).unwrap();
    }
    fixture.server.clients.expire(Instant::now() + 2 * PATIENCE, &mut events);
    let crowded = events.iter().filter(|event| matches!(event, Event::Closed(_, CloseReason::Crowded)));
    assert_eq!(crowded.count(), 101);
    assert!(!events.iter().any(|event| matches!(event, Event::Closed(_, CloseReason::Silent))));
    albatrossd.write_all(&frame::frame(b"add")).unwrap();
    assert_eq!(fixture.frame().1, b"add");
    // But a frame that has begun has to go on.
    albatrossd.write_all(&[0, 0]).unwrap();
    while fixture.server.clients.next_deadline().is_none() {
        fixture.server.poll(Some(Instant::now()), &mut events).unwrap();
    }
}

#[test]
fn a_connection_of_our_own_is_served_alike() {
    let mut fixture = Fixture::new();
    let (ours, mut theirs) = Client::pair().unwrap();
    let id = fixture.server.add(ours, LIMIT).unwrap();
    fixture.server.send(id, b"question");
    fixture.server.poll(Some(Instant::now()), &mut Vec::new()).unwrap();
    assert_eq!(read_frame(&mut theirs), b"question");
    theirs.write_all(&frame::frame(b"reply")).unwrap();
    assert_eq!(fixture.frame(), (id, b"reply".to_vec()));
    assert_eq!(fixture.server.timeout(None, true), None);
}

#[test]
fn a_connection_that_is_taken_out_loses_nothing_and_comes_back() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&[&frame::frame(b"command")[..], &[0, 0, 0, 9, b'x']].concat()).unwrap();
    let (id, command) = fixture.frame();
    assert_eq!(command, b"command");
    fixture.server.send(id, b"first");
    let Detached { mut stream, read, unsent } = fixture.server.detach(id).unwrap().unwrap();
    assert_eq!((read.as_slice(), &unsent), ([0, 0, 0, 9, b'x'].as_slice(), &frame::frame(b"first")));
    assert!(!fixture.server.is_open(id) && fixture.server.detach(id).unwrap().is_none());
    // It waits for what comes, and the loop does not see it.
    stream.write_all(&unsent).unwrap();
    client.write_all(b"the rest").unwrap();
    let mut rest = [0; 8];
    stream.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"the rest");
    fixture.server.reattach(id, stream, LIMIT).unwrap();
    fixture.server.send(id, b"last");
    fixture.server.close(id);
    fixture.server.poll(Some(Instant::now()), &mut Vec::new()).unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, [frame::frame(b"first"), frame::frame(b"last")].concat());
    assert!(fixture.server.detach(ConnectionId(4711)).unwrap().is_none());
}
