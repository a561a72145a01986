//! Figures of the delivered tender on this machine, in turns with the reference's where that is there.

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use albatross_e2e::{Failure, Profile, Programs};

use crate::measure::as_delivered;
use crate::measure::table::{Table, Target, median, mib, milliseconds, number};

/// Names the directory of a Solo5 that somebody has built, as for the tests of the reference tenders.
const VARIABLE: &str = "ALBATROSS_SOLO5";

/// How often `hello` is run in each round.
const RUNS: usize = 100;
/// Reads in each round, of so many octets, from a file of so many.
const READS: u64 = 200_000;
const SECTOR: usize = 4096;
const DISK: u64 = 16 * 1024 * 1024;
/// Pings in each round.
const PINGS: &str = "20000";
/// Where the memory of a guest with `--mem=2` ends.
const GUEST_END: u64 = 2 * 1024 * 1024;

/// What was measured of one tender.
#[derive(Default)]
struct Figures {
    first_octet: Vec<f64>,
    exit: Vec<f64>,
    reads: Vec<f64>,
    pings: Vec<f64>,
}

/// Measures in so many rounds, and prints.
pub(crate) fn run(rounds: usize) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        return as_delivered(&["measure-tender", "--rounds", &rounds.to_string()]);
    }
    let mut table = Table::default();
    fill(&Programs::build(Profile::Release, false)?, &mut table, rounds)?;
    table.end();
    Ok(())
}

/// Measures into this table.
pub(crate) fn fill(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    let ours = programs.path("albatross-spt");
    let reference =
        env::var_os(VARIABLE).map(|directory| PathBuf::from(directory).join("tenders/spt/solo5-spt"));
    let disk = env::temp_dir().join(format!("albatross-measure-{}", std::process::id()));
    fs::write(&disk, vec![7; usize::try_from(DISK).unwrap_or_default()])
        .map_err(|error| Failure::io("write", &disk, error))?;
    let measured = in_rounds(rounds, programs, &ours, reference.as_deref(), &disk);
    fs::remove_file(&disk).map_err(|error| Failure::io("remove", &disk, error))?;
    let (mine, theirs, bare) = measured?;
    print(table, &ours, programs, (mine, reference.is_some().then_some(theirs)), bare)
}

fn in_rounds(
    rounds: usize,
    programs: &Programs,
    ours: &Path,
    reference: Option<&Path>,
    disk: &Path,
) -> Result<(Figures, Figures, Vec<f64>), Failure> {
    let (mut mine, mut theirs, mut bare) = (Figures::default(), Figures::default(), Vec::new());
    for _ in 0..rounds {
        let both = std::iter::once((ours, &mut mine)).chain(reference.map(|it| (it, &mut theirs)));
        for (tender, figures) in both {
            for _ in 0..RUNS {
                let (first, exit) = hello(tender, programs)?;
                figures.first_octet.push(milliseconds(first));
                figures.exit.push(milliseconds(exit));
            }
            figures.reads.push(reads(tender, programs, disk)?);
            figures.pings.extend(pings(tender, programs)?);
        }
        bare.push(bare_reads(disk)?);
    }
    Ok((mine, theirs, bare))
}

fn print(
    table: &mut Table,
    ours: &Path,
    programs: &Programs,
    (mine, theirs): (Figures, Option<Figures>),
    bare: Vec<f64>,
) -> Result<(), Failure> {
    let [first, exit] = [&mine.first_octet, &mine.exit].map(|values| median(values.clone()));
    let (read, bare) = (median(mine.reads), median(bare));
    let ping = median(mine.pings.clone());
    table.section("from the start of hello");
    table.figure("to the first octet on its console", first, "ms", Target::None);
    table.figure("to its end", exit, "ms", Target::None);
    let theirs =
        theirs.map(|it| [median(it.first_octet), median(it.exit), median(it.reads), median(it.pings)]);
    if let Some([their_first, their_exit, ..]) = theirs {
        table.figure("of the reference, to the first octet", first / their_first, "", Target::Most(1.0));
        table.figure("of the reference, to its end", exit / their_exit, "", Target::Most(1.0));
    }
    table.section("a read of 4 KiB by a guest");
    table.figure("time", read, "ns", Target::None);
    table.figure("pread in a loop", bare, "ns", Target::None);
    table.figure("pread's time, of it", bare / read, "", Target::Least(0.9));
    if let Some([_, _, their_read, _]) = theirs {
        table.figure("the reference's time", their_read, "ns", Target::None);
    }
    table.section("a flood of pings from the host");
    if mine.pings.is_empty() {
        table.section("  not measured: it needs root, /dev/net/tun, ip and ping");
    } else {
        table.figure("pings", ping, "1/s", Target::None);
        if let Some([.., their_ping]) = theirs {
            table.figure("of the reference", ping / their_ping, "", Target::Least(1.0));
        }
    }
    table.section("room");
    table.figure("resident besides guest memory", mib(besides(ours, programs)?), "MiB", Target::Most(1.0));
    let size = fs::metadata(ours).map_err(|error| Failure::io("look at", ours, error))?.len();
    table.figure("the program, with its symbols", mib(size / 1024), "MiB", Target::Most(1.0));
    Ok(())
}

fn start(tender: &Path, options: &[&str], guest: &Path, arguments: &[&str]) -> Result<Child, Failure> {
    let mut command = Command::new(tender);
    command.arg("--mem=2").args(options).arg(guest).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map_err(|error| Failure::io("run", tender, error))
}

/// All that is printed until the end, which has to be a good one.
fn finish(tender: &Path, mut child: Child) -> Result<String, Failure> {
    let mut text = String::new();
    let read = child.stdout.take().map_or(Ok(0), |mut console| console.read_to_string(&mut text));
    let ended = read.and_then(|_| child.wait());
    match ended.map_err(|error| Failure::io("run", tender, error))? {
        status if status.success() => Ok(text),
        status => Err(Failure::io("run", tender, std::io::Error::other(format!("it ended with {status}")))),
    }
}

/// Until the first octet, and until the end.
fn hello(tender: &Path, programs: &Programs) -> Result<(Duration, Duration), Failure> {
    let begin = Instant::now();
    let mut child = start(tender, &[], &programs.guest("hello"), &[])?;
    let first = child.stdout.as_mut().map_or(Ok(()), |console| console.read_exact(&mut [0]));
    let until_first = begin.elapsed();
    first.map_err(|error| Failure::io("read from", tender, error))?;
    finish(tender, child)?;
    Ok((until_first, begin.elapsed()))
}

/// Nanoseconds for a read, as the guest sees it.
fn reads(tender: &Path, programs: &Programs, disk: &Path) -> Result<f64, Failure> {
    let block = format!("--block:disk={}", disk.display());
    let sectors = format!("--block-sector-size:disk={SECTOR}");
    let count = format!("--reads={READS}");
    let child = start(tender, &[&block, &sectors], &programs.guest("disk"), &[&count])?;
    let text = finish(tender, child)?;
    let figure = text.lines().find_map(|line| line.strip_suffix(" ns for each read")?.parse().ok());
    figure.ok_or_else(|| Failure::io("read from", tender, std::io::Error::other(text)))
}

/// The same without any tender.
fn bare_reads(disk: &Path) -> Result<f64, Failure> {
    let failed = |error| Failure::io("read", disk, error);
    let file = fs::File::open(disk).map_err(failed)?;
    let mut sector = vec![0; SECTOR];
    let octets = u64::try_from(SECTOR).unwrap_or_default();
    let begin = Instant::now();
    for count in 0..READS {
        file.read_exact_at(&mut sector, count * octets % DISK).map_err(failed)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e9 / number(READS))
}

/// Pings a second that are answered, in a network of their own; `None` where none can be made.
fn pings(tender: &Path, programs: &Programs) -> Result<Option<f64>, Failure> {
    let script = "ip link set lo up && ip tuntap add tap0 mode tap && ip addr add 10.0.0.1/24 dev tap0 && \
        ip link set tap0 up || exit 0; \
        \"$0\" --mem=2 --net:service=tap0 \"$1\" >/dev/null 2>&1 & guest=$!; \
        until ping -q -c 1 -W 1 10.0.0.2 >/dev/null; do kill -0 $guest || exit 1; done; \
        ping -q -f -c \"$2\" 10.0.0.2; kill $guest";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script]).arg(tender).arg(programs.guest("pong")).arg(PINGS);
    let output = command.output().map_err(|error| Failure::io("run", Path::new("unshare"), error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answered = text.split(", ").find_map(|part| part.strip_suffix(" received")?.parse::<f64>().ok());
    let milliseconds =
        text.split("time ").nth(1).and_then(|rest| rest.split("ms").next()?.parse::<f64>().ok());
    Ok(answered.zip(milliseconds).map(|(answered, time)| answered / time * 1e3))
}

/// KiB that are resident and not the guest's memory, while a guest runs.
fn besides(tender: &Path, programs: &Programs) -> Result<u64, Failure> {
    let mut child = start(tender, &[], &programs.guest("tick"), &[])?;
    let maps = PathBuf::from(format!("/proc/{}/smaps", child.id()));
    // It prints once the tender has left.
    let first = child.stdout.as_mut().map_or(Ok(()), |console| console.read_exact(&mut [0]));
    let found = first.and_then(|()| fs::read_to_string(&maps));
    let killed = child.kill().and_then(|()| child.wait());
    let text = found.map_err(|error| Failure::io("read", &maps, error))?;
    killed.map_err(|error| Failure::io("end", tender, error))?;
    let mut outside = false;
    let mut sum = 0;
    for line in text.lines() {
        if let Some((begin, _)) = line.split_once('-')
            && let Ok(begin) = u64::from_str_radix(begin, 16)
        {
            outside = begin >= GUEST_END;
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| outside) {
            sum += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
        }
    }
    Ok(sum)
}
