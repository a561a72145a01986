//! What was measured, as lines of a table.

use std::time::Duration;

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    Most(f64),
    Least(f64),
    /// It is there to be compared with others.
    None,
}

/// The lines so far: each is printed at once.
#[derive(Default)]
pub(crate) struct Table {
    section: String,
    rows: Vec<Row>,
}

/// A figure.
pub(crate) struct Row {
    /// The part of the table that it is in.
    pub(crate) section: String,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// What it is held against, in words; nothing where that is nothing.
    pub(crate) target: String,
    pub(crate) met: Option<bool>,
}

impl Table {
    /// Begins a part of it.
    #[expect(clippy::print_stdout, reason = "it talks to a person")]
    pub(crate) fn section(&mut self, text: &str) {
        println!("\n{text}");
        text.trim().clone_into(&mut self.section);
    }

    /// A figure, and whether it is what it has to be.
    #[expect(clippy::print_stdout, reason = "it talks to a person")]
    pub(crate) fn figure(&mut self, what: &str, value: f64, unit: &str, target: Target) {
        let (target, met) = match target {
            Target::Most(most) => (format!("<= {}", shown(most)), Some(value <= most)),
            Target::Least(least) => (format!(">= {}", shown(least)), Some(value >= least)),
            Target::None => (String::new(), None),
        };
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        println!(
            "{}",
            format!("  {what:<66} {:>9} {unit:<6} {target:<9} {verdict}", shown(value)).trim_end()
        );
        let (section, what, unit) = (self.section.clone(), what.to_owned(), unit.to_owned());
        self.rows.push(Row { section, what, value, unit, target, met });
    }

    /// All figures so far.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How many figures are held against something, and those that are not what they have to be.
    pub(crate) fn verdict(&self) -> (usize, Vec<&str>) {
        let missed = self.rows.iter().filter(|row| row.met == Some(false));
        let held = self.rows.iter().filter(|row| row.met.is_some()).count();
        (held, missed.map(|row| row.what.as_str()).collect())
    }

    /// What came of it.
    #[expect(clippy::print_stdout, reason = "it talks to a person")]
    pub(crate) fn end(&self) {
        let (held, missed) = self.verdict();
        println!("\n{} of {held} figures met", held - missed.len());
        missed.iter().for_each(|what| println!("  missed: {what}"));
    }
}

/// A figure with as many digits as tell something.
pub(crate) fn shown(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        3
    };
    format!("{value:.digits$}")
}

/// In milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The one in the middle; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The smallest; 0 of none.
pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or_default()
}

/// In MiB, from KiB.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A number of things as one that can be divided.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_counted_and_those_that_miss_are_named() {
        let mut table = Table::default();
        table.figure("a", 3.0, "ms", Target::Most(3.0));
        table.figure("b", 0.79, "", Target::Least(0.8));
        table.figure("c", 1.0, "", Target::None);
        assert_eq!(table.verdict(), (2, vec!["b"]));
        assert_eq!((table.rows().len(), table.rows()[1].target.as_str()), (3, ">= 0.800"));
        assert_eq!((median(vec![3.0, 1.0, 2.0]), least(&[2.0, 1.0])), (2.0, 1.0));
        assert_eq!([shown(0.12345), shown(12.345), shown(1234.5)], ["0.123", "12.3", "1234"]);
    }
}
