//! What came of it, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use super::house::Which;
use super::ledger::Times;
use crate::measure::table::milliseconds;

/// What a daemon may hold more in the last third of the time than in the second: pages that the C library's allocator
/// keeps for what came at once, and buffers of connections that happened to be sampled.
const SLACK: u64 = 1024;

/// Memory that was sampled, in KiB, for each daemon.
pub(super) type Memory = BTreeMap<Which, Vec<u64>>;

/// The most of the first, second and last third.
pub(super) fn thirds(samples: &[u64]) -> [u64; 3] {
    let third = samples.len().div_ceil(3).max(1);
    let mut most = samples.chunks(third).map(|part| part.iter().copied().max().unwrap_or(0));
    [0; 3].map(|_: u64| most.next().unwrap_or(0))
}

/// Whether memory does not grow.
pub(super) const fn is_flat([_, second, last]: [u64; 3]) -> bool {
    last <= second + SLACK
}

/// The smallest duration that so many of a hundred are not above; they are sorted.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Prints what the columns of [`line`] are.
pub(super) fn head() {
    say(&format!(
        "\n  {:<36} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "milliseconds", "count", "p50", "p90", "p99", "max"
    ));
}

/// Prints how long commands took.
pub(super) fn latencies(times: &Times) {
    head();
    for (kind, times) in times {
        line(kind.name(), times);
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

/// Prints what daemons held; returns those that grow.
pub(super) fn memory(memory: &Memory) -> Vec<String> {
    say(&format!(
        "\n  {:<36} {:>8} {:>8} {:>8}",
        "resident KiB, the most of each third", "first", "second", "last"
    ));
    let mut grown = Vec::new();
    for (which, samples) in memory {
        let most = thirds(samples);
        let [first, second, last] = most;
        let verdict = if is_flat(most) { "flat" } else { "GROWS" };
        say(&format!("  {:<36} {first:>8} {second:>8} {last:>8} {verdict}", which.program()));
        if !is_flat(most) {
            grown.push(format!("{} grows: {second} KiB, then {last} KiB", which.program()));
        }
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
        assert_eq!(thirds(&[1, 9, 2, 3, 5, 4]), [9, 3, 5]);
        assert_eq!(thirds(&[1, 2, 3, 4]), [2, 4, 0]);
        assert!(is_flat([9, 3, 3 + SLACK]) && !is_flat([9, 3, 4 + SLACK]));
    }
}
