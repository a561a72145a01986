//! What this host has: the root policy.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use albatross_proto::{Int, Policy, Text};
use nix::sys::statvfs::statvfs;

use crate::files::named;

/// The cpus that are online, as ranges: `0-3,8`.
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";
const MEMORY: &str = "/proc/meminfo";
const INTERFACES: &str = "/sys/class/net";

/// Octets in a MB of memory or storage.
const MB: u64 = 1024 * 1024;

/// All that this host offers: every online cpu, all memory, the size of the file system of the block
/// devices, all bridges; unikernels without limit.
pub(crate) fn policy(dbdir: &Path) -> io::Result<Policy> {
    Ok(Policy {
        cpuids: cpus(&read(ONLINE_CPUS)?).ok_or_else(|| unreadable(ONLINE_CPUS))?,
        unikernels: Int::MAX,
        memory: memory(&read(MEMORY)?).ok_or_else(|| unreadable(MEMORY))?,
        block: Some(storage(dbdir)?),
        bridges: bridges()?,
    })
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| named(Path::new(path), &error))
}

fn unreadable(path: &str) -> io::Error {
    io::Error::other(format!("{path}: not of the form that Linux writes"))
}

fn cpus(ranges: &str) -> Option<BTreeSet<Int>> {
    let mut all = BTreeSet::new();
    for range in ranges.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        all.extend((first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?).map(Int::from));
    }
    Some(all)
}

fn memory(meminfo: &str) -> Option<Int> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Int::try_from(kib / 1024).ok()
}

fn storage(dbdir: &Path) -> io::Result<Int> {
    let block = dbdir.join("block");
    let directory = if block.is_dir() { &block } else { dbdir };
    let system = statvfs(directory).map_err(|error| named(directory, &error.into()))?;
    let octets = system.blocks().saturating_mul(system.fragment_size());
    Int::try_from(octets / MB).map_err(|error| io::Error::other(error.to_string()))
}

fn bridges() -> io::Result<BTreeSet<Text>> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(INTERFACES).map_err(|error| named(Path::new(INTERFACES), &error))? {
        let entry = entry?;
        if entry.path().join("bridge").is_dir()
            && let Some(name) = entry.file_name().to_str()
        {
            all.insert(Text::from(name));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let ids = |text| cpus(text).map(|all| all.into_iter().map(Int::get).collect::<Vec<_>>());
        assert_eq!(ids("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(ids("x"), None);
        assert_eq!(memory("MemFree: 1 kB\nMemTotal:       2097152 kB\n"), Some(Int::from(2048)));
        assert_eq!(memory(""), None);
    }

    #[test]
    fn this_host_has_something_to_offer() {
        let policy = policy(Path::new("/")).unwrap();
        assert!(!policy.cpuids.is_empty() && policy.memory > Int::ZERO && policy.block > Some(Int::ZERO));
    }
}
