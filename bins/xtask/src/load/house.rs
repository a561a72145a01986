//! The host: its certificates, its daemons, and their ends.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use albatross_e2e::{Daemon, Failure, Host, Pki, Programs};

/// How soon a unit is started again (`RestartSec` of those in `packaging/systemd`).
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Where the endpoint listens.
pub(super) const PORT: u16 = 1025;
/// Where the metrics are.
pub(super) const METRICS_PORT: u16 = 9025;

/// A daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Console,
    Log,
    Albatrossd,
    Stats,
    Influx,
    Metrics,
    Endpoint,
}

impl Which {
    pub(super) const ALL: [Self; 7] = [
        Self::Console,
        Self::Log,
        Self::Albatrossd,
        Self::Stats,
        Self::Influx,
        Self::Metrics,
        Self::Endpoint,
    ];

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Console => "albatross-console",
            Self::Log => "albatross-log",
            Self::Albatrossd => "albatrossd",
            Self::Stats => "albatross-stats",
            Self::Influx => "albatross-influx",
            Self::Metrics => "albatross-metrics",
            Self::Endpoint => "albatross-tls-endpoint",
        }
    }

    const fn socket(self) -> Option<&'static str> {
        match self {
            Self::Console => Some("console"),
            Self::Log => Some("log"),
            Self::Albatrossd => Some("vmmd"),
            Self::Stats => Some("stat"),
            Self::Influx | Self::Metrics | Self::Endpoint => None,
        }
    }

    const fn port(self) -> Option<u16> {
        match self {
            Self::Endpoint => Some(PORT),
            Self::Metrics => Some(METRICS_PORT),
            _ => None,
        }
    }
}

/// A host with all daemons.
pub(super) struct House {
    daemons: BTreeMap<Which, Daemon>,
    database: String,
    pub(super) pki: Pki,
    pub(super) host: Host,
}

impl House {
    /// All daemons, with a database at this address.
    pub(super) fn new(programs: &Programs, database: String) -> Result<Self, Failure> {
        let host = Host::new(programs)?;
        let pki = Pki::generate(programs, &host.work())?;
        let mut house = Self { daemons: BTreeMap::new(), database, pki, host };
        for which in Which::ALL {
            house.start(which)?;
        }
        Ok(house)
    }

    fn start(&mut self, which: Which) -> Result<(), Failure> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let options = match which {
            Which::Albatrossd => vec!["--dbdir".to_owned(), text(self.host.dbdir())],
            Which::Log => vec!["--logfile".to_owned(), text(self.host.event_log())],
            Which::Stats => vec!["--interval=1".to_owned()],
            Which::Influx => vec![format!("--influx={}", self.database), "--no-drop-path".to_owned()],
            Which::Endpoint => {
                let files = self.pki.server().map(text);
                files.into_iter().chain(["--ip=127.0.0.1".to_owned(), format!("--port={PORT}")]).collect()
            }
            Which::Console | Which::Metrics => Vec::new(),
        };
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut daemon = self.host.start_beside(which.program(), which.socket(), &options)?;
        if let Some(port) = which.port() {
            daemon.ready("its port", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        }
        self.daemons.insert(which, daemon);
        Ok(())
    }

    /// Kills a daemon without warning, and starts it again as its unit would.
    pub(super) fn kill(&mut self, which: Which) -> Result<(), Failure> {
        if let Some(daemon) = self.daemons.remove(&which) {
            daemon.kill();
        }
        thread::sleep(RESTART_PAUSE);
        self.start(which)
    }

    /// Memory of each daemon that is resident, in KiB.
    pub(super) fn resident(&self) -> impl Iterator<Item = (Which, u64)> {
        self.daemons.iter().map(|(which, daemon)| (*which, daemon.resident()))
    }

    /// The time for which each daemon was on a processor.
    pub(super) fn processor(&self) -> impl Iterator<Item = (Which, Duration)> {
        self.daemons.iter().map(|(which, daemon)| (*which, processor(daemon.pid())))
    }

    /// Daemons that ended of their own, with what they logged.
    pub(super) fn ended(&mut self) -> Vec<String> {
        let ended = self.daemons.iter_mut().filter_map(|(which, daemon)| {
            (!daemon.runs()).then(|| format!("{} ended; it logged:\n{}", which.program(), daemon.log()))
        });
        ended.collect()
    }

    /// What daemons logged as errors.
    pub(super) fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        for which in Which::ALL {
            let log = self.host.log(which.program());
            let wrong = log.lines().filter(|line| line.contains("[ERROR]") || line.contains("panicked"));
            errors.extend(wrong.map(|line| format!("{}: {line}", which.program())));
        }
        errors
    }

    /// Ends all daemons by SIGTERM, those that need others first.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        while let Some((which, daemon)) = self.daemons.pop_last() {
            let log = daemon.log();
            let status = daemon.terminate()?;
            if !status.success() {
                return Err(Failure::Ended { program: which.program().to_owned(), status, log });
            }
        }
        Ok(())
    }
}

/// The time for which all threads of a process were on a processor.
fn processor(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // The kernel tells them to programs in hundredths of a second, on every machine that this runs on.
    Duration::from_millis(10 * ticks)
}
