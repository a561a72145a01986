//! Block devices: files that are made, filled and sent beside the loop, by a thread for each task.
//!
//! Data that a client streams, and that it is sent, does not pass through the loop: its connection is with
//! the thread for the time. What is too much, cut off or damaged is for [`Intake`] to say. A new file is
//! written under its unfinished name and made durable before it gets the other one.

mod file;
mod link;

use std::collections::HashMap;
use std::fs::{self, DirEntry, File};
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use albatross_core::block::{Content, DUMP_CHUNK, Intake, IntakeError, Progress};
use albatross_core::image::Deflating;
use albatross_core::machine::ClientId;
use albatross_core::vmmd::{BlockContent, BlockFile, BlockPlace, DumpForm, Outcome, TaskFailure, TaskId};
use albatross_driver::server::Detached;
use albatross_proto::{Data, Header, Payload, Success, Wire, frame, reply};
use mio::Waker;

use crate::files::{failure, named, sync_parent};
use file::Unfinished;
use link::Link;

/// Chunks that are read from the device and written to the client at once.
const BATCH: usize = 4;
const _: () = assert!((1024 * 1024) % (BATCH * DUMP_CHUNK) == 0, "devices are a whole number of batches");

/// What became of a task.
pub(crate) struct Answer {
    pub(crate) task: TaskId,
    pub(crate) result: Result<Outcome, TaskFailure>,
    /// The connection that was with it, where that can be used on.
    pub(crate) back: Option<(ClientId, UnixStream)>,
    /// What its client is sent at the end, when the device is free again: whoever has it may use it at once.
    pub(crate) last: Vec<u8>,
}

/// What came of a stream.
struct Streamed {
    result: Result<(), TaskFailure>,
    /// The connection can be used on.
    usable: bool,
    /// See [`Answer::last`].
    last: Vec<u8>,
}

/// Tasks about block devices.
pub(crate) struct Blocks {
    waker: Arc<Waker>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
    /// The connections that are with a thread, to end what it does there.
    streams: HashMap<ClientId, (UnixStream, Shutdown)>,
}

impl Blocks {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (sender, answers) = mpsc::channel();
        Self { waker, sender, answers, streams: HashMap::new() }
    }

    /// Answers that came meanwhile.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let answers: Vec<Answer> = self.answers.try_iter().collect();
        for (client, _) in answers.iter().filter_map(|answer| answer.back.as_ref()) {
            self.streams.remove(client);
        }
        answers
    }

    pub(crate) fn make(&self, task: TaskId, place: BlockPlace, content: Option<BlockContent>) {
        self.start(task, move || make(&place, content));
    }

    pub(crate) fn fill(&self, task: TaskId, place: BlockPlace, content: BlockContent) {
        self.start(task, move || {
            let file = with_content(&place, content)?;
            file.replace()
        });
    }

    pub(crate) fn remove(&self, task: TaskId, path: PathBuf) {
        self.start(task, move || {
            crate::files::remove(&path)?;
            sync_parent(&path).map_err(|error| failure("cannot remove", &path, &error))
        });
    }

    /// Receives the content of a device; `begun` are the octets that came already.
    pub(crate) fn receive(
        &mut self,
        task: TaskId,
        client: ClientId,
        connection: Detached,
        begun: Vec<u8>,
        place: BlockPlace,
        compressed: bool,
    ) {
        let Detached { stream, read, unsent } = connection;
        let begun = [begun, read].concat();
        self.stream(task, client, stream, Shutdown::Read, move |link| {
            let received = link.send(&unsent).map_err(|error| gone(&error));
            let result = received.and_then(|()| receive(link, &begun, &place, compressed));
            Streamed { result, usable: true, last: Vec::new() }
        });
    }

    /// Sends the content of a device.
    pub(crate) fn send(&mut self, task: TaskId, client: ClientId, connection: Detached, wanted: Wanted) {
        let Detached { stream, unsent, .. } = connection;
        self.stream(task, client, stream, Shutdown::Write, move |link| {
            let mut dump = Dump { link, wanted: &wanted, whole: true, last: Vec::new() };
            let result = dump.link.send(&unsent).map_err(|error| gone(&error)).and_then(|()| dump.run());
            Streamed { usable: dump.whole, last: dump.last, result }
        });
    }

    /// Cuts short what is done with the connection of this client.
    pub(crate) fn end_stream(&self, client: ClientId) {
        if let Some((stream, how)) = self.streams.get(&client) {
            // One that is gone already has ended by itself.
            _ = stream.shutdown(*how);
        }
    }

    fn start(&self, task: TaskId, work: impl FnOnce() -> Result<(), TaskFailure> + Send + 'static) {
        let spawned = self.spawn(move || {
            let result = work().map(|()| Outcome::Done);
            Answer { task, result, back: None, last: Vec::new() }
        });
        if let Err(why) = spawned {
            self.answer(task, Err(why));
        }
    }

    /// Does `work` with the connection of a client, which tells whether that can be used on.
    fn stream(
        &mut self,
        task: TaskId,
        client: ClientId,
        stream: UnixStream,
        ended_by: Shutdown,
        work: impl FnOnce(&mut Link) -> Streamed + Send + 'static,
    ) {
        match stream.try_clone() {
            Ok(handle) => self.streams.insert(client, (handle, ended_by)),
            Err(error) => {
                return self.answer(task, Err(TaskFailure(format!("no more descriptors: {error}"))));
            }
        };
        let spawned = self.spawn(move || {
            let mut link = Link::new(stream);
            let Streamed { result, usable, last } = work(&mut link);
            let stream = link.into_stream();
            if !usable {
                // The client sees that this is no regular end: the last message is not whole.
                _ = stream.shutdown(Shutdown::Both);
            }
            Answer { task, result: result.map(|()| Outcome::Done), back: Some((client, stream)), last }
        });
        if let Err(why) = spawned {
            self.streams.remove(&client);
            self.answer(task, Err(why));
        }
    }

    fn spawn(&self, work: impl FnOnce() -> Answer + Send + 'static) -> Result<(), TaskFailure> {
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let run = move || {
            // The daemon is over where nobody receives any more.
            _ = sender.send(work());
            _ = waker.wake();
        };
        let thread = thread::Builder::new().name("block-device".to_owned()).spawn(run);
        thread.map(drop).map_err(|error| TaskFailure(format!("no thread for the block device: {error}")))
    }

    fn answer(&self, task: TaskId, result: Result<Outcome, TaskFailure>) {
        _ = self.sender.send(Answer { task, result, back: None, last: Vec::new() });
        _ = self.waker.wake();
    }
}

/// What is in the directory of the block devices. A daemon that was killed may have left names there that are
/// not durable: they are, before anything is built on them.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<BlockFile>> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(|error| named(directory, &error))?;
    let look = |entry: io::Result<DirEntry>| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok(BlockFile { name: entry.file_name(), length, owner: metadata.uid() })
    };
    fs::read_dir(directory)
        .and_then(|entries| entries.map(look).collect())
        .map_err(|error| named(directory, &error))
}

fn gone(error: &io::Error) -> TaskFailure {
    TaskFailure(format!("the client is gone: {error}"))
}

fn refused(error: &IntakeError) -> TaskFailure {
    TaskFailure(error.to_string())
}

fn make(place: &BlockPlace, content: Option<BlockContent>) -> Result<(), TaskFailure> {
    let file = match content {
        Some(content) => with_content(place, content)?,
        None => Unfinished::new(place)?,
    };
    file.add()
}

fn with_content(place: &BlockPlace, content: BlockContent) -> Result<Unfinished<'_>, TaskFailure> {
    let BlockContent { octets, compressed } = content;
    let mut file = Unfinished::new(place)?;
    let mut intake = Content::new(compressed, place.length);
    intake.feed(&octets, |octets| file.write(octets))?.map_err(|error| refused(&error))?;
    intake.finish().map_err(|error| refused(&error))?;
    Ok(file)
}

fn receive(link: &mut Link, begun: &[u8], place: &BlockPlace, compressed: bool) -> Result<(), TaskFailure> {
    let mut file = Unfinished::new(place)?;
    let mut intake = Intake::new(compressed, place.length);
    let mut progress = intake.feed(begun, |octets| file.write(octets))?.map_err(|error| refused(&error))?;
    while progress == Progress::More {
        let octets = link.receive().map_err(|error| TaskFailure(format!("the data was cut off: {error}")))?;
        if octets.is_empty() {
            break;
        }
        progress = intake.feed(octets, |octets| file.write(octets))?.map_err(|error| refused(&error))?;
    }
    intake.finish().map_err(|error| refused(&error))?;
    file.replace()
}

/// What of which device is to be sent, and how.
pub(crate) struct Wanted {
    pub(crate) header: Header,
    pub(crate) place: BlockPlace,
    /// 0: as it is; else compressed at this level.
    pub(crate) level: u32,
    pub(crate) form: DumpForm,
}

/// A device on its way to a client.
struct Dump<'a> {
    link: &'a mut Link,
    wanted: &'a Wanted,
    /// The client has received whole messages only.
    whole: bool,
    /// What is left for it when the device is free again.
    last: Vec<u8>,
}

impl Dump<'_> {
    fn run(&mut self) -> Result<(), TaskFailure> {
        let Wanted { place, level, form, .. } = self.wanted;
        let file = File::open(&place.path).map_err(|error| self.cannot_read(&error))?;
        match form {
            DumpForm::Chunks => {
                self.message(Payload::Success(Success::BlockDeviceImage { compressed: *level > 0 }))?;
                if *level > 0 { self.compressed(&file) } else { self.plain(&file) }?;
                self.last = self.encoded(Payload::Data(Data::Block(None)))?;
                Ok(())
            }
            DumpForm::Whole if *level > 0 => {
                let (spool, length) = self.spool(&file).map_err(|error| self.cannot_read(&error))?;
                self.old(&spool, length)
            }
            DumpForm::Whole => self.old(&file, place.length),
        }
    }

    fn cannot_read(&self, error: &io::Error) -> TaskFailure {
        failure("cannot read", &self.wanted.place.path, error)
    }

    /// Sends whole messages.
    fn send(&mut self, frames: &[u8]) -> Result<(), TaskFailure> {
        self.whole = false;
        self.link.send(frames).map_err(|error| gone(&error))?;
        self.whole = true;
        Ok(())
    }

    fn message(&mut self, payload: Payload<'_>) -> Result<(), TaskFailure> {
        let message = self.encoded(payload)?;
        self.send(&message)
    }

    fn encoded(&self, payload: Payload<'_>) -> Result<Vec<u8>, TaskFailure> {
        let message = Wire::new(self.wanted.header.clone(), payload).encode();
        let message = message.map_err(|error| TaskFailure(format!("the reply cannot be sent: {error}")))?;
        Ok(frame::frame(&message))
    }

    /// Sends the content in messages of a chunk each, several at once.
    fn plain(&mut self, file: &File) -> Result<(), TaskFailure> {
        let head = chunk_head(&self.wanted.header, DUMP_CHUNK);
        let step = head.len() + DUMP_CHUNK;
        let mut batch = vec![0; step * BATCH];
        for message in batch.chunks_mut(step) {
            message.iter_mut().zip(&head).for_each(|(to, from)| *to = *from);
        }
        let mut position = 0;
        // A device is a whole number of batches.
        while position < self.wanted.place.length {
            for message in batch.chunks_mut(step) {
                let chunk = message.get_mut(head.len()..).unwrap_or_default();
                file.read_exact_at(chunk, position).map_err(|error| self.cannot_read(&error))?;
                position += count(chunk.len());
            }
            self.send(&batch)?;
        }
        Ok(())
    }

    fn compressed(&mut self, file: &File) -> Result<(), TaskFailure> {
        let mut deflating = Deflating::new(self.wanted.level);
        let mut waiting = Vec::with_capacity(DUMP_CHUNK);
        let mut piece = vec![0; DUMP_CHUNK];
        let mut position = 0;
        while position < self.wanted.place.length {
            file.read_exact_at(&mut piece, position).map_err(|error| self.cannot_read(&error))?;
            position += count(piece.len());
            deflating.feed(&piece, |octets| self.chunk(&mut waiting, octets))?;
        }
        deflating.finish(|octets| self.chunk(&mut waiting, octets))?;
        self.flush(&mut waiting)
    }

    /// Sends compressed octets when there are enough of them.
    fn chunk(&mut self, waiting: &mut Vec<u8>, octets: &[u8]) -> Result<(), TaskFailure> {
        let mut rest = octets;
        while waiting.len() + rest.len() >= DUMP_CHUNK {
            let (now, later) = rest.split_at_checked(DUMP_CHUNK - waiting.len()).unwrap_or((rest, &[]));
            waiting.extend_from_slice(now);
            rest = later;
            self.flush(waiting)?;
        }
        waiting.extend_from_slice(rest);
        Ok(())
    }

    fn flush(&mut self, waiting: &mut Vec<u8>) -> Result<(), TaskFailure> {
        if waiting.is_empty() {
            return Ok(());
        }
        let message = [chunk_head(&self.wanted.header, waiting.len()).as_slice(), waiting].concat();
        waiting.clear();
        self.send(&message)
    }

    /// All of the content compressed, in a file without a name: its length has to be known first.
    fn spool(&self, file: &File) -> io::Result<(File, u64)> {
        let spool = file::nameless(&self.wanted.place.unfinished)?;
        let mut deflating = Deflating::new(self.wanted.level);
        let mut position = 0;
        let mut keep = |octets: &[u8]| {
            spool.write_all_at(octets, position)?;
            position += count(octets.len());
            io::Result::Ok(())
        };
        pieces(file, self.wanted.place.length, |piece| deflating.feed(piece, &mut keep))?;
        deflating.finish(&mut keep)?;
        Ok((spool, position))
    }

    /// Sends all of a file as one message.
    fn old(&mut self, file: &File, length: u64) -> Result<(), TaskFailure> {
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let head = reply::old_block_head(&self.wanted.header, self.wanted.level > 0, size);
        let whole = head.len().saturating_add(size);
        // Peers take the length of a frame for a signed number.
        let begin = frame::header(whole).filter(|_| i32::try_from(whole).is_ok()).ok_or_else(|| {
            TaskFailure("the block device is too large for one message: dump it in chunks".to_owned())
        })?;
        self.whole = false;
        let link = &mut *self.link;
        link.send(&[&begin, head.as_slice()].concat()).map_err(|error| gone(&error))?;
        // The last piece stays behind.
        let mut last = Vec::new();
        let sent = pieces(file, length, |piece| {
            link.send(&last)?;
            last.clear();
            last.extend_from_slice(piece);
            Ok(())
        });
        sent.map_err(|error| failure("cannot send", &self.wanted.place.path, &error))?;
        self.last = last;
        self.whole = true;
        Ok(())
    }
}

/// What goes before a chunk of a dump.
fn chunk_head(header: &Header, length: usize) -> Vec<u8> {
    let head = reply::block_head(header, length);
    // A chunk and a name are far from what does not fit.
    let begin = frame::header(head.len() + length).unwrap_or([0xff; frame::HEADER_LENGTH]);
    [&begin, head.as_slice()].concat()
}

fn count(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX)
}

/// Gives the octets of a file to `take`, piece by piece.
fn pieces(file: &File, length: u64, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; DUMP_CHUNK];
    let mut position = 0;
    while position < length {
        let most = usize::try_from(length - position).unwrap_or(DUMP_CHUNK).min(DUMP_CHUNK);
        let now = piece.get_mut(..most).unwrap_or_default();
        file.read_exact_at(now, position)?;
        take(now)?;
        position += count(most);
    }
    Ok(())
}
