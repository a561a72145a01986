//! Block devices on the modelled disk, as the driver makes, fills and removes them, and what must be so of them.
//!
//! An octet of a file stands for [`SCALE`] octets of the device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use albatross_core::block::Content;
use albatross_core::vmmd::{BlockContent, BlockFile, BlockPlace, Task};
use albatross_core::vmmd::{Outcome, TaskFailure};
use albatross_proto::{BlockCommand, Command, Name, Payload, Success};

use crate::Sabotage;
use crate::effects::{Done, failed};
use crate::host::{Host, Process};
use crate::ledger::Version;

pub(crate) const SCALE: usize = 64 * 1024;
/// Octets of a file that stand for a MB.
pub(crate) const MB: usize = 16;

/// The file that a task is about.
pub(crate) fn file_of(task: &Task) -> Option<&Path> {
    match task {
        Task::MakeBlock { file, .. }
        | Task::FillBlock { file, .. }
        | Task::ReceiveBlock { file, .. }
        | Task::SendBlock { file, .. } => Some(&file.path),
        Task::RemoveBlock { path } => Some(path),
        _ => None,
    }
}

pub(crate) fn name_of(path: &Path) -> Option<Name> {
    path.file_name()?.to_str()?.parse().ok()
}

/// How long the file is.
pub(crate) fn length_of(place: &BlockPlace) -> usize {
    usize::try_from(place.length).unwrap() / SCALE
}

impl Host {
    pub(crate) fn block_path(&self, name: &Name) -> PathBuf {
        self.config.blocks().join(name.to_string())
    }

    /// What is on the devices that are there.
    pub(crate) fn devices(&self) -> BTreeMap<Name, Vec<u8>> {
        let files = self.disk.list(&self.config.blocks());
        let device = |path: &PathBuf| Some((name_of(path)?, self.disk.read(path)?.to_vec()));
        files.iter().filter_map(device).collect()
    }

    /// As `list` of albatrossd: what a daemon that was killed has not made durable is so from now on.
    pub(crate) fn block_files(&mut self) -> Vec<BlockFile> {
        let directory = self.config.blocks();
        self.disk.sync_directory(&directory);
        let file = |path: PathBuf| {
            let length = self.disk.read(&path)?.len() * SCALE;
            let owner = self.lent.get(&path).copied().unwrap_or(0);
            Some(BlockFile { name: path.file_name()?.to_owned(), length: u64::try_from(length).ok(), owner })
        };
        self.disk.list(&directory).into_iter().filter_map(file).collect()
    }

    pub(crate) fn block_task(&mut self, task: Task, fails: bool) -> Done {
        let Some(path) = file_of(&task).map(Path::to_owned) else { return failed("it is about no device") };
        let path = self.touched(path);
        self.check_unused(&path);
        match task {
            Task::MakeBlock { file, content } => self.make(&file, content, true, fails),
            Task::FillBlock { file, content } => self.make(&file, Some(content), false, fails),
            Task::RemoveBlock { .. } => self.remove_block(&path, fails),
            _ => failed("this daemon cannot do that"),
        }
    }

    /// The file that a task is carried out on.
    fn touched(&mut self, path: PathBuf) -> PathBuf {
        let used = self.processes.values().flat_map(|process| &process.blocks).next().cloned();
        match used {
            Some(used) if self.spoils(Sabotage::TouchUsed) => used,
            _ => path,
        }
    }

    fn make(&mut self, place: &BlockPlace, content: Option<BlockContent>, is_new: bool, fails: bool) -> Done {
        self.begin_unfinished(place);
        let mut octets = Vec::new();
        if let Some(content) = content {
            let mut intake = Content::new(content.compressed, u64::try_from(length_of(place)).unwrap());
            let keep = |piece: &[u8]| {
                octets.extend_from_slice(piece);
                Ok::<_, ()>(())
            };
            let fed = intake.feed(&content.octets, keep).unwrap();
            if let Err(error) = fed.and_then(|()| intake.finish()) {
                self.disk.remove(&place.unfinished);
                return Err(TaskFailure(error.to_string()));
            }
        }
        self.finish_block(place, &octets, is_new, fails)
    }

    pub(crate) fn begin_unfinished(&mut self, place: &BlockPlace) {
        self.disk.remove(&place.unfinished);
        self.disk.create(&place.unfinished, b"");
        self.disk.write(&place.unfinished, &vec![0; length_of(place)]);
        self.atom();
    }

    /// All content came: as `name` of `Unfinished` in albatrossd. It fails while it is written, or at the very end.
    pub(crate) fn finish_block(
        &mut self,
        place: &BlockPlace,
        octets: &[u8],
        is_new: bool,
        fails: bool,
    ) -> Done {
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        let BlockPlace { path, unfinished, .. } = place;
        let late = fails && !self.disk_full && self.counts.faults.is_multiple_of(3);
        let mut content = octets.to_vec();
        content.resize(length_of(place), 0);
        if fails && !late {
            self.disk.write(unfinished, &content[..content.len() / 2]);
            self.atom();
            self.disk.remove(unfinished);
            return failed("no space left");
        }
        self.disk.write(unfinished, &content);
        self.atom();
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        let durable = self.sabotage != Some(Sabotage::SkipBlockSync);
        if durable {
            self.disk.sync(unfinished);
        }
        self.atom();
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        if is_new && self.disk.read(path).is_some() {
            self.disk.remove(unfinished);
            return failed("file exists");
        }
        if is_new {
            self.disk.link(unfinished, path)
        } else {
            self.disk.rename(unfinished, path)
        }
        self.lent.remove(path);
        self.atom();
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        if late {
            if let Some(name) = name_of(path) {
                self.ledger.devices.doubt(&name, Some(content));
            }
            if is_new {
                self.disk.remove(path);
            }
            self.disk.remove(unfinished);
            return failed("input/output error");
        }
        if durable {
            self.disk.sync_directory(&self.config.blocks());
        }
        self.atom();
        self.disk.remove(unfinished);
        Ok(Outcome::Done)
    }

    fn remove_block(&mut self, path: &Path, fails: bool) -> Done {
        if fails && !self.counts.faults.is_multiple_of(3) {
            return failed("operation not permitted");
        }
        self.disk.remove(path);
        self.lent.remove(path);
        self.atom();
        if fails {
            if let Some(name) = name_of(path) {
                self.ledger.devices.doubt(&name, None);
            }
            return failed("input/output error");
        }
        if !self.stopped() && self.sabotage != Some(Sabotage::SkipBlockSync) {
            self.disk.sync_directory(&self.config.blocks());
        }
        Ok(Outcome::Done)
    }

    /// Nobody uses them any more, so they are the daemon's own again.
    pub(crate) fn take_back(&mut self, files: &[PathBuf]) {
        for file in files {
            if let Some(process) = self.processes.values().find(|process| process.blocks.contains(file)) {
                let text = format!("{} is taken from {}, which uses it", file.display(), process.name);
                return self.broke(text);
            }
            if !self.spoils(Sabotage::KeepLent) {
                self.lent.remove(file);
            }
        }
    }

    /// What is lent is what running tenders with a user of their own use.
    pub(crate) fn check_lent(&mut self) {
        let users = |process: &Process| {
            let user = process.user?;
            Some(process.blocks.iter().map(move |file| (file.clone(), user)).collect::<Vec<_>>())
        };
        let used: BTreeMap<PathBuf, u32> = self.processes.values().filter_map(users).flatten().collect();
        if self.lent != used {
            self.broke(format!("block devices {:?} are lent, {used:?} are used", self.lent));
        }
    }

    /// What was never finished goes at the start.
    pub(crate) fn remove_unfinished(&mut self, path: &Path) {
        if !is_unfinished(path) {
            return self.broke(format!("{} is removed, a block device", path.display()));
        }
        if self.sabotage != Some(Sabotage::KeepUnfinished) {
            self.disk.remove(path);
        }
    }

    /// A guest writes to its device.
    pub(crate) fn write_block(&mut self, choice: usize) {
        let all: Vec<PathBuf> =
            self.processes.values().flat_map(|process| process.blocks.iter().cloned()).collect();
        let Some(path) = (!all.is_empty()).then(|| all[choice % all.len()].clone()) else { return };
        let (Some(name), Some(content)) = (name_of(&path), self.disk.read(&path)) else { return };
        let mut content = content.to_vec();
        let at = choice % content.len().max(1);
        content.iter_mut().skip(at).take(1).for_each(|octet| *octet = octet.wrapping_add(1));
        self.disk.write(&path, &content);
        self.disk.sync(&path);
        self.ledger.devices.is(&name, Some(content));
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with("#new"))
}

/// What must be so.
impl Host {
    /// A task reads or changes a device.
    pub(crate) fn check_unused(&mut self, path: &Path) {
        let user = self.processes.values().find(|process| process.blocks.iter().any(|used| used == path));
        if let Some(user) = user.map(|process| process.name.clone()) {
            self.broke(format!("a command has {} while {user} uses it", path.display()));
        }
    }

    /// The machine gives out a task.
    pub(crate) fn check_single(&mut self, task: &Task) {
        let Some(path) = file_of(task) else { return };
        let busy = self.jobs.iter().filter_map(|job| job.block.as_deref()).any(|other| other == path);
        if busy {
            return self.broke(format!("two commands have {}", path.display()));
        }
        let path = path.to_owned();
        self.check_unused(&path);
    }

    /// After every step.
    pub(crate) fn check_blocks(&mut self) {
        let used: Vec<&PathBuf> = self.processes.values().flat_map(|process| &process.blocks).collect();
        if used.iter().collect::<BTreeSet<_>>().len() != used.len() {
            return self.broke(format!("a block device is used twice, in use are {used:?}"));
        }
        let found = self.devices();
        let names: BTreeSet<Name> = found.keys().cloned().chain(self.ledger.devices.names()).collect();
        for name in names {
            let content = found.get(&name).cloned();
            if !self.ledger.devices.may_be(&name, &content) {
                return self.broke(format!("block device {name} has {content:?}, which nobody put there"));
            }
        }
    }

    /// The daemon has begun.
    pub(crate) fn check_unfinished(&mut self) {
        let left: Vec<PathBuf> =
            self.disk.list(&self.config.blocks()).into_iter().filter(|path| is_unfinished(path)).collect();
        if !left.is_empty() {
            self.broke(format!("files that were never finished are left: {left:?}"));
        }
    }

    /// A change was acknowledged: no power cut takes it back.
    pub(crate) fn check_acknowledged(&mut self, name: &Name) {
        let durable = self.disk.read_durable(&self.block_path(name)).map(<[u8]>::to_vec);
        if !self.ledger.devices.is_said(name, &durable) {
            self.broke(format!(
                "block device {name} is durably {durable:?}, something else was acknowledged"
            ));
        }
    }

    /// Where everything is done: the machine knows what is there, and who uses it.
    pub(crate) fn check_devices(&mut self, unikernels: &BTreeMap<Name, Version>) {
        let asked = self.probe(Name::root(), Command::Block(BlockCommand::Info));
        let Some(Payload::Success(Success::BlockDevices(list))) = asked else { return };
        let found = self.devices();
        let using = |block: &Name| {
            let uses = |(name, version): (&Name, &Version)| {
                let devices = &version.arguments.block_devices;
                name.path() == block.path()
                    && devices.iter().any(|one| {
                        one.host_device().as_str() == block.label().map(albatross_proto::Label::as_str)
                    })
            };
            unikernels.iter().any(uses)
        };
        let runs = |block: &Name| {
            let path = self.block_path(block);
            self.processes.values().any(|process| process.blocks.contains(&path))
        };
        let mut wrong = None;
        for (name, shown) in &list {
            let size = found.get(name).map(|content| i64::try_from(content.len() / MB).unwrap());
            let doubtful = size.is_none() && self.ledger.devices.may_be(name, &None);
            if size != Some(shown.size.get()) && !doubtful {
                wrong = Some(format!("block device {name} has {} MB, its file {size:?}", shown.size));
            } else if runs(name) && !shown.active || shown.active && !using(name) {
                wrong = Some(format!("block device {name} is shown as {shown:?}, which it is not"));
            }
        }
        if let Some(name) = found.keys().find(|name| !list.iter().any(|(other, _)| other == *name)) {
            wrong = Some(format!("block device {name} is there, and not known"));
        }
        if let Some(wrong) = wrong {
            return self.broke(wrong);
        }
        self.check_unfinished();
        let listed: BTreeSet<Name> = list.into_iter().map(|(name, _)| name).collect();
        self.ledger.devices.settle(&found, &listed);
    }
}
