//! A short day of a console daemon: what `cargo xtask measure --only day` does, with fewer lines.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use albatross_e2e::day::{Day, HOURS, SLEEPERS};
use albatross_e2e::{Host, Programs};

/// Lines of each guest in an hour: its console is full after one, and 24 times as many go through it.
const LINES: usize = 4000;
/// KiB that it may hold more at the end of an hour than at the end of the first.
const GROWTH: u64 = 1024;
/// KiB that it may hold at most beyond that, for each subscriber that does not read.
const FOR_SLEEPER: u64 = 4096;

#[test]
fn a_day_of_lines_and_subscribers_leaves_memory_as_it_was() {
    let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
    host.start_console(&[]).unwrap();
    let day = Day { guests: 4, lines: LINES };
    let lived = day.live(&mut host).unwrap();
    println!("{lived:?}");
    assert_eq!((lived.lines, lived.followed), (HOURS * 4 * LINES, HOURS * 2 * LINES));
    let (first, later) = lived.resident.split_first().unwrap();
    let most = later.iter().max().unwrap();
    assert!(*most <= first + GROWTH, "{lived:?}");
    assert!(lived.peak <= first + GROWTH + u64::try_from(SLEEPERS).unwrap() * FOR_SLEEPER, "{lived:?}");
}
