//! What the daemons tell a database about themselves (`--influx`), whose part this test plays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};

use albatross_e2e::{Host, PATIENCE, Programs};

/// A database for one daemon.
struct Database(TcpListener);

impl Database {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn option(&self) -> String {
        format!("--influx={}", self.0.local_addr().unwrap())
    }

    fn lines(&self) -> Lines {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Lines(BufReader::new(stream))
    }
}

struct Lines(BufReader<TcpStream>);

impl Lines {
    /// The next line that begins so.
    fn next(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "no line {start}");
            if line.starts_with(start) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// A field of the next line that begins so.
    fn field(&mut self, start: &str, name: &str) -> String {
        let line = self.next(start);
        let fields = line.strip_prefix(start).unwrap();
        let (_, rest) = fields.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{line}"));
        rest.split(',').next().unwrap().to_owned()
    }
}

#[test]
fn each_daemon_tells_what_it_used_and_albatrossd_what_is_allowed() {
    let [own, of_console, of_statistics, of_log] = [(); 4].map(|()| Database::new());
    let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
    host.start_console(&[&of_console.option()]).unwrap();
    host.start_log(&[&of_log.option()]).unwrap();
    host.start_albatrossd(&[&own.option()]).unwrap();
    let _statistics = host.start_beside("albatross-stats", Some("stat"), &[&of_statistics.option()]).unwrap();
    for (database, vm) in [
        (&own, "albatross"),
        (&of_console, "albatross_console"),
        (&of_statistics, "albatross_stats"),
        (&of_log, "albatross_log"),
    ] {
        let mut lines = database.lines();
        assert!(lines.field(&format!("resource_usage,vm={vm} "), "maxrss").ends_with('i'));
        let rss: u64 =
            lines.field(&format!("kinfo_mem,vm={vm} "), "rss").trim_end_matches('i').parse().unwrap();
        assert!(rss > 100_000, "{vm} {rss}");
        lines.next(&format!("connections,vm={vm},kind=unix active="));
        if vm == "albatross_console" {
            lines.next("connections,vm=albatross_console,kind=fifo active=0i,total=0i");
        }
    }
    // The connection is lost: what is told next has what was done meanwhile.
    host.client(&["add-policy", "a", "2", "--mem", "32"]).unwrap().assert(0, "added");
    host.create("a:tick", "tick", &[]).unwrap().assert(0, "created");
    host.create("a:large", "tick", &["--mem=64"]).unwrap().assert(117, "memory");
    let mut lines = own.lines();
    let commands: usize =
        lines.field("commands,vm=albatross ", "total").trim_end_matches('i').parse().unwrap();
    assert!(commands >= 3, "{commands}");
    let of_root = lines.next("albatross-policies,vm=albatross,domain=: maximum\\ unikernels=");
    assert!(of_root.contains(",maximum\\ memory="), "{of_root}");
    assert_eq!(
        lines.next("albatross-policies,vm=albatross,domain=a "),
        "albatross-policies,vm=albatross,domain=a maximum\\ unikernels=2i,maximum\\ memory=32i,maximum\\ block=0i"
    );
    assert_eq!(
        lines.next("albatross-unikernels,vm=albatross,domain=a "),
        "albatross-unikernels,vm=albatross,domain=a attached\\ used\\ block=0i,unattached\\ used\\ block=0i,\
         total\\ used\\ block=0i,running\\ unikernels=1i,used\\ memory=2i"
    );
}
