//! A day's worth of lines through albatross-console: what it holds must not grow.

use albatross_e2e::day::{Day, HOURS, SLEEPERS};
use albatross_e2e::{Failure, Host, Programs};

use super::table::{Table, Target, mib, number};

/// Guests that write.
const GUESTS: usize = 10;
/// Lines that each writes in a second of the day.
const RATE: usize = 100;
/// MiB that it may hold more at the end of an hour than at the end of the first.
const GROWTH: f64 = 1.0;
/// MiB that it may hold at most beyond that, for each subscriber that does not read.
const FOR_SLEEPER: f64 = 4.0;

pub(super) fn run(programs: &Programs, table: &mut Table, _rounds: usize) -> Result<(), Failure> {
    table.section(&format!(
        "{HOURS} hours of {GUESTS} guests that write {RATE} lines a second each, at speed"
    ));
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    let day = Day { guests: GUESTS, lines: RATE * 3600 };
    let lived = day.live(&mut host)?;
    let count = |count: usize| number(u64::try_from(count).unwrap_or(0));
    let millions = |lines: usize| count(lines) / 1e6;
    table.figure("lines, in millions", millions(lived.lines), "", Target::None);
    table.figure(
        "of them seen by subscribers, in order and none missing",
        millions(lived.followed),
        "",
        Target::None,
    );
    table.figure("subscribers that came and went", count(lived.subscribers), "", Target::None);
    table.figure("it took", lived.took.as_secs_f64(), "s", Target::None);
    let first = mib(lived.resident.first().copied().unwrap_or(0));
    let most = mib(lived.resident.iter().copied().max().unwrap_or(0));
    table.figure("resident at the end of the first hour", first, "MiB", Target::None);
    table.figure("most at the end of another", most, "MiB", Target::Most(first + GROWTH));
    let peak = first + GROWTH + count(SLEEPERS) * FOR_SLEEPER;
    table.figure("most at any time", mib(lived.peak), "MiB", Target::Most(peak));
    host.end()
}
