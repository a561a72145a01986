//! Clients of the endpoint that mean no good, by the hundred: what they cost, and that others are served meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, PATIENCE, Pki, Programs, eventually, processes};
use albatross_proto::frame::frame;
use albatross_proto::{Payload, Wire};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[path = "certificates/tls.rs"]
mod tls;

/// What a connection may cost that has shown nothing, in KiB: the figure of the requirements.
const IDLE_KIB: u64 = 40;

/// What one may cost whose handshake is under way: what is taken of it before it is done (96 KiB), once more while
/// that grows in the buffer of TLS, and what every connection costs.
const HANDSHAKE_KIB: u64 = 2 * 96 + IDLE_KIB;

/// What one may cost that does not read: what waits before the daemon is not read any more (256 KiB), one turn of
/// the driver on top (256 KiB), and what is encrypted of it.
const STREAM_KIB: u64 = 1024;

/// Others are served within this.
const SOON: Duration = Duration::from_secs(1);

/// A host with an endpoint, below whose root alice may run something, and a leaf of hers, `asks`, for `info`.
struct House {
    host: Host,
    pki: Pki,
    port: u16,
}

impl House {
    fn new() -> Self {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        let mut host = Host::for_test().unwrap();
        let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
        pki.intermediate("ca", "alice", 4, &["--mem", "64", "--block", "64"]).unwrap();
        pki.leaf("alice", "asks", &["info", "--name", "asks"]).unwrap();
        let [ca, certificate, key] = pki.server();
        let port = host.start_endpoint(&ca, &certificate, &key).unwrap();
        let house = Self { host, pki, port };
        let quiet = house.descriptors();
        // Once, so that all is in memory that one needs; the connection is gone when it is.
        house.is_open();
        house.has(quiet, 0);
        house
    }

    fn files(&self, leaf: &str) -> (PathBuf, PathBuf) {
        (self.pki.path(&format!("{leaf}.pem")), self.pki.path(&format!("{leaf}.key")))
    }

    fn connect(&self, leaf: &str) -> tls::Tls {
        let (chain, key) = self.files(leaf);
        tls::connect(self.port, Some((&chain, &key)))
    }

    /// A connection over which nothing was said.
    fn silent(&self) -> TcpStream {
        Raw::tcp(self.port).unwrap().stream().try_clone().unwrap()
    }

    /// A client who knows the house is served, soon.
    #[track_caller]
    fn is_open(&self) {
        let begin = Instant::now();
        let reply = self.connect("asks").frame().unwrap().expect("a reply");
        assert!(matches!(Wire::decode(&reply).unwrap().payload, Payload::Success(_)));
        assert!(begin.elapsed() < SOON, "served after {:?}", begin.elapsed());
    }

    /// What the endpoint holds, in KiB.
    fn memory(&self) -> u64 {
        self.host.daemons().next().unwrap().resident()
    }

    fn descriptors(&self) -> usize {
        processes::descriptors(self.host.daemons().next().unwrap().pid())
    }

    /// Until the endpoint has this many more connections than `before`, or as many.
    fn has(&self, before: usize, more: usize) {
        eventually("the endpoint's connections", || (self.descriptors() == before + more).then_some(()))
            .unwrap();
    }

    #[track_caller]
    fn costs(&self, before: u64, clients: u64, each: u64) {
        let more = self.memory().saturating_sub(before);
        println!("{clients} clients: {more} KiB, {} KiB each", more / clients);
        assert!(more <= clients * each, "{more} KiB for {clients}");
    }

    /// A connection over which the server has said what it has to, and what the client has to say to that.
    fn half_way(&self, leaf: &str) -> (TcpStream, Vec<u8>) {
        let (chain, key) = self.files(leaf);
        let (mut stream, mut client) = (self.silent(), tls::client(Some((&chain, &key))));
        client.write_tls(&mut stream).unwrap();
        while !client.wants_write() || client.is_handshaking() {
            client.read_tls(&mut stream).unwrap();
            client.process_new_packets().unwrap();
        }
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        (stream, flight)
    }
}

#[test]
fn a_thousand_who_say_nothing_are_let_in_within_a_second_and_others_are_served() {
    let house = House::new();
    let (memory, before) = (house.memory(), house.descriptors());
    let begin = Instant::now();
    let silent: Vec<_> = (0..1000).map(|_| house.silent()).collect();
    house.has(before, silent.len());
    let took = begin.elapsed();
    println!("1000 accepted in {took:?}");
    assert!(took < SOON, "accepted in {took:?}");
    house.costs(memory, 1000, IDLE_KIB);
    house.is_open();
    drop(silent);
    house.has(before, 0);
    eventually("less memory", || (house.memory() < memory + 1024).then_some(())).unwrap();
}

/// In real time, once: what the tests of the core see with a clock of their own.
#[test]
fn who_says_nothing_is_dropped_when_his_time_is_up() {
    let house = House::new();
    let begin = Instant::now();
    let mut silent = house.silent();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut slow = house.silent();
    let (stop, stopped) = mpsc::channel::<()>();
    let feeder = std::thread::spawn(move || {
        // One octet a second of a ClientHello that never ends.
        let mut hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain(std::iter::repeat(0));
        while stopped.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            if slow.write_all(&[hello.next().unwrap()]).is_err() {
                return begin.elapsed();
            }
        }
        panic!("it was never dropped")
    });
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
    let patience = Duration::from_secs(10)..Duration::from_secs(15);
    assert!(patience.contains(&begin.elapsed()), "{:?}", begin.elapsed());
    assert!(patience.contains(&feeder.join().unwrap()));
    assert!(house.host.log("albatross-tls-endpoint").contains("the handshake was not done within 10 s"));
    drop(stop);
}

#[test]
fn hellos_and_certificates_that_come_octet_by_octet_hold_up_nobody() {
    let house = House::new();
    // A certificate of nearly all that is taken.
    let argument = "x".repeat(30_000);
    let image = house.host.programs().guest("hello").to_string_lossy().into_owned();
    let words = ["create", "big", &image, "--mem", "2"];
    house.pki.leaf("alice", "big", &[&words[..], &["--arg", &argument]].concat()).unwrap();
    let memory = house.memory();
    let mut hellos: Vec<_> = (0..200).map(|_| house.silent()).collect();
    let mut flights: Vec<_> = (0..200).map(|_| house.half_way("big")).collect();
    for (stream, flight) in &mut flights {
        assert!(flight.len() > 30_000, "{}", flight.len());
        let late = flight.split_off(flight.len() - 100);
        stream.write_all(flight).unwrap();
        *flight = late;
    }
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 40]].concat();
    for (round, octet) in hello.iter().enumerate() {
        for stream in &mut hellos {
            stream.write_all(&[*octet]).unwrap();
        }
        for (stream, late) in &mut flights {
            stream.write_all(&late[round..=round]).unwrap();
        }
        if round % 10 == 0 {
            house.is_open();
        }
    }
    house.costs(memory, 400, HANDSHAKE_KIB);
    // What came in pieces is as good as what came at once.
    let (mut stream, late) = flights.pop().unwrap();
    stream.write_all(&late[hello.len()..]).unwrap();
    assert!(stream.read(&mut [0; 100]).unwrap() > 0);
    house.is_open();
}

#[test]
fn nonsense_in_the_middle_ends_one_connection_and_no_other() {
    let house = House::new();
    house.pki.leaf("alice", "follows", &["console", "follows"]).unwrap();
    let before = house.descriptors();
    let follow = || {
        let mut client = house.connect("follows");
        assert!(client.frame().unwrap().is_some());
        client
    };
    // A handshake from the beginning, in the open; an old one; garbage; keys that are renewed without end.
    let hello = [&[0x16, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3][..], &[0x16, 3, 3, 0, 4, 0, 0, 0, 0], &[0xff; 5000]];
    for octets in hello {
        let mut client = follow();
        client.stream().sock.write_all(octets).unwrap();
        assert!(client.rest().is_err() || client.stream().sock.read(&mut [0]).unwrap_or(0) == 0);
        house.is_open();
    }
    let mut client = follow();
    let stream = client.stream();
    for _ in 0..2000 {
        stream.conn.refresh_traffic_keys().unwrap();
        if stream.conn.write_tls(&mut stream.sock).is_err() {
            break;
        }
    }
    _ = client.rest();
    house.is_open();
    // Each was two descriptors; all are gone.
    drop(client);
    house.has(before, 0);
}

#[test]
fn who_closes_half_way_is_answered_or_gone() {
    let house = House::new();
    let before = house.descriptors();
    let silent: Vec<_> = (0..100).map(|_| house.silent()).collect();
    let half_way: Vec<_> = (0..20).map(|_| house.half_way("asks").0).collect();
    house.has(before, 120);
    for stream in silent.iter().chain(&half_way) {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    house.has(before, 0);
    // All is said, so there is an answer, without close_notify and with it.
    for notify in [false, true] {
        let mut client = house.connect("asks");
        let stream = client.stream();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        if notify {
            stream.conn.send_close_notify();
        }
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        stream.sock.shutdown(Shutdown::Write).unwrap();
        let reply = client.frame().unwrap().expect("a reply");
        assert!(matches!(Wire::decode(&reply).unwrap().payload, Payload::Success(_)), "{notify}");
    }
    house.has(before, 0);
}

#[test]
fn a_stream_longer_than_announced_is_refused_while_it_is_sent() {
    let house = House::new();
    house.host.client(&["create-block", "alice:disk", "1"]).unwrap().assert(0, "");
    fs::write(house.host.work().join("data"), "x").unwrap();
    house.pki.leaf("alice", "disk", &["set-block", "disk", "data", "--compression-level=0"]).unwrap();
    let mut client = house.connect("disk");
    let chunk = frame(&[7; 65536]);
    // 64 MiB into 1 MiB, by one who does not listen.
    for _ in 0..1024 {
        if client.send(&chunk).is_err() {
            break;
        }
    }
    let reply = client.frame().unwrap().expect("a reply");
    match Wire::decode(&reply).unwrap().payload {
        Payload::Failure(text) => assert!(text.to_string().contains("longer than the 1 MB"), "{text}"),
        other => panic!("{other:?}"),
    }
    // A chunk that says it is as long as can be.
    let mut client = house.connect("disk");
    client.send(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
    let reply = client.frame().unwrap().expect("a reply");
    match Wire::decode(&reply).unwrap().payload {
        Payload::Failure(text) => assert!(text.to_string().contains("2147483647"), "{text}"),
        other => panic!("{other:?}"),
    }
    house.is_open();
}

#[test]
fn who_does_not_read_costs_a_bounded_amount_and_holds_up_nobody() {
    let house = House::new();
    house.host.client(&["create-block", "alice:disk", "32"]).unwrap().assert(0, "");
    house.pki.leaf("alice", "disk", &["dump-block", "disk", "--compression-level=0"]).unwrap();
    let (memory, before) = (house.memory(), house.descriptors());
    let mut clients: Vec<_> = (0..10).map(|_| house.connect("disk")).collect();
    for client in &mut clients {
        // The dump has begun; of the rest nothing is read.
        assert!(client.frame().unwrap().is_some());
    }
    for _ in 0..20 {
        house.is_open();
        house.costs(memory, 10, STREAM_KIB);
    }
    // Who goes takes all of it along.
    drop(clients);
    house.has(before, 0);
}

/// How many send a large certificate: more than there are places.
const LARGE_SENDERS: u64 = 6;

/// Octets of an image in a certificate, and what one connection that sends it may cost in KiB: the certificate as it
/// comes, in a place; nobody gets further here.
const LARGE: usize = 12 * 1024 * 1024;
const LARGE_KIB: u64 = 16 * 1024;

/// For some seconds, in each of which those who send something send a little more.
#[test]
fn all_of_them_at_once_leave_the_house_open() {
    let house = House::new();
    house.host.client(&["create-block", "alice:disk", "32"]).unwrap().assert(0, "");
    house.pki.leaf("alice", "disk", &["dump-block", "disk", "--compression-level=0"]).unwrap();
    let image = house.host.work().join("large");
    let mut octets = fs::read(house.host.programs().guest("hello")).unwrap();
    octets.resize(LARGE, 7);
    fs::write(&image, octets).unwrap();
    let words = ["create", "large", image.to_str().unwrap(), "--mem", "64", "--compression-level=0"];
    house.pki.leaf("alice", "large", &words).unwrap();
    let (memory, before) = (house.memory(), house.descriptors());

    let silent: Vec<_> = (0..1000).map(|_| house.silent()).collect();
    let half_closed: Vec<_> = (0..50).map(|_| house.half_way("asks").0).collect();
    half_closed.iter().for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    let mut deaf: Vec<_> = (0..10).map(|_| house.connect("disk")).collect();
    deaf.iter_mut().for_each(|client| assert!(client.frame().unwrap().is_some()));
    // A ClientHello at an octet a second, a certificate at an octet a second, a large one at 1 KiB/s.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 100]].concat();
    let mut slow: Vec<(TcpStream, Vec<u8>, usize)> =
        (0..100).map(|_| (house.silent(), hello.clone(), 1)).collect();
    slow.extend((0..100).map(|_| house.half_way("asks")).map(|(stream, flight)| (stream, flight, 1)));
    for _ in 0..LARGE_SENDERS {
        let (mut stream, mut flight) = house.half_way("large");
        assert!(flight.len() > LARGE);
        let rest = flight.split_off(20_000);
        stream.write_all(&flight).unwrap();
        slow.push((stream, rest, 1024));
    }
    let clients = 1000 + 200;
    let most = clients * IDLE_KIB + 200 * HANDSHAKE_KIB + 10 * STREAM_KIB + LARGE_SENDERS * LARGE_KIB;

    let (_never, pace) = mpsc::channel::<()>();
    for second in 0..6 {
        for (stream, octets, step) in &mut slow {
            let rest = octets.split_off(*step);
            // Who is too slow is dropped meanwhile.
            _ = stream.write_all(octets);
            *octets = rest;
        }
        let mut garbage = house.silent();
        _ = garbage.write_all(&[0xff; 5000]);
        house.is_open();
        let more = house.memory().saturating_sub(memory);
        println!("second {second}: {more} KiB of {most}, {} descriptors", house.descriptors() - before);
        assert!(more < most, "{more} KiB");
        _ = pace.recv_timeout(Duration::from_secs(1));
    }
    drop((silent, half_closed, deaf, slow));
    house.has(before, 0);
    house.is_open();
}

#[test]
fn an_octet_of_garbage_is_not_waited_for() {
    let house = House::new();
    let mut stream = house.silent();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => assert!(said.len() < 100, "an alert at most"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    house.is_open();
}
