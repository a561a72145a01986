//! What came of it, as a table.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use albatross_core::console::RING_LINES;

use super::house::Which;
use super::ledger::{Kind, Ledger, Times};
use super::watch::Watch;
use crate::measure::table::milliseconds;

/// What the middle of all samples of the last third of the time may be above that of the second, in KiB: pages that the C
/// library's allocator keeps.
const SLACK: u64 = 512;
/// What the most of the last third may be above that of the second, in KiB: the buffers of eight clients, of 256 KiB each,
/// that happened to be sampled at once.
const BURST: u64 = 2048;

/// From a kill until everybody is served again: a database is looked for every ten seconds, and machines are busy.
const RECOVERY: Duration = Duration::from_secs(20);

/// What 99 in 100 of a kind of commands may take, in milliseconds. A time depends on the machine: where it is missed, that
/// is said and no failure.
const SLOWEST: [(Kind, f64); 2] = [(Kind::Info, 50.0), (Kind::Create, 100.0)];

/// What a console holds for a short line, in octets: the line, its time, and what the allocator adds. (46 were measured.)
const LINE: u128 = 64;

/// What was seen of the daemons.
#[derive(Default)]
pub(super) struct Seen {
    /// Memory that was resident under load, in KiB.
    pub(super) memory: BTreeMap<Which, Vec<u64>>,
    /// The time for which they were on a processor under load.
    pub(super) processor: BTreeMap<Which, Duration>,
    /// How long the load was.
    pub(super) load: Duration,
    /// How long it took after each kill until everybody was served again.
    pub(super) away: BTreeMap<Which, Duration>,
    /// What consoles that were not full yet grew by from the second third of the load to the last, in KiB.
    pub(super) history: u64,
}

/// What the consoles of so many guests, each with a line every `tick`, grew by from the middle of the second third of a load
/// to that of the last, in KiB: they keep so many lines and no more.
pub(super) fn history(guests: usize, tick: Duration, load: Duration) -> u64 {
    let kept = |time: Duration| (time.as_millis() / tick.as_millis().max(1)).min(RING_LINES as u128);
    let lines = (kept(load * 5 / 6) - kept(load / 2)) * guests as u128;
    u64::try_from(lines * LINE / 1024).unwrap_or(u64::MAX)
}

/// Prints what came of it; returns what is wrong.
pub(super) fn verdict(ledger: &Ledger, watch: &Watch, seen: &Seen) -> Vec<String> {
    latencies(&ledger.times());
    let mut wrong = held(seen);
    say("\n  killed under that load, served again after s");
    for (which, took) in &seen.away {
        let verdict = if *took <= RECOVERY { "met" } else { "MISSED" };
        say(&format!(
            "  {:<36} {:>8.1} <= {} {verdict}",
            which.program(),
            took.as_secs_f64(),
            RECOVERY.as_secs()
        ));
        if *took > RECOVERY {
            wrong.push(format!("{}: served again after {took:?}", which.program()));
        }
    }
    say("");
    for (what, count) in [
        ("statistics", &watch.statistics),
        ("scrapes", &watch.scrapes),
        ("lines for the database", &watch.lines),
        ("console lines followed", &watch.followed),
        ("console lines that a kill took", &watch.taken),
    ] {
        say(&format!("  {what:<36} {:>8}", count.load(Ordering::Relaxed)));
    }
    say(&format!("  {:<36} {:>8}", "failures of the absence of a daemon", ledger.excused()));
    let (count, faults) = ledger.faults();
    say(&format!("  {:<36} {count:>8}", "faults"));
    wrong.extend(faults);
    wrong
}

/// Of the samples of a third of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Third {
    middle: u64,
    most: u64,
}

/// The first, the second and the last.
fn thirds(samples: &[u64]) -> [Third; 3] {
    let third = samples.len().div_ceil(3).max(1);
    let mut all = samples.chunks(third).map(|part| {
        let mut sorted = part.to_vec();
        sorted.sort_unstable();
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0);
        Third { middle: at(sorted.len() / 2), most: at(sorted.len() - 1) }
    });
    [(); 3].map(|()| all.next().unwrap_or_default())
}

/// Whether memory does not grow, but for so much that has its reason.
const fn is_flat([_, second, last]: [Third; 3], history: u64) -> bool {
    last.middle <= second.middle + SLACK + history && last.most <= second.most + BURST + history
}

/// The smallest duration that so many of a hundred are not above; they are sorted.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Prints what the columns of [`line()`] are.
pub(super) fn head() {
    say(&format!(
        "\n  {:<36} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "milliseconds", "count", "p50", "p90", "p99", "max"
    ));
}

/// Prints how long commands took.
fn latencies(times: &Times) {
    head();
    for (kind, times) in times {
        line(kind.name(), times);
    }
    for (kind, most) in SLOWEST {
        let mut sorted = times.get(&kind).cloned().unwrap_or_default();
        sorted.sort_unstable();
        let nearly = milliseconds(percentile(&sorted, 99));
        let verdict = if nearly <= most { "met" } else { "MISSED" };
        say(&format!("  {:<63} {nearly:>8.1} <= {most:.0} {verdict}", format!("{}: 99 in 100", kind.name())));
    }
}

/// One line of them.
pub(super) fn line(name: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let [half, most, nearly, all] =
        [50, 90, 99, 100].map(|percent| milliseconds(percentile(&sorted, percent)));
    say(&format!("  {name:<36} {:>8} {half:>8.1} {most:>8.1} {nearly:>8.1} {all:>8.1}", times.len()));
}

/// Prints what daemons used; returns those that grow.
fn held(seen: &Seen) -> Vec<String> {
    say(&format!(
        "\n  {:<36} {:>8} {:>8} {:>8} {:>8}  cpu %",
        "resident KiB, the middle of each third", "first", "second", "last", "most"
    ));
    let mut grown = Vec::new();
    for (which, samples) in &seen.memory {
        let thirds = thirds(samples);
        let [first, second, last] = thirds.map(|third| third.middle);
        let most = thirds.map(|third| third.most).into_iter().max().unwrap_or(0);
        let history = if *which == Which::Console { seen.history } else { 0 };
        let processor = seen.processor.get(which).copied().unwrap_or_default();
        let share = 100.0 * processor.as_secs_f64() / seen.load.as_secs_f64();
        let (program, is_flat) = (which.program(), is_flat(thirds, history));
        let verdict = if is_flat { "flat" } else { "GROWS" };
        say(&format!("  {program:<36} {first:>8} {second:>8} {last:>8} {most:>8} {share:>6.1} {verdict}"));
        if !is_flat {
            grown.push(format!("{program} grows: {thirds:?}"));
        }
    }
    if seen.history > 0 {
        say(&format!(
            "  consoles that were not full yet may take {} KiB from the second third to the last",
            seen.history
        ));
    }
    grown
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(super) fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_there_is() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(
            [50, 90, 99, 100].map(|percent| percentile(&times, percent).as_millis()),
            [100, 180, 198, 200]
        );
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn memory_is_flat_where_the_last_third_has_no_more_than_the_second() {
        let third = |middle, most| Third { middle, most };
        assert_eq!(thirds(&[1, 9, 2, 3, 5, 4, 7, 8, 6]), [third(2, 9), third(4, 5), third(7, 8)]);
        assert_eq!(thirds(&[1, 2]), [third(1, 1), third(2, 2), third(0, 0)]);
        let is_flat = |middle, most| is_flat([third(0, 0), third(3, 9), third(middle, most)], 1);
        assert!(is_flat(4 + SLACK, 10 + BURST));
        assert!(!is_flat(5 + SLACK, 9) && !is_flat(3, 11 + BURST));
    }

    #[test]
    fn consoles_grow_until_they_are_full() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        // 100 more lines of 64 octets each of 16 guests.
        assert_eq!(history(16, second, 5 * minute), 100);
        assert_eq!(history(16, second, 180 * minute), 0);
        // In the middle of 30 minutes they lack 124 lines.
        assert_eq!(history(200, second, 30 * minute), 1550);
    }
}
