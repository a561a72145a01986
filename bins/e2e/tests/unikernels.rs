//! Unikernels of one host, from `create` to their end, asked for over the local socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use albatross_e2e::{Finished, Host, eventually, processes};
use serde_json::Value;

/// What `info` shows, in the order shown.
fn info(host: &Host, arguments: &[&str]) -> Vec<Value> {
    let finished = host.client(&[&["--json", "info"], arguments].concat()).unwrap().assert(0, "");
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(host: &Host, arguments: &[&str]) -> Vec<String> {
    info(host, arguments).iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

fn gone(host: &Host, name: &str) {
    let what = format!("the end of {name}");
    eventually(&what, || names(host, &["-n", name]).is_empty().then_some(())).unwrap();
}

fn tick(host: &Host, name: &str, options: &[&str]) -> Finished {
    host.create(name, "tick", &[&["--arg=--ms=5"], options].concat()).unwrap()
}

#[test]
fn a_guest_runs_and_its_lines_are_on_the_console() {
    let host = Host::for_test().unwrap();
    let created = host.create("foo:bar:hello", "hello", &["--arg=one", "--arg", "two words"]).unwrap();
    created.assert(0, "host [unikernel: foo:bar:hello]: created unikernel");
    host.console_ends_with("foo:bar:hello", &["Hello from spt", "--name=hello", "one", "two", "words"])
        .unwrap();
    gone(&host, "foo:bar:hello");
    eventually("no files", || host.left_behind().is_empty().then_some(())).unwrap();
    assert_eq!(host.tenders(), []);
}

/// Solo5 0.6 and 0.7 made images of version 1 of the tender's interface, which ours runs, and no image can be of version 3.
#[test]
fn our_tender_runs_images_of_version_1_too() {
    let host = Host::for_test().unwrap();
    let good = std::fs::read(host.programs().guest("hello")).unwrap();
    let note = b"ABI1Solo5\0\0\0\x02\0\0\0\x02\0\0\0";
    let at = good.windows(note.len()).position(|octets| octets == note).unwrap();
    for version in [1, 3] {
        let mut image = good.clone();
        image[at + note.len() - 4] = version;
        std::fs::write(host.work().join(format!("v{version}.spt")), image).unwrap();
    }
    let create = |version: u8| {
        let image = host.work().join(format!("v{version}.spt"));
        host.create(&format!("a:v{version}"), image.to_str().unwrap(), &[]).unwrap()
    };
    create(1).assert(0, "created unikernel");
    host.console_ends_with("a:v1", &["Hello from spt", "--name=v1"]).unwrap();
    let refused = create(3);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stdout.contains("no tender for spt images of ABI version 3"), "{refused:?}");
    gone(&host, "a:v1");
}

#[test]
fn the_name_is_given_as_asked() {
    let host = Host::for_test().unwrap();
    host.create("a:hello", "hello", &["--no-add-name"]).unwrap().assert(0, "created");
    host.console_ends_with("a:hello", &["Hello from spt"]).unwrap();
    drop(host);
    let mut host = Host::new(albatross_e2e::Programs::for_tests().unwrap()).unwrap();
    host.start_console(&[]).unwrap();
    host.start_albatrossd(&["--no-drop-path"]).unwrap();
    host.create("a:hello", "hello", &[]).unwrap().assert(0, "created");
    host.console_ends_with("a:hello", &["Hello from spt", "--name=a:hello"]).unwrap();
}

#[test]
fn info_shows_a_unikernel_a_path_and_all() {
    let host = Host::for_test().unwrap();
    for name in [":one", "a:two", "a:b:three"] {
        tick(&host, name, &["--startup", "7"]).assert(0, "created unikernel");
    }
    let mut all = names(&host, &[]);
    all.sort();
    assert_eq!(all, [":one", "a:b:three", "a:two"]);
    // Below a path names are relative to it; with a label it is that one, under its full name.
    let mut below = names(&host, &["-n", "a:"]);
    below.sort();
    assert_eq!(below, [":two", "b:three"]);
    assert_eq!(names(&host, &["-n", "a:two"]), ["a:two"]);
    assert_eq!(names(&host, &["-n", "a:three"]), Vec::<String>::new());
    let entry = &info(&host, &["-n", "a:two"])[0];
    assert_eq!((&entry["memory"], &entry["startup"], &entry["cpus"]), (&2.into(), &7.into(), &1.into()));
    assert_eq!(entry["restart"], Value::Null);
    assert_eq!(host.tenders().len(), 3);
}

#[test]
fn get_returns_the_image_byte_for_byte() {
    let host = Host::for_test().unwrap();
    tick(&host, "a:tick", &["--compression-level", "6"]).assert(0, "created unikernel");
    let image = std::fs::read(host.programs().guest("tick")).unwrap();
    for level in ["0", "9"] {
        host.client(&["get", "a:tick", "--compression-level", level]).unwrap().assert(0, "");
        let files = processes::names_in(&host.work());
        let file = host.work().join(files.iter().find(|name| name.starts_with("a:tick.")).expect("a file"));
        assert_eq!(std::fs::read(&file).unwrap(), image, "level {level}");
        std::fs::remove_file(file).unwrap();
    }
    host.client(&["get", "a:other"]).unwrap().assert(117, "command failed");
}

#[test]
fn destroy_ends_a_running_unikernel_at_once() {
    let host = Host::for_test().unwrap();
    tick(&host, "a:tick", &[]).assert(0, "created unikernel");
    let [(pid, _)] = host.tenders()[..] else { panic!("one tender: {:?}", host.tenders()) };
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed unikernel");
    let log = host.log("albatrossd");
    assert!(log.contains("was ended by signal 15") && !log.contains("is killed"), "{log}");
    assert_eq!(processes::command_line(pid), "");
    assert_eq!(host.left_behind(), Vec::<String>::new());
    assert_eq!(names(&host, &[]), Vec::<String>::new());
    host.client(&["destroy", "a:tick"]).unwrap().assert(117, "command failed");
}

#[test]
fn a_name_is_used_once_unless_forced() {
    let host = Host::for_test().unwrap();
    tick(&host, "a:it", &[]).assert(0, "created unikernel");
    let before = host.tenders();
    tick(&host, "a:it", &[]).assert(117, "unikernel a:it exists");
    assert_eq!(host.tenders(), before);
    host.create("a:it", "tick", &["--force", "--arg=--ms=7"]).unwrap().assert(0, "created unikernel");
    let after = host.tenders();
    assert_eq!(after.len(), 1);
    assert_ne!(after[0].0, before[0].0);
    assert!(after[0].1.contains("--ms=7"), "{after:?}");
}

#[test]
fn a_force_create_that_does_not_fit_leaves_the_old_one_running() {
    let host = Host::for_test().unwrap();
    host.client(&["add-policy", "a", "1", "--mem", "20"]).unwrap().assert(0, "added policy");
    tick(&host, "a:it", &[]).assert(0, "created unikernel");
    let before = host.tenders();
    host.create("a:it", "tick", &["--force", "--mem", "21"]).unwrap().assert(117, "command failed");
    assert_eq!(host.tenders(), before);
    // What it holds itself counts as free.
    host.create("a:it", "tick", &["--force", "--mem", "20", "--arg=--ms=5"])
        .unwrap()
        .assert(0, "created unikernel");
}

#[test]
fn restart_keeps_the_image_and_replaces_arguments_when_asked_to() {
    let host = Host::for_test().unwrap();
    tick(&host, "a:it", &[]).assert(0, "created unikernel");
    let first = host.tenders();
    host.client(&["restart", "a:it"]).unwrap().assert(0, "created unikernel");
    let second = host.tenders();
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].0, second[0].0);
    assert_eq!(first[0].1, second[0].1);
    let digest = info(&host, &["-n", "a:it"])[0]["digest"].clone();
    let restart = ["restart", "a:it", "--replace-arguments", "--mem", "3", "--arg=--ms=9"];
    host.client(&restart).unwrap().assert(0, "created unikernel");
    let third = host.tenders();
    assert!(third[0].1.contains("--mem=3") && third[0].1.ends_with("--ms=9"), "{third:?}");
    assert_eq!(info(&host, &["-n", "a:it"])[0]["digest"], digest);
    host.client(&["restart", "a:other"]).unwrap().assert(117, "command failed");
}

#[test]
fn new_arguments_that_the_policy_does_not_hold_leave_the_old_ones_running() {
    let host = Host::for_test().unwrap();
    host.client(&["add-policy", "a", "1", "--mem", "20"]).unwrap().assert(0, "added policy");
    tick(&host, "a:it", &[]).assert(0, "created unikernel");
    let before = host.tenders();
    let restart = ["restart", "a:it", "--replace-arguments", "--mem", "21"];
    host.client(&restart).unwrap().assert(117, "command failed");
    assert_eq!(host.tenders(), before);
}

/// How often `name` was started, from the log of albatrossd.
fn starts(host: &mut Host, name: &str) -> usize {
    let line = format!("{name}: started as process");
    host.albatrossd().unwrap().log().matches(&line).count()
}

#[test]
fn one_that_quits_is_not_started_again() {
    let mut host = Host::for_test().unwrap();
    for code in ["0", "1", "2", "255"] {
        host.create("a:quits", "exit", &["--arg", &format!("--code={code}")]).unwrap().assert(0, "created");
        gone(&host, "a:quits");
    }
    assert_eq!(starts(&mut host, "a:quits"), 4);
    assert_eq!(host.left_behind(), Vec::<String>::new());
}

#[test]
fn one_that_restarts_does_so_on_the_codes_it_names() {
    let mut host = Host::for_test().unwrap();
    let create = |name: &str, code: &str, options: &[&str]| {
        let code = format!("--code={code}");
        let arguments = [&["--restart", "--arg", &code], options].concat();
        host.create(name, "exit", &arguments).unwrap().assert(0, "created unikernel");
    };
    create("a:every", "3", &[]);
    create("a:listed", "3", &["--exit-code", "2", "--exit-code=3"]);
    create("a:unlisted", "4", &["--exit-code", "2", "--exit-code=3"]);
    create("a:error", "1", &["--exit-code", "1"]);
    create("a:arguments", "61", &[]);
    for name in ["a:unlisted", "a:error", "a:arguments"] {
        gone(&host, name);
        assert_eq!(starts(&mut host, name), 1, "{name}");
    }
    for name in ["a:every", "a:listed"] {
        eventually("a second restart", || (starts(&mut host, name) > 2).then_some(())).unwrap();
    }
    // Between two starts it is still on record and can be destroyed.
    for name in ["a:every", "a:listed"] {
        host.client(&["destroy", name]).unwrap().assert(0, "destroyed");
    }
    assert_eq!(names(&host, &[]), Vec::<String>::new());
    assert_eq!(host.left_behind(), Vec::<String>::new());
}

#[test]
fn one_that_does_not_know_its_name_is_started_once_more_without() {
    let mut host = Host::for_test().unwrap();
    host.create("a:dance", "dance", &[]).unwrap().assert(0, "created unikernel");
    host.console_ends_with("a:dance", &["no name"]).unwrap();
    gone(&host, "a:dance");
    assert_eq!(starts(&mut host, "a:dance"), 2);
}

#[test]
fn one_that_faults_is_ended_and_freed() {
    let mut host = Host::for_test().unwrap();
    for (guest, signal) in [("fault", "signal 11"), ("denied", "signal 31")] {
        let name = format!("a:{guest}");
        host.create(&name, guest, &["--restart"]).unwrap().assert(0, "created unikernel");
        gone(&host, &name);
        host.albatrossd().unwrap().logged(signal).unwrap();
        assert_eq!(starts(&mut host, &name), 1);
    }
    assert_eq!(host.left_behind(), Vec::<String>::new());
}

#[test]
fn what_cannot_run_is_refused_and_leaves_nothing() {
    let host = Host::for_test().unwrap();
    let file = host.work().join("no-image");
    std::fs::write(&file, b"this is no ELF file").unwrap();
    host.client(&["create", "a:it", file.to_str().unwrap()]).unwrap().assert(124, "");
    // A device that the image does not have, one that it has and is not given, a bridge that is not there.
    host.create("a:it", "tick", &["--net", "service:nowhere"]).unwrap().assert(124, "no network devices");
    host.create("a:it", "pong", &[]).unwrap().assert(124, "service");
    host.create("a:it", "pong", &["--net", "service:nowhere"]).unwrap().assert(117, "command failed");
    host.create("a:it", "disk", &["--block", "disk:none"]).unwrap().assert(117, "command failed");
    host.create("a:it", "tick", &["--cpu", "4095"]).unwrap().assert(117, "cpu");
    assert_eq!(host.tenders(), []);
    assert_eq!(host.left_behind(), Vec::<String>::new());
    assert_eq!(names(&host, &[]), Vec::<String>::new());
}

#[test]
fn a_label_is_needed_where_one_unikernel_is_meant() {
    let host = Host::for_test().unwrap();
    for command in ["create", "destroy", "restart", "get", "console"] {
        let image = host.programs().guest("hello");
        let mut arguments = vec![command, "a:"];
        if command == "create" {
            arguments.push(image.to_str().unwrap());
        }
        host.client(&arguments).unwrap().assert(124, "");
    }
}
