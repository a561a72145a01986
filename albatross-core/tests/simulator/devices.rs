//! What was promised to clients of block devices: kept beside the machine, from nothing but commands and
//! replies.
//!
//! Of each name, what may be on it now. An acknowledged change leaves one possibility, a refused one changes
//! nothing. What is on its way is there as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use albatross_proto::Name;

/// What a command is to make of a block device.
#[derive(Clone, Debug)]
pub(crate) enum BlockChange {
    /// Makes it, of so many octets, with this content at its beginning; without any it cannot be made.
    Add(usize, Option<Vec<u8>>),
    /// Fills it with this, which is not known of a stream before its end, or can never be on a device.
    Set(Option<Vec<u8>>),
    Remove,
}

type Content = Option<Vec<u8>>;

#[derive(Default)]
struct Slot {
    /// Empty for a device that never was.
    may: Vec<Content>,
    coming: Vec<(i64, BlockChange)>,
}

#[derive(Default)]
pub(crate) struct Devices(BTreeMap<Name, Slot>);

fn add(list: &mut Vec<Content>, more: Vec<Content>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

/// `octets` and zeros, on a device of this length.
fn padded(octets: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut whole = octets.to_vec();
    whole.resize(length.max(octets.len()), 0);
    (octets.len() <= length).then_some(whole)
}

/// What a change makes of one of these.
fn results(known: &[Content], change: &BlockChange) -> Vec<Content> {
    let is_there = known.iter().any(Option::is_some);
    match change {
        BlockChange::Add(length, Some(octets)) if known.contains(&None) => {
            padded(octets, *length).map(Some).into_iter().collect()
        }
        BlockChange::Set(Some(octets)) => {
            known.iter().flatten().filter_map(|old| padded(octets, old.len())).map(Some).collect()
        }
        BlockChange::Remove if is_there => vec![None],
        _ => Vec::new(),
    }
}

impl Slot {
    fn certain(&self) -> Vec<Content> {
        if self.may.is_empty() { vec![None] } else { self.may.clone() }
    }

    /// All that it may be, with what comes: also of those whose client is gone, one after the other.
    fn all(&self) -> Vec<Content> {
        let mut all = self.certain();
        for _ in 0..2 {
            for (_, change) in &self.coming {
                let more = results(&all, change);
                add(&mut all, more);
            }
        }
        all
    }
}

impl Devices {
    pub(crate) fn sent(&mut self, name: &Name, number: i64, change: BlockChange) {
        self.0.entry(name.clone()).or_default().coming.push((number, change));
    }

    /// A stream came to its end with this content.
    pub(crate) fn streamed(&mut self, name: &Name, number: i64, content: Option<Vec<u8>>) {
        let slot = self.0.entry(name.clone()).or_default();
        if let Some((_, change)) = slot.coming.iter_mut().find(|(other, _)| *other == number) {
            *change = BlockChange::Set(content);
        }
    }

    /// A command was answered. What is wrong with that?
    pub(crate) fn answered(&mut self, name: &Name, number: i64, success: bool) -> Option<String> {
        let slot = self.0.entry(name.clone()).or_default();
        let at = slot.coming.iter().position(|(other, _)| *other == number)?;
        let (_, change) = slot.coming.remove(at);
        if success {
            slot.may = results(&slot.all(), &change);
            return slot.may.is_empty().then(|| format!("{name}: {change:?} cannot have been done"));
        }
        None
    }

    /// A change that failed at its very end may have come to be.
    pub(crate) fn doubt(&mut self, name: &Name, found: Content) {
        let slot = self.0.entry(name.clone()).or_default();
        slot.may = slot.certain();
        add(&mut slot.may, vec![found]);
    }

    /// Its unikernel wrote to it, or it was looked at.
    pub(crate) fn is(&mut self, name: &Name, found: Content) {
        let slot = self.0.entry(name.clone()).or_default();
        slot.may = vec![found];
    }

    pub(crate) fn may_be(&self, name: &Name, found: &Content) -> bool {
        self.0.get(name).map_or_else(|| found.is_none(), |slot| slot.all().contains(found))
    }

    /// Whether this is what was acknowledged.
    pub(crate) fn is_said(&self, name: &Name, found: &Content) -> bool {
        self.0.get(name).is_some_and(|slot| slot.certain().contains(found))
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        self.0.keys().cloned().collect()
    }

    /// albatrossd begins, and nobody waits for it: what is there is so from now on.
    pub(crate) fn begin(&mut self, found: &BTreeMap<Name, Vec<u8>>) -> Option<String> {
        let mut wrong = None;
        for name in found.keys() {
            self.0.entry(name.clone()).or_default();
        }
        for (name, slot) in &mut self.0 {
            let found = found.get(name).cloned();
            if !slot.all().contains(&found) {
                wrong = Some(format!("block device {name} has {found:?} and may have {:?}", slot.all()));
            }
            *slot = Slot { may: vec![found], coming: Vec::new() };
        }
        wrong
    }

    /// Nobody waits for anything. A device that is listed and not there is one of which the removal failed late.
    pub(crate) fn settle(&mut self, found: &BTreeMap<Name, Vec<u8>>, listed: &BTreeSet<Name>) {
        for (name, slot) in &mut self.0 {
            slot.coming.clear();
            if found.contains_key(name) || !listed.contains(name) {
                slot.may = vec![found.get(name).cloned()];
            }
        }
    }
}
