//! Creating and destroying, alone and beside others; coming up again with those that are on record.

use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::{Failure, PATIENCE};
use albatross_proto::{Command, Success, UnikernelCommand};

use super::super::record::Side;
use super::super::stack::{Stack, VMMD};
use super::{Context, SETTLED, once, success, unexpected};
use crate::measure::table::{median, mib, milliseconds, number};
use crate::measure::{create, padded};

/// Octets of the images of the others, of which no two are equal.
const OTHER: usize = 4 * 1024 * 1024;
/// MB of each unikernel.
const MEMORY: u32 = 16;
/// How often a create is repeated.
const TIMES: usize = 5;
/// It sleeps so long between two lines.
const FOR_EVER: &str = "--ms=100000000";
/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

fn timed(stack: &Stack, name: &str, command: Command<'_>) -> Result<f64, Failure> {
    let begin = Instant::now();
    once(&stack.socket(VMMD), name, command)?;
    Ok(milliseconds(begin.elapsed()))
}

pub(super) fn run(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let section = "create and destroy";
    let mut ending = Vec::new();
    for number in 0..TIMES {
        ending.push(timed(stack, &format!(":ends{number}"), create(&context.ending, MEMORY, &[]))?);
    }
    side.add(section, "create of one that ends at once", "ms", median(ending));
    let mut running = 0;
    for others in [0, context.pick(8, 2), context.pick(32, 4)] {
        let mut large = Vec::new();
        while running < others {
            let image = padded(&context.running, OTHER, 1000 + running as u64);
            large.push(timed(stack, &format!(":other{running}"), create(&image, MEMORY, &[FOR_EVER]))?);
            running += 1;
        }
        if others > 0 {
            let what = format!("create of 4 MiB, until there are {others}");
            side.add(section, &what, "ms", median(large));
        }
        // What the last of them does at its start is not to be in the figures.
        thread::sleep(SETTLED);
        let (mut creates, mut destroys) = (Vec::new(), Vec::new());
        let before = (stack.processor_time(VMMD), stack.written(VMMD));
        for number in 0..TIMES {
            let name = format!(":more{others}n{number}");
            creates.push(timed(stack, &name, create(&context.running, MEMORY, &[FOR_EVER]))?);
            destroys.push(timed(stack, &name, Command::Unikernel(UnikernelCommand::Destroy))?);
        }
        let times = number(TIMES as u64);
        let beside = format!("beside {others} with images of 4 MiB");
        side.add(section, &format!("create {beside}"), "ms", median(creates));
        side.add(section, &format!("destroy {beside}"), "ms", median(destroys));
        let time = (stack.processor_time(VMMD) - before.0) * 1e3 / times;
        side.add(section, &format!("processor time of albatrossd for both {beside}"), "ms", time);
        let written = mib(stack.written(VMMD).saturating_sub(before.1) / 1024) / times;
        side.add(section, &format!("written for both {beside}"), "MiB", written);
    }
    side.add(section, "albatrossd held at most", "MiB", mib(stack.memory(VMMD, "VmHWM")));
    Ok(())
}

pub(super) fn restart(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let (section, count) = ("restart", context.pick(50, 5));
    for number in 0..count {
        timed(stack, &format!(":u{number}"), create(&context.running, MEMORY, &[FOR_EVER]))?;
    }
    let begin = Instant::now();
    stack.end(VMMD)?;
    side.add(section, &format!("SIGTERM until the end, with {count}"), "ms", milliseconds(begin.elapsed()));
    stack.sweep();
    let begin = Instant::now();
    stack.start(VMMD)?;
    side.add(section, "start until it accepts", "ms", milliseconds(begin.elapsed()));
    while listed(stack)? < count {
        if begin.elapsed() > PATIENCE {
            return Err(unexpected(format!("not all {count} came back")));
        }
        thread::sleep(INTERVAL);
    }
    side.add(section, &format!("start until info lists all {count}"), "ms", milliseconds(begin.elapsed()));
    Ok(())
}

fn listed(stack: &Stack) -> Result<usize, Failure> {
    let reply = once(&stack.socket(VMMD), ":", Command::Unikernel(UnikernelCommand::Info))?;
    Ok(match success(&reply)? {
        Success::Info(list) => list.len(),
        _ => 0,
    })
}
