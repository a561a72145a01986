//! What a run reached.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) ends: u64,
    pub(crate) faults: u64,
    pub(crate) settled: u64,
    pub(crate) starts: u64,
    pub(crate) lines: u64,
    pub(crate) figures: u64,
    pub(crate) refused: u64,
    pub(crate) done: u64,
    pub(crate) spooled: u64,
    pub(crate) hand_overs: u64,
    /// Commands by their kind.
    pub(crate) commands: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(crate) fn command(&mut self, kind: &'static str) {
        *self.commands.entry(kind).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.ends += other.ends;
        self.faults += other.faults;
        self.settled += other.settled;
        self.starts += other.starts;
        self.lines += other.lines;
        self.figures += other.figures;
        self.refused += other.refused;
        self.done += other.done;
        self.spooled += other.spooled;
        self.hand_overs += other.hand_overs;
        for (kind, count) in &other.commands {
            *self.commands.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, kills, power_cuts, ends, faults, settled, starts, lines, .. } = self;
        write!(f, "{steps} steps, {kills} kills, {power_cuts} power cuts, {ends} ends, ")?;
        write!(f, "{} of them handed over, {faults} faults, ", self.hand_overs)?;
        write!(
            f,
            "{settled} times settled; {starts} tenders started, {} streams spooled, {lines} lines and {} figures seen by subscribers; ",
            self.spooled, self.figures
        )?;
        write!(f, "{} commands done, {} refused; sent:", self.done, self.refused)?;
        self.commands.iter().try_for_each(|(kind, count)| write!(f, " {kind} {count}"))
    }
}
