//! The real program: a statistics daemon that this test plays, and clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command as Process};
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::metrics::{MAX_CLIENTS, MAX_REQUEST, PATIENCE};
use albatross_proto::stats::{Rusage, Statistics};
use albatross_proto::{Command, Data, Header, Payload, StatisticsCommand, Success, Wire, frame};
use nix::sys::socket::{setsockopt, sockopt};

/// How long to wait for what should come at once.
const SOON: Duration = Duration::from_secs(60);

struct Daemon {
    process: Child,
    statistics: UnixListener,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("util")).unwrap();
        let statistics = UnixListener::bind(directory.path().join("util/stat.sock")).unwrap();
        let process = Process::new(env!("CARGO_BIN_EXE_albatross-metrics"))
            .arg("--tmpdir")
            .arg(directory.path())
            .args(["-v", "--port", "0"])
            .stdout(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, statistics, directory }
    }

    /// The connection of the statistics daemon, after it was asked and has answered.
    fn subscribed(&self) -> UnixStream {
        let (mut stream, _) = self.statistics.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut octets = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut octets).unwrap();
        let Wire { header, payload } = Wire::decode(&octets).unwrap();
        assert_eq!(payload, Payload::Command(Command::Statistics(StatisticsCommand::Subscribe)));
        send(&mut stream, Wire::new(header, Payload::Success(Success::Text("subscribed".into()))));
        stream
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "{what} did not come; logged:\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn address(&self) -> SocketAddr {
        self.eventually("the address", || {
            let log = self.log();
            let (_, rest) = log.split_once("listening on ")?;
            rest.contains('\n').then(|| rest.lines().next().unwrap().parse().unwrap())
        })
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

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn rest(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    // Who is closed with something unread is reset.
    _ = stream.read_to_end(&mut octets);
    String::from_utf8(octets).unwrap()
}

fn send(stream: &mut UnixStream, wire: Wire<'_>) {
    stream.write_all(&frame::frame(&wire.encode().unwrap())).unwrap();
}

fn tell(stream: &mut UnixStream, name: &str, nswap: i64) {
    let rusage = Rusage { nswap, ..Rusage::default() };
    let statistics = Statistics { rusage, interfaces: Vec::new(), vmm: None, kinfo_mem: None };
    let data = Data::Statistics(Box::new(statistics));
    send(stream, Wire::new(Header::new(0, name.parse().unwrap()), Payload::Data(data)));
}

#[test]
fn what_is_told_is_shown_on_loopback() {
    let daemon = Daemon::start();
    assert!(daemon.address().ip().is_loopback());
    assert!(daemon.get().contains("\nalbatross_unikernels 0\n"));
    let mut statistics = daemon.subscribed();
    tell(&mut statistics, "a:one", 5);
    tell(&mut statistics, ":two", 6);
    let shown = |line: &str| daemon.eventually(line, || daemon.get().contains(line).then_some(()));
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
    daemon.eventually("all", || daemon.get().contains("\nalbatross_unikernels 6000\n").then_some(()));
    let start = Instant::now();
    let mut silent: Vec<TcpStream> = (0..MAX_CLIENTS).map(|_| daemon.connect()).collect();
    setsockopt(&silent[0], sockopt::RcvBuf, &4096).unwrap();
    silent[0].write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    silent[1].write_all(b"GET /met").unwrap();
    // There is no room meanwhile, and there is when they have gone.
    daemon.eventually("an answer", || daemon.get().contains("\nalbatross_unikernels").then_some(()));
    assert!(start.elapsed() + Duration::from_millis(100) > PATIENCE, "{:?}", start.elapsed());
    let late = || daemon.log().matches("it takes too long").count();
    daemon.eventually("the end of all", || (late() == MAX_CLIENTS).then_some(()));
    assert_eq!(rest(&mut silent[1]), "");
}

#[test]
fn it_is_confined() {
    let daemon = Daemon::start();
    _ = daemon.get();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
}
