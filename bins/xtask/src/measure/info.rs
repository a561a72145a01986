//! A local `info` with a connection of its own, in turns with a bare echo.

use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command as Process};
use std::thread;
use std::time::Instant;

use albatross_e2e::processes::processor_time;
use albatross_e2e::{Failure, Host, Programs, eventually};
use albatross_proto::frame::frame;
use albatross_proto::{Command, Header, Payload, UnikernelCommand, Wire};

use super::ask::pid;
use super::table::{Table, Target, median, number};

/// Clients at a time, and how often each asks in a round.
const CLIENTS: u32 = 8;
const TIMES: u32 = 1_500;
/// A third of the CPU time of the OCaml daemon, in microseconds, with one client and with several.
const MOST: [(u32, f64); 2] = [(1, 14.0), (CLIENTS, 14.0)];

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section("info over the socket, each on a connection of its own, in turns with a bare mio echo");
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    host.start_albatrossd(&[])?;
    let socket = host.work().join("echo.sock");
    let echo = Echo::start(&socket)?;
    let vmmd = host.socket("vmmd");
    let echo_pid = i32::try_from(echo.0.id()).unwrap_or(0);
    for (clients, most) in MOST {
        let (mut ours, mut bare, mut ratios, mut cpu, mut echo_cpu) =
            (vec![], vec![], vec![], vec![], vec![]);
        let count = number(u64::from(clients * TIMES));
        for _ in 0..rounds {
            let before = processor_time(pid(&mut host));
            let rate = rate(&vmmd, clients)?;
            cpu.push((processor_time(pid(&mut host)) - before).as_secs_f64() * 1e6 / count);
            let before = processor_time(echo_pid);
            let echo_rate = self::rate(&socket, clients)?;
            echo_cpu.push((processor_time(echo_pid) - before).as_secs_f64() * 1e6 / count);
            ours.push(rate);
            bare.push(echo_rate);
            ratios.push(rate / echo_rate);
        }
        let with = format!("{clients} at a time");
        table.figure(&format!("{with}: info"), median(ours), "1/s", Target::None);
        table.figure(&format!("{with}: echo"), median(bare), "1/s", Target::None);
        table.figure(&format!("{with}: info, of echo"), median(ratios), "", Target::Least(0.8));
        table.figure(&format!("{with}: CPU of albatrossd for each"), median(cpu), "us", Target::Most(most));
        table.figure(&format!("{with}: CPU of the echo for each"), median(echo_cpu), "us", Target::None);
    }
    Ok(())
}

/// The echo as a process. It ends when this is dropped.
struct Echo(Child);

impl Echo {
    fn start(socket: &Path) -> Result<Self, Failure> {
        let program = env::current_exe().map_err(|error| Failure::io("find", Path::new("xtask"), error))?;
        let child = Process::new(&program).arg("echo").arg(socket).spawn();
        let echo = Self(child.map_err(|error| Failure::io("run", &program, error))?);
        eventually("the echo", || UnixStream::connect(socket).ok())?;
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Commands a second.
fn rate(socket: &Path, clients: u32) -> Result<f64, Failure> {
    let start = Instant::now();
    let failed = |error| Failure::io("ask", socket, error);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(|| ask_often(socket))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or(Ok(()))).collect::<std::io::Result<Vec<()>>>()
    })
    .map_err(failed)?;
    Ok(f64::from(clients * TIMES) / start.elapsed().as_secs_f64())
}

fn ask_often(socket: &Path) -> std::io::Result<()> {
    let command = Payload::Command(Command::Unikernel(UnikernelCommand::Info));
    let name = ":".parse().map_err(std::io::Error::other)?;
    let message = Wire::new(Header::new(0, name), command).encode().map_err(std::io::Error::other)?;
    let message = frame(&message);
    let mut reply = [0; 4096];
    for _ in 0..TIMES {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(&message)?;
        // A reply of a few octets comes at once.
        if stream.read(&mut reply)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
