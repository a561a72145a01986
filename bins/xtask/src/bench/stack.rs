//! The daemons of any implementation, as processes on directories of their own: started by the options that all have,
//! and watched from outside.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::{Daemon, Failure, PATIENCE, processes};
use nix::sys::signal::Signal;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::measure::table::milliseconds;

pub(crate) const CONSOLE: &str = "albatross-console";
pub(crate) const VMMD: &str = "albatrossd";
pub(crate) const STATS: &str = "albatross-stats";
pub(crate) const ENDPOINT: &str = "albatross-tls-endpoint";
pub(crate) const LOG: &str = "albatross-log";

/// What every implementation has, in the order in which it is started.
pub(crate) const DAEMONS: [&str; 4] = [CONSOLE, VMMD, STATS, ENDPOINT];

/// The time between two looks whether a daemon accepts: a small part of what a start takes.
const LOOK: Duration = Duration::from_micros(200);

/// Daemons that run. When this is dropped they are ended, and what they left running is killed.
pub(crate) struct Stack {
    /// How long each took from its start until it accepted, in milliseconds.
    pub(crate) started: Vec<(&'static str, f64)>,
    pub(crate) port: u16,
    programs: PathBuf,
    keys: [PathBuf; 3],
    daemons: Vec<(&'static str, Daemon)>,
    directory: TempDir,
}

impl Stack {
    /// Directories, with this tender where every implementation looks for one; nothing runs yet.
    pub(crate) fn new(programs: &Path, keys: [PathBuf; 3], tender: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| Failure::io("make", &path, error)
        };
        let directory = tempfile::Builder::new().prefix("albatross-bench-").tempdir();
        let directory = directory.map_err(failed(&std::env::temp_dir()))?;
        for name in ["run/util", "run/fifo", "db/block", "log"] {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let blocks = directory.path().join("db/block");
        fs::set_permissions(&blocks, fs::Permissions::from_mode(0o700)).map_err(failed(&blocks))?;
        let placed = directory.path().join("db/solo5-spt");
        fs::copy(tender, &placed).map_err(failed(&placed))?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(failed(Path::new("127.0.0.1")))?.port();
        let programs = programs.to_owned();
        Ok(Self { started: Vec::new(), port, programs, keys, daemons: Vec::new(), directory })
    }

    /// Starts these in turn.
    pub(crate) fn start_all(mut self, daemons: &[&'static str]) -> Result<Self, Failure> {
        daemons.iter().try_for_each(|name| self.start(name))?;
        Ok(self)
    }

    /// Starts a daemon and waits until it accepts.
    pub(crate) fn start(&mut self, name: &'static str) -> Result<(), Failure> {
        let mut command = Command::new(self.programs.join(name));
        command.arg("--tmpdir").arg(self.directory.path().join("run"));
        match name {
            VMMD => _ = command.arg("--dbdir").arg(self.directory.path().join("db")),
            LOG => _ = command.arg("--logfile").arg(self.directory.path().join("log/events")),
            ENDPOINT => {
                command.args(["--ip", "127.0.0.1", "--port", &self.port.to_string()]).args(&self.keys);
            }
            _ => {}
        }
        let log = self.directory.path().join("log").join(name);
        let begin = Instant::now();
        let mut daemon = Daemon::start(name, command, &log)?;
        while !self.accepts(name) {
            if !daemon.runs() || begin.elapsed() > PATIENCE {
                let what = format!("it does not accept; it logged:\n{}", daemon.log());
                return Err(Failure::Unexpected { command: daemon.command().to_owned(), what });
            }
            thread::sleep(LOOK);
        }
        self.started.push((name, milliseconds(begin.elapsed())));
        self.daemons.push((name, daemon));
        Ok(())
    }

    fn accepts(&self, name: &str) -> bool {
        match name {
            ENDPOINT => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
            _ => UnixStream::connect(self.socket(name)).is_ok(),
        }
    }

    /// Ends a daemon by SIGTERM.
    pub(crate) fn end(&mut self, name: &str) -> Result<(), Failure> {
        let Some(at) = self.daemons.iter().position(|(it, _)| *it == name) else { return Ok(()) };
        self.daemons.remove(at).1.terminate().map(drop)
    }

    /// Kills what the daemons left running.
    pub(crate) fn sweep(&self) {
        let own: Vec<i32> = self.daemons.iter().map(|(_, daemon)| daemon.pid()).collect();
        let directory = self.directory.path().to_string_lossy();
        let left = processes::mentioning(&directory).into_iter().map(|(pid, _)| pid);
        left.filter(|pid| !own.contains(pid)).for_each(|pid| processes::signal(pid, Signal::SIGKILL));
    }

    /// The socket of a daemon.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        let socket = match name {
            VMMD => "vmmd.sock",
            CONSOLE => "console.sock",
            LOG => "log.sock",
            _ => "stat.sock",
        };
        self.directory.path().join("run/util").join(socket)
    }

    /// The fifo of a unikernel.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        self.directory.path().join("run/fifo").join(name)
    }

    /// The file of a block device.
    pub(crate) fn block(&self, name: &str) -> PathBuf {
        self.directory.path().join("db/block").join(name)
    }

    /// Processor time of all threads of a daemon so far, of those that have ended, too, in seconds; 0 where it is gone.
    pub(crate) fn processor_time(&self, name: &str) -> f64 {
        let clock = clock_getcpuclockid(Pid::from_raw(self.pid(name)));
        clock.and_then(clock_gettime).map_or(0.0, |time| Duration::from(time).as_secs_f64())
    }

    /// A number of KiB in what /proc says of a daemon's memory, such as `VmRSS`.
    pub(crate) fn memory(&self, name: &str, field: &str) -> u64 {
        processes::status(self.pid(name), field).unwrap_or(0)
    }

    /// Octets that a daemon gave to write calls.
    pub(crate) fn written(&self, name: &str) -> u64 {
        processes::written(self.pid(name))
    }

    /// The last line that each daemon logged which runs no more.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let ended = self.daemons.iter_mut().filter_map(|(name, daemon)| {
            let last = daemon.log().lines().last().unwrap_or_default().to_owned();
            (!daemon.runs()).then(|| format!("{name} ended: {last}"))
        });
        ended.collect()
    }

    fn pid(&self, name: &str) -> i32 {
        self.daemons.iter().find(|(it, _)| *it == name).map_or(0, |(_, daemon)| daemon.pid())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        while let Some((_, daemon)) = self.daemons.pop() {
            drop(daemon);
        }
        self.sweep();
    }
}
