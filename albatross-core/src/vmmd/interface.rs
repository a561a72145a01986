//! What goes into the machine of albatrossd and what comes out of it.

use std::ffi::OsString;
use std::path::PathBuf;

use albatross_proto::reply::Exit;
use albatross_proto::state::{Record, Tender};
use albatross_proto::{Header, Name, Policy};

#[cfg(doc)]
use super::{Config, Vmmd};
use super::{Group, Left};
use crate::image::{Image, Target};
use crate::machine::{ClientId, Level};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// What is in the directory of the block devices ([`Config::blocks`]); before
    /// [`Begin`](Self::Begin).
    BlockFiles(Vec<BlockFile>),
    /// Tenders get control groups, and those of these unikernels are there; before [`Begin`](Self::Begin).
    Groups(Vec<Name>),
    /// The daemon begins: what the machine offers as a whole, and what is on record.
    Begin {
        /// The root policy: cpus, memory, storage and bridges that are there.
        host: Policy,
        /// What was persisted last.
        record: Record,
        /// Random octets that nobody else knows.
        seed: [u8; 32],
        /// What a predecessor left: tenders that run on, and what they had.
        left: Left,
    },
    /// A client connected.
    Connected(ClientId),
    /// A client sent a frame.
    Frame(ClientId, Vec<u8>),
    /// A client sent a create whose image is not in memory: the message with an empty image, and where the
    /// image is. It is the machine's from now on: it is stored or dropped.
    LargeFrame(ClientId, Vec<u8>, SpoolId),
    /// A client sends no more, and may wait for a reply.
    Ended(ClientId),
    /// A client's connection is gone.
    Closed(ClientId),
    /// The console daemon was reached.
    ConsoleConnected,
    /// The console daemon sent a frame.
    ConsoleFrame(Vec<u8>),
    /// The console daemon was not reached, or its connection is gone.
    ConsoleClosed,
    /// The log daemon was reached.
    LogConnected,
    /// The log daemon sent a frame.
    LogFrame(Vec<u8>),
    /// The log daemon was not reached, or its connection is gone.
    LogClosed,
    /// A tender ended.
    Exited {
        /// Its process id.
        pid: u32,
        /// How it ended; `None` where that cannot be known of a tender that was taken over.
        exit: Option<Exit>,
    },
    /// The kernel killed a tender because its control group used more memory than it may; before
    /// [`Exited`](Self::Exited).
    OutOfMemory {
        /// Its process id.
        pid: u32,
    },
    /// A task was carried out, or was not, and why.
    Done(TaskId, Result<Outcome, TaskFailure>),
    /// A deadline of [`Vmmd::next_deadline`] may have come.
    Tick,
    /// The daemon was asked to end, and its unikernels with it.
    Terminate,
    /// The daemon was asked to end and to leave what runs to the next one.
    HandOver,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Send this message as a frame.
    Send(ClientId, Vec<u8>),
    /// Close the connection when all is sent.
    Close(ClientId),
    /// Connect to the console daemon: [`Input::ConsoleConnected`] or [`Input::ConsoleClosed`] answers.
    ConnectConsole,
    /// Send this message to the console daemon as a frame.
    SendConsole(Vec<u8>),
    /// Connect to the log daemon: [`Input::LogConnected`] or [`Input::LogClosed`] answers, before anything else that
    /// happens.
    ConnectLog,
    /// Send this message to the log daemon as a frame.
    SendLog(Vec<u8>),
    /// Close the connection to the log daemon. Nothing is said of it any more.
    CloseLog,
    /// Carry this out and answer with [`Input::Done`].
    Task(TaskId, Task),
    /// Make room for an image that comes in pieces. That there is none is the failure of the task that
    /// stores the image.
    OpenSpool(SpoolId),
    /// These are the next octets of the image.
    FillSpool(SpoolId, Vec<u8>),
    /// The image is not wanted after all.
    DropSpool(SpoolId),
    /// The daemon ends: what is being received from or sent to this client by a [`Task`] is cut short, and
    /// the task fails.
    EndStream(ClientId),
    /// End this tender.
    Kill(u32, Signal),
    /// Set the limits of the control group of a tender that was taken over. That there is none is reported.
    LimitGroup(Group),
    /// Kill whoever is in the control group of this unikernel.
    KillGroup(Name),
    /// Remove the control group of this unikernel, and kill first whoever is in it. That there is none is no
    /// error.
    RemoveGroup(Name),
    /// Replace the note of this tender, before whatever comes next.
    Note(u32, Note),
    /// Remove these files of the daemon's own; what is not there is no error.
    RemoveFile(PathBuf),
    /// Remove this tap.
    RemoveTap(String),
    /// Make these files of block devices the daemon's own again, which belong to the user of a tender that has ended;
    /// what is not there is no error.
    TakeBackBlocks(Vec<PathBuf>),
    /// Write this to the log.
    Log(Level, String),
    /// Accept no more clients.
    StopListening,
    /// All is freed: end the daemon.
    Exit,
}

/// A file in the directory of the block devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFile {
    /// Its name there.
    pub name: OsString,
    /// Its length in octets; `None` where it is no regular file.
    pub length: Option<u64>,
    /// The user id that it belongs to.
    pub owner: u32,
}

/// A signal for a tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Numbers a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// An image on its way in that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpoolId {
    /// It was part of a frame, numbered by the driver.
    Frame(u64),
    /// It is streamed after its command, numbered by the machine.
    Stream(u64),
}

/// Where an image is that is to be stored.
#[derive(Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// In memory: it is small.
    Octets(Vec<u8>),
    /// Not in memory. Storing it uses it up.
    Spool(SpoolId),
}

/// Something that may fail and is waited for. A task that fails leaves nothing behind.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Look at this image and keep it, uncompressed and durably, at [`Config::stored_image`]:
    /// [`Outcome::Stored`]. One that is there already and whole is kept.
    StoreImage {
        /// Where it is.
        source: ImageSource,
        /// Whether it is a zlib stream.
        compressed: bool,
        /// The most octets that it may have uncompressed.
        limit: usize,
        /// The SHA-256 that it must have as it came, if that was told.
        expected: Option<[u8; 32]>,
    },
    /// Look at this stored image, which must have this SHA-256: [`Outcome::Inspected`].
    InspectImage {
        /// Where.
        path: PathBuf,
        /// Its SHA-256.
        digest: [u8; 32],
    },
    /// Send this stored image to a client as the reply with this header. Done when all is sent or waits to
    /// be written; not done where nothing was sent.
    SendImage {
        /// To whom.
        client: ClientId,
        /// The header of the reply.
        header: Header,
        /// Where the image is.
        path: PathBuf,
        /// 0: as it is; else compressed at this level.
        level: u32,
    },
    /// Look at what the machine offers as a whole: [`Outcome::Host`]. It is the first to be answered of what is
    /// waited for: the messages of a client may wait behind it.
    LookAtHost,
    /// Find a tender that runs such images: [`Outcome::Tender`].
    FindTender {
        /// What the image was linked for.
        target: Target,
        /// The version of the interface.
        abi_version: u32,
    },
    /// Make the file `to` with the content of `from`.
    PlaceImage {
        /// The stored image.
        from: PathBuf,
        /// The image of the running unikernel.
        to: PathBuf,
    },
    /// Make this fifo, for the console daemon to read.
    MakeFifo {
        /// Where.
        path: PathBuf,
    },
    /// Make a tap that is up and belongs to this bridge: [`Outcome::Tap`].
    MakeTap {
        /// The bridge.
        bridge: String,
        /// The user id that may open it, besides root.
        owner: Option<u32>,
    },
    /// Start a tender: [`Outcome::Process`]. It does not run before its note is there. The files of its block devices
    /// are made those of its user, until [`Output::TakeBackBlocks`].
    Spawn(Spawn),
    /// Make the file of a block device, durably: it is made whole as `unfinished` and gets its name then.
    /// What has that name already stays as it is, and is a failure.
    MakeBlock {
        /// Where.
        file: BlockPlace,
        /// What is on it at first, where that is not only zeros.
        content: Option<BlockContent>,
    },
    /// Replace the content of a block device by this, atomically and durably: the new file is made whole as
    /// `unfinished` and takes the place of the old one then.
    FillBlock {
        /// Where.
        file: BlockPlace,
        /// What.
        content: BlockContent,
    },
    /// The same with what this client streams after its command, as [`crate::block::Intake`] takes it.
    ReceiveBlock {
        /// From whom. Its frames are not for the machine until this is done.
        client: ClientId,
        /// What came of the stream already, as it came: the machine was given it before its time.
        begun: Vec<u8>,
        /// Where.
        file: BlockPlace,
        /// Whether the stream is a zlib stream.
        compressed: bool,
    },
    /// Send the content of a block device to a client as replies with this header. Done when all is sent.
    /// Where it fails between two messages the client can be told.
    SendBlock {
        /// To whom.
        client: ClientId,
        /// The header of the replies.
        header: Header,
        /// Where the content is.
        file: BlockPlace,
        /// 0: as it is; else compressed at this level.
        level: u32,
        /// Which replies.
        form: DumpForm,
    },
    /// Remove the file of a block device, durably. That it is not there is no error.
    RemoveBlock {
        /// Where.
        path: PathBuf,
    },
    /// Replace the file of the record by this one, atomically and durably. This and
    /// [`Append`](Self::Append) are carried out and answered in the order given.
    Persist {
        /// Where.
        path: PathBuf,
        /// The whole file ([`crate::journal`]).
        record: Vec<u8>,
    },
    /// Append this to the file of the record, durably. After one that failed, no other may be carried out
    /// before the file was replaced.
    Append {
        /// Where.
        path: PathBuf,
        /// One entry ([`crate::journal`]).
        entry: Vec<u8>,
    },
}

/// Where the file of a block device is, and how long it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The file.
    pub path: PathBuf,
    /// Where a file can be made that is not whole. Nobody else uses this while the task is carried out, and
    /// it is not there afterwards.
    pub unfinished: PathBuf,
    /// Octets of the file. What the content does not fill is zeros.
    pub length: u64,
}

/// Content of a block device that came in a message.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockContent {
    /// The octets.
    pub octets: Vec<u8>,
    /// Whether they are a zlib stream.
    pub compressed: bool,
}

/// How the content of a block device is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpForm {
    /// In chunks.
    Chunks,
    /// In one message, as older clients want it.
    Whole,
}

/// How a tender is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The program.
    pub tender: PathBuf,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// The cpus that it is pinned to.
    pub cpus: Vec<usize>,
    /// The fifo that is its standard input, output and error.
    pub fifo: PathBuf,
    /// The user and group id that it runs under, which no other tender has; `None`: that of the daemon.
    pub user: Option<u32>,
    /// The control group that it is in before it runs; `None`: that of the daemon.
    pub group: Option<Group>,
    /// What its arguments make it open, and it may.
    pub reach: Reach,
    /// What is noted of it for the next daemon.
    pub note: Box<Note>,
}

/// An argument of a tender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Any octets, none of them 0.
    Octets(Vec<u8>),
    /// A device that the tender opens: by its name, or, where a tender takes that, open already.
    Opens {
        /// What comes before the name, such as `--net:service=`.
        option: Vec<u8>,
        /// What.
        what: Opened,
    },
}

/// A device that a tender opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A tap.
    Tap(String),
    /// The file of a block device, to read and write.
    Block(PathBuf),
}

impl Argument {
    /// As every tender takes it.
    #[must_use]
    pub fn by_name(&self) -> Vec<u8> {
        match self {
            Self::Octets(octets) => octets.clone(),
            Self::Opens { option, what } => [option, what.name()].concat(),
        }
    }

    /// As our tender takes it, with the number of an open descriptor of what it would open.
    #[must_use]
    pub fn by_descriptor(&self, number: i32) -> Vec<u8> {
        match self {
            Self::Octets(octets) => octets.clone(),
            Self::Opens { option, .. } => [option.as_slice(), b"@", number.to_string().as_bytes()].concat(),
        }
    }
}

impl Opened {
    fn name(&self) -> &[u8] {
        match self {
            Self::Block(path) => path.as_os_str().as_encoded_bytes(),
            Self::Tap(name) => name.as_bytes(),
        }
    }
}

/// What is noted of a tender that runs. The driver adds which process it is, which makes it
/// [`albatross_proto::state::Running`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where, below [`Config::notes`].
    pub path: PathBuf,
    /// What.
    pub tender: Tender,
}

/// What a tender may reach: all else is none of its business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The image, to read.
    pub image: PathBuf,
    /// The files of its block devices, to read and write.
    pub blocks: Vec<PathBuf>,
    /// Whether it opens taps.
    pub taps: bool,
    /// Whether it opens the device of the kernel's virtual machines.
    pub virtual_machines: bool,
    /// Memory of the guest, in MB.
    pub memory: u64,
}

/// What a task that was carried out gave.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// An image is stored.
    Stored {
        /// Its SHA-256.
        digest: [u8; 32],
        /// What it says about itself.
        image: Image,
    },
    /// What an image says about itself.
    Inspected(Image),
    /// The root policy: cpus, memory, storage and bridges that are there.
    Host(Policy),
    /// The path of a tender.
    Tender(PathBuf),
    /// The name of a tap.
    Tap(String),
    /// The id of a process.
    Process(u32),
}

/// Why a task was not carried out: one sentence that names the file or device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure(pub String);
