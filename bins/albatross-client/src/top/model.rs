//! What is known of what runs, and which part of it the user looks at. Nothing in here asks anybody or draws.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use albatross_proto::reply::{BlockDeviceInfo, Info, State, Status};
use albatross_proto::stats::Statistics;
use albatross_proto::{Name, Path, Policy, Time};

use super::rates::{Rates, Sample};

/// Unikernels that are kept; a host runs a thousand. A reply of 16 MiB could name a hundred times as many.
pub(crate) const MAX_UNIKERNELS: usize = 4096;

/// Policies that are kept, and block devices, for the same reason.
pub(crate) const MAX_POLICIES: usize = 4096;
pub(crate) const MAX_BLOCKS: usize = 4096;

/// Lines of the console that can be scrolled back to: as many as albatross-console keeps.
pub(crate) const MAX_LINES: usize = 1024;

/// Octets of a line that are kept. The console daemon cuts at 512; no screen is wider than what this shows.
pub(crate) const MAX_LINE: usize = 1024;

/// Who is asked, each over connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// What runs, policies, block devices.
    Daemon,
    Statistics,
    Console,
}

/// What the unikernels are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    #[default]
    Name,
    /// Who computes most comes first.
    Cpu,
    /// Who has most memory comes first.
    Memory,
}

impl Order {
    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Name,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The unikernel so many further down is selected; further up where it is negative.
    Select(isize),
    /// The first, or the last.
    SelectEnd(bool),
    /// So many pages back on the console, or forth.
    Scroll(isize),
    /// Ordered by something else.
    Reorder,
    /// Policies are shown, or not.
    TogglePolicies,
}

/// One unikernel on record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unikernel {
    /// What it does; `None` where the daemon tells only that it runs.
    pub(crate) status: Option<Status>,
    /// When it was started, where it runs.
    pub(crate) started: Option<Time>,
    /// What it may have, in MB, as it was told when it ran last.
    pub(crate) limit: Option<i64>,
    pub(crate) sample: Option<Sample>,
    pub(crate) rates: Option<Rates>,
}

impl Unikernel {
    /// Whether policies count it: it has a place, also between two starts.
    const fn counts(&self) -> bool {
        !matches!(&self.status, Some(Status { state: State::Failed(_), .. }))
    }
}

/// A line of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) time: Time,
    /// Any octets; [`MAX_LINE`] of them at most.
    pub(crate) octets: Box<[u8]>,
}

/// How much of a policy is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) unikernels: i64,
    /// In MB.
    pub(crate) memory: i64,
    /// In MB.
    pub(crate) block: i64,
}

/// What one round of questions has brought. Names are relative to what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The path that was asked for, in full.
    pub(crate) base: Path,
    pub(crate) running: Vec<(Name, Info)>,
    /// `None` where the daemon does not know the question.
    pub(crate) statuses: Option<Vec<(Name, Status)>>,
    /// `None` where it was not asked for in this round.
    pub(crate) policies: Option<Vec<(Name, Policy)>>,
    pub(crate) blocks: Option<Vec<(Name, BlockDeviceInfo)>>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The path that everything else is relative to; `None` before the first answer.
    pub(crate) base: Option<Path>,
    unikernels: BTreeMap<Name, Unikernel>,
    /// Unikernels that there was no room for.
    pub(crate) left_out: usize,
    /// By path.
    policies: Vec<(Path, Policy)>,
    blocks: Vec<(Path, i64)>,
    selected: Option<Name>,
    /// How often another one was selected.
    selections: u64,
    pub(crate) order: Order,
    pub(crate) hides_policies: bool,
    lines: VecDeque<Line>,
    /// Lines that are newer than the lowest one on the screen.
    scrolled: usize,
    /// Lines of the console on the screen, as it was drawn last.
    page: usize,
    troubles: BTreeMap<Link, String>,
}

impl Model {
    /// What a round of questions has brought takes the place of what was known.
    pub(crate) fn learn(&mut self, round: Round) {
        let Round { base, running, statuses, policies, blocks } = round;
        self.base = Some(base);
        let mut before = std::mem::take(&mut self.unikernels);
        let mut now: BTreeMap<Name, Unikernel> = BTreeMap::new();
        let mut left_out = BTreeSet::new();
        for (name, status) in statuses.into_iter().flatten() {
            if now.len() >= MAX_UNIKERNELS {
                left_out.insert(name);
                continue;
            }
            let mut unikernel = before.remove(&name).unwrap_or_default();
            // Counters of another process.
            if unikernel.status.as_ref().is_some_and(|before| before.pid != status.pid) {
                (unikernel.sample, unikernel.rates) = (None, None);
            }
            unikernel.started = None;
            unikernel.status = Some(status);
            now.insert(name, unikernel);
        }
        for (name, info) in running {
            if now.len() >= MAX_UNIKERNELS && !now.contains_key(&name) {
                left_out.insert(name);
                continue;
            }
            let unikernel = now.entry(name).or_insert_with_key(|name| {
                // Without a status it is one that runs.
                Unikernel { status: None, ..before.remove(name).unwrap_or_default() }
            });
            unikernel.started = Some(info.started);
            unikernel.limit = Some(info.memory.get());
        }
        self.unikernels = now;
        self.left_out = left_out.len();
        if let Some(policies) = policies {
            let paths = policies.into_iter().map(|(name, policy)| (name.path().clone(), policy));
            self.policies = paths.take(MAX_POLICIES).collect();
            self.policies.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        if let Some(blocks) = blocks {
            let sizes = blocks.into_iter().map(|(name, block)| (name.path().clone(), block.size.get()));
            self.blocks = sizes.take(MAX_BLOCKS).collect();
        }
        self.troubles.remove(&Link::Daemon);
        self.keep_selection();
    }

    /// What a unikernel has used; one that is not known is known later.
    pub(crate) fn sample(&mut self, now: Instant, name: &Name, statistics: &Statistics) {
        self.troubles.remove(&Link::Statistics);
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        let sample = Sample::new(now, statistics);
        match &unikernel.sample {
            // Two that come at once tell nothing together.
            Some(before) if sample.is_too_soon_after(before) => {}
            before => {
                unikernel.rates = before.as_ref().and_then(|before| sample.since(before));
                unikernel.sample = Some(sample);
            }
        }
    }

    /// A console is followed from its history on.
    pub(crate) fn begin_console(&mut self, name: &Name) {
        if self.selected.as_ref() == Some(name) {
            self.lines.clear();
            self.scrolled = 0;
        }
        self.troubles.remove(&Link::Console);
    }

    /// A line of the console of `name`, the name that it was selected by.
    pub(crate) fn console_line(&mut self, name: &Name, time: Time, octets: &[u8]) {
        if self.selected.as_ref() != Some(name) {
            return;
        }
        let octets = octets.get(..MAX_LINE).unwrap_or(octets).into();
        if self.lines.len() >= MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { time, octets });
        // Who looks back goes on seeing the same lines.
        if self.scrolled > 0 {
            self.scrolled = (self.scrolled + 1).min(self.most_scrolled());
        }
    }

    /// Something does not work, or works again.
    pub(crate) fn trouble(&mut self, link: Link, trouble: Option<String>) {
        match trouble {
            Some(text) => _ = self.troubles.insert(link, text),
            None => _ = self.troubles.remove(&link),
        }
        if link == Link::Statistics && self.troubles.contains_key(&link) {
            for unikernel in self.unikernels.values_mut() {
                (unikernel.sample, unikernel.rates) = (None, None);
            }
        }
    }

    /// What does not work, the most important first.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = &str> {
        self.troubles.values().map(String::as_str)
    }

    /// Does what the user wants.
    pub(crate) fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Select(by) => self.select(|at, last| at.saturating_add_signed(by).min(last)),
            Wish::SelectEnd(is_last) => self.select(|_, last| if is_last { last } else { 0 }),
            Wish::Scroll(pages) => {
                let lines = self.page.max(1).cast_signed().saturating_mul(pages);
                self.scrolled = self.scrolled.saturating_add_signed(lines).min(self.most_scrolled());
            }
            Wish::Reorder => self.order = self.order.next(),
            Wish::TogglePolicies => self.hides_policies = !self.hides_policies,
        }
    }

    /// So many lines of the console fit on the screen.
    pub(crate) fn set_page(&mut self, lines: usize) {
        self.page = lines;
        self.scrolled = self.scrolled.min(self.most_scrolled());
    }

    fn most_scrolled(&self) -> usize {
        self.lines.len().saturating_sub(self.page)
    }

    fn select(&mut self, choose: impl FnOnce(usize, usize) -> usize) {
        let (names, at) = (self.ordered(), self.selected_at());
        let chosen = names.get(choose(at, names.len().saturating_sub(1))).map(|(name, _)| (*name).clone());
        self.set_selected(chosen);
    }

    fn set_selected(&mut self, name: Option<Name>) {
        if self.selected != name {
            self.selected = name;
            self.selections += 1;
            self.lines.clear();
            self.scrolled = 0;
            self.troubles.remove(&Link::Console);
        }
    }

    /// Where the selected one is gone, the one that stands in its place is.
    fn keep_selection(&mut self) {
        if self.selected.as_ref().is_some_and(|name| self.unikernels.contains_key(name)) {
            return;
        }
        let next = self.selected.as_ref().and_then(|gone| self.unikernels.range(gone.clone()..).next());
        let next = next.or_else(|| self.unikernels.last_key_value()).map(|(name, _)| name.clone());
        let first = self.ordered().first().map(|(name, _)| (*name).clone());
        self.set_selected(if self.selected.is_some() { next } else { first });
    }

    /// The unikernel whose console is shown, relative to [`Self::base`].
    pub(crate) const fn selected(&self) -> Option<&Name> {
        self.selected.as_ref()
    }

    /// How often another one was selected: who looks twice sees whether there was another meanwhile.
    pub(crate) const fn selections(&self) -> u64 {
        self.selections
    }

    /// Where it stands among [`Self::ordered`].
    pub(crate) fn selected_at(&self) -> usize {
        let selected = self.selected.as_ref();
        self.ordered().iter().position(|(name, _)| Some(*name) == selected).unwrap_or(0)
    }

    /// The unikernels in the order that they are shown in.
    pub(crate) fn ordered(&self) -> Vec<(&Name, &Unikernel)> {
        let mut all: Vec<_> = self.unikernels.iter().collect();
        // Stable: equals stay in the order of names.
        match self.order {
            Order::Name => {}
            Order::Cpu => all.sort_by_key(|(_, it)| std::cmp::Reverse(it.rates.map(|rates| rates.cpu))),
            Order::Memory => {
                all.sort_by_key(|(_, it)| std::cmp::Reverse(it.sample.as_ref().map(|sample| sample.memory)));
            }
        }
        all
    }

    /// Policies by path, with what is used of them.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (&Path, &Policy, Used)> {
        self.policies.iter().map(|(path, policy)| (path, policy, self.used(path)))
    }

    /// How many policies there are.
    pub(crate) const fn policy_count(&self) -> usize {
        self.policies.len()
    }

    /// The policy that is nearest to the selected unikernel.
    pub(crate) fn nearest_policy(&self) -> usize {
        let Some(name) = &self.selected else { return 0 };
        let above = self.policies.iter().enumerate().filter(|(_, (path, _))| name.path().is_within(path));
        above.max_by_key(|(_, (path, _))| path.depth()).map_or(0, |(at, _)| at)
    }

    /// What is used at `path` and below.
    fn used(&self, path: &Path) -> Used {
        let within = self.unikernels.iter().filter(|(name, it)| name.path().is_within(path) && it.counts());
        let (mut unikernels, mut memory) = (0_i64, 0_i64);
        for (_, unikernel) in within {
            unikernels += 1;
            memory = memory.saturating_add(unikernel.limit.unwrap_or(0));
        }
        let blocks = self.blocks.iter().filter(|(at, _)| at.is_within(path));
        let block = blocks.fold(0_i64, |sum, (_, size)| sum.saturating_add(*size));
        Used { unikernels, memory, block }
    }

    /// The lines of the console that a screen of so many lines shows, and how many newer ones there are.
    pub(crate) fn console(&self, rows: usize) -> (impl Iterator<Item = &Line>, usize) {
        let scrolled = self.scrolled.min(self.lines.len().saturating_sub(rows));
        let end = self.lines.len() - scrolled;
        let begin = end.saturating_sub(rows);
        (self.lines.iter().skip(begin).take(end - begin), scrolled)
    }

    /// How many lines of the console are kept.
    #[cfg(test)]
    pub(crate) fn kept_lines(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
pub(super) mod tests;
