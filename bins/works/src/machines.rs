//! The machines of the daemons that watch.

use std::time::Duration;

use albatross_core::console::{self, Console};
use albatross_core::eventlog::{Chain, LINK, Reader};
use albatross_core::log::{self, EventLog};
use albatross_core::machine::{ClientId, Now};
use albatross_core::stats::process::{Units, Usage};
use albatross_core::stats::{self, Gathered, Stats, WatchId};
use albatross_proto::command::History;
use albatross_proto::log::{Event, LogEntry};
use albatross_proto::stats::IfData;
use albatross_proto::{
    Command, ConsoleCommand, Data, Header, Int, Payload, StatisticsCommand, Success, Time, Wire,
};

use crate::Work;

const VMMD: ClientId = ClientId(1);
const SUBSCRIBER: ClientId = ClientId(2);

/// How many are watched.
const WATCHED: u32 = 50;

fn now(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds),
        wall: Time::from_unix(1_700_000_000, 0).unwrap_or_default(),
    }
}

fn message(name: &str, payload: Payload<'_>) -> Vec<u8> {
    Wire::new(Header::new(0, name.parse().unwrap()), payload).encode().unwrap()
}

/// A line of a guest, kept and sent to one subscriber, who takes it.
pub(crate) fn console_line() -> Work {
    let mut console = Console::new(5);
    let mut fifo = None;
    let add = message("foo:one", Payload::Command(Command::Console(ConsoleCommand::Add(Int::from(10)))));
    for output in console.handle(now(1), console::Input::Frame(VMMD, &add)) {
        if let console::Output::OpenFifo { fifo: asked, .. } = output {
            fifo = Some(asked);
        }
    }
    let fifo = fifo.unwrap();
    drop(console.handle(now(1), console::Input::FifoOpened(fifo)));
    let subscribe = ConsoleCommand::Subscribe(History::Count(Int::ZERO));
    let subscribe = message("foo:one", Payload::Command(Command::Console(subscribe)));
    for output in console.handle(now(1), console::Input::Frame(SUBSCRIBER, &subscribe)) {
        if let console::Output::Send { frames, .. } = output {
            drop(console.handle(now(1), console::Input::Written(SUBSCRIBER, frames.len())));
        }
    }
    let line = [&[b'x'; 79][..], b"\n"].concat();
    let mut one = move || {
        let outputs = console.handle(now(2), console::Input::FifoBytes(fifo, &line));
        let [console::Output::Send { frames, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        drop(console.handle(now(2), console::Input::Written(SUBSCRIBER, frames.len())));
    };
    // Until the history is full: a line takes the place of another from then on.
    (0..console::RING_LINES).for_each(|_| one());
    Box::new(one)
}

/// One interval: processes with a network device each are read, and one subscriber is told, who takes it.
pub(crate) fn stats_tick() -> Work {
    let interval = Duration::from_secs(10);
    let mut stats = Stats::new(interval, Units { ticks: 100, page: 4096 });
    drop(stats.handle(now(0), stats::Input::Tick));
    drop(stats.handle(now(0), stats::Input::VmmdConnected(VMMD)));
    let yes = message(":", Payload::Success(Success::Empty));
    for output in stats.handle(now(0), stats::Input::Frame(VMMD, &yes)) {
        if output == stats::Output::Gather {
            drop(stats.handle(now(0), stats::Input::Gathered(Vec::new())));
        }
    }
    let mut watched = Vec::new();
    for pid in 1..=WATCHED {
        let network = vec![("service".into(), format!("vmmtap{pid}").as_str().into())];
        let add = StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(pid), network };
        let add = message(&format!("foo:bar:u{pid}"), Payload::Command(Command::Statistics(add)));
        for output in stats.handle(now(0), stats::Input::Frame(VMMD, &add)) {
            if let stats::Output::Watch { watch, .. } = output {
                watched.push(watch);
                let usage = Box::new(Usage::default());
                drop(stats.handle(now(0), stats::Input::Watched(watch, usage, Duration::from_secs(100))));
            }
        }
    }
    assert_eq!(watched.len(), usize::try_from(WATCHED).unwrap_or_default());
    let subscribe = message(":", Payload::Command(Command::Statistics(StatisticsCommand::Subscribe)));
    take(&mut stats, 0, stats::Input::Frame(SUBSCRIBER, &subscribe));
    let mut seconds = 0;
    Box::new(move || {
        seconds += interval.as_secs();
        let outputs = stats.handle(now(seconds), stats::Input::Tick);
        assert_eq!(outputs, [stats::Output::Gather]);
        let sent = take(&mut stats, seconds, stats::Input::Gathered(read(&watched)));
        assert!(sent > 0, "the subscriber is told");
    })
}

fn read(watched: &[WatchId]) -> Vec<(WatchId, Gathered)> {
    let of = |watch: &WatchId| {
        let interfaces = vec![Some(IfData { mtu: 1500, ..IfData::default() })];
        (*watch, Gathered { usage: Some(Usage::default()), interfaces })
    };
    watched.iter().map(of).collect()
}

/// Octets that the subscriber was sent, all of which he takes.
fn take(stats: &mut Stats, seconds: u64, input: stats::Input<'_>) -> usize {
    let mut sent = 0;
    for output in stats.handle(now(seconds), input) {
        if let stats::Output::Send { to, frames } = output
            && to.contains(&SUBSCRIBER)
        {
            sent += frames.len();
        }
    }
    drop(stats.handle(now(seconds), stats::Input::Written(SUBSCRIBER, sent)));
    sent
}

/// An event that comes, is written, and is acknowledged.
pub(crate) fn log_event() -> Work {
    let mut reader = Reader::new();
    reader.push(&Chain::begin([0; LINK]).1, |_, _| {}).unwrap();
    let mut machine = EventLog::new(reader.finish().unwrap());
    let event = Event::Command { command: "create".into(), failure: None };
    let entry = LogEntry { timestamp: Time::default(), event };
    let event = message("alice:bob:hello", Payload::Data(Data::Log(entry)));
    Box::new(move || {
        drop(machine.handle(now(1), log::Input::Frame(VMMD, &event)));
        let outputs = machine.handle(now(1), log::Input::Turn);
        let [log::Output::Append { .. }] = &outputs[..] else { panic!("{outputs:?}") };
        let outputs = machine.handle(now(1), log::Input::Appended(Ok(())));
        let answer = |output: &log::Output| matches!(output, log::Output::Send(VMMD, _));
        assert!(outputs.iter().any(answer), "acknowledged: {outputs:?}");
    })
}
