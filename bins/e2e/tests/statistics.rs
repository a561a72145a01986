//! A statistics daemon, of which this test plays the part, and albatrossd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::os::unix::net::UnixStream;

use albatross_e2e::Host;
use albatross_e2e::raw::Raw;
use albatross_proto::{Command, Int, Payload, StatisticsCommand, Success, Wire};

fn told(statistics: &mut Raw<UnixStream>) -> (i64, String, Payload<'static>) {
    let frame = statistics.frame().unwrap().expect("a message");
    let Wire { header, payload } = Wire::decode(&frame).unwrap();
    let payload = match payload {
        Payload::Success(Success::Empty) => Payload::Success(Success::Empty),
        Payload::Command(Command::Statistics(command)) => Payload::Command(Command::Statistics(command)),
        other => panic!("{other:?}"),
    };
    (header.sequence, header.name.to_string(), payload)
}

#[test]
fn it_is_told_what_runs_under_which_process() {
    let host = Host::for_test().unwrap();
    let mut statistics = Raw::unix(&host.socket("vmmd")).unwrap();
    statistics.command(":", Command::Statistics(StatisticsCommand::Initial)).unwrap();
    assert_eq!(told(&mut statistics), (0, ":".to_owned(), Payload::Success(Success::Empty)));

    let image = host.programs().guest("tick").to_string_lossy().into_owned();
    host.client(&["create", "a:tick", &image, "--mem=2"]).unwrap().assert(0, "created unikernel");
    let [(pid, _)] = host.tenders()[..] else { panic!("one tender: {:?}", host.tenders()) };
    let add = StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(pid), network: Vec::new() };
    let expected = Payload::Command(Command::Statistics(add));
    assert_eq!(told(&mut statistics), (1, "a:tick".to_owned(), expected));
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed unikernel");
    let remove = Payload::Command(Command::Statistics(StatisticsCommand::Remove));
    assert_eq!(told(&mut statistics), (2, "a:tick".to_owned(), remove));
}
