//! The processes that are watched: two open files of /proc for each, so that reading all of them costs two system
//! calls each, and none of them can become another process with the same id.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use albatross_core::stats::process::{Units, Usage, UsageError};
use albatross_core::stats::{Gathered, WatchId};
use albatross_driver::logging::Logger;
use albatross_proto::stats::IfData;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::links::Links;

/// Octets that are read of a file: several times what /proc/PID/status has on a machine with thousands of processors,
/// whose sets are most of it.
const BUFFER: usize = 32 * 1024;

/// All processes that are watched.
pub(crate) struct Processes {
    all: BTreeMap<WatchId, Process>,
    links: Links,
    units: Units,
    buffers: Box<[[u8; BUFFER]; 2]>,
}

struct Process {
    stat: File,
    status: File,
    taps: Vec<String>,
}

impl Processes {
    /// None yet.
    ///
    /// # Errors
    /// Where the system does not tell in which units it counts, or lists no network interfaces.
    pub(crate) fn new() -> io::Result<Self> {
        let number = |variable| {
            let told = sysconf(variable)?.filter(|it| *it > 0);
            told.ok_or_else(|| io::Error::other("the system does not tell its clock ticks or its page size"))
        };
        let units = Units { ticks: number(SysconfVar::CLK_TCK)?, page: number(SysconfVar::PAGE_SIZE)? };
        Ok(Self { all: BTreeMap::new(), links: Links::new()?, units, buffers: Box::new([[0; BUFFER]; 2]) })
    }

    pub(crate) const fn units(&self) -> Units {
        self.units
    }

    /// Watches a process, and tells what it has used so far.
    ///
    /// # Errors
    /// Where there is none, or it has ended, or there is no descriptor left.
    pub(crate) fn watch(&mut self, watch: WatchId, pid: u32, taps: Vec<String>) -> io::Result<Usage> {
        let flags = OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let directory =
            open(&PathBuf::from(format!("/proc/{pid}")), flags | OFlag::O_DIRECTORY, Mode::empty()).map_err(
                |error| match error {
                    nix::errno::Errno::ENOENT => io::Error::new(io::ErrorKind::NotFound, "no such process"),
                    error => error.into(),
                },
            )?;
        // Both of the same process, whoever has its id meanwhile.
        let file = |name: &str| openat(&directory, name, flags, Mode::empty()).map(File::from);
        let process = Process { stat: file("stat")?, status: file("status")?, taps };
        let usage = process.read(&mut self.buffers, self.units)?;
        self.all.insert(watch, process);
        Ok(usage)
    }

    pub(crate) fn unwatch(&mut self, watch: WatchId) {
        self.all.remove(&watch);
    }

    /// Reads all of them. One that cannot be read is gone.
    pub(crate) fn gather(&mut self, log: &Logger) -> Vec<(WatchId, Gathered)> {
        let has_taps = self.all.values().any(|process| !process.taps.is_empty());
        let read = if has_taps { self.links.read() } else { Ok(()) };
        if let Err(error) = &read {
            log.error(format_args!("the counters of network interfaces cannot be read: {error}"));
        }
        let mut gathered = Vec::with_capacity(self.all.len());
        for (watch, process) in &self.all {
            let usage = match process.read(&mut self.buffers, self.units) {
                Ok(usage) => Some(usage),
                Err(error) => {
                    log.debug(format_args!("a process is not read any more: {error}"));
                    None
                }
            };
            let interfaces: Vec<Option<IfData>> =
                process.taps.iter().map(|tap| self.links.get(tap).filter(|_| read.is_ok())).collect();
            gathered.push((*watch, Gathered { usage, interfaces }));
        }
        gathered
    }
}

impl Process {
    fn read(&self, buffers: &mut [[u8; BUFFER]; 2], units: Units) -> io::Result<Usage> {
        let [stat, status] = buffers;
        let stat = read(&self.stat, stat)?;
        let status = read(&self.status, status)?;
        Usage::parse(stat, status, units).map_err(|error| match error {
            UsageError::Ended => io::Error::new(io::ErrorKind::NotFound, error),
            UsageError::Missing(_) => io::Error::other(error),
        })
    }
}

/// Reads a file of /proc from its beginning, which makes its content anew, in one piece.
fn read<'a>(file: &File, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let count = file.read_at(buffer, 0)?;
    Ok(buffer.get(..count).unwrap_or_default())
}

/// How long the machine is up, as it counts the starts of processes.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
