//! One tick of albatross-stats with a thousand processes, each with a tap.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use albatross_e2e::frames::Frames;
use albatross_e2e::processes::processor_time;
use albatross_e2e::raw::Raw;
use albatross_e2e::{Daemon, Failure, Host, Programs, processes};
use albatross_proto::frame::frame;
use albatross_proto::{Command, Data, Header, Int, Name, Payload, StatisticsCommand, Success, Wire};

use super::table::{Table, Target, median, mib, milliseconds};

/// Processes that are watched.
const COUNT: u32 = 1_000;
/// Processor time that a tick with all of them may take, in milliseconds.
const TICK: f64 = 20.0;

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    let taps = processes::status(own(), "Uid") == Some(0) && Path::new("/dev/net/tun").exists();
    let with = if taps { "each with a tap" } else { "without taps, which need root and /dev/net/tun" };
    table.section(&format!("statistics of {COUNT} processes, {with}, for one subscriber"));
    let host = Host::new(programs)?;
    let sleepers = Sleepers::start()?;
    let vmmd = host.socket("vmmd");
    let listener = UnixListener::bind(&vmmd).and_then(|it| it.set_nonblocking(true).map(|()| it));
    let listener = listener.map_err(|error| Failure::io("listen on", &vmmd, error))?;
    let mut daemon = start(&host, taps)?;
    let failed = |error| Failure::io("talk to", Path::new("albatross-stats"), error);
    let (connection, _) = daemon.ready("its connection to albatrossd", || listener.accept().ok())?;
    let mut albatrossd = Raw::over(connection);
    tell(&mut albatrossd, &sleepers, taps).map_err(failed)?;
    let subscribe = || Command::Statistics(StatisticsCommand::Subscribe);
    let mut subscriber = Frames::subscribe(&host.socket("stat"), ":", subscribe()).map_err(failed)?;
    let (mut ticks, mut sent) = (Vec::new(), Vec::new());
    tick(&mut subscriber, taps).map_err(failed)?;
    for _ in 0..rounds {
        let before = processor_time(daemon.pid());
        sent.push(milliseconds(tick(&mut subscriber, taps).map_err(failed)?));
        ticks.push((processor_time(daemon.pid()) - before).as_secs_f64() * 1e3);
    }
    table.figure("processor time of a tick", median(ticks.clone()), "ms", Target::Most(TICK));
    let longest = ticks.into_iter().max_by(f64::total_cmp).unwrap_or_default();
    table.figure("the longest of them", longest, "ms", Target::Most(TICK));
    table.figure("from its first message to its last", median(sent), "ms", Target::None);
    table.figure("albatross-stats: resident", mib(daemon.resident()), "MiB", Target::None);
    Ok(())
}

/// The number of this process.
fn own() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// Processes that do nothing. They end when this is dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start() -> Result<Self, Failure> {
        let mut all = Self(Vec::new());
        for _ in 0..COUNT {
            let child = Process::new("sleep").arg("infinity").spawn();
            all.0.push(child.map_err(|error| Failure::io("run", Path::new("sleep"), error))?);
        }
        Ok(all)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            _ = child.kill();
        }
        for child in &mut self.0 {
            _ = child.wait();
        }
    }
}

/// Starts the daemon, where there are to be taps in a network of its own, which goes with it.
fn start(host: &Host, taps: bool) -> Result<Daemon, Failure> {
    let program = host.programs().path("albatross-stats");
    let mut command = if taps {
        let batch = host.work().join("taps");
        let lines = (0..COUNT).map(|number| format!("tuntap add dev vmmtap{number} mode tap\n"));
        let written = std::fs::File::create(&batch)
            .and_then(|mut file| file.write_all(lines.collect::<String>().as_bytes()));
        written.map_err(|error| Failure::io("write", &batch, error))?;
        let mut command = Process::new("unshare");
        command.args(["--net", "--", "sh", "-c", "ip -batch \"$1\" && shift && exec \"$@\"", "sh"]);
        command.arg(batch).arg(program);
        command
    } else {
        Process::new(program)
    };
    command.arg("--tmpdir").arg(host.tmpdir()).arg("--interval=1").stdin(Stdio::null());
    Daemon::start("albatross-stats", command, &host.work().join("log"))
}

/// Tells it what runs, as albatrossd does.
fn tell(albatrossd: &mut Raw<UnixStream>, sleepers: &Sleepers, taps: bool) -> std::io::Result<()> {
    let asked = next(albatrossd)?;
    let answer = Wire::new(asked.header, Payload::Success(Success::Empty));
    albatrossd.send(&frame(&answer.encode().map_err(std::io::Error::other)?))?;
    for (number, child) in (0..).zip(&sleepers.0) {
        let tap = ("service".into(), format!("vmmtap{number}").as_str().into());
        let network = if taps { vec![tap] } else { Vec::new() };
        let add = StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(child.id()), network };
        let name: Name = format!("alice:bob:u{number}").parse().map_err(std::io::Error::other)?;
        let add = Wire::new(Header::new(number + 1, name), Payload::Command(Command::Statistics(add)));
        albatrossd.send(&frame(&add.encode().map_err(std::io::Error::other)?))?;
        match next(albatrossd)?.payload {
            Payload::Success(Success::Text(text)) if text.as_str() == Some("added") => {}
            other => return Err(std::io::Error::other(format!("{other:?}"))),
        }
    }
    Ok(())
}

fn next(connection: &mut Raw<UnixStream>) -> std::io::Result<Wire<'static>> {
    let frame = connection.frame()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let Wire { header, payload } = Wire::decode(&frame).map_err(std::io::Error::other)?;
    let payload = match payload {
        Payload::Success(Success::Empty) => Payload::Success(Success::Empty),
        Payload::Success(Success::Text(text)) => Payload::Success(Success::Text(text)),
        Payload::Command(Command::Statistics(command)) => Payload::Command(Command::Statistics(command)),
        other => return Err(std::io::Error::other(format!("{other:?}"))),
    };
    Ok(Wire { header, payload })
}

/// Takes what a tick brings, and says how long that took from its first message on.
fn tick(subscriber: &mut Frames, taps: bool) -> std::io::Result<Duration> {
    let (mut start, expected) = (None, usize::from(taps));
    for _ in 0..COUNT {
        match Wire::decode(subscriber.read()?).map_err(std::io::Error::other)?.payload {
            Payload::Data(Data::Statistics(it)) if it.interfaces.len() == expected => {}
            other => return Err(std::io::Error::other(format!("{other:?}"))),
        }
        start.get_or_insert_with(Instant::now);
    }
    Ok(start.map(|start| start.elapsed()).unwrap_or_default())
}
