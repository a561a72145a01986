//! The real albatrossd as a process: which tender it starts and how, what it leaves behind, and what it
//! does with bad input. The console daemon and the tenders are stand-ins; the end-to-end tests have the
//! real ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::raw::read_frame;
use albatross_proto::frame::frame;
use albatross_proto::state::Running;
use albatross_proto::{
    Arguments, Command, Config, Header, Payload, PolicyCommand, Success, Text, Typ, UnikernelCommand, Wire,
};

/// An image that can be looked at, see `testdata/images`.
const IMAGE: &[u8] = include_bytes!("../../../testdata/images/spt-no-devices.elf");
/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon in a directory of its own, with a stand-in for the console daemon.
struct Daemon {
    directory: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Self {
        Self::start_with(|_| ())
    }

    fn start_with(prepare: impl FnOnce(&Path)) -> Self {
        Self::start_as(prepare, Self::spawn)
    }

    fn start_as(prepare: impl FnOnce(&Path), spawn: impl FnOnce(&Path) -> Child) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for part in ["run/util", "run/fifo", "db", "path"] {
            fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        prepare(directory.path());
        let listener = UnixListener::bind(directory.path().join("run/util/console.sock")).unwrap();
        thread::spawn(move || listener.incoming().for_each(|stream| console(stream.unwrap())));
        let process = spawn(directory.path());
        let mut daemon = Self { directory, process };
        daemon.wait_for("the socket", |daemon| UnixStream::connect(daemon.socket()).ok());
        daemon
    }

    /// Unconfined: the stand-ins are scripts, which have nothing to run in a view of their own.
    fn spawn(directory: &Path) -> Child {
        Self::command(directory).arg("--unconfined").spawn().unwrap()
    }

    fn command(directory: &Path) -> Process {
        let mut command = Process::new(env!("CARGO_BIN_EXE_albatrossd"));
        command.args(["-vv", "--tmpdir"]).arg(directory.join("run")).arg("--dbdir").arg(directory.join("db"));
        command
            .env("PATH", directory.join("path"))
            .stdout(fs::File::options().create(true).append(true).open(directory.join("log")).unwrap())
            .stdin(Stdio::null());
        command
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    fn socket(&self) -> PathBuf {
        self.path("run/util/vmmd.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn wait_for<T>(&mut self, what: &str, mut seen: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = seen(self) {
                return value;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("albatrossd ended ({status}) before {what}:\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "no {what} in time:\n{}", self.log());
            thread::yield_now();
        }
    }

    fn ask(&self, name: &str, command: Command<'_>) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let wire = Wire::new(Header::new(0, name.parse().unwrap()), Payload::Command(command));
        stream.write_all(&frame(&wire.encode().unwrap())).unwrap();
        let reply = read_frame(&mut stream).unwrap().expect("a reply");
        match Wire::decode(&reply).unwrap().payload {
            Payload::Success(Success::Text(text)) => text.to_string(),
            Payload::Success(Success::Info(list)) => {
                list.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" ")
            }
            Payload::Failure(text) => format!("failure: {text}"),
            other => panic!("unexpected reply {other:?}"),
        }
    }

    fn create(&self, name: &str, argv: &[&str]) -> String {
        self.create_from(IMAGE, name, argv)
    }

    fn create_from(&self, image: &[u8], name: &str, argv: &[&str]) -> String {
        let argv = Some(argv.iter().map(|argument| Text::from(*argument)).collect());
        let arguments = Arguments { argv, ..Arguments::new() };
        let config = Config { typ: Typ::Solo5, compressed: false, image: image.into(), arguments };
        self.ask(name, Command::Unikernel(UnikernelCommand::Create(config)))
    }

    fn info(&self) -> String {
        self.ask(":", Command::Unikernel(UnikernelCommand::Info))
    }

    /// Asks it to end and waits until it has.
    fn terminate(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.process.wait().unwrap().success(), "{}", self.log());
    }

    fn files(&self, below: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path(below)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        // Its tenders run on.
        for note in fs::read_dir(self.path("run/running")).into_iter().flatten() {
            if let Ok(Running { process, .. }) =
                Running::decode(&fs::read(note.unwrap().path()).unwrap_or_default())
            {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(process.pid.get()).unwrap());
                // With what it started: it leads a group of its own.
                _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

/// Says yes to every command, and opens the fifos, so that tenders can print.
fn console(mut stream: UnixStream) {
    while let Ok(Some(message)) = read_frame(&mut stream) {
        let Wire { header, .. } = Wire::decode(&message).unwrap();
        let reply = Wire::new(header, Payload::Success(Success::Empty)).encode().unwrap();
        if stream.write_all(&frame(&reply)).is_err() {
            return;
        }
    }
}

/// A tender that tells this version, and when started writes what it sees beside itself.
fn tender(path: &Path, version: &str) {
    let seen = path.with_extension("seen");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then {version}; exit 0; fi\n\
         {{ echo \"$@\"; /usr/bin/env; pwd; ls -l /proc/$$/fd; /bin/grep -e Cpus_allowed_list -e SigBlk /proc/self/status; }} > {seen}.new\n\
         /bin/mv {seen}.new {seen}\nexec /bin/sleep 1000\n",
        seen = seen.display()
    );
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_installed_tender_of_the_right_version_is_preferred() {
    let mut daemon = Daemon::start_with(|directory| {
        tender(&directory.join("db/solo5-spt.2"), "echo 'ABI version 1'");
        tender(&directory.join("path/solo5-spt.2"), "echo 'no version'");
        tender(&directory.join("db/solo5-spt"), "exit 3");
        tender(
            &directory.join("path/solo5-spt"),
            "echo 'solo5-spt tender, version v1' >&2; echo 'ABI version 2' >&2",
        );
    });
    assert_eq!(daemon.create("foo:hello", &["--x=1", "two words", ""]), "created unikernel");
    let seen =
        daemon.wait_for("tender", |daemon| fs::read_to_string(daemon.path("path/solo5-spt.seen")).ok());
    let image = daemon.path("run/foo:hello.img");
    assert!(
        seen.starts_with(&format!("--mem=32 -- {} --name=hello --x=1 two words \n", image.display())),
        "{seen}"
    );
    assert_eq!(daemon.info(), "foo:hello");
}

#[test]
fn a_tender_starts_with_nothing_but_its_fifo_and_its_cpus() {
    let mut daemon =
        Daemon::start_with(|directory| tender(&directory.join("db/solo5-spt"), "echo ABI version 2"));
    assert_eq!(daemon.create(":hello", &[]), "created unikernel");
    let seen = daemon.wait_for("tender", |daemon| fs::read_to_string(daemon.path("db/solo5-spt.seen")).ok());
    let variables: BTreeSet<&str> =
        seen.lines().skip(1).filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // The shell of the stand-in sets these itself.
    assert!(
        variables.iter().all(|name| ["PWD", "OLDPWD", "SHLVL", "_"].contains(name) || name.contains(' ')),
        "{seen}"
    );
    assert!(seen.lines().any(|line| line == "/"), "{seen}");
    assert!(
        seen.lines().any(|line| line.starts_with("Cpus_allowed_list:") && line.ends_with("\t0")),
        "{seen}"
    );
    assert!(seen.contains("SigBlk:\t0000000000000000\n"), "{seen}");
    // The stand-in's own: its script, and the file it writes to.
    let inherited: Vec<&str> = seen
        .lines()
        .filter(|line| line.contains(" -> ") && !line.contains("solo5-spt"))
        .filter_map(|line| Some(line.rsplit_once(" -> ")?.1))
        .collect();
    let fifo = daemon.path("run/fifo/:hello").display().to_string();
    assert!(!inherited.is_empty() && inherited.iter().all(|target| *target == fifo), "{seen}");
}

#[test]
fn a_tender_that_does_not_tell_its_version_is_passed_over_while_others_are_served() {
    let mut daemon = Daemon::start_with(|directory| {
        tender(&directory.join("db/solo5-spt.2"), "echo > \"$0.asked\"; exec /bin/sleep 1000");
        tender(&directory.join("db/solo5-spt"), "echo ABI version 2");
    });
    thread::scope(|scope| {
        let create = scope.spawn(|| daemon.create(":hello", &[]));
        let start = Instant::now();
        while !daemon.path("db/solo5-spt.2.asked").exists() {
            assert!(start.elapsed() < PATIENCE, "the tender was not asked");
            thread::yield_now();
        }
        assert_eq!(daemon.info(), "", "answered while the tender is asked");
        assert_eq!(create.join().unwrap(), "created unikernel");
    });
    daemon.wait_for("tender", |daemon| fs::read_to_string(daemon.path("db/solo5-spt.seen")).ok());
}

/// The same image for the other tender, which nobody has but who installs it.
fn hvt_image() -> Vec<u8> {
    let mut image = IMAGE.to_vec();
    let before = b"ABI1Solo5\0\0\0";
    let at = image.windows(before.len()).position(|octets| octets == before).unwrap() + before.len();
    image[at..at + 8].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
    image
}

#[test]
fn each_tender_that_is_of_no_use_is_named_with_the_reason() {
    let mut daemon = Daemon::start_with(|directory| {
        tender(&directory.join("db/solo5-hvt.2"), "echo > \"$0.asked\"; exec /bin/sleep 1000");
        tender(&directory.join("path/solo5-hvt.2"), "while :; do echo ABI; done 2> /dev/null");
        tender(&directory.join("db/solo5-hvt"), "echo ABI version two");
        tender(&directory.join("path/solo5-hvt"), "echo ABI version 2; exit 3");
        tender(&directory.join("db/solo5-spt"), "echo ABI version 2");
    });
    let image = hvt_image();
    let create = |label: &str| daemon.create_from(&image, &format!(":{label}"), &[]);
    let create = &create;
    let refused = thread::scope(|scope| {
        let creates = ["a", "b", "c"].map(|label| scope.spawn(move || create(label)));
        let start = Instant::now();
        while !daemon.path("db/solo5-hvt.2.asked").exists() {
            assert!(start.elapsed() < PATIENCE, "the tender was not asked");
            thread::yield_now();
        }
        assert_eq!(daemon.create(":other", &[]), "created unikernel", "other tenders are of use");
        creates.map(|create| create.join().unwrap())
    });
    for refusal in refused {
        for (file, why) in [
            ("db/solo5-hvt.2", "does not tell its version within 5 s"),
            ("path/solo5-hvt.2", "does not tell its version within 5 s"),
            ("db/solo5-hvt", "prints no line `ABI version N` when asked for its version"),
            ("path/solo5-hvt", "exits with code 3 when asked for its version"),
        ] {
            assert!(refusal.contains(&format!("{} {why}", daemon.path(file).display())), "{refusal}");
        }
    }
    let log = daemon.log();
    assert_eq!(
        log.matches("solo5-hvt.2 is passed over").count(),
        2,
        "asked once for all who want to know: {log}"
    );
    assert_eq!(daemon.files("run/fifo"), [":other".to_owned()].into());
    // One that is replaced by another program is asked anew.
    tender(&daemon.path("db/solo5-hvt.2"), "echo ABI version 2");
    assert_eq!(daemon.create_from(&image, ":a", &[]), "created unikernel");
    // The next daemon starts what is on record as soon as its tender has answered, and serves before.
    daemon.terminate();
    tender(&daemon.path("db/solo5-hvt.2"), "exec /bin/sleep 1000");
    tender(&daemon.path("path/solo5-hvt"), "echo ABI version 2");
    daemon.process = Daemon::spawn(daemon.directory.path());
    daemon.wait_for("the socket", |daemon| UnixStream::connect(daemon.socket()).ok());
    daemon.wait_for("the other one", |daemon| (daemon.info() == ":other").then_some(()));
    daemon.wait_for("both", |daemon| (daemon.info() == ":other :a").then_some(()));
}

#[test]
fn sigterm_frees_everything_and_the_next_start_brings_it_back() {
    let mut daemon =
        Daemon::start_with(|directory| tender(&directory.join("db/solo5-spt"), "echo ABI version 2"));
    assert_eq!(daemon.create(":hello", &[]), "created unikernel");
    assert_eq!(daemon.files("run/fifo"), [":hello".to_owned()].into());
    daemon.terminate();
    assert_eq!(daemon.files("run"), ["fifo", "running", "util"].map(str::to_owned).into());
    assert_eq!(daemon.files("run/running"), [".boot", ".lock"].map(str::to_owned).into());
    assert!(daemon.files("run/fifo").is_empty());
    assert_eq!(daemon.files("run/util"), ["console.sock".to_owned()].into());
    daemon.process = Daemon::spawn(daemon.directory.path());
    daemon.wait_for("unikernel", |daemon| {
        (daemon.socket().exists() && daemon.info() == ":hello").then_some(())
    });
    assert_eq!(daemon.ask(":hello", Command::Unikernel(UnikernelCommand::Destroy)), "destroyed unikernel");
    assert!(daemon.files("run/fifo").is_empty() && daemon.files("db/images").is_empty());
}

/// As another user than root it does what it can, and says what it cannot.
#[test]
fn an_ordinary_user_gives_a_tender_what_he_can() {
    // Where the tests run as an ordinary user, that one is as good.
    let (root, user) = (nix::unistd::geteuid().is_root(), 61_999);
    let prepare = |directory: &Path| tender(&directory.join("db/solo5-spt"), "echo ABI version 2");
    let spawn = |directory: &Path| {
        let mut command = Daemon::command(directory);
        if root {
            for part in ["", "run", "run/util", "run/fifo", "db"] {
                std::os::unix::fs::chown(directory.join(part), Some(user), Some(user)).unwrap();
            }
            let socket = directory.join("run/util/console.sock");
            fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).unwrap();
            command.uid(user).gid(user);
        }
        command.spawn().unwrap()
    };
    let mut daemon = Daemon::start_as(prepare, spawn);
    assert_eq!(daemon.create(":hello", &[]), "created unikernel");
    daemon.wait_for("tender", |daemon| fs::read_to_string(daemon.path("db/solo5-spt.seen")).ok());
    let log = daemon.log();
    assert_eq!(log.matches("not root: tenders run as this user").count(), 1, "{log}");
    let started = log.split("started as process ").nth(1).unwrap();
    let pid = started.lines().next().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let cores: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(cores[4..6], ["0", "0"]);
}

#[test]
fn bad_input_closes_its_connection_and_nobody_elses() {
    let daemon = Daemon::start();
    let silent = UnixStream::connect(daemon.socket()).unwrap();
    let mut half = UnixStream::connect(daemon.socket()).unwrap();
    half.write_all(&[0, 0, 0, 9, 1, 2]).unwrap();
    let status =
        Wire::new(Header::new(0, ":".parse().unwrap()), Payload::Success(Success::Empty)).encode().unwrap();
    for bad in [&[0x7f, 0xff, 0xff, 0xff][..], &frame(b"garbage"), &frame(b""), &frame(&status)] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bad).unwrap();
        let mut rest = Vec::new();
        // The connection is closed without a reply, or reset where something of the frame was unread.
        _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
        assert_eq!(daemon.info(), "");
    }
    drop(half);
    let log = daemon.log();
    assert!(log.contains("2147483647 octets announced") && log.contains("message refused"), "{log}");
    assert!(daemon.create("foo:", &[]).contains("path used instead of name"));
    assert!(daemon.ask(":x", Command::Policy(PolicyCommand::Remove)).starts_with("failure"));
    drop(silent);
}

#[test]
fn what_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = Process::new(env!("CARGO_BIN_EXE_albatrossd"))
        .args(["--tmpdir", "/nowhere", "--dbdir"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("/nowhere/util"), "{output:?}");
}

#[test]
fn a_record_that_cannot_be_read_is_kept_and_named() {
    let directory = tempfile::tempdir().unwrap();
    for part in ["run/util", "run/fifo", "db"] {
        fs::create_dir_all(directory.path().join(part)).unwrap();
    }
    fs::write(directory.path().join("db/record"), b"garbage").unwrap();
    let output = Process::new(env!("CARGO_BIN_EXE_albatrossd"))
        .arg("--tmpdir")
        .arg(directory.path().join("run"))
        .arg("--dbdir")
        .arg(directory.path().join("db"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("db/record"), "{output:?}");
    assert_eq!(fs::read(directory.path().join("db/record")).unwrap(), b"garbage");
}
