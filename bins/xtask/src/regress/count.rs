//! Instructions and allocations of the works in `bins/works`.

use std::path::{Path, PathBuf};
use std::process::Command;

use albatross_e2e::programs::{cargo, target_directory};
use albatross_e2e::{Failure, run};

/// Turns of a work in a first and in a second run: the difference is what these more turns take, without what was made
/// ready.
const TURNS: [u64; 2] = [5, 15];

/// What one turn of a work takes.
pub(super) struct Counts {
    pub(super) instructions: u64,
    pub(super) allocations: u64,
    pub(super) octets: u64,
}

/// Every work with its counts.
pub(super) fn works() -> Result<Vec<(String, Counts)>, Failure> {
    let program = build()?;
    let names = run::run(&mut Command::new(&program))?.expect(0, "")?;
    names.stdout.lines().map(|name| Ok((name.to_owned(), count(&program, name)?))).collect()
}

/// The compiler and the C library that are counted with.
pub(super) fn toolchain() -> Result<String, Failure> {
    let first = |command: &mut Command| {
        let text = run::run(command)?.expect(0, "")?.stdout;
        Ok::<_, Failure>(text.lines().next().unwrap_or_default().to_owned())
    };
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(format!(
        "{}, {}",
        first(Command::new(rustc).arg("--version"))?,
        first(Command::new("ldd").arg("--version"))?
    ))
}

/// Builds the works as the profile of this name says: like what is delivered, without the optimization of all crates
/// together that takes minutes.
fn build() -> Result<PathBuf, Failure> {
    let target = target_directory();
    let mut command = cargo();
    command
        .args(["build", "--profile", "works", "--package", "albatross-works", "--target-dir"])
        .arg(&target);
    let status = command.status().map_err(|error| Failure::io("run", Path::new("cargo"), error))?;
    if status.success() { Ok(target.join("works/albatross-works")) } else { Err(Failure::Build { status }) }
}

fn count(program: &Path, name: &str) -> Result<Counts, Failure> {
    let [few, many] = TURNS;
    let (first, second) = (turns(program, name, few)?, turns(program, name, many)?);
    let one = |of: fn(&Counts) -> u64| of(&second).saturating_sub(of(&first)) / (many - few);
    Ok(Counts {
        instructions: one(|it| it.instructions),
        allocations: one(|it| it.allocations),
        octets: one(|it| it.octets),
    })
}

/// What so many turns take, together with what is made ready.
fn turns(program: &Path, name: &str, turns: u64) -> Result<Counts, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(program).args([name, &turns.to_string()]);
    let finished = run::run(&mut command)?.expect(0, "Collected")?;
    let counted = read(&finished.stdout, &finished.stderr);
    counted.ok_or_else(|| {
        super::unexpected(format!("callgrind did not say what it counted: {}", finished.stderr))
    })
}

fn read(stdout: &str, stderr: &str) -> Option<Counts> {
    let instructions =
        stderr.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())?;
    let mut words = stdout.split_whitespace();
    let mut after = |word: &str| words.find(|it| *it == word).and_then(|_| words.next()?.parse().ok());
    Some(Counts { instructions, allocations: after("allocations")?, octets: after("octets")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_print_is_read() {
        let stderr = "==1== Events    : Ir\n==1== Collected : 9702006\n==1==\n";
        let counts = read("allocations 545 octets 25738\n", stderr).unwrap();
        assert_eq!((counts.instructions, counts.allocations, counts.octets), (9_702_006, 545, 25_738));
        assert!(read("", stderr).is_none() && read("allocations 545 octets 25738\n", "").is_none());
    }
}
