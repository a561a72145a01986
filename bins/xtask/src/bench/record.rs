//! What was measured of two implementations in turns, and the ratios.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::measure::table::{median, shown};

/// Ours, and the other one.
pub(crate) const SIDES: usize = 2;

/// Figures of both sides by what they are about.
#[derive(Default)]
pub(crate) struct Comparison {
    rows: Vec<Row>,
}

struct Row {
    section: String,
    what: String,
    unit: &'static str,
    values: [Vec<f64>; SIDES],
    /// What was seen that is no number.
    remarks: [Vec<String>; SIDES],
}

/// One side of it, to be written to.
pub(crate) struct Side<'a> {
    comparison: &'a mut Comparison,
    side: usize,
}

impl Comparison {
    /// Ours is 0, the other one is 1.
    pub(crate) const fn side(&mut self, side: usize) -> Side<'_> {
        Side { comparison: self, side }
    }

    /// The row of this figure; a new one comes at the end of its section.
    fn row(&mut self, section: &str, what: &str, unit: &'static str) -> Option<&mut Row> {
        let found = self.rows.iter().position(|row| row.section == section && row.what == what);
        let at = found.unwrap_or_else(|| {
            let end = self.rows.iter().rposition(|row| row.section == section);
            let end = end.map_or(self.rows.len(), |last| last + 1);
            let (section, what) = (section.to_owned(), what.to_owned());
            let row = Row { section, what, unit, values: Default::default(), remarks: Default::default() };
            self.rows.insert(end, row);
            end
        });
        self.rows.get_mut(at)
    }

    /// What ours could not do.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.rows.iter().filter(|row| row.what == FAILED);
        failed.flat_map(|row| row.remarks.iter().take(1).flatten().cloned()).collect()
    }

    /// As Markdown: the median of each side with the least and the most, and ours divided by the other's.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| measure | figure | unit | ours | the other's | ours / the other's |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let [ours, other] = [0, 1].map(|side| row.cell(side));
            let ratio = row.ratio().map_or_else(String::new, shown);
            let Row { section, what, unit, .. } = row;
            // Writing to a string does not fail.
            _ = writeln!(text, "| {section} | {what} | {unit} | {ours} | {other} | {ratio} |");
        }
        text
    }

    /// Every single value.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "section": row.section, "what": row.what, "unit": row.unit, "ratio": row.ratio(),
                "ours": row.values[0], "other": row.values[1], "remarks": row.remarks,
            })
        };
        self.rows.iter().map(row).collect()
    }
}

/// What a measure is called that could not be taken.
const FAILED: &str = "failed";

impl Row {
    fn ratio(&self) -> Option<f64> {
        let [ours, other] = &self.values;
        let ratio = median(ours.clone()) / median(other.clone());
        (!ours.is_empty() && !other.is_empty() && ratio.is_finite()).then_some(ratio)
    }

    fn cell(&self, side: usize) -> String {
        let values = self.values.get(side).map_or(&[][..], Vec::as_slice);
        let remarks = self.remarks.get(side).map_or(&[][..], Vec::as_slice);
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let figure = match (sorted.first(), sorted.last()) {
            (Some(least), Some(most)) if sorted.len() > 1 => {
                format!("{} ({} .. {})", shown(median(sorted.clone())), shown(*least), shown(*most))
            }
            (Some(one), _) => shown(*one),
            _ => String::new(),
        };
        let remarks = remarks.join("; ").replace('|', "/").replace('\n', " ");
        let cell = format!("{figure} {remarks}");
        if cell.trim().is_empty() { "-".to_owned() } else { cell.trim().to_owned() }
    }
}

impl Side<'_> {
    /// A value of a figure.
    pub(crate) fn add(&mut self, section: &str, what: &str, unit: &'static str, value: f64) {
        let row = self.comparison.row(section, what, unit);
        if let Some(values) = row.and_then(|row| row.values.get_mut(self.side)) {
            values.push(value);
        }
    }

    /// What was seen that is no number; once, however often it is seen.
    pub(crate) fn remark(&mut self, section: &str, what: &str, remark: &str) {
        let row = self.comparison.row(section, what, "");
        if let Some(remarks) = row.and_then(|row| row.remarks.get_mut(self.side))
            && !remarks.iter().any(|it| it == remark)
        {
            remarks.push(remark.to_owned());
        }
    }

    /// A measure could not be taken, and why.
    pub(crate) fn failed(&mut self, section: &str, why: &str) {
        self.remark(section, FAILED, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_both_sides_stand_beside_each_other_with_their_ratio() {
        let mut comparison = Comparison::default();
        comparison.side(0).add("a", "rate", "1/s", 30.0);
        comparison.side(0).add("b", "time", "ms", 1.0);
        [9.0, 10.0, 11.0].into_iter().for_each(|value| comparison.side(1).add("a", "rate", "1/s", value));
        comparison.side(1).failed("b", "it is | gone");
        comparison.side(1).failed("b", "it is | gone");
        comparison.side(0).add("a", "later", "", 2.0);
        let text = comparison.markdown();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| a | rate | 1/s | 30.0 | 10.0 (9.000 .. 11.0) | 3.000 |",
                "| a | later |  | 2.000 | - |  |",
                "| b | time | ms | 1.000 | - |  |",
                "| b | failed |  | - | it is / gone |  |",
            ]
        );
        assert!(comparison.failures().is_empty(), "the other one failed");
        comparison.side(0).failed("c", "no");
        assert_eq!(comparison.failures(), ["no"]);
        assert_eq!(comparison.json()[0]["ratio"], 3.0);
    }
}
