//! A disk: what is written, and what of that would survive a power cut.
//!
//! Content survives once its file was synced, names once their directory was. Of what was not synced a power cut
//! leaves any part: some of the changes of names, a beginning of the octets, or zeros in their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::random::Random;

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone)]
enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Changes of names since their directory was synced.
    changes: Vec<Change>,
}

impl Disk {
    /// A new file of this content, in place of what had the name.
    pub(crate) fn create(&mut self, path: &Path, content: &[u8]) {
        self.inodes.push(Inode { content: content.to_vec(), durable: Vec::new() });
        let inode = self.inodes.len() - 1;
        self.names.insert(path.to_owned(), inode);
        self.changes.push(Change::Link(path.to_owned(), inode));
    }

    pub(crate) fn append(&mut self, path: &Path, octets: &[u8]) -> bool {
        let Some(inode) = self.names.get(path) else { return false };
        self.inodes[*inode].content.extend_from_slice(octets);
        true
    }

    /// Other content for a file that is there.
    pub(crate) fn write(&mut self, path: &Path, content: &[u8]) {
        if let Some(inode) = self.names.get(path) {
            self.inodes[*inode].content = content.to_vec();
        }
    }

    pub(crate) fn sync(&mut self, path: &Path) {
        if let Some(inode) = self.names.get(path) {
            let inode = &mut self.inodes[*inode];
            inode.durable.clone_from(&inode.content);
        }
    }

    pub(crate) fn sync_directory(&mut self, directory: &Path) {
        let is_there = |path: &Path| path.parent() == Some(directory);
        let (now, later) = std::mem::take(&mut self.changes).into_iter().partition(|change| match change {
            Change::Link(path, _) | Change::Unlink(path) | Change::Rename(_, path, _) => is_there(path),
        });
        self.changes = later;
        self.survive(now);
    }

    /// A second name for a file.
    pub(crate) fn link(&mut self, from: &Path, to: &Path) {
        if let Some(inode) = self.names.get(from).copied() {
            self.names.insert(to.to_owned(), inode);
            self.changes.push(Change::Link(to.to_owned(), inode));
        }
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(inode) = self.names.remove(from) {
            self.names.insert(to.to_owned(), inode);
            self.changes.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        }
    }

    pub(crate) fn remove(&mut self, path: &Path) -> bool {
        let removed = self.names.remove(path).is_some();
        if removed {
            self.changes.push(Change::Unlink(path.to_owned()));
        }
        removed
    }

    pub(crate) fn read(&self, path: &Path) -> Option<&[u8]> {
        self.names.get(path).map(|inode| self.inodes[*inode].content.as_slice())
    }

    /// What would be there of a file after a power cut that leaves nothing that is not durable.
    pub(crate) fn read_durable(&self, path: &Path) -> Option<&[u8]> {
        self.durable.get(path).map(|inode| self.inodes[*inode].durable.as_slice())
    }

    /// The files of a directory.
    pub(crate) fn list(&self, directory: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect()
    }

    pub(crate) fn power_cut(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.changes);
        let in_order = random.once_in(2);
        let cut = random.below(changes.len() + 1);
        let survive = |index: usize, random: &mut Random| {
            if in_order { index < cut } else { random.once_in(2) }
        };
        let left = changes.into_iter().enumerate();
        let left = left.filter(|(index, _)| survive(*index, random)).map(|(_, change)| change).collect();
        self.survive(left);
        self.names.clone_from(&self.durable);
        for inode in &mut self.inodes {
            if inode.content != inode.durable {
                tear(inode, random);
            }
        }
    }

    fn survive(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Link(path, inode) => _ = self.durable.insert(path, inode),
                Change::Unlink(path) => _ = self.durable.remove(&path),
                Change::Rename(from, to, inode) => {
                    self.durable.remove(&from);
                    self.durable.insert(to, inode);
                }
            }
        }
    }
}

/// Leaves some of what was not synced. Files are written at their end only.
fn tear(inode: &mut Inode, random: &mut Random) {
    let begin = inode.durable.len();
    let kept = begin + random.below(inode.content.len() - begin + 1);
    match random.below(3) {
        0 => inode.content.truncate(kept),
        1 => inode.content[kept..].fill(0),
        _ => inode.content.truncate(begin),
    }
    inode.durable.clone_from(&inode.content);
}
