//! What one more policy costs as there are more of them.

use std::time::Instant;

use albatross_e2e::Failure;
use albatross_e2e::raw::Raw;
use albatross_proto::{Command, Int, Policy, PolicyCommand};

use super::super::record::Side;
use super::super::stack::{Stack, VMMD};
use super::{Context, once, success};
use crate::measure::table::{median, milliseconds, number};

/// Policies at the top, below each of them, and below each of these.
const BELOW: usize = 9;
const BELOW_THAT: usize = 10;
/// Of which the time is taken beside the others.
const TIMED: usize = 9;

pub(super) fn run(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let socket = stack.socket(VMMD);
    let failed = |error| Failure::io("ask", &socket, error);
    let mut raw = Raw::unix(&socket)?;
    let mut add = |path: &str, memory: u32| {
        let begin = Instant::now();
        raw.command(path, Command::Policy(PolicyCommand::Add(policy(memory)))).map_err(failed)?;
        success(&raw.frame().map_err(failed)?.unwrap_or_default())?;
        Ok(milliseconds(begin.elapsed()))
    };
    let mut hundreds = 0;
    for count in [context.pick(200, 100), context.pick(2_000, 200)] {
        let mut times = Vec::new();
        while hundreds * 100 < count {
            for (path, memory) in hundred(hundreds) {
                times.push(add(&path, memory)?);
            }
            hundreds += 1;
        }
        let mean = times.iter().sum::<f64>() / number(times.len().max(1) as u64);
        side.add("policies", &format!("add, until there are {count}: mean"), "ms", mean);
        let (mut listed, mut more) = (Vec::new(), Vec::new());
        for number in 0..TIMED {
            let begin = Instant::now();
            once(&socket, ":", Command::Policy(PolicyCommand::Info))?;
            listed.push(milliseconds(begin.elapsed()));
            more.push(add(&format!("more{count}n{number}:"), 100)?);
        }
        side.add("policies", &format!("list of {count}"), "ms", median(listed));
        side.add("policies", &format!("one more beside {count}"), "ms", median(more));
    }
    Ok(())
}

/// A hundred policies on three levels.
fn hundred(top: usize) -> Vec<(String, u32)> {
    let mut all = vec![(format!("t{top}:"), 100)];
    for middle in 0..BELOW {
        all.push((format!("t{top}:m{middle}:"), 64));
        all.extend((0..BELOW_THAT).map(|low| (format!("t{top}:m{middle}:b{low}:"), 32)));
    }
    all
}

fn policy(memory: u32) -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(10),
        memory: Int::from(memory),
        block: Some(Int::from(10)),
        bridges: [].into(),
    }
}
