//! albatrossd killed before each system call that changes something, or that call failing, while it carries out
//! a command: what it has acknowledged is there afterwards, what it has not is there wholly or not at all, and
//! nothing is left that belongs to nobody. Strace makes the fault, so it has to be there, and has to be allowed
//! to trace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use albatross_e2e::run::{kill, wait};
use albatross_e2e::{Finished, Host, eventually, processes};
use nix::sys::signal::Signal;
use serde_json::Value;

/// System calls that change something outside of the process, or tell somebody that something was changed.
const CALLS: &str = "write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,sync_file_range,ftruncate,fallocate,\
    openat,mkdir,mknod,mknodat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,chmod,fchmod,fchmodat,\
    chown,fchown,fchownat,ioctl,clone,clone3,fork,vfork,kill,pidfd_send_signal,copy_file_range,sendfile";

/// Whether strace is there and may trace.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: strace is not there or may not trace");
    }
    can
}

/// A strace, and what it says, which somebody has to take.
struct Tracer(Child, BufReader<ChildStderr>);

/// Strace with these options on albatrossd, from now on.
fn trace(host: &mut Host, options: &[&str]) -> Tracer {
    let pid = host.albatrossd().unwrap().pid().to_string();
    let mut tracer = Command::new("strace")
        .arg("-f")
        .args(options)
        .args(["-p", &pid])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(tracer.stderr.take().unwrap());
    let attached = said.by_ref().lines().map_while(Result::ok).any(|line| line.contains("attached"));
    assert!(attached, "strace does not attach");
    Tracer(tracer, said)
}

fn end(Tracer(mut tracer, said): Tracer) {
    // It lets go of what it traces. Where two threads of that were killed at once it may wait for ever; then the
    // system lets go for it.
    processes::signal(i32::try_from(tracer.id()).unwrap(), Signal::SIGINT);
    if wait(&mut tracer, Duration::from_secs(5)).is_none() {
        kill(&mut tracer);
    }
    drop(said);
}

/// How often each of [`CALLS`] is made by the process that makes it most often, while `command` runs.
fn calls(host: &mut Host, command: &impl Fn(&Host) -> Finished) -> BTreeMap<String, usize> {
    let log = host.work().join("calls");
    let tracer = trace(host, &["-o", log.to_str().unwrap(), "-e", &format!("trace={CALLS}")]);
    assert_eq!(command(host).code, Some(0));
    end(tracer);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *counts.entry((name.to_owned(), process.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in counts {
        let entry = most.entry(name).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}

/// What is on record, running or not.
fn on_record(host: &Host) -> Vec<String> {
    let finished = host.client(&["--json", "info"]).unwrap().assert(0, "");
    let entries = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

fn policies(host: &Host) -> Vec<String> {
    let finished = host.client(&["--json", "policy"]).unwrap().assert(0, "");
    let entries = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries
        .map(|entry| entry["path"].as_str().or_else(|| entry["name"].as_str()).unwrap().to_owned())
        .collect()
}

/// What happens to albatrossd when it enters a system call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is killed.
    Kill,
    /// The call fails, and albatrossd goes on.
    Error(&'static str),
}

impl Fault {
    fn inject(self, name: &str, number: usize) -> String {
        let what = match self {
            Self::Kill => "signal=KILL".to_owned(),
            Self::Error(errno) => format!("error={errno}"),
        };
        format!("inject={name}:{what}:when={number}")
    }
}

/// Carries out `command` again and again, with a fault at each of its system calls. `prepare` makes the host
/// as it is before; `check` is told whether the command was acknowledged, with the next albatrossd there.
fn at_every_call(
    fault: Fault,
    prepare: impl Fn(&Host),
    command: impl Fn(&Host) -> Finished,
    check: impl Fn(&Host, bool),
) {
    if !can_trace() {
        return;
    }
    let mut host = Host::for_test().unwrap();
    prepare(&host);
    let mut calls = calls(&mut host, &command);
    if fault != Fault::Kill {
        // Threads wake each other by writing a number to themselves, which cannot fail; strace cannot tell
        // that from a file.
        calls.remove("write");
    }
    println!("{calls:?}");
    assert!(calls.values().sum::<usize>() > 3, "hardly anything was traced");
    let mut cut_short = 0;
    for (name, number) in calls.iter().flat_map(|(name, count)| (1..=*count).map(move |it| (name, it))) {
        prepare(&host);
        let tracer = trace(&mut host, &["-o", "/dev/null", "-e", &fault.inject(name, number)]);
        let finished = command(&host);
        let acknowledged = finished.code == Some(0);
        // A process that it started may have been the one that was killed, or none.
        let survives = host.albatrossd().unwrap().runs();
        end(tracer);
        if let Fault::Error(_) = fault {
            assert!(survives, "{name} {number}: albatrossd ended:\n{}", host.log("albatrossd"));
            host.client(&["info"]).unwrap().assert(0, "");
        }
        host.take_albatrossd().unwrap().kill();
        host.start_albatrossd(&[]).unwrap();
        println!("{name} {number}: survives: {survives}, acknowledged: {acknowledged}");
        cut_short += usize::from(!acknowledged);
        if fault != Fault::Kill || !survives {
            check(&host, acknowledged);
        }
        settled(&host);
    }
    assert!(cut_short > 1, "hardly anything was cut short: {cut_short}");
}

/// Every tender, image, fifo and stored image belongs to what is on record, and to nothing else.
fn settled(host: &Host) {
    eventually("one tender for each on record, and nothing of others", || {
        let names = on_record(host);
        let tenders = host.tenders();
        let mut left = host.left_behind();
        left.retain(|file| {
            file != "running"
                && !names.iter().any(|name| file.ends_with(name) || *file == format!("{name}.img"))
        });
        let images = processes::names_in(&host.dbdir().join("images"));
        let few = images.len() <= names.len().min(1);
        (tenders.len() == names.len() && left.is_empty() && few).then_some(())
    })
    .unwrap_or_else(|late| {
        panic!("{late}: {:?}, {:?}, {:?}", on_record(host), host.tenders(), host.left_behind())
    });
}

fn create(host: &Host) -> Finished {
    host.create("a:it", "tick", &["--arg=--ms=50"]).unwrap()
}

fn remove(host: &Host) {
    for name in on_record(host) {
        host.client(&["destroy", &name]).unwrap().assert(0, "destroyed");
    }
}

fn created(host: &Host, acknowledged: bool) {
    let names = on_record(host);
    assert!(names == ["a:it"] || names.is_empty() && !acknowledged, "{acknowledged}: {names:?}");
}

#[test]
fn a_create_whose_system_calls_fail_is_there_or_not_at_all() {
    at_every_call(Fault::Error("EIO"), remove, create, created);
}

#[test]
fn a_create_is_there_or_not_at_all() {
    at_every_call(Fault::Kill, remove, create, created);
}

/// There is one to be destroyed.
fn make_one(host: &Host) {
    if on_record(host).is_empty() {
        create(host).assert(0, "created unikernel");
    }
}

fn destroy(host: &Host) -> Finished {
    host.client(&["destroy", "a:it"]).unwrap()
}

fn destroyed(host: &Host, acknowledged: bool) {
    let names = on_record(host);
    assert!(names.is_empty() || names == ["a:it"] && !acknowledged, "{acknowledged}: {names:?}");
}

#[test]
fn what_was_destroyed_stays_so() {
    at_every_call(Fault::Kill, make_one, destroy, destroyed);
}

#[test]
fn what_was_destroyed_while_system_calls_fail_stays_so() {
    at_every_call(Fault::Error("EIO"), make_one, destroy, destroyed);
}

#[test]
fn a_policy_is_there_or_not_at_all() {
    let prepare = |host: &Host| {
        if policies(host).iter().any(|path| path.trim_end_matches(':') == "p") {
            host.client(&["remove-policy", "--path", "p"]).unwrap().assert(0, "removed policy");
        }
    };
    let add = |host: &Host| host.client(&["add-policy", "p", "3", "--mem", "64", "--cpu", "0"]).unwrap();
    at_every_call(Fault::Kill, prepare, add, |host, acknowledged| {
        let there = policies(host).iter().any(|path| path.trim_end_matches(':') == "p");
        assert!(there || !acknowledged, "acknowledged and not there");
    });
}

/// The whole content of the block device of these tests.
fn content(host: &Host) -> Vec<u8> {
    host.client(&["dump-block", "a:disk"]).unwrap().assert(0, "");
    let files = processes::names_in(&host.work());
    let file = host.work().join(files.iter().find(|name| name.starts_with("a:disk.")).expect("the dump"));
    let content = std::fs::read(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    content
}

const SIZE: usize = 1024 * 1024;

/// A file for the block device, all of one octet.
fn file_of(host: &Host, octet: u8) -> String {
    let path = host.work().join(format!("of-{octet}"));
    std::fs::write(&path, vec![octet; SIZE]).unwrap();
    path.to_string_lossy().into_owned()
}

fn make_disk(host: &Host) {
    // Whether it is there already is of no matter.
    host.client(&["create-block", "a:disk", "1"]).unwrap();
    host.client(&["set-block", "a:disk", &file_of(host, 1)]).unwrap().assert(0, "set block device");
}

fn set_disk(host: &Host) -> Finished {
    host.client(&["set-block", "a:disk", &file_of(host, 2)]).unwrap()
}

fn disk_is_whole(host: &Host, acknowledged: bool) {
    let content = content(host);
    let octet = content[0];
    assert!(content.len() == SIZE && content.iter().all(|other| *other == octet), "some of both");
    assert!(octet == 2 || octet == 1 && !acknowledged, "acknowledged and {octet}");
    assert_eq!(processes::names_in(&host.dbdir().join("block")), ["a:disk"], "what is not whole is left");
}

#[test]
fn a_block_device_has_its_old_or_its_new_content() {
    at_every_call(Fault::Kill, make_disk, set_disk, disk_is_whole);
}

#[test]
fn a_block_device_keeps_its_content_when_the_disk_fails() {
    at_every_call(Fault::Error("EIO"), make_disk, set_disk, disk_is_whole);
}

/// The client is told which file it was, and is served again when the disk works again.
#[test]
fn a_block_device_that_cannot_be_read_or_written_is_named() {
    if !can_trace() {
        return;
    }
    let mut host = Host::for_test().unwrap();
    make_disk(&host);
    let dump = |host: &Host| host.client(&["dump-block", "a:disk"]).unwrap();
    let faults = [("pwrite64", 1), ("pwrite64", 3), ("fsync", 1), ("pread64", 1), ("pread64", 3)];
    for (call, number) in faults {
        let fault = Fault::Error("EIO").inject(call, number);
        let tracer = trace(&mut host, &["-o", "/dev/null", "-e", &fault]);
        let finished = if call == "pread64" { dump(&host) } else { set_disk(&host) };
        end(tracer);
        let finished = finished.assert(117, "Input/output error");
        assert!(finished.text().contains("db/block/a:disk: "), "{call} {number}: {}", finished.text());
        let left = processes::names_in(&host.work());
        assert!(!left.iter().any(|name| name.starts_with("a:disk.")), "no dump of half of it: {left:?}");
        assert_eq!(processes::names_in(&host.dbdir().join("block")), ["a:disk"], "{call} {number}");
        let content = content(&host);
        assert!(content.len() == SIZE && content.iter().all(|octet| *octet == 1), "{call} {number}");
    }
    set_disk(&host).assert(0, "set block device");
    assert!(content(&host).iter().all(|octet| *octet == 2));
}

/// What is acknowledged survives a power cut: nothing is left to be synced when the reply is written.
#[test]
fn what_is_acknowledged_is_on_the_disk() {
    if !can_trace() {
        return;
    }
    let mut host = Host::for_test().unwrap();
    let content = file_of(&host, 2);
    let commands: [(&str, &[&str]); 7] = [
        ("created unikernel", &[]),
        ("created unikernel", &["restart", "a:it", "--replace-arguments", "--mem", "3"]),
        ("destroyed unikernel", &["destroy", "a:it"]),
        ("added policy", &["add-policy", "p", "3", "--mem", "64"]),
        ("removed policy", &["remove-policy", "--path", "p"]),
        ("added block device", &["create-block", "a:disk", "1"]),
        ("set block device", &["set-block", "a:disk", &content]),
    ];
    for (reply, command) in commands {
        let log = host.work().join("order");
        let calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg";
        let tracer = trace(&mut host, &["-o", log.to_str().unwrap(), "-s", "400", "-e", calls]);
        let finished = if command.is_empty() { create(&host) } else { host.client(command).unwrap() };
        end(tracer);
        finished.assert(0, reply);
        let log = std::fs::read_to_string(log).unwrap();
        let synced =
            |line: &str| (line.contains("fsync") || line.contains("fdatasync")) && line.ends_with("= 0");
        // The log of the daemon says so, too, on its standard output.
        let replied = |line: &str| line.contains(reply) && !line.contains("write(1,");
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.iter().rposition(|line| synced(line));
        let last = last.unwrap_or_else(|| panic!("{reply}: nothing is synced:\n{log}"));
        let answer = lines.iter().position(|line| replied(line));
        let answer = answer.unwrap_or_else(|| panic!("{reply}: no reply:\n{log}"));
        assert!(last < answer, "{reply} is told before all is on the disk:\n{log}");
    }
}

#[test]
fn a_policy_whose_system_calls_fail_is_there_or_not_at_all() {
    let has = |host: &Host| policies(host).iter().any(|path| path.trim_end_matches(':') == "p");
    let remove = move |host: &Host| {
        if has(host) {
            host.client(&["remove-policy", "--path", "p"]).unwrap().assert(0, "removed policy");
        }
    };
    let add = |host: &Host| host.client(&["add-policy", "p", "3", "--mem", "64", "--cpu", "0"]).unwrap();
    at_every_call(Fault::Error("EIO"), remove, add, move |host, acknowledged| {
        assert!(has(host) || !acknowledged, "acknowledged and not there");
    });
}
