//! The event log with all daemons: what is in it, for whom, and that nothing waits for it for long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use albatross_core::eventlog::Log;
use albatross_e2e::pki::Pki;
use albatross_e2e::run::{kill, run};
use albatross_e2e::{Host, Programs, eventually, processes};
use albatross_proto::log::Event;
use nix::sys::signal::Signal;

/// A host with all daemons, but for the endpoint.
fn host() -> Host {
    let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
    host.start_console(&[]).unwrap();
    host.start_log(&[]).unwrap();
    host.start_albatrossd(&[]).unwrap();
    host
}

/// A client that follows the log.
struct Follower {
    child: Child,
    file: PathBuf,
}

impl Follower {
    fn start(mut command: Command, file: PathBuf) -> Self {
        let out = File::create(&file).unwrap();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::inherit()).spawn().unwrap();
        Self { child, file }
    }

    /// What it printed of events, without their times.
    fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap();
        let events = text.lines().filter_map(|line| line.strip_prefix("log "));
        events.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    fn until(&self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let found = eventually("events", || {
            seen = self.events();
            seen.iter().any(|line| line.contains(last)).then_some(())
        });
        found.unwrap_or_else(|late| panic!("{last:?} in {seen:?}: {late}"));
        seen
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The events that are in the file, in short.
fn in_file(host: &Host) -> Vec<String> {
    let log = Log::read(&fs::read(host.event_log()).unwrap()).unwrap();
    let short = |record: &albatross_proto::log::LogRecord| {
        let name = &record.name;
        match &record.entry.event {
            Event::DaemonStarted => format!("{name} begins"),
            Event::Command { command, failure: None } => format!("{name} {command}"),
            Event::Command { command, failure: Some(_) } => format!("{name} {command} failed"),
            Event::UnikernelStarted(_) => format!("{name} +"),
            Event::UnikernelStopped { .. } => format!("{name} -"),
            Event::Login(_) => format!("{name} login"),
            Event::Logout(_) => format!("{name} logout"),
        }
    };
    log.records.iter().map(short).collect()
}

fn verify(host: &Host, files: &[PathBuf]) -> String {
    let mut command = Command::new(host.programs().path("albatross-log"));
    let finished = run(command.arg("--verify").args(files)).unwrap().assert(0, "last link");
    finished.stdout
}

#[test]
fn what_happens_is_seen_here_and_by_clients_of_the_path() {
    let mut host = host();
    let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
    for label in ["alice", "bob"] {
        pki.intermediate("ca", label, 2, &["--mem", "64"]).unwrap();
    }
    let [ca, certificate, key] = pki.server();
    let port = host.start_endpoint(&ca, &certificate, &key).unwrap();
    let image = host.programs().guest("tick").to_string_lossy().into_owned();
    let create = |label| ["create", label, &image, "--mem", "2"].map(str::to_owned);
    let remote = |issuer: &str, command: &[String]| {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        pki.remote(port, issuer, &command).unwrap()
    };
    let local = Follower::start(host.client_command(&["log"]), host.work().join("local"));
    let command = pki.remote_command(port, "alice", &["log", "--count", "100"]);
    let followers = Follower::start(command, host.work().join("alice"));
    remote("alice", &create("one")).assert(0, "created unikernel");
    remote("bob", &create("two")).assert(0, "created unikernel");
    remote("bob", &create("two")).assert(117, "exists");
    remote("alice", &["info".to_owned()]).assert(0, "one");
    host.client(&["destroy", "bob:two"]).unwrap().assert(0, "destroyed unikernel");
    host.client(&["destroy", "alice:one"]).unwrap().assert(0, "destroyed unikernel");
    let seen = local.until("alice:one: destroy done");
    let alice = followers.until("alice:one: destroy done");
    // Whoever follows Alice's path sees what is there and nothing else.
    assert!(alice.iter().all(|line| line.starts_with("alice:")), "{alice:?}");
    let of_alice: Vec<String> = seen.iter().filter(|line| line.starts_with("alice:")).cloned().collect();
    assert_eq!(alice, of_alice);
    let has = |seen: &[String], parts: &[&str]| {
        let count = seen.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count();
        assert!(count > 0, "{parts:?} in {seen:?}");
        count
    };
    has(&seen, &[":: albatrossd started"]);
    has(&seen, &["bob:two: create failed: unikernel bob:two exists already"]);
    has(&seen, &["alice:: policy add: 2 unikernels, 64 MB", "done"]);
    has(&alice, &["alice:one: create done"]);
    has(&alice, &["alice:one: started, pid "]);
    has(&alice, &["alice:one: pid ", "ended by signal 15"]);
    // Who came in, from where and with what. The policies of a chain are no event where they are there already.
    let logins = has(&seen, &["bob:two: login from 127.0.0.1:", " serial "]);
    assert_eq!((logins, has(&seen, &["bob:two: logout from 127.0.0.1:", " serial "])), (2, 2));
    assert_eq!(has(&seen, &["bob:: policy add"]), 1);
    let position = |part: &str| seen.iter().position(|line| line.contains(part)).unwrap();
    assert!(position("bob:two: login") < position("bob:two: create done"));
    // The same of one name.
    let command = host.client_command(&["log", "-n", "bob:two", "--count", "100"]);
    let two = Follower::start(command, host.work().join("two"));
    assert!(two.until("destroy done").iter().all(|line| line.starts_with("bob:two: ")));
    assert!(verify(&host, &[host.event_log()]).contains("records"));
    drop(followers);
    eventually("the logout", || in_file(&host).contains(&"alice: logout".to_owned()).then_some(())).unwrap();
}

#[test]
fn a_command_is_in_the_log_when_it_is_answered_and_questions_are_not() {
    let host = host();
    for round in 0..5 {
        host.create("a:x", "tick", &[]).unwrap().assert(0, "created unikernel");
        assert_eq!(in_file(&host).last().unwrap(), "a:x create", "{round}");
        host.client(&["destroy", "a:x"]).unwrap().assert(0, "destroyed unikernel");
        assert_eq!(in_file(&host).last().unwrap(), "a:x destroy", "{round}");
    }
    let events = in_file(&host).len();
    for question in [&["info"][..], &["policy"], &["block"]] {
        host.client(question).unwrap().assert(0, "");
    }
    assert_eq!(in_file(&host).len(), events);
    host.create("a:x", "exit", &[]).unwrap().assert(0, "created unikernel");
    eventually("the end", || (in_file(&host).last().unwrap() == "a:x -").then_some(())).unwrap();
}

#[test]
fn a_log_daemon_that_is_slow_or_gone_holds_up_nobody_and_gets_everything_later() {
    let mut host = host();
    host.create("a:x", "tick", &[]).unwrap().assert(0, "created unikernel");
    let log = host.events().unwrap().pid();
    processes::stop(log).unwrap();
    let begun = Instant::now();
    host.client(&["restart", "a:x"]).unwrap().assert(0, "created unikernel");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
    // The first has waited for all that follow.
    let begun = Instant::now();
    host.client(&["destroy", "a:x"]).unwrap().assert(0, "destroyed unikernel");
    assert!(begun.elapsed() < took);
    host.albatrossd().unwrap().logged("the log daemon did not answer within 2 s").unwrap();
    processes::signal(log, Signal::SIGCONT);
    let all = ["a:x +", "a:x create", "a:x -", "a:x +", "a:x restart", "a:x -", "a:x destroy"];
    eventually("what happened", || in_file(&host).ends_with(&all.map(str::to_owned)).then_some(())).unwrap();
    host.take_events().unwrap().kill();
    host.create("a:y", "tick", &[]).unwrap().assert(0, "created unikernel");
    host.client(&["destroy", "a:y"]).unwrap().assert(0, "destroyed unikernel");
    host.start_log(&[]).unwrap();
    let later = ["a:y +", "a:y create", "a:y -", "a:y destroy"];
    eventually("what happened", || in_file(&host).ends_with(&later.map(str::to_owned)).then_some(()))
        .unwrap();
    verify(&host, &[host.event_log()]);
}

#[test]
fn logs_are_rotated_by_logrotate_without_a_loss() {
    if !Command::new("logrotate")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
    {
        return println!("skipped: there is no logrotate");
    }
    let mut host = host();
    let (file, directory) = (host.event_log(), host.work().join("rotate"));
    fs::create_dir(&directory).unwrap();
    let pid = host.events().unwrap().pid();
    let text = format!(
        "{} {{\n    rotate 9\n    nocreate\n    missingok\n    postrotate\n        kill -HUP {pid}\n    endscript\n}}\n",
        file.display()
    );
    let (config, state) = (directory.join("config"), directory.join("state"));
    fs::write(&config, text).unwrap();
    for round in 0..3 {
        host.create("a:x", "tick", &[]).unwrap().assert(0, "created unikernel");
        let mut rotate = Command::new("logrotate");
        run(rotate.arg("--force").arg("--state").arg(&state).arg(&config)).unwrap().assert(0, "");
        host.client(&["destroy", "a:x"]).unwrap().assert(0, "destroyed unikernel");
        eventually("the new file", || {
            fs::read(&file).ok().filter(|file| Log::read(file).is_ok_and(|log| log.records.len() < 5))
        })
        .unwrap_or_else(|late| panic!("round {round}: {late}"));
    }
    let mut files: Vec<PathBuf> =
        (1..=3).rev().map(|number| format!("{}.{number}", file.display()).into()).collect();
    files.push(file);
    verify(&host, &files);
    let mut command = Command::new(host.programs().path("albatross-log"));
    let printed =
        run(command.arg("--read-only").args(&files)).unwrap().assert(0, "albatrossd started").stdout;
    assert_eq!(printed.matches("a:x: create done").count(), 3);
    assert_eq!(printed.matches("a:x: destroy done").count(), 3);
}

#[test]
fn kill_9_of_the_log_daemon_under_load_loses_nothing_that_was_answered() {
    let mut host = host();
    for round in 0..3 {
        let path = format!("round{round}");
        let answered = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..3)
                .map(|client| {
                    let (host, path) = (&host, &path);
                    scope.spawn(move || {
                        let add = |number: usize| {
                            let name = format!("{path}:client{client}x{number}");
                            let added = host.client(&["add-policy", &name, "1", "--mem", "20"]).unwrap();
                            added.assert(0, "added policy");
                            format!("{name}: policy add")
                        };
                        (0..8).map(add).collect::<Vec<_>>()
                    })
                })
                .collect();
            let pid = {
                eventually("load", || (in_file(&host).len() > 5).then_some(())).unwrap();
                processes::mentioning(&host.event_log().to_string_lossy())
            };
            pid.iter().for_each(|(pid, _)| processes::signal(*pid, Signal::SIGKILL));
            handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
        });
        drop(host.take_events());
        host.start_log(&[]).unwrap();
        verify(&host, &[host.event_log()]);
        // What was answered while it was away comes when it is back.
        eventually("all events", || {
            let kept = in_file(&host);
            answered.iter().all(|event| kept.iter().any(|it| it.starts_with(event))).then_some(())
        })
        .unwrap();
    }
}
