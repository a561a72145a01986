//! What the delivered programs take: room on the disk, time to start, memory while nothing happens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use albatross_e2e::{Failure, Pki, Programs, run};

use super::stack::{CONSOLE, ENDPOINT, LOG, STATS, Stack, VMMD};
use crate::measure::table::{Table, Target, median, mib};

/// Every program that is delivered, besides other names of these.
pub(crate) const PROGRAMS: [&str; 11] = [
    "albatrossd",
    "albatross-console",
    "albatross-log",
    "albatross-stats",
    "albatross-influx",
    "albatross-metrics",
    "albatross-tls-endpoint",
    "albatross-tls-inetd",
    "albatross-client",
    "albatross-top",
    "albatross-spt",
];

/// The daemons that serve on a socket.
const SERVING: [&str; 5] = [LOG, CONSOLE, VMMD, STATS, ENDPOINT];

/// The most octets of a stripped program: a fifth of what those of the OCaml implementation have at the most.
pub(crate) const MOST_OCTETS: u64 = 3 * 1024 * 1024;

/// What a daemon may hold while it is idle, in KiB. Nine parts of ten are its program and the C library, of which the
/// kernel maps more or less ahead; so there is a sixth above what was seen.
pub(crate) const MOST_IDLE: [(&str, u64); 5] =
    [(LOG, 3072), (CONSOLE, 3072), (VMMD, 3072), (STATS, 3072), (ENDPOINT, 4096)];

/// How long daemons are left alone before their memory is read, as in `bench --peer`.
const SETTLED: Duration = Duration::from_millis(400);

/// What a daemon holds, in KiB.
pub(crate) struct Idle {
    pub(crate) resident: u64,
    pub(crate) own: u64,
}

/// Measures all of it into a table, starts in so many rounds.
pub(crate) fn fill(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section("stripped programs");
    for name in PROGRAMS {
        let octets = stripped(&programs.path(name))?;
        table.figure(name, mib(octets / 1024), "MiB", Target::Most(mib(MOST_OCTETS / 1024)));
    }
    let (idle, starts) = start(programs, rounds)?;
    table.section("from the start of a daemon until it accepts");
    for (name, times) in starts {
        table.figure(name, median(times), "ms", Target::None);
    }
    table.section("resident memory of daemons that have just been started");
    for (name, Idle { resident, own }) in idle {
        let most = MOST_IDLE
            .iter()
            .find(|(it, _)| *it == name)
            .map_or(Target::None, |(_, most)| Target::Most(mib(*most)));
        table.figure(name, mib(resident), "MiB", most);
        table.figure(&format!("{name}: of its own"), mib(own), "MiB", Target::None);
    }
    Ok(())
}

/// By daemon: what it holds, and how long its starts took in milliseconds.
type Started = (BTreeMap<&'static str, Idle>, BTreeMap<&'static str, Vec<f64>>);

/// Starts the daemons together so many times, and looks at what they hold at the end of the last.
pub(crate) fn start(programs: &Programs, rounds: usize) -> Result<Started, Failure> {
    let directory = tempfile::tempdir().map_err(|error| Failure::io("make", &std::env::temp_dir(), error))?;
    let pki = Pki::generate(programs, directory.path())?;
    let (mut idle, mut starts) = (BTreeMap::new(), BTreeMap::<_, Vec<f64>>::new());
    for _ in 0..rounds.max(1) {
        let stack = Stack::new(programs.directory(), pki.server(), &programs.path("albatross-spt"))?;
        let stack = stack.start_all(&SERVING)?;
        for (name, took) in &stack.started {
            starts.entry(*name).or_default().push(*took);
        }
        thread::sleep(SETTLED);
        for name in SERVING {
            let [resident, own] = ["VmRSS", "RssAnon"].map(|field| stack.memory(name, field));
            idle.insert(name, Idle { resident, own });
        }
    }
    Ok((idle, starts))
}

/// Octets of a program without its symbols.
pub(crate) fn stripped(program: &Path) -> Result<u64, Failure> {
    let directory = tempfile::tempdir().map_err(|error| Failure::io("make", &std::env::temp_dir(), error))?;
    let path = directory.path().join("stripped");
    run::run(Command::new("strip").arg("-o").arg(&path).arg(program))?.expect(0, "")?;
    let length = fs::metadata(&path).map_err(|error| Failure::io("look at", &path, error))?.len();
    Ok(length)
}
