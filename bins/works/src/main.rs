//! Fixed pieces of work of the libraries: `albatross-works NAME TIMES` does one so many times, and prints how often it
//! allocated meanwhile and how many octets. Without arguments it prints the names.
//!
//! `cargo xtask regress` runs it under callgrind with two numbers of times: what the second takes more is the work alone,
//! without what was made ready for it. Each work is the same whenever it is run: recorded messages and chains, times
//! that are arguments, machines without a clock.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixed work stops at the first surprise"
)]

mod counting;
mod library;
mod machines;
mod vmmd;

use std::process::ExitCode;

/// Something to be done any number of times.
type Work = Box<dyn FnMut()>;

/// Makes one ready.
type Prepare = fn() -> Work;

/// Every work, by its name, with what makes it ready.
const ALL: [(&str, Prepare); 11] = [
    ("decode-messages", library::decode),
    ("encode-messages", library::encode),
    ("chain-ed25519", || library::chain("cli-ed25519-info")),
    ("chain-p256", || library::chain("cli-p256-info")),
    ("deflate", library::deflate),
    ("inflate", library::inflate),
    ("vmmd-info", vmmd::info),
    ("vmmd-create-destroy", vmmd::create_destroy),
    ("console-line", machines::console_line),
    ("stats-tick", machines::stats_tick),
    ("log-event", machines::log_event),
];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that is run by another")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = &words[..] else {
        ALL.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let (Some((_, prepare)), Ok(times)) = (ALL.iter().find(|(it, _)| it == name), times.parse::<u32>())
    else {
        eprintln!("usage: albatross-works [NAME TIMES]");
        return ExitCode::FAILURE;
    };
    let mut work = prepare();
    // What grows once and is kept is not the work's.
    work();
    let before = counting::counts();
    (0..times).for_each(|_| work());
    let after = counting::counts();
    println!("allocations {} octets {}", after.0 - before.0, after.1 - before.1);
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one test here: what others allocate at the same time would be counted, too.
    #[test]
    fn every_work_can_be_done_and_allocates_the_same_each_time() {
        for (name, prepare) in ALL {
            let mut work = prepare();
            work();
            let allocations = |work: &mut Work| {
                let before = counting::counts().0;
                work();
                counting::counts().0 - before
            };
            let (first, second) = (allocations(&mut work), allocations(&mut work));
            assert!(first > 0 && first.abs_diff(second) <= first / 50 + 1, "{name}: {first}, then {second}");
        }
    }
}
