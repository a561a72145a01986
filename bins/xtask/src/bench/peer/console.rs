//! Lines of a guest, which is played here, to those who are subscribed.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::Failure;
use albatross_e2e::raw::Raw;
use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Int};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::record::Side;
use super::super::stack::{CONSOLE, Stack};
use super::{Context, success};
use crate::measure::table::{mib, number};

/// The last line.
const END: &str = "END-OF-RUN";
/// Octets that a pipe takes whole.
const PIECE: usize = 4000;
/// How long nothing is taken or comes before that is the end.
const SILENCE: Duration = Duration::from_secs(3);
const SILENCE_MILLISECONDS: u16 = 3_000;
/// Octets that a reader takes at a time.
const READ: usize = 256 * 1024;

pub(super) fn run(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let count = context.pick(40_000, 2_000);
    let lines = lines(count);
    for (subscribers, what) in [(1, "1 subscriber"), (5, "5 subscribers")] {
        let Guest { fifo, connections, .. } =
            Guest::new(stack, &format!("foo:to{subscribers}"), subscribers)?;
        let (begin, before) = (Instant::now(), stack.processor_time(CONSOLE));
        let (whole, ends) = thread::scope(|scope| {
            let readers: Vec<_> = connections.into_iter().map(|it| scope.spawn(|| drain(it))).collect();
            let whole = feed(&fifo, &lines);
            let ends = readers.into_iter().map(|it| it.join().unwrap_or((0, begin)));
            (whole, ends.collect::<Vec<_>>())
        });
        let least = ends.iter().map(|(count, _)| *count).min().unwrap_or(0);
        let last = ends.iter().map(|(_, last)| *last).max().unwrap_or(begin);
        let rate = number(least) / last.duration_since(begin).as_secs_f64();
        side.add("console lines", &format!("{what}: to each"), "1/s", rate);
        let delivered = number(least) * 100.0 / number(count as u64);
        side.add("console lines", &format!("{what}: delivered to the one that got least"), "%", delivered);
        let time = (stack.processor_time(CONSOLE) - before) * 1e6 / number(count as u64);
        side.add("console lines", &format!("{what}: processor time of each"), "us", time);
        if !whole {
            side.remark("console lines", &format!("{what}: to each"), "the guest was held up for good");
        }
    }
    side.add("console lines", "albatross-console held at most", "MiB", mib(stack.memory(CONSOLE, "VmHWM")));
    Ok(())
}

/// What is played.
struct Guest {
    fifo: File,
    connections: Vec<Raw<UnixStream>>,
    /// What albatrossd has: it stays open.
    _daemon: Raw<UnixStream>,
}

impl Guest {
    /// Makes the fifo, and says so as albatrossd does; then others subscribe.
    fn new(stack: &Stack, name: &str, subscribers: usize) -> Result<Self, Failure> {
        let path = stack.fifo(name);
        mkfifo(&path, Mode::from_bits_truncate(0o640))
            .map_err(|error| Failure::io("make", &path, error.into()))?;
        // For both, so that it is open before there is a reader.
        let mut options = File::options();
        options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let fifo = options.open(&path).map_err(|error| Failure::io("open", &path, error))?;
        let ask = |command| {
            let failed = |error| Failure::io("ask", &stack.socket(CONSOLE), error);
            let mut raw = Raw::unix(&stack.socket(CONSOLE))?;
            raw.command(name, Command::Console(command)).map_err(failed)?;
            success(&raw.frame().map_err(failed)?.unwrap_or_default())?;
            Ok(raw)
        };
        let daemon = ask(ConsoleCommand::Add(Int::from(10)))?;
        let subscribe = || ask(ConsoleCommand::Subscribe(History::Count(Int::ZERO)));
        let connections = (0..subscribers).map(|_| subscribe()).collect::<Result<_, Failure>>()?;
        Ok(Self { fifo, connections, _daemon: daemon })
    }
}

/// So many lines of 80 octets, the last of which is [`END`].
fn lines(count: usize) -> Vec<u8> {
    let text = "the quick brown fox jumps over the lazy dog and runs off into the wood";
    let lines = (1..count).flat_map(|number| format!("{number:08} {text}\n").into_bytes());
    lines.chain(format!("{END}\n").into_bytes()).collect()
}

/// Writes all; false where nothing is taken any more.
fn feed(mut fifo: &File, mut lines: &[u8]) -> bool {
    while !lines.is_empty() {
        match fifo.write(lines.get(..PIECE).unwrap_or(lines)) {
            Ok(count) => lines = lines.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut waits = [PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)];
                if !poll(&mut waits, PollTimeout::from(SILENCE_MILLISECONDS)).is_ok_and(|ready| ready > 0) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// Reads until the last line or until nothing more comes: how many lines, and when the last came.
fn drain(mut connection: Raw<UnixStream>) -> (u64, Instant) {
    let (mut count, mut last) = (0, Instant::now());
    // Where that fails it waits longer.
    _ = connection.stream().set_read_timeout(Some(SILENCE));
    let Ok(stream) = connection.stream().try_clone() else { return (0, last) };
    let mut lines = Raw::over(Reading(BufReader::with_capacity(READ, stream)));
    while let Ok(Some(frame)) = lines.frame() {
        (count, last) = (count + 1, Instant::now());
        if frame.ends_with(END.as_bytes()) {
            break;
        }
    }
    (count, last)
}

/// A connection of which much is read at a time.
struct Reading(BufReader<UnixStream>);

impl std::io::Read for Reading {
    fn read(&mut self, octets: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(octets)
    }
}

impl Write for Reading {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.get_mut().flush()
    }
}
