//! What no client sends: each gets an error or a closed connection and a line in the log, and the next
//! client is served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::os::unix::net::UnixStream;

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, eventually};
use albatross_proto::command::History;
use albatross_proto::frame::frame;
use albatross_proto::{
    Arguments, Command, Config, ConsoleCommand, Header, Int, Payload, PolicyCommand, Success, Typ,
    UnikernelCommand, Wire,
};

/// The sockets, and the daemons that listen on them.
const DAEMONS: [(&str, &str); 2] = [("vmmd", "albatrossd"), ("console", "albatross-console")];

fn connect(host: &Host, socket: &str) -> Raw<UnixStream> {
    Raw::unix(&host.socket(socket)).unwrap()
}

/// How many complaints a daemon has logged.
fn complaints(host: &Host, program: &str) -> usize {
    let log = host.log(program);
    log.lines().filter(|line| line.contains("[WARNING]") || line.contains("[ERROR]")).count()
}

/// Something to send, and whether the daemon complains about it.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let message = Wire::new(
        Header::new(0, ":".parse().unwrap()),
        Payload::Command(Command::Unikernel(UnikernelCommand::Info)),
    )
    .encode()
    .unwrap();
    let reply =
        Wire::new(Header::new(0, ":a".parse().unwrap()), Payload::Success(Success::Empty)).encode().unwrap();
    let mut trailing = message.clone();
    trailing.push(0);
    let mut version = message.clone();
    let at = version.windows(3).position(|octets| octets == [2, 1, 5]).unwrap();
    version[at + 2] = 4;
    vec![
        ("garbage", b"GET / HTTP/1.1\r\nHost: albatross\r\n\r\n".to_vec()),
        ("a frame of garbage", frame(&[0xa5; 300])),
        ("an empty frame", vec![0, 0, 0, 0]),
        ("the longest frame", vec![0x7f, 0xff, 0xff, 0xff]),
        ("a negative length", vec![0xff, 0xff, 0xff, 0xff]),
        ("a message cut short", frame(&message[..message.len() - 1])),
        ("a message and an octet more", frame(&trailing)),
        ("another version", frame(&version)),
        ("a reply", frame(&reply)),
    ]
}

/// The daemon answers a question as always.
#[track_caller]
fn assert_serves(host: &Host, socket: &str) {
    if socket == "vmmd" {
        host.client(&["info"]).unwrap().assert(0, "no unikernels");
    } else {
        host.client(&["inactive-consoles"]).unwrap().assert(0, "");
    }
}

#[test]
fn bad_messages_close_the_connection_and_are_logged() {
    let host = Host::for_test().unwrap();
    for (socket, program) in DAEMONS {
        for (what, octets) in bad() {
            let before = complaints(&host, program);
            let mut raw = connect(&host, socket);
            // It may be closed before all of it is sent.
            _ = raw.send(&octets);
            let answer = raw.rest().unwrap_or_else(|error| panic!("{program}: {what}: not closed: {error}"));
            assert_eq!(answer, [], "{program}: {what}");
            eventually("a line in the log", || (complaints(&host, program) > before).then_some(()))
                .unwrap_or_else(|failure| panic!("{program}: {what}: {failure}"));
            assert_serves(&host, socket);
        }
    }
}

#[test]
fn half_a_frame_holds_up_nobody() {
    let host = Host::for_test().unwrap();
    for (socket, program) in DAEMONS {
        for octets in [&[][..], &[0], &[0, 0, 0, 200], &[0, 0, 0, 200, 0x30, 0x10], &[1, 0, 0, 0, 0x30]] {
            // Those that stay.
            let mut silent = connect(&host, socket);
            silent.send(octets).unwrap();
            // Those that go.
            connect(&host, socket).send(octets).unwrap();
            // Those that say that they send no more.
            let mut half = connect(&host, socket);
            half.send(octets).unwrap();
            half.stream().shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(half.rest().unwrap(), [], "{program}: {octets:?}");
            assert_serves(&host, socket);
            drop(silent);
        }
    }
}

/// More clients that send nothing than a daemon may have open: the next one with a question is served.
#[test]
fn clients_that_send_nothing_do_not_keep_others_out() {
    let host = Host::for_test().unwrap();
    for (socket, _) in DAEMONS {
        let silent: Vec<_> = (0..500).map(|_| connect(&host, socket)).collect();
        assert_serves(&host, socket);
        drop(silent);
        assert_serves(&host, socket);
    }
}

/// The failure that answers a command.
fn failure(host: &Host, socket: &str, name: &str, command: Command<'_>) -> String {
    let mut raw = connect(host, socket);
    let adds = matches!(command, Command::Console(ConsoleCommand::Add(_)));
    raw.command(name, command).unwrap();
    let answer = raw.frame().unwrap().expect("an answer");
    let wire = Wire::decode(&answer).unwrap();
    assert_eq!(wire.header.name.to_string(), name);
    let Payload::Failure(text) = wire.payload else { panic!("{:?}", wire.payload) };
    // The connection of `console add` is albatrossd's, and stays.
    if !adds {
        assert_eq!(raw.rest().unwrap(), [], "closed after the failure");
    }
    text.to_string()
}

#[test]
fn a_path_is_no_unikernel() {
    let host = Host::for_test().unwrap();
    let image = std::fs::read(host.programs().guest("hello")).unwrap();
    let config = || Config {
        typ: Typ::Solo5,
        compressed: false,
        image: image.clone().into(),
        arguments: Arguments { memory: Int::from(2), ..Arguments::new() },
    };
    for name in ["a:", ":"] {
        for command in [
            UnikernelCommand::Create(config()),
            UnikernelCommand::ForceCreate(config()),
            UnikernelCommand::Restart(None),
            UnikernelCommand::Destroy,
            UnikernelCommand::Get(Int::from(0)),
        ] {
            let text = failure(&host, "vmmd", name, Command::Unikernel(command));
            assert!(!text.is_empty());
        }
        for command in
            [ConsoleCommand::Add(Int::from(1)), ConsoleCommand::Subscribe(History::Count(Int::from(1)))]
        {
            failure(&host, "console", name, Command::Console(command));
        }
    }
    // The console was not lost over it.
    host.create("a:hello", "hello", &[]).unwrap().assert(0, "created");
    host.console_ends_with("a:hello", &["Hello from spt", "--name=hello"]).unwrap();
}

#[test]
fn what_a_daemon_is_not_there_for_is_refused() {
    let host = Host::for_test().unwrap();
    let text = failure(&host, "vmmd", "a:b", Command::Console(ConsoleCommand::ListInactive));
    assert_eq!(text, "unknown command");
    // The console daemon closes without a reply.
    let mut raw = connect(&host, "console");
    raw.command("a:", Command::Policy(PolicyCommand::Info)).unwrap();
    assert_eq!(raw.rest().unwrap(), []);
    assert_serves(&host, "console");
}

#[test]
fn what_is_no_image_is_refused() {
    let host = Host::for_test().unwrap();
    let image = std::fs::read(host.programs().guest("hello")).unwrap();
    let cases: [(&str, bool, Vec<u8>); 5] = [
        ("nothing", false, Vec::new()),
        ("no ELF", false, b"#!/bin/sh\n".to_vec()),
        ("cut short", false, image[..200].to_vec()),
        ("not compressed", true, image.clone()),
        // A zlib stream that promises more.
        ("half a stream", true, vec![0x78, 0x9c, 0xed]),
    ];
    for (what, compressed, octets) in cases {
        let arguments = Arguments { memory: Int::from(2), ..Arguments::new() };
        let config = Config { typ: Typ::Solo5, compressed, image: octets.into(), arguments };
        let text = failure(&host, "vmmd", "a:it", Command::Unikernel(UnikernelCommand::Create(config)));
        assert!(!text.is_empty(), "{what}");
    }
    assert_eq!(host.tenders(), []);
    assert_eq!(host.left_behind(), Vec::<String>::new());
    host.create("a:it", "hello", &[]).unwrap().assert(0, "created");
}
