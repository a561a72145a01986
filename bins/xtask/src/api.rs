//! The public API of the crates that others embed, and what a change of it means by semantic versioning.
//!
//! `api.txt` beside each crate's `Cargo.toml` lists the public items of its last release; the first line is that
//! version, with `, not released` as long as nobody depends on it. What is there now must be what is listed,
//! so that no change goes unseen; writing the list anew is refused where it breaks something and the version
//! does not say so. Without its features a crate has a part of its items, never others: features only add.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use albatross_e2e::Failure;
use albatross_e2e::programs::{cargo, target_directory, workspace};

/// The crates that others embed.
const CRATES: [&str; 2] = ["albatross-proto", "albatross-core"];
/// What stands behind a version that nobody depends on yet.
const NOT_RELEASED: &str = ", not released";
/// The form of rustdoc's JSON that is read here.
const FORMAT: u32 = 57;

/// Compares what is there with what is listed, or writes the list anew.
#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(crate) fn run(bless: bool) -> Result<(), Failure> {
    for name in CRATES {
        let Some(items) = items(name, true)? else {
            println!("{name}: skipped, this rustdoc does not write form {FORMAT} of its JSON");
            continue;
        };
        let fewer = items_without_features(name)?;
        let only: Vec<&String> = fewer.difference(&items).collect();
        if let [first, ..] = only.as_slice() {
            return Err(unexpected(format!("{name}: {first} is there only without a feature")));
        }
        let file = workspace().join(name).join("api.txt");
        let listed = Listing::read(&file)?;
        let now = env!("CARGO_PKG_VERSION");
        let changes = Changes::between(&listed.items, &items);
        println!("{name}: {} items, {} without its features", items.len(), fewer.len());
        if bless {
            changes.check(&listed.version, now).map_err(|why| unexpected(format!("{name}: {why}")))?;
            let listing = Listing { version: listed.next_version(now), items };
            fs::write(&file, listing.text()).map_err(|error| Failure::io("write", &file, error))?;
        } else if !changes.is_empty() {
            let what = format!("{name}: other items than api.txt lists:\n{changes}");
            return Err(unexpected(format!("{what}If that is meant: cargo xtask api --bless")));
        }
    }
    Ok(())
}

fn unexpected(what: String) -> Failure {
    Failure::Unexpected { command: "cargo xtask api".to_owned(), what }
}

/// The items of a crate, one a line; `None` where rustdoc writes what cannot be read here.
fn items(name: &str, features: bool) -> Result<Option<BTreeSet<String>>, Failure> {
    let target = target_directory().join(if features { "api" } else { "api-without-features" });
    let mut command = cargo();
    // JSON is an unstable option of the stable rustdoc. Without features some links of the pages lead nowhere.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTDOCFLAGS", "--cap-lints allow");
    command.args(["rustdoc", "--quiet", "--lib", "-p", name]);
    command.args(if features { ["--all-features"] } else { ["--no-default-features"] });
    command.arg("--target-dir").arg(&target);
    command.args(["--", "-Z", "unstable-options", "--output-format", "json"]);
    let status = command.status().map_err(|error| Failure::io("run", &PathBuf::from("cargo"), error))?;
    if !status.success() {
        return Err(Failure::Build { status });
    }
    let json = target.join("doc").join(format!("{}.json", name.replace('-', "_")));
    let text = fs::read_to_string(&json).map_err(|error| Failure::io("read", &json, error))?;
    if !text.contains(&format!("\"format_version\":{FORMAT}")) {
        return Ok(None);
    }
    let api = public_api::Builder::from_rustdoc_json(&json)
        .omit_auto_derived_impls(true)
        .omit_auto_trait_impls(true)
        .omit_blanket_impls(true)
        .build()
        .map_err(|error| unexpected(error.to_string()))?;
    Ok(Some(api.items().map(ToString::to_string).collect()))
}

fn items_without_features(name: &str) -> Result<BTreeSet<String>, Failure> {
    Ok(items(name, false)?.unwrap_or_default())
}

/// What `api.txt` says.
struct Listing {
    version: String,
    items: BTreeSet<String>,
}

impl Listing {
    fn read(file: &std::path::Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file).map_err(|error| Failure::io("read", file, error))?;
        let mut lines = text.lines();
        let version = lines.next().unwrap_or_default().to_owned();
        Ok(Self { version, items: lines.map(str::to_owned).collect() })
    }

    fn text(&self) -> String {
        let lines = std::iter::once(&self.version).chain(&self.items);
        lines.flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// A version that was not released stays so until somebody says otherwise, in the file.
    fn next_version(&self, now: &str) -> String {
        if self.version.ends_with(NOT_RELEASED) { format!("{now}{NOT_RELEASED}") } else { now.to_owned() }
    }
}

/// What became different.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Items that are not there any more.
    removed: Vec<String>,
    /// Items whose coming breaks those who name all that is there: variants, fields, methods of a trait.
    intruding: Vec<String>,
    added: Vec<String>,
}

impl Changes {
    fn between(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Self {
        let removed = before.difference(now).cloned().collect();
        let (intruding, added) =
            now.difference(before).cloned().partition(|item| is_part_of_known(item, before));
        Self { removed, intruding, added }
    }

    const fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.intruding.is_empty() && self.added.is_empty()
    }

    /// Whether `now` may follow on the version that was listed.
    fn check(&self, listed: &str, now: &str) -> Result<(), String> {
        if listed.ends_with(NOT_RELEASED) || self.is_empty() {
            return Ok(());
        }
        let breaks = !self.removed.is_empty() || !self.intruding.is_empty();
        let (before, after) = (numbers(listed)?, numbers(now)?);
        // Before 1.0.0 the second number is the one that says that something breaks.
        let main = |[major, minor, _]: [u64; 3]| if major == 0 { [0, minor] } else { [major, 0] };
        if breaks && main(after) <= main(before) {
            return Err(format!("{now} cannot follow on {listed}, as this breaks something:\n{self}"));
        }
        if after <= before {
            return Err(format!("{now} must be later than {listed}, as there is something new:\n{self}"));
        }
        Ok(())
    }
}

/// Whether an item that is new is a variant or field of a type, or a method of a trait, that is not and whose
/// users may name all of them.
fn is_part_of_known(item: &str, before: &BTreeSet<String>) -> bool {
    let words = item.strip_prefix("pub ").unwrap_or(item);
    let is_method = words.starts_with("fn ");
    let path = words.strip_prefix("fn ").unwrap_or(words);
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or_default().trim_end_matches(':');
    let Some((parent, _)) = path.rsplit_once("::") else { return false };
    let kinds: &[&str] = if is_method { &["trait"] } else { &["enum", "struct"] };
    kinds.iter().any(|kind| {
        let declared = format!("pub {kind} {parent}");
        before.iter().any(|line| {
            line.strip_prefix(&declared)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        })
    })
}

fn numbers(version: &str) -> Result<[u64; 3], String> {
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok);
    match (next(), next(), next()) {
        (Some(major), Some(minor), Some(patch)) => Ok([major, minor, patch]),
        _ => Err(format!("{version:?} is no version")),
    }
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, items) in [("gone", &self.removed), ("breaks", &self.intruding), ("new", &self.added)] {
            for item in items {
                writeln!(f, "  {what}: {item}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn check(before: &[&str], now: &[&str], from: &str, to: &str) -> bool {
        Changes::between(&set(before), &set(now)).check(from, to).is_ok()
    }

    const BASE: [&str; 4] =
        ["pub enum a::E", "#[non_exhaustive] pub enum a::N", "pub struct a::S<'x>", "pub trait a::T"];

    fn with(item: &str) -> Vec<&str> {
        BASE.iter().copied().chain([item]).collect()
    }

    #[test]
    fn what_is_gone_breaks() {
        assert!(!check(&BASE, &BASE[1..], "0.1.0", "0.1.1"));
        assert!(check(&BASE, &BASE[1..], "0.1.0", "0.2.0"));
        assert!(!check(&BASE, &BASE[1..], "1.1.0", "1.2.0"));
        assert!(check(&BASE, &BASE[1..], "1.1.0", "2.0.0"));
        assert!(check(&BASE, &BASE[1..], "0.1.0, not released", "0.1.0"));
        assert!(check(&BASE, &BASE, "0.1.0", "0.1.0"));
    }

    #[test]
    fn what_is_new_breaks_where_all_are_named() {
        for item in ["pub a::E::New", "pub a::E::New(u8)", "pub a::S::new: u8", "pub fn a::T::new(&self)"] {
            assert!(!check(&BASE, &with(item), "0.1.0", "0.1.1"), "{item}");
            assert!(check(&BASE, &with(item), "0.1.0", "0.2.0"), "{item}");
        }
        for item in ["pub a::N::New", "pub fn a::S::new(&self)", "pub struct a::Other", "pub fn a::new()"] {
            assert!(check(&BASE, &with(item), "0.1.0", "0.1.1"), "{item}");
            assert!(!check(&BASE, &with(item), "0.1.1", "0.1.1"), "{item}");
        }
    }

    /// What is there is what is listed, and features only add.
    #[test]
    fn the_api_is_the_one_that_is_listed() {
        run(false).unwrap();
    }
}
