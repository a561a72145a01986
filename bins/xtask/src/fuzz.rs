//! A long run of every fuzz target, counted. They take turns of the same time until all of them together have
//! done what was asked for, so that a slow one does not hold up the others.
//!
//! Nothing that the targets look at has `unsafe` of its own, so they run without a sanitizer, which is several
//! times as fast; overflow and debug assertions stay on. `.ci/run` runs each for a few seconds with one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use albatross_e2e::Failure;
use albatross_e2e::programs::{cargo, target_directory, workspace};

/// The longest input in octets: longer ones are slow and reach nothing new; `tests/worst` looks at those.
const MAX_LENGTH: u32 = 4096;
/// Seconds that one input may take.
const PATIENCE: u32 = 20;
/// MiB of memory that a target may take, the fuzzer's own included.
const MEMORY: u32 = 2048;
/// libFuzzer's name for what is counted.
const COUNT: &str = "stat::number_of_executed_units:";

/// Runs all targets in turns of so many seconds until they were run `executions` times together, and prints
/// what each did. What the fuzzer learns is kept in `corpus`, so that the next turn begins where the last one
/// ended; `only` one of them if given.
#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(crate) fn run(
    executions: u64,
    seconds: u32,
    corpus: Option<&Path>,
    only: Option<&str>,
) -> Result<(), Failure> {
    let corpus = corpus.map_or_else(|| target_directory().join("fuzz-corpus"), Path::to_owned);
    build()?;
    seeds(&corpus)?;
    let all = targets()?;
    let targets: Vec<&String> = all.iter().filter(|target| only.is_none_or(|only| only == *target)).collect();
    let mut done: Vec<(&String, u64, Duration)> =
        targets.into_iter().map(|target| (target, 0, Duration::ZERO)).collect();
    let mut findings = Vec::new();
    let total = |done: &[(&String, u64, Duration)]| done.iter().map(|(_, count, _)| count).sum::<u64>();
    while total(&done) < executions && findings.is_empty() && !done.is_empty() {
        for (target, count, time) in &mut done {
            let (more, took, found) = run_target(target, &corpus.join(target.as_str()), seconds)?;
            println!(
                "{target}: {more} in {} s{}",
                took.as_secs(),
                if found.is_some() { "  FOUND" } else { "" }
            );
            *count += more;
            *time += took;
            findings.extend(found);
        }
    }
    println!("{:<12} {:>12} {:>10}", "target", "executions", "a second");
    for (target, count, time) in &done {
        println!("{target:<12} {count:>12} {:>10}", u128::from(*count) * 1000 / time.as_millis().max(1));
    }
    println!("{:<12} {:>12}", "all", total(&done));
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Unexpected { command: "cargo xtask fuzz".to_owned(), what: findings.join("\n") })
}

/// Executions, how long they took, and the end of what libFuzzer printed if it found something.
fn run_target(target: &str, corpus: &Path, seconds: u32) -> Result<(u64, Duration, Option<String>), Failure> {
    fs::create_dir_all(corpus).map_err(|error| Failure::io("make", corpus, error))?;
    let artifacts = workspace().join("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts).map_err(|error| Failure::io("make", &artifacts, error))?;
    let program = programs()?.join(target);
    let started = Instant::now();
    // Only some targets have seeds that are kept; those of the others are made of the vectors.
    let kept = Some(workspace().join("fuzz/corpus").join(target)).filter(|folder| folder.is_dir());
    let output = std::process::Command::new(&program)
        .arg(corpus)
        .args(kept)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_LENGTH}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        .output()
        .map_err(|error| Failure::io("run", &program, error))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.strip_prefix(COUNT)?.trim().parse().ok()).unwrap_or(0);
    let end: Vec<&str> = text.lines().rev().take(20).collect();
    let found = (!output.status.success())
        .then(|| format!("{target}:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n")));
    Ok((count, started.elapsed(), found))
}

/// The names of the targets, as cargo-fuzz lists them.
fn targets() -> Result<Vec<String>, Failure> {
    let list = albatross_e2e::run::run(cargo().args(["fuzz", "list"]))?.expect(0, "")?;
    Ok(list.stdout.lines().map(str::to_owned).collect())
}

/// Builds all targets without a sanitizer. Stable compilers take the options for coverage with this variable.
fn build() -> Result<(), Failure> {
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "build", "--sanitizer", "none", "--target-dir"]);
    let status = command.arg(target()).status();
    let status = status.map_err(|error| Failure::io("run", Path::new("cargo fuzz"), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Build { status }) }
}

/// The recorded vectors, and what is made on the spot.
fn seeds(corpus: &Path) -> Result<(), Failure> {
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--package", "albatross-fuzz-checks", "--bin", "seeds", "--"])
        .arg(corpus);
    let status = command.status().map_err(|error| Failure::io("run", Path::new("cargo"), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Build { status }) }
}

fn target() -> PathBuf {
    target_directory().join("fuzz")
}

/// Where cargo-fuzz leaves the targets: below the name of this machine's kind.
fn programs() -> Result<PathBuf, Failure> {
    let target = target();
    let entries = fs::read_dir(&target).map_err(|error| Failure::io("list", &target, error))?;
    let folders = entries.flatten().map(|entry| entry.path().join("release"));
    let mut folders = folders.filter(|folder| folder.join("wire").is_file());
    folders
        .next()
        .ok_or_else(|| Failure::io("find the targets below", &target, std::io::ErrorKind::NotFound.into()))
}
