//! What a create costs beside others, and what albatrossd holds meanwhile.

use std::time::Instant;

use albatross_e2e::processes::written;
use albatross_e2e::{Failure, Host, Programs, processes};
use albatross_proto::{Command, UnikernelCommand};

use super::ask::{create, image, once, padded, pid};
use super::table::{Table, Target, least, median, mib, milliseconds, number};

/// Beside how many others.
const OTHERS: [u32; 3] = [0, 8, 32];
/// Octets of the images of the others, of which no two are equal, and of large ones.
const OTHER: usize = 4 * 1024 * 1024;
const LARGE: usize = 16 * 1024 * 1024;
/// What albatrossd may hold whatever runs, in MiB.
pub(super) const MEMORY: f64 = 6.0;

/// A host with some that run.
struct Beside {
    host: Host,
    others: u32,
    times: Vec<f64>,
    written: u64,
}

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section("create of a small unikernel beside others with images of 4 MiB");
    let mut all = Vec::new();
    for others in OTHERS {
        all.push(beside(programs, others)?);
    }
    for _ in 0..rounds.max(5) * 4 {
        all.iter_mut().try_for_each(create_and_destroy)?;
    }
    let first = all.first().map(|first| (median(first.times.clone()), first.written));
    let (median_of_first, written_of_first) = first.unwrap_or_default();
    for Beside { host, others, times, written } in &mut all {
        let beside = format!("beside {others}");
        let count = number(times.len() as u64);
        table.figure(&format!("{beside}: least"), least(times), "ms", Target::None);
        let middle = median(std::mem::take(times));
        table.figure(&format!("{beside}: median"), middle, "ms", Target::Most(3.0));
        table.figure(&format!("{beside}: written"), number(*written) / count / 1024.0, "KiB", Target::None);
        if *others > 0 {
            let flat = format!("{beside}: median, of that beside none");
            table.figure(&flat, middle / median_of_first, "", Target::Most(1.2));
            let same = format!("{beside}: written, of that beside none");
            table.figure(&same, number(*written) / number(written_of_first), "", Target::Most(1.05));
        }
        let pid = pid(host);
        let resident = mib(processes::status(pid, "VmRSS").unwrap_or(0));
        table.figure(&format!("{beside}: albatrossd holds"), resident, "MiB", Target::Most(MEMORY));
        let peak = mib(processes::status(pid, "VmHWM").unwrap_or(0));
        table.figure(&format!("{beside}: albatrossd held at most"), peak, "MiB", Target::Most(MEMORY));
    }
    let Some(Beside { host, .. }) = all.first_mut() else { return Ok(()) };
    let tick = image(host, "tick")?;
    for seed in 0..3 {
        once(host, &format!(":large{seed}"), create(&padded(&tick, LARGE, 1000 + seed), 32, &[]))?;
    }
    let peak = mib(processes::status(pid(host), "VmHWM").unwrap_or(0));
    table.figure("after creates with images of 16 MiB: held at most", peak, "MiB", Target::Most(MEMORY));
    Ok(())
}

fn beside(programs: &Programs, others: u32) -> Result<Beside, Failure> {
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    host.start_albatrossd(&[])?;
    let tick = image(&host, "tick")?;
    for other in 0..others {
        let other_image = padded(&tick, OTHER, u64::from(other));
        once(&host, &format!(":other{other}"), create(&other_image, 8, &["--ms=1000000"]))?;
    }
    Ok(Beside { host, others, times: Vec::new(), written: 0 })
}

fn create_and_destroy(Beside { host, times, written: all, .. }: &mut Beside) -> Result<(), Failure> {
    let tick = image(host, "tick")?;
    let command = create(&tick, 2, &["--ms=1000000"]);
    let (pid, begin) = (pid(host), Instant::now());
    let before = written(pid);
    once(host, ":small", command)?;
    times.push(milliseconds(begin.elapsed()));
    *all += written(pid) - before;
    once(host, ":small", Command::Unikernel(UnikernelCommand::Destroy)).map(drop)
}
