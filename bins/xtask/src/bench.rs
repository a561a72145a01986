//! Every figure in one table: of our programs, or of ours beside another implementation's.

pub(crate) mod footprint;
mod peer;
mod record;
pub(crate) mod stack;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use peer::names as peer_names;

use albatross_e2e::programs::target_directory;
use albatross_e2e::{Failure, Profile, Programs};
use serde_json::{Value, json};

use crate::measure;
use crate::measure::table::{Row, Table, shown};
use crate::{measure_door, measure_tender};

/// What is measured besides what `measure` knows.
const MORE: [&str; 3] = ["programs", "door", "tender"];

/// What is to be measured.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) only: Vec<String>,
    pub(crate) peer: Option<PathBuf>,
    pub(crate) tender: Option<PathBuf>,
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    /// As they are typed.
    fn arguments(&self) -> Vec<String> {
        let mut all = vec!["bench".to_owned()];
        all.extend(self.quick.then(|| "--quick".to_owned()));
        all.extend(self.only.iter().flat_map(|name| ["--only".to_owned(), name.clone()]));
        let paths = [("--peer", &self.peer), ("--tender", &self.tender), ("--out", &self.out)];
        for (option, path) in paths {
            // What runs this in its place may run elsewhere.
            let whole = path.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            all.extend(whole.iter().flat_map(|path| [option.to_owned(), path.display().to_string()]));
        }
        all
    }

    /// Refuses what is not measured.
    fn check(&self) -> Result<(), Failure> {
        let known: Vec<&str> = match &self.peer {
            Some(_) => peer_names().collect(),
            None => names().collect(),
        };
        match self.only.iter().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(Failure::Unexpected {
                command: "cargo xtask bench".to_owned(),
                what: format!("{unknown:?} is not measured, these are: {}", known.join(" ")),
            }),
        }
    }
}

/// The names of what is measured of our programs alone.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    measure::names().chain(MORE)
}

/// Measures, and writes what was measured as Markdown and as JSON.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    options.check()?;
    if cfg!(debug_assertions) {
        let arguments = options.arguments();
        return measure::as_delivered(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    run_with(&Programs::build(Profile::Release, false)?, options)
}

/// The same with these programs.
fn run_with(programs: &Programs, options: &Options) -> Result<(), Failure> {
    let folder = options.out.clone().unwrap_or_else(|| target_directory().join("bench"));
    fs::create_dir_all(&folder).map_err(|error| Failure::io("make", &folder, error))?;
    let Some(peer) = &options.peer else {
        let table = own(programs, options)?;
        write(&folder.join("bench.md"), &markdown(table.rows()))?;
        return write(&folder.join("bench.json"), &json_text(&json(table.rows())));
    };
    let comparison = peer::run(programs, peer, options.tender.as_deref(), options.quick, &options.only)?;
    let text = comparison.markdown();
    print(&text);
    write(&folder.join("peer.md"), &text)?;
    write(&folder.join("peer.json"), &json_text(&comparison.json()))?;
    match comparison.failures().first() {
        None => Ok(()),
        Some(first) => Err(Failure::Unexpected {
            command: "cargo xtask bench --peer".to_owned(),
            what: format!("ours could not be measured: {first}"),
        }),
    }
}

fn own(programs: &Programs, options: &Options) -> Result<Table, Failure> {
    let pick = |full, quick| if options.quick { quick } else { full };
    let mut table = Table::default();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|it| it == name);
    if wanted("programs") {
        footprint::fill(programs, &mut table, pick(5, 1))?;
    }
    for name in measure::names().filter(|name| wanted(name)) {
        measure::fill(name, programs, &mut table, pick(9, 1))?;
    }
    if wanted("door") {
        measure_door::fill(programs, &mut table, pick(5, 1), pick(500, 50))?;
    }
    if wanted("tender") {
        measure_tender::fill(programs, &mut table, pick(5, 1))?;
    }
    table.end();
    Ok(table)
}

fn markdown(rows: &[Row]) -> String {
    let mut text =
        String::from("| measure | figure | value | unit | target | |\n|---|---|---|---|---|---|\n");
    for Row { section, what, value, unit, target, met } in rows {
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let cells = [section, what, &shown(*value), unit, target, verdict].map(|cell| cell.replace('|', "/"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn json(rows: &[Row]) -> Value {
    let row = |Row { section, what, value, unit, target, met }: &Row| json!({"section": section, "what": what, "value": value, "unit": unit, "target": target, "met": met});
    rows.iter().map(row).collect()
}

fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io("write", path, error))?;
    print(&format!("\nwritten: {}\n", path.display()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn print(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own programs on both sides: everything that is measured of another implementation can be.
    #[test]
    fn ours_is_measured_beside_another_implementation() {
        let programs = Programs::for_tests().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            quick: true,
            peer: Some(programs.directory().to_owned()),
            out: Some(folder.path().to_owned()),
            ..Options::default()
        };
        run_with(programs, &options).unwrap();
        let text = fs::read_to_string(folder.path().join("peer.md")).unwrap();
        assert!(!text.contains("failed") && !text.contains("WRONG"), "{text}");
        let rows: Vec<Value> =
            serde_json::from_str(&fs::read_to_string(folder.path().join("peer.json")).unwrap()).unwrap();
        let sections: std::collections::BTreeSet<&str> =
            rows.iter().filter_map(|row| row["section"].as_str()).collect();
        for section in
            ["info over TLS, 8 at a time", "a block device", "policies", "console lines", "restart"]
        {
            assert!(sections.contains(section), "{sections:?}");
        }
        for row in &rows {
            let [ours, other] = ["ours", "other"].map(|side| row[side].as_array().map_or(0, Vec::len));
            assert!(ours > 0 && ours == other, "{row}");
        }
    }

    #[test]
    fn what_programs_take_goes_into_a_table_and_a_file() {
        let programs = Programs::for_tests().unwrap();
        let mut table = Table::default();
        // Those that tests run have no names of other packages beside them, and are larger than what is delivered.
        let (idle, starts) = footprint::start(programs, 1).unwrap();
        assert_eq!((idle.len(), starts.len()), (5, 5));
        assert!(idle.values().all(|it| it.resident > it.own && it.own > 0));
        table.section("starts");
        for (name, times) in &starts {
            table.figure(name, times[0], "ms", measure::table::Target::Most(0.0));
        }
        let text = markdown(table.rows());
        assert_eq!(text.lines().count(), 7, "{text}");
        assert!(text.contains("| starts | albatrossd |") && text.contains("MISSED"), "{text}");
        assert_eq!(json(table.rows())[0]["met"], false);
    }

    #[test]
    fn what_is_not_measured_is_refused_with_what_is() {
        let only = |name: &str, peer: Option<&str>| Options {
            only: vec![name.to_owned()],
            peer: peer.map(PathBuf::from),
            ..Options::default()
        };
        assert!(only("door", None).check().is_ok() && only("blocks", Some("x")).check().is_ok());
        let refused = only("door", Some("x")).check().unwrap_err().to_string();
        assert!(refused.contains("\"door\" is not measured, these are: local tls"), "{refused}");
        assert!(only("local", None).check().is_err());
    }
}
