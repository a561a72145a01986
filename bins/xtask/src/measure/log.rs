//! Events of the log that are durable and acknowledged, beside what the disk does with one append at a time.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use albatross_e2e::processes::processor_time;
use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Host, Programs, run};
use albatross_proto::frame::frame;
use albatross_proto::log::{Event, LogEntry};
use albatross_proto::{Data, Header, Name, Payload, Success, Time, Wire};

use super::table::{Table, Target, median, number};

/// Events of each round.
const EVENTS: u64 = 20_000;
/// Events that albatrossd sends ahead of the answers at the most.
const AHEAD: u64 = 1024;
/// Clients that wait for each answer.
const WAITING: u64 = 64;
/// Appends that are made durable one by one.
const APPENDS: u64 = 200;

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section("events of the log, durable before they are acknowledged");
    let mut host = Host::new(programs)?;
    host.start_log(&[])?;
    let pid = host.events().map_or(0, |daemon| daemon.pid());
    let (mut bare, mut ahead, mut waiting, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let octets = message(0)?.len();
    for _ in 0..rounds {
        bare.push(append(&host, octets)?);
        let before = processor_time(pid);
        ahead.push(events(&host, 1, AHEAD)?);
        cpu.push((processor_time(pid) - before).as_secs_f64() * 1e6 / number(EVENTS));
        waiting.push(events(&host, WAITING, 1)?);
    }
    table.figure("append and fdatasync one by one, of as many octets", median(bare), "/s", Target::None);
    table.figure(
        "one client that sends 1024 ahead, as albatrossd",
        median(ahead),
        "/s",
        Target::Least(5000.0),
    );
    table.figure("64 clients that wait for each answer", median(waiting), "/s", Target::Least(5000.0));
    table.figure("processor time of the daemon for an event", median(cpu), "us", Target::None);
    let mut verify = std::process::Command::new(programs.path("albatross-log"));
    run::run(verify.arg("--verify").arg(host.event_log()))?.expect(0, "last link").map(drop)
}

/// Sends events on so many connections, each so many ahead of the answers; how many are acknowledged in a second.
fn events(host: &Host, clients: u64, ahead: u64) -> Result<f64, Failure> {
    let connections: Vec<_> =
        (0..clients).map(|_| Raw::unix(&host.socket("log"))).collect::<Result<_, _>>()?;
    let start = Instant::now();
    let results: Vec<io::Result<()>> = thread::scope(|scope| {
        let handles: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(move || converse(connection, EVENTS / clients, ahead)))
            .collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.map(|result| result.unwrap_or_else(|_| Err(io::Error::other("a client ended")))).collect()
    });
    let took = start.elapsed();
    let done = results.into_iter().collect::<io::Result<Vec<()>>>();
    done.map_err(|error| Failure::io("send events to", &host.socket("log"), error))?;
    Ok(number(EVENTS / clients * clients) / took.as_secs_f64())
}

fn converse(mut connection: Raw<UnixStream>, count: u64, ahead: u64) -> io::Result<()> {
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        let mut batch = Vec::new();
        while sent < count && sent - answered < ahead {
            batch.extend(message(sent).map_err(io::Error::other)?);
            sent += 1;
        }
        connection.send(&batch)?;
        let answer = connection.frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match Wire::decode(&answer).map_err(io::Error::other)?.payload {
            Payload::Success(Success::Empty) => answered += 1,
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
    Ok(())
}

/// A command with its result, as a frame.
fn message(sequence: u64) -> Result<Vec<u8>, Failure> {
    let event = Event::Command { command: "create".into(), failure: None };
    let entry = LogEntry { timestamp: Time::default(), event };
    let name: Name = "alice:bob:hello".parse().unwrap_or_else(|_| Name::root());
    let header = Header::new(i64::try_from(sequence).unwrap_or(0), name);
    let failed = |error: albatross_proto::EncodeError| Failure::Unexpected {
        command: "an event".to_owned(),
        what: error.to_string(),
    };
    Ok(frame(&Wire::new(header, Payload::Data(Data::Log(entry))).encode().map_err(failed)?))
}

/// How many appends are made durable in a second, one by one.
fn append(host: &Host, octets: usize) -> Result<f64, Failure> {
    let path = host.event_log().with_extension("bare");
    let measured = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let start = Instant::now();
        for _ in 0..APPENDS {
            file.write_all(&vec![7; octets])?;
            file.sync_data()?;
        }
        Ok(number(APPENDS) / start.elapsed().as_secs_f64())
    };
    measured().map_err(|error| Failure::io("append to", &path, error))
}
