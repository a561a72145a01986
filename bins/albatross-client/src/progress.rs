//! How far a long transfer has come: on a terminal, and only there.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use albatross_driver::logging::Level;

/// A transfer that takes less is not spoken of.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two lines.
const INTERVAL: Duration = Duration::from_millis(200);
/// To the beginning of the line, and clear it.
const CLEAR: &str = "\r\x1b[K";

/// What is shown of a transfer. It is one line of standard error, which goes when the transfer is over.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    begin: Instant,
    next: Instant,
    doing: Option<&'static str>,
    counts: Direction,
    done: u64,
    total: Option<u64>,
    /// The total is that of one frame.
    is_frame: bool,
    has_line: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Sent,
    Received,
}

impl Progress {
    /// Nothing is transferred yet. At level quiet, and where standard error is no terminal, nothing is shown.
    pub(crate) fn new(level: Level) -> Self {
        let now = Instant::now();
        Self {
            is_shown: level > Level::Quiet && io::stderr().is_terminal(),
            begin: now,
            next: now,
            doing: None,
            counts: Direction::Sent,
            done: 0,
            total: None,
            is_frame: false,
            has_line: false,
        }
    }

    /// From now on so many octets are sent.
    pub(crate) fn send(&mut self, total: Option<u64>) {
        self.start("sent", Direction::Sent, total);
    }

    /// From now on so many octets come.
    pub(crate) fn expect(&mut self, total: Option<u64>) {
        self.start("received", Direction::Received, total);
    }

    /// From now on one frame comes, of as many octets as are announced.
    pub(crate) fn expect_frame(&mut self) {
        self.expect(None);
        self.is_frame = true;
    }

    /// So many octets are announced for the frame that comes.
    pub(crate) fn announced(&mut self, octets: Option<usize>) {
        if self.is_frame && self.total.is_none() {
            self.total = octets.and_then(|octets| u64::try_from(octets).ok());
        }
    }

    fn start(&mut self, doing: &'static str, counts: Direction, total: Option<u64>) {
        self.finish();
        let begin = Instant::now();
        let (is_shown, next) = (self.is_shown, begin + PATIENCE);
        let (is_frame, has_line) = (false, false);
        *self =
            Self { is_shown, begin, next, doing: Some(doing), counts, done: 0, total, is_frame, has_line };
    }

    /// So many more octets were sent.
    pub(crate) fn advance(&mut self, octets: usize) {
        self.count(Direction::Sent, octets);
    }

    /// So many more octets came.
    pub(crate) fn receive(&mut self, octets: usize) {
        self.count(Direction::Received, octets);
    }

    fn count(&mut self, direction: Direction, octets: usize) {
        if self.counts != direction || !self.is_shown {
            return;
        }
        let Some(doing) = self.doing else { return };
        self.done = self.done.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        self.has_line = true;
        let line = line(doing, self.done, self.total, now.duration_since(self.begin));
        write(&format!("{CLEAR}{line}"));
    }

    /// The transfer is over.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.has_line) {
            write(CLEAR);
        }
        self.doing = None;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What cannot be shown is not worth an error.
fn write(text: &str) {
    let mut out = io::stderr().lock();
    _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// `sent 12.3 of 40.0 MB, 3.1 MB/s, 9 s left`
fn line(doing: &str, done: u64, total: Option<u64>, passed: Duration) -> String {
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1000) / millis;
    let so_far = tenths(done);
    match total.filter(|total| *total >= done) {
        None => format!("{doing} {so_far} MB, {} MB/s", tenths(rate)),
        Some(total) => {
            let left = (total - done) / rate.max(1);
            let left = if left < 120 { format!("{left} s") } else { format!("{} min", left / 60) };
            format!("{doing} {so_far} of {} MB, {} MB/s, {left} left", tenths(total), tenths(rate))
        }
    }
}

/// Octets as MB with one digit after the point.
fn tenths(octets: u64) -> String {
    let tenths = octets / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("sent", 2_500_000, Some(10_000_000), second),
            "sent 2.5 of 10.0 MB, 2.5 MB/s, 3 s left"
        );
        assert_eq!(line("received", 2_500_000, None, second * 2), "received 2.5 MB, 1.2 MB/s");
        assert_eq!(
            line("sent", 1_000_000, Some(1_000_000_000), second),
            "sent 1.0 of 1000.0 MB, 1.0 MB/s, 16 min left"
        );
        // More than was announced, and no time at all.
        assert_eq!(line("sent", 5, Some(1), Duration::ZERO), "sent 0.0 MB, 0.0 MB/s");
    }
}
