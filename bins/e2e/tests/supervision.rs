//! What albatrossd does with unikernels that end, loop, hang or cannot be started, and with neighbours that do not
//! answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, Programs, eventually, processes};
use albatross_proto::reply::{Exit, State};
use albatross_proto::{Command, Int, StatisticsCommand};
use nix::sys::signal::Signal;

fn tick(host: &Host, name: &str, options: &[&str]) {
    let options = [&["--arg=--ms=20"], options].concat();
    host.create(name, "tick", &options).unwrap().assert(0, "created unikernel");
}

/// The waits before the next start that albatrossd announced for a unikernel, in milliseconds.
fn waits(host: &Host, name: &str) -> Vec<u64> {
    let begin = format!("{name}: is started again in ");
    let log = host.log("albatrossd");
    let waits = log.lines().filter_map(|line| line.split_once(&begin)?.1.split(' ').next()?.parse().ok());
    waits.collect()
}

#[test]
fn a_loop_slows_down_is_seen_and_can_be_stopped() {
    let host = Host::for_test().unwrap();
    host.create("a:loops", "exit", &["--restart", "--arg=--code=7"]).unwrap().assert(0, "created");
    eventually("four ends", || (waits(&host, "a:loops").len() >= 4).then_some(())).unwrap();
    assert_eq!(waits(&host, "a:loops")[..4], [250, 500, 1000, 2000]);
    let status = host.statuses().unwrap()["a:loops"].clone();
    assert!(matches!(status.state, State::Waiting(until) if until > status.since), "{status:?}");
    assert!(status.restarts >= Int::from(3), "{status:?}");
    assert_eq!((status.last_exit, status.pid), (Some(Exit::Exited(Int::from(7))), None));
    // What is between two starts does not run, and counts.
    let info = host.client(&["--json", "info"]).unwrap().assert(0, "").stdout;
    assert!(info.lines().all(|line| line.contains(r#""type":"status""#)), "{info}");
    host.create("a:loops", "tick", &[]).unwrap().assert(117, "exists already");
    host.client(&["destroy", "a:loops"]).unwrap().assert(0, "destroyed: removed from restarting");
    assert!(host.statuses().unwrap().is_empty());
    assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
    // The next of this name begins anew.
    host.create("a:loops", "exit", &["--restart", "--arg=--code=7"]).unwrap().assert(0, "created");
    eventually("an end", || (waits(&host, "a:loops").len() >= 5).then_some(())).unwrap();
    assert_eq!(waits(&host, "a:loops")[4], 250);
}

#[test]
fn a_tender_that_hangs_is_killed_after_a_while() {
    let host = Host::for_test().unwrap();
    tick(&host, "a:hangs", &[]);
    tick(&host, "a:other", &[]);
    let (pid, _) = host.tenders().into_iter().find(|(_, line)| line.contains("a:hangs")).unwrap();
    // SIGTERM waits while it stands; SIGKILL does not.
    processes::stop(pid).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        let destroy = scope.spawn(|| host.client(&["destroy", "a:hangs"]).unwrap());
        // Others are served in the meantime.
        host.client(&["restart", "a:other"]).unwrap().assert(0, "created unikernel");
        destroy.join().unwrap().assert(0, "destroyed unikernel");
    });
    assert!(start.elapsed() >= Duration::from_secs(5), "it has 5 s to end by itself");
    let log = host.log("albatrossd");
    assert!(log.contains(&format!("a:hangs: process {pid} does not end, it is killed")), "{log}");
    assert!(log.contains("was ended by signal 9"), "{log}");
    assert_eq!(host.left_behind(), ["a:other.img", "fifo/a:other", "running/a:other"]);
}

/// The order in which unikernels came to run since this line of the log.
fn started(host: &Host, since: usize) -> Vec<String> {
    let log = host.log("albatrossd");
    let name = |line: &str| {
        let (before, _) = line.split_once(": started as process")?;
        Some(before.rsplit(' ').next()?.to_owned())
    };
    log.lines().skip(since).filter_map(name).collect()
}

#[test]
fn the_next_daemon_starts_by_priority() {
    let mut host = Host::for_test().unwrap();
    for (name, startup) in [("a:late", "90"), ("a:first", "0"), ("b:second", "1"), ("a:third", "49")] {
        tick(&host, name, &["--startup", startup]);
    }
    // 50 where nothing is said; by name among equals.
    tick(&host, "a:middle", &[]);
    tick(&host, "a:middle2", &["--startup=50"]);
    assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
    let lines = host.log("albatrossd").lines().count();
    host.start_albatrossd(&[]).unwrap();
    eventually("all", || (started(&host, lines).len() == 6).then_some(())).unwrap();
    let expected = ["a:first", "b:second", "a:third", "a:middle", "a:middle2", "a:late"];
    assert_eq!(started(&host, lines), expected);
}

/// It does not know `--name`: that is found out once, and stored.
#[test]
fn what_was_found_out_about_its_name_is_not_forgotten() {
    let mut host = Host::for_test().unwrap();
    host.create("a:dance", "dance", &["--restart"]).unwrap().assert(0, "created unikernel");
    eventually("an end without a name", || (!waits(&host, "a:dance").is_empty()).then_some(())).unwrap();
    let without = |host: &Host| host.log("albatrossd").matches("does not know --name").count();
    assert_eq!(without(&host), 1);
    host.take_albatrossd().unwrap().kill();
    host.start_albatrossd(&[]).unwrap();
    let before = waits(&host, "a:dance").len();
    eventually("another end", || (waits(&host, "a:dance").len() > before).then_some(())).unwrap();
    assert_eq!(without(&host), 1, "asked once only");
    host.client(&["destroy", "a:dance"]).unwrap().assert(0, "destroyed");
}

#[test]
fn what_cannot_be_started_at_the_start_stays_says_why_and_is_tried_again() {
    let mut host = Host::for_test().unwrap();
    tick(&host, "a:it", &[]);
    tick(&host, "b:other", &[]);
    host.create("b:exit", "exit", &["--restart"]).unwrap().assert(0, "created");
    assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
    // Its image is damaged: the file that is named after its digest has something else in it.
    let images = host.dbdir().join("images");
    let tick_image = fs::read(host.programs().guest("tick")).unwrap();
    let image = processes::names_in(&images).into_iter().map(|name| images.join(name));
    let image = image.into_iter().find(|path| fs::read(path).unwrap() == tick_image).unwrap();
    fs::rename(&image, image.with_extension("away")).unwrap();
    fs::write(&image, b"something else").unwrap();
    host.start_albatrossd(&[]).unwrap();
    for name in ["a:it", "b:other"] {
        let why = eventually("a start that fails", || match &host.statuses().unwrap()[name].state {
            State::Failed(why) => Some(why.to_string()),
            _ => None,
        })
        .unwrap();
        assert!(why.contains(&format!("damaged image {}", image.display())), "{why}");
    }
    eventually("two tries", || (waits(&host, "a:it").len() >= 2).then_some(())).unwrap();
    assert_eq!(waits(&host, "a:it")[..2], [250, 500]);
    // It is on record for the next daemon, too, and starts when its image is back.
    host.take_albatrossd().unwrap().kill();
    host.start_albatrossd(&[]).unwrap();
    eventually("a start that fails", || {
        matches!(host.statuses().unwrap()["a:it"].state, State::Failed(_)).then_some(())
    })
    .unwrap();
    fs::rename(image.with_extension("away"), &image).unwrap();
    eventually("both", || {
        let all = host.statuses().unwrap();
        ["a:it", "b:other"].iter().all(|name| all[*name].state == State::Running).then_some(())
    })
    .unwrap();
}

/// Whether a process waits for room in a fifo.
fn is_blocked(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("pipe"))
}

/// A guest that prints more than a pipe holds while nobody reads waits; it loses nothing, and goes on.
#[test]
fn a_console_daemon_that_stops_reading_holds_up_who_prints_and_nobody_else() {
    let mut host = Host::for_test().unwrap();
    tick(&host, "a:tick", &[]);
    host.create("a:flood", "flood", &[]).unwrap().assert(0, "created unikernel");
    let console = host.console().unwrap().pid();
    processes::stop(console).unwrap();
    let flood = host.tenders().into_iter().find(|(_, line)| line.contains("a:flood")).unwrap();
    eventually("a full fifo", || is_blocked(flood.0).then_some(())).unwrap();
    // albatrossd has nothing to do with it.
    assert_eq!(host.client(&["info"]).unwrap().assert(0, "").stdout.matches("a:").count(), 2);
    host.client(&["add-policy", "p", "1", "--mem", "64"]).unwrap().assert(0, "added policy");
    host.client(&["create-block", "p:disk", "1"]).unwrap().assert(117, "policy");
    let refused = host.create("b:new", "hello", &[]).unwrap();
    refused.assert(117, "the console daemon did not answer within 10 s");
    assert_eq!(host.tenders().len(), 2);
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed unikernel");
    processes::signal(console, Signal::SIGCONT);
    eventually("the next line", || (!is_blocked(flood.0)).then_some(())).unwrap();
    // Every line that is kept is whole, and the next of the one before it.
    let lines =
        eventually("lines", || host.console_lines("a:flood", 1000).ok().filter(|lines| lines.len() == 1000))
            .unwrap();
    let number = |line: &str| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(lines.windows(2).all(|pair| number(&pair[0]) + 1 == number(&pair[1])));
    assert!(lines.iter().all(|line| line.ends_with("the lazy dog")));
    host.create("b:new", "hello", &[]).unwrap().assert(0, "created unikernel");
    // One that is blocked can be destroyed.
    processes::stop(console).unwrap();
    eventually("a full fifo", || is_blocked(flood.0).then_some(())).unwrap();
    host.client(&["destroy", "a:flood"]).unwrap().assert(0, "destroyed unikernel");
    processes::signal(console, Signal::SIGCONT);
}

#[test]
fn a_console_daemon_that_is_killed_is_found_again_and_no_line_is_lost() {
    let mut host = Host::for_test().unwrap();
    host.create("a:tick", "tick", &["--arg=--ms=5"]).unwrap().assert(0, "created unikernel");
    let tender = host.tenders();
    for _ in 0..3 {
        eventually("ten lines", || host.console_lines("a:tick", 10).ok().filter(|lines| lines.len() == 10))
            .unwrap();
        host.take_console().unwrap().kill();
        host.start_console(&[]).unwrap();
    }
    let lines =
        eventually("ten lines", || host.console_lines("a:tick", 10).ok().filter(|lines| lines.len() == 10))
            .unwrap();
    let number = |line: &str| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(lines.windows(2).all(|pair| number(&pair[0]) + 1 == number(&pair[1])), "{lines:?}");
    assert_eq!(host.tenders(), tender);
}

/// It accepts, and never says a word.
#[test]
fn a_console_daemon_that_never_answers_fails_creates_in_time() {
    let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
    let silent = UnixListener::bind(host.socket("console")).unwrap();
    host.start_albatrossd(&[]).unwrap();
    let (connection, _) = silent.accept().unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        let creates = ["a:one", "a:two"].map(|name| {
            let host = &host;
            scope.spawn(move || host.create(name, "tick", &[]).unwrap())
        });
        eventually("both to wait", || {
            (host.statuses().unwrap().values().filter(|it| it.state == State::Starting).count() == 2)
                .then_some(())
        })
        .unwrap();
        host.client(&["add-policy", "p", "1", "--mem", "64"]).unwrap().assert(0, "added policy");
        for create in creates {
            create.join().unwrap().assert(117, "the console daemon did not answer within 10 s");
        }
    });
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert!(host.statuses().unwrap().is_empty());
    assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
    // The real one takes its place.
    drop((silent, connection));
    fs::remove_file(host.socket("console")).unwrap();
    host.start_console(&[]).unwrap();
    eventually("a create", || (host.create("a:one", "tick", &[]).ok()?.code == Some(0)).then_some(()))
        .unwrap();
}

/// It asks what runs, and does not read the answer.
#[test]
fn a_statistics_daemon_that_does_not_read_costs_little() {
    let mut host = Host::for_test().unwrap();
    let pid = host.albatrossd().unwrap().pid();
    let mut statistics: Raw<UnixStream> = Raw::unix(&host.socket("vmmd")).unwrap();
    statistics.command(":", Command::Statistics(StatisticsCommand::Initial)).unwrap();
    tick(&host, "a:tick", &[]);
    let before = processes::status(pid, "VmRSS").unwrap();
    for _ in 0..20 {
        host.client(&["restart", "a:tick"]).unwrap().assert(0, "created unikernel");
    }
    let after = processes::status(pid, "VmRSS").unwrap();
    assert!(after < before + 512, "{before} KiB, then {after} KiB");
    // Another takes its place at any time, and is told what runs now.
    let mut next: Raw<UnixStream> = Raw::unix(&host.socket("vmmd")).unwrap();
    next.command(":", Command::Statistics(StatisticsCommand::Initial)).unwrap();
    assert!(next.frame().unwrap().is_some() && next.frame().unwrap().is_some());
    statistics.rest().unwrap();
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed unikernel");
}
