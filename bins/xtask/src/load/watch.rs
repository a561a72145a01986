//! Those who watch all the time: the event log, statistics, some consoles, the metrics, a database.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Host, PATIENCE};
use albatross_proto::command::History;
use albatross_proto::log::{Event, LogCommand};
use albatross_proto::{Command, ConsoleCommand, Data, Int, Payload, StatisticsCommand, Wire};

use super::house::METRICS_PORT;
use super::ledger::{Kind, Ledger, lock};

/// Events of the past that the follower of the log asks for when it comes back: more than happen while the daemon is
/// away and until it comes back.
const EVENTS: u32 = 20_000;
/// Lines of the past that a follower of a console asks for: all that are kept.
const LINES: u32 = 1024;
/// The most lines of one console that a kill of the daemon may take: those that it had read and not passed on. That is
/// one reading, which is one line of a guest that prints now and then.
const TAKEN: u64 = 1;
/// From one try to the next, where a daemon is away.
const RETRY: Duration = Duration::from_millis(20);
/// How long statistics that come each second may be silent on a busy machine.
const SILENCE: Duration = Duration::from_secs(10);
/// From one scrape to the next.
const SCRAPE: Duration = Duration::from_secs(1);
/// A family of the metrics that each unikernel is in.
const FAMILY: &str = "\nalbatross_resident_max_bytes{";
/// What the lines of the database begin with.
const MEASUREMENTS: [&str; 3] = ["resource_usage,vm=", "kinfo_mem,vm=", "interface,vm="];

/// All watchers; shared by their threads.
pub(super) struct Watch {
    sockets: [PathBuf; 3],
    guests: BTreeSet<String>,
    /// Connections to be cut when all is over.
    open: Mutex<Vec<UnixStream>>,
    /// What the event log said of the administrator: name and words.
    pub(super) events: Mutex<BTreeSet<(String, String)>>,
    /// Unikernels whose statistics came, since this was emptied.
    seen: Mutex<BTreeSet<String>>,
    pub(super) statistics: AtomicUsize,
    /// Unikernels in the last scrape.
    scraped: AtomicUsize,
    pub(super) scrapes: AtomicUsize,
    pub(super) lines: AtomicUsize,
    pub(super) followed: AtomicUsize,
    /// Lines that kills of the console daemon took.
    pub(super) taken: AtomicUsize,
}

impl Watch {
    pub(super) fn new(host: &Host, guests: BTreeSet<String>) -> Self {
        Self {
            sockets: ["log", "stat", "console"].map(|name| host.socket(name)),
            guests,
            open: Mutex::default(),
            events: Mutex::default(),
            seen: Mutex::default(),
            statistics: AtomicUsize::new(0),
            scraped: AtomicUsize::new(0),
            scrapes: AtomicUsize::new(0),
            lines: AtomicUsize::new(0),
            followed: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    /// Ends all who wait for something to come.
    pub(super) fn end(&self) {
        for stream in lock(&self.open).drain(..) {
            // It may be closed already.
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forgets which statistics came.
    pub(super) fn forget(&self) {
        lock(&self.seen).clear();
        self.scraped.store(0, Ordering::Relaxed);
    }

    /// Whether statistics of all guests came since.
    pub(super) fn is_all_seen(&self) -> bool {
        let seen = lock(&self.seen);
        self.guests.iter().all(|name| seen.contains(name))
    }

    /// Whether the last scrape had all guests.
    pub(super) fn is_all_scraped(&self) -> bool {
        self.scraped.load(Ordering::Relaxed) >= self.guests.len()
    }

    /// Follows the event log.
    pub(super) fn log(&self, ledger: &Ledger) {
        let mut past = 0;
        let [socket, _, _] = &self.sockets;
        while !ledger.is_all_over() {
            let command = Command::Log(LogCommand(History::Count(Int::from(past))));
            self.stream(socket, Kind::Log, ":", command, ledger, |name, data| {
                if let Data::Log(entry) = data
                    && let Event::Command { command, failure: None } = entry.event
                    && name.starts_with(super::admin::PATH)
                {
                    lock(&self.events).insert((name, command.to_string()));
                }
            });
            past = EVENTS;
        }
    }

    /// Takes statistics.
    pub(super) fn statistics(&self, ledger: &Ledger) {
        let [_, socket, _] = &self.sockets;
        while !ledger.is_all_over() {
            let mut last = Instant::now();
            let command = Command::Statistics(StatisticsCommand::Subscribe);
            self.stream(socket, Kind::Statistics, ":", command, ledger, |name, data| {
                if matches!(data, Data::Statistics(_)) {
                    lock(&self.seen).insert(name.trim_start_matches(':').to_owned());
                    self.statistics.fetch_add(1, Ordering::Relaxed);
                    if last.elapsed() > SILENCE {
                        ledger.note::<()>(
                            Kind::Statistics,
                            last,
                            Err(format!("nothing for {:?}", last.elapsed())),
                        );
                    }
                    last = Instant::now();
                }
            });
        }
    }

    /// Follows a console, of which no line may be missing.
    pub(super) fn console(&self, name: &str, ledger: &Ledger) {
        let [_, _, socket] = &self.sockets;
        let mut last = 0;
        let mut times = 0;
        while !ledger.is_all_over() {
            let command = Command::Console(ConsoleCommand::Subscribe(History::Count(Int::from(LINES))));
            let mut allowed = if times == 0 { 0 } else { TAKEN };
            self.stream(socket, Kind::Follow, name, command, ledger, |_, data| {
                let Data::Console { line, .. } = data else { return };
                let line = String::from_utf8_lossy(&line);
                let Some(number) = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok()) else {
                    return;
                };
                if number <= last {
                    return;
                }
                let missing = number - last - 1;
                if missing > allowed {
                    ledger.fault(format!("{name}: line {last} is followed by line {number} on its console"));
                }
                self.taken.fetch_add(usize::try_from(missing).unwrap_or(0), Ordering::Relaxed);
                self.followed.fetch_add(1, Ordering::Relaxed);
                (last, allowed) = (number, 0);
            });
            times += 1;
        }
    }

    /// Subscribes, and passes on what comes until the connection ends.
    fn stream(
        &self,
        socket: &Path,
        kind: Kind,
        name: &str,
        command: Command<'_>,
        ledger: &Ledger,
        mut take: impl FnMut(String, Data<'_>),
    ) {
        let began = Instant::now();
        let mut read = || -> io::Result<()> {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            lock(&self.open).push(stream.try_clone()?);
            let mut raw = Raw::over(stream);
            raw.command(name, command.clone())?;
            while let Some(frame) = raw.frame()? {
                let wire = Wire::decode(&frame).map_err(io::Error::other)?;
                match wire.payload {
                    Payload::Data(data) => take(wire.header.name.to_string(), data),
                    Payload::Failure(why) => return Err(io::Error::other(why.to_string())),
                    _ => {}
                }
            }
            Err(io::Error::other("the daemon closed"))
        };
        let result = read();
        if ledger.is_all_over() {
            return;
        }
        // What ends now counts from now: it was well until then.
        let since = if began.elapsed() < RETRY { began } else { Instant::now() };
        ledger.note(kind, since, result.map_err(|error| format!("{name}: {error}")));
        thread::sleep(RETRY);
    }

    /// Scrapes the metrics each second.
    pub(super) fn metrics(&self, ledger: &Ledger) {
        while !ledger.is_all_over() {
            let began = Instant::now();
            let text = scrape().map_err(|error| error.to_string());
            let was_whole = self.is_all_scraped();
            let text = text.and_then(|text| {
                let count = text.matches(FAMILY).count();
                self.scraped.store(count, Ordering::Relaxed);
                let is_less = was_whole && count < self.guests.len();
                if is_less { Err(format!("{count} unikernels are in it")) } else { Ok(()) }
            });
            if text.is_err() {
                self.scraped.store(0, Ordering::Relaxed);
            }
            // The first that are whole are waited for by who starts the daemons.
            if !ledger.is_all_over() && ledger.note(Kind::Scrape, began, text).is_some() {
                self.scrapes.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(SCRAPE);
        }
    }

    /// Plays the database.
    pub(super) fn database(&self, listener: &TcpListener, ledger: &Ledger) {
        while let Ok((stream, _)) = listener.accept()
            && !ledger.is_all_over()
        {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            // A line that is cut by the end of who writes is none.
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) && line.ends_with(b"\n") {
                let is_known = MEASUREMENTS.iter().any(|it| line.starts_with(it.as_bytes()));
                if !is_known {
                    ledger.fault(format!("the database was sent {:?}", String::from_utf8_lossy(&line)));
                }
                self.lines.fetch_add(1, Ordering::Relaxed);
                line.clear();
                if ledger.is_all_over() {
                    return;
                }
            }
        }
    }
}

/// Lets who plays the database see that all is over.
pub(super) fn wake(address: SocketAddr) {
    // Where nobody listens nobody waits.
    _ = TcpStream::connect(address);
}

/// A listener for the database, in the network of this thread.
pub(super) fn listen() -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0");
    let both = listener.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    both.map_err(|error| Failure::io("listen", Path::new("on 127.0.0.1"), error))
}

fn scrape() -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", METRICS_PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let is_well = text.split(' ').nth(1).is_some_and(|status| status == "200");
    if is_well { Ok(text) } else { Err(io::Error::other(text.lines().next().unwrap_or("closed").to_owned())) }
}
