//! The script of a seed: what happens, drawn at random.

use crate::random::Random;
use crate::script::{Args, Ask, BLOCKS, Chunk, Content, End, FAILING, How, NAMES, PATHS, Step};

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
        // What a daemon finds after a crash may be gone after the next.
        if let Some(Step::Crash { .. }) = steps.last_chunk::<2>().map(|[crash, _]| crash)
            && random.once_in(2)
        {
            let (after, chance) = (random.below(8), random.next());
            steps.push(Step::Crash { power: true, after, chance });
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
        if args.image == 3 || random.once_in(4) {
            let block = [0, 0, 2, 2, 3, 4, 4][name] + if (2..5).contains(&name) { 0 } else { args.disk };
            steps.push(Step::Ask(Ask::AddBlock { block, size: 1 + (args.memory / 16) % 2, content: None }));
            steps.push(Step::Drain);
        }
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
    match random.below(146) {
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
        // Soon, in the middle of what is being done.
        118..122 if trouble > 1 => {
            Step::Crash { power: random.once_in(2), after: random.below(5), chance: random.next() }
        }
        95 if trouble > 0 => Step::Terminate,
        96 if random.once_in(3) => Step::Settle,
        97 if random.once_in(100) => Step::Churn,
        100..102 => Step::StatisticsCome(i32::try_from(any).unwrap()),
        102 => Step::StatisticsLeave { gone: random.once_in(2) },
        103 => Step::StatisticsAnswer(random.below(4)),
        104..107 => Step::Write(any),
        107..112 => Step::Stream(any, chunk(random)),
        112 if trouble > 0 => Step::FillDisk,
        113 if trouble > 0 => Step::Exhaust(1 + random.below(12)),
        114 if trouble > 0 => Step::Mute(1 + random.below(3)),
        115 if trouble > 0 => Step::Freeze,
        116 if trouble > 0 => Step::HandOver,
        124..126 if trouble > 0 => Step::LogDown,
        126..129 => Step::LogUp,
        129 if trouble > 0 => Step::LogDies { written: random.once_in(2) },
        132..136 => Step::Figures(any),
        136 => Step::StallFigures(any),
        137 => Step::NoFigures { subscriber: any, gone: random.once_in(2) },
        138..141 => Step::Stranger(any),
        141 if trouble > 0 => Step::Gather { up: false },
        142..144 => Step::Gather { up: true },
        144 if trouble > 0 => Step::FreezeGathering,
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
    match random.below(34) {
        24..34 => ask_block(random, names),
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
        22 if random.once_in(3) => Ask::Blocks { at: random.below(BLOCKS.len() + PATHS.len()) },
        _ => Ask::Create { name, how: How::Frame { compressed: false }, args: args(random), force: true },
    }
}

fn ask_block(random: &mut Random, names: usize) -> Ask {
    // Where there are few names, there are few devices.
    let block = random.below(BLOCKS.len().min(names + 1));
    match random.below(12) {
        0..3 => {
            let size = random.pick(&[1, 1, 2, 2, 3, 4, 0]);
            Ask::AddBlock { block, size, content: random.once_in(3).then(|| content(random)) }
        }
        3..7 => Ask::SetBlock { block, content: content(random), old: random.once_in(4) },
        7..9 => Ask::DumpBlock { block, level: random.pick(&[0, 0, 1, 9, -1]), old: random.once_in(3) },
        9..11 => Ask::RemoveBlock { block },
        _ => Ask::Blocks { at: random.below(BLOCKS.len() + PATHS.len()) },
    }
}

fn content(random: &mut Random) -> Content {
    let length = random.pick(&[0, 5, 16, 16, 17, 30, 32, 70]);
    Content { length, compressed: random.once_in(3), damaged: random.once_in(6) }
}

fn policy(random: &mut Random) -> Ask {
    Ask::AddPolicy {
        path: if random.once_in(9) { 3 } else { random.below(3) },
        unikernels: random.pick(&[1, 2, 3, 5]),
        memory: random.pick(&[32, 64, 100, 200]),
        bridge: !random.once_in(4),
        cpus: random.pick(&[1, 2, 2]),
        block: random.pick(&[None, Some(1), Some(3), Some(6), Some(6)]),
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
        image: random.below(4),
        memory: random.pick(&[16, 32, 32, 64, 120]),
        cpu: if random.once_in(30) { 7 } else { random.pick(&[0, 0, 1]) },
        restart: random.pick(&[None, Some(false), Some(true), Some(true)]),
        add_name: random.once_in(2),
        argument: random.below(3),
        disk: random.below(2),
    }
}
