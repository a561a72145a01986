//! What albatrossd tells a database about itself: its connections and commands, and for each path with a policy what is
//! allowed and what is in use.

use std::collections::BTreeMap;

use albatross_proto::{Int, Path, Payload};

use super::Vmmd;
use crate::influx::Line;
use crate::influx::report::of_connections;
use crate::resources::Siblings;

/// What this daemon is called there.
pub const CALLED: &str = "albatross";

/// What happened since the daemon began.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: usize,
    commands: usize,
    failures: usize,
}

impl Counts {
    /// A command was answered with this.
    pub(super) fn answered(&mut self, payload: &Payload<'_>) {
        self.commands += 1;
        self.failures += usize::from(matches!(payload, Payload::Failure(_)));
    }
}

/// Block storage that unikernels have, and that nobody has, in MB.
#[derive(Clone, Copy, Default)]
struct Storage {
    attached: Int,
    unattached: Int,
}

impl Vmmd {
    /// What is measured now, each in a line of its own ([`crate::influx`]).
    #[must_use]
    pub fn measurements(&self) -> Vec<String> {
        let Counts { connections, commands, failures } = self.counts;
        let mut lines = vec![of_connections(CALLED, "unix", self.clients.len(), connections)];
        lines.push(line(
            "commands",
            None,
            &[("total", commands), ("failed", failures)]
                .map(|(key, count)| (key, Int::try_from(count).unwrap_or(Int::MAX))),
        ));
        let storage = self.storage();
        for (path, policy) in self.resources.policies(&Path::root(), Siblings::Ascending) {
            let block = policy.block.unwrap_or_default();
            lines.push(line(
                "albatross-policies",
                Some(&path),
                &[
                    ("maximum unikernels", policy.unikernels),
                    ("maximum memory", policy.memory),
                    ("maximum block", block),
                ],
            ));
            let usage = self.resources.usage(&path);
            let Storage { attached, unattached } = storage.get(&path).copied().unwrap_or_default();
            lines.push(line(
                "albatross-unikernels",
                Some(&path),
                &[
                    ("attached used block", attached),
                    ("unattached used block", unattached),
                    ("total used block", usage.block),
                    ("running unikernels", usage.unikernels),
                    ("used memory", usage.memory),
                ],
            ));
        }
        lines
    }

    /// The storage at and below each path that has some.
    fn storage(&self) -> BTreeMap<Path, Storage> {
        let mut all: BTreeMap<Path, Storage> = BTreeMap::new();
        for (name, block) in self.resources.blocks(&Path::root(), Siblings::Ascending) {
            for path in name.path().ancestors() {
                let storage = all.entry(path).or_default();
                let sum =
                    if block.user().is_some() { &mut storage.attached } else { &mut storage.unattached };
                *sum = sum.saturating_add(block.size());
            }
        }
        all
    }
}

fn line(measurement: &str, path: Option<&Path>, fields: &[(&str, Int)]) -> String {
    let mut out = String::new();
    let domain = path.map(|path| if path.is_root() { ":" } else { path.as_str() });
    let tags = [Some(("vm", CALLED)), domain.map(|domain| ("domain", domain))];
    let tags: Vec<(&str, &[u8])> =
        tags.into_iter().flatten().map(|(key, value)| (key, value.as_bytes())).collect();
    let mut line = Line::new(&mut out, measurement, &tags);
    fields.iter().for_each(|(key, value)| line.counter(key.as_bytes(), value.get()));
    line.end();
    out
}
