//! Images: kept once each, under their SHA-256, and looked at beside the loop, in constant memory.
//!
//! An image on its way in is a file `N.new` beside those that are kept; what a dead daemon left of these is
//! removed at the start, as is every image that the record does not name. Checking, inflating and
//! compressing take a while for large images, so two threads do that, one for what comes and goes and one
//! for what is started, and end when there is nothing to do.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use albatross_core::image::{self, Deflating, Image, Intake};
use albatross_core::vmmd::{Config, ImageSource, Outcome, SpoolId, TaskFailure, TaskId};
use albatross_proto::state::Record;
use mio::Waker;

use crate::files::{failure, sync_parent};

/// Octets that are read at a time.
const PIECE: usize = 64 * 1024;
/// What the threads need: a new compressor passes over the stack, which is some 300 KiB, several times where
/// nothing is optimised. Only what is touched is memory.
const STACK: usize = 2 * 1024 * 1024;
/// Images on their way in at a time: with the limit of each, what may be written to the disk before
/// anything is admitted.
const MAX_SPOOLS: usize = 64;
/// Answers that are given in one turn of the loop. Each of a start leads to some ten system calls, and clients
/// are to be served between those of a thousand.
const ANSWERS_PER_TURN: usize = 16;
/// The end of the names of files that are not whole.
const UNFINISHED: &str = ".new";

/// An image on its way in. The file goes when this is dropped before [`keep`].
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Spool {
    fn new(directory: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = directory.join(format!("{}{UNFINISHED}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, kept: false })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.kept {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// What a task gave that was carried out beside the loop.
pub(crate) enum Answer {
    /// It is done, or is not.
    Done(TaskId, Result<Outcome, TaskFailure>),
    /// This is to be sent.
    Ready(TaskId, Result<File, TaskFailure>),
}

type Job = Box<dyn FnOnce() -> Answer + Send>;

/// The images that are kept and those on their way.
pub(crate) struct Images {
    config: Config,
    spools: HashMap<SpoolId, io::Result<Spool>>,
    transfers: Queue,
    starts: Queue,
    answers: Receiver<Answer>,
}

impl Images {
    pub(crate) fn new(config: &Config, waker: &Arc<Waker>) -> Self {
        let (sender, answers) = mpsc::channel();
        let queue = |name| Queue::new(name, sender.clone(), Arc::clone(waker));
        Self {
            config: config.clone(),
            spools: HashMap::new(),
            transfers: queue("images"),
            starts: queue("image-checks"),
            answers,
        }
    }

    pub(crate) fn open(&mut self, id: SpoolId) {
        let spool = if self.spools.len() < MAX_SPOOLS {
            Spool::new(&self.config.images())
        } else {
            Err(io::Error::other("too many images are on their way at once"))
        };
        self.spools.insert(id, spool);
    }

    /// Writes the next octets. What fails is told when the image is stored.
    pub(crate) fn fill(&mut self, id: SpoolId, octets: &[u8]) {
        if let Some(slot) = self.spools.get_mut(&id)
            && let Ok(spool) = slot
            && let Err(error) = spool.file.write_all(octets)
        {
            *slot = Err(error);
        }
    }

    pub(crate) fn drop_spool(&mut self, id: SpoolId) {
        self.spools.remove(&id);
    }

    /// Begins to store an image.
    pub(crate) fn store(
        &mut self,
        task: TaskId,
        source: ImageSource,
        compressed: bool,
        limit: usize,
        expected: Option<[u8; 32]>,
    ) {
        let source = match source {
            ImageSource::Octets(octets) => Ok(Source::Octets(octets)),
            ImageSource::Spool(id) => self
                .spools
                .remove(&id)
                .unwrap_or_else(|| Err(io::Error::other("nothing of it came")))
                .map(Source::Spool),
        };
        let config = self.config.clone();
        self.transfers.push(
            task,
            Box::new(move || {
                let intake = Intake::new(compressed, limit, expected);
                let stored = source
                    .map_err(|error| failure("cannot store an image in", &config.images(), &error))
                    .and_then(|source| store(&config, source, compressed, intake));
                Answer::Done(task, stored)
            }),
        );
    }

    /// Begins to look at a stored image.
    pub(crate) fn inspect(&mut self, task: TaskId, path: PathBuf, digest: [u8; 32]) {
        let look = move || inspect_stored(&path, &digest).map(Outcome::Inspected);
        self.starts.push(task, Box::new(move || Answer::Done(task, look())));
    }

    /// Begins to make ready what is to be sent.
    pub(crate) fn prepare(&mut self, task: TaskId, path: PathBuf, level: u32) {
        let directory = self.config.images();
        let ready = move || {
            let compressed =
                if level == 0 { File::open(&path) } else { compressed(&directory, &path, level) };
            compressed.map_err(|error| failure("cannot read the image", &path, &error))
        };
        self.transfers.push(task, Box::new(move || Answer::Ready(task, ready())));
    }

    /// Answers that came meanwhile, a bounded number. Where there may be more, the loop is woken again.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let answers: Vec<Answer> = self.answers.try_iter().take(ANSWERS_PER_TURN).collect();
        if answers.len() == ANSWERS_PER_TURN {
            _ = self.transfers.waker.wake();
        }
        answers
    }
}

/// Jobs that are done one after the other, by a thread that is there while there are any.
struct Queue {
    name: &'static str,
    shared: Arc<Mutex<Shared>>,
    sender: Sender<Answer>,
    waker: Arc<Waker>,
}

#[derive(Default)]
struct Shared {
    jobs: VecDeque<Job>,
    /// A thread takes them.
    running: bool,
}

impl Queue {
    fn new(name: &'static str, sender: Sender<Answer>, waker: Arc<Waker>) -> Self {
        Self { name, shared: Arc::default(), sender, waker }
    }

    fn push(&self, task: TaskId, job: Job) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.jobs.push_back(job);
        if shared.running {
            return;
        }
        let (jobs, sender, waker) = (Arc::clone(&self.shared), self.sender.clone(), Arc::clone(&self.waker));
        let work = move || {
            loop {
                let mut shared = jobs.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(job) = shared.jobs.pop_front() else {
                    shared.running = false;
                    return;
                };
                drop(shared);
                // The daemon is over where nobody receives any more.
                _ = sender.send(job());
                _ = waker.wake();
            }
        };
        match thread::Builder::new().name(self.name.to_owned()).stack_size(STACK).spawn(work) {
            Ok(_) => shared.running = true,
            Err(error) => {
                shared.jobs.pop_back();
                let why = TaskFailure(format!("cannot look at the image: {error}"));
                _ = self.sender.send(Answer::Done(task, Err(why)));
                _ = self.waker.wake();
            }
        }
    }
}

/// Where an image comes from.
pub(crate) enum Source {
    Octets(Vec<u8>),
    Spool(Spool),
}

/// Keeps an image and tells what it says about itself.
fn store(config: &Config, source: Source, compressed: bool, intake: Intake) -> Result<Outcome, TaskFailure> {
    let directory = config.images();
    let cannot = |error: io::Error| failure("cannot store an image in", &directory, &error);
    let (spool, digest) = take(&directory, source, compressed, intake)?;
    let image = inspect(&spool.file).map_err(cannot)??;
    keep(config, spool, &digest).map_err(cannot)?;
    Ok(Outcome::Stored { digest, image })
}

/// The image, uncompressed, and its SHA-256.
pub(crate) fn take(
    directory: &Path,
    source: Source,
    compressed: bool,
    mut intake: Intake,
) -> Result<(Spool, [u8; 32]), TaskFailure> {
    let cannot = |error: io::Error| failure("cannot store an image in", directory, &error);
    let refused = |error: image::IntakeError| TaskFailure(error.to_string());
    let spool = match source {
        Source::Octets(octets) => {
            let mut spool = Spool::new(directory).map_err(cannot)?;
            let fed = intake.feed(&octets, |piece| spool.file.write_all(piece));
            fed.map_err(cannot)?.map_err(refused)?;
            spool
        }
        Source::Spool(spool) if !compressed => {
            pieces(&spool.file, |piece| intake.feed(piece, |_| Ok(())).map(|fed| fed.map_err(refused)))
                .map_err(cannot)??;
            spool
        }
        Source::Spool(sent) => {
            let mut spool = Spool::new(directory).map_err(cannot)?;
            let feed = |piece: &[u8]| intake.feed(piece, |octets| spool.file.write_all(octets));
            pieces(&sent.file, feed).map_err(cannot)?.map_err(refused)?;
            spool
        }
    };
    let digest = intake.finish().map_err(refused)?;
    Ok((spool, digest))
}

/// Gives the content of a file to `take`, piece by piece, until that refuses.
fn pieces<E>(
    file: &File,
    mut take: impl FnMut(&[u8]) -> io::Result<Result<(), E>>,
) -> io::Result<Result<(), E>> {
    let mut piece = vec![0; PIECE];
    let mut position = 0;
    loop {
        let count = match file.read_at(&mut piece, position) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        position += u64::try_from(count).unwrap_or(u64::MAX);
        if let Err(refused) = take(piece.get(..count).unwrap_or_default())? {
            return Ok(Err(refused));
        }
    }
}

/// Makes an image one of those that are kept, durably. One that is there and whole stays.
pub(crate) fn keep(config: &Config, mut spool: Spool, digest: &[u8; 32]) -> io::Result<()> {
    let path = config.stored_image(digest);
    if let Ok(there) = File::open(&path)
        && digest_of(&there).is_ok_and(|found| found == *digest)
    {
        // A daemon that was killed before this may have left it.
        there.sync_all()?;
        return sync_parent(&path);
    }
    // Tenders that run as other users read it; the directory keeps everybody else out.
    spool.file.set_permissions(fs::Permissions::from_mode(0o444))?;
    // Under its name before it is on the disk: one commit for both. A record names it only after this
    // function, and what no record names is not there after a crash.
    fs::rename(&spool.path, &path)?;
    spool.path.clone_from(&path);
    spool.file.sync_all()?;
    sync_parent(&path)?;
    spool.kept = true;
    Ok(())
}

fn digest_of(file: &File) -> io::Result<[u8; 32]> {
    let mut intake = Intake::new(false, usize::MAX, None);
    pieces(file, |piece| intake.feed(piece, |_| Ok(())))?.map_err(io::Error::other)?;
    intake.finish().map_err(io::Error::other)
}

fn inspect(file: &File) -> io::Result<Result<Image, TaskFailure>> {
    let length = file.metadata()?.len();
    let read = |offset, octets| {
        let mut part = vec![0; octets];
        file.read_exact_at(&mut part, offset).map(|()| part)
    };
    Ok(image::inspect_with(length, read)?.map_err(|error| TaskFailure(error.to_string())))
}

/// What a stored image says about itself, if it still is what it was.
fn inspect_stored(path: &Path, digest: &[u8; 32]) -> Result<Image, TaskFailure> {
    let cannot = |error: io::Error| failure("cannot read the image", path, &error);
    let file = File::open(path).map_err(cannot)?;
    if digest_of(&file).map_err(cannot)? != *digest {
        return Err(failure("damaged image", path, &"its SHA-256 is not its name"));
    }
    inspect(&file).map_err(cannot)?
}

/// A file without a name that is the zlib stream of another.
fn compressed(directory: &Path, path: &Path, level: u32) -> io::Result<File> {
    let from = File::open(path)?;
    let spool = Spool::new(directory)?;
    let mut to = spool.file.try_clone()?;
    let mut deflating = Deflating::new(level);
    pieces(&from, |piece| deflating.feed(piece, |octets| to.write_all(octets)).map(Ok::<_, ()>))?.ok();
    deflating.finish(|octets| to.write_all(octets))?;
    // The position is shared with the spool: what is sent is read from the beginning.
    to.rewind()?;
    Ok(to)
}

/// Removes what is left of images that did not become whole, and those that no unikernel on record has. Where
/// there is no record, all images stay: it may only not be in its place.
pub(crate) fn sweep(config: &Config, record: Option<&Record>) -> io::Result<usize> {
    let recorded = record.iter().flat_map(|record| &record.unikernels);
    let needed: std::collections::HashSet<PathBuf> =
        recorded.map(|(_, unikernel)| config.stored_image(&unikernel.digest)).collect();
    let mut removed = 0;
    for entry in fs::read_dir(config.images())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_image = name.len() == 64 && name.bytes().all(|octet| octet.is_ascii_hexdigit());
        if name.ends_with(UNFINISHED) || is_image && record.is_some() && !needed.contains(&path) {
            fs::remove_file(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first image that was sent after a daemon was killed with one half way in was refused: that file was
    /// in its place.
    #[test]
    fn what_a_dead_daemon_left_of_an_image_goes_without_a_record_too() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            tmpdir: directory.path().to_owned(),
            dbdir: directory.path().to_owned(),
            drop_path: true,
            overcommit: albatross_core::resources::Overcommit::default(),
        };
        fs::create_dir(config.images()).unwrap();
        let (unfinished, whole) = (config.images().join("0.new"), config.stored_image(&[7; 32]));
        for path in [&unfinished, &whole] {
            fs::write(path, "").unwrap();
        }
        assert_eq!(sweep(&config, None).unwrap(), 1);
        assert!(!unfinished.exists() && whole.exists());
        assert_eq!(sweep(&config, Some(&Record::default())).unwrap(), 1);
        assert!(!whole.exists());
    }
}
