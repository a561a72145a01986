//! The real program: a statistics daemon and a database that this test plays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::Command as Process;

use albatross_core::influx::lines;
use albatross_e2e::PATIENCE;
use albatross_e2e::played::{StatisticsDaemon, Subscriber};
use albatross_e2e::run::run;
use albatross_proto::stats::{IfData, Rusage, Statistics};
use albatross_proto::{Payload, Time};

const PROGRAM: &str = env!("CARGO_BIN_EXE_albatross-influx");

struct Daemon {
    process: albatross_e2e::Daemon,
    statistics: StatisticsDaemon,
    database: Option<TcpListener>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let statistics = StatisticsDaemon::listen(directory.path()).unwrap();
        let database = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = database.local_addr().unwrap().to_string();
        let mut command = Process::new(PROGRAM);
        command.arg("--tmpdir").arg(directory.path()).args(["-v", "--influx", &address]).args(options);
        let log = directory.path().join("log");
        let process = albatross_e2e::Daemon::start("albatross-influx", command, &log).unwrap();
        Self { process, statistics, database: Some(database), _directory: directory }
    }

    /// The connection of the statistics daemon, after it was asked for `name` and has answered.
    fn subscribed(&self, name: &str) -> Subscriber {
        let subscriber = self.statistics.subscriber().unwrap();
        assert_eq!(subscriber.name, name);
        subscriber
    }

    fn database(&self) -> BufReader<TcpStream> {
        let (stream, _) = self.database.as_ref().expect("a database").accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }

    fn logged(&mut self, text: &str) {
        self.process.logged(text).unwrap();
    }
}

fn statistics(maxrss: i64) -> Statistics {
    let interface = IfData { bridge: "my net".into(), mtu: 1500, ..IfData::default() };
    let rusage = Rusage { maxrss, ..Rusage::default() };
    Statistics { rusage, interfaces: vec![interface], vmm: Some(vec![("a,b".into(), 7)]), kinfo_mem: None }
}

fn tell(to: &mut Subscriber, name: &str, maxrss: i64) {
    to.tell(name, statistics(maxrss)).unwrap();
}

/// What is expected: without the time, which only memory has.
fn expected(vm: &str, maxrss: i64) -> String {
    lines(vm, &statistics(maxrss), Time::default())
}

fn read(database: &mut BufReader<TcpStream>, octets: usize) -> String {
    let mut text = vec![0; octets];
    database.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_database_gets_these_octets_and_no_others() {
    for (options, name, relative, vm) in [
        (&[][..], ":", "foo:bar:hello", "hello"),
        (&["--no-drop-path"], ":", "foo:bar:hello", "foo:bar:hello"),
        (&["--no-drop-path", "--name", "foo:bar:"], "foo:bar:", ":hello", "foo:bar:hello"),
    ] {
        let mut daemon = Daemon::start(options);
        let mut statistics = daemon.subscribed(name);
        let mut database = daemon.database();
        daemon.logged("the database is reached");
        let mut all = String::new();
        for number in 0..3 {
            tell(&mut statistics, relative, number);
            all += &expected(vm, number);
        }
        assert_eq!(read(&mut database, all.len()), all);
        assert!(daemon.process.terminate().unwrap().success());
        let mut rest = String::new();
        database.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn both_sides_may_go_and_come() {
    let mut daemon = Daemon::start(&[]);
    let mut statistics = daemon.subscribed(":");
    let mut database = daemon.database();
    daemon.logged("the database is reached");
    tell(&mut statistics, ":one", 1);
    assert_eq!(read(&mut database, expected("one", 1).len()), expected("one", 1));
    // The statistics daemon goes, the database stays.
    drop(statistics);
    let mut statistics = daemon.subscribed(":");
    tell(&mut statistics, ":one", 2);
    assert_eq!(read(&mut database, expected("one", 2).len()), expected("one", 2));
    // The database goes, with its port: what comes meanwhile is left out.
    let port = daemon.database.take().unwrap().local_addr().unwrap();
    drop(database);
    daemon.logged("the database is not reached: closed by the other side");
    daemon.logged("Connection refused");
    tell(&mut statistics, ":one", 3);
    tell(&mut statistics, ":one", 4);
    // That it took them is seen by what it does next.
    statistics.send(":", Payload::Failure("enough".into())).unwrap();
    daemon.logged("albatross-stats refuses: enough");
    daemon.database = Some(TcpListener::bind(port).unwrap());
    let mut database = daemon.database();
    daemon.logged("2 messages were left out before");
    let mut statistics = daemon.subscribed(":");
    tell(&mut statistics, ":one", 5);
    assert_eq!(read(&mut database, expected("one", 5).len()), expected("one", 5));
}

#[test]
fn a_database_that_does_not_read_costs_bounded_memory_and_gets_whole_messages_after() {
    const MESSAGES: i64 = 60_000;
    let mut daemon = Daemon::start(&[]);
    let mut statistics = daemon.subscribed(":");
    let mut database = daemon.database();
    daemon.logged("the database is reached");
    let before = daemon.process.resident();
    // Some 40 MB of lines.
    for number in 0..MESSAGES {
        tell(&mut statistics, ":one", number);
    }
    daemon.logged("statistics are left out");
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    // All that is read is whole, in its order; at last the newest comes, once there is room.
    let mut seen = -1;
    loop {
        let mut line = String::new();
        database.read_line(&mut line).unwrap();
        if let Some(rest) = line.split_once("maxrss=") {
            let number: i64 = rest.1.split_once('i').unwrap().0.parse().unwrap();
            assert!(number > seen, "{number} after {seen}");
            seen = number;
            let message = expected("one", number);
            let (first, others) = message.split_once('\n').unwrap();
            assert_eq!(line.trim_end(), first);
            assert_eq!(read(&mut database, others.len()), others);
            if number >= MESSAGES {
                return;
            }
        }
        // One after the others, until one fits.
        if seen >= 0 {
            tell(&mut statistics, ":one", MESSAGES + seen);
        }
    }
}

#[test]
fn options_that_cannot_be_are_mistakes() {
    for (options, text) in [
        (&[][..], "--influx"),
        (&["--influx", "localhost"], "127.0.0.1:8094"),
        (&["--influx", "127.0.0.1", "--systemd-socket-activation"], "no socket of its own"),
        (&["--influx", "127.0.0.1", "--name", ""], "name"),
    ] {
        run(Process::new(PROGRAM).args(options)).unwrap().assert(124, text);
    }
}
