//! Many short operations, one after the other or by several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use albatross_e2e::Failure;

use crate::measure::table::{median, milliseconds, number};

/// What came of it.
pub(super) struct Load {
    /// Operations in a second.
    pub(super) rate: f64,
    /// How long one takes, in milliseconds: in the middle, and what one in a hundred exceeds.
    pub(super) median: f64,
    pub(super) ninety_ninth: f64,
}

/// Has so many threads do `operation` so many times altogether.
pub(super) fn run(
    threads: usize,
    count: usize,
    operation: impl Fn(usize) -> Result<(), Failure> + Sync,
) -> Result<Load, Failure> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut times = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(times);
            }
            let begin = Instant::now();
            // The first that fails ends the others, too.
            operation(index).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
            times.push(milliseconds(begin.elapsed()));
        }
    };
    let begin = Instant::now();
    let results: Vec<Result<Vec<f64>, Failure>> = thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let ended = || super::unexpected("a client ended".to_owned());
        all.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(ended()))).collect()
    });
    let took = begin.elapsed().as_secs_f64();
    let mut times = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    times.sort_by(f64::total_cmp);
    let ninety_ninth = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Ok(Load { rate: number(times.len() as u64) / took, median: median(times), ninety_ninth })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_done_once_and_the_first_failure_ends_all() {
        let sum = AtomicUsize::new(0);
        run(3, 100, |index| {
            sum.fetch_add(index, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 4950);
        let done = AtomicUsize::new(0);
        let failing = run(1, 100, |index| {
            done.fetch_add(1, Ordering::Relaxed);
            if index == 3 { Err(Failure::BuildBefore) } else { Ok(()) }
        });
        assert!(failing.is_err());
        assert_eq!(done.into_inner(), 4);
    }
}
