//! A name is not a path: whatever a client calls a unikernel or a block device, files stay in their directories.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, eventually, processes};
use albatross_proto::frame::frame;
use albatross_proto::{
    Arguments, BlockCommand, BlockDevice, Command, Config, Header, Int, NetDevice, Payload, Success, Text,
    Typ, UnikernelCommand, Wire,
};

fn create(host: &Host, guest: &str, arguments: Arguments) -> Command<'static> {
    let image = fs::read(host.programs().guest(guest)).unwrap();
    let arguments = Arguments { memory: Int::from(2), ..arguments };
    let config = Config { typ: Typ::Solo5, compressed: false, image: image.into(), arguments };
    Command::Unikernel(UnikernelCommand::Create(config))
}

/// The reply as text.
fn ask(host: &Host, name: &str, command: Command<'_>) -> Result<String, String> {
    let mut raw: Raw<UnixStream> = Raw::unix(&host.socket("vmmd")).unwrap();
    raw.command(name, command).unwrap();
    let frame = raw.frame().unwrap().expect("a reply");
    match Wire::decode(&frame).unwrap().payload {
        Payload::Success(Success::Text(text)) => Ok(text.to_string()),
        Payload::Failure(text) => Err(text.to_string()),
        other => panic!("unexpected {other:?}"),
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        all.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path()));
        }
    }
    all.sort();
    all
}

/// Names of dots are plain names, and have files of their own in the directories of names.
#[test]
fn names_of_dots_are_names_of_files() {
    let host = Host::for_test().unwrap();
    let top = host.tmpdir().parent().unwrap().to_owned();
    for name in [":.", ":..", "..:..:..", "...:.", "a.b-c:d", ".:a"] {
        let quick = Arguments { argv: Some(vec!["--ms=5".into()]), ..Arguments::new() };
        assert_eq!(ask(&host, name, create(&host, "tick", quick)).unwrap(), "created unikernel");
        assert!(host.tmpdir().join(format!("{name}.img")).exists());
        assert!(host.tmpdir().join("fifo").join(name).exists());
        assert!(host.tmpdir().join("running").join(name).exists());
        let (_, line) = host.tenders().pop().unwrap();
        let label = name.rsplit(':').next().unwrap();
        assert!(line.ends_with(&format!("{name}.img --name={label} --ms=5")), "{line}");
        let added = ask(&host, name, Command::Block(BlockCommand::Add(Int::ONE)));
        assert_eq!(added.unwrap(), "added block device");
        assert_eq!(processes::names_in(&host.dbdir().join("block")), [name]);
        eventually("its lines", || host.console_lines(name, 1).ok().filter(|lines| !lines.is_empty()))
            .unwrap();
        let destroy = Command::Unikernel(UnikernelCommand::Destroy);
        assert_eq!(ask(&host, name, destroy).unwrap(), "destroyed unikernel");
        assert_eq!(ask(&host, name, Command::Block(BlockCommand::Remove)).unwrap(), "removed block");
        assert_eq!(host.left_behind(), Vec::<String>::new());
        assert!(processes::names_in(&host.dbdir().join("block")).is_empty());
    }
    let all = files(&top);
    assert!(!all.iter().any(|path| path.ends_with(".img")), "{all:?}");
}

/// What is no name, or is longer than a file name, is refused before anything is made.
#[test]
fn names_that_are_none_make_nothing() {
    let mut host = Host::for_test().unwrap();
    // Whoever is answered finds all that the daemon makes at its start.
    host.client(&["info"]).unwrap().assert(0, "");
    let before = files(host.tmpdir().parent().unwrap());
    let long = [&["a".repeat(63).as_str(); 4][..], &["b"]].concat().join(":");
    let refused = ask(&host, &long, create(&host, "tick", Arguments::new())).unwrap_err();
    assert!(refused.contains("too long for a file name"), "{refused}");
    let refused = ask(&host, &long, Command::Block(BlockCommand::Add(Int::ONE))).unwrap_err();
    assert!(refused.contains("too long for a file name"), "{refused}");
    for path in [":", "..:", "a:b:"] {
        let refused = ask(&host, path, create(&host, "tick", Arguments::new())).unwrap_err();
        assert!(refused.contains("path used instead of name"), "{refused}");
        assert!(ask(&host, path, Command::Block(BlockCommand::Add(Int::ONE))).is_err());
    }
    // What no name can be: it is put into a message in place of one that can.
    let name = ":aaaaaaaaaaaaa";
    let message = |command| {
        Wire::new(Header::new(0, name.parse().unwrap()), Payload::Command(command)).encode().unwrap()
    };
    for bad in [
        ":/aaaaaaaaaaaa",
        ":../../../aaaa",
        "/tmp/aaaaaaaaa",
        ":a\0aaaaaaaaaaa",
        ":a\naaaaaaaaaaa",
        ":a\u{1b}[2Jaaaaaaaa",
        "::aaaaaaaaaaaa",
        ":-aaaaaaaaaaaa",
        ":a aaaaaaaaaaa",
        ":\u{e9}aaaaaaaaaaa",
    ] {
        assert_eq!(bad.len(), name.len(), "{bad:?}");
        for command in [create(&host, "tick", Arguments::new()), Command::Block(BlockCommand::Add(Int::ONE))]
        {
            let mut octets = message(command);
            let at = octets.windows(name.len()).position(|part| part == name.as_bytes()).unwrap();
            octets[at..at + name.len()].copy_from_slice(bad.as_bytes());
            let mut raw: Raw<UnixStream> = Raw::unix(&host.socket("vmmd")).unwrap();
            raw.send(&frame(&octets)).unwrap();
            assert_eq!(raw.rest().unwrap(), [], "closed without a reply: {bad:?}");
        }
    }
    host.albatrossd().unwrap().logged("message refused").unwrap();
    assert!(host.albatrossd().unwrap().log().bytes().all(|octet| octet == b'\n' || octet >= b' '));
    let after: Vec<String> = files(host.tmpdir().parent().unwrap());
    assert_eq!(after, before);
    assert_eq!(host.tenders(), []);
}

/// Devices have names, too: of the unikernel's, of the host's block device, of the bridge.
#[test]
fn names_of_devices_make_nothing_either() {
    let host = Host::for_test().unwrap();
    // Whoever is answered finds all that the daemon makes at its start.
    host.client(&["info"]).unwrap().assert(0, "");
    let before = files(host.tmpdir().parent().unwrap());
    let odd = ["../../etc/passwd", "..", "a/b", "a\nb", "", "a=b --mem=9", "a\0b"];
    for text in odd {
        let block = |name: &str, device: Option<&str>| Arguments {
            block_devices: vec![BlockDevice {
                name: Text::from(name),
                device: device.map(Text::from),
                sector_size: None,
            }],
            ..Arguments::new()
        };
        let net = |name: &str, bridge: Option<&str>| Arguments {
            net_devices: vec![NetDevice {
                name: Text::from(name),
                bridge: bridge.map(Text::from),
                mac: None,
            }],
            ..Arguments::new()
        };
        for (guest, arguments) in [
            ("disk", block(text, None)),
            ("disk", block("disk", Some(text))),
            ("pong", net(text, None)),
            ("pong", net("service", Some(text))),
        ] {
            let refused = ask(&host, "a:it", create(&host, guest, arguments)).unwrap_err();
            assert!(!refused.is_empty());
        }
    }
    assert_eq!(files(host.tmpdir().parent().unwrap()), before);
    assert_eq!(host.tenders(), []);
}
