//! What Linux tells of a process: the text of `/proc/PID/stat` and `/proc/PID/status`, see proc(5).
//!
//! Both may be read by anybody; `/proc/PID/io`, which would tell of blocks, may not. What a field of
//! [`Rusage`] needs that Linux does not tell is 0.

use std::fmt;
use std::str;
use std::time::Duration;

use albatross_proto::stats::{KinfoMem, Rusage, TimeVal};
use albatross_proto::{Int, Time};

/// Microseconds of a second.
const MICROS: i64 = 1_000_000;

/// In which units the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Clock ticks of a second, `sysconf(_SC_CLK_TCK)`. At least 1.
    pub ticks: i64,
    /// Octets of a page, `sysconf(_SC_PAGESIZE)`. At least 1.
    pub page: i64,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// `maxrss` in KiB; switches are those of its first thread.
    pub rusage: Rusage,
    /// Its memory. `start` is not told.
    pub memory: KinfoMem,
    /// When it was started, in ticks since the machine was.
    pub start: u64,
}

/// Why a text tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// The process has ended, and its parent has not asked for it yet.
    Ended,
    /// This field is missing or no number.
    Missing(&'static str),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("has ended"),
            Self::Missing(field) => write!(f, "the kernel does not tell its {field}"),
        }
    }
}

impl std::error::Error for UsageError {}

impl Usage {
    /// What these two texts tell.
    ///
    /// # Errors
    /// [`UsageError`].
    pub fn parse(stat: &[u8], status: &[u8], units: Units) -> Result<Self, UsageError> {
        let mut usage = Self::default();
        usage.read_stat(stat, units)?;
        usage.read_status(status, units)?;
        Ok(usage)
    }

    /// `PID (NAME) STATE ..`: a line of numbers. The name may have any character in it, what follows may not.
    fn read_stat(&mut self, stat: &[u8], units: Units) -> Result<(), UsageError> {
        let end = stat.iter().rposition(|octet| *octet == b')').ok_or(UsageError::Missing("name"))?;
        let mut fields = stat
            .get(end + 1..)
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            .filter(|it| !it.is_empty());
        if matches!(fields.next(), Some(b"Z" | b"X" | b"x")) {
            return Err(UsageError::Ended);
        }
        // Fields as proc(5) numbers them; the state is the third.
        let mut next = 4;
        let mut field = |number: usize, name: &'static str| {
            let found = fields.nth(number - next).and_then(number_in).ok_or(UsageError::Missing(name));
            next = number + 1;
            found
        };
        self.rusage.minflt = field(10, "minflt")?;
        self.rusage.majflt = field(12, "majflt")?;
        let (utime, stime) = (field(14, "utime")?, field(15, "stime")?);
        self.start = field(22, "starttime")?.unsigned_abs();
        self.rusage.utime = time(utime, units);
        self.rusage.stime = time(stime, units);
        self.memory.runtime = micros(utime.saturating_add(stime), units);
        Ok(())
    }

    /// `KEY:\tVALUE`, one a line; sizes in KiB.
    fn read_status(&mut self, status: &[u8], units: Units) -> Result<(), UsageError> {
        let keys: [&[u8]; 6] = [b"VmHWM", b"VmSize", b"VmRSS", b"VmData", b"VmStk", b"VmExe"];
        let mut sizes = [None; 6];
        find(status.split(is_end_of_line), keys, &mut sizes);
        // They are the last ones: of some sixty lines half need not be looked at.
        let keys: [&[u8]; 2] = [b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches"];
        let mut switches = [None; 2];
        find(status.rsplit(is_end_of_line), keys, &mut switches);
        // One without memory is ending.
        let [Some(peak), Some(size), Some(resident), Some(data), Some(stack), Some(text)] = sizes else {
            return Err(UsageError::Ended);
        };
        self.rusage.maxrss = peak;
        let [willing, unwilling] = switches;
        self.rusage.nvcsw = willing.ok_or(UsageError::Missing("voluntary_ctxt_switches"))?;
        self.rusage.nivcsw = unwilling.ok_or(UsageError::Missing("nonvoluntary_ctxt_switches"))?;
        let octets = |kib: i64| kib.saturating_mul(1024);
        let pages = |kib: i64| octets(kib) / units.page.max(1);
        self.memory.vsize = octets(size);
        self.memory.rss = octets(resident);
        self.memory.tsize = pages(text);
        self.memory.dsize = pages(data);
        self.memory.ssize = pages(stack);
        Ok(())
    }
}

/// Looks through lines for the values of these keys, until it has them all.
fn find<'a, const N: usize>(
    lines: impl Iterator<Item = &'a [u8]>,
    keys: [&[u8]; N],
    values: &mut [Option<i64>; N],
) {
    for line in lines {
        // Most lines begin otherwise.
        if !matches!(line.first(), Some(b'V' | b'v' | b'n')) {
            continue;
        }
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
        let (key, value) = line.split_at(colon);
        if let Some((_, found)) = keys.iter().zip(values.iter_mut()).find(|(other, _)| **other == key) {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            *found = value.split(u8::is_ascii_whitespace).next().and_then(number_in);
            if values.iter().all(Option::is_some) {
                return;
            }
        }
    }
}

fn is_end_of_line(octet: &u8) -> bool {
    *octet == b'\n'
}

/// The time of day at which a process was started, that was `start` ticks after the machine was, where it is `wall`
/// now and the machine is up since `since_boot`.
#[must_use]
pub fn started(wall: Time, since_boot: Duration, start: u64, units: Units) -> TimeVal {
    let now = wall.unix_millis().saturating_mul(1000);
    let up = i64::try_from(since_boot.as_micros()).unwrap_or(i64::MAX);
    let start = micros(i64::try_from(start).unwrap_or(i64::MAX), units);
    timeval(now.saturating_sub(up).saturating_add(start))
}

fn time(ticks: i64, units: Units) -> TimeVal {
    timeval(micros(ticks, units))
}

fn micros(ticks: i64, units: Units) -> i64 {
    let all = i128::from(ticks) * i128::from(MICROS) / i128::from(units.ticks.max(1));
    i64::try_from(all).unwrap_or(i64::MAX)
}

fn timeval(micros: i64) -> TimeVal {
    // A remainder of a million is never out of range.
    let rest = Int::new(micros.rem_euclid(MICROS)).unwrap_or_default();
    TimeVal { seconds: micros.div_euclid(MICROS), microseconds: rest }
}

/// A decimal number; one beyond what travels as the largest that does.
fn number_in(text: &[u8]) -> Option<i64> {
    let number: u64 = str::from_utf8(text).ok()?.parse().ok()?;
    Some(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units { ticks: 100, page: 4096 };

    /// As Linux 6.18 writes it of a process that calls itself `a) S (b`.
    const STAT: &str = "4711 (a) S (b) R 1 4711 4711 0 -1 4194560 1234 0 5 0 250 1075 0 0 20 0 1 0 2346510 5259264 1034 \
        18446744073709551615 94 95 140 0 0 0 65536 4 1 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    const STATUS: &str = "Name:\ta) S (b\nVmPeak:\t    5136 kB\nVmSize:\t    5136 kB\nVmHWM:\t    4140 kB\n\
        VmRSS:\t    4136 kB\nVmData:\t    1072 kB\nVmStk:\t     132 kB\nVmExe:\t     772 kB\nThreads:\t1\n\
        Cpus_allowed_list:\t0-1\nvoluntary_ctxt_switches:\t168\nnonvoluntary_ctxt_switches:\t51\n";

    fn at(seconds: i64, micros: i64) -> TimeVal {
        TimeVal { seconds, microseconds: Int::new(micros).unwrap() }
    }

    #[test]
    fn each_figure_is_in_the_unit_of_its_field() {
        let usage = Usage::parse(STAT.as_bytes(), STATUS.as_bytes(), UNITS).unwrap();
        let rusage = Rusage {
            utime: at(2, 500_000),
            stime: at(10, 750_000),
            maxrss: 4140,
            minflt: 1234,
            majflt: 5,
            nvcsw: 168,
            nivcsw: 51,
            ..Rusage::default()
        };
        let memory = KinfoMem {
            vsize: 5136 * 1024,
            rss: 4136 * 1024,
            tsize: 193,
            dsize: 268,
            ssize: 33,
            runtime: 13_250_000,
            ..KinfoMem::default()
        };
        assert_eq!(usage, Usage { rusage, memory, start: 2_346_510 });
    }

    #[test]
    fn what_has_ended_or_is_cut_tells_nothing() {
        let zombie = STAT.replace(") R ", ") Z ");
        assert_eq!(Usage::parse(zombie.as_bytes(), STATUS.as_bytes(), UNITS), Err(UsageError::Ended));
        let without = STATUS.replace("VmRSS", "VmOther");
        assert_eq!(Usage::parse(STAT.as_bytes(), without.as_bytes(), UNITS), Err(UsageError::Ended));
        // Long enough for all that is read, which ends at the start.
        let whole = STAT.find(" 5259264").unwrap();
        for length in 0..whole - "2346510".len() {
            assert!(Usage::parse(&STAT.as_bytes()[..length], STATUS.as_bytes(), UNITS).is_err(), "{length}");
        }
        let cut = STATUS.rsplit_once("nonvoluntary").unwrap().0;
        let missing = UsageError::Missing("nonvoluntary_ctxt_switches");
        assert_eq!(Usage::parse(STAT.as_bytes(), cut.as_bytes(), UNITS), Err(missing));
        assert_eq!(missing.to_string(), "the kernel does not tell its nonvoluntary_ctxt_switches");
        assert_eq!(UsageError::Ended.to_string(), "has ended");
    }

    #[test]
    fn any_octets_are_read_without_a_panic() {
        let huge = STAT.replace(" 250 ", " 18446744073709551615 ");
        let usage = Usage::parse(huge.as_bytes(), STATUS.as_bytes(), UNITS).unwrap();
        assert_eq!(usage.memory.runtime, i64::MAX);
        for seed in 0..=255_u8 {
            let octets: Vec<u8> = (0..=255_u8).map(|octet| octet.wrapping_mul(seed) ^ seed).collect();
            assert!(Usage::parse(&octets, &octets, UNITS).is_err());
        }
    }

    #[test]
    fn a_start_is_a_time_of_day() {
        let wall = Time::from_unix(1_000_000, 500_000_000).unwrap();
        let started = started(wall, Duration::from_secs(1000), 99_950, UNITS);
        assert_eq!(started, at(1_000_000, 0));
    }
}
