//! A whole host under one seed: the machines of albatrossd and of the console, log and statistics daemons, wired
//! together, on a modelled disk, with modelled processes, taps, fifos and clients.
//!
//! A seed makes a script ([`script`]), a list of steps. [`host::Host`] takes one after the other and looks after
//! each at what must always be so ([`checks`]). What was promised to whom is kept beside the machine
//! ([`ledger`], [`devices`]), from nothing but commands and replies. What the machine wants done waits until the
//! script says, in any order that the driver could have ([`work`]); the effects are those of the driver
//! ([`effects`], [`blocks`], [`streams`]), down to what of a file survives a power cut ([`disk`]). A crash may come
//! between any two effects ([`lives`]), the disk may be full for a time, descriptors may run out, peers may be
//! silent. Where all is done ([`script::Step::Settle`], [`settled`]) nothing may be left over: no tap, no fifo, no
//! image, no command without a reply; and what is on record is what runs.
//!
//! A seed that fails is printed with the shortest script that was found to fail in the same way: steps are left
//! out one by one. `ALBATROSS_SIM_SEED` runs one seed, `ALBATROSS_SIM_SEEDS` so many, from 0 or from that one; a
//! night's run is
//! `ALBATROSS_SIM_SEEDS=1000000 cargo test --release -p albatross-core --test simulator -- --nocapture`.
//!
//! A new `Output` gets its effect in `Host::carry_out`, a new `Task` in `Host::effect` and a [`script::Kind`], so
//! that it fails now and then; a new command is a [`script::Ask`], a new input a [`script::Step`]. An output that
//! is not modelled fails the run, a task that is not modelled fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and is told by its environment what to run"
)]

mod blocks;
mod checks;
mod clients;
mod console;
mod counts;
mod devices;
mod disk;
mod draw;
mod effects;
mod events;
mod filling;
mod gathering;
mod host;
mod images;
mod ledger;
mod lives;
mod random;
mod script;
mod settled;
mod statistics;
mod streams;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};

use counts::Counts;
use draw::script;
use host::Host;
use random::Random;
use script::Step;

/// Seeds of a run where the environment says nothing else: some 20 s where nothing is optimised.
const SEEDS: u64 = 3000;
/// Within so many seeds a broken promise is noticed.
const NOTICED: u64 = 2000;

/// A promise that the host around the machine breaks, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// What is written is answered before it is durable.
    SkipSync,
    /// A unikernel that is taken off the record stays on it.
    Resurrect,
    /// A tap is not removed.
    ForgetTap,
    /// A control group is not removed.
    ForgetGroup,
    /// An image that nobody needs stays.
    LeaveImage,
    /// An image on its way in is not dropped.
    KeepSpool,
    /// A command is answered twice.
    AnswerTwice,
    /// The limits of the host are not looked at.
    ForgetLimits,
    /// A line does not reach the console.
    LoseLine,
    /// A block device is answered before it is durable.
    SkipBlockSync,
    /// New content is written over the old.
    OverwriteInPlace,
    /// What was never finished of a block device stays at the start.
    KeepUnfinished,
    /// A block device stays that of the user of a tender that has ended.
    KeepLent,
    /// A unikernel is given the block device of another.
    ShareBlock,
    /// A command is carried out on a block device in use.
    TouchUsed,
    /// The block storage of the host is not looked at.
    ForgetBlockLimit,
    /// A chunk of a dump does not come.
    LoseChunk,
    /// The end of the daemon does not end streams.
    IgnoreEnd,
    /// The statistics daemon is not told something.
    LoseStatistics,
    /// The statistics daemon forgets to close the files of a process.
    KeepWatch,
    /// A process that has the id of another is taken for it.
    HideReuse,
    /// An image on its way in takes more room than was announced.
    FillTooMuch,
    /// A task is never answered.
    ForgetTask,
    /// An event is acknowledged and not written.
    LoseEvent,
    /// A command is answered without the log daemon.
    SkipLog,
}

/// The script of a seed: some dozens of steps.
fn script_of(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let length = 20 + random.below(80);
    script(&mut random, length)
}

/// Runs a script: what it reached, and what was wrong.
fn run(steps: &[Step], sabotage: Option<Sabotage>) -> (Counts, Option<String>) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut host = Host::new(sabotage);
        for step in steps {
            if host.broken.is_some() {
                break;
            }
            host.take(*step);
        }
        (host.counts, host.broken)
    }));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        (Counts::default(), Some(format!("a panic: {}", text.unwrap_or_default())))
    })
}

/// What kind of failure it is: its words without what they are about.
fn kind(wrong: &str) -> &str {
    let end = wrong.find(|c: char| c.is_ascii_digit() || "{[(:".contains(c)).unwrap_or(wrong.len());
    &wrong[..end]
}

/// The shortest script that fails in the same way, found by leaving out steps.
fn shrink(steps: Vec<Step>, sabotage: Option<Sabotage>, wrong: &str) -> Vec<Step> {
    let mut shortest = steps;
    let mut part = shortest.len() / 2;
    while part > 0 {
        let mut begin = 0;
        let before = shortest.len();
        while begin < shortest.len() {
            let mut fewer = shortest.clone();
            fewer.drain(begin..(begin + part).min(shortest.len()));
            if run(&fewer, sabotage).1.is_some_and(|other| kind(&other) == kind(wrong)) {
                shortest = fewer;
            } else {
                begin += part;
            }
        }
        part = if part == 1 && shortest.len() < before { 1 } else { part / 2 };
    }
    shortest
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn hosts_keep_what_they_promise() {
    let (first, count) = match (number("ALBATROSS_SIM_SEED"), number("ALBATROSS_SIM_SEEDS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, count) => (0, count.unwrap_or(SEEDS)),
    };
    let mut counts = Counts::default();
    for seed in first..first + count {
        let steps = script_of(seed);
        let (reached, wrong) = run(&steps, None);
        counts.add(&reached);
        if let Some(wrong) = wrong {
            let shortest = shrink(steps, None, &wrong);
            let again = run(&shortest, None).1;
            println!("ALBATROSS_SIM_SEED={seed}: {wrong}\nthe shortest script that fails:");
            shortest.iter().for_each(|step| println!("    {step:?}"));
            panic!("seed {seed}: {}", again.unwrap_or(wrong));
        }
    }
    println!("seeds {first} to {}: {counts}", first + count - 1);
}

/// The steps of the shortest script that shows the broken promise.
fn caught(sabotage: Sabotage) -> (String, Vec<Step>) {
    for seed in 0..NOTICED {
        let steps = script_of(seed);
        if let Some(wrong) = run(&steps, Some(sabotage)).1 {
            let shortest = shrink(steps, Some(sabotage), &wrong);
            println!("{sabotage:?} is noticed with seed {seed}: {wrong}; {shortest:?}");
            return (run(&shortest, Some(sabotage)).1.unwrap_or(wrong), shortest);
        }
    }
    panic!("{sabotage:?} is not noticed within {NOTICED} seeds");
}

fn assert_caught(sabotage: Sabotage, by: &[&str]) {
    let (wrong, shortest) = caught(sabotage);
    assert!(by.iter().any(|part| wrong.contains(part)), "{wrong}");
    assert!(run(&shortest, None).1.is_none(), "it fails without {sabotage:?} too");
}

#[test]
fn the_simulator_catches_what_is_acknowledged_before_it_is_durable() {
    assert_caught(Sabotage::SkipSync, &["durably", "may be"]);
}

#[test]
fn the_simulator_catches_what_comes_back() {
    assert_caught(Sabotage::Resurrect, &["on record", "can only be"]);
}

#[test]
fn the_simulator_catches_a_tap_that_is_left() {
    assert_caught(Sabotage::ForgetTap, &["taps", "the end left"]);
}

#[test]
fn the_simulator_catches_a_control_group_that_is_left() {
    assert_caught(Sabotage::ForgetGroup, &["groups", "the end left"]);
}

#[test]
fn the_simulator_catches_an_image_that_is_left() {
    assert_caught(Sabotage::LeaveImage, &["are kept"]);
}

#[test]
fn the_simulator_catches_a_spool_that_is_left() {
    assert_caught(Sabotage::KeepSpool, &["spools"]);
}

#[test]
fn the_simulator_catches_a_second_answer() {
    assert_caught(Sabotage::AnswerTwice, &["twice", "is answered"]);
}

#[test]
fn the_simulator_catches_a_limit_that_is_exceeded() {
    assert_caught(Sabotage::ForgetLimits, &["against its policy"]);
}

#[test]
fn the_simulator_catches_a_line_that_is_lost() {
    assert_caught(Sabotage::LoseLine, &["other lines", "all lines"]);
}

#[test]
fn the_simulator_catches_a_block_device_that_is_acknowledged_before_it_is_durable() {
    assert_caught(Sabotage::SkipBlockSync, &["something else was acknowledged"]);
}

#[test]
fn the_simulator_catches_a_failed_set_that_leaves_less_than_the_old_content() {
    assert_caught(Sabotage::OverwriteInPlace, &["which nobody put there", "and may have"]);
}

#[test]
fn the_simulator_catches_a_block_device_that_is_half_there() {
    assert_caught(Sabotage::KeepUnfinished, &["never finished are left"]);
}

#[test]
fn the_simulator_catches_a_block_device_that_stays_lent() {
    assert_caught(Sabotage::KeepLent, &["are lent"]);
}

#[test]
fn the_simulator_catches_a_block_device_with_two_users() {
    assert_caught(Sabotage::ShareBlock, &["block device of another", "used twice"]);
}

#[test]
fn the_simulator_catches_a_block_device_that_is_changed_in_use() {
    assert_caught(Sabotage::TouchUsed, &["uses it"]);
}

#[test]
fn the_simulator_catches_more_block_storage_than_there_is() {
    assert_caught(Sabotage::ForgetBlockLimit, &["of block storage, against its policy"]);
}

#[test]
fn the_simulator_catches_a_dump_with_a_hole() {
    assert_caught(Sabotage::LoseChunk, &["which is not on it"]);
}

#[test]
fn the_simulator_catches_an_end_that_waits_for_clients() {
    assert_caught(Sabotage::IgnoreEnd, &["and does not"]);
}

#[test]
fn the_simulator_catches_a_statistics_daemon_that_is_not_told() {
    assert_caught(Sabotage::LoseStatistics, &["the statistics daemon"]);
}

#[test]
fn the_simulator_catches_files_of_processes_that_stay_open() {
    assert_caught(Sabotage::KeepWatch, &["and knows"]);
}

#[test]
fn the_simulator_catches_figures_of_another_process() {
    assert_caught(Sabotage::HideReuse, &["other figures"]);
}

#[test]
fn the_simulator_catches_a_spool_that_grows_beyond_what_was_announced() {
    assert_caught(Sabotage::FillTooMuch, &["more than any client announced"]);
}

#[test]
fn the_simulator_catches_a_task_that_is_never_answered() {
    assert_caught(Sabotage::ForgetTask, &["waits for", "is answered", "Starting", "and does not"]);
}

#[test]
fn the_simulator_catches_an_event_that_is_lost() {
    assert_caught(Sabotage::LoseEvent, &["not in the log"]);
}

#[test]
fn the_simulator_catches_a_command_that_is_answered_before_it_is_logged() {
    assert_caught(Sabotage::SkipLog, &["not in the log"]);
}
