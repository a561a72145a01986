//! How much waits to be written to one side, and when reading from the other side stops.

use std::time::Duration;

use super::limits::{QUEUE_HIGH, QUEUE_LOW};

/// What was given out to be written to one side and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Flow {
    queued: usize,
    /// When something was taken last, or first waited.
    moved: Duration,
    /// The other side is not read.
    stopped: bool,
}

impl Flow {
    /// `count` more octets wait.
    pub(super) const fn push(&mut self, now: Duration, count: usize) {
        if self.queued == 0 {
            self.moved = now;
        }
        self.queued += count;
        self.gate();
    }

    /// `count` octets were taken.
    pub(super) const fn took(&mut self, now: Duration, count: usize) {
        self.queued = self.queued.saturating_sub(count);
        self.moved = now;
        self.gate();
    }

    /// Nothing waits any more, and nothing will.
    pub(super) const fn reset(&mut self) {
        self.queued = 0;
        self.stopped = false;
    }

    /// Whether something waits.
    pub(super) const fn is_waiting(&self) -> bool {
        self.queued > 0
    }

    /// When something was taken last, or first waited.
    pub(super) const fn moved(&self) -> Duration {
        self.moved
    }

    /// Whether the other side is not to be read.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    const fn gate(&mut self) {
        self.stopped = if self.stopped { self.queued > QUEUE_LOW } else { self.queued > QUEUE_HIGH };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_above_the_high_mark_and_goes_on_below_the_low_one() {
        let mut flow = Flow::default();
        flow.push(Duration::ZERO, QUEUE_HIGH);
        assert!(!flow.is_stopped());
        flow.push(Duration::from_secs(1), 1);
        assert!(flow.is_stopped());
        assert_eq!(flow.moved(), Duration::ZERO);
        flow.took(Duration::from_secs(2), QUEUE_HIGH - QUEUE_LOW);
        assert!(flow.is_stopped());
        flow.took(Duration::from_secs(3), 1);
        assert!(!flow.is_stopped());
        assert_eq!(flow.moved(), Duration::from_secs(3));
        assert!(flow.is_waiting());
        flow.push(Duration::from_secs(4), QUEUE_HIGH);
        flow.reset();
        assert!(!flow.is_waiting() && !flow.is_stopped());
    }
}
