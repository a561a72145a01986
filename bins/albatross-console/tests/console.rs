//! The real program: fifos that this test writes, an albatrossd that this test plays, and clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use albatross_e2e::processes::{assert_confined, signal, status};
use albatross_e2e::raw::Raw;
use albatross_e2e::{PATIENCE, run::run};
use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Data, Int, Name, Payload, Success, Wire, frame};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

const PROGRAM: &str = env!("CARGO_BIN_EXE_albatross-console");

fn spawn(directory: &Path) -> albatross_e2e::Daemon {
    let mut command = Process::new(PROGRAM);
    command.arg("--tmpdir").arg(directory);
    albatross_e2e::Daemon::start("albatross-console", command, &directory.join("log")).unwrap()
}

struct Daemon {
    process: albatross_e2e::Daemon,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for sub in ["util", "fifo"] {
            fs::create_dir(directory.path().join(sub)).unwrap();
        }
        let process = spawn(directory.path());
        let daemon = Self { process, directory };
        daemon.wait_for("the socket", || UnixStream::connect(daemon.socket()).is_ok());
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("util/console.sock")
    }

    fn fifo_path(&self, name: &str) -> PathBuf {
        self.directory.path().join("fifo").join(name)
    }

    fn make_fifo(&self, name: &str) {
        mkfifo(&self.fifo_path(name), Mode::from_bits_truncate(0o640)).unwrap();
    }

    fn connect(&self) -> Client {
        Client(Raw::unix(&self.socket()).unwrap())
    }

    /// What albatrossd does before a start, on its connection, and what the tender does then.
    fn launch(&self, albatrossd: &mut Client, name: &str, limit: i64) -> File {
        self.make_fifo(name);
        albatrossd.command(name, ConsoleCommand::Add(Int::new(limit).unwrap()));
        assert_eq!(albatrossd.reply(), format!("{name} empty"));
        self.guest(name)
    }

    fn guest(&self, name: &str) -> File {
        File::options().write(true).custom_flags(libc::O_NONBLOCK).open(self.fifo_path(name)).unwrap()
    }

    fn subscribe(&self, name: &str, count: i64) -> Client {
        let mut client = self.connect();
        client.command(name, ConsoleCommand::Subscribe(History::Count(Int::new(count).unwrap())));
        client
    }

    fn inactive(&self, path: &str) -> String {
        let mut client = self.connect();
        client.command(path, ConsoleCommand::ListInactive);
        let reply = client.reply();
        assert!(client.is_closed());
        reply
    }

    fn wait_for(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.process.wait_for(what, is_so).unwrap();
    }

    /// From /proc/PID/status, in KiB.
    fn memory(&self, field: &str) -> u64 {
        status(self.process.pid(), field).unwrap()
    }
}

struct Client(Raw<UnixStream>);

impl Client {
    fn command(&mut self, name: &str, command: ConsoleCommand) {
        self.0.command(name, Command::Console(command)).unwrap();
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        // Who is closed with something unread is reset.
        self.0.frame().ok().flatten()
    }

    /// The next message as text.
    fn reply(&mut self) -> String {
        let payload = self.frame().expect("a message");
        let Wire { header, payload } = Wire::decode(&payload).unwrap();
        let what = match payload {
            Payload::Success(Success::Empty) => "empty".to_owned(),
            Payload::Success(Success::Text(text)) => text.to_string(),
            Payload::Success(Success::Consoles(names)) => {
                names.iter().map(Name::to_string).collect::<Vec<_>>().join(" ")
            }
            Payload::Failure(text) => format!("failure {text}"),
            Payload::Data(Data::Console { line, .. }) => String::from_utf8_lossy(&line).into_owned(),
            other => panic!("{other:?}"),
        };
        format!("{} {what}", header.name)
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.stream().read(&mut [0]), Ok(0))
    }
}

#[test]
fn two_subscribers_see_what_a_guest_writes() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    let mut early = daemon.subscribe("foo:hello", 20);
    assert_eq!(early.reply(), "foo:hello waiting for VM");
    let mut guest = daemon.launch(&mut albatrossd, "foo:hello", 1);
    guest.write_all(b"one\n\ntwo\r\nthr").unwrap();
    assert_eq!(early.reply(), "foo:hello one");
    assert_eq!(early.reply(), "foo:hello two\r");
    let mut late = daemon.subscribe("foo:hello", 1);
    assert_eq!(late.reply(), "foo:hello subscribed");
    assert_eq!(late.reply(), "foo:hello two\r");
    guest.write_all(&[b"ee\n", &[b'x'; 600][..], b"\nlast"].concat()).unwrap();
    for client in [&mut early, &mut late] {
        assert_eq!(client.reply(), "foo:hello three");
        assert_eq!(client.reply(), format!("foo:hello {} [truncated]", "x".repeat(512)));
    }
    assert_eq!(daemon.inactive(":"), ": ");
    drop(guest);
    assert_eq!(early.reply(), "foo:hello last");
    daemon.wait_for("the end", || daemon.inactive("foo:") == "foo: :hello");
    // The next run goes on in the same history; any frame ends a subscription.
    fs::remove_file(daemon.fifo_path("foo:hello")).unwrap();
    let mut guest = daemon.launch(&mut albatrossd, "foo:hello", 1);
    guest.write_all(b"again\n").unwrap();
    assert_eq!(early.reply(), "foo:hello again");
    early.0.send(&frame::frame(b"")).unwrap();
    assert!(early.is_closed());
}

#[test]
fn mistakes_of_albatrossd_do_not_cost_its_connection() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    albatrossd.command("foo:", ConsoleCommand::Add(Int::ONE));
    assert_eq!(albatrossd.reply(), "foo: failure path used instead of name");
    albatrossd.command("foo:none", ConsoleCommand::Add(Int::ONE));
    assert!(albatrossd.reply().starts_with("foo:none failure fifo cannot be opened: No such file"));
    fs::write(daemon.fifo_path("foo:file"), "x").unwrap();
    albatrossd.command("foo:file", ConsoleCommand::Add(Int::ONE));
    assert!(albatrossd.reply().contains("no fifo"));
    daemon.make_fifo("foo:real");
    std::os::unix::fs::symlink(daemon.fifo_path("foo:real"), daemon.fifo_path("foo:link")).unwrap();
    albatrossd.command("foo:link", ConsoleCommand::Add(Int::ONE));
    assert!(albatrossd.reply().starts_with("foo:link failure fifo cannot be opened"));
    daemon.launch(&mut albatrossd, "foo:good", 9);
}

#[test]
fn broken_and_silent_clients_disturb_nobody() {
    let daemon = Daemon::start();
    let silent: Vec<_> = (0..100).map(|_| daemon.connect()).collect();
    let mut half = daemon.connect();
    half.0.send(&[0, 0, 0, 200, 0x30]).unwrap();
    let mut garbage = daemon.connect();
    garbage.0.send(&frame::frame(b"garbage")).unwrap();
    assert!(garbage.is_closed());
    let before = daemon.memory("VmPeak");
    let mut huge = daemon.connect();
    huge.0.send(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]).unwrap();
    // Closed with unread octets: an end or a reset.
    assert!(!matches!(huge.0.stream().read(&mut [0]), Ok(1..)));
    assert!(daemon.memory("VmPeak") < before + 1024);
    let mut albatrossd = daemon.connect();
    let mut guest = daemon.launch(&mut albatrossd, ":a", 1);
    guest.write_all(b"line\n").unwrap();
    daemon.wait_for("the line", || {
        let mut client = daemon.subscribe(":a", 1);
        client.0.stream().shutdown(Shutdown::Write).unwrap();
        client.reply() == ":a subscribed" && client.frame().is_some()
    });
    drop((silent, half));
}

#[test]
fn a_subscriber_that_does_not_read_stalls_nobody() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    let guest = daemon.launch(&mut albatrossd, "foo:flood", 9);
    let mut other_guest = daemon.launch(&mut albatrossd, "foo:quiet", 9);
    let mut stuck = daemon.subscribe("foo:flood", 0);
    let mut good = daemon.subscribe("foo:flood", 0);
    let mut other = daemon.subscribe("foo:quiet", 0);
    for client in [&mut stuck, &mut good, &mut other] {
        assert!(client.reply().ends_with("subscribed"));
    }
    let lines = 60_000;
    let reader = std::thread::spawn(move || read_lines(&mut good, lines));
    let writer = std::thread::spawn(move || write_lines(guest, lines));
    // Meanwhile others are served.
    for number in 0..20 {
        other_guest.write_all(format!("{number}\n").as_bytes()).unwrap();
        assert_eq!(other.reply(), format!("foo:quiet {number}"));
    }
    writer.join().unwrap();
    assert_eq!(reader.join().unwrap(), lines);
    assert!(daemon.memory("VmHWM") < 16 * 1024, "{} KiB", daemon.memory("VmHWM"));
    // It was told why, after what it had not read.
    let mut last = String::new();
    while let Some(payload) = stuck.frame() {
        if let Payload::Failure(text) = Wire::decode(&payload).unwrap().payload {
            last = text.to_string();
        }
    }
    assert!(last.starts_with("subscription ended"), "{last}");
}

/// Reads so many lines and checks each; as fast as a client can, this is not about slow ones.
fn read_lines(client: &mut Client, lines: usize) -> usize {
    let mut stream = std::io::BufReader::with_capacity(1 << 18, client.0.stream());
    let mut payload = Vec::new();
    for number in 0..lines {
        let mut header = [0; 4];
        if stream.read_exact(&mut header).is_err() {
            return number;
        }
        payload.resize(u32::from_be_bytes(header).try_into().unwrap(), 0);
        stream.read_exact(&mut payload).unwrap();
        assert!(payload.ends_with(format!("{number:08}").as_bytes()), "{payload:?}");
    }
    lines
}

/// Writes as a pipe takes it.
fn write_lines(mut guest: File, lines: usize) {
    let end = Instant::now() + PATIENCE;
    let text: Vec<u8> = (0..lines).flat_map(|number| format!("{number:08}\n").into_bytes()).collect();
    let mut rest = &text[..];
    while !rest.is_empty() {
        assert!(Instant::now() < end, "the guest is stalled");
        match guest.write(&rest[..rest.len().min(4000)]) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_start_that_failed_leaves_no_running_console() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    daemon.make_fifo("foo:failed");
    albatrossd.command("foo:failed", ConsoleCommand::Add(Int::ONE));
    assert_eq!(albatrossd.reply(), "foo:failed empty");
    assert_eq!(daemon.inactive(":"), ": ");
    // Nobody opened the fifo for writing; albatrossd takes everything back.
    fs::remove_file(daemon.fifo_path("foo:failed")).unwrap();
    daemon.wait_for("the end", || daemon.inactive(":") == ": foo:failed");
}

#[test]
fn a_new_albatrossd_adds_what_runs_and_no_line_is_lost() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    let mut guest = daemon.launch(&mut albatrossd, "foo:a", 1);
    let mut client = daemon.subscribe("foo:a", 0);
    assert_eq!(client.reply(), "foo:a subscribed");
    guest.write_all(b"one\nhal").unwrap();
    assert_eq!(client.reply(), "foo:a one");
    drop(albatrossd);
    let mut albatrossd = daemon.connect();
    albatrossd.command("foo:a", ConsoleCommand::Add(Int::ONE));
    assert_eq!(albatrossd.reply(), "foo:a empty");
    guest.write_all(b"f\n").unwrap();
    assert_eq!(client.reply(), "foo:a half");
}

#[test]
fn a_fifo_that_is_used_again_is_read_again() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    let mut guest = daemon.launch(&mut albatrossd, "foo:a", 1);
    let mut client = daemon.subscribe("foo:a", 0);
    assert_eq!(client.reply(), "foo:a subscribed");
    for round in 0..50 {
        guest.write_all(format!("round {round}\n").as_bytes()).unwrap();
        // The next add may come before the console has noticed the end.
        drop(guest);
        albatrossd.command("foo:a", ConsoleCommand::Add(Int::ONE));
        assert_eq!(albatrossd.reply(), "foo:a empty");
        guest = daemon.guest("foo:a");
        assert_eq!(client.reply(), format!("foo:a round {round}"));
    }
}

#[test]
fn termination_ends_subscriptions_and_the_next_takes_the_place() {
    let mut daemon = Daemon::start();
    let mut client = daemon.subscribe(":a", 1);
    assert_eq!(client.reply(), ":a waiting for VM");
    signal(daemon.process.pid(), Signal::SIGHUP);
    assert_eq!(daemon.inactive(":"), ": ");
    let socket = daemon.socket();
    assert!(daemon.process.terminate().unwrap().success());
    assert!(UnixStream::connect(&socket).is_err());
    assert!(client.is_closed());
    // The socket may be left: what is confined removes nothing.
    daemon.process = spawn(daemon.directory.path());
    daemon.wait_for("the next socket", || UnixStream::connect(&socket).is_ok());
    assert_eq!(daemon.inactive(":"), ": ");
}

#[test]
fn it_is_confined_and_opens_fifos() {
    let daemon = Daemon::start();
    let mut albatrossd = daemon.connect();
    _ = daemon.launch(&mut albatrossd, "foo:a", 1);
    assert_confined(daemon.process.pid());
}

#[test]
fn systemd_may_pass_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("fifo")).unwrap();
    let socket = directory.path().join("passed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let start = |descriptors: &str, passed: Stdio| {
        let script = "LISTEN_PID=$$ exec \"$0\" --systemd-socket-activation --tmpdir \"$1\" 3<&0";
        let mut command = Process::new("sh");
        command.args(["-c", script, PROGRAM]).arg(directory.path()).env("LISTEN_FDS", descriptors);
        command.stdin(passed).stdout(Stdio::null()).spawn().unwrap()
    };
    assert!(!start("2", OwnedFd::from(listener.try_clone().unwrap()).into()).wait().unwrap().success());
    assert!(!start("1", Stdio::null()).wait().unwrap().success());
    let mut process = start("1", OwnedFd::from(listener).into());
    let mut client = Client(Raw::unix(&socket).unwrap());
    client.command(":", ConsoleCommand::ListInactive);
    assert_eq!(client.reply(), ": ");
    kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(process.wait().unwrap().success());
    assert!(socket.exists(), "it is systemd's");
}

#[test]
fn idle_it_takes_little_memory() {
    let daemon = Daemon::start();
    let resident = daemon.memory("VmRSS");
    assert!(resident < 5 * 1024, "{resident} KiB");
}

#[test]
fn mistakes_on_the_command_line_are_exit_code_124() {
    for arguments in [&["--influx", "x"][..], &["--max-subscribers", "0"], &["--max-subscribers=x"], &["x"]] {
        let finished = run(Process::new(PROGRAM).args(arguments)).unwrap();
        assert_eq!(finished.code, Some(124), "{arguments:?}");
        assert!(finished.stdout.is_empty() && finished.stderr.starts_with("albatross-console: "));
    }
    let finished = run(Process::new(PROGRAM).args(["--tmpdir", "/nowhere"])).unwrap();
    assert!(finished.assert(125, "").stdout.contains("/nowhere/fifo"));
}
