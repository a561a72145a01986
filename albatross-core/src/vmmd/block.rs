//! Block devices: which there are, and what is asked of them.
//!
//! A device is the file [`Config::blocks`]`/NAME` of a whole number of MB. There is no other record of it, so
//! that what is made and removed is what is on the disk. While a command makes, fills, sends or removes one,
//! it is held ([`Resources::hold_block`]): nobody else can use it. A new file, or new content, is made under
//! a name that no device can have, and takes its place when it is whole; what a crash leaves of these is
//! removed at the start.
//!
//! [`Resources::hold_block`]: crate::resources::Resources::hold_block

use std::borrow::Cow;

use albatross_proto::frame::{self, HEADER_LENGTH};
use albatross_proto::{BlockCommand, Int, Name};

use super::command::ENDING;
use super::query::compression_level;
use super::{
    BlockContent, BlockFile, BlockPlace, Config, DumpForm, MAX_FILE_NAME, MAX_STREAMS, Message, Outcome,
    Output, Phase, Requester, Task, TaskFailure, Vmmd, Waiting,
};
use crate::block::MB;
use crate::machine::{ClientId, Level};

/// The end of the names of files that are not whole. No name has this character.
const UNFINISHED: &str = "#new";

/// What was asked of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Add,
    /// With content from a message, or from a stream.
    Set,
    Receive,
    Remove,
    Send,
}

impl Job {
    /// Whether a client's connection is with the task.
    const fn is_stream(self) -> bool {
        matches!(self, Self::Receive | Self::Send)
    }
}

impl Vmmd {
    /// The daemon begins: every such file with a valid name is a device.
    pub(super) fn adopt_blocks(&mut self, files: Vec<BlockFile>) {
        if self.phase != Phase::Idle {
            return self.log(Level::Error, "block devices were told after the begin, they are ignored");
        }
        for BlockFile { name: file, length, owner } in files {
            let path = self.config.blocks().join(&file);
            let text = file.to_string_lossy();
            if length.is_some() && text.strip_suffix(UNFINISHED).is_some_and(|name| device(name).is_some()) {
                self.log(Level::Info, format!("{}: was never finished, it is removed", path.display()));
                self.output(Output::RemoveFile(path));
                continue;
            }
            let adopted = match (device(&text), length.map(megabytes)) {
                (None, _) => Err(format!("{text:?} is no name of a block device")),
                (_, None) => Err("it is no file".to_owned()),
                (_, Some(None)) => Err("its size is no whole number of MB, or none".to_owned()),
                (Some(name), Some(Some(size))) => {
                    let adopted = self.resources.adopt_block(&name, size);
                    self.lent.extend(Some(name).filter(|_| self.users.may_be_tenders(owner)));
                    adopted.map_err(|refusal| refusal.to_string())
                }
            };
            if let Err(why) = adopted {
                let text = format!("{}: no block device, it is left alone: {why}", path.display());
                self.log(Level::Warning, text);
            }
        }
    }

    pub(super) fn block_command(&mut self, requester: Requester, command: BlockCommand<'_>) {
        let content =
            |octets: Cow<'_, [u8]>, compressed| BlockContent { octets: octets.into_owned(), compressed };
        match command {
            BlockCommand::Info => self.blocks(&requester),
            BlockCommand::Add(size) => self.add_block(requester, size, None),
            BlockCommand::AddOld { size, compressed, data } => {
                self.add_block(requester, size, data.map(|data| content(data, compressed)));
            }
            BlockCommand::SetOld { compressed, data } => {
                let content = content(data, compressed);
                self.use_block(requester, Job::Set, |_, file| Task::FillBlock { file, content });
            }
            BlockCommand::Set { compressed } => {
                let begun = self.begun_stream(requester.client);
                self.use_block(requester, Job::Receive, |Requester { client, .. }, file| {
                    Task::ReceiveBlock { client: *client, begun, file, compressed }
                });
            }
            BlockCommand::Dump(level) => self.dump_block(requester, level, DumpForm::Chunks),
            BlockCommand::DumpOld(level) => self.dump_block(requester, level, DumpForm::Whole),
            BlockCommand::Remove => {
                self.use_block(requester, Job::Remove, |_, file| Task::RemoveBlock { path: file.path });
            }
        }
    }

    fn add_block(&mut self, requester: Requester, size: Int, content: Option<BlockContent>) {
        let name = requester.header.name.clone();
        let place = match self.check_new_block(&name, size) {
            Err(why) => return self.fail(&requester, why),
            Ok(place) => place,
        };
        let inserted =
            self.resources.insert_block(&name, size).and_then(|()| self.resources.hold_block(&name));
        match inserted {
            Err(refusal) => self.fail(&requester, refusal.to_string()),
            Ok(()) => {
                self.task(Task::MakeBlock { file: place, content }, Waiting::Block(requester, Job::Add));
            }
        }
    }

    fn check_new_block(&self, name: &Name, size: Int) -> Result<BlockPlace, String> {
        self.check_policies_are_durable(name)?;
        self.resources.check_block(name, size).map_err(|refusal| refusal.to_string())?;
        if name.to_string().len() + UNFINISHED.len() > MAX_FILE_NAME {
            return Err(format!("the name {name} is too long for a file name"));
        }
        if size < Int::ONE {
            return Err(format!("a block device of {size} MB, at least 1 is needed"));
        }
        self.config
            .block_place(name, size)
            .ok_or_else(|| format!("a block device of {size} MB is larger than any file"))
    }

    /// A device is there as soon as it is made, whatever becomes of the policy that admitted it: after a crash
    /// that is as the record says. (A unikernel is on the same record.)
    fn check_policies_are_durable(&self, name: &Name) -> Result<(), String> {
        if let Some(path) =
            self.changing_policies().map(|(_, path)| path).find(|it| name.path().is_within(it))
        {
            return Err(format!("policy {} is being changed, try again", path.to_name()));
        }
        if self.journal.is_doubtful() {
            return Err(
                "the record could not be written, what policies it has is not known: try again when \
                        there is room for it"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn dump_block(&mut self, requester: Requester, level: Int, form: DumpForm) {
        let level = compression_level(level);
        self.use_block(requester, Job::Send, |Requester { client, header, .. }, file| Task::SendBlock {
            client: *client,
            header: header.clone(),
            file,
            level,
            form,
        });
    }

    /// What a client sent before it was known to be a stream.
    fn begun_stream(&mut self, client: ClientId) -> Vec<u8> {
        let Some(state) = self.clients.get_mut(&client) else { return Vec::new() };
        let mut begun = Vec::new();
        for Message { octets, image } in std::mem::take(&mut state.pipelined) {
            // What was taken for a create is longer than any chunk.
            let length = if image.is_some() { usize::MAX } else { octets.len() };
            begun.extend(frame::header(length).unwrap_or([0xff; HEADER_LENGTH]));
            begun.extend(octets);
            self.drop_spool(image);
        }
        begun
    }

    /// Begins what is done with a device that is there and free.
    fn use_block(
        &mut self,
        requester: Requester,
        job: Job,
        task: impl FnOnce(&Requester, BlockPlace) -> Task,
    ) {
        match self.take_block(&requester.header.name, job) {
            Err(why) => self.fail(&requester, why),
            Ok(place) => {
                let task = task(&requester, place);
                self.task(task, Waiting::Block(requester, job));
            }
        }
    }

    fn take_block(&mut self, name: &Name, job: Job) -> Result<BlockPlace, String> {
        let size = self.resources.check_free(name).map_err(|refusal| refusal.to_string())?.size();
        if job.is_stream() && self.streams().count() >= MAX_STREAMS {
            return Err(format!(
                "{MAX_STREAMS} block devices are being set or dumped, no more at once: try again"
            ));
        }
        let place = self.config.block_place(name, size).ok_or_else(|| "its size is none".to_owned())?;
        self.resources.hold_block(name).map_err(|refusal| refusal.to_string())?;
        Ok(place)
    }

    /// Holds those of these devices that are free, and returns which those are.
    pub(super) fn hold_free_blocks(&mut self, mut names: Vec<Name>) -> Vec<Name> {
        names.retain(|name| self.resources.hold_block(name).is_ok());
        names
    }

    /// Their tender has ended: they are nobody's any more.
    pub(super) fn release_blocks(&mut self, held: &[Name]) {
        held.iter().for_each(|name| self.resources.release_block(name));
    }

    /// Devices that belonged to a tender's user, if it had one of its own, are the daemon's again.
    pub(super) fn take_back_blocks(&mut self, blocks: &[Name], user: Option<u32>) {
        if user.is_some() && !blocks.is_empty() {
            let files = blocks.iter().map(|name| self.config.block(name)).collect();
            self.output(Output::TakeBackBlocks(files));
        }
    }

    /// It was done, or was not.
    pub(super) fn block_done(
        &mut self,
        requester: &Requester,
        job: Job,
        result: Result<Outcome, TaskFailure>,
    ) {
        let name = &requester.header.name;
        self.resources.release_block(name);
        let is_gone = matches!((job, &result), (Job::Add, Err(_)) | (Job::Remove, Ok(_)));
        if is_gone && let Err(refusal) = self.resources.remove_block(name) {
            self.log(Level::Error, format!("{name}: {refusal}"));
        }
        match (result, job) {
            (Err(_), Job::Receive) if self.phase != Phase::Serving => self.fail(requester, ENDING),
            (Err(TaskFailure(why)), _) => self.fail(requester, why),
            (Ok(_), Job::Add) => self.succeed(requester, "added block device"),
            (Ok(_), Job::Set | Job::Receive) => self.succeed(requester, "set block device"),
            (Ok(_), Job::Remove) => self.succeed(requester, "removed block"),
            (Ok(_), Job::Send) => {
                self.log(Level::Info, format!("{name}: sent its content"));
                if self.clients.contains_key(&requester.client) {
                    self.close(requester.client);
                }
            }
        }
    }

    /// The clients whose connections are with a task.
    fn streams(&self) -> impl Iterator<Item = &Requester> {
        self.tasks.values().filter_map(|waiting| match waiting {
            Waiting::Block(requester, job) if job.is_stream() => Some(requester),
            _ => None,
        })
    }

    /// The daemon ends: nothing is received or sent any more.
    pub(super) fn end_streams(&mut self) {
        let clients: Vec<_> = self.streams().map(|requester| requester.client).collect();
        clients.into_iter().for_each(|client| self.output(Output::EndStream(client)));
    }
}

impl Config {
    /// Where a device of so many MB is; `None` where no file is that long.
    fn block_place(&self, name: &Name, size: Int) -> Option<BlockPlace> {
        let length = u64::try_from(size.get()).ok()?.checked_mul(MB)?;
        i64::try_from(length).ok()?;
        let unfinished = self.blocks().join(format!("{name}{UNFINISHED}"));
        Some(BlockPlace { path: self.block(name), unfinished, length })
    }
}

/// The device that this file is by its name: only the name as it is written here leads back to the file.
fn device(file: &str) -> Option<Name> {
    let name: Name = file.parse().ok()?;
    (name.label().is_some() && name.to_string() == file).then_some(name)
}

/// The size of a device whose file has this length.
fn megabytes(length: u64) -> Option<Int> {
    if length == 0 || !length.is_multiple_of(MB) {
        return None;
    }
    Int::try_from(length / MB).ok()
}
