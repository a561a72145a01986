//! What the papers say about the tests: that they are there.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use albatross_e2e::programs::workspace;

    /// The papers with a table whose last column names tests.
    const PAPERS: [&str; 2] = ["docs/differences.md", "docs/threat-model.md"];

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
                in_table = (in_table || line.ends_with("| test |")) && line.starts_with('|');
                if !in_table || line.ends_with("| test |") || line.starts_with("|---") {
                    continue;
                }
                let column = line.trim_end_matches('|').rsplit('|').next().unwrap();
                let tests: Vec<&str> = column.split('`').skip(1).step_by(2).collect();
                assert!(!tests.is_empty(), "{paper}: no test is named: {line}");
                for test in tests {
                    assert!(there.contains(test), "{paper}: there is no test {test}");
                    named += 1;
                }
            }
        }
        assert!(named > 50, "{named} tests are named");
    }
}
