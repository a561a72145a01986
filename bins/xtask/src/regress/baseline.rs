//! The file with what figures were.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Figures by their names.
pub(super) type Figures = BTreeMap<String, u64>;

/// What stands at the top of the file.
const HEAD: &str = "# Instructions, allocations and octets of one turn of each work in bins/works; octets of stripped\n\
    # programs; KiB of idle daemons. Written by `cargo xtask regress --bless`, never by hand.\n";
/// What the line of the toolchain begins with.
const TOOLCHAIN: &str = "# toolchain: ";

/// The file.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    /// What it was written with.
    pub(super) toolchain: String,
    pub(super) figures: Figures,
}

impl Baseline {
    /// Reads it; the error says which line is none.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut baseline = Self::default();
        for (number, line) in text.lines().enumerate() {
            if let Some(toolchain) = line.strip_prefix(TOOLCHAIN) {
                toolchain.clone_into(&mut baseline.toolchain);
            } else if !line.starts_with('#') {
                let figure = line.split_once(' ').and_then(|(name, value)| Some((name, value.parse().ok()?)));
                let (name, value) = figure
                    .ok_or_else(|| format!("testdata/regress.txt, line {}: no figure: {line}", number + 1))?;
                baseline.figures.insert(name.to_owned(), value);
            }
        }
        Ok(baseline)
    }

    /// Puts these figures in the place of all of the kinds that were measured.
    pub(super) fn replace(&mut self, kinds: &[&str], figures: Figures, toolchain: String) {
        self.figures.retain(|figure, _| !kinds.iter().any(|kind| figure.starts_with(kind)));
        self.figures.extend(figures);
        self.toolchain = toolchain;
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{HEAD}{TOOLCHAIN}{}\n", self.toolchain);
        for (figure, value) in &self.figures {
            // Writing to a string does not fail.
            _ = writeln!(text, "{figure} {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_only_what_was_measured_is_replaced() {
        let mut baseline =
            Baseline::read("# x\n# toolchain: rustc 1\nworks/a 1\nworks/b 2\nsizes/c 3\n").unwrap();
        let figures = [("works/a".to_owned(), 5)].into();
        baseline.replace(&["works"], figures, "rustc 2".to_owned());
        assert_eq!(baseline.text(), format!("{HEAD}# toolchain: rustc 2\nsizes/c 3\nworks/a 5\n"));
        assert_eq!(Baseline::read(&baseline.text()).unwrap().figures, baseline.figures);
        let error = Baseline::read("works/a 1\nworks/b two\n").unwrap_err();
        assert_eq!(error, "testdata/regress.txt, line 2: no figure: works/b two");
    }
}
