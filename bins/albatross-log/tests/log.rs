//! The real program: events that this test sends as albatrossd would, clients that follow, files that are changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, Ordering};

use albatross_core::eventlog::{BEGIN, Log};
use albatross_e2e::Finished;
use albatross_e2e::processes::{assert_confined, signal};
use albatross_e2e::raw::{Raw, message};
use albatross_proto::command::History;
use albatross_proto::log::{Event, LogCommand, LogEntry};
use albatross_proto::{Command, Data, Int, Payload, Success, Time, Wire};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_albatross-log");

struct Daemon {
    process: albatross_e2e::Daemon,
    directory: tempfile::TempDir,
    file: PathBuf,
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("util")).unwrap();
    directory
}

impl Daemon {
    fn start() -> Self {
        let directory = directory();
        let file = directory.path().join("events");
        let command = Process::new(PROGRAM);
        Self::start_in(directory, file, command)
    }

    fn start_in(directory: tempfile::TempDir, file: PathBuf, mut command: Process) -> Self {
        command.arg("--tmpdir").arg(directory.path()).arg("--logfile").arg(&file).arg("-v");
        let log = directory.path().join("log");
        let process = albatross_e2e::Daemon::start("albatross-log", command, &log).unwrap();
        let daemon = Self { process, directory, file };
        daemon.wait_for("the socket", || UnixStream::connect(daemon.socket()).is_ok());
        daemon
    }

    /// The same files, and no process.
    fn end(self, by: Signal) -> (tempfile::TempDir, PathBuf) {
        self.process.end_by(by).unwrap();
        (self.directory, self.file)
    }

    fn restart(self, by: Signal) -> Self {
        let (directory, file) = self.end(by);
        Self::start_in(directory, file, Process::new(PROGRAM))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("util/log.sock")
    }

    fn connect(&self) -> Client {
        Client(Raw::unix(&self.socket()).unwrap())
    }

    fn subscribe(&self, name: &str, history: History) -> Client {
        let mut client = self.connect();
        client.send(name, 0, Payload::Command(Command::Log(LogCommand(history))));
        assert!(matches!(client.next(), Some(Wire { payload: Payload::Success(Success::Empty), .. })));
        client
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn wait_for(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.process.wait_for(what, is_so).unwrap();
    }

    fn signal(&self, what: Signal) {
        signal(self.process.pid(), what);
    }

    fn hang_up(&self, until: &str) {
        self.signal(Signal::SIGHUP);
        self.wait_for(until, || self.log().contains(until));
    }
}

struct Client(Raw<UnixStream>);

impl Client {
    fn send(&mut self, name: &str, number: i64, payload: Payload<'_>) {
        self.0.message(name, number, payload).unwrap();
    }

    /// Sends an event and waits for its answer: why it was not written, if so.
    fn event(&mut self, name: &str, number: i64) -> Option<String> {
        self.send(name, number, event(number));
        let answer = self.next().unwrap();
        assert_eq!(answer.header.sequence, number);
        match answer.payload {
            Payload::Success(Success::Empty) => None,
            Payload::Failure(why) => Some(why.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn next(&mut self) -> Option<Wire<'static>> {
        self.try_next().unwrap()
    }

    fn try_next(&mut self) -> std::io::Result<Option<Wire<'static>>> {
        let Some(octets) = self.0.frame()? else { return Ok(None) };
        let Wire { header, payload } = Wire::decode(&octets).unwrap();
        let payload = match payload {
            Payload::Success(Success::Empty) => Payload::Success(Success::Empty),
            Payload::Failure(why) => Payload::Failure(why),
            Payload::Data(Data::Log(entry)) => Payload::Data(Data::Log(entry)),
            other => panic!("{other:?}"),
        };
        Ok(Some(Wire::new(header, payload)))
    }

    /// The numbers of the next events that it follows.
    fn numbers(&mut self, count: usize) -> Vec<i64> {
        (0..count)
            .map(|_| match self.next() {
                Some(Wire { payload: Payload::Data(Data::Log(entry)), .. }) => number(&entry),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn event(number: i64) -> Payload<'static> {
    let timestamp = Time::from_unix(1_700_000_000 + number, 0).unwrap();
    let event = Event::UnikernelStarted(Int::new(number).unwrap());
    Payload::Data(Data::Log(LogEntry { timestamp, event }))
}

fn number(entry: &LogEntry) -> i64 {
    match entry.event {
        Event::UnikernelStarted(number) => number.get(),
        _ => panic!("{entry:?}"),
    }
}

fn count(number: i32) -> History {
    History::Count(Int::from(number))
}

fn run(arguments: &[&str]) -> Finished {
    albatross_e2e::run::run(Process::new(PROGRAM).args(arguments)).unwrap()
}

/// Whether the files hold, and what is said of them.
fn verify(files: &[&PathBuf]) -> (bool, String) {
    let files = files.iter().map(|file| file.to_str().unwrap());
    let finished = run(&std::iter::once("--verify").chain(files).collect::<Vec<_>>());
    (finished.code == Some(0), finished.stdout)
}

fn in_file(file: &PathBuf) -> Vec<i64> {
    let log = Log::read(&fs::read(file).unwrap()).unwrap();
    assert_eq!(log.torn, 0);
    log.records.iter().map(|record| number(&record.entry)).collect()
}

#[test]
fn events_are_kept_served_printed_and_verified() {
    let daemon = Daemon::start();
    let mut live = daemon.subscribe("a:", count(0));
    let mut sender = daemon.connect();
    for (number, name) in (1..).zip(["a:x", "b:x", "a:b:y", ":"]) {
        assert_eq!(sender.event(name, number), None);
    }
    assert_eq!(live.numbers(2), [1, 3]);
    assert_eq!(daemon.subscribe(":", count(2)).numbers(2), [3, 4]);
    let since = History::Since(Time::from_unix(1_700_000_003, 0).unwrap());
    assert_eq!(daemon.subscribe(":", since).numbers(2), [3, 4]);
    // Written by the daemon, and looked at by another one.
    let file = daemon.file.to_str().unwrap();
    let text = run(&["--read-only", "--logfile", file]).assert(0, "").stdout;
    assert_eq!(text.lines().count(), 4);
    assert_eq!(text.lines().next().unwrap(), "log 2023-11-14T22:13:21-00:00 a:x: started, pid 1");
    let (holds, said) = verify(&[&daemon.file]);
    assert!(holds && said.contains("4 records, last link "), "{said}");
    let link = said.trim().rsplit(' ').next().unwrap();
    run(&["--verify", "--link", link, file]).assert(0, "");
    run(&["--verify", "--link", &"1".repeat(64), file]).assert(1, "");
    // A second daemon does not write to it.
    let other = directory();
    let finished = run(&["--tmpdir", other.path().to_str().unwrap(), "--logfile", file]);
    finished.assert(125, "another albatross-log writes it");
    let daemon = daemon.restart(Signal::SIGTERM);
    assert!(daemon.log().contains(link), "the last link is said at the end and at the begin");
    assert_eq!(daemon.subscribe(":", count(9)).numbers(4), [1, 2, 3, 4]);
    assert_eq!(daemon.connect().event(":", 5), None);
    assert!(verify(&[&daemon.file]).0);
}

#[test]
fn after_kill_9_under_load_everything_that_was_answered_is_there() {
    let mut daemon = Daemon::start();
    let mut first = 0;
    for round in 0..5 {
        let stop = AtomicBool::new(false);
        let senders: Vec<(i64, Client)> = (0..4).map(|sender| (sender, daemon.connect())).collect();
        let answered = std::thread::scope(|scope| {
            let stop = &stop;
            let handles: Vec<_> = senders
                .into_iter()
                .map(|(sender, mut client)| {
                    scope.spawn(move || {
                        let mut answered = Vec::new();
                        for number in (first..).map(|number| number * 4 + sender) {
                            let sent = client.0.message("a:x", number, event(number));
                            let answer = sent.ok().and_then(|()| client.try_next().ok().flatten());
                            match answer {
                                Some(Wire { payload: Payload::Success(_), .. }) => answered.push(number),
                                Some(other) => panic!("{other:?}"),
                                None => break,
                            }
                            if answered.len() > 100 {
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                        answered
                    })
                })
                .collect();
            daemon.wait_for("load", || stop.load(Ordering::Relaxed));
            daemon.signal(Signal::SIGKILL);
            handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
        });
        daemon = daemon.restart(Signal::SIGKILL);
        let kept = in_file(&daemon.file);
        let missing = answered.iter().find(|number| !kept.contains(number));
        assert_eq!(missing, None, "round {round}");
        assert!(verify(&[&daemon.file]).0);
        first = kept.iter().max().unwrap() / 4 + 1;
    }
}

#[test]
fn a_torn_record_at_the_end_is_repaired_and_no_other_damage() {
    let daemon = Daemon::start();
    let mut sender = daemon.connect();
    for number in 1..4 {
        sender.event("a:x", number);
    }
    let (directory, file) = daemon.end(Signal::SIGKILL);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let (holds, said) = verify(&[&file]);
    assert!(!holds && said.contains("not whole"), "{said}");
    let daemon = Daemon::start_in(directory, file, Process::new(PROGRAM));
    assert!(daemon.log().contains("cut off"));
    assert_eq!(in_file(&daemon.file), [1, 2]);
    assert_eq!(daemon.connect().event("a:x", 4), None);
    let (directory, file) = daemon.end(Signal::SIGKILL);
    assert_eq!(in_file(&file), [1, 2, 4]);
    let mut damaged = fs::read(&file).unwrap();
    damaged[BEGIN + 60] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let [tmpdir, logfile] = [directory.path(), &file].map(|path| path.to_str().unwrap());
    let finished = run(&["--tmpdir", tmpdir, "--logfile", logfile]);
    finished.assert(125, "chain is broken at octet 40").assert(125, "nothing of it was changed");
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

#[test]
fn what_is_edited_cut_or_moved_is_noticed_within_a_file_and_across_files() {
    let daemon = Daemon::start();
    let mut sender = daemon.connect();
    let old = |number: usize| daemon.directory.path().join(format!("events.{number}"));
    for round in 0..3 {
        for number in 1..5 {
            sender.event("a:x", round * 10 + number);
        }
        if round < 2 {
            fs::rename(&daemon.file, old(usize::try_from(round).unwrap())).unwrap();
            daemon.signal(Signal::SIGHUP);
            daemon.wait_for("a new file", || daemon.file.exists() && in_file(&daemon.file).is_empty());
        }
    }
    let (first, second, last) = (old(0), old(1), daemon.file.clone());
    assert_eq!((in_file(&second), in_file(&last)), (vec![11, 12, 13, 14], vec![21, 22, 23, 24]));
    assert!(verify(&[&first, &second, &last]).0);
    // A file is left out, or two are exchanged.
    for series in [&[&first, &last][..], &[&second, &first, &last], &[&first, &last, &second]] {
        let (holds, said) = verify(series);
        assert!(!holds && said.contains("does not go on from"), "{said}");
    }
    let whole = fs::read(&second).unwrap();
    let changed = daemon.directory.path().join("changed");
    let length = (whole.len() - BEGIN) / 4;
    let record = |number: usize| &whole[BEGIN + number * length..BEGIN + (number + 1) * length];
    let begin = &whole[..BEGIN];
    let edited: Vec<u8> = String::from_utf8_lossy(&whole)
        .contains("a:x")
        .then(|| {
            let at = whole.windows(3).rposition(|window| window == b"a:x").unwrap();
            [&whole[..at], b"b:x", &whole[at + 3..]].concat()
        })
        .unwrap();
    for (what, content) in [
        ("edited", edited),
        ("cut in the middle", [begin, record(0), record(2), record(3)].concat()),
        ("reordered", [begin, record(0), record(2), record(1), record(3)].concat()),
        ("doubled", [begin, record(0), record(1), record(1), record(2), record(3)].concat()),
        ("cut at the end", [begin, record(0), record(1), record(2)].concat()),
        ("cut at the begin", [begin, record(1), record(2), record(3)].concat()),
        ("cut within a record", whole[..whole.len() - 9].to_vec()),
        ("emptied", Vec::new()),
    ] {
        fs::write(&changed, content).unwrap();
        let (holds, said) = verify(&[&first, &changed, &last]);
        assert!(!holds && said.contains("DOES NOT HOLD"), "{what}: {said}");
    }
    // The end of the last file is missed by who kept its link.
    let (_, said) = verify(&[&last]);
    let link = said.trim().rsplit(' ').next().unwrap().to_owned();
    let whole = fs::read(&last).unwrap();
    fs::write(&changed, &whole[..BEGIN + 3 * (whole.len() - BEGIN) / 4]).unwrap();
    run(&["--verify", "--link", &link, changed.to_str().unwrap()]).assert(1, "the end of the log is missing");
}

#[test]
fn a_new_file_is_begun_where_the_log_was_moved_away_and_followers_miss_nothing() {
    let daemon = Daemon::start();
    let (mut sender, mut follower) = (daemon.connect(), daemon.subscribe(":", count(0)));
    sender.event("a:x", 1);
    daemon.hang_up("the file was not replaced");
    fs::rename(&daemon.file, daemon.directory.path().join("old")).unwrap();
    sender.event("a:x", 2);
    daemon.hang_up("a new file was begun");
    sender.event("a:x", 3);
    // logrotate can also make the new file itself, or copy the old one and empty it.
    fs::rename(&daemon.file, daemon.directory.path().join("old2")).unwrap();
    File::create(&daemon.file).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the new file", || fs::metadata(&daemon.file).unwrap().len() > 0);
    sender.event("a:x", 4);
    let third = daemon.directory.path().join("old3");
    fs::copy(&daemon.file, &third).unwrap();
    File::options().write(true).open(&daemon.file).unwrap().set_len(0).unwrap();
    let why = sender.event("a:x", 5).unwrap();
    assert!(why.contains("somebody else changed it"), "{why}");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the emptied file", || fs::metadata(&daemon.file).unwrap().len() > 0);
    assert_eq!(sender.event("a:x", 6), None);
    assert_eq!(follower.numbers(5), [1, 2, 3, 4, 6]);
    let files = ["old", "old2", "old3"].map(|name| daemon.directory.path().join(name));
    assert!(verify(&[&files[0], &files[1], &files[2], &daemon.file]).0);
}

/// After that it still begins new files.
#[test]
fn it_is_confined_and_goes_on_in_a_new_file() {
    let daemon = Daemon::start();
    // It is confined when it serves, not yet when it can be connected to.
    assert_eq!(daemon.connect().event(":a", 1), None);
    assert_confined(daemon.process.pid());
    let old = daemon.file.with_extension("1");
    fs::rename(&daemon.file, &old).unwrap();
    daemon.hang_up("a new file was begun");
    assert_eq!(daemon.connect().event(":a", 2), None);
    assert_eq!((in_file(&old), in_file(&daemon.file)), (vec![1], vec![2]));
}

#[test]
fn who_does_not_read_holds_up_nobody_and_costs_little() {
    const EVENTS: i64 = 40_000;
    let daemon = Daemon::start();
    let _deaf: Vec<Client> = (0..8).map(|_| daemon.subscribe(":", count(0))).collect();
    let (mut sender, mut follower) = (daemon.connect(), daemon.subscribe(":", count(0)));
    let before = daemon.process.resident();
    let mut writer = sender.0.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..EVENTS {
                writer.write_all(&message("a:x", number, event(number)).unwrap()).unwrap();
            }
        });
        scope.spawn(|| (0..EVENTS).for_each(|_| assert!(sender.next().is_some())));
        assert_eq!(follower.numbers(usize::try_from(EVENTS).unwrap()), (0..EVENTS).collect::<Vec<_>>());
    });
    // Eight that do not read: a quarter of a MiB each, and what the kernel holds for them.
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for eight that do not read");
    let _late = daemon.subscribe(":", count(i32::MAX));
    assert_eq!(daemon.connect().event("b:x", EVENTS), None);
    assert_eq!(follower.numbers(1), [EVENTS]);
}

#[test]
fn a_full_disk_is_said_to_who_sends_and_the_log_goes_on_when_there_is_room() {
    if !geteuid().is_root() {
        return println!("skipped: only root can mount a small file system");
    }
    let directory = directory();
    let small = directory.path().join("small");
    fs::create_dir(&small).unwrap();
    let mut command = Process::new("unshare");
    let mount = format!("mount -t tmpfs -o size=64k small {} && exec \"$@\"", small.display());
    command.args(["--mount", "sh", "-c", &mount, "sh", PROGRAM]);
    let daemon = Daemon::start_in(directory, small.join("events"), command);
    // The same directory, as the daemon sees it.
    let seen = PathBuf::from(format!("/proc/{}/root{}", daemon.process.pid(), small.display()));
    let mut sender = daemon.connect();
    let (mut kept, mut number) = (Vec::new(), 0);
    let filler = seen.join("filler");
    assert_eq!(sender.event("a:x", number), None);
    kept.push(number);
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 1024]).is_ok() {}
    let why = loop {
        number += 1;
        match sender.event("a:x", number) {
            None => kept.push(number),
            Some(why) => break why,
        }
    };
    assert!(why.contains("No space left"), "{why}");
    let mut follower = daemon.subscribe(":", count(1));
    assert_eq!(follower.numbers(1), kept[kept.len() - 1..]);
    for _ in 0..3 {
        number += 1;
        assert!(sender.event("a:x", number).is_some());
    }
    fs::remove_file(&filler).unwrap();
    drop(file);
    number += 1;
    assert_eq!(sender.event("a:x", number), None);
    kept.push(number);
    assert_eq!(follower.numbers(1), [number]);
    assert_eq!(in_file(&seen.join("events")), kept);
    assert_eq!(daemon.log().matches("events are not written").count(), 1);
    assert!(daemon.log().contains("events are written again"));
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    for (arguments, text) in [
        (&["--verify", "--read-only"][..], "exclude each other"),
        (&["--link", "00"], "64 hexadecimal digits"),
        (&["somefile"], "--logfile"),
    ] {
        run(arguments).assert(124, text);
    }
    let help = run(&["--help"]).stdout;
    for option in ["--logfile", "--verify", "--read-only", "--systemd-socket-activation"] {
        assert!(help.contains(option), "{help}");
    }
}
