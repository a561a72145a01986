//! Figures of the delivered programs on this machine.

use std::time::{Duration, Instant};

use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Host, Pki, Profile, Programs, processes};
use albatross_proto::command::History;
use albatross_proto::{
    Arguments, Command, Config, ConsoleCommand, Data, Int, Payload, Typ, UnikernelCommand, Wire,
};

/// How long idle daemons are watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(crate) fn run(count: usize) -> Result<(), Failure> {
    let programs = Programs::build(Profile::Release, false)?;
    let mut host = Host::new(&programs)?;
    let pki = Pki::generate(&programs, &host.work())?;
    pki.intermediate("ca", "alice", 1000, &["--mem", "4000"])?;
    host.start_console(&[])?;
    host.start_albatrossd(&[])?;
    let [ca, certificate, key] = pki.server();
    let port = host.start_endpoint(&ca, &certificate, &key)?;
    println!("idle daemons, release build, {} s:", WATCHED.as_secs());
    idle(&host);
    let image = std::fs::read(programs.guest("hello"))
        .map_err(|error| Failure::io("read", &programs.guest("hello"), error))?;
    let local =
        (0..count).map(|number| create(&host, &format!(":n{number}"), &image)).collect::<Result<_, _>>()?;
    print("create to the first console line, over the socket", local);
    let remote = (0..count).map(|number| remote(&host, &pki, port, number)).collect::<Result<_, _>>()?;
    print("the same with albatross-client over TLS, its start and its keys included", remote);
    println!("after {} unikernels:", 2 * count);
    idle(&host);
    host.end()
}

/// Memory and wake-ups of each daemon while nothing happens.
#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn idle(host: &Host) {
    let before: Vec<u64> = host.daemons().map(|daemon| processes::wake_ups(daemon.pid())).collect();
    std::thread::sleep(WATCHED);
    for (daemon, before) in host.daemons().zip(before) {
        let name = daemon.command().split(' ').next().unwrap_or_default();
        let anonymous = processes::status(daemon.pid(), "RssAnon").unwrap_or(0);
        let wake_ups = processes::wake_ups(daemon.pid()).saturating_sub(before);
        println!(
            "  {name}: {} KiB resident ({anonymous} KiB of its own), {wake_ups} wake-ups",
            daemon.resident()
        );
    }
}

/// The time from sending `create` to the guest's first line, as a subscriber of its console sees it.
fn create(host: &Host, name: &str, image: &[u8]) -> Result<Duration, Failure> {
    let (vmmd, console) = (host.socket("vmmd"), host.socket("console"));
    let failed = |error| Failure::io("measure a create at", &vmmd, error);
    let mut subscriber = subscribe(&console, name)?;
    let mut client = Raw::unix(&vmmd)?;
    let arguments = Arguments { memory: Int::from(2), ..Arguments::new() };
    let config = Config { typ: Typ::Solo5, compressed: false, image: image.into(), arguments };
    let begin = Instant::now();
    client.command(name, Command::Unikernel(UnikernelCommand::Create(config))).map_err(failed)?;
    first_line(&mut subscriber).map_err(failed)?;
    Ok(begin.elapsed())
}

fn remote(host: &Host, pki: &Pki, port: u16, number: usize) -> Result<Duration, Failure> {
    let (label, console) = (format!("r{number}"), host.socket("console"));
    let mut subscriber = subscribe(&console, &format!("alice:{label}"))?;
    let image = host.programs().guest("hello").to_string_lossy().into_owned();
    let begin = Instant::now();
    pki.remote(port, "alice", &["create", &label, &image, "--mem", "2"])?.expect(0, "created")?;
    first_line(&mut subscriber).map_err(|error| Failure::io("measure a create at", &console, error))?;
    Ok(begin.elapsed())
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

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    if let (Some(median), Some(most), Some(last)) = (at(50), at(90), times.last()) {
        println!(
            "{what}: median {median:.1?}, 9 of 10 within {most:.1?}, longest {last:.1?} of {}",
            times.len()
        );
    }
}
