//! Figures that are no timings, each held against what it was when `testdata/regress.txt` was written: instructions and
//! allocations of fixed works (`bins/works`), sizes of the stripped programs, memory of idle daemons.
//!
//! They are the same on any machine, nearly: callgrind shows a program one kind of processor (Haswell, wherever the
//! machine has AVX2), so that ring, memchr and the C library choose the same code everywhere, and counts what the kernel
//! does not. [`FACTORS`] say what is left, and so what may be more without a reason.

mod baseline;
mod count;

use std::fs;
use std::path::PathBuf;

use albatross_e2e::programs::workspace;
use albatross_e2e::{Failure, Profile, Programs};

use crate::bench::footprint;
use baseline::{Baseline, Figures};

/// What is looked at, by the name that `--only` takes; all figures of a kind begin with it.
const WORKS: &str = "works";
const SIZES: &str = "sizes";
const MEMORY: &str = "memory";
pub(crate) const ALL: [&str; 3] = [WORKS, SIZES, MEMORY];

/// A kind of figure, what may come of it without a reason (as a factor over the baseline), and why that much.
struct Factor {
    kind: &'static str,
    most: f64,
    why: &'static str,
}

const FACTORS: [Factor; 6] = [
    Factor {
        kind: "works/instructions",
        most: 1.10,
        why: "another compiler or C library moves it by some per cent, and so do the keys of hash tables",
    },
    Factor {
        kind: "works/allocations",
        most: 1.02,
        why: "it is the same in each run, of works with hash tables nearly",
    },
    Factor {
        kind: "works/octets",
        most: 1.10,
        why: "it is the same in each run; another standard library grows otherwise",
    },
    Factor { kind: "sizes/octets", most: 1.08, why: "another compiler moves it by some per cent" },
    Factor {
        kind: "memory/own",
        most: 1.25,
        why: "the kernel gives whole pages, and a daemon has some dozens of them",
    },
    Factor {
        kind: "memory/resident",
        most: 1.35,
        why: "how much of a program the kernel maps ahead depends on its cache",
    },
];

/// What is less than the baseline by this factor is worth a new one: else it could be lost again unseen.
const MUCH_LESS: f64 = 0.90;

fn file() -> PathBuf {
    workspace().join("testdata/regress.txt")
}

/// Holds the figures against the baseline, or writes it anew.
pub(crate) fn run(only: &[String], bless: bool) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|it| !ALL.contains(&it.as_str())) {
        return Err(unexpected(format!("{unknown:?} is not looked at, these are: {}", ALL.join(" "))));
    }
    let wanted: Vec<&str> =
        ALL.into_iter().filter(|it| only.is_empty() || only.iter().any(|name| name == it)).collect();
    let figures = measure(&wanted)?;
    let mut faults = limits(&figures);
    let path = file();
    let mut baseline = match fs::read_to_string(&path) {
        Ok(text) => Baseline::read(&text).map_err(unexpected)?,
        Err(error) if bless && error.kind() == std::io::ErrorKind::NotFound => Baseline::default(),
        Err(error) => return Err(Failure::io("read", &path, error)),
    };
    let toolchain = count::toolchain()?;
    if bless {
        if let Some(fault) = faults.first() {
            return Err(unexpected(format!("not blessed: {fault}")));
        }
        baseline.replace(&wanted, figures, toolchain);
        fs::write(&path, baseline.text()).map_err(|error| Failure::io("write", &path, error))?;
        print(&format!("written: {}", path.display()));
        return Ok(());
    }
    faults.extend(compare(&baseline, &figures, &wanted));
    if faults.is_empty() {
        print(&format!("{} figures are as they were", figures.len()));
        return Ok(());
    }
    let other = (baseline.toolchain != toolchain).then(|| {
        format!("\nThe baseline is of {}, this is {toolchain}: that alone may be it.", baseline.toolchain)
    });
    let what = format!(
        "{}{}\nIf that is meant: cargo xtask regress --bless, and say why in the commit.",
        faults.join("\n"),
        other.unwrap_or_default()
    );
    Err(unexpected(what))
}

fn measure(wanted: &[&str]) -> Result<Figures, Failure> {
    let mut figures = Figures::new();
    if wanted.contains(&WORKS) {
        for (work, counts) in count::works()? {
            figures.insert(format!("works/instructions/{work}"), counts.instructions);
            figures.insert(format!("works/allocations/{work}"), counts.allocations);
            figures.insert(format!("works/octets/{work}"), counts.octets);
        }
    }
    if wanted.iter().any(|it| [SIZES, MEMORY].contains(it)) {
        let programs = Programs::build(Profile::Release, false)?;
        for name in footprint::PROGRAMS.into_iter().filter(|_| wanted.contains(&SIZES)) {
            figures.insert(format!("sizes/octets/{name}"), footprint::stripped(&programs.path(name))?);
        }
        if wanted.contains(&MEMORY) {
            for (name, idle) in footprint::start(&programs, 1)?.0 {
                figures.insert(format!("memory/own/{name}"), idle.own);
                figures.insert(format!("memory/resident/{name}"), idle.resident);
            }
        }
    }
    Ok(figures)
}

/// What may not be, whatever it was before.
fn limits(figures: &Figures) -> Vec<String> {
    let sizes = footprint::PROGRAMS.iter().map(|name| {
        let most = footprint::MOST_OCTETS;
        (format!("sizes/octets/{name}"), most, "a delivered program may have 3 MiB")
    });
    let idle = footprint::MOST_IDLE.iter().map(|(name, most)| {
        (format!("memory/resident/{name}"), *most, "that is what an idle daemon may hold (SPECIFICATION.md)")
    });
    let over = sizes.chain(idle).filter_map(|(figure, most, why)| {
        let value = *figures.get(&figure)?;
        (value > most).then(|| format!("{figure} is {value}, at most {most} is allowed: {why}"))
    });
    over.collect()
}

fn compare(baseline: &Baseline, figures: &Figures, wanted: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (figure, value) in figures {
        let Some(was) = baseline.figures.get(figure) else {
            faults.push(format!("{figure} is {value}, and not in the baseline"));
            continue;
        };
        let Some(Factor { most, why, .. }) = FACTORS.iter().find(|it| figure.starts_with(it.kind)) else {
            continue;
        };
        let factor = ratio(*value, *was);
        print(&format!("  {figure:<48} {value:>12}  {factor:.3} of {was}"));
        if factor > *most {
            faults.push(format!(
                "{figure} is {value}, {factor:.2} times the {was} that it was; {most} times is allowed: {why}"
            ));
        } else if factor < MUCH_LESS {
            print(&format!("  {figure} is much less than it was: cargo xtask regress --bless keeps that"));
        }
    }
    let of = |figure: &&String| wanted.iter().any(|kind| figure.starts_with(kind));
    let gone = baseline.figures.keys().filter(of).filter(|figure| !figures.contains_key(*figure));
    faults.extend(gone.map(|figure| format!("{figure} is in the baseline, and was not measured")));
    faults
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ratio(value: u64, was: u64) -> f64 {
    // What was nothing may not be something.
    if was == 0 { if value == 0 { 1.0 } else { f64::INFINITY } } else { value as f64 / was as f64 }
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn print(text: &str) {
    println!("{text}");
}

fn unexpected(what: String) -> Failure {
    Failure::Unexpected { command: "cargo xtask regress".to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(all: &[(&str, u64)]) -> Figures {
        all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn baseline(all: &[(&str, u64)]) -> Baseline {
        Baseline { toolchain: "rustc 1".to_owned(), figures: figures(all) }
    }

    #[test]
    fn more_than_the_factor_is_a_fault_that_says_how_much() {
        let was =
            baseline(&[("works/instructions/a", 1000), ("works/allocations/a", 0), ("sizes/octets/x", 10)]);
        let same = figures(&[("works/instructions/a", 1100), ("works/allocations/a", 0)]);
        assert!(compare(&was, &same, &[WORKS]).is_empty());
        let more =
            figures(&[("works/instructions/a", 1101), ("works/allocations/a", 1), ("works/octets/b", 3)]);
        let faults = compare(&was, &more, &[WORKS]);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("works/allocations/a is 1, inf times the 0 that it was"), "{faults:?}");
        assert!(
            faults[1]
                .starts_with("works/instructions/a is 1101, 1.10 times the 1000 that it was; 1.1 times is")
        );
        assert_eq!(faults[2], "works/octets/b is 3, and not in the baseline");
        let gone = compare(&was, &figures(&[]), &[SIZES]);
        assert_eq!(gone, ["sizes/octets/x is in the baseline, and was not measured"]);
    }

    #[test]
    fn what_a_program_may_have_at_the_most_is_no_matter_of_the_baseline() {
        let faults = limits(&figures(&[
            ("sizes/octets/albatrossd", footprint::MOST_OCTETS + 1),
            ("sizes/octets/albatross-client", footprint::MOST_OCTETS),
            ("memory/resident/albatrossd", 3585),
        ]));
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("albatrossd") && faults[1].contains("3585"));
    }

    /// Every figure that the baseline has is of a kind that has a factor.
    #[test]
    fn the_baseline_can_be_read_and_all_of_it_has_a_factor() {
        let baseline = Baseline::read(&fs::read_to_string(file()).unwrap()).unwrap();
        for kind in ALL {
            assert!(baseline.figures.keys().any(|figure| figure.starts_with(kind)), "{kind}");
        }
        for figure in baseline.figures.keys() {
            assert!(FACTORS.iter().any(|factor| figure.starts_with(factor.kind)), "{figure}");
        }
        assert!(limits(&baseline.figures).is_empty());
        assert_eq!(Baseline::read(&baseline.text()).unwrap().figures, baseline.figures);
    }
}
