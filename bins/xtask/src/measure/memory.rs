//! Memory of the idle daemons, and the time from a create to the first line on the console.

use std::time::{Duration, Instant};

use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Host, Pki, Programs, processes};
use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Data, Int, Payload, Wire};

use super::ask::{self, image};
use super::table::{Table, Target, median, mib, milliseconds, number};

/// How long idle daemons are watched.
const WATCHED: Duration = Duration::from_secs(5);
/// What albatrossd may hold then, in MiB.
const IDLE: f64 = 3.0;

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    let mut host = Host::new(programs)?;
    let pki = Pki::generate(programs, &host.work())?;
    pki.intermediate("ca", "alice", 1000, &["--mem", "4000"])?;
    host.start_console(&[])?;
    // Where there is none, albatrossd looks for it now and then.
    host.start_log(&[])?;
    host.start_albatrossd(&[])?;
    let [ca, certificate, key] = pki.server();
    let port = host.start_endpoint(&ca, &certificate, &key)?;
    table.section(&format!("daemons that are idle for {} s", WATCHED.as_secs()));
    idle(&host, table);
    table.section("from a create to the first line on the console");
    let hello = image(&host, "hello")?;
    let count = rounds * 4;
    let local = (0..count).map(|number| create(&host, &format!(":n{number}"), &hello));
    table.figure("over the socket", median(local.collect::<Result<_, _>>()?), "ms", Target::None);
    let remote = (0..count).map(|number| remote(&host, &pki, port, number));
    let what = "with albatross-client over TLS, its start and its keys included";
    table.figure(what, median(remote.collect::<Result<_, _>>()?), "ms", Target::None);
    table.section(&format!("the same daemons after {} unikernels", 2 * count));
    idle(&host, table);
    host.end()
}

/// Memory and wake-ups of each daemon while nothing happens.
fn idle(host: &Host, table: &mut Table) {
    let before: Vec<u64> = host.daemons().map(|daemon| processes::wake_ups(daemon.pid())).collect();
    std::thread::sleep(WATCHED);
    for (daemon, before) in host.daemons().zip(before) {
        let name = daemon.command().split(' ').next().unwrap_or_default();
        let target = if name == "albatrossd" { Target::Most(IDLE) } else { Target::None };
        table.figure(&format!("{name}: resident"), mib(daemon.resident()), "MiB", target);
        let anonymous = processes::status(daemon.pid(), "RssAnon").unwrap_or(0);
        table.figure(&format!("{name}: of its own"), mib(anonymous), "MiB", Target::None);
        let wake_ups = processes::wake_ups(daemon.pid()).saturating_sub(before);
        table.figure(&format!("{name}: wake-ups"), number(wake_ups), "", Target::Most(0.0));
    }
}

/// The time from sending `create` to the guest's first line, as a subscriber of its console sees it.
fn create(host: &Host, name: &str, image: &[u8]) -> Result<f64, Failure> {
    let (vmmd, console) = (host.socket("vmmd"), host.socket("console"));
    let failed = |error| Failure::io("measure a create at", &vmmd, error);
    let mut subscriber = subscribe(&console, name)?;
    let mut client = Raw::unix(&vmmd)?;
    let begin = Instant::now();
    client.command(name, ask::create(image, 2, &[])).map_err(failed)?;
    first_line(&mut subscriber).map_err(failed)?;
    Ok(milliseconds(begin.elapsed()))
}

fn remote(host: &Host, pki: &Pki, port: u16, number: usize) -> Result<f64, Failure> {
    let (label, console) = (format!("r{number}"), host.socket("console"));
    let mut subscriber = subscribe(&console, &format!("alice:{label}"))?;
    let image = host.programs().guest("hello").to_string_lossy().into_owned();
    let begin = Instant::now();
    pki.remote(port, "alice", &["create", &label, &image, "--mem", "2"])?.expect(0, "created")?;
    first_line(&mut subscriber).map_err(|error| Failure::io("measure a create at", &console, error))?;
    Ok(milliseconds(begin.elapsed()))
}

fn subscribe(console: &std::path::Path, name: &str) -> Result<Raw<std::os::unix::net::UnixStream>, Failure> {
    let mut subscriber = Raw::unix(console)?;
    let subscribe = ConsoleCommand::Subscribe(History::Count(Int::from(1)));
    let subscribed = subscriber.command(name, Command::Console(subscribe)).and_then(|()| subscriber.frame());
    subscribed.map_err(|error| Failure::io("subscribe at", console, error))?;
    Ok(subscriber)
}

fn first_line(subscriber: &mut Raw<std::os::unix::net::UnixStream>) -> std::io::Result<()> {
    loop {
        let frame = subscriber.frame()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let wire = Wire::decode(&frame).map_err(std::io::Error::other)?;
        if matches!(wire.payload, Payload::Data(Data::Console { .. })) {
            return Ok(());
        }
    }
}
