//! The newest lines of one unikernel.

use std::collections::VecDeque;

use albatross_proto::Time;
use albatross_proto::command::History;

/// Lines kept of each unikernel.
pub const RING_LINES: usize = 1024;

/// The newest [`RING_LINES`] lines, each with the time it was read at.
///
/// The octets of all lines stand in one buffer, so that a line costs its octets and 16 more: 1024 lines
/// of 30 octets take about 48 KiB, of the longest 540 KiB (and at most an eighth more, as it grows by that).
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Oldest first. Invariant: at most [`RING_LINES`].
    lines: VecDeque<Line>,
    /// Invariant: the lines' octets one after the other.
    octets: VecDeque<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    /// Milliseconds since 1970, as precise as it travels.
    millis: i64,
    length: u16,
}

impl Ring {
    /// Adds a line, in place of the oldest where the ring is full. `line` has at most 65535 octets (those
    /// of the console have [`LINE_LENGTH`](super::LINE_LENGTH) and a mark).
    pub(super) fn push(&mut self, time: Time, line: &[u8]) {
        let Ok(length) = u16::try_from(line.len()) else { return };
        if self.lines.len() >= RING_LINES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.octets.drain(..usize::from(oldest.length));
        }
        let needed = self.octets.len() + line.len();
        if needed > self.octets.capacity() {
            // Not doubled: a ring full of lines stays at about its size for ever.
            self.octets.reserve_exact(line.len() + needed / 8);
        }
        self.octets.extend(line);
        self.lines.push_back(Line { millis: time.unix_millis(), length });
    }

    /// Hands the wanted lines to `each`, oldest first.
    pub(super) fn history(&self, wanted: History, mut each: impl FnMut(Time, &[u8])) {
        let count = match wanted {
            History::Count(count) => usize::try_from(count.get()).unwrap_or(0).min(self.lines.len()),
            History::Since(since) => {
                let since = since.unix_millis();
                self.lines.iter().rev().take_while(|line| line.millis >= since).count()
            }
        };
        let skipped = self.lines.len() - count;
        let mut start: usize = self.lines.iter().take(skipped).map(|line| usize::from(line.length)).sum();
        let mut octets = Vec::new();
        for line in self.lines.iter().skip(skipped) {
            let end = start + usize::from(line.length);
            octets.clear();
            octets.extend(self.octets.range(start..end));
            each(Time::from_unix_millis(line.millis).unwrap_or_default(), &octets);
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_proto::Int;

    fn at(second: i64) -> Time {
        Time::from_unix(second, 0).unwrap()
    }

    fn texts(ring: &Ring, wanted: History) -> Vec<String> {
        let mut seen = Vec::new();
        ring.history(wanted, |time, line| {
            seen.push(format!("{}:{}", time.unix_seconds(), String::from_utf8_lossy(line)));
        });
        seen
    }

    #[test]
    fn history_by_count_and_by_time() {
        let mut ring = Ring::default();
        for (second, text) in [(1, "a"), (2, "bb"), (2, "c"), (1, "late"), (5, "e")] {
            ring.push(at(second), text.as_bytes());
        }
        let count = |n: i64| History::Count(Int::new(n).unwrap());
        assert_eq!(texts(&ring, count(2)), ["1:late", "5:e"]);
        assert_eq!(texts(&ring, count(99)).len(), 5);
        assert!(texts(&ring, count(0)).is_empty() && texts(&ring, count(-1)).is_empty());
        // Back from the newest to the first older one.
        assert_eq!(texts(&ring, History::Since(at(2))), ["5:e"]);
        assert_eq!(texts(&ring, History::Since(at(1))).len(), 5);
        assert!(texts(&ring, History::Since(at(6))).is_empty());
    }

    #[test]
    fn the_newest_lines_are_kept_in_bounded_memory() {
        let mut ring = Ring::default();
        for number in 0..5000 {
            ring.push(
                at(number),
                format!("line {number}").repeat(1 + usize::try_from(number % 40).unwrap()).as_bytes(),
            );
        }
        let all = texts(&ring, History::Count(Int::MAX));
        assert_eq!(all.len(), RING_LINES);
        assert!(all[0].starts_with("3976:line 3976line 3976") && all[1023].starts_with("4999:"));
        for _ in 0..5000 {
            ring.push(at(0), &[b'x'; 524]);
        }
        assert_eq!(ring.octets.len(), RING_LINES * 524);
        assert!(ring.octets.capacity() < RING_LINES * 524 * 9 / 8 + 1024);
        assert_eq!(size_of::<Line>(), 16);
    }

    #[test]
    fn a_ring_grows_a_few_times_and_not_with_each_line() {
        let (mut ring, mut capacities) = (Ring::default(), std::collections::BTreeSet::new());
        for _ in 0..RING_LINES {
            ring.push(at(0), &[b'x'; 524]);
            capacities.insert(ring.octets.capacity());
        }
        assert!((20..80).contains(&capacities.len()), "{}", capacities.len());
        assert!(ring.octets.capacity() <= RING_LINES * 524 * 9 / 8 + 524);
    }
}
