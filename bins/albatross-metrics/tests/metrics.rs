//! The real program: a statistics daemon that this test plays, and clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command as Process;
use std::time::{Duration, Instant};

use albatross_core::metrics::{MAX_CLIENTS, MAX_REQUEST, PATIENCE};
use albatross_e2e::played::{StatisticsDaemon, Subscriber};
use albatross_e2e::processes::assert_confined;
use albatross_proto::stats::{Rusage, Statistics};
use nix::sys::socket::{setsockopt, sockopt};

/// How long to wait for what should come at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

struct Daemon {
    process: albatross_e2e::Daemon,
    statistics: StatisticsDaemon,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let statistics = StatisticsDaemon::listen(directory.path()).unwrap();
        let mut command = Process::new(env!("CARGO_BIN_EXE_albatross-metrics"));
        command.arg("--tmpdir").arg(directory.path()).args(["-v", "--port", "0"]);
        let log = directory.path().join("log");
        let process = albatross_e2e::Daemon::start("albatross-metrics", command, &log).unwrap();
        Self { process, statistics, _directory: directory }
    }

    /// The connection of the statistics daemon, after it was asked and has answered.
    fn subscribed(&self) -> Subscriber {
        self.statistics.subscriber().unwrap()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn wait_for(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.process.wait_for(what, is_so).unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.wait_for("the address", || {
            self.log().split_once("listening on ").is_some_and(|(_, rest)| rest.contains('\n'))
        });
        let log = self.log();
        let (_, rest) = log.split_once("listening on ").unwrap();
        rest.lines().next().unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        rest(&mut stream)
    }

    fn get(&self) -> String {
        self.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    }
}

fn rest(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    // Who is closed with something unread is reset.
    _ = stream.read_to_end(&mut octets);
    String::from_utf8(octets).unwrap()
}

fn tell(to: &mut Subscriber, name: &str, nswap: i64) {
    let rusage = Rusage { nswap, ..Rusage::default() };
    let statistics = Statistics { rusage, interfaces: Vec::new(), vmm: None, kinfo_mem: None };
    to.tell(name, statistics).unwrap();
}

#[test]
fn what_is_told_is_shown_on_loopback() {
    let daemon = Daemon::start();
    assert!(daemon.address().ip().is_loopback());
    assert!(daemon.get().contains("\nalbatross_unikernels 0\n"));
    let mut statistics = daemon.subscribed();
    tell(&mut statistics, "a:one", 5);
    tell(&mut statistics, ":two", 6);
    let shown = |line: &str| daemon.wait_for(line, || daemon.get().contains(line));
    shown("\nalbatross_swaps_total{unikernel=\":two\"} 6\n");
    let text = daemon.get();
    assert!(text.contains("\nalbatross_swaps_total{unikernel=\"a:one\"} 5\n"), "{text}");
    assert!(text.contains("\nalbatross_statistics_up 1\n") && text.ends_with("# EOF\n"), "{text}");
    let head = daemon.ask(b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(daemon.ask(b"GET /secret HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(daemon.ask(b"PUT /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(daemon.ask(&vec![b'x'; MAX_REQUEST]).starts_with("HTTP/1.1 431 "));
    assert!(daemon.ask(b"\x16\x03\x01\x00\n\n").starts_with("HTTP/1.1 400 "));
    drop(statistics);
    shown("\nalbatross_statistics_up 0\n");
    let _statistics = daemon.subscribed();
    shown("\nalbatross_statistics_up 1\n");
}

#[test]
fn clients_that_say_nothing_or_read_nothing_go_and_others_are_served() {
    let daemon = Daemon::start();
    let mut statistics = daemon.subscribed();
    // More than sockets hold: some 10 MB of text.
    for number in 0..6000 {
        tell(&mut statistics, &format!("a:n{number}"), 1);
    }
    daemon.wait_for("all", || daemon.get().contains("\nalbatross_unikernels 6000\n"));
    let start = Instant::now();
    let mut silent: Vec<TcpStream> = (0..MAX_CLIENTS).map(|_| daemon.connect()).collect();
    setsockopt(&silent[0], sockopt::RcvBuf, &4096).unwrap();
    silent[0].write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    silent[1].write_all(b"GET /met").unwrap();
    // There is no room meanwhile, and there is when they have gone.
    daemon.wait_for("an answer", || daemon.get().contains("\nalbatross_unikernels"));
    assert!(start.elapsed() + Duration::from_millis(100) > PATIENCE, "{:?}", start.elapsed());
    let late = || daemon.log().matches("it takes too long").count();
    daemon.wait_for("the end of all", || late() == MAX_CLIENTS);
    assert_eq!(rest(&mut silent[1]), "");
}

#[test]
fn it_is_confined() {
    let daemon = Daemon::start();
    _ = daemon.get();
    assert_confined(daemon.process.pid());
}
