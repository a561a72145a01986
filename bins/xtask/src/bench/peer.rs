//! Another implementation of the daemons beside ours: the same work over the same sockets, in turns, on this machine, in
//! one run, so that a ratio means something where times do not.
//!
//! What is asked of the other one is what both have: the options `--tmpdir`, `--dbdir`, `--ip` and `--port`, the
//! sockets, version 5 of the messages, TLS 1.3, a tender in `--dbdir`. Both get the same certificates, images, tender.

mod block;
mod console;
mod create;
mod info;
mod load;
mod policy;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Pki, Programs};
use albatross_proto::{Command, Payload, Success, Wire};
use tempfile::TempDir;

use super::record::{Comparison, SIDES, Side};
use super::stack::{DAEMONS, Stack};
use crate::measure::table::mib;
use crate::measure_door::Client;

/// Leaves that ask by TLS: more than one, as no server should profit from one that comes again and again.
const LEAVES: usize = 20;

/// How long daemons are left alone before their memory is read: some allocate in the background after they accept.
const SETTLED: Duration = Duration::from_millis(400);

/// What all measures share.
pub(crate) struct Context {
    /// Smaller loads, one round: to see that it works, not for figures.
    quick: bool,
    tender: PathBuf,
    running: Vec<u8>,
    ending: Vec<u8>,
    asks: Vec<Client>,
    sets: Client,
    dumps: Client,
    pki: Pki,
    /// Where the certificates are.
    _directory: TempDir,
}

/// Measures one thing on daemons that run.
type Measure = fn(&Context, &mut Stack, &mut Side<'_>) -> Result<(), Failure>;

/// A measure, the name that `--only` takes, its rounds, and whether each has daemons of its own.
struct Entry(&'static str, Measure, usize, bool);

const ALL: [Entry; 8] = [
    Entry("local", info::local, 5, false),
    Entry("tls", info::tls, 5, false),
    Entry("blocks", block::run, 3, false),
    Entry("policies", policy::run, 3, true),
    Entry("creates", create::run, 3, true),
    Entry("console", console::run, 3, true),
    Entry("start", start, 5, true),
    Entry("restarts", create::restart, 3, true),
];

/// The names of all that is measured.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|Entry(name, ..)| *name)
}

/// Measures ours and another's programs in turns. The tender is ours unless another is named.
pub(crate) fn run(
    ours: &Programs,
    peer: &Path,
    tender: Option<&Path>,
    quick: bool,
    only: &[String],
) -> Result<Comparison, Failure> {
    let peer = fs::canonicalize(peer).map_err(|error| Failure::io("find", peer, error))?;
    let context = Context::new(ours, tender, quick)?;
    let programs = [ours.directory(), &peer];
    let mut comparison = Comparison::default();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
    // Those of the measures that share their daemons.
    let mut lasting: [Option<Stack>; SIDES] = [None, None];
    for Entry(name, measure, rounds, fresh) in ALL.iter().filter(|Entry(name, ..)| wanted(name)) {
        for round in 0..if quick { 1 } else { *rounds } {
            for (side, (programs, lasting)) in programs.into_iter().zip(&mut lasting).enumerate() {
                progress(name, round, programs);
                let stack = lasting.take().map_or_else(|| context.start(programs), Ok);
                let mut side = comparison.side(side);
                match stack
                    .and_then(|mut stack| context.measured(*measure, &mut stack, &mut side).map(|()| stack))
                {
                    Ok(stack) if !fresh => *lasting = Some(stack),
                    Ok(_) => {}
                    Err(failure) => side.failed(name, &failure.to_string()),
                }
            }
        }
    }
    if wanted("start") {
        programs
            .into_iter()
            .enumerate()
            .for_each(|(side, programs)| sizes(programs, &mut comparison.side(side)));
    }
    Ok(comparison)
}

#[expect(clippy::print_stderr, reason = "it talks to a person")]
fn progress(name: &str, round: usize, programs: &Path) {
    eprintln!("{name}, round {}, {}", round + 1, programs.display());
}

impl Context {
    fn new(programs: &Programs, tender: Option<&Path>, quick: bool) -> Result<Self, Failure> {
        let directory =
            tempfile::tempdir().map_err(|error| Failure::io("make", &std::env::temp_dir(), error))?;
        let pki = Pki::generate(programs, directory.path())?;
        pki.intermediate("ca", "alice", 100, &["--mem", "1024", "--block", "1000"])?;
        let count = if quick { 2 } else { LEAVES };
        let mut asks = Vec::new();
        for number in 0..count {
            let name = format!("asks{number}");
            pki.leaf("alice", &name, &["info", "--name", &name])?;
            asks.push(Client::new(&pki, &name)?);
        }
        let content = directory.path().join("content");
        fs::write(&content, [0]).map_err(|error| Failure::io("write", &content, error))?;
        pki.leaf("alice", "data", &["set-block", "data", "content", "--compression-level=0"])?;
        let sets = Client::new(&pki, "data")?;
        for kind in ["pem", "key"] {
            let path = pki.path(&format!("data.{kind}"));
            fs::remove_file(&path).map_err(|error| Failure::io("remove", &path, error))?;
        }
        pki.leaf("alice", "data", &["dump-block", "data", "--compression-level=0"])?;
        let dumps = Client::new(&pki, "data")?;
        let read = |path: &Path| fs::read(path).map_err(|error| Failure::io("read", path, error));
        Ok(Self {
            quick,
            tender: tender.map_or_else(|| programs.path("albatross-spt"), Path::to_owned),
            running: read(&programs.guest("tick"))?,
            ending: read(&programs.guest("hello"))?,
            asks,
            sets,
            dumps,
            pki,
            _directory: directory,
        })
    }

    /// The first where figures are wanted, the second where it is only to be seen that it works.
    const fn pick(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    fn start(&self, programs: &Path) -> Result<Stack, Failure> {
        Stack::new(programs, self.pki.server(), &self.tender)?.start_all(&DAEMONS)
    }

    /// Measures; a failure says which daemons have ended.
    fn measured(&self, measure: Measure, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
        measure(self, stack, side).map_err(|failure| {
            let ended = stack.ended();
            if ended.is_empty() { failure } else { unexpected(format!("{failure}; {}", ended.join("; "))) }
        })
    }
}

/// How long daemons that have just been started took, and what they hold.
fn start(_: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    for (name, took) in &stack.started {
        side.add("start", &format!("{name}: until it accepts"), "ms", *took);
    }
    thread::sleep(SETTLED);
    for name in DAEMONS {
        let resident = mib(stack.memory(name, "VmRSS"));
        side.add("memory after the start", &format!("{name}: resident"), "MiB", resident);
        let own = mib(stack.memory(name, "RssAnon"));
        side.add("memory after the start", &format!("{name}: of its own"), "MiB", own);
    }
    Ok(())
}

fn sizes(programs: &Path, side: &mut Side<'_>) {
    for name in DAEMONS.iter().chain(&["albatross-client"]) {
        match super::footprint::stripped(&programs.join(name)) {
            Ok(octets) => side.add("stripped program", name, "MiB", mib(octets / 1024)),
            Err(failure) => side.remark("stripped program", name, &failure.to_string()),
        }
    }
}

fn unexpected(what: String) -> Failure {
    Failure::Unexpected { command: "cargo xtask bench --peer".to_owned(), what }
}

/// Sends a command on a connection of its own, and waits for the reply, which has to be a success.
fn once(socket: &Path, name: &str, command: Command<'_>) -> Result<Vec<u8>, Failure> {
    let mut raw = Raw::unix(socket)?;
    raw.command(name, command).map_err(|error| Failure::io("ask", socket, error))?;
    let reply = raw.frame().map_err(|error| Failure::io("ask", socket, error))?.unwrap_or_default();
    success(&reply).map(drop)?;
    Ok(reply)
}

/// What a reply says, which has to be a success.
fn success(reply: &[u8]) -> Result<Success<'_>, Failure> {
    match Wire::decode(reply).map(|wire| wire.payload) {
        Ok(Payload::Success(success)) => Ok(success),
        Ok(Payload::Failure(why)) => Err(unexpected(format!("refused: {why}"))),
        Ok(_) => Err(unexpected("it answered with something else".to_owned())),
        Err(error) => Err(unexpected(format!("its answer is no message: {error}"))),
    }
}
