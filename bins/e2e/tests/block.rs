//! Block devices: real files, a real guest on one, and every way in which a stream goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use albatross_e2e::raw::Raw;
use albatross_e2e::{Host, Pki, Programs, eventually, processes};
use albatross_proto::frame::frame;
use albatross_proto::{BlockCommand, Command, Data, Int, Payload, Success, Wire};
use nix::mount::{MsFlags, mount};

mod mounts;

use mounts::with_own_mounts;

const MB: usize = 1024 * 1024;

/// Octets that do not repeat soon and are not all zeros.
fn pattern(length: usize) -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
    let mut octets: Vec<u8> = (0..).flat_map(word).take(length.min(8192)).collect();
    while octets.len() < length {
        octets.extend_from_within(..octets.len().min(length - octets.len()));
    }
    octets
}

fn file(host: &Host, name: &str) -> PathBuf {
    host.dbdir().join("block").join(name)
}

fn content(host: &Host, name: &str) -> Vec<u8> {
    fs::read(file(host, name)).unwrap()
}

/// A file with this content, for the client.
fn data(host: &Host, content: &[u8]) -> String {
    let path = host.work().join("data");
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn devices(host: &Host) -> Vec<String> {
    processes::names_in(&host.dbdir().join("block"))
}

/// The name, size and use of the block devices, as the client shows them.
fn shown(host: &Host) -> String {
    host.client(&["--json", "block"]).unwrap().assert(0, "").stdout
}

fn connect(host: &Host) -> Raw<UnixStream> {
    Raw::unix(&host.socket("vmmd")).unwrap()
}

/// The next reply, `None` where the connection is closed.
fn reply(raw: &mut Raw<UnixStream>) -> Option<Payload<'static>> {
    let frame = raw.frame().unwrap()?;
    Some(Wire::decode(frame.leak()).unwrap().payload)
}

fn text(raw: &mut Raw<UnixStream>) -> String {
    match reply(raw).unwrap() {
        Payload::Success(Success::Text(text)) => text.to_string(),
        Payload::Failure(text) => format!("failed: {text}"),
        other => panic!("unexpected {other:?}"),
    }
}

fn set(compressed: bool) -> Command<'static> {
    Command::Block(BlockCommand::Set { compressed })
}

/// Sends a set and this stream as it is, and returns the answer.
fn stream(host: &Host, name: &str, compressed: bool, octets: &[u8]) -> String {
    let mut raw = connect(host);
    raw.command(name, set(compressed)).unwrap();
    raw.send(octets).unwrap();
    text(&mut raw)
}

#[test]
fn a_device_is_made_set_dumped_and_removed() {
    let host = Host::for_test().unwrap();
    host.client(&["create-block", "foo:data", "3"]).unwrap().assert(0, "foo:data]: added block device");
    let metadata = fs::metadata(file(&host, "foo:data")).unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (3 << 20, 0), "sparse");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    host.client(&["create-block", "foo:data", "3"]).unwrap().assert(117, "exists");
    let some = pattern(2 * MB + 17);
    let whole = [&some[..], &vec![0; MB - 17]].concat();
    for level in ["0", "1", "9"] {
        let options = ["--compression-level", level];
        let set = ["set-block", "foo:data", &data(&host, &some)];
        host.client(&[&set[..], &options].concat()).unwrap().assert(0, "set block device");
        assert!(content(&host, "foo:data") == whole, "level {level}");
        host.client(&[&["dump-block", "foo:data"][..], &options].concat()).unwrap().assert(0, "written to");
        let files = processes::names_in(&host.work());
        let dump = host.work().join(files.iter().find(|name| name.starts_with("foo:data.")).unwrap());
        assert!(fs::read(&dump).unwrap() == whole, "level {level}");
        fs::remove_file(dump).unwrap();
    }
    assert_eq!(shown(&host).lines().count(), 1);
    host.client(&["destroy-block", "foo:data"]).unwrap().assert(0, "removed block");
    assert_eq!(devices(&host), Vec::<String>::new());
    for command in [&["destroy-block", "foo:data"][..], &["dump-block", "foo:data"]] {
        host.client(command).unwrap().assert(117, "does not exist");
    }
    assert_eq!(processes::names_in(&host.work()), ["data"], "no dump of what is not there");
}

#[test]
fn one_made_with_content_is_there_whole_or_not_at_all() {
    let host = Host::for_test().unwrap();
    let create =
        |size: &str, path: &str| host.client(&["create-block", ":data", size, "--data", path]).unwrap();
    create("1", &data(&host, &pattern(MB + 1))).assert(124, "do not fit");
    create("1", "/nonexistent").assert(124, "nonexistent");
    assert_eq!(devices(&host), Vec::<String>::new());
    // It is read when it is sent: a directory cannot be.
    create("1", host.work().to_str().unwrap()).assert(124, "removed block");
    assert_eq!(devices(&host), Vec::<String>::new());
    create("1", &data(&host, &pattern(MB))).assert(0, "set block device");
    assert!(content(&host, ":data") == pattern(MB));
}

#[test]
fn the_policy_holds_for_storage() {
    let host = Host::for_test().unwrap();
    host.client(&["add-policy", "a", "1", "--block", "3"]).unwrap().assert(0, "added policy");
    host.client(&["create-block", "a:one", "2"]).unwrap().assert(0, "added");
    host.client(&["create-block", "a:two", "2"]).unwrap().assert(117, "policy a");
    host.client(&["create-block", ":huge", "1000000000"]).unwrap().assert(117, "policy");
    assert_eq!(devices(&host), ["a:one"]);
}

#[test]
fn a_guest_has_its_device_to_itself() {
    let host = Host::for_test().unwrap();
    host.client(&["create-block", "a:data", "1"]).unwrap().assert(0, "added");
    let block = ["--block", "disk:data@4096"];
    host.create("a:it", "disk", &[&block[..], &["--arg=--stay"]].concat())
        .unwrap()
        .assert(0, "created unikernel");
    let disk = "disk of 1048576 bytes, sectors of 4096 bytes";
    host.console_ends_with("a:it", &[disk, "verified"]).unwrap();
    let info = host.client(&["--json", "info", "-n", "a:it"]).unwrap().assert(0, "").stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let device = &info["block_devices"][0];
    assert_eq!((&device["size"], &device["sector_size"]), (&1.into(), &4096.into()));
    assert!(shown(&host).contains("true"));
    let before = content(&host, "a:data");
    for command in [
        &["set-block", "a:data", &data(&host, b"x")][..],
        &["dump-block", "a:data"],
        &["destroy-block", "a:data"],
    ] {
        host.client(command).unwrap().assert(117, "in use");
    }
    host.create("a:other", "disk", &block).unwrap().assert(117, "in use");
    assert!(content(&host, "a:data") == before);
    host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed");
    // What it wrote is there for the next one, also of another daemon.
    host.create("a:other", "disk", &[&block[..], &["--arg=--read"]].concat()).unwrap().assert(0, "created");
    host.console_ends_with("a:other", &[disk, "verified"]).unwrap();
    eventually("the end of a:other", || shown(&host).contains("false").then_some(())).unwrap();
    host.client(&["destroy-block", "a:data"]).unwrap().assert(0, "removed block");
}

#[test]
fn a_stream_beyond_the_device_is_refused_while_it_is_sent() {
    let host = Host::for_test().unwrap();
    host.client(&["create-block", ":data", "1", "--data", &data(&host, b"old")]).unwrap().assert(0, "set");
    // Our client, plain and compressed.
    for level in ["0", "1"] {
        let set = ["set-block", ":data", &data(&host, &vec![7; 20 * MB]), "--compression-level", level];
        host.client(&set).unwrap().assert(117, "longer than the 1 MB");
    }
    // One that never stops, and one that sends all before it reads.
    let mut raw = connect(&host);
    raw.command(":data", set(false)).unwrap();
    let chunk = frame(&[7; 4096]);
    while raw.send(&chunk).is_ok() {}
    assert!(text(&mut raw).contains("longer than the 1 MB"));
    let small = [frame(&vec![1; 256 * 1024]).repeat(4), frame(b"x"), frame(b"")].concat();
    assert!(stream(&host, ":data", false, &small).contains("longer than the 1 MB"));
    // A chunk that is too long by itself, whether it comes or is only announced.
    assert!(stream(&host, ":data", false, &[0x7f, 0xff, 0xff, 0xff]).contains("too long"));
    assert!(stream(&host, ":data", false, &(1_u32 << 20).to_be_bytes()).contains("too long"));
    assert!(content(&host, ":data").starts_with(b"old\0"));
    assert_eq!(devices(&host), [":data"], "nothing unfinished");
    assert!(shown(&host).contains("false"));
}

#[test]
fn a_stream_that_is_cut_or_damaged_changes_nothing() {
    let host = Host::for_test().unwrap();
    host.client(&["create-block", ":data", "1", "--data", &data(&host, b"old")]).unwrap().assert(0, "set");
    let whole = [frame(&pattern(5000)), frame(&pattern(5000)), frame(b"")].concat();
    for end in [0, 2, 100, 5004, whole.len() - 4, whole.len() - 1] {
        let mut raw = connect(&host);
        raw.command(":data", set(false)).unwrap();
        raw.send(&whole[..end]).unwrap();
        raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(text(&mut raw).contains("cut off"), "{end}");
    }
    // Gone for good.
    let mut raw = connect(&host);
    raw.command(":data", set(false)).unwrap();
    raw.send(&whole[..6000]).unwrap();
    drop(raw);
    eventually("the device to be free", || shown(&host).contains("false").then_some(())).unwrap();
    assert!(stream(&host, ":data", true, &whole).contains("cannot be uncompressed"));
    assert!(stream(&host, ":data", true, &frame(b"")).contains("cannot be uncompressed"));
    assert!(content(&host, ":data").starts_with(b"old\0"));
    assert_eq!(devices(&host), [":data"]);
    // All in one piece with the command, and in single octets.
    assert_eq!(stream(&host, ":data", false, &whole), "set block device");
    let mut raw = connect(&host);
    raw.command(":data", set(false)).unwrap();
    whole.iter().for_each(|octet| raw.send(&[*octet]).unwrap());
    assert_eq!(text(&mut raw), "set block device");
    assert_eq!(reply(&mut raw), None, "closed after the reply");
    assert!(content(&host, ":data")[..10_000] == [pattern(5000), pattern(5000)].concat());
}

#[test]
fn a_device_is_held_while_it_is_set_and_while_it_is_dumped() {
    let host = Host::for_test().unwrap();
    host.client(&["create-block", ":data", "40"]).unwrap().assert(0, "added");
    let all_refused = || {
        assert!(stream(&host, ":data", false, b"").contains("in use"));
        host.client(&["dump-block", ":data"]).unwrap().assert(117, "in use");
        host.client(&["destroy-block", ":data"]).unwrap().assert(117, "in use");
        host.create(":it", "disk", &["--block", "disk:data"]).unwrap().assert(117, "in use");
        assert!(shown(&host).contains("true"));
    };
    let mut setting = connect(&host);
    setting.command(":data", set(false)).unwrap();
    eventually("the device to be held", || shown(&host).contains("true").then_some(())).unwrap();
    all_refused();
    setting.send(&frame(b"")).unwrap();
    assert_eq!(text(&mut setting), "set block device");
    // A client that takes nothing holds back no more than its socket.
    let mut dumping = connect(&host);
    dumping.command(":data", Command::Block(BlockCommand::Dump(Int::ZERO))).unwrap();
    assert!(matches!(
        reply(&mut dumping),
        Some(Payload::Success(Success::BlockDeviceImage { compressed: false }))
    ));
    all_refused();
    let mut length = 0;
    while let Some(Payload::Data(Data::Block(Some(octets)))) = reply(&mut dumping) {
        length += octets.len();
    }
    assert_eq!(length, 40 * MB);
    assert_eq!(reply(&mut dumping), None, "closed after the end");
    // One that goes away in the middle.
    let mut dumping = connect(&host);
    dumping.command(":data", Command::Block(BlockCommand::Dump(Int::ZERO))).unwrap();
    reply(&mut dumping).unwrap();
    drop(dumping);
    eventually("the device to be free", || shown(&host).contains("false").then_some(())).unwrap();
    host.client(&["destroy-block", ":data"]).unwrap().assert(0, "removed block");
}

/// The most memory that albatrossd had so far, in KiB.
fn most_memory(host: &mut Host) -> u64 {
    processes::status(host.albatrossd().unwrap().pid(), "VmHWM").unwrap()
}

#[test]
fn memory_does_not_grow_with_what_passes() {
    let mut host = Host::for_test().unwrap();
    for (name, size) in [(":small", "1"), (":large", "48")] {
        host.client(&["create-block", name, size]).unwrap().assert(0, "added");
    }
    let pass = |host: &Host, name: &str, length: usize| {
        let path = data(host, &pattern(length));
        for level in ["0", "1"] {
            let options = ["--compression-level", level];
            host.client(&[&["set-block", name, &path][..], &options].concat()).unwrap().assert(0, "set");
            host.client(&[&["dump-block", name][..], &options].concat()).unwrap().assert(0, "written");
            let files = processes::names_in(&host.work());
            let dump = files.iter().find(|file| file.starts_with(&format!("{name}."))).unwrap();
            // The next one may come within the same second.
            fs::remove_file(host.work().join(dump)).unwrap();
        }
    };
    pass(&host, ":small", MB);
    let before = most_memory(&mut host);
    pass(&host, ":large", 48 * MB);
    let after = most_memory(&mut host);
    // Much less than a tenth of what passed.
    assert!(after < before + 4 * 1024, "{before} KiB, then {after} KiB");
}

#[test]
fn older_clients_are_answered_in_their_form() {
    let host = Host::for_test().unwrap();
    let ask = |command| {
        let mut raw = connect(&host);
        raw.command(":data", Command::Block(command)).unwrap();
        let answer = reply(&mut raw).unwrap();
        assert_eq!(reply(&mut raw), None);
        answer
    };
    let said = |text: &str| Payload::Success(Success::Text(text.into()));
    let some = pattern(1000);
    let add = BlockCommand::AddOld { size: Int::ONE, compressed: false, data: Some(some.clone().into()) };
    assert_eq!(ask(add), said("added block device"));
    assert!(content(&host, ":data").starts_with(&some));
    let set = BlockCommand::SetOld { compressed: false, data: b"other".as_slice().into() };
    assert_eq!(ask(set), said("set block device"));
    for level in [0, 9] {
        let Payload::Success(Success::BlockDeviceImageOld { compressed, image }) =
            ask(BlockCommand::DumpOld(Int::from(level)))
        else {
            panic!()
        };
        assert_eq!(compressed, level > 0);
        assert!(if compressed { image.len() < 5000 } else { *image == content(&host, ":data") });
    }
    let set = BlockCommand::SetOld { compressed: true, data: b"other".as_slice().into() };
    assert!(matches!(ask(set), Payload::Failure(_)));
    assert_eq!(devices(&host), [":data"]);
}

#[test]
fn devices_are_there_after_a_restart_and_what_is_none_is_left_alone() {
    let mut host = Host::for_test().unwrap();
    host.client(&["create-block", "a:data", "1", "--data", &data(&host, b"kept")]).unwrap().assert(0, "set");
    let guest = ["--block", "disk:disk", "--arg=--stay", "--restart"];
    host.client(&["create-block", "a:disk", "1"]).unwrap().assert(0, "added");
    host.create("a:it", "disk", &guest).unwrap().assert(0, "created unikernel");
    host.take_albatrossd().unwrap().terminate().unwrap();
    for (name, length) in [("no name", MB), ("data", MB), (":odd", MB + 1), (":empty", 0), ("a:data#new", 99)]
    {
        fs::write(file(&host, name), vec![1; length]).unwrap();
    }
    fs::create_dir(file(&host, ":directory")).unwrap();
    host.start_albatrossd(&[]).unwrap();
    host.console_ends_with("a:it", &["verified"]).unwrap();
    let names: Vec<String> = shown(&host).lines().map(str::to_owned).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let log = host.log("albatrossd");
    for name in ["no name", "data", ":odd", ":empty", ":directory"] {
        assert!(log.contains(&format!("block/{name}: no block device")), "{name}");
        assert!(file(&host, name).exists());
    }
    assert!(!file(&host, "a:data#new").exists());
    host.client(&["destroy-block", "a:disk"]).unwrap().assert(117, "in use");
    // What stands there is not overwritten by a new device.
    host.client(&["create-block", ":odd", "1"]).unwrap().assert(117, "exists");
    assert_eq!(fs::metadata(file(&host, ":odd")).unwrap().len(), MB as u64 + 1);
    assert!(content(&host, "a:data").starts_with(b"kept\0"));
    // Killed in the middle of a set: the old content is whole, and nothing is left of the new.
    let mut raw = connect(&host);
    raw.command("a:data", set(false)).unwrap();
    raw.send(&frame(&pattern(100_000))).unwrap();
    eventually("a new file", || file(&host, "a:data#new").exists().then_some(())).unwrap();
    host.take_albatrossd().unwrap().kill();
    host.start_albatrossd(&[]).unwrap();
    assert!(shown(&host).contains("a:data"));
    assert!(!file(&host, "a:data#new").exists());
    assert!(content(&host, "a:data").starts_with(b"kept\0"));
}

#[test]
fn the_end_of_the_daemon_does_not_wait_for_a_slow_client() {
    let mut host = Host::for_test().unwrap();
    host.client(&["create-block", ":data", "40"]).unwrap().assert(0, "added");
    host.client(&["create-block", ":other", "1"]).unwrap().assert(0, "added");
    let mut dumping = connect(&host);
    dumping.command(":data", Command::Block(BlockCommand::Dump(Int::ZERO))).unwrap();
    reply(&mut dumping).unwrap();
    let mut setting = connect(&host);
    setting.command(":other", set(false)).unwrap();
    eventually("both to be held", || (shown(&host).matches("true").count() == 2).then_some(())).unwrap();
    assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
    assert!(text(&mut setting).contains("ending"));
}

#[test]
fn a_full_disk_is_told_and_leaves_the_old_content() {
    with_own_mounts(|programs| {
        let mut host = Host::new(programs).unwrap();
        let block = host.dbdir().join("block");
        mount(Some("tmpfs"), &block, Some("tmpfs"), MsFlags::empty(), Some("size=4m,mode=700")).unwrap();
        host.start_console(&[]).unwrap();
        host.start_albatrossd(&[]).unwrap();
        host.client(&["create-block", ":data", "3", "--data", &data(&host, &pattern(2 * MB))])
            .unwrap()
            .assert(0, "set");
        host.client(&["create-block", ":other", "2"]).unwrap().assert(117, "policy");
        for level in ["0", "1"] {
            let set = ["set-block", ":data", &data(&host, &pattern(3 * MB)), "--compression-level", level];
            host.client(&set).unwrap().assert(117, "No space left on device");
        }
        assert!(content(&host, ":data")[..2 * MB] == pattern(2 * MB));
        assert_eq!(devices(&host), [":data"]);
        // There is room for less.
        host.client(&["set-block", ":data", &data(&host, b"less")]).unwrap().assert(0, "set");
        assert!(content(&host, ":data").starts_with(b"less\0"));
        let zlib = ["create-block", ":big", "1", "--data", &data(&host, &pattern(MB))];
        host.client(&zlib).unwrap().assert(0, "set");
        host.end().unwrap();
    });
}

#[test]
fn all_of_it_works_by_certificate() {
    let mut host = Host::for_test().unwrap();
    let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
    pki.intermediate("ca", "alice", 1, &["--mem", "64", "--block", "8"]).unwrap();
    let [ca, certificate, key] = pki.server();
    let port = host.start_endpoint(&ca, &certificate, &key).unwrap();
    let remote = |command: &[&str]| pki.remote(port, "alice", command).unwrap();
    let some = pattern(3 * MB);
    let path = data(&host, &some);
    remote(&["create-block", "data", "4", "--data", &path]).assert(0, "alice:data]: set block device");
    assert!(content(&host, "alice:data")[..3 * MB] == some);
    remote(&["block"]).assert(0, ":data");
    remote(&["create-block", "more", "5"]).assert(117, "policy alice");
    for level in ["0", "9"] {
        remote(&["set-block", "data", &path, "--compression-level", level]).assert(0, "set block device");
        remote(&["dump-block", "data", "--compression-level", level]).assert(0, "written to");
        let files = processes::names_in(&host.work());
        let dump = host.work().join(files.iter().find(|name| name.starts_with("alice:data.")).unwrap());
        assert!(fs::read(&dump).unwrap() == content(&host, "alice:data"), "level {level}");
        fs::remove_file(dump).unwrap();
        let long = data(&host, &vec![7; 8 * MB]);
        remote(&["set-block", "data", &long, "--compression-level", level])
            .assert(117, "longer than the 4 MB");
        fs::write(&path, &some).unwrap();
    }
    // A certificate that somebody else signed, with the data beside it.
    fs::write(&path, b"by certificate").unwrap();
    pki.leaf("alice", "data", &["set-block", "data", &path]).unwrap();
    pki.send(port, "data").unwrap().assert(124, "--data");
    let to = format!("127.0.0.1:{port}");
    let send = ["certificate", "data.pem", "data.key", "-d", &to, "--data", &path];
    pki.client(&send).unwrap().assert(0, "set block device");
    assert!(content(&host, "alice:data").starts_with(b"by certificate\0"));
    remote(&["destroy-block", "data"]).assert(0, "removed block");
    assert_eq!(devices(&host), Vec::<String>::new());
}

/// Whoever has all of it may use the device at once, before albatrossd has done anything else.
#[test]
fn a_device_is_free_when_its_dump_has_come() {
    let host = Host::for_test().unwrap();
    host.client(&["create-block", "a:data", "1"]).unwrap().assert(0, "added block device");
    let whole = [frame(&pattern(64 * 1024)), frame(&[])].concat();
    for turn in 0..25 {
        for level in [Int::ZERO, Int::from(1)] {
            for command in [BlockCommand::Dump(level), BlockCommand::DumpOld(level)] {
                let in_chunks = matches!(command, BlockCommand::Dump(_));
                let mut raw = connect(&host);
                raw.command("a:data", Command::Block(command)).unwrap();
                while let Some(payload) = reply(&mut raw) {
                    if !in_chunks || matches!(payload, Payload::Data(Data::Block(None))) {
                        break;
                    }
                }
                assert_eq!(stream(&host, "a:data", false, &whole), "set block device", "turn {turn}");
            }
        }
    }
}
