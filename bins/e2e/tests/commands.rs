//! What the real albatrossd answers to what the client of this workspace does not ask, or not in this form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::os::unix::net::UnixStream;

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, eventually, processes};
use albatross_proto::command::ByDigest;
use albatross_proto::frame::frame;
use albatross_proto::{
    Arguments, BlockCommand, Command, Config, Int, Payload, PolicyCommand, Success, Typ, UnikernelCommand,
    Wire,
};
use serde_json::Value;

/// The one reply, after these octets that follow the command.
fn ask_with(host: &Host, name: &str, command: Command<'_>, more: &[u8]) -> Payload<'static> {
    let mut raw: Raw<UnixStream> = Raw::unix(&host.socket("vmmd")).unwrap();
    raw.command(name, command).unwrap();
    // It may be refused before all of it is sent.
    _ = raw.send(more);
    let frame = raw.frame().unwrap().expect("a reply");
    Wire::decode(frame.leak()).unwrap().payload
}

fn ask(host: &Host, name: &str, command: Command<'_>) -> Payload<'static> {
    ask_with(host, name, command, &[])
}

/// The names in a reply.
fn names(payload: Payload<'_>) -> Vec<String> {
    fn all<T>(list: Vec<(albatross_proto::Name, T)>) -> Vec<String> {
        list.into_iter().map(|(name, _)| name.to_string()).collect()
    }
    match payload {
        Payload::Success(Success::Info(list)) => all(list),
        Payload::Success(Success::InfoV5(list)) => all(list),
        Payload::Success(Success::InfoV4(list)) => all(list),
        Payload::Success(Success::Status(list)) => all(list),
        Payload::Success(Success::Policies(list)) => all(list),
        Payload::Success(Success::BlockDevices(list)) => all(list),
        other => panic!("unexpected {other:?}"),
    }
}

fn tick(host: &Host, name: &str, options: &[&str]) {
    host.create(name, "tick", &[&["--arg=--ms=20"], options].concat())
        .unwrap()
        .assert(0, "created unikernel");
}

#[test]
fn every_question_is_answered_relative_to_its_path() {
    let host = Host::for_test().unwrap();
    for path in ["a", "a:b", "c"] {
        host.client(&["add-policy", path, "3", "--mem", "64", "--block", "9"]).unwrap().assert(0, "added");
    }
    for name in ["a:x", "a:y", "a:b:z", "c:other"] {
        tick(&host, name, &[]);
        host.client(&["create-block", name, "1"]).unwrap().assert(0, "added");
    }
    let questions = || {
        [
            Command::Unikernel(UnikernelCommand::Info),
            Command::Unikernel(UnikernelCommand::InfoV5),
            Command::Unikernel(UnikernelCommand::InfoV4),
            Command::Unikernel(UnikernelCommand::Status),
            Command::Block(BlockCommand::Info),
        ]
    };
    for (number, question) in questions().into_iter().enumerate() {
        assert_eq!(names(ask(&host, "a:", question)), [":y", ":x", "b:z"], "question {number}");
    }
    for (number, question) in questions().into_iter().enumerate() {
        assert_eq!(names(ask(&host, "a:x", question)), ["a:x"], "question {number}");
    }
    for question in questions() {
        assert_eq!(names(ask(&host, "a:nobody", question)), Vec::<String>::new());
    }
    let policies = |name| names(ask(&host, name, Command::Policy(PolicyCommand::Info)));
    assert_eq!(policies("a:"), [":", "b:"]);
    assert_eq!(policies("a:x"), policies("a:"), "a label is ignored");
    assert_eq!(policies("c:"), [":"]);
}

/// The SHA-256 of an image, as `info` tells it.
fn digest(host: &Host, name: &str) -> [u8; 32] {
    let info = host.client(&["--json", "info", "-n", name]).unwrap().assert(0, "").stdout;
    let info: Value = serde_json::from_str(info.lines().next().unwrap()).unwrap();
    let hex = info["digest"].as_str().unwrap();
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

#[test]
fn an_image_is_streamed_and_started_when_it_is_the_one_that_was_announced() {
    let host = Host::for_test().unwrap();
    tick(&host, "a:first", &[]);
    let sha256 = digest(&host, "a:first");
    let image = fs::read(host.programs().guest("tick")).unwrap();
    let size = Int::try_from(image.len() as u64).unwrap();
    let by_digest = |sha256, size| {
        let arguments = Arguments { memory: Int::from(2), ..Arguments::new() };
        let config = Config { typ: Typ::Solo5, compressed: false, image: Vec::new().into(), arguments };
        ByDigest { config, sha256, size }
    };
    let create = |sha256, size| Command::Unikernel(UnikernelCommand::CreateByDigest(by_digest(sha256, size)));
    let force =
        |sha256, size| Command::Unikernel(UnikernelCommand::ForceCreateByDigest(by_digest(sha256, size)));
    let stream: Vec<u8> = image.chunks(4096).map(frame).chain([frame(b"")]).flatten().collect();
    let refused = |payload| match payload {
        Payload::Failure(text) => text.to_string(),
        other => panic!("unexpected {other:?}"),
    };
    let tenders = host.tenders();
    // Another image, a longer one, and one that ends too soon.
    let mut other = stream.clone();
    other[100] ^= 1;
    assert!(refused(ask_with(&host, "a:it", create(sha256, size), &other)).contains("SHA-256"));
    let short = Int::from(4096);
    assert!(refused(ask_with(&host, "a:it", create(sha256, short), &stream)).contains("longer"));
    let mut raw: Raw<UnixStream> = Raw::unix(&host.socket("vmmd")).unwrap();
    raw.command("a:it", create(sha256, size)).unwrap();
    raw.send(&stream[..stream.len() - 4]).unwrap();
    raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let answer = raw.frame().unwrap().unwrap();
    assert!(refused(Wire::decode(answer.leak()).unwrap().payload).contains("cut off"));
    assert_eq!(host.tenders(), tenders);
    assert_eq!(processes::names_in(&host.dbdir().join("images")).len(), 1, "nothing of those is kept");

    let said = |text: &str| Payload::Success(Success::Text(text.into()));
    assert_eq!(ask_with(&host, "a:it", create(sha256, size), &stream), said("created unikernel"));
    assert!(refused(ask_with(&host, "a:it", create(sha256, size), &stream)).contains("exists"));
    assert_eq!(ask_with(&host, "a:it", force(sha256, size), &stream), said("created unikernel"));
    host.console_ends_with("a:it", &["tick 1"]).unwrap();
    assert_eq!(digest(&host, "a:it"), sha256);
}

#[test]
fn an_image_is_there_once_while_somebody_has_it() {
    let host = Host::for_test().unwrap();
    let images = || processes::names_in(&host.dbdir().join("images")).len();
    tick(&host, "a:one", &[]);
    tick(&host, "b:two", &["--compression-level=9"]);
    assert_eq!(images(), 1);
    host.create("a:other", "flood", &[]).unwrap().assert(0, "created unikernel");
    assert_eq!(images(), 2);
    host.client(&["destroy", "a:one"]).unwrap().assert(0, "destroyed");
    assert_eq!(images(), 2, "another has it");
    host.client(&["restart", "b:two"]).unwrap().assert(0, "created");
    // In place of one goes another.
    host.create("b:two", "flood", &["--force"]).unwrap().assert(0, "created");
    eventually("one image", || (images() == 1).then_some(())).unwrap();
    for name in ["a:other", "b:two"] {
        host.client(&["destroy", name]).unwrap().assert(0, "destroyed");
    }
    assert_eq!(images(), 0);
}

#[test]
fn a_tender_runs_on_its_cpus() {
    let host = Host::for_test().unwrap();
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let last = online.trim().rsplit([',', '-']).next().unwrap().to_owned();
    for cpus in [vec!["0".to_owned()], vec![last.clone()], vec!["0".to_owned(), last]] {
        let mut cpus = cpus;
        cpus.dedup();
        let options: Vec<String> = cpus.iter().map(|cpu| format!("--cpu={cpu}")).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        tick(&host, "a:it", &options);
        let [(pid, _)] = host.tenders()[..] else { panic!("one tender: {:?}", host.tenders()) };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert!([cpus.join(","), cpus.join("-")].contains(&allowed.trim().to_owned()), "{allowed}: {cpus:?}");
        host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed");
    }
}
