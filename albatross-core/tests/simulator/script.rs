//! What happens in a run, as a list of steps. Each step is complete in itself, so that a script is still one when
//! steps are left out of it: "the n-th that is open" means one of those that are, whatever the number.

use albatross_core::vmmd::Task;

use crate::random::Random;

/// Names of unikernels; the index is what scripts hold.
pub(crate) const NAMES: [&str; 7] =
    ["alice:a", "alice:b", "alice:bob:c", "alice:bob:d", "carol:e", ":top", ":other"];
/// Paths of policies.
pub(crate) const PATHS: [&str; 4] = ["alice:", "alice:bob:", "carol:", ":"];

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
    /// albatrossd is killed, or the power fails, after so many more effects.
    Crash {
        power: bool,
        after: usize,
        chance: u64,
    },
    /// albatrossd is asked to end, and started again when it has.
    Terminate,
    /// Nothing happens for minutes; then everything is where it should be.
    Settle,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Create { name: usize, how: How, args: Args, force: bool },
    Restart { name: usize, args: Option<Args> },
    Destroy { name: usize },
    Get { name: usize, level: i32 },
    Info { form: usize, at: usize },
    Status { at: usize },
    AddPolicy { path: usize, unikernels: i32, memory: i32, bridge: bool, cpus: i32 },
    RemovePolicy { path: usize },
    Policies { path: usize },
    Blocks,
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
    /// Opening a fifo, by the console daemon.
    OpenFifo,
    /// What is not modelled: it always fails, as the driver's answer to what it does not know.
    Unknown,
}

const FAILING: [Kind; 11] = [
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
            _ => Self::Unknown,
        }
    }
}

/// The script of a seed.
pub(crate) fn script(random: &mut Random, length: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(length);
    // Some runs keep to few names, where more meets.
    let names = random.pick(&[1, 2, 4, NAMES.len()]);
    // Some are without trouble, so that they come far.
    let trouble = random.pick(&[0, 1, 2]);
    if !random.once_in(3) {
        prelude(random, names, &mut steps);
    }
    while steps.len() < length {
        steps.push(step(random, names, trouble));
        if !random.once_in(3) {
            steps.push(work(random));
        }
    }
    steps.push(Step::Settle);
    steps
}

/// Some that run, so that there is something to happen to.
fn prelude(random: &mut Random, names: usize, steps: &mut Vec<Step>) {
    for name in 0..names {
        let args = Args { memory: 16, cpu: 0, ..args(random) };
        let how = How::Frame { compressed: false };
        steps.push(Step::Ask(Ask::Create { name, how, args, force: false }));
        if random.once_in(2) {
            steps.push(Step::Subscribe { name, lines: random.pick(&[1, 1024]) });
        }
    }
    steps.push(Step::Drain);
}

fn work(random: &mut Random) -> Step {
    if random.once_in(3) {
        return Step::Drain;
    }
    Step::Work { choice: random.below(1 << 20), times: 1 + random.below(6) }
}

fn step(random: &mut Random, names: usize, trouble: usize) -> Step {
    let any = random.below(64);
    match random.below(100) {
        0..32 => Step::Ask(ask(random, names)),
        32..37 => Step::Pipeline(any, ask(random, names)),
        37..40 => Step::Chain(policy(random), ask(random, names)),
        40..45 => Step::Stream(any, chunk(random)),
        45 if random.once_in(3) => Step::Flood(any),
        45 => Step::Garbage(any),
        46..49 => Step::HangUp { client: any, gone: random.once_in(2) },
        49..52 => Step::Subscribe { name: random.below(names), lines: random.pick(&[0, 1, 5, 2000, -1]) },
        52 => Step::ListInactive,
        53 => Step::Stall(any),
        54 => Step::Unsubscribe { subscriber: any, gone: random.once_in(2) },
        55..64 => work(random),
        64..70 => Step::Wait { millis: random.pick(&[1, 300, 1_000, 6_000, 11_000, 70_000]) },
        70..74 if trouble > 0 => Step::Fail(random.pick(&FAILING), 1 + random.below(2)),
        74 if trouble > 0 => Step::Bridge,
        75..82 => Step::Print { process: any, lines: 1 + random.below(4), long: random.once_in(40) },
        82..86 => Step::Die { process: any, end: end(random) },
        86 => Step::Deafen(any),
        87..89 if trouble > 0 => Step::ConsoleDown,
        89..91 => Step::ConsoleUp,
        91..95 if trouble > 1 => {
            Step::Crash { power: random.once_in(2), after: random.below(20), chance: random.next() }
        }
        95 if trouble > 0 => Step::Terminate,
        96 if random.once_in(3) => Step::Settle,
        97 if random.once_in(100) => Step::Churn,
        _ => work(random),
    }
}

fn end(random: &mut Random) -> End {
    if random.once_in(5) {
        return End::Signal(random.pick(&[9, 11]));
    }
    End::Exit(random.pick(&[0, 1, 2, 7, 60, 64]))
}

fn chunk(random: &mut Random) -> Chunk {
    match random.below(8) {
        0 => Chunk::End,
        1 => Chunk::TooMuch,
        2..4 => Chunk::Some(1 + random.below(200)),
        _ => Chunk::Rest,
    }
}

fn ask(random: &mut Random, names: usize) -> Ask {
    let name = random.below(names);
    match random.below(24) {
        0..10 => Ask::Create { name, how: how(random), args: args(random), force: random.once_in(3) },
        10..13 => {
            let other = random.once_in(2);
            Ask::Restart { name, args: other.then(|| args(random)) }
        }
        13..15 => Ask::Destroy { name },
        15 => Ask::Get { name, level: random.pick(&[0, 1, 9, -3]) },
        16 => Ask::Info { form: random.below(3), at: random.below(NAMES.len() + PATHS.len()) },
        17 => Ask::Status { at: random.below(NAMES.len() + PATHS.len()) },
        18..21 => policy(random),
        21 => Ask::RemovePolicy { path: random.below(PATHS.len()) },
        22 if random.once_in(3) => Ask::Policies { path: random.below(PATHS.len()) },
        22 if random.once_in(3) => Ask::Blocks,
        _ => Ask::Create { name, how: How::Frame { compressed: false }, args: args(random), force: true },
    }
}

fn policy(random: &mut Random) -> Ask {
    Ask::AddPolicy {
        path: if random.once_in(9) { 3 } else { random.below(3) },
        unikernels: random.pick(&[1, 2, 3, 5]),
        memory: random.pick(&[32, 64, 100, 200]),
        bridge: !random.once_in(4),
        cpus: random.pick(&[1, 2, 2]),
    }
}

fn how(random: &mut Random) -> How {
    let compressed = random.once_in(3);
    match random.below(12) {
        0..6 => How::Frame { compressed },
        6..8 => How::Large { compressed },
        8..11 => How::Digest { compressed, lie: random.once_in(6), whole: random.once_in(2) },
        _ => How::Nonsense,
    }
}

fn args(random: &mut Random) -> Args {
    Args {
        image: random.below(3),
        memory: random.pick(&[16, 32, 32, 64, 120]),
        cpu: if random.once_in(30) { 7 } else { random.pick(&[0, 0, 1]) },
        restart: random.pick(&[None, Some(false), Some(true), Some(true)]),
        add_name: random.once_in(2),
        argument: random.below(3),
    }
}
