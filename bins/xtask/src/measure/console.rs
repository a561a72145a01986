//! Lines of a guest that writes as fast as it can: into the ring, to subscribers, past those who do not read; what it
//! costs other guests; memory of a thousand consoles. This program plays the guests.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::console::{LINE_LENGTH, RING_LINES, TRUNCATED};
use albatross_e2e::frames::Frames;
use albatross_e2e::guest::Guest;
use albatross_e2e::processes::processor_time;
use albatross_e2e::{Failure, Host, Programs};

use super::table::{Table, Target, median, mib, milliseconds, number};

/// Lines of a flood, each of [`LINE`] octets: some seconds of it.
const LINES: u64 = 1_000_000;
/// Its octets with the end of the line, as in the figures of the OCaml implementation.
const LINE: usize = 80;
/// Lines that one write has: what a pipe takes as a whole.
const BATCH: u64 = 50;
/// Lines in a second: to the ring, three times the OCaml daemon's to one subscriber, five times its to each of five.
const TO_RING: f64 = 1_000_000.0;
const TO_ONE: f64 = 3.0 * 173_000.0;
const TO_EACH_OF_FIVE: f64 = 5.0 * 38_000.0;
/// Processor time of the daemon for a line, in microseconds: a third and a fifth of the OCaml daemon's.
const CPU_ONE: f64 = 5.75 / 3.0;
const CPU_FIVE: f64 = 26.0 / 5.0;
/// What a flood may cost a line of another guest, in milliseconds.
const DELAY: f64 = 50.0;
/// How often the other guest writes.
const INTERVAL: Duration = Duration::from_millis(5);
/// The last line of a flood.
const END: &[u8] = b"the end of it";

/// Consoles whose memory is measured.
const CONSOLES: usize = 1_000;
/// What all of them may take with short lines, in MiB.
const SHORT_CONSOLES: f64 = 64.0;
/// Octets of a short line.
const SHORT: usize = 30;
/// Consoles with the longest lines; what each may take is what the ring promises.
const LONG_CONSOLES: usize = 100;
/// KiB that a ring of the longest lines takes at most: octets and 16 more of each line, an eighth of it spare.
const WORST: usize = RING_LINES * (LINE_LENGTH + TRUNCATED.len() + 16) * 9 / 8 / 1024;

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    let rounds = rounds.div_ceil(3);
    floods(programs, table, rounds)?;
    others(programs, table)?;
    memory(programs, table)
}

fn floods(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section(&format!("a guest that writes {LINES} lines of {LINE} octets as fast as it can"));
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    let guest = Guest::begin(&host, "foo:flood")?;
    let pid = host.console().map_or(0, |daemon| daemon.pid());
    let mut floods = |what: &str, readers: usize, sleepers: usize, least: f64, most: Target| {
        let (mut rates, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = processor_time(pid);
            let took = flood(&host, &guest, readers, sleepers)?;
            cpu.push((processor_time(pid) - before).as_secs_f64() * 1e6 / number(LINES));
            rates.push(number(LINES) / took.as_secs_f64());
        }
        table.figure(what, median(rates), "1/s", Target::Least(least));
        table.figure("processor time of the daemon for a line", median(cpu), "us", most);
        Ok::<_, Failure>(())
    };
    floods("nobody subscribed: into the ring", 0, 0, TO_RING, Target::None)?;
    floods("to one subscriber", 1, 0, TO_ONE, Target::Most(CPU_ONE))?;
    floods("to each of five", 5, 0, TO_EACH_OF_FIVE, Target::Most(CPU_FIVE))?;
    floods("to one, beside one that does not read", 1, 1, TO_ONE, Target::None)?;
    let resident = host.console().map_or(0, |daemon| daemon.resident());
    table.figure("albatross-console: resident after that", mib(resident), "MiB", Target::None);
    host.end()
}

/// How long a flood took until the last line reached every reader, all of them unbroken; the ring, where there is none.
fn flood(host: &Host, guest: &Guest, readers: usize, sleepers: usize) -> Result<Duration, Failure> {
    let socket = host.socket("console");
    let failed = |error| Failure::io("follow a flood at", &socket, error);
    let subscribe = |count: usize| (0..count).map(|_| guest.subscribe(0)).collect::<io::Result<Vec<_>>>();
    let sleepers = subscribe(sleepers).map_err(failed)?;
    let readers = subscribe(readers).map_err(failed)?;
    let start = Instant::now();
    let last = thread::scope(|scope| {
        let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(|| follow(reader))).collect();
        write_flood(guest)?;
        if threads.is_empty() {
            guest.wait_for_last(END)?;
            return Ok(Instant::now());
        }
        let ends = threads.into_iter().map(|thread| thread.join());
        let ends = ends.map(|end| end.unwrap_or_else(|_| Err(io::Error::other("a reader ended"))));
        ends.collect::<io::Result<Vec<_>>>().map(|ends| ends.into_iter().max().unwrap_or(start))
    });
    drop(sleepers);
    last.map(|last| last - start).map_err(failed)
}

/// Reads a flood to its last line: when that came.
fn follow(mut reader: Frames) -> io::Result<Instant> {
    let mut lines = 1;
    while !reader.read()?.ends_with(END) {
        lines += 1;
    }
    let end = Instant::now();
    if lines == LINES { Ok(end) } else { Err(io::Error::other(format!("{lines} lines came of {LINES}"))) }
}

/// What lines of another guest are delayed by, while one floods.
fn others(programs: &Programs, table: &mut Table) -> Result<(), Failure> {
    table.section("lines of another guest while one floods, from their write to their subscriber");
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    let socket = host.socket("console");
    let failed = |error| Failure::io("follow a guest at", &socket, error);
    let (loud, quiet) = (Guest::begin(&host, "foo:flood")?, Guest::begin(&host, "bar:quiet")?);
    for readers in [0, 5] {
        let mut subscriber = quiet.subscribe(0).map_err(failed)?;
        let over = AtomicBool::new(false);
        let delays = thread::scope(|scope| {
            let measured = scope.spawn(|| {
                let mut delays = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    quiet.write(b"a line\n")?;
                    subscriber.read()?;
                    delays.push(milliseconds(start.elapsed()));
                    thread::sleep(INTERVAL);
                }
                Ok::<_, io::Error>(delays)
            });
            let flooded = flood(&host, &loud, readers, 1);
            over.store(true, Ordering::Relaxed);
            let delays = measured.join().unwrap_or_else(|_| Err(io::Error::other("a reader ended")));
            flooded.and_then(|_| delays.map_err(failed))
        })?;
        let mut delays = delays;
        delays.sort_by(f64::total_cmp);
        let of = |part: usize| delays.get(delays.len() * part / 100).copied().unwrap_or_default();
        let with = format!("{readers} subscribers of the flood, and one that does not read");
        table.figure(&format!("{with}: median"), of(50), "ms", Target::None);
        table.figure(&format!("{with}: of 99 in 100"), of(99), "ms", Target::Most(DELAY));
        let longest = delays.last().copied().unwrap_or_default();
        table.figure(&format!("{with}: longest"), longest, "ms", Target::Most(DELAY));
    }
    host.end()
}

fn memory(programs: &Programs, table: &mut Table) -> Result<(), Failure> {
    table.section(&format!("consoles with {RING_LINES} lines each"));
    let before = resident(programs, 0, SHORT)?;
    let short = resident(programs, CONSOLES, SHORT)?;
    let what = format!("albatross-console with {CONSOLES} of {SHORT} octets each line: resident");
    table.figure(&what, mib(short), "MiB", Target::Most(SHORT_CONSOLES));
    let longest = LINE_LENGTH + TRUNCATED.len();
    let long = number(resident(programs, LONG_CONSOLES, longest)?.saturating_sub(before));
    let count = number(u64::try_from(LONG_CONSOLES).unwrap_or(1));
    let most = number(u64::try_from(WORST).unwrap_or(0));
    let what = format!("the worst case, each line of {longest} octets: for each console");
    table.figure(&what, long / count, "KiB", Target::Most(most));
    Ok(())
}

/// KiB that a daemon holds with so many consoles, their rings full of lines of so many octets.
fn resident(programs: &Programs, consoles: usize, octets: usize) -> Result<u64, Failure> {
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    // As long as is kept, and cut beyond.
    let line = [&vec![b'x'; octets.min(LINE_LENGTH + 1)], &b"\n"[..]].concat();
    let lines = line.repeat(RING_LINES);
    let socket = host.socket("console");
    let mut guests = Vec::new();
    for console in 0..consoles {
        let guest = Guest::begin(&host, &format!("foo:u{console}"))?;
        // Twice: a ring that is full and goes on takes no more.
        let filled = guest.write(&lines.repeat(2)).and_then(|()| guest.write(&[END, b"\n"].concat()));
        let filled = filled.and_then(|()| guest.wait_for_last(END));
        filled.map_err(|error| Failure::io("fill a console at", &socket, error))?;
        guests.push(guest);
    }
    let resident = host.console().map_or(0, |daemon| daemon.resident());
    host.end()?;
    Ok(resident)
}

/// Writes [`LINES`] lines, the last is [`END`].
fn write_flood(guest: &Guest) -> io::Result<()> {
    let mut line = b"the quick brown fox jumps over the lazy dog and runs off into the wood. ".repeat(2);
    line.truncate(LINE - 1);
    line.push(b'\n');
    let batch = line.repeat(usize::try_from(BATCH).map_err(io::Error::other)?);
    for _ in 0..LINES / BATCH - 1 {
        guest.write(&batch)?;
    }
    guest.write(batch.get(LINE..).unwrap_or_default())?;
    guest.write(&[END, b"\n"].concat())
}
