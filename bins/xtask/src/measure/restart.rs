//! How long it takes until what is on record runs again, and whether commands are answered meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::{Failure, Host, PATIENCE, Programs, processes};
use albatross_proto::{Command, UnikernelCommand};

use super::ask::{create, image, once, pid, running};
use super::create::MEMORY;
use super::table::{Table, Target, median, mib, milliseconds};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(1);
/// The same where the answer is long.
const LONG_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn fifty(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section("50 unikernels after the end of albatrossd by SIGTERM and its start");
    let mut host = with_running(programs, 50)?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        end_albatrossd(&mut host)?;
        let start = Instant::now();
        host.start_albatrossd(&[])?;
        while running(&host)? < 50 {
            thread::sleep(INTERVAL);
        }
        times.push(milliseconds(start.elapsed()));
    }
    table.figure("start of albatrossd until info lists all", median(times), "ms", Target::Most(100.0));
    Ok(())
}

pub(super) fn thousand(programs: &Programs, table: &mut Table, _rounds: usize) -> Result<(), Failure> {
    const COUNT: usize = 1_000;
    table.section("1000 sleeping unikernels of 2 MB after a restart of albatrossd");
    let mut host = with_running(programs, COUNT)?;
    end_albatrossd(&mut host)?;
    let start = Instant::now();
    host.start_albatrossd(&[])?;
    let (mut longest, mut longest_of_one) = (Duration::ZERO, Duration::ZERO);
    loop {
        let asked = Instant::now();
        let count = running(&host)?;
        longest = longest.max(asked.elapsed());
        if count >= COUNT || start.elapsed() > 2 * PATIENCE {
            break;
        }
        let asked = Instant::now();
        once(&host, ":u1", Command::Unikernel(UnikernelCommand::Info))?;
        longest_of_one = longest_of_one.max(asked.elapsed());
        thread::sleep(LONG_INTERVAL);
    }
    let seconds = start.elapsed().as_secs_f64();
    table.figure("start of albatrossd until info lists all", seconds, "s", Target::Most(30.0));
    table.figure(
        "meanwhile, the longest info on one",
        milliseconds(longest_of_one),
        "ms",
        Target::Most(50.0),
    );
    table.figure("meanwhile, the longest info on all", milliseconds(longest), "ms", Target::Most(50.0));
    let resident = mib(processes::status(pid(&mut host), "VmRSS").unwrap_or(0));
    table.figure("albatrossd holds", resident, "MiB", Target::Most(MEMORY));
    let peak = mib(processes::status(pid(&mut host), "VmHWM").unwrap_or(0));
    table.figure("albatrossd held at most", peak, "MiB", Target::Most(MEMORY));
    end_albatrossd(&mut host)
}

fn with_running(programs: &Programs, count: usize) -> Result<Host, Failure> {
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    host.start_albatrossd(&[])?;
    let tick = image(&host, "tick")?;
    for number in 0..count {
        once(&host, &format!(":u{number}"), create(&tick, 2, &["--ms=100000000"]))?;
    }
    Ok(host)
}

fn end_albatrossd(host: &mut Host) -> Result<(), Failure> {
    let Some(daemon) = host.take_albatrossd() else { return Ok(()) };
    let (program, log) = (daemon.command().to_owned(), daemon.log());
    let status = daemon.terminate()?;
    if status.success() { Ok(()) } else { Err(Failure::Ended { program, status, log }) }
}
