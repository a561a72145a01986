//! The tasks of the machine of albatrossd, as its driver carries them out.

use std::path::{Path, PathBuf};

use albatross_core::image::{self, Intake};
use albatross_core::journal;
use albatross_core::vmmd::{ImageSource, Outcome, Spawn, Task, TaskFailure};
use albatross_proto::state::Change;
use albatross_proto::{Name, Payload, Success, Wire};

use crate::Sabotage;
use crate::host::{BRIDGE, Host, Pipe, Process};
use crate::script::Kind;

pub(crate) type Done = Result<Outcome, TaskFailure>;

pub(crate) fn failed(why: &str) -> Done {
    Err(TaskFailure(why.to_owned()))
}

impl Host {
    /// Every task has its place here.
    pub(crate) fn effect(&mut self, task: Task) -> Done {
        let kind = Kind::of(&task);
        let fails = self.fails(kind);
        match task {
            Task::StoreImage { source, compressed, limit, expected } => {
                self.store_image(source, Intake::new(compressed, limit, expected), fails)
            }
            Task::SendImage { client, header, path, level } => {
                let Some(image) = self.disk.read(&path).filter(|_| !fails).map(<[u8]>::to_vec) else {
                    return failed("cannot read the image");
                };
                if !self.is_open(client) {
                    return failed("the client is gone");
                }
                let reply = Success::UnikernelImage { compressed: level > 0, image: image.into() };
                let message = Wire::new(header, Payload::Success(reply)).encode().unwrap();
                self.reply(client, &message);
                Ok(Outcome::Done)
            }
            Task::MakeBlock { .. } | Task::FillBlock { .. } | Task::RemoveBlock { .. } => {
                self.block_task(task, fails)
            }
            Task::Persist { path, record } => self.persist(&path, &record, fails),
            Task::Append { path, entry } => self.append(&path, &entry, fails),
            Task::Spawn(spawn) => self.spawn(spawn, fails),
            _ if fails => failed("the disk is on fire"),
            Task::InspectImage { path, digest } => match self.disk.read(&path) {
                Some(image) if image::digest(image) == digest => image::inspect(image)
                    .map(Outcome::Inspected)
                    .map_err(|error| TaskFailure(error.to_string())),
                _ => failed("the image is damaged"),
            },
            Task::FindTender { .. } => Ok(Outcome::Tender("/bin/solo5-spt".into())),
            Task::PlaceImage { from, to } => {
                let Some(image) = self.disk.read(&from).map(<[u8]>::to_vec) else {
                    self.broke(format!("{} is to be placed and is not there", from.display()));
                    return failed("no such file");
                };
                self.placed.insert(to, image);
                Ok(Outcome::Done)
            }
            Task::MakeFifo { path } => {
                if !self.fifos.contains_key(&path) {
                    self.pipes.push(Pipe { linked: true, ..Pipe::default() });
                    self.fifos.insert(path, self.pipes.len() - 1);
                }
                Ok(Outcome::Done)
            }
            Task::MakeTap { bridge, .. } => {
                if !self.bridge || bridge != BRIDGE {
                    return failed("no such bridge");
                }
                let free = (0..).map(|number| format!("vmmtap{number}")).find(|tap| !self.taps.contains(tap));
                let tap = free.unwrap();
                self.taps.insert(tap.clone());
                Ok(Outcome::Tap(tap))
            }
            _ => failed("this daemon cannot do that"),
        }
    }

    /// As `keep` of albatrossd: under its name before it is durable, and durable before it is answered.
    fn store_image(&mut self, source: ImageSource, mut intake: Intake, fails: bool) -> Done {
        let sent = match source {
            ImageSource::Octets(octets) => octets,
            ImageSource::Spool(id) => {
                let Some(spool) = self.spools.remove(&id) else {
                    self.broke(format!("{id:?} is stored and not open"));
                    return failed("nothing of it came");
                };
                let Some(path) = spool else { return failed("too many images are on their way at once") };
                let sent = self.disk.read(&path).unwrap_or_default().to_vec();
                self.disk.remove(&path);
                sent
            }
        };
        let mut octets = Vec::new();
        let keep = |piece: &[u8]| {
            octets.extend_from_slice(piece);
            Ok::<_, ()>(())
        };
        let digest = intake.feed(&sent, keep).unwrap().and_then(|()| intake.finish());
        let digest = digest.map_err(|error| TaskFailure(error.to_string()))?;
        let inspected = image::inspect(&octets).map_err(|error| TaskFailure(error.to_string()))?;
        if fails {
            return failed("no space left");
        }
        let stored = Outcome::Stored { digest, image: inspected };
        let path = self.config.stored_image(&digest);
        if self.disk.read(&path).is_some_and(|found| image::digest(found) == digest) {
            self.disk.sync(&path);
            self.disk.sync_directory(&self.config.images());
            return Ok(stored);
        }
        self.next_spool += 1;
        let new = self.config.images().join(format!("{}.new", self.next_spool));
        self.disk.create(&new, &octets);
        self.atom();
        if self.stopped() {
            return Ok(stored);
        }
        self.disk.rename(&new, &path);
        self.atom();
        if self.stopped() {
            return Ok(stored);
        }
        self.disk.sync(&path);
        self.disk.sync_directory(&self.config.images());
        Ok(stored)
    }

    /// As `RecordFile::replace` of albatrossd.
    fn persist(&mut self, path: &Path, content: &[u8], fails: bool) -> Done {
        self.damaged = true;
        if content.is_empty() {
            return failed("there is more on record than can be encoded");
        }
        // Between the mark of the file and its first entry: nobody may know what entries of the next look like.
        if !self.salts.insert(content.get(8..8 + journal::SALT).unwrap_or_default().to_vec()) {
            self.broke("two files of the record have the same salt");
        }
        let named = |end: &str| path.with_file_name(format!("record{end}"));
        let (new, backup) = (named(".new"), named(".bak"));
        let begun = if fails { &content[..content.len() / 2] } else { content };
        self.disk.create(&new, begun);
        self.atom();
        if fails && (self.disk_full || content.len().is_multiple_of(3)) {
            self.disk.remove(&new);
            return failed("no space left");
        }
        self.disk.append(&new, &content[begun.len()..]);
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        self.disk.sync(&new);
        if self.disk.read(path).is_some() {
            self.disk.link(path, &backup);
        }
        self.atom();
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        self.disk.rename(&new, path);
        self.check_record();
        self.atom();
        if fails {
            return failed("input/output error");
        }
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        if self.sabotage != Some(Sabotage::SkipSync) {
            self.disk.sync_directory(&self.config.dbdir.clone());
        }
        self.damaged = false;
        Ok(Outcome::Done)
    }

    /// As `RecordFile::append` of albatrossd.
    fn append(&mut self, path: &Path, entry: &[u8], fails: bool) -> Done {
        if self.damaged || entry.is_empty() {
            return failed("it has to be written as a whole first");
        }
        if self.sabotage == Some(Sabotage::Resurrect) && self.is_removal(path, entry) {
            return Ok(Outcome::Done);
        }
        let written = if fails { entry.len() * (entry.len() / 16 % 3) / 2 } else { entry.len() };
        self.disk.append(path, &entry[..written]);
        self.check_record();
        self.atom();
        if fails {
            self.damaged = true;
            return failed("no space left");
        }
        if self.stopped() {
            return Ok(Outcome::Done);
        }
        if self.sabotage != Some(Sabotage::SkipSync) {
            self.disk.sync(path);
        }
        Ok(Outcome::Done)
    }

    fn is_removal(&self, path: &Path, entry: &[u8]) -> bool {
        let whole = [self.disk.read(path).unwrap_or_default(), entry].concat();
        let entries = journal::read_entries(&whole);
        entries.is_ok_and(|entries| matches!(entries.changes.last(), Some(Change::NoUnikernel(_))))
    }

    fn spawn(&mut self, spawn: Spawn, fails: bool) -> Done {
        let name: Name = spawn.fifo.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let Some(pipe) = self.fifos.get(&spawn.fifo).copied() else {
            self.broke(format!("{name} is started without its fifo"));
            return failed("no such file");
        };
        self.console.writer_came(pipe);
        if spawn.group.as_ref().map(|group| &group.name) != Some(&name) || !self.groups.insert(name.clone()) {
            self.broke(format!("{name} is started in {:?}, there are groups {:?}", spawn.group, self.groups));
        }
        self.atom();
        if self.stopped() {
            return Ok(Outcome::Process(0));
        }
        if fails {
            self.groups.remove(&name);

            return failed("no such program");
        }
        let line: Vec<String> =
            spawn.arguments.iter().map(|it| String::from_utf8(it.by_name()).unwrap()).collect();
        let memory = line[0].strip_prefix("--mem=").and_then(|text| text.parse().ok()).unwrap();
        let tap = |argument: &String| {
            let (_, tap) = argument.strip_prefix("--net:")?.split_once('=')?;
            Some(tap.to_owned())
        };
        let block = |argument: &String| {
            let (_, file) = argument.strip_prefix("--block:")?.split_once('=')?;
            Some(PathBuf::from(file))
        };
        let mut blocks: Vec<PathBuf> = line.iter().filter_map(block).collect();
        if blocks != spawn.reach.blocks {
            self.broke(format!("{name} is told of {blocks:?} and may reach {:?}", spawn.reach.blocks));
        }
        let used = self.processes.values().flat_map(|other| &other.blocks).next().cloned();
        if !blocks.is_empty() && self.spoils(Sabotage::ShareBlock) {
            blocks = used.into_iter().collect();
        }
        let process = Process {
            memory,
            blocks,
            cpus: spawn.cpus,
            taps: line.iter().filter_map(tap).collect(),
            user: spawn.user,
            pipe,
            deaf: false,
            killed: false,
            lines: 0,
            name,
        };
        self.check_start(&process, &spawn.reach.image);
        if let Some(user) = process.user {
            self.lent.extend(process.blocks.iter().map(|file| (file.clone(), user)));
        }
        self.next_pid += 1;
        self.pipes[pipe].writer = Some(self.next_pid);
        self.notes.insert(spawn.note.path, (self.next_pid, spawn.note.tender));
        self.processes.insert(self.next_pid, process);
        self.counts.starts += 1;
        Ok(Outcome::Process(self.next_pid))
    }
}
