//! albatrossd killed before each system call that changes something, while it carries out a command: what it
//! has acknowledged is there afterwards, what it has not is there wholly or not at all, and nothing is left
//! that belongs to nobody. Strace gives the kill, so it has to be there, and has to be allowed to trace.
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
    // It lets go of what it traces.
    processes::signal(i32::try_from(tracer.id()).unwrap(), Signal::SIGINT);
    tracer.wait().unwrap();
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

/// Carries out `command` again and again, with a kill before each of its system calls. `prepare` makes the
/// host as it is before; `check` is told whether the command was acknowledged, with the next albatrossd there.
fn at_every_call(prepare: impl Fn(&Host), command: impl Fn(&Host) -> Finished, check: impl Fn(&Host, bool)) {
    if !can_trace() {
        return;
    }
    let mut host = Host::for_test().unwrap();
    prepare(&host);
    let calls = calls(&mut host, &command);
    println!("{calls:?}");
    assert!(calls.values().sum::<usize>() > 3, "hardly anything was traced");
    let mut killed = 0;
    for (name, number) in calls.iter().flat_map(|(name, count)| (1..=*count).map(move |it| (name, it))) {
        prepare(&host);
        let inject = format!("inject={name}:signal=KILL:when={number}");
        let tracer = trace(&mut host, &["-o", "/dev/null", "-e", &inject]);
        let acknowledged = command(&host).code == Some(0);
        // A process that it started may have been the one that was killed, or none.
        let killed_it = !host.albatrossd().unwrap().runs();
        end(tracer);
        host.take_albatrossd().unwrap().kill();
        host.start_albatrossd(&[]).unwrap();
        println!("{name} {number}: killed: {killed_it}, acknowledged: {acknowledged}");
        if killed_it {
            killed += 1;
            check(&host, acknowledged);
        }
        settled(&host);
    }
    assert!(killed > 3, "hardly anything was cut short: {killed}");
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

#[test]
fn a_create_is_there_or_not_at_all() {
    at_every_call(remove, create, |host, acknowledged| {
        let names = on_record(host);
        assert!(names == ["a:it"] || names.is_empty() && !acknowledged, "{acknowledged}: {names:?}");
    });
}

#[test]
fn what_was_destroyed_stays_so() {
    let prepare = |host: &Host| {
        if on_record(host).is_empty() {
            create(host).assert(0, "created unikernel");
        }
    };
    at_every_call(
        prepare,
        |host| host.client(&["destroy", "a:it"]).unwrap(),
        |host, acknowledged| {
            let names = on_record(host);
            assert!(names.is_empty() || names == ["a:it"] && !acknowledged, "{acknowledged}: {names:?}");
        },
    );
}

#[test]
fn a_policy_is_there_or_not_at_all() {
    let prepare = |host: &Host| {
        if policies(host).iter().any(|path| path.trim_end_matches(':') == "p") {
            host.client(&["remove-policy", "--path", "p"]).unwrap().assert(0, "removed policy");
        }
    };
    let add = |host: &Host| host.client(&["add-policy", "p", "3", "--mem", "64", "--cpu", "0"]).unwrap();
    at_every_call(prepare, add, |host, acknowledged| {
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

#[test]
fn a_block_device_has_its_old_or_its_new_content() {
    const SIZE: usize = 1024 * 1024;
    let file = |host: &Host, octet: u8| {
        let path = host.work().join(format!("of-{octet}"));
        std::fs::write(&path, vec![octet; SIZE]).unwrap();
        path.to_string_lossy().into_owned()
    };
    let prepare = |host: &Host| {
        // Whether it is there already is of no matter.
        host.client(&["create-block", "a:disk", "1"]).unwrap();
        host.client(&["set-block", "a:disk", &file(host, 1)]).unwrap().assert(0, "set block device");
    };
    let set = |host: &Host| host.client(&["set-block", "a:disk", &file(host, 2)]).unwrap();
    at_every_call(prepare, set, |host, acknowledged| {
        let content = content(host);
        let octet = content[0];
        assert!(content.len() == SIZE && content.iter().all(|other| *other == octet), "some of both");
        assert!(octet == 2 || octet == 1 && !acknowledged, "acknowledged and {octet}");
        assert_eq!(processes::names_in(&host.dbdir().join("block")), ["a:disk"], "what is not whole is left");
    });
}
