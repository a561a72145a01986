//! Daemons that end or are killed while unikernels run on, and the daemons that take these over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use albatross_e2e::run::run;
use albatross_e2e::{Host, Programs, eventually, processes};
use albatross_proto::Int;
use albatross_proto::state::{Running, Stage};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, geteuid, mkfifo};
use serde_json::Value;

mod namespace;
use namespace::{in_new_network, ip, taps};

/// How a daemon goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    /// It is asked to leave what runs.
    HandsOver,
    /// It is killed.
    Dies,
}

fn go(host: &mut Host, going: Going) {
    let daemon = host.take_albatrossd().unwrap();
    match going {
        Going::HandsOver => assert!(daemon.hand_over().unwrap().success()),
        Going::Dies => daemon.kill(),
    }
}

fn next(host: &mut Host, going: Going) {
    go(host, going);
    host.start_albatrossd(&[]).unwrap();
}

/// The daemon answers commands when it has dealt with what it found.
fn begun(host: &Host) {
    host.client(&["policy"]).unwrap().assert(0, "");
}

/// What `info` shows of one unikernel, but for nothing.
fn info(host: &Host, name: &str) -> Option<Value> {
    let finished = host.client(&["--json", "info", "-n", name]).unwrap().assert(0, "");
    finished.stdout.lines().next().map(|line| serde_json::from_str(line).unwrap())
}

fn running(host: &Host, name: &str) -> bool {
    info(host, name).is_some()
}

fn only_tender(host: &Host) -> i32 {
    let tenders = host.tenders();
    let [(pid, _)] = &tenders[..] else { panic!("one tender: {tenders:?}") };
    *pid
}

/// `console NAME` from the first line on; killed in the end.
struct Follower {
    child: Child,
    lines: io::Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(host: &Host, name: &str) -> Self {
        let mut command = host.client_command(&["console", name, "--count", "1024"]);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The number of the next tick.
    fn tick(&mut self) -> u64 {
        self.number("tick")
    }

    /// The number in the next line with this word and one.
    fn number(&mut self, word: &str) -> u64 {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        let line = lines.find(|line| line.contains(&format!(": {word} "))).expect("another line");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        albatross_e2e::run::kill(&mut self.child);
    }
}

/// The guest ticks on while 40 daemons come and go: the same process, every tick once and in order.
#[test]
fn a_guest_ticks_on_through_hand_overs_and_kills() {
    let mut host = Host::for_test().unwrap();
    host.create("a:tick", "tick", &["--arg=--ms=5"]).unwrap().assert(0, "created");
    let pid = only_tender(&host);
    let before = info(&host, "a:tick").unwrap();
    let mut follower = Follower::start(&host, "a:tick");
    let mut expected = 1;
    let mut follow = |count: u64| {
        for _ in 0..count {
            assert_eq!(follower.tick(), expected, "no tick is missing, none comes twice");
            expected += 1;
        }
    };
    for going in [Going::HandsOver, Going::Dies] {
        for round in 0..20 {
            follow(5);
            go(&mut host, going);
            // It is there without a daemon, too.
            follow(5);
            host.start_albatrossd(&[]).unwrap();
            assert_eq!(only_tender(&host), pid, "round {round} of {going:?}");
            assert_eq!(info(&host, "a:tick").unwrap(), before);
        }
    }
    follow(20);
    let log = host.log("albatrossd");
    assert_eq!(log.matches("taken over as process").count(), 40, "{log}");
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed");
    assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
}

#[test]
fn what_was_taken_over_can_be_destroyed_and_restarted() {
    for going in [Going::HandsOver, Going::Dies] {
        let mut host = Host::for_test().unwrap();
        for name in ["a:goes", "a:restarts", "a:replaced", "a:stays"] {
            host.create(name, "tick", &["--arg=--ms=5"]).unwrap().assert(0, "created");
        }
        let before = host.tenders();
        next(&mut host, going);
        assert_eq!(host.tenders(), before);
        host.client(&["destroy", "a:goes"]).unwrap().assert(0, "destroyed");
        host.client(&["restart", "a:restarts"]).unwrap().assert(0, "created");
        host.create("a:replaced", "tick", &["--force", "--arg=--ms=7"]).unwrap().assert(0, "created");
        let after = host.tenders();
        let kept: Vec<_> = after.iter().filter(|tender| before.contains(tender)).collect();
        assert!(after.len() == 3 && kept.len() == 1 && kept[0].1.contains("a:stays"), "{after:?}");
        // SIGTERM ends what was started and what was taken over.
        next(&mut host, going);
        assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
        assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
        host.start_albatrossd(&[]).unwrap();
        eventually("all three", || (host.tenders().len() == 3).then_some(())).unwrap();
    }
}

/// What ends while there is no daemon, and what ends afterwards, is treated as any end.
#[test]
fn ends_are_noticed_by_the_next_daemon() {
    for going in [Going::HandsOver, Going::Dies] {
        let mut host = Host::for_test().unwrap();
        let tick = |name: &str, options: &[&str]| {
            let options = [&["--arg=--ms=50", "--arg=--count=4"], options].concat();
            host.create(name, "tick", &options).unwrap().assert(0, "created");
        };
        tick("a:quits", &[]);
        tick("a:restarts", &["--restart"]);
        let first = host.tenders();
        go(&mut host, going);
        eventually("both ends", || host.tenders().is_empty().then_some(())).unwrap();
        host.start_albatrossd(&[]).unwrap();
        assert!(!running(&host, "a:quits"));
        let log = host.albatrossd().unwrap().logged("while no albatrossd was there").unwrap();
        assert_eq!(log.matches("while no albatrossd was there").count(), 2, "{log}");
        eventually("the next start", || {
            let tenders = host.tenders();
            (tenders.len() == 1 && tenders[0].1.contains("a:restarts")).then_some(())
        })
        .unwrap();
        assert_ne!(first[1].0, only_tender(&host));
        host.client(&["destroy", "a:restarts"]).unwrap().assert(0, "destroyed");
        assert_eq!(host.left_behind(), Vec::<String>::new());
        // Nor do they come back.
        next(&mut host, going);
        assert_eq!(host.client(&["info"]).unwrap().assert(0, "").stdout.matches("a:").count(), 0);
    }
}

/// The daemon is no parent of what it took over, and yet knows how it ended.
#[test]
fn the_end_of_what_was_taken_over_is_known() {
    let mut host = Host::for_test().unwrap();
    host.create("a:ends", "tick", &["--arg=--ms=50", "--arg=--count=20"]).unwrap().assert(0, "created");
    host.create("a:killed", "tick", &["--restart"]).unwrap().assert(0, "created");
    next(&mut host, Going::Dies);
    let tenders = host.tenders();
    let (killed, _) = tenders.iter().find(|(_, line)| line.contains("a:killed")).expect("it runs");
    processes::signal(*killed, Signal::SIGKILL);
    for (name, how) in [("a:ends", "exited with code 0"), ("a:killed", "was ended by signal 9")] {
        let log = host.albatrossd().unwrap().logged(&format!(" {how}")).unwrap();
        let line = log.lines().find(|line| line.contains(how)).unwrap();
        assert!(line.contains(name), "{line}");
        eventually("its removal", || (!running(&host, name)).then_some(())).unwrap();
    }
    assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
}

#[test]
fn what_was_taken_over_still_counts() {
    for going in [Going::HandsOver, Going::Dies] {
        let mut host = Host::for_test().unwrap();
        host.client(&["add-policy", "a", "2", "--mem", "20"]).unwrap().assert(0, "added");
        host.create("a:one", "tick", &["--mem", "18"]).unwrap().assert(0, "created");
        next(&mut host, going);
        host.create("a:two", "tick", &["--mem", "3"]).unwrap().assert(117, "memory");
        host.create("a:one", "tick", &[]).unwrap().assert(117, "exists");
        host.create("a:two", "tick", &[]).unwrap().assert(0, "created");
        next(&mut host, going);
        host.create("a:three", "tick", &[]).unwrap().assert(117, "2 unikernels");
        host.client(&["destroy", "a:one"]).unwrap().assert(0, "destroyed");
        host.create("a:three", "tick", &["--mem", "18"]).unwrap().assert(0, "created");
    }
}

/// Whom the file of a block device belongs to.
fn owner(host: &Host, name: &str) -> u32 {
    fs::metadata(host.dbdir().join("block").join(name)).unwrap().uid()
}

/// Nobody else gets a block device that a tender has, whoever started that.
fn assert_in_use(host: &Host, name: &str) {
    let data = host.work().join("data");
    fs::write(&data, "other content").unwrap();
    for command in
        [&["destroy-block", name][..], &["dump-block", name], &["set-block", name, data.to_str().unwrap()]]
    {
        host.client(command).unwrap().assert(117, "in use");
    }
    let (_, label) = name.rsplit_once(':').unwrap();
    let block = format!("disk:{label}");
    host.create("a:other", "disk", &["--block", &block]).unwrap().assert(117, "in use");
}

/// The guest writes and reads its device back while daemons come and go, and it is his until he ends.
#[test]
fn a_block_device_stays_with_its_guest_through_hand_overs_and_kills() {
    let mut host = Host::for_test().unwrap();
    host.client(&["create-block", "a:data", "1"]).unwrap().assert(0, "added block device");
    let options = ["--block", "disk:data@4096", "--arg=--again=5"];
    host.create("a:it", "disk", &options).unwrap().assert(0, "created unikernel");
    let (pid, user) = (only_tender(&host), owner(&host, "a:data"));
    assert_eq!(user != 0, geteuid().is_root());
    let mut follower = Follower::start(&host, "a:it");
    let mut expected = 1;
    let mut follow = || {
        for _ in 0..3 {
            assert_eq!(follower.number("verified"), expected);
            expected += 1;
        }
    };
    for going in [Going::HandsOver, Going::Dies] {
        for _ in 0..3 {
            follow();
            go(&mut host, going);
            follow();
            host.start_albatrossd(&[]).unwrap();
            assert_in_use(&host, "a:data");
            follow();
            assert_eq!((only_tender(&host), owner(&host, "a:data")), (pid, user), "{going:?}");
        }
    }
    drop(follower);
    host.client(&["restart", "a:it"]).unwrap().assert(0, "created unikernel");
    assert_in_use(&host, "a:data");
    assert_eq!(owner(&host, "a:data") != 0, geteuid().is_root());
    next(&mut host, Going::Dies);
    host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed unikernel");
    assert_eq!(owner(&host, "a:data"), geteuid().as_raw());
    host.client(&["destroy-block", "a:data"]).unwrap().assert(0, "removed block");
    assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
}

#[test]
fn block_devices_of_what_ended_without_a_daemon_are_given_back() {
    for going in [Going::HandsOver, Going::Dies] {
        let mut host = Host::for_test().unwrap();
        for (name, device, more) in [("a:quits", "one", None), ("a:restarts", "two", Some("--restart"))] {
            host.client(&["create-block", &format!("a:{device}"), "1"]).unwrap().assert(0, "added");
            let block = format!("disk:{device}");
            let options = ["--block", &block, "--arg=--again=5"];
            let options: Vec<&str> = options.into_iter().chain(more).collect();
            host.create(name, "disk", &options).unwrap().assert(0, "created unikernel");
        }
        host.client(&["create-block", "a:three", "1"]).unwrap().assert(0, "added");
        go(&mut host, going);
        // They end as they do not find what they wrote.
        eventually("both ends", || {
            for device in ["a:one", "a:two"] {
                fs::write(host.dbdir().join("block").join(device), vec![0; 1 << 20]).unwrap();
            }
            host.tenders().is_empty().then_some(())
        })
        .unwrap();
        if geteuid().is_root() {
            // As if it had been killed before it noted the tender that it gave it to; and one of somebody else.
            chown(&host.dbdir().join("block/a:three"), Some(Uid::from_raw(90_007)), None).unwrap();
            fs::write(host.dbdir().join("block/a:four"), vec![0; 1 << 20]).unwrap();
            chown(&host.dbdir().join("block/a:four"), Some(Uid::from_raw(1234)), None).unwrap();
        }
        host.start_albatrossd(&[]).unwrap();
        begun(&host);
        for device in ["a:one", "a:three"] {
            assert_eq!(owner(&host, device), geteuid().as_raw(), "{device}");
            host.client(&["destroy-block", device]).unwrap().assert(0, "removed block");
        }
        assert!(!geteuid().is_root() || owner(&host, "a:four") == 1234);
        eventually("the next start", || running(&host, "a:restarts").then_some(())).unwrap();
        assert_in_use(&host, "a:two");
        // It does not find what it wrote, so that it may have ended again.
        host.client(&["destroy", "a:restarts"]).unwrap().assert(0, "destroyed");
        assert_eq!(owner(&host, "a:two"), geteuid().as_raw());
    }
}

/// The process ids of notes may be those of others by now, whom no signal is for.
#[test]
fn a_process_that_has_the_id_of_a_tender_that_ended_is_left_alone() {
    for stage in [Stage::Starting, Stage::Running, Stage::Stopping] {
        let mut host = Host::for_test().unwrap();
        host.create("a:it", "tick", &["--restart"]).unwrap().assert(0, "created unikernel");
        let pid = only_tender(&host);
        go(&mut host, Going::Dies);
        processes::signal(pid, Signal::SIGKILL);
        eventually("its end", || host.tenders().is_empty().then_some(())).unwrap();
        let notes = host.tmpdir().join("running");
        let mut note = Running::decode(&fs::read(notes.join("a:it")).unwrap()).unwrap();
        let mut stranger = started_after(note.process.started.get());
        note.process.pid = Int::from(stranger.id());
        note.tender.stage = stage;
        fs::write(notes.join("a:it"), note.encode().unwrap()).unwrap();
        // One that is on no record would be killed.
        note.tender.name = "a:stray".parse().unwrap();
        fs::write(notes.join("a:stray"), note.encode().unwrap()).unwrap();
        host.start_albatrossd(&[]).unwrap();
        eventually("the next start", || (host.tenders().len() == 1).then_some(())).unwrap();
        assert!(running(&host, "a:it"));
        host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed unikernel");
        assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
        assert!(stranger.try_wait().unwrap().is_none(), "{stage:?}");
        assert_eq!(host.left_behind(), Vec::<String>::new());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

/// A process that was not started in this clock tick.
fn started_after(tick: i64) -> Child {
    eventually("another clock tick", || {
        let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
        if started(stranger.id()) != tick {
            return Some(stranger);
        }
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        None
    })
    .unwrap()
}

/// When a process was started, as the kernel tells it.
fn started(pid: u32) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // proc(5) counts from 1; the first here is the third.
    fields.split_whitespace().nth(22 - 3).unwrap().parse().unwrap()
}

/// An upgrade: the program is replaced by another file, under which the next daemon starts.
#[test]
fn a_new_program_in_its_place_takes_over() {
    let programs = Programs::for_tests().unwrap();
    let mut host = Host::new(programs).unwrap();
    let place = host.work().join("albatrossd");
    fs::copy(programs.path("albatrossd"), &place).unwrap();
    // The tender of its own is looked for beside it.
    fs::copy(programs.path("albatross-spt"), host.work().join("albatross-spt")).unwrap();
    host.start_console(&[]).unwrap();
    host.start_albatrossd_at(&place, &[]).unwrap();
    host.create("a:tick", "tick", &["--arg=--ms=5"]).unwrap().assert(0, "created");
    let pid = only_tender(&host);
    for _ in 0..2 {
        // As a package manager does it: the old program goes on under its old inode.
        let new = host.work().join("albatrossd.new");
        fs::copy(programs.path("albatrossd"), &new).unwrap();
        fs::rename(&new, &place).unwrap();
        let old = host.albatrossd().unwrap().pid();
        let runs = fs::read_link(format!("/proc/{old}/exe")).unwrap();
        assert!(runs.to_string_lossy().ends_with("albatrossd (deleted)"), "{runs:?}");
        go(&mut host, Going::HandsOver);
        host.start_albatrossd_at(&place, &[]).unwrap();
        assert_eq!(only_tender(&host), pid);
    }
    host.client(&["restart", "a:tick"]).unwrap().assert(0, "created");
    assert_ne!(only_tender(&host), pid);
}

/// A daemon that hands over and still waits for something is not gone.
#[test]
fn the_next_daemon_starts_when_the_one_before_is_gone() {
    let mut host = Host::for_test().unwrap();
    host.create("a:hangs", "tick", &[]).unwrap().assert(0, "created");
    let pid = only_tender(&host);
    // While it is stopped SIGTERM does nothing, so that it is killed after a while.
    processes::signal(pid, Signal::SIGSTOP);
    eventually("that it is stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") T ").then_some(())
    })
    .unwrap();
    let destroy = host.client_command(&["destroy", "a:hangs"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("a pending SIGTERM", || has_pending(pid, Signal::SIGTERM).then_some(())).unwrap();
    let daemon = host.take_albatrossd().unwrap();
    processes::signal(daemon.pid(), Signal::SIGUSR1);
    eventually("no socket", || (!host.socket("vmmd").exists()).then_some(())).unwrap();
    let mut next = Command::new(host.programs().path("albatrossd"));
    next.arg("--tmpdir").arg(host.tmpdir()).arg("--dbdir").arg(host.dbdir());
    run(&mut next).unwrap().assert(1, "vmmd.sock is still there");
    assert!(daemon.hand_over().unwrap().success());
    let output = destroy.wait_with_output().unwrap();
    assert!(output.status.success(), "what it waited for was done and answered: {output:?}");
    host.start_albatrossd(&[]).unwrap();
    assert_eq!((running(&host, "a:hangs"), host.tenders()), (false, Vec::new()));
}

/// Whether a signal waits to be delivered to a process.
fn has_pending(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal as u32 - 1)) != 0)
}

/// What belongs to nobody goes, and what is not of the daemon's making stays.
#[test]
fn stale_files_are_removed_and_those_of_others_are_not() {
    let mut host = Host::for_test().unwrap();
    host.create("a:tick", "tick", &[]).unwrap().assert(0, "created");
    go(&mut host, Going::Dies);
    let run = host.tmpdir();
    let mode = Mode::from_bits_truncate(0o600);
    fs::write(run.join("b:gone.img"), "image").unwrap();
    symlink("nowhere", run.join(":gone.img")).unwrap();
    mkfifo(&run.join("fifo/b:gone"), mode).unwrap();
    fs::write(run.join("running/.new"), "half a note").unwrap();
    // No name, another spelling of one, and other kinds of files.
    fs::write(run.join("notes.txt"), "").unwrap();
    fs::write(run.join("gone.img"), "").unwrap();
    fs::write(run.join("a:.img"), "").unwrap();
    fs::create_dir(run.join("b:directory.img")).unwrap();
    fs::write(run.join("fifo/b:file"), "").unwrap();
    mkfifo(&run.join("fifo/gone"), mode).unwrap();
    host.start_albatrossd(&[]).unwrap();
    begun(&host);
    let others = ["a:.img", "b:directory.img", "gone.img", "notes.txt", "fifo/b:file", "fifo/gone"];
    let own = ["a:tick.img", "fifo/a:tick", "running/a:tick"];
    let sorted = |names: Vec<String>| {
        let mut names = names;
        names.sort();
        names
    };
    let expected = [&others[..], &own].concat().into_iter().map(str::to_owned).collect();
    assert_eq!(sorted(host.left_behind()), sorted(expected));
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed");
    assert_eq!(sorted(host.left_behind()), sorted(others.map(str::to_owned).to_vec()));
}

#[test]
fn a_note_that_cannot_be_read_is_named_and_nothing_is_touched() {
    let mut host = Host::for_test().unwrap();
    host.create("a:tick", "tick", &[]).unwrap().assert(0, "created");
    let tender = host.tenders();
    go(&mut host, Going::Dies);
    let note = host.tmpdir().join("running/a:tick");
    let before = fs::read(&note).unwrap();
    let start = |host: &Host| {
        let mut command = Command::new(host.programs().path("albatrossd"));
        command.arg("--tmpdir").arg(host.tmpdir()).arg("--dbdir").arg(host.dbdir());
        run(&mut command).unwrap()
    };
    fs::write(&note, &before[..before.len() - 1]).unwrap();
    start(&host).assert(1, "running/a:tick");
    // A note under the name of another unikernel.
    fs::write(&note, &before).unwrap();
    fs::rename(&note, note.with_file_name("a:other")).unwrap();
    start(&host).assert(1, "it is about a:tick");
    assert_eq!(host.tenders(), tender);
    fs::rename(note.with_file_name("a:other"), &note).unwrap();
    host.start_albatrossd(&[]).unwrap();
    assert_eq!(host.tenders(), tender);
}

/// Notes of before say nothing, whatever they are: all on record is started, also what would not be after an exit.
#[test]
fn after_the_machine_was_started_again_all_on_record_is_started() {
    let mut host = Host::for_test().unwrap();
    host.create("a:tick", "tick", &[]).unwrap().assert(0, "created");
    let before = only_tender(&host);
    go(&mut host, Going::Dies);
    processes::signal(before, Signal::SIGKILL);
    eventually("its end", || host.tenders().is_empty().then_some(())).unwrap();
    let notes = host.tmpdir().join("running");
    fs::write(notes.join(".boot"), "another").unwrap();
    fs::write(notes.join("a:half"), "a note that a power cut has spoilt").unwrap();
    host.start_albatrossd(&[]).unwrap();
    eventually("it", || (host.tenders().len() == 1).then_some(())).unwrap();
    assert_ne!(only_tender(&host), before);
    assert_eq!(host.left_behind(), ["a:tick.img", "fifo/a:tick", "running/a:tick"]);
}

/// Taps belong to who made them, whatever they are called.
#[test]
fn taps_stay_with_their_guests_and_stale_ones_go() {
    in_new_network(|| {
        let mut host = Host::for_test().unwrap();
        let other = Host::for_test().unwrap();
        ip("tuntap add dev vmmtap7 mode tap");
        let create = |host: &Host, name: &str, options: &[&str]| {
            let options = [&["--net", "service"], options].concat();
            host.create(name, "pong", &options).unwrap().assert(0, "created");
        };
        create(&host, "a:pong", &["--arg=--ipv4=10.9.0.2"]);
        create(&host, "a:dies", &[]);
        create(&other, "a:pong", &[]);
        assert_eq!(taps(), ["vmmtap7", "vmmtap0", "vmmtap1", "vmmtap2"]);
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let pong = || {
            eventually("an answer of the guest", || {
                socket.send_to(b"ping", "10.9.0.2:7").unwrap();
                let mut answer = [0; 8];
                (socket.recv(&mut answer).ok()? == 4 && answer.starts_with(b"ping")).then_some(())
            })
            .unwrap();
        };
        pong();
        let tenders = host.tenders();
        for going in [Going::Dies, Going::HandsOver] {
            next(&mut host, going);
            pong();
            assert_eq!((host.tenders(), taps().len()), (tenders.clone(), 4));
        }
        go(&mut host, Going::Dies);
        let (dies, _) = tenders.iter().find(|(_, line)| line.contains("a:dies")).unwrap();
        processes::signal(*dies, Signal::SIGKILL);
        eventually("its end", || (host.tenders().len() == 1).then_some(())).unwrap();
        // As if it had been killed between making a tap and starting the tender; and one of a daemon of
        // another directory, whose path begins with that of this one.
        ip("tuntap add dev stale mode tap");
        ip("tuntap add dev vmmtap8 mode tap");
        let mark = format!("albatrossd {}", host.tmpdir().display());
        for (tap, alias) in [("stale", mark.clone()), ("vmmtap8", format!("{mark}2"))] {
            fs::write(format!("/sys/class/net/{tap}/ifalias"), alias).unwrap();
        }
        host.start_albatrossd(&[]).unwrap();
        begun(&host);
        pong();
        assert!(!ip("-o link").contains("stale"));
        assert_eq!(taps(), ["vmmtap7", "vmmtap0", "vmmtap2", "vmmtap8"]);
        host.client(&["destroy", "a:pong"]).unwrap().assert(0, "destroyed");
        assert_eq!(taps(), ["vmmtap7", "vmmtap2", "vmmtap8"]);
        assert_eq!(host.left_behind(), Vec::<String>::new());
        assert_eq!(other.tenders().len(), 1);
    });
}

/// Killed at the system calls of a restart, one after the other, the daemon loses nothing: the next one has the
/// unikernel, with one tender. Needs root and strace; without them the test says so and passes.
#[test]
fn a_daemon_that_is_killed_during_a_restart_loses_nothing() {
    let is_there = Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !geteuid().is_root() || !is_there {
        println!("skipped: needs root and strace");
        return;
    }
    let mut host = Host::for_test().unwrap();
    host.create("a:it", "tick", &["--arg=--ms=50"]).unwrap().assert(0, "created");
    let mut killed = 0;
    let calls = [
        ("rename", 3),
        ("renameat2", 3),
        ("sendto", 3),
        ("epoll_ctl", 3),
        ("pidfd_open", 1),
        ("unlink", 3),
        ("fdatasync", 1),
    ];
    for (call, count) in calls {
        for number in 1..=count {
            let daemon = host.albatrossd().unwrap().pid();
            let mut strace = Command::new("strace");
            strace.args(["-q", "-p", &daemon.to_string(), "-o", "/dev/null", "-e", &format!("trace={call}")]);
            strace.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
            let mut strace = strace.stderr(Stdio::null()).spawn().unwrap();
            eventually("strace", || (processes::status(daemon, "TracerPid")? != 0).then_some(())).unwrap();
            let restarted = host.client(&["restart", "a:it"]).unwrap();
            killed += u32::from(restarted.code != Some(0));
            go(&mut host, Going::Dies);
            _ = strace.wait();
            host.start_albatrossd(&[]).unwrap();
            begun(&host);
            let back = eventually("one tender, of the unikernel on record", || {
                (host.tenders().len() == 1 && running(&host, "a:it")).then_some(())
            });
            back.unwrap_or_else(|failure| panic!("{call} {number}: {failure}"));
            let expected = ["a:it.img", "fifo/a:it", "running/a:it"];
            assert_eq!(host.left_behind(), expected, "{call} {number}");
        }
    }
    assert!(killed > 5, "only {killed} restarts were cut off");
    host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed");
    assert_eq!((host.tenders(), host.left_behind()), (Vec::new(), Vec::new()));
}
