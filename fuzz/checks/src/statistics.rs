//! Sequences of inputs to the machines of the statistics daemon and of those who show what it gathers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use albatross_core::influx::{self, Forwarder};
use albatross_core::machine::ClientId;
use albatross_core::metrics::{self, Exporter};
use albatross_core::stats::process::{Units, Usage};
use albatross_core::stats::{Gathered, Input, Output, Stats, WatchId};
use albatross_proto::{Command, Header, Int, Name, Payload, StatisticsCommand, Success, Wire};

use crate::script::{Script, at, each_message};

const UNITS: Units = Units { ticks: 100, page: 4096 };

/// Few names, so that they meet.
const NAMES: [&str; 5] = [":a", "a:b", "a:c", "a:b:c", "a:"];

/// Runs the machine as the bytes say; whatever happens in whatever order, it sends nothing to who is gone, every
/// message that it sends can be read, and it watches each process until it says otherwise.
pub fn statistics(bytes: &[u8]) -> bool {
    let mut host = Host {
        script: Script(bytes),
        machine: Stats::new(Duration::from_secs(1), UNITS),
        gone: BTreeSet::new(),
        watched: BTreeMap::new(),
        millis: 0,
    };
    let mut steps = 0;
    while host.step().is_some() {
        steps += 1;
    }
    steps > 0
}

/// What is around the machine.
struct Host<'a> {
    script: Script<'a>,
    machine: Stats,
    gone: BTreeSet<ClientId>,
    /// What is watched, and how many taps each has.
    watched: BTreeMap<WatchId, usize>,
    millis: u64,
}

impl Host<'_> {
    /// `None` when the script is at its end.
    fn step(&mut self) -> Option<()> {
        let kind = self.script.octet()?;
        let client = ClientId(usize::from(self.script.octet()? % 6));
        self.millis += u64::from(self.script.octet()?) * 16;
        let wire = |payload, name: Name| Wire::new(Header::new(1, name), payload).encode().unwrap();
        let command = |command| Payload::Command(Command::Statistics(command));
        let frame = match kind % 8 {
            0 => {
                let pid = Int::from(i32::from(self.script.octet()?) - 1);
                let network = vec![("net".into(), "tap0".into()); usize::from(self.script.octet()? % 4)];
                let add = StatisticsCommand::Add { vmmdev: "".into(), pid, network };
                wire(command(add), self.script.name(&NAMES)?)
            }
            1 => wire(command(StatisticsCommand::Subscribe), self.script.name(&NAMES)?),
            2 => wire(command(StatisticsCommand::Remove), self.script.name(&NAMES)?),
            3 => wire(Payload::Success(Success::Empty), Name::root()),
            4 => self.script.octets()?.to_vec(),
            kind => {
                let input = match kind {
                    5 => Input::Closed(client),
                    6 => Input::Written(client, usize::from(self.script.octet()?) * 64),
                    _ => Input::Tick,
                };
                self.handle(input);
                return Some(());
            }
        };
        self.handle(Input::Frame(client, &frame));
        Some(())
    }

    fn handle(&mut self, input: Input<'_>) {
        match input {
            // A number that was closed and sends is another client.
            Input::Frame(client, _) | Input::VmmdConnected(client) => drop(self.gone.remove(&client)),
            Input::Closed(client) => drop(self.gone.insert(client)),
            _ => {}
        }
        for output in self.machine.handle(at(self.millis), input) {
            match output {
                Output::Send { to, frames } => self.sent(&to, &frames),
                Output::Close(client) => drop(self.gone.insert(client)),
                // Answered before anything else happens.
                Output::ConnectVmmd => match self.script.octet().unwrap_or(0) % 2 {
                    0 => self.handle(Input::VmmdUnreachable("no reason".to_owned())),
                    _ => self.handle(Input::VmmdConnected(ClientId(5))),
                },
                Output::Watch { watch, taps, .. } => match self.script.octet().unwrap_or(0) {
                    0 => self.handle(Input::NotWatched(watch, "no reason".to_owned())),
                    start => {
                        assert!(self.watched.insert(watch, taps.len()).is_none(), "watched twice");
                        self.handle(Input::Watched(watch, Box::new(usage(start)), Duration::ZERO));
                    }
                },
                Output::Unwatch(watch) => assert!(self.watched.remove(&watch).is_some(), "not watched"),
                Output::Gather => {
                    let all = self.watched.clone().into_iter().map(|(watch, taps)| {
                        let start = self.script.octet().unwrap_or(0);
                        let usage = (start > 0).then(|| usage(start));
                        (watch, Gathered { usage, interfaces: vec![Some(Default::default()); taps] })
                    });
                    let all = all.collect();
                    self.handle(Input::Gathered(all));
                }
                Output::Log(notice) => assert!(!notice.to_string().is_empty()),
            }
        }
    }

    fn sent(&self, to: &[ClientId], frames: &[u8]) {
        assert!(!to.is_empty());
        for client in to {
            assert!(!self.gone.contains(client), "sent to who is gone");
        }
        each_message(frames, |_| ());
    }
}

/// Few starts, so that some are the same.
fn usage(start: u8) -> Usage {
    Usage { start: u64::from(start % 4), ..Usage::default() }
}

/// A message of a statistics daemon and a request of a client: what is written of it is whole lines, none of which the
/// message can make itself, and the client is answered once.
pub fn shown(bytes: &[u8]) -> bool {
    let Some((cut, rest)) = bytes.split_first() else { return false };
    let (message, request) = rest.split_at((usize::from(*cut) * 4).min(rest.len()));
    // A file of /proc may be anything, too.
    _ = Usage::parse(message, request, UNITS);
    let mut forwarder = Forwarder::new(Name::root(), false);
    let mut exporter = Exporter::new(Name::root(), "1");
    let subscribed =
        Wire::new(Header::new(0, Name::root()), Payload::Success(Success::Text("subscribed".into())));
    let subscribed = subscribed.encode().unwrap();
    let mut lines = None;
    for input in [
        influx::Input::Tick,
        influx::Input::StatisticsConnected,
        influx::Input::Database(influx::FromDatabase::Connected),
        influx::Input::StatisticsFrame(&subscribed),
        influx::Input::StatisticsFrame(message),
    ] {
        for output in forwarder.handle(at(0), input) {
            if let influx::Output::Database(influx::ToDatabase::Write(text)) = output {
                lines = Some(text);
            }
        }
    }
    for line in lines.iter().flat_map(|text| text.split_inclusive('\n')) {
        let known = ["resource_usage,vm=", "kinfo_mem,vm=", "vmm,vm=", "interface,vm="];
        assert!(line.ends_with('\n') && known.iter().any(|start| line.starts_with(start)), "{line}");
        assert!(!line.trim_end_matches('\n').contains(|it: char| it.is_control()), "{line}");
    }
    let mut answers = Vec::new();
    let client = ClientId(1);
    let pieces = request.chunks(7).map(|piece| metrics::Input::Octets(client, piece));
    for input in [
        metrics::Input::Tick,
        metrics::Input::StatisticsConnected,
        metrics::Input::StatisticsFrame(&subscribed),
        metrics::Input::StatisticsFrame(message),
        metrics::Input::Connected(client),
    ]
    .into_iter()
    .chain(pieces)
    .chain([
        metrics::Input::Connected(ClientId(2)),
        metrics::Input::Octets(ClientId(2), b"GET /metrics HTTP/1.1\n\n"),
    ]) {
        for output in exporter.handle(at(0), input) {
            if let metrics::Output::Answer(client, octets) = output {
                answers.push((client, String::from_utf8(octets).expect("text")));
            }
        }
    }
    assert!(answers.len() <= 2 && answers.last().is_some_and(|(client, _)| *client == ClientId(2)));
    let (_, text) = answers.pop().unwrap();
    let (_, text) = text.split_once("\r\n\r\n").expect("a head");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for line in text.trim_end_matches('\n').split('\n') {
        assert!(line.starts_with("albatross_") || line.starts_with("# "), "{line}");
    }
    lines.is_some() || !answers.is_empty()
}
