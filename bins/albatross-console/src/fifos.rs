//! The open fifos: `<tmpdir>/fifo/NAME`, into which unikernels write.
//!
//! A fifo is opened for reading only, without blocking, before its writer opens it. Linux reports the end
//! (EPOLLHUP, and a read of nothing) only when a writer has come and gone; that is how a console learns that its
//! unikernel ended. Opened for reading and writing it would never end. What a read of nothing says before any
//! writer came is not asked for: a fifo is read only when an event says so.
//!
//! There is one case without such an end: a unikernel whose start failed before its fifo was opened for
//! writing. Then albatrossd removes the fifo, which a watch on the directory (inotify) notices.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use albatross_core::console::FifoId;
use albatross_proto::Name;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Octets taken from one fifo in one turn: a quarter of what a pipe usually holds, so that one guest's
/// flood leaves time for the others, and what it makes for each subscriber is written in between.
pub(crate) const READ_PER_TURN: usize = 16 * 1024;

/// Reads that are spent on emptying a fifo that is about to be replaced: the most that a pipe of 1 MiB,
/// the usual upper limit, can hold.
const DRAIN_READS: usize = 64;

/// The open fifos, and which of them may have something to read.
#[derive(Debug)]
pub(crate) struct Fifos {
    directory: PathBuf,
    open: HashMap<FifoId, Fifo>,
    tokens: HashMap<Token, FifoId>,
    ready: BTreeSet<FifoId>,
    removals: Option<(Token, Inotify)>,
}

#[derive(Debug)]
struct Fifo {
    file: File,
    token: Token,
    /// The file's name: the unikernel's.
    name: String,
    paused: bool,
}

/// What reading a fifo gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many octets.
    Octets(usize),
    /// Nothing for now.
    Nothing,
    /// The last writer is gone, and the fifo is closed.
    Ended,
}

/// What became of a fifo that was open when another was to be opened for the same unikernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The new one is open.
    New,
    /// The file is the same, and its writer is there: the one that is open is kept.
    Kept,
}

impl Fifos {
    /// No fifos, in `<tmpdir>/fifo`.
    ///
    /// # Errors
    /// Fails where that is no directory.
    pub(crate) fn new(tmpdir: &Path) -> io::Result<Self> {
        let directory = tmpdir.join("fifo");
        if !directory.is_dir() {
            let text =
                format!("{} is no directory, it is made when albatross is installed", directory.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let (open, tokens) = (HashMap::new(), HashMap::new());
        Ok(Self { directory, open, tokens, ready: BTreeSet::new(), removals: None })
    }

    /// Watches the directory, so that fifos that nobody ever opened for writing are closed when removed.
    ///
    /// # Errors
    /// Those of the system calls. Everything else works without.
    pub(crate) fn watch_removals(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(&self.directory, AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM)?;
        registry.register(&mut SourceFd(&inotify.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        self.removals = Some((token, inotify));
        Ok(())
    }

    /// Opens the fifo of `name` as `id`. If `before` is the fifo that is open for that unikernel, it has been
    /// read to its end or to where nothing more was in it (`ended`).
    ///
    /// # Errors
    /// Those of the system calls; where the file is no fifo; where its name would lead elsewhere.
    pub(crate) fn open(
        &mut self,
        id: FifoId,
        name: &Name,
        before: Option<FifoId>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Opened> {
        let name = name.to_string();
        if name.contains('/') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name with / is no file name"));
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let file = options.open(self.directory.join(&name))?;
        let metadata = file.metadata()?;
        if !metadata.file_type().is_fifo() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is no fifo"));
        }
        if let Some(before) = before.and_then(|before| self.open.get(&before)) {
            let other = before.file.metadata()?;
            if (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()) {
                return Ok(Opened::Kept);
            }
        }
        registry.register(&mut SourceFd(&file.as_raw_fd()), token, Interest::READABLE)?;
        self.tokens.insert(token, id);
        self.open.insert(id, Fifo { file, token, name, paused: false });
        Ok(Opened::New)
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many are open.
    pub(crate) fn open_now(&self) -> usize {
        self.open.len()
    }

    /// Closes a fifo.
    pub(crate) fn close(&mut self, id: FifoId) {
        self.ready.remove(&id);
        if let Some(fifo) = self.open.remove(&id) {
            // Closing its only descriptor takes it out of epoll.
            self.tokens.remove(&fifo.token);
        }
    }

    /// Reads a fifo no further, or again.
    pub(crate) fn set_paused(&mut self, id: FifoId, paused: bool) {
        if let Some(fifo) = self.open.get_mut(&id) {
            fifo.paused = paused;
            if !paused {
                // Reading tells whether there is something. A writer has been there.
                self.ready.insert(id);
            }
        }
    }

    /// Notes that the source with this token is ready, if it is one of these.
    pub(crate) fn note_ready(&mut self, token: Token) {
        if let Some(id) = self.tokens.get(&token) {
            self.ready.insert(*id);
        } else if self.removals.as_ref().is_some_and(|(removals, _)| *removals == token) {
            self.note_removals();
        }
    }

    /// Has fifos read that are removed and may never have had a writer: if there is none, that ends them.
    fn note_removals(&mut self) {
        while let Some(Ok(events)) = self.removals.as_ref().map(|(_, inotify)| inotify.read_events()) {
            for name in events.into_iter().filter_map(|event| event.name) {
                // The name may stand for a new fifo by now, so the open file is asked.
                let is_removed = |fifo: &Fifo| {
                    name == *fifo.name && fifo.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
                };
                let removed = self.open.iter().filter(|(_, fifo)| is_removed(fifo)).map(|(id, _)| *id);
                self.ready.extend(removed);
            }
        }
    }

    /// The fifos that may have something to read and may be read.
    pub(crate) fn ready(&self) -> Vec<FifoId> {
        let may = |id: &FifoId| self.open.get(id).is_some_and(|fifo| !fifo.paused);
        self.ready.iter().copied().filter(may).collect()
    }

    /// Reads from a fifo once.
    pub(crate) fn read(&mut self, id: FifoId, buffer: &mut [u8]) -> Progress {
        let Some(fifo) = self.open.get_mut(&id) else { return Progress::Nothing };
        loop {
            match fifo.file.read(buffer) {
                Ok(0) => break,
                Ok(count) => return Progress::Octets(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.remove(&id);
                    return Progress::Nothing;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing of the kind is known of fifos; one that cannot be read is of no use.
                Err(_) => break,
            }
        }
        self.close(id);
        Progress::Ended
    }

    /// How often [`Self::read`] is to be called to empty a fifo.
    pub(crate) const fn drain_reads() -> std::ops::Range<usize> {
        0..DRAIN_READS
    }
}
