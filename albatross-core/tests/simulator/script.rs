//! What happens in a run, as a list of steps. Each step is complete in itself, so that a script is still one when
//! steps are left out of it: "the n-th that is open" means one of those that are, whatever the number.

use albatross_core::vmmd::Task;

/// Names of unikernels; the index is what scripts hold.
pub(crate) const NAMES: [&str; 7] =
    ["alice:a", "alice:b", "alice:bob:c", "alice:bob:d", "carol:e", ":top", ":other"];
/// Paths of policies.
pub(crate) const PATHS: [&str; 4] = ["alice:", "alice:bob:", "carol:", ":"];

/// Names of block devices; unikernels have `d` and `e` at their path.
pub(crate) const BLOCKS: [&str; 6] = ["alice:d", "alice:e", "alice:bob:d", "carol:d", ":d", ":e"];

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A new client sends a command.
    Ask(Ask),
    /// A client that is there sends a command, whether it waits for a reply or not.
    Pipeline(usize, Ask),
    /// A new client sends two commands at once, as one that has a chain of certificates.
    Chain(Ask, Ask),
    /// A client goes on with the image that it streams.
    Stream(usize, Chunk),
    /// A client, a new one where there is none, sends what is no command.
    Garbage(usize),
    /// A client sends no more (and may read), or is gone.
    HangUp {
        client: usize,
        gone: bool,
    },
    /// A new client subscribes to a console, with so many lines of history.
    Subscribe {
        name: usize,
        lines: i32,
    },
    /// A new client asks the console daemon which consoles are kept.
    ListInactive,
    /// A client sends more commands than may wait.
    Flood(usize),
    /// A client changes the policy of one path so often that the record's file is written anew.
    Churn,
    /// A subscriber stops reading, or reads again.
    Stall(usize),
    /// A subscriber goes away.
    Unsubscribe {
        subscriber: usize,
        gone: bool,
    },
    /// Some of what waits is carried out, in an order that these numbers say.
    Work {
        choice: usize,
        times: usize,
    },
    /// All that waits is carried out in order.
    Drain,
    /// Time passes.
    Wait {
        millis: u64,
    },
    /// The next tasks of this kind fail.
    Fail(Kind, usize),
    /// A bridge goes or comes.
    Bridge,
    /// A tender prints lines.
    Print {
        process: usize,
        lines: usize,
        long: bool,
    },
    /// A tender ends.
    Die {
        process: usize,
        end: End,
    },
    /// A tender ignores SIGTERM from now on.
    Deafen(usize),
    /// The console daemon ends, or begins.
    ConsoleDown,
    ConsoleUp,
    /// The log daemon ends, or begins.
    LogDown,
    LogUp,
    /// The log daemon ends when it gets something, before or after that is written.
    LogDies {
        written: bool,
    },
    /// albatrossd is killed, or the power fails, after so many more effects.
    Crash {
        power: bool,
        after: usize,
        chance: u64,
    },
    /// albatrossd is asked to end, and started again when it has.
    Terminate,
    /// albatrossd is asked to end and to leave what runs to the next one.
    HandOver,
    /// A guest writes to its block device.
    Write(usize),
    /// The statistics daemon begins, or ends.
    Gather {
        up: bool,
    },
    /// The statistics daemon does nothing any more, or goes on.
    FreezeGathering,
    /// A new client subscribes to statistics of a path or a unikernel.
    Figures(usize),
    /// A subscriber of statistics stops reading, or reads again.
    StallFigures(usize),
    /// A subscriber of statistics goes away.
    NoFigures {
        subscriber: usize,
        gone: bool,
    },
    /// A process that is no tender gets the id of a tender that has ended.
    Stranger(usize),
    /// A statistics daemon begins, with this number, in place of one that is there.
    StatisticsCome(i32),
    /// It goes, or sends no more.
    StatisticsLeave {
        gone: bool,
    },
    /// It answers, or sends what it should not.
    StatisticsAnswer(usize),
    /// The disk is full, or has room again.
    FillDisk,
    /// There is no descriptor for so many tasks.
    Exhaust(usize),
    /// So many tenders do not answer `--version`.
    Mute(usize),
    /// The console daemon does nothing any more, or goes on.
    Freeze,
    /// Nothing happens for minutes; then everything is where it should be.
    Settle,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Create {
        name: usize,
        how: How,
        args: Args,
        force: bool,
    },
    Restart {
        name: usize,
        args: Option<Args>,
    },
    Destroy {
        name: usize,
    },
    Get {
        name: usize,
        level: i32,
    },
    Info {
        form: usize,
        at: usize,
    },
    Status {
        at: usize,
    },
    AddPolicy {
        path: usize,
        unikernels: i32,
        memory: i32,
        bridge: bool,
        cpus: i32,
        block: Option<i32>,
    },
    RemovePolicy {
        path: usize,
    },
    Policies {
        path: usize,
    },
    Blocks {
        at: usize,
    },
    /// Content is what older clients send with it.
    AddBlock {
        block: usize,
        size: i32,
        content: Option<Content>,
    },
    /// Content follows as a stream, or is in the command.
    SetBlock {
        block: usize,
        content: Content,
        old: bool,
    },
    DumpBlock {
        block: usize,
        level: i32,
        old: bool,
    },
    RemoveBlock {
        block: usize,
    },
}

/// What is to be put on a block device; an octet stands for 64 KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) length: usize,
    pub(crate) compressed: bool,
    /// The last octet does not come.
    pub(crate) damaged: bool,
}

/// How an image is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// In the command.
    Frame { compressed: bool },
    /// In a frame so long that the driver puts it into a file.
    Large { compressed: bool },
    /// After the command, under its digest; the whole stream is sent at once where `whole`.
    Digest { compressed: bool, lie: bool, whole: bool },
    /// No image at all.
    Nonsense,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) image: usize,
    pub(crate) memory: i32,
    pub(crate) cpu: i32,
    pub(crate) restart: Option<bool>,
    pub(crate) add_name: bool,
    pub(crate) argument: usize,
    /// Which block device, where the image has one.
    pub(crate) disk: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Chunk {
    /// Some octets more.
    Some(usize),
    /// All that is left, and the end.
    Rest,
    /// The end, too early.
    End,
    /// More than was announced.
    TooMuch,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

/// The kinds of tasks. A new variant of [`Task`] gets one here, and a place in `Host::effect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    StoreImage,
    InspectImage,
    SendImage,
    FindTender,
    PlaceImage,
    MakeFifo,
    MakeTap,
    Spawn,
    Persist,
    Append,
    MakeBlock,
    FillBlock,
    ReceiveBlock,
    SendBlock,
    RemoveBlock,
    /// Opening the files of a process, by the statistics daemon.
    Watch,
    /// Opening a fifo, by the console daemon.
    OpenFifo,
    /// Making the file of an image on its way in.
    OpenSpool,
    /// Connecting to the console daemon.
    Connect,
    /// What is not modelled: it always fails, as the driver's answer to what it does not know.
    Unknown,
}

pub(crate) const FAILING: [Kind; 19] = [
    Kind::Watch,
    Kind::StoreImage,
    Kind::InspectImage,
    Kind::SendImage,
    Kind::FindTender,
    Kind::PlaceImage,
    Kind::MakeFifo,
    Kind::MakeTap,
    Kind::Spawn,
    Kind::Persist,
    Kind::Append,
    Kind::OpenFifo,
    Kind::MakeBlock,
    Kind::FillBlock,
    Kind::ReceiveBlock,
    Kind::SendBlock,
    Kind::RemoveBlock,
    Kind::OpenSpool,
    Kind::Connect,
];

impl Kind {
    pub(crate) const fn of(task: &Task) -> Self {
        match task {
            Task::StoreImage { .. } => Self::StoreImage,
            Task::InspectImage { .. } => Self::InspectImage,
            Task::SendImage { .. } => Self::SendImage,
            Task::FindTender { .. } => Self::FindTender,
            Task::PlaceImage { .. } => Self::PlaceImage,
            Task::MakeFifo { .. } => Self::MakeFifo,
            Task::MakeTap { .. } => Self::MakeTap,
            Task::Spawn(_) => Self::Spawn,
            Task::Persist { .. } => Self::Persist,
            Task::Append { .. } => Self::Append,
            Task::MakeBlock { .. } => Self::MakeBlock,
            Task::FillBlock { .. } => Self::FillBlock,
            Task::ReceiveBlock { .. } => Self::ReceiveBlock,
            Task::SendBlock { .. } => Self::SendBlock,
            Task::RemoveBlock { .. } => Self::RemoveBlock,
            _ => Self::Unknown,
        }
    }

    /// Whether it needs room on the disk. A new block device is a file without any.
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::StoreImage | Self::Persist | Self::Append | Self::FillBlock | Self::ReceiveBlock)
    }

    /// Whether it needs a descriptor.
    pub(crate) const fn opens(self) -> bool {
        !matches!(self, Self::Append | Self::RemoveBlock | Self::Unknown)
    }
}
