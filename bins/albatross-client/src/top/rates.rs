//! From counters to what is used per second.

use std::time::{Duration, Instant};

use albatross_proto::stats::{Statistics, TimeVal};

/// Samples that come in shorter sequence were held up on their way: what they tell per second is not so.
const APART: Duration = Duration::from_millis(200);

/// What is taken from the statistics of a unikernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    at: Instant,
    /// Computed, in microseconds.
    cpu: i64,
    /// Octets that it has received, over all interfaces.
    received: i64,
    /// Octets that it has sent.
    sent: i64,
    /// Memory in use, in octets.
    pub(crate) memory: i64,
}

/// What is used per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Computed, in thousandths of one cpu.
    pub(crate) cpu: i64,
    /// Octets received.
    pub(crate) received: i64,
    /// Octets sent.
    pub(crate) sent: i64,
}

impl Sample {
    pub(crate) fn new(at: Instant, statistics: &Statistics) -> Self {
        let rusage = &statistics.rusage;
        let sum = |count: fn(&albatross_proto::stats::IfData) -> i64| {
            statistics.interfaces.iter().fold(0_i64, |sum, interface| sum.saturating_add(count(interface)))
        };
        let resident = statistics.kinfo_mem.map(|memory| memory.rss);
        Self {
            at,
            cpu: micros(rusage.utime).saturating_add(micros(rusage.stime)),
            // Input is what the guest has sent.
            received: sum(|interface| interface.output_bytes),
            sent: sum(|interface| interface.input_bytes),
            memory: resident.unwrap_or_else(|| rusage.maxrss.saturating_mul(1024)),
        }
    }

    pub(crate) fn is_too_soon_after(&self, before: &Self) -> bool {
        self.at.saturating_duration_since(before.at) < APART
    }

    /// What was used since another sample; `None` where the counters are those of another process.
    pub(crate) fn since(&self, before: &Self) -> Option<Rates> {
        let millis = i64::try_from(self.at.saturating_duration_since(before.at).as_millis()).ok()?;
        let [cpu, received, sent] =
            [(self.cpu, before.cpu), (self.received, before.received), (self.sent, before.sent)]
                .map(|(now, before)| now.checked_sub(before).filter(|used| *used >= 0));
        let per_second = |count: i64| count.saturating_mul(1000).checked_div(millis);
        // A microsecond in a millisecond is a thousandth.
        Some(Rates {
            cpu: cpu?.checked_div(millis)?,
            received: per_second(received?)?,
            sent: per_second(sent?)?,
        })
    }
}

const fn micros(time: TimeVal) -> i64 {
    time.seconds.saturating_mul(1_000_000).saturating_add(time.microseconds.get())
}
