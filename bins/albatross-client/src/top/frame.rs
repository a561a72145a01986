//! How what is known is laid out on a screen. ASCII only but for what consoles say, so that any terminal shows it.

use std::fmt::Write;

use albatross_driver::escape;
use albatross_proto::reply::State;
use albatross_proto::{Path, Policy, Time};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::model::{Line, Model, Unikernel, Used};

/// Columns of a name that are shown at least; where there is no room, figures are left out for it.
const LEAST_NAME: usize = 12;

/// The figures of a unikernel, by importance: the last are left out first.
const COLUMNS: [Column; 7] = [
    Column { title: "STATE", width: 8, show: state },
    Column { title: "CPU%", width: 6, show: cpu },
    Column { title: "MEMORY", width: 11, show: memory },
    Column { title: "RESTARTS", width: 8, show: restarts },
    Column { title: "RECV/s", width: 6, show: received },
    Column { title: "SENT/s", width: 6, show: sent },
    Column { title: "FOR", width: 6, show: since },
];

/// Columns of what a policy allows: a bar, and how much of how much.
const FIGURE: usize = 12;
const LEAST_BAR: usize = 6;
const MOST_BAR: usize = 20;

/// A policy that is used by so much, in per cent, is coloured.
const NEARLY: i64 = 80;
const FULL: i64 = 100;

struct Column {
    title: &'static str,
    width: usize,
    show: fn(&Unikernel, Time) -> String,
}

/// What stands around it: where it is from, and when.
pub(crate) struct Around<'a> {
    /// Who is asked.
    pub(crate) destination: &'a str,
    pub(crate) now: Time,
}

/// Draws all of it.
pub(crate) fn draw(model: &mut Model, around: &Around<'_>, buffer: &mut Buffer) {
    let area = buffer.area;
    let heights = Heights::of(model, area.height);
    model.set_page(usize::from(heights.console));
    let mut page = Page { buffer, y: area.y, width: usize::from(area.width) };
    head(&mut page, model, around);
    unikernels(&mut page, model, around.now, heights.unikernels);
    policies(&mut page, model, heights.policies);
    console(&mut page, model, heights.console);
    feet(&mut page, model, area);
}

/// Lines of each part, without their titles.
#[derive(Debug, PartialEq, Eq)]
struct Heights {
    unikernels: u16,
    policies: u16,
    console: u16,
}

impl Heights {
    /// The console gets what the others leave, and a third at least where there is room for all.
    fn of(model: &Model, height: u16) -> Self {
        // The first line and the last, what is wrong, the titles of unikernels and the console.
        let fixed = 4 + u16::from(model.troubles().next().is_some());
        let left = height.saturating_sub(fixed);
        let wanted = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let policies = match wanted(model.policy_count()) {
            0 => 0,
            _ if model.hides_policies => 0,
            // One more for their title.
            count => count.min(left / 4).saturating_add(1),
        };
        let policies = if policies > 1 { policies } else { 0 };
        let left = left - policies.min(left);
        let unikernels = wanted(model.ordered().len()).clamp(1, (left - left / 2).max(1)).min(left);
        Self { unikernels, policies: policies.saturating_sub(1), console: left - unikernels }
    }
}

/// A screen that is filled from above.
struct Page<'a> {
    buffer: &'a mut Buffer,
    y: u16,
    width: usize,
}

impl Page<'_> {
    /// Writes a line; what is beyond the screen is cut. Nothing in `text` reaches the terminal that it would obey.
    fn line(&mut self, text: &str, style: Style) {
        self.at(0, text, style);
        self.y = self.y.saturating_add(1);
    }

    fn at(&mut self, x: usize, text: &str, style: Style) {
        let area = self.buffer.area;
        let Ok(x) = u16::try_from(x) else { return };
        if self.y < area.bottom() && x < area.right() {
            // It leaves out what is still a control character: whoever comes here has escaped.
            self.buffer.set_stringn(x, self.y, text, self.width, style);
        }
    }

    /// Gives the whole line this style.
    fn style(&mut self, style: Style) {
        let area = self.buffer.area;
        if self.y < area.bottom() {
            self.buffer.set_style(Rect { y: self.y, height: 1, ..area }, style);
        }
    }
}

const fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

const fn title() -> Style {
    Style::new().add_modifier(Modifier::UNDERLINED)
}

fn head(page: &mut Page<'_>, model: &Model, around: &Around<'_>) {
    let (mut running, mut waiting, mut failed) = (0_usize, 0_usize, 0_usize);
    let all = model.ordered();
    for (_, unikernel) in &all {
        match unikernel.status.as_ref().map(|status| &status.state) {
            None | Some(State::Running) => running += 1,
            Some(State::Starting | State::Waiting(_)) => waiting += 1,
            Some(State::Failed(_)) => failed += 1,
        }
    }
    let mut text = format!("{}  ", around.destination);
    if let Some(base) = model.base.as_ref().filter(|base| !base.is_root()) {
        _ = write!(text, "{base}:  ");
    }
    _ = write!(text, "{} unikernels, {running} running", all.len() + model.left_out);
    for (count, word) in [(waiting, "waiting"), (failed, "failed"), (model.left_out, "not shown")] {
        if count > 0 {
            _ = write!(text, ", {count} {word}");
        }
    }
    page.at(0, &text, bold());
    let clock = format!(" {}", clock(around.now));
    page.at(page.width.saturating_sub(clock.len()), &clock, bold());
    page.y = page.y.saturating_add(1);
}

fn unikernels(page: &mut Page<'_>, model: &Model, now: Time, rows: u16) {
    let mut columns = COLUMNS.as_slice();
    let taken = |columns: &[Column]| columns.iter().map(|column| column.width + 1).sum::<usize>();
    while let Some((_, fewer)) = columns.split_last()
        && taken(columns) + LEAST_NAME > page.width
    {
        columns = fewer;
    }
    let name_width = page.width.saturating_sub(taken(columns));
    let mut line = format!("{:name_width$}", "UNIKERNEL");
    for column in columns {
        _ = write!(line, " {:>1$}", column.title, column.width);
    }
    page.line(&line, title());
    let (all, at) = (model.ordered(), model.selected_at());
    let begin = window(all.len(), at, usize::from(rows));
    let mut left = rows;
    for (index, (name, unikernel)) in all.iter().enumerate().skip(begin).take(usize::from(rows)) {
        let mut line = format!("{:name_width$}", end_of(&shown(name), name_width));
        for column in columns {
            _ = write!(line, " {:>1$}", (column.show)(unikernel, now), column.width);
        }
        let style =
            if index == at { Style::new().add_modifier(Modifier::REVERSED) } else { colour(unikernel) };
        page.style(style);
        page.line(&line, style);
        left -= 1;
    }
    page.y = page.y.saturating_add(left);
}

/// A unikernel without the `:` that it is below the root by.
fn shown(name: &albatross_proto::Name) -> String {
    let name = name.to_string();
    name.strip_prefix(':').map_or_else(|| name.clone(), str::to_owned)
}

/// The end of a name: its label tells most.
fn end_of(text: &str, width: usize) -> String {
    let Some(cut) = text.len().checked_sub(width).filter(|cut| *cut > 0) else { return text.to_owned() };
    format!("~{}", text.get(cut + 1..).unwrap_or_default())
}

fn colour(unikernel: &Unikernel) -> Style {
    match unikernel.status.as_ref().map(|status| &status.state) {
        Some(State::Failed(_)) => Style::new().fg(Color::Red),
        Some(State::Waiting(_) | State::Starting) => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

/// The first of `rows` lines out of `count`, so that the one at `at` is among them.
fn window(count: usize, at: usize, rows: usize) -> usize {
    at.saturating_sub(rows / 2).min(count.saturating_sub(rows))
}

fn state(unikernel: &Unikernel, _: Time) -> String {
    match unikernel.status.as_ref().map(|status| &status.state) {
        None | Some(State::Running) => "running",
        Some(State::Starting) => "starting",
        Some(State::Waiting(_)) => "waiting",
        Some(State::Failed(_)) => "failed",
    }
    .to_owned()
}

fn cpu(unikernel: &Unikernel, _: Time) -> String {
    unikernel.rates.map_or_else(nothing, |rates| format!("{}.{}", rates.cpu / 10, rates.cpu % 10))
}

fn memory(unikernel: &Unikernel, _: Time) -> String {
    let used = unikernel.sample.as_ref().map_or_else(nothing, |sample| short(sample.memory));
    let limit = unikernel.limit.map_or_else(nothing, |limit| short(limit.saturating_mul(1024 * 1024)));
    format!("{used}/{limit}")
}

fn restarts(unikernel: &Unikernel, _: Time) -> String {
    unikernel.status.as_ref().map_or_else(nothing, |status| status.restarts.get().to_string())
}

fn received(unikernel: &Unikernel, _: Time) -> String {
    unikernel.rates.map_or_else(nothing, |rates| short(rates.received))
}

fn sent(unikernel: &Unikernel, _: Time) -> String {
    unikernel.rates.map_or_else(nothing, |rates| short(rates.sent))
}

fn since(unikernel: &Unikernel, now: Time) -> String {
    let since = unikernel.started.or_else(|| unikernel.status.as_ref().map(|status| status.since));
    since.map_or_else(nothing, |since| duration(now.unix_seconds() - since.unix_seconds()))
}

/// What is not known.
fn nothing() -> String {
    "-".to_owned()
}

/// Octets in five columns at most, with the units of 1024 that the limits have.
fn short(octets: i64) -> String {
    let mut units = ["K", "M", "G", "T", "P", "E"].into_iter();
    let (mut whole, mut tenths, mut unit) = (octets.max(0), 0, "");
    while whole >= 1000
        && let Some(next) = units.next()
    {
        (whole, tenths, unit) = (whole / 1024, whole % 1024 * 10 / 1024, next);
    }
    if whole < 10 && !unit.is_empty() { format!("{whole}.{tenths}{unit}") } else { format!("{whole}{unit}") }
}

/// A number in five columns at most: a policy may allow more than there ever is.
fn counted(number: i64) -> String {
    let mut units = ["k", "M", "G", "T", "P", "E"].into_iter();
    let (mut whole, mut unit) = (number.max(0), "");
    while whole >= if unit.is_empty() { 100_000 } else { 10_000 }
        && let Some(next) = units.next()
    {
        (whole, unit) = (whole / 1000, next);
    }
    format!("{whole}{unit}")
}

/// Seconds in six columns at most; the clock of another host may be ahead of ours.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m{:02}s", seconds % 60),
        () if days == 0 => format!("{hours}h{:02}m", minutes % 60),
        () if days < 100 => format!("{days}d{:02}h", hours % 24),
        () => format!("{days}d"),
    }
}

/// `HH:MM:SS`, UTC as everywhere in albatross.
fn clock(time: Time) -> String {
    let seconds = time.unix_seconds().rem_euclid(86400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn policies(page: &mut Page<'_>, model: &Model, rows: u16) {
    if rows == 0 {
        return;
    }
    let (count, visible) = (model.policy_count(), usize::from(rows));
    let bar = (LEAST_BAR + page.width.saturating_sub(80) / 6).min(MOST_BAR);
    let figures = [
        ("UNIKERNELS", Used::unikernels as fn(&Used) -> i64, unikernels_allowed as fn(&Policy) -> i64),
        ("MEMORY MB", Used::memory, memory_allowed),
        ("BLOCK MB", Used::block, block_allowed),
    ];
    // The brackets of the bar, and the gaps before it and the figure.
    let width = bar + 4 + FIGURE;
    let path_width = page.width.saturating_sub(3 * width);
    let all = if count > visible { format!(" ({visible} of {count})") } else { String::new() };
    let mut line = format!("{:path_width$}", format!("POLICY{all}"));
    for (name, _, _) in figures {
        _ = write!(line, " {name:<0$}", width - 1);
    }
    page.line(&line, title());
    let begin = window(count, model.nearest_policy(), visible);
    for (path, policy, used) in model.policies().skip(begin).take(visible) {
        page.at(0, &end_of(&path_shown(path), path_width.saturating_sub(1)), Style::new());
        for (index, (_, used_of, allowed_of)) in figures.iter().enumerate() {
            let (used, allowed) = (used_of(&used), allowed_of(policy));
            let style = pressure(used, allowed);
            let text = format!("[{}] {}/{}", filled(used, allowed, bar), counted(used), counted(allowed));
            page.at(path_width + index * width + 1, &text, style);
        }
        page.y = page.y.saturating_add(1);
    }
}

fn path_shown(path: &Path) -> String {
    format!("{path}:")
}

impl Used {
    const fn unikernels(&self) -> i64 {
        self.unikernels
    }

    const fn memory(&self) -> i64 {
        self.memory
    }

    const fn block(&self) -> i64 {
        self.block
    }
}

const fn unikernels_allowed(policy: &Policy) -> i64 {
    policy.unikernels.get()
}

const fn memory_allowed(policy: &Policy) -> i64 {
    policy.memory.get()
}

fn block_allowed(policy: &Policy) -> i64 {
    policy.block.map_or(0, albatross_proto::Int::get)
}

/// A bar; one that is not empty shows, one that is full only where nothing is left.
fn filled(used: i64, allowed: i64, width: usize) -> String {
    let all = i64::try_from(width).unwrap_or(0);
    let part = match used.saturating_mul(all).checked_div(allowed) {
        _ if used <= 0 => 0,
        None => all,
        Some(part) => part.clamp(1, all),
    };
    let part = usize::try_from(part).unwrap_or(0);
    format!("{}{}", "#".repeat(part), ".".repeat(width - part.min(width)))
}

fn pressure(used: i64, allowed: i64) -> Style {
    match used.saturating_mul(100).checked_div(allowed) {
        Some(percent) if percent >= FULL => Style::new().fg(Color::Red),
        Some(percent) if percent >= NEARLY => Style::new().fg(Color::Yellow),
        None if used > 0 => Style::new().fg(Color::Red),
        _ => Style::new().fg(Color::Green),
    }
}

fn console(page: &mut Page<'_>, model: &Model, rows: u16) {
    let (lines, newer) = model.console(usize::from(rows));
    let mut text = match model.selected() {
        Some(name) => format!("CONSOLE of {}", shown(name)),
        None => "CONSOLE".to_owned(),
    };
    if newer > 0 {
        _ = write!(text, ", {newer} newer lines below");
    }
    let width = page.width;
    page.line(&format!("{text:width$}"), title());
    let mut left = rows;
    for Line { time, octets } in lines {
        page.line(&format!("{} {}", clock(*time), escape::bytes(octets)), Style::new());
        left = left.saturating_sub(1);
    }
    page.y = page.y.saturating_add(left);
}

fn feet(page: &mut Page<'_>, model: &Model, area: Rect) {
    let troubles: Vec<_> = model.troubles().map(|text| escape::line(text).to_string()).collect();
    if !troubles.is_empty() {
        page.y = area.bottom().saturating_sub(2).max(area.y);
        page.style(Style::new());
        page.line(&troubles.join(" | "), Style::new().fg(Color::Red));
    }
    if area.height > 1 {
        page.y = area.bottom().saturating_sub(1);
        let order = model.order.word();
        page.line(
            &format!("q quit  up/down select  pgup/pgdn console  s sort ({order})  p policies"),
            Style::new().add_modifier(Modifier::DIM),
        );
    }
}

#[cfg(test)]
mod tests;
