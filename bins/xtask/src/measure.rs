//! Figures of the delivered programs on this machine, each beside what it is held against.
//!
//! A figure that depends on the disk or on the machine is taken in turns with a plain program that does no more
//! than it must ([`echo()`], `dd`, an append with its fdatasync), and held against that. The others hold on the
//! machine on which the OCaml implementation was measured, and say how far another one is off.

mod ask;
mod block;
mod console;
mod create;
mod day;
mod echo;
mod info;
mod log;
mod memory;
mod policy;
mod restart;
mod stats;
pub(crate) mod table;

use std::path::Path;

use albatross_e2e::programs::{cargo, target_directory};
use albatross_e2e::{Failure, Profile, Programs};

pub(crate) use ask::{create, padded};
pub(crate) use block::content;
pub(crate) use echo::serve as echo;
use table::Table;

/// Measures one thing on fresh daemons.
type Measure = fn(&Programs, &mut Table, usize) -> Result<(), Failure>;

/// All that is measured, by the name that `--only` takes.
const ALL: [(&str, Measure); 11] = [
    ("memory", memory::run),
    ("create", create::run),
    ("policy", policy::run),
    ("block", block::run),
    ("info", info::run),
    ("console", console::run),
    ("day", day::run),
    ("log", log::run),
    ("stats", stats::run),
    ("restart", restart::fifty),
    ("thousand", restart::thousand),
];

/// Measures what is in `only`, or everything, in so many rounds.
pub(crate) fn run(rounds: usize, only: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|it| names().all(|name| *it != name)) {
        let what =
            format!("{unknown:?} is not measured, these are: {}", names().collect::<Vec<_>>().join(" "));
        return Err(Failure::Unexpected { command: "cargo xtask measure".to_owned(), what });
    }
    if cfg!(debug_assertions) {
        let rounds = rounds.to_string();
        let only = only.iter().flat_map(|name| ["--only", name.as_str()]);
        let arguments: Vec<&str> = ["measure", "--rounds", &rounds].into_iter().chain(only).collect();
        return as_delivered(&arguments);
    }
    let programs = Programs::build(Profile::Release, false)?;
    let mut table = Table::default();
    for name in names().filter(|name| only.is_empty() || only.iter().any(|it| it == name)) {
        fill(name, &programs, &mut table, rounds)?;
    }
    table.end();
    Ok(())
}

/// The names of all that is measured.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Measures what has this name.
pub(crate) fn fill(name: &str, programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    let mut wanted = ALL.iter().filter(|(it, _)| *it == name);
    wanted.try_for_each(|(_, measure)| measure(programs, table, rounds))
}

/// Runs this program again with these arguments, built as what it measures is: it plays the clients, which must not be
/// what is slow.
pub(crate) fn as_delivered(arguments: &[&str]) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "xtask", "--target-dir"]);
    command.arg(target_directory()).arg("--").args(arguments);
    let status = command.status().map_err(|error| Failure::io("run", Path::new("cargo"), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Build { status }) }
}
