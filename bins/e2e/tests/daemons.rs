//! The daemons as processes: what they leave when they end, what they keep, what they take while idle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use albatross_e2e::run::{PATIENCE, run};
use albatross_e2e::{Daemon, Host, Pki, Programs, eventually, processes};

fn running(host: &Host) -> Vec<String> {
    let finished = host.client(&["--json", "info"]).unwrap().assert(0, "");
    let name = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry["name"].as_str().unwrap().to_owned()
    };
    let mut names: Vec<String> = finished.stdout.lines().map(name).collect();
    names.sort();
    names
}

fn create(host: &Host, name: &str) {
    host.create(name, "tick", &["--arg=--ms=5"]).unwrap().assert(0, "created unikernel");
}

#[test]
fn sigterm_frees_everything_and_the_next_daemon_brings_all_back() {
    let mut host = Host::for_test().unwrap();
    for name in [":one", "a:two", "a:b:three"] {
        create(&host, name);
    }
    // One that waits for its next start when the daemon ends.
    host.create("a:waits", "exit", &["--restart", "--arg=--code=3"]).unwrap().assert(0, "created unikernel");
    let before = host.tenders();
    let status = host.take_albatrossd().unwrap().terminate().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(host.tenders(), []);
    assert_eq!(host.left_behind(), Vec::<String>::new());
    assert!(!host.socket("vmmd").exists());
    host.start_albatrossd(&[]).unwrap();
    let expected = [":one", "a:b:three", "a:two"];
    eventually("all unikernels", || {
        (running(&host).iter().filter(|it| *it != "a:waits").eq(expected)).then_some(())
    })
    .unwrap();
    let after = host.tenders();
    for (_, line) in before.iter().filter(|(_, line)| line.contains("tick")) {
        assert!(after.iter().any(|(_, other)| other == line), "{line} in {after:?}");
    }
    host.client(&["destroy", "a:waits"]).unwrap().assert(0, "destroyed");
}

#[test]
fn the_record_outlives_a_daemon_that_is_killed() {
    let mut host = Host::for_test().unwrap();
    create(&host, "a:one");
    host.take_albatrossd().unwrap().kill();
    host.start_albatrossd(&[]).unwrap();
    eventually("the unikernel", || (running(&host) == ["a:one"]).then_some(())).unwrap();
    // However the daemon went, there is one tender for one unikernel.
    eventually("one tender", || (host.tenders().len() == 1).then_some(())).unwrap();
    host.client(&["destroy", "a:one"]).unwrap().assert(0, "destroyed");
    assert_eq!(host.tenders(), []);
    assert_eq!(host.left_behind(), Vec::<String>::new());
}

#[test]
fn what_was_destroyed_does_not_come_back() {
    let mut host = Host::for_test().unwrap();
    create(&host, "a:one");
    create(&host, "a:two");
    host.client(&["destroy", "a:one"]).unwrap().assert(0, "destroyed");
    assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
    host.start_albatrossd(&[]).unwrap();
    eventually("the other one", || (running(&host) == ["a:two"]).then_some(())).unwrap();
}

#[test]
fn a_second_daemon_on_the_same_directories_is_refused() {
    let host = Host::for_test().unwrap();
    create(&host, "a:one");
    let before = host.tenders();
    for name in ["albatrossd", "albatross-console"] {
        let mut command = Command::new(host.programs().path(name));
        command.arg("--tmpdir").arg(host.tmpdir());
        if name == "albatrossd" {
            command.arg("--dbdir").arg(host.dbdir());
        }
        let finished = run(&mut command).unwrap();
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        assert!(finished.text().contains(".sock"), "{finished:?}");
    }
    assert_eq!(host.tenders(), before);
    assert_eq!(running(&host), ["a:one"]);
}

#[test]
fn the_console_daemon_may_come_later_and_go() {
    let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
    host.start_albatrossd(&[]).unwrap();
    host.create("a:one", "tick", &[]).unwrap().assert(117, "console");
    assert_eq!(host.left_behind(), Vec::<String>::new());
    host.start_console(&[]).unwrap();
    create(&host, "a:one");
    let tender = host.tenders();
    assert!(host.take_console().unwrap().terminate().unwrap().success());
    host.start_console(&[]).unwrap();
    host.albatrossd().unwrap().logged("console").unwrap();
    // It runs on, and later ones get a console again.
    assert_eq!(host.tenders(), tender);
    eventually("a create with a console", || {
        (host.create("a:two", "hello", &[]).ok()?.code == Some(0)).then_some(())
    })
    .unwrap();
    host.console_ends_with("a:two", &["Hello from spt", "--name=two"]).unwrap();
}

#[test]
fn missing_directories_are_named() {
    let programs = Programs::for_tests().unwrap();
    for name in ["albatrossd", "albatross-console"] {
        let mut command = Command::new(programs.path(name));
        command.args(["--tmpdir", "/nonexistent/run"]);
        if name == "albatrossd" {
            command.args(["--dbdir", "/nonexistent/db"]);
        }
        let finished = run(&mut command).unwrap();
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        assert!(finished.text().contains("/nonexistent"), "{finished:?}");
    }
}

/// A host with all three daemons, and an intermediate `alice`.
fn with_endpoint() -> (Host, Pki) {
    let mut host = Host::for_test().unwrap();
    let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
    pki.intermediate("ca", "alice", 1, &["--mem", "64"]).unwrap();
    let [ca, certificate, key] = pki.server();
    host.start_endpoint(&ca, &certificate, &key).unwrap();
    (host, pki)
}

fn pids(host: &Host) -> Vec<i32> {
    host.daemons().map(Daemon::pid).collect()
}

/// With `Type=notify` in their units systemd takes them for started when they say so.
#[test]
fn every_daemon_tells_systemd_when_it_serves() {
    let programs = Programs::for_tests().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["util", "fifo", "db"] {
        fs::create_dir(at(name)).unwrap();
    }
    let pki = Pki::generate(programs, &at("pki")).unwrap();
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (db, log) = (text(at("db")), text(at("events")));
    let [ca, certificate, key] = pki.server().map(text);
    let daemons: [(&str, Option<&str>, &[&str]); 7] = [
        ("albatross-console", Some("console"), &[]),
        ("albatross-log", Some("log"), &["--logfile", &log]),
        ("albatrossd", Some("vmmd"), &["--dbdir", &db]),
        ("albatross-stats", Some("stat"), &[]),
        ("albatross-influx", None, &["--influx", "127.0.0.1:1"]),
        ("albatross-metrics", None, &["--port", "0"]),
        ("albatross-tls-endpoint", None, &["--ip", "127.0.0.1", "--port", "0", &ca, &certificate, &key]),
    ];
    for (name, socket, options) in daemons {
        let path = at(&format!("{name}.notify"));
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(programs.path(name));
        command.arg("--tmpdir").arg(directory.path()).args(options).env("NOTIFY_SOCKET", &path);
        let daemon = Daemon::start(name, command, &at(&format!("{name}.log"))).unwrap();
        let mut told = [0; 64];
        let length =
            systemd.recv(&mut told).unwrap_or_else(|error| panic!("{name}: {error}; {}", daemon.log()));
        assert_eq!(&told[..length], b"READY=1", "{name}");
        if let Some(socket) = socket {
            UnixStream::connect(at(&format!("util/{socket}.sock"))).unwrap();
        }
        let status = daemon.terminate().unwrap();
        assert!(status.success(), "{name}: {status}");
    }
}

/// No daemon wakes up unless something happens. How often is counted by the kernel.
#[test]
fn idle_daemons_do_not_wake_up() {
    let (host, pki) = with_endpoint();
    // After some work, so that what is left of it would be seen.
    pki.remote(host.port(), "alice", &["info"]).unwrap().assert(0, "no unikernels");
    host.create("a:hello", "hello", &[]).unwrap().assert(0, "created");
    let pids = pids(&host);
    // What went before has been dealt with when the counters stand still for a while.
    let counters = || pids.iter().map(|pid| processes::wake_ups(*pid)).collect::<Vec<_>>();
    let mut last = (counters(), Instant::now());
    eventually("a second without a wake-up", || {
        let now = counters();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() >= Duration::from_secs(1)).then_some(())
    })
    .unwrap();
}

/// Many commands later the daemons have as many open descriptors as before.
#[test]
fn descriptors_are_closed() {
    let (host, pki) = with_endpoint();
    let pids = pids(&host);
    let command = |host: &Host| {
        host.create("a:hello", "hello", &["--force"]).unwrap().assert(0, "created");
        host.console_ends_with("a:hello", &["Hello from spt", "--name=hello"]).unwrap();
        host.client(&["info"]).unwrap().assert(0, "");
        pki.remote(host.port(), "alice", &["info"]).unwrap().assert(0, "no unikernels");
        pki.remote(host.port(), "alice", &["destroy", "nobody"]).unwrap().assert(117, "command failed");
    };
    let count = || pids.iter().map(|pid| processes::descriptors(*pid)).collect::<Vec<_>>();
    command(&host);
    eventually("an end of the guest", || host.tenders().is_empty().then_some(())).unwrap();
    let before = count();
    for _ in 0..10 {
        command(&host);
    }
    let fewer = || count().iter().zip(&before).all(|(now, before)| now <= before);
    eventually("as few descriptors as before", || fewer().then_some(())).unwrap();
}
