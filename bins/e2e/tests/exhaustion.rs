//! A host that has no more of something: of room on its file systems, of descriptors. What cannot be done is
//! refused with the file that it was about, what was acknowledged stays, nothing is left of what was not, and all
//! works again when there is enough.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use albatross_e2e::raw::Raw;
use albatross_e2e::run::run;
use albatross_e2e::{Finished, Host, Programs, eventually, processes};
use albatross_proto::reply::State;
use albatross_proto::state::{Running, Stage};
use albatross_proto::{
    Arguments, Command, Config, Int, Payload, Policy, PolicyCommand, Success, Typ, UnikernelCommand, Wire,
};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;

mod mounts;

use mounts::with_own_mounts;

const NO_ROOM: &str = "No space left on device";
const NO_DESCRIPTORS: &str = "Too many open files";

/// Puts a small file system with these directories over a directory.
fn make_small(directory: &Path, size: &str, inside: &[&str]) {
    let options = format!("{size},mode=755");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
    inside.iter().for_each(|name| fs::create_dir(directory.join(name)).unwrap());
}

/// Takes all room for content that is left, and returns the file that has it.
fn fill(directory: &Path) -> PathBuf {
    let path = directory.join("filler");
    let mut file = File::options().create(true).append(true).open(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

/// Takes all room for files that is left.
fn crowd(directory: &Path) {
    let crowd = directory.join("crowd");
    _ = fs::create_dir(&crowd);
    for number in 0.. {
        match File::options().write(true).create_new(true).open(crowd.join(number.to_string())) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return assert_eq!(error.kind(), ErrorKind::StorageFull),
            Ok(_) => {}
        }
    }
}

/// What `--json` shows of one kind, by this field.
fn shown(host: &Host, command: &str, field: &str) -> Vec<String> {
    let finished = host.client(&["--json", command]).unwrap().assert(0, "");
    let entries = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shown = entries.filter(|entry| entry["type"] != "status");
    let mut all: Vec<String> = shown.map(|entry| entry[field].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn running(host: &Host) -> Vec<String> {
    shown(host, "info", "name")
}

/// The paths of the policies, but the root's.
fn policies(host: &Host) -> Vec<String> {
    let finished = host.client(&["--json", "policy"]).unwrap().assert(0, "");
    let entries = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let path = |entry: &Value| entry["path"].as_str().or_else(|| entry["name"].as_str()).map(str::to_owned);
    let mut all: Vec<String> = entries.map(|entry| path(&entry).unwrap()).collect();
    all.iter_mut().for_each(|path| *path = path.trim_end_matches(':').to_owned());
    all.retain(|path| !path.is_empty());
    all.sort();
    all
}

fn tick(host: &Host, name: &str) -> Finished {
    host.create(name, "tick", &["--arg=--ms=50"]).unwrap()
}

fn again(host: &mut Host) {
    host.take_albatrossd().unwrap().kill();
    host.start_albatrossd(&[]).unwrap();
}

#[test]
fn a_full_disk_takes_nothing_away_that_was_acknowledged() {
    with_own_mounts(|programs| {
        let mut host = Host::new(programs).unwrap();
        let dbdir = host.dbdir();
        make_small(&dbdir, "size=2m", &["block"]);
        host.start_console(&[]).unwrap();
        host.start_albatrossd(&[]).unwrap();
        for name in ["a:one", "a:three", "a:five"] {
            tick(&host, name).assert(0, "created unikernel");
        }
        let tenders = host.tenders();
        host.client(&["create-block", "a:disk", "2"]).unwrap().assert(0, "added block device");
        let content = host.work().join("content");
        fs::write(&content, vec![7; 2 * 1024 * 1024]).unwrap();
        let set_block =
            |host: &Host| host.client(&["set-block", "a:disk", content.to_str().unwrap()]).unwrap();
        let filler = fill(&dbdir);

        let image = host.create("a:two", "hello", &[]).unwrap().assert(117, NO_ROOM);
        assert!(image.text().contains("db/images"), "{}", image.text());
        let block = set_block(&host).assert(117, NO_ROOM);
        assert!(block.text().contains("db/block/a:disk"), "{}", block.text());
        // What takes up the room can be destroyed.
        host.client(&["destroy", "a:five"]).unwrap().assert(0, "destroyed unikernel");
        // A page of the record may have room yet, and some is kept.
        let mut acknowledged = Vec::new();
        let refused = loop {
            let path = format!("{0}:{0}:{0}:{1}", "p".repeat(50), acknowledged.len());
            let added = host.client(&["add-policy", &path, "3", "--mem", "64"]).unwrap();
            if added.code != Some(0) {
                break added.assert(117, NO_ROOM);
            }
            acknowledged.push(path);
            assert!(acknowledged.len() < 3000, "it is never full");
        };
        acknowledged.sort();
        assert!(refused.text().contains("db/record"), "{}", refused.text());
        tick(&host, "a:four").assert(117, NO_ROOM);
        let destroyed = host.client(&["destroy", "a:three"]).unwrap().assert(117, NO_ROOM);
        assert!(destroyed.text().contains("db/record"), "{}", destroyed.text());

        let as_acknowledged = |host: &Host| {
            assert_eq!(policies(host), acknowledged);
            assert_eq!(shown(host, "block", "name"), ["a:disk"]);
            assert!(running(host).iter().any(|name| name == "a:one"));
            assert!(!running(host).iter().any(|name| ["a:two", "a:four"].contains(&name.as_str())));
            assert!(host.tenders().contains(&tenders[0]), "it runs on");
        };
        as_acknowledged(&host);
        for name in ["images", "block"] {
            let left = processes::names_in(&dbdir.join(name));
            assert_eq!(left.len(), 1, "nothing unfinished: {left:?}");
        }
        // The next daemon comes up as well, and has what was acknowledged.
        again(&mut host);
        as_acknowledged(&host);
        tick(&host, "a:four").assert(117, NO_ROOM);

        fs::remove_file(filler).unwrap();
        host.create("a:two", "tick", &["--arg=--ms=50"]).unwrap().assert(0, "created unikernel");
        set_block(&host).assert(117, NO_ROOM);
        fs::write(&content, vec![7; 1024]).unwrap();
        set_block(&host).assert(0, "set block device");
        host.client(&["add-policy", "q", "3", "--mem", "64"]).unwrap().assert(0, "added policy");
        host.client(&["destroy", "a:one"]).unwrap().assert(0, "destroyed unikernel");
        let expected = running(&host);
        assert!(expected.contains(&"a:two".to_owned()) && !expected.contains(&"a:one".to_owned()));
        host.take_albatrossd().unwrap().terminate().unwrap();
        host.start_albatrossd(&[]).unwrap();
        eventually("all on record", || (running(&host) == expected).then_some(())).unwrap();
        assert_eq!(policies(&host).len(), acknowledged.len() + 1);
        host.end().unwrap();
    });
}

/// Why a unikernel is not running, if it failed to start.
fn failure(host: &Host, name: &str) -> Option<String> {
    match &host.statuses().unwrap().get(name)?.state {
        State::Failed(why) => Some(why.to_string()),
        _ => None,
    }
}

#[test]
fn what_does_not_fit_into_the_tmpdir_leaves_nothing_and_comes_back() {
    with_own_mounts(|programs| {
        let mut host = Host::new(programs).unwrap();
        let tmpdir = host.tmpdir();
        make_small(&tmpdir, "size=256k,nr_inodes=64", &["util", "fifo"]);
        host.start_console(&[]).unwrap();
        host.start_albatrossd(&[]).unwrap();
        tick(&host, "a:runs").assert(0, "created unikernel");
        let tender = host.tenders();
        let own = ["a:runs.img", "crowd", "fifo/a:runs", "running/a:runs"];
        let looped = ["--restart", "--arg=--code=3"];

        // No more files.
        crowd(&tmpdir);
        let refused = tick(&host, "a:two").assert(117, NO_ROOM);
        assert!(refused.text().contains("run/a:two.img"), "{}", refused.text());
        assert_eq!(host.left_behind(), own);
        // What waits to be started again cannot be, says so, and is when there is room.
        fs::remove_dir_all(tmpdir.join("crowd")).unwrap();
        host.create("a:loops", "exit", &looped).unwrap().assert(0, "created unikernel");
        let why = eventually("a start that fails", || {
            crowd(&tmpdir);
            failure(&host, "a:loops")
        });
        assert!(why.unwrap().contains("run/a:loops.img: No space left"));
        // The next daemon takes over what runs.
        again(&mut host);
        assert_eq!(running(&host), ["a:runs"]);
        eventually("a start that fails", || failure(&host, "a:loops")).unwrap();
        fs::remove_dir_all(tmpdir.join("crowd")).unwrap();
        eventually("a restart", || host.statuses().unwrap()["a:loops"].last_exit).unwrap();
        host.client(&["destroy", "a:loops"]).unwrap().assert(0, "destroyed");

        // No more content: a note has some.
        let filler = fill(&tmpdir);
        let refused = tick(&host, "a:two").assert(117, NO_ROOM);
        assert!(refused.text().contains("run/running/a:two"), "{}", refused.text());
        assert_eq!(host.tenders(), tender);
        let own = ["a:runs.img", "filler", "fifo/a:runs", "running/a:runs"];
        assert_eq!(host.left_behind(), own, "no half of a note");
        again(&mut host);
        assert_eq!((running(&host), host.tenders()), (vec!["a:runs".to_owned()], tender.clone()));
        // That it is only to be restarted is known to the next daemon all the same.
        processes::stop(tender[0].0).unwrap();
        let mut client = Raw::unix(&host.socket("vmmd")).unwrap();
        client.command("a:runs", Command::Unikernel(UnikernelCommand::Restart(None))).unwrap();
        let stage = || {
            let note = fs::read(tmpdir.join("running/a:runs")).ok()?;
            Some(Running::decode(&note).ok()?.tender.stage)
        };
        eventually("a note", || (stage()? == Stage::Stopping).then_some(()))
            .unwrap_or_else(|late| panic!("{late}: {}", host.log("albatrossd")));
        host.take_albatrossd().unwrap().kill();
        processes::signal(tender[0].0, Signal::SIGTERM);
        processes::signal(tender[0].0, Signal::SIGCONT);
        eventually("its end", || host.tenders().is_empty().then_some(())).unwrap();
        host.start_albatrossd(&[]).unwrap();
        eventually("its start", || (running(&host) == ["a:runs"]).then_some(())).unwrap();
        fs::remove_file(filler).unwrap();
        tick(&host, "a:two").assert(0, "created unikernel");
        for name in ["a:runs", "a:two"] {
            host.client(&["destroy", name]).unwrap().assert(0, "destroyed");
        }
        assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
        host.end().unwrap();
    });
}

/// Lets a process have so many descriptors.
fn limit(pid: i32, descriptors: usize) {
    let arguments = [format!("--pid={pid}"), format!("--nofile={descriptors}:4096")];
    run(Process::new("prlimit").args(arguments)).unwrap().assert(0, "");
}

/// The time that a process was on a cpu, in hundredths of a second.
fn cpu(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime, the 14th and 15th field of all.
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// What the descriptors of a process are.
fn files(pid: i32) -> Vec<PathBuf> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    processes::names_in(&directory)
        .iter()
        .filter_map(|name| fs::read_link(directory.join(name)).ok())
        .collect()
}

/// A client that is connected, and served: after a policy the next command is waited for.
fn accepted(host: &Host) -> Raw<UnixStream> {
    let mut raw = Raw::unix(&host.socket("vmmd")).unwrap();
    let policy = Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::ONE,
        memory: Int::from(64),
        block: None,
        bridges: BTreeSet::new(),
    };
    raw.command("p:", Command::Policy(PolicyCommand::Add(policy))).unwrap();
    reply(&mut raw).unwrap();
    raw
}

/// The text of the one reply.
fn reply(raw: &mut Raw<UnixStream>) -> Result<String, String> {
    let frame = raw.frame().unwrap().expect("a reply");
    match Wire::decode(&frame).unwrap().payload {
        Payload::Success(Success::Text(text)) => Ok(text.to_string()),
        Payload::Success(Success::Info(all)) => Ok(format!("{} unikernels", all.len())),
        Payload::Failure(text) => Err(text.to_string()),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn clients_wait_while_there_are_no_descriptors() {
    let mut host = Host::for_test().unwrap();
    let pid = host.albatrossd().unwrap().pid();
    tick(&host, "a:tick").assert(0, "created unikernel");
    let mut first = accepted(&host);
    limit(pid, processes::descriptors(pid) + 3);
    // Until nobody is accepted any more.
    let connect = || Raw::unix(&host.socket("vmmd")).unwrap();
    let tries = || host.log("albatrossd").matches("cannot accept a client").count();
    let mut silent = Vec::new();
    eventually("a client that is not accepted", || {
        silent.push(connect());
        (tries() > 0).then_some(())
    })
    .unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| connect()).collect();
    for raw in &mut waiting {
        raw.command(":", Command::Unikernel(UnikernelCommand::Info)).unwrap();
    }
    let (before, spent) = (tries(), cpu(pid));
    eventually("three more tries", || (tries() >= before + 3).then_some(())).unwrap();
    let spent = cpu(pid) - spent;
    assert!(spent <= 10, "{spent} hundredths of a second for three tries");
    assert!(host.log("albatrossd").contains(NO_DESCRIPTORS));
    // Who is connected is served, and who goes makes room for the next.
    first.command(":", Command::Unikernel(UnikernelCommand::Info)).unwrap();
    assert_eq!(reply(&mut first).unwrap(), "1 unikernels");
    drop(silent);
    for raw in &mut waiting {
        assert_eq!(reply(raw).unwrap(), "1 unikernels");
    }
    limit(pid, 1024);
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed");
}

#[test]
fn a_create_that_runs_out_of_descriptors_leaves_nothing() {
    let mut host = Host::for_test().unwrap();
    let pid = host.albatrossd().unwrap().pid();
    let image = fs::read(host.programs().guest("tick")).unwrap();
    let arguments = Arguments { memory: Int::from(2), ..Arguments::new() };
    let config = || Config {
        typ: Typ::Solo5,
        compressed: false,
        image: image.clone().into(),
        arguments: arguments.clone(),
    };
    let refusals = || {
        let mut refusals = Vec::new();
        // With the record, which stays open, and one client.
        drop(accepted(&host));
        let held = processes::descriptors(pid) + 1;
        for more in 0.. {
            assert!(more < 50, "{refusals:#?}");
            let mut client = accepted(&host);
            limit(pid, processes::descriptors(pid) + more);
            client.command("a:it", Command::Unikernel(UnikernelCommand::Create(config()))).unwrap();
            let answer = reply(&mut client);
            limit(pid, 1024);
            match answer {
                Ok(_) => break,
                Err(why) => refusals.push(why),
            }
            assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()), "{refusals:#?}");
            assert_eq!(processes::names_in(&host.dbdir().join("images")), Vec::<String>::new());
            eventually("no descriptor left open", || (processes::descriptors(pid) <= held).then_some(()))
                .unwrap_or_else(|late| panic!("{late}: {held}, {:?}: {refusals:#?}", files(pid)));
            assert_eq!(running(&host), Vec::<String>::new());
        }
        println!("{refusals:#?}");
        assert!(refusals.iter().all(|why| why.contains(NO_DESCRIPTORS)), "{refusals:#?}");
        refusals
    };
    // The second time the tender is known.
    let kinds = [refusals(), {
        host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed");
        refusals()
    }];
    assert!(kinds.iter().all(|refusals| refusals.len() > 3), "{kinds:#?}");
    assert_eq!(running(&host), ["a:it"]);
    // What ends and is to be started again waits until there are enough.
    host.create("a:loops", "exit", &["--restart", "--arg=--code=3"]).unwrap().assert(0, "created");
    limit(pid, processes::descriptors(pid));
    let failed = |host: &Host| {
        let log = host.log("albatrossd");
        log.lines()
            .filter(|line| line.contains("a:loops: not started") && line.contains(NO_DESCRIPTORS))
            .count()
    };
    eventually("starts that fail", || (failed(&host) > 1).then_some(())).unwrap();
    let started = |host: &Host| host.log("albatrossd").matches("a:loops: started").count();
    let before = started(&host);
    limit(pid, 1024);
    eventually("a start", || (started(&host) > before).then_some(())).unwrap();
    host.client(&["destroy", "a:loops"]).unwrap().assert(0, "destroyed");
}

#[test]
fn a_daemon_that_has_too_few_descriptors_to_begin_says_so() {
    let host = Host::new(Programs::for_tests().unwrap()).unwrap();
    let program = host.programs().path("albatrossd");
    for descriptors in 4..8 {
        let mut command = Process::new("prlimit");
        command.arg(format!("--nofile={descriptors}:{descriptors}")).arg(&program);
        command.arg("--tmpdir").arg(host.tmpdir()).arg("--dbdir").arg(host.dbdir());
        run(&mut command).unwrap().assert(1, NO_DESCRIPTORS);
        assert!(!host.socket("vmmd").exists(), "no socket without a daemon");
    }
}

/// Nobody waits for a log that has no room, and it has everything when there is some.
#[test]
fn what_does_not_fit_into_the_event_log_comes_there_later() {
    with_own_mounts(|programs| {
        let mut host = Host::new(programs).unwrap();
        let directory = host.event_log().parent().unwrap().to_owned();
        make_small(&directory, "size=64k", &[]);
        host.start_console(&[]).unwrap();
        host.start_log(&[]).unwrap();
        host.start_albatrossd(&[]).unwrap();
        let filler = fill(&directory);
        let mut added = Vec::new();
        // The last page of the file has room yet.
        while !host.log("albatrossd").contains("the log daemon refused") {
            let path = format!("a:x{}", added.len());
            host.client(&["add-policy", &path, "1", "--mem", "20"]).unwrap().assert(0, "added policy");
            added.push(path);
        }
        assert!(host.log("albatrossd").contains(NO_ROOM), "{}", host.log("albatrossd"));
        tick(&host, "a:tick").assert(0, "created unikernel");
        host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed unikernel");
        fs::remove_file(filler).unwrap();
        let read = || {
            let mut command = Process::new(programs.path("albatross-log"));
            run(command.arg("--read-only").arg(host.event_log())).unwrap().stdout
        };
        eventually("all that happened", || read().contains("a:tick: destroy done").then_some(())).unwrap();
        let text = read();
        let missing = added.iter().find(|path| !text.contains(&format!(" {path}:: policy add")));
        assert_eq!(missing, None, "{text}");
        assert!(text.contains("a:tick: create done"), "{text}");
        let mut command = Process::new(programs.path("albatross-log"));
        run(command.arg("--verify").arg(host.event_log())).unwrap().assert(0, "last link");
    });
}
