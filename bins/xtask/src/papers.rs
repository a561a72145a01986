//! What the papers say about tests and commands: that they are there.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use albatross_driver::argh::{ArgsInfo, FromArgs};
    use albatross_e2e::programs::workspace;

    use crate::{bench, measure, regress};

    /// The papers with tables whose last column names tests, or commands of `cargo xtask`.
    const PAPERS: [&str; 3] = ["docs/differences.md", "docs/threat-model.md", "SPECIFICATION.md"];
    /// How that column may be headed.
    const HEADINGS: [&str; 2] = ["| test |", "| shown by |"];
    /// What a command of ours begins with.
    const COMMAND: &str = "cargo xtask ";

    /// What a command that a paper names lacks, if it lacks something.
    fn lacks(command: &str) -> Option<String> {
        // What stands between quotes is one word.
        let typed = command.strip_prefix(COMMAND)?.split('\'').enumerate();
        let typed: String = typed
            .map(|(odd, text)| if odd % 2 == 1 { text.replace(' ', "_") } else { text.to_owned() })
            .collect();
        let mut words = typed.split_whitespace();
        let name = words.next()?;
        let commands = crate::Options::get_args_info().commands;
        if !commands.iter().any(|it| it.name == name) {
            return Some(format!("there is no {COMMAND}{name}"));
        }
        let words: Vec<&str> = words.collect();
        // A number stands for what a paper writes as N.
        let typed = words.iter().map(|word| if *word == "N" { "1" } else { word });
        let typed: Vec<&str> = [name].into_iter().chain(typed).collect();
        if let Err(refused) = crate::Options::from_args(&["cargo xtask"], &typed) {
            return Some(format!("{command}: {}", refused.output));
        }
        let only = words.windows(2).filter(|pair| pair[0] == "--only").map(|pair| pair[1]);
        let known: Vec<&str> = match name {
            "measure" => measure::names().collect(),
            "regress" => regress::ALL.to_vec(),
            "bench" if words.contains(&"--peer") => bench::peer_names().collect(),
            _ => bench::names().collect(),
        };
        only.filter(|what| !known.contains(what)).map(|what| format!("{name} has no {what}")).next()
    }

    #[test]
    fn commands_that_lack_something_are_found() {
        assert_eq!(lacks("cargo xtask bench --peer FOLDER --only local"), None);
        assert_eq!(lacks("cargo xtask measure --only create"), None);
        assert!(lacks("cargo xtask measure --lonely create").unwrap().contains("--lonely"));
        assert_eq!(lacks("cargo xtask mesure"), Some("there is no cargo xtask mesure".to_owned()));
        assert_eq!(lacks("cargo xtask regress --only door"), Some("regress has no door".to_owned()));
    }

    #[test]
    fn every_command_that_a_paper_names_is_there() {
        let top = ["README.md", "SPECIFICATION.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
        let mut papers: Vec<_> = top.iter().map(PathBuf::from).collect();
        for entry in fs::read_dir(workspace().join("docs")).unwrap() {
            papers.push(entry.unwrap().path());
        }
        let mut named = 0;
        for paper in papers.iter().filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
            let text = fs::read_to_string(workspace().join(paper)).unwrap();
            // In a sentence, and as a line of its own.
            let quoted = text.split('`').skip(1).step_by(2).map(|quoted| quoted.replace('\n', " "));
            let lines = text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned);
            for command in quoted.chain(lines).filter(|command| command.starts_with(COMMAND)) {
                assert_eq!(lacks(&command), None, "{}", paper.display());
                named += 1;
            }
        }
        assert!(named > 20, "{named} commands are named");
    }

    /// The names of all functions in the tests and sources below a folder.
    fn functions(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                functions(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.lines().filter_map(|line| line.trim().strip_prefix("fn "));
                found.extend(names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn every_test_that_a_paper_names_is_there() {
        let mut there = BTreeSet::new();
        for folder in ["albatross-proto", "albatross-core", "bins", "fuzz"] {
            functions(&workspace().join(folder), &mut there);
        }
        let mut named = 0;
        for paper in PAPERS {
            let text = fs::read_to_string(workspace().join(paper)).unwrap();
            let mut in_table = false;
            for line in text.lines() {
                // The heading of the column.
                let is_heading = HEADINGS.iter().any(|heading| line.ends_with(heading));
                in_table = (in_table || is_heading) && line.starts_with('|');
                if !in_table || is_heading || line.starts_with("|---") {
                    continue;
                }
                let column = line.trim_end_matches('|').rsplit('|').next().unwrap();
                let tests: Vec<&str> = column.split('`').skip(1).step_by(2).collect();
                assert!(!tests.is_empty(), "{paper}: no test is named: {line}");
                for test in tests {
                    match lacks(test) {
                        Some(what) => panic!("{paper}: {what}"),
                        None if test.starts_with(COMMAND) => {}
                        None => assert!(there.contains(test), "{paper}: there is no test {test}"),
                    }
                    named += 1;
                }
            }
        }
        assert!(named > 50, "{named} tests are named");
    }
}
