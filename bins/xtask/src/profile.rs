//! Where the processor time of the delivered daemons goes, as perf samples it while `measure` loads them.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use albatross_e2e::programs::target_directory;
use albatross_e2e::{Failure, Profile, Programs};

use crate::measure;

/// A part of `measure`, and the daemon that is looked into meanwhile.
const SUBJECTS: [(&str, &str); 6] = [
    ("info", "albatrossd"),
    ("create", "albatrossd"),
    ("block", "albatrossd"),
    ("console", "albatross-console"),
    ("stats", "albatross-stats"),
    ("log", "albatross-log"),
];
/// And what is measured by a command of its own.
const DOOR: (&str, &str) = ("door", "albatross-tls-endpoint");

/// Samples in a second: not in step with anything that happens a thousand times in one.
const FREQUENCY: &str = "1999";
/// The octets of a program's name that the kernel keeps (TASK_COMM_LEN of Linux, without the last).
const COMM: usize = 15;
/// Functions that are listed, the dearest ones.
const LISTED: usize = 12;
/// Rounds of what is measured meanwhile.
const ROUNDS: &str = "3";

/// Parts of a daemon, each with what the names of its functions have in them. The first that fits counts.
const PARTS: [(&str, &[&str]); 8] = [
    (
        "memory and copies",
        &["malloc", "calloc", "realloc", "free", "memcpy", "memmove", "memset", "memcmp", "unlink_chunk"],
    ),
    (
        "ring",
        &["ring_core", "ring::", "x25519", "sha256", "aes_", "fe_", "ge_", "ghash", "gcm_", "GFp_", "bn_"],
    ),
    ("zlib", &["miniz_oxide", "flate2", "adler"]),
    ("rustls", &["rustls", "webpki"]),
    ("albatross-core", &["albatross_core"]),
    ("albatross-proto", &["albatross_proto"]),
    (
        "the driver",
        &[
            "albatross_driver",
            "albatross_tls",
            "albatrossd::",
            "albatross_console",
            "albatross_stats",
            "albatross_log",
            "mio::",
        ],
    ),
    ("the standard library", &["core::", "alloc::", "std::", "hashbrown", "btree"]),
];

/// Looks into what is in `only`, or into everything.
pub(crate) fn run(only: &[String]) -> Result<(), Failure> {
    let known = || SUBJECTS.iter().chain([&DOOR]);
    let failed = |what: String| Failure::Unexpected { command: "cargo xtask profile".to_owned(), what };
    if let Some(unknown) = only.iter().find(|it| known().all(|(name, _)| *it != name)) {
        let names: Vec<&str> = known().map(|(name, _)| *name).collect();
        return Err(failed(format!("{unknown:?} is not looked into, these are: {}", names.join(" "))));
    }
    if cfg!(debug_assertions) {
        let only = only.iter().flat_map(|name| ["--only", name.as_str()]);
        return measure::as_delivered(&["profile"].into_iter().chain(only).collect::<Vec<_>>());
    }
    if !Process::new("perf").arg("--version").output().is_ok_and(|it| it.status.success()) {
        return Err(failed("perf is not installed (the package linux-perf), and run this again".to_owned()));
    }
    Programs::build(Profile::Release, false)?;
    for (name, daemon) in known().filter(|(name, _)| only.is_empty() || only.iter().any(|it| it == name)) {
        let samples = target_directory().join(format!("{name}.perf"));
        record(name, &samples)?;
        let report = report(daemon, &samples)?;
        print(name, daemon, &report);
    }
    Ok(())
}

/// Samples all that runs while `name` is measured.
fn record(name: &str, samples: &Path) -> Result<(), Failure> {
    let program = env::current_exe().map_err(|error| Failure::io("find", Path::new("xtask"), error))?;
    let mut command = Process::new("perf");
    command.args(["record", "-q", "-a", "-e", "cpu-clock", "-F", FREQUENCY, "-o"]).arg(samples).arg("--");
    command.arg(program);
    match name {
        "door" => command.args(["measure-door", "--rounds", ROUNDS]),
        name => command.args(["measure", "--rounds", ROUNDS, "--only", name]),
    };
    // What it measures under perf is not what it is without.
    let status = command.stdout(Stdio::null()).status();
    let status = status.map_err(|error| Failure::io("run", Path::new("perf"), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Build { status }) }
}

/// A function, the program or library that it is in, and its share of a daemon's time in per cent.
struct Sampled {
    share: f64,
    object: String,
    function: String,
}

/// What perf says of a daemon.
fn report(daemon: &str, samples: &Path) -> Result<Vec<Sampled>, Failure> {
    let comm = daemon.get(..COMM).unwrap_or(daemon);
    let mut command = Process::new("perf");
    command.args(["report", "--stdio", "--no-children", "--percentage", "relative", "--sort", "dso,symbol"]);
    command.args(["-t", "|", "--comms", comm, "-i"]).arg(samples);
    let output = command.output().map_err(|error| Failure::io("run", Path::new("perf"), error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let sampled: Vec<Sampled> = text.lines().filter_map(line).collect();
    if sampled.is_empty() {
        let what = format!("nothing was sampled of {comm}: {}", String::from_utf8_lossy(&output.stderr));
        return Err(Failure::Unexpected { command: "perf report".to_owned(), what });
    }
    Ok(sampled)
}

/// A line of perf's: share, object, and the function with a letter for where it runs.
fn line(line: &str) -> Option<Sampled> {
    let mut fields = line.split('|').map(str::trim);
    let share = fields.next()?.trim_end_matches('%').parse().ok()?;
    let object = fields.next()?.to_owned();
    let function = fields.next()?;
    let function = function.split_once("] ").map_or(function, |(_, name)| name).to_owned();
    Some(Sampled { share, object, function })
}

/// The part that a function belongs to.
fn part(sampled: &Sampled) -> &str {
    if sampled.object.contains("[kernel") {
        return "the kernel";
    }
    let of = |fits: &[&str]| fits.iter().any(|it| sampled.function.contains(it));
    PARTS.iter().find(|(_, fits)| of(fits)).map_or("the rest", |(part, _)| part)
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn print(name: &str, daemon: &str, report: &[Sampled]) {
    let mut parts: BTreeMap<&str, f64> = BTreeMap::new();
    for sampled in report {
        *parts.entry(part(sampled)).or_default() += sampled.share;
    }
    let mut parts: Vec<(&str, f64)> = parts.into_iter().collect();
    parts.sort_by(|one, other| other.1.total_cmp(&one.1));
    println!("\n{daemon}, while `{name}` is measured");
    parts.iter().for_each(|(part, share)| println!("  {share:>5.1} %  {part}"));
    println!("  the dearest functions outside the kernel:");
    let outside = report.iter().filter(|it| part(it) != "the kernel").take(LISTED);
    outside.for_each(|it| println!("  {:>5.1} %    {}", it.share, it.function));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As perf 6.1 writes it.
    #[test]
    fn lines_of_perf_are_read() {
        let kernel = line("    12.50%|[kernel.kallsyms] |[k] copy_page|-      -").unwrap();
        assert_eq!((kernel.share, part(&kernel)), (12.5, "the kernel"));
        let own = line("3.1%|albatrossd|[.] <albatross_core::vmmd::Vmmd>::handle").unwrap();
        assert_eq!(
            (own.function.as_str(), part(&own)),
            ("<albatross_core::vmmd::Vmmd>::handle", "albatross-core")
        );
        assert_eq!(part(&line("1%|libc.so.6|[.] __memmove_avx").unwrap()), "memory and copies");
        assert!(line("# Samples: 3 of event").is_none());
        assert!(line("").is_none());
    }
}
