//! The real binary against daemons on Unix sockets that answer in every way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::borrow::Cow;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use albatross_driver::signals::Signal;
use albatross_proto::log::{Event, LogCommand, LogEntry, Session};
use albatross_proto::reply::{Exit, Info, State, Status};
use albatross_proto::stats::{Rusage, Statistics};
use albatross_proto::{
    Arguments, BlockCommand, Command, Config, ConsoleCommand, Data, FailBehaviour, Header, Int, Name,
    NetDevice, Payload, Policy, PolicyCommand, Success, Time, Typ, UnikernelCommand, Wire, command::History,
};
use common::{Outcome, finish, image, read_frame, reply, run, start, write_frame};

fn message(name: &str, command: Command<'_>) -> Vec<u8> {
    Wire::new(Header::new(0, name.parse().unwrap()), Payload::Command(command)).encode().unwrap()
}

/// What a hex dump says.
fn undump(text: &str) -> Vec<u8> {
    let hex: String = text.lines().flat_map(|line| line[10..50].split_whitespace()).collect();
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Runs the client against a daemon on `socket` (below the directory) that does `serve` once.
fn converse(
    directory: &Path,
    words: &[&str],
    serve: impl FnOnce(&mut UnixStream, Wire<'static>) + Send + 'static,
) -> Outcome {
    let socket = directory.join("test.sock");
    _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let frame = read_frame(&mut stream).leak();
        serve(&mut stream, Wire::decode(frame).unwrap());
    });
    let mut all = vec!["--socket", socket.to_str().unwrap()];
    all.extend(words);
    let outcome = run(directory, &all);
    daemon.join().unwrap();
    outcome
}

/// The same with one reply.
fn answered(words: &[&str], payload: Payload<'static>) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    converse(directory.path(), words, move |stream, wire| reply(stream, &wire.header, payload))
}

#[test]
fn messages_are_the_encoded_commands() {
    let directory = tempfile::tempdir().unwrap();
    let image = image("spt-net-service.elf");
    let content = fs::read(&image).unwrap();
    let image = image.to_str().unwrap();
    let mut arguments = Arguments::new();
    arguments.net_devices.push(NetDevice { name: "service".into(), bridge: Some("br0".into()), mac: None });
    arguments.argv = Some(vec!["--ipv4=10.0.0.2/24".into()]);
    let config =
        |arguments| Config { typ: Typ::Solo5, compressed: false, image: Cow::Borrowed(&content), arguments };
    let policy = Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(2),
        memory: Int::from(512),
        block: None,
        bridges: [].into(),
    };
    let create: &[&str] =
        &["create", "foo:hello", image, "--net=service:br0", "--arg=--ipv4=10.0.0.2/24", "--force"];
    let cases: [(&[&str], Vec<u8>); 4] = [
        (&["info", "-nfoo:"], message("foo:", Command::Unikernel(UnikernelCommand::Info))),
        (&["add-policy", "foo", "2"], message("foo:", Command::Policy(PolicyCommand::Add(policy)))),
        (
            &["console", "hello", "--count=7"],
            message(":hello", Command::Console(ConsoleCommand::Subscribe(History::Count(Int::from(7))))),
        ),
        (
            create,
            message(
                "foo:hello",
                Command::Unikernel(UnikernelCommand::ForceCreate(config(arguments.clone()))),
            ),
        ),
    ];
    for (words, expected) in cases {
        let mut all = words.to_vec();
        all.extend(["--socket", "-"]);
        let outcome = run(directory.path(), &all);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (121, ""), "{words:?}");
        assert_eq!(undump(&outcome.stdout), expected, "{words:?}");
    }
    // Compressed when a level is asked for.
    let mut all = create.to_vec();
    all.extend(["--compression-level", "9", "--socket=-"]);
    let bytes = undump(&run(directory.path(), &all).stdout);
    let Payload::Command(Command::Unikernel(UnikernelCommand::ForceCreate(sent))) =
        Wire::decode(&bytes).unwrap().payload
    else {
        panic!()
    };
    assert!(sent.compressed && sent.image.len() < content.len());
    assert_eq!(albatross_core::image::inflate(&sent.image, content.len()).unwrap(), content);
}

#[test]
fn devices_must_be_those_of_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let image = image("spt-net-service.elf");
    for devices in
        [&[][..], &["--net", "other"], &["--net", "service", "--net", "other"], &["--block", "service"]]
    {
        let mut words = vec!["create", "a", image.to_str().unwrap(), "--socket", "-"];
        words.extend(devices);
        let outcome = run(directory.path(), &words);
        assert_eq!(outcome.code, 124, "{devices:?}");
        assert!(outcome.stdout.contains("network devices service"), "{}", outcome.stdout);
    }
}

#[test]
fn success_and_failure() {
    let outcome =
        answered(&["destroy", "foo:hello"], Payload::Success(Success::Text("destroyed unikernel".into())));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.stdout, "host [unikernel: foo:hello]: destroyed unikernel\n");
    let outcome = answered(&["destroy", "hello", "-q"], Payload::Failure("no such\x1b[2J\nthing".into()));
    assert_eq!(outcome.code, 117);
    assert_eq!(outcome.stdout, "host [unikernel: :hello]: command failed no such\\x1b[2J\\nthing\n");
    let outcome = answered(&["destroy", "hello", "--json"], Payload::Failure("no".into()));
    assert_eq!(outcome.stdout, "{\"host\":\":hello\",\"message\":\"no\",\"type\":\"failure\"}\n");
    let outcome = answered(&["info"], Payload::Success(Success::Info(Vec::new())));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "host [unikernel: :]: no unikernels\n"));
    let devices = vec![(
        "data".parse().unwrap(),
        albatross_proto::BlockDeviceInfo { size: Int::from(5), active: true },
    )];
    let outcome = answered(&["block", "--json"], Payload::Success(Success::BlockDevices(devices)));
    let object = "{\"active\":true,\"host\":\":\",\"name\":\":data\",\"size\":5,\"type\":\"block-device\"}\n";
    assert_eq!(outcome.stdout, object);
}

#[test]
fn a_daemon_that_waits_for_the_next_command_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let outcome = converse(directory.path(), &["add-policy", "foo", "1"], |stream, wire| {
        reply(stream, &wire.header, Payload::Success(Success::Text("added policy".into())));
        // As albatrossd does after a policy; the client closes.
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    });
    assert_eq!(outcome.code, 0);
}

#[test]
fn what_is_no_answer() {
    let header = |wire: &Wire<'_>| wire.header.clone();
    type Serve = Box<dyn FnOnce(&mut UnixStream, Wire<'static>) + Send>;
    let cases: Vec<(&str, Serve)> = vec![
        ("without a reply", Box::new(|_, _| {})),
        ("cannot be read", Box::new(|stream, _| write_frame(stream, b"garbage"))),
        ("cannot be read", Box::new(|stream, _| write_frame(stream, b""))),
        (
            "frame of 2147483647",
            Box::new(|stream, _| stream.write_all(&[0x7f, 0xff, 0xff, 0xff, 1]).unwrap()),
        ),
        ("within a frame", Box::new(|stream, _| stream.write_all(&[0, 0, 0, 9, 1]).unwrap())),
        (
            "another command",
            Box::new(move |stream, wire| {
                let other = Header::new(1, header(&wire).name);
                reply(stream, &other, Payload::Success(Success::Info(Vec::new())));
            }),
        ),
        (
            "another command",
            Box::new(move |stream, wire| {
                let other = Header::new(0, "x".parse::<Name>().unwrap());
                reply(stream, &Header { ..other }, Payload::Success(Success::Info(Vec::new())));
                drop(wire);
            }),
        ),
        (
            "another command",
            Box::new(move |stream, wire| reply(stream, &header(&wire), Payload::Success(Success::Empty))),
        ),
        (
            "sent a command",
            Box::new(move |stream, wire| {
                reply(stream, &header(&wire), Payload::Command(Command::Block(BlockCommand::Info)));
            }),
        ),
        (
            "sent data",
            Box::new(move |stream, wire| reply(stream, &header(&wire), Payload::Data(Data::Block(None)))),
        ),
    ];
    for (expected, serve) in cases {
        let directory = tempfile::tempdir().unwrap();
        let outcome = converse(directory.path(), &["info"], serve);
        assert_eq!(outcome.code, 121, "{outcome:?}");
        assert!(outcome.stdout.starts_with("albatross-client: [ERROR] "), "{outcome:?}");
        assert!(outcome.stdout.contains(expected), "{expected}: {outcome:?}");
    }
}

#[test]
fn no_daemon_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let outcome = run(directory.path(), &["info", "--tmpdir", path]);
    assert_eq!(outcome.code, 122);
    let says = ["util/vmmd.sock", "is the daemon running, and are its sockets there (--tmpdir)?"];
    assert!(says.iter().all(|text| outcome.stdout.contains(text)), "{outcome:?}");
    for (words, socket) in [(&["console", "a"], "util/console.sock"), (&["stats", "-v"], "util/stat.sock")] {
        let mut all = words.to_vec();
        let tmpdir = format!("--tmpdir={path}");
        all.push(&tmpdir);
        let outcome = run(directory.path(), &all);
        assert!(outcome.code == 122 && outcome.stdout.contains(socket), "{outcome:?}");
    }
}

/// The refusal of a large create arrives although the daemon reads nothing of it.
#[test]
fn a_refusal_while_the_image_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut content = fs::read(image("spt-no-devices.elf")).unwrap();
    content.resize(32 * 1024 * 1024, 0x5a);
    fs::write(directory.path().join("large"), content).unwrap();
    let socket = directory.path().join("test.sock");
    for keep_open in [false, true] {
        _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let client = start(directory.path(), &["--socket=test.sock", "create", "a", "large"]);
        let (mut stream, _) = listener.accept().unwrap();
        let header = Header::new(0, "a".parse().unwrap());
        reply(&mut stream, &header, Payload::Failure("no room".into()));
        let kept = keep_open.then_some(stream);
        let outcome = finish(client);
        drop(kept);
        assert_eq!(outcome.code, 117, "{outcome:?}");
        assert_eq!(outcome.stdout, "host [unikernel: :a]: command failed no room\n");
    }
}

#[test]
fn console_lines_are_escaped_and_followed_to_the_end() {
    let lines = |stream: &mut UnixStream, wire: &Wire<'_>| {
        reply(stream, &wire.header, Payload::Success(Success::Text("subscribed".into())));
        let timestamp = "2026-01-31T12:00:00.5Z".parse::<Time>().unwrap();
        for line in [&b"hello"[..], b"\x1b[31mred\xff\r"] {
            let data = Data::Console { timestamp, line: Cow::Borrowed(line) };
            reply(stream, &wire.header, Payload::Data(data));
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let outcome = converse(directory.path(), &["console", "a"], move |stream, wire| lines(stream, &wire));
    assert_eq!(outcome.code, 0);
    let expected = "host [unikernel: :a]: subscribed\n\
                    console 2026-01-31T12:00:00.500-00:00: hello\n\
                    console 2026-01-31T12:00:00.500-00:00: \\x1b[31mred\\xff\\r\n";
    assert_eq!(outcome.stdout, expected);
    let outcome = converse(directory.path(), &["console", "a", "--json"], move |stream, wire| {
        lines(stream, &wire);
        reply(stream, &wire.header, Payload::Failure("gone".into()));
    });
    assert_eq!(outcome.code, 117);
    let last: Vec<&str> = outcome.stdout.lines().skip(2).collect();
    assert_eq!(
        last,
        [
            "{\"line\":{\"hex\":\"1b5b33316d726564ff0d\"},\"name\":\":a\",\"time\":\"2026-01-31T12:00:00.500-00:00\",\
             \"type\":\"line\"}",
            "{\"host\":\":a\",\"message\":\"gone\",\"type\":\"failure\"}",
        ]
    );
}

/// Those of bhyve, which only a peer on FreeBSD sends.
#[test]
fn counters_of_a_virtual_machine_monitor_are_shown() {
    let figures = |stream: &mut UnixStream, wire: &Wire<'_>| {
        reply(stream, &wire.header, Payload::Success(Success::Text("subscribed".into())));
        let vmm = vec![("total number of vm exits".into(), 50), ("a\u{7}".into(), 51)];
        let rusage = Rusage { maxrss: 4711, ..Rusage::default() };
        let statistics = Statistics { rusage, interfaces: Vec::new(), vmm: Some(vmm), kinfo_mem: None };
        reply(stream, &wire.header, Payload::Data(Data::Statistics(Box::new(statistics))));
    };
    let directory = tempfile::tempdir().unwrap();
    let outcome = converse(directory.path(), &["stats", "-na:b"], move |stream, wire| figures(stream, &wire));
    assert_eq!(outcome.code, 0);
    let line = outcome.stdout.lines().nth(1).unwrap();
    assert!(
        line.contains(" max rss 4711 ") && line.contains(" total number of vm exits 50 a\\x07 51"),
        "{line}"
    );
    let outcome = converse(directory.path(), &["stats", "-na:b", "--json"], move |stream, wire| {
        figures(stream, &wire);
    });
    assert!(outcome.stdout.contains("\"total number of vm exits\""), "{}", outcome.stdout);
}

#[test]
fn an_image_is_fetched_into_a_file() {
    let content = fs::read(image("spt-no-devices.elf")).unwrap();
    for level in [0, 9] {
        let image = match level {
            0 => content.clone(),
            level => albatross_core::image::deflate(&content, level),
        };
        let directory = tempfile::tempdir().unwrap();
        let level_word = level.to_string();
        let words = ["get", "foo:hello", "--compression-level", &level_word];
        let outcome = converse(directory.path(), &words, move |stream, wire| {
            let expected = Payload::Command(Command::Unikernel(UnikernelCommand::Get(Int::from(
                i32::try_from(level).unwrap(),
            ))));
            assert_eq!(wire.payload, expected);
            let image = Success::UnikernelImage { compressed: level > 0, image: Cow::Owned(image) };
            reply(stream, &wire.header, Payload::Success(image));
        });
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let start =
            format!("host [unikernel: foo:hello]: written to {}/foo:hello.", directory.path().display());
        assert!(outcome.stdout.starts_with(&start), "{outcome:?}");
        let path = outcome.stdout.trim_end().split_once("written to ").unwrap().1.to_owned();
        assert!(path.ends_with("-00:00"), "{path}");
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o133, 0);
    }
    // A bomb, or rubbish, leaves no file.
    let outcome = answered(
        &["get", "a"],
        Payload::Success(Success::UnikernelImage { compressed: true, image: Cow::Borrowed(b"rubbish") }),
    );
    assert_eq!(outcome.code, 121, "{outcome:?}");
}

#[test]
fn mistakes_go_to_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    for words in [&["info", "--unknown"][..], &[], &["updat", "a"], &["info", "--csr", "-d", "host"]] {
        let outcome = run(directory.path(), words);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (124, ""), "{words:?}");
        assert!(outcome.stderr.starts_with("albatross-client: "), "{outcome:?}");
    }
    let outcome = run(directory.path(), &["create", "--help"]);
    assert!(outcome.code == 0 && outcome.stdout.contains("--compression-level"), "{outcome:?}");
    assert_eq!(
        run(directory.path(), &["--version"]).stdout,
        format!("albatross-client {}\n", env!("CARGO_PKG_VERSION"))
    );
}

fn text(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

/// A dump of these messages, and the files that are left.
fn dump(messages: Vec<Payload<'static>>) -> (Outcome, Vec<String>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let outcome = converse(directory.path(), &["dump-block", "a:data"], move |stream, wire| {
        assert_eq!(wire.payload, Payload::Command(Command::Block(BlockCommand::Dump(Int::ZERO))));
        messages.into_iter().for_each(|payload| reply(stream, &wire.header, payload));
    });
    let mut names: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "test.sock")
        .collect();
    names.sort();
    let content = names.first().map(|name| fs::read(directory.path().join(name)).unwrap());
    (outcome, names, content.unwrap_or_default())
}

fn part(octets: &'static [u8]) -> Payload<'static> {
    Payload::Data(Data::Block(Some(octets.into())))
}

const END: Payload<'static> = Payload::Data(Data::Block(None));
const PLAIN: Payload<'static> = Payload::Success(Success::BlockDeviceImage { compressed: false });

#[test]
fn a_dump_is_kept_when_it_is_whole() {
    let (outcome, names, content) = dump(vec![PLAIN, part(b"one "), part(b"\0\0"), part(b"two"), END]);
    assert_eq!((outcome.code, content.as_slice()), (0, b"one \0\0two".as_slice()), "{}", text(&outcome));
    assert!(names.len() == 1 && names[0].starts_with("a:data."), "{names:?}");
    let zlib: &'static [u8] = albatross_core::image::deflate(b"content", 9).leak();
    let compressed = Payload::Success(Success::BlockDeviceImage { compressed: true });
    let (head, tail) = zlib.split_at(5);
    let (outcome, _, content) = dump(vec![compressed.clone(), part(head), part(tail), END]);
    assert_eq!((outcome.code, content.as_slice()), (0, b"content".as_slice()));
    for (messages, code, wanted) in [
        (vec![PLAIN, part(b"one")], 121, "before the end"),
        (vec![PLAIN], 121, "before the end"),
        (vec![PLAIN, part(b"one"), Payload::Failure("the disk is gone".into())], 117, "the disk is gone"),
        (vec![compressed.clone(), part(head), END], 121, "cannot be used"),
        (vec![compressed, part(b"content"), END], 121, "cannot be used"),
        (vec![part(b"one"), END], 121, "no answer"),
        (vec![Payload::Success(Success::Text("yes".into()))], 121, "another command"),
    ] {
        let (outcome, names, _) = dump(messages);
        assert!(
            outcome.code == code && text(&outcome).contains(wanted),
            "{} {}",
            outcome.code,
            text(&outcome)
        );
        assert_eq!(names, Vec::<String>::new(), "{wanted}");
    }
}

#[test]
fn what_is_set_follows_as_a_stream_and_an_early_answer_counts() {
    let directory = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let file = directory.path().join("file");
    fs::write(&file, &content).unwrap();
    let words = |level: &'static str| ["set-block", "a:data", "file", "--compression-level", level];
    for level in ["0", "6"] {
        let content = content.clone();
        let outcome = converse(directory.path(), &words(level), move |stream, wire| {
            let mut came = Vec::new();
            loop {
                let chunk = read_frame(stream);
                if chunk.is_empty() {
                    break;
                }
                assert!(chunk.len() <= 65_536);
                came.extend(chunk);
            }
            let compressed = level != "0";
            assert_eq!(wire.payload, Payload::Command(Command::Block(BlockCommand::Set { compressed })));
            let came =
                if compressed { albatross_core::image::inflate(&came, 1 << 20).unwrap() } else { came };
            assert!(came == content);
            reply(stream, &wire.header, Payload::Success(Success::Text("set block device".into())));
        });
        assert_eq!(outcome.code, 0, "{}", text(&outcome));
    }
    let outcome = converse(directory.path(), &words("0"), |stream, wire| {
        read_frame(stream);
        reply(stream, &wire.header, Payload::Failure("too much".into()));
    });
    assert!(outcome.code == 117 && text(&outcome).contains("too much"), "{}", text(&outcome));
    let outcome = run(directory.path(), &["set-block", "a:data", "missing"]);
    assert_eq!(outcome.code, 124, "{}", text(&outcome));
    let outcome = run(directory.path(), &["create-block", "data", "1", "--data", "file", "--csr"]);
    assert!(outcome.code == 124 && text(&outcome).contains("two commands"), "{}", text(&outcome));
}

/// A daemon on a socket of `directory` that serves as many connections as `serve` has parts.
fn serve(directory: &Path, parts: Vec<fn(&mut UnixStream, Wire<'static>)>) -> thread::JoinHandle<()> {
    let listener = UnixListener::bind(directory.join("test.sock")).unwrap();
    thread::spawn(move || {
        for part in parts {
            let (mut stream, _) = listener.accept().unwrap();
            let frame = read_frame(&mut stream).leak();
            part(&mut stream, Wire::decode(frame).unwrap());
        }
    })
}

fn running(stream: &mut UnixStream, wire: Wire<'static>) {
    assert_eq!(wire.payload, Payload::Command(Command::Unikernel(UnikernelCommand::Info)));
    let info = Info {
        typ: Typ::Solo5,
        startup: None,
        fail_behaviour: FailBehaviour::Quit,
        cpuids: [Int::ZERO].into(),
        memory: Int::from(32),
        digest: [0xab_u8; 32].as_slice().into(),
        block_devices: Vec::new(),
        net_devices: Vec::new(),
        argv: Some(vec!["secret".into()]),
        started: Time::from_unix(1_769_860_800, 0).unwrap(),
        cpus: Int::ONE,
        linux_boot_partition: None,
    };
    let list = vec![("foo:runs".parse().unwrap(), info)];
    reply(stream, &wire.header, Payload::Success(Success::Info(list)));
}

fn on_record(stream: &mut UnixStream, wire: Wire<'static>) {
    assert_eq!(wire.payload, Payload::Command(Command::Unikernel(UnikernelCommand::Status)));
    let since = Time::from_unix(1_769_860_800, 0).unwrap();
    let status = |state, restarts, pid, last_exit| Status { state, since, restarts, pid, last_exit };
    let why = "no bridge\x1b[2J".into();
    let list = vec![
        ("foo:runs".parse().unwrap(), status(State::Running, Int::from(2), Some(Int::from(77)), None)),
        (
            "foo:waits".parse().unwrap(),
            status(State::Failed(why), Int::ZERO, None, Some(Exit::Exited(Int::ONE))),
        ),
    ];
    reply(stream, &wire.header, Payload::Success(Success::Status(list)));
}

#[test]
fn info_shows_what_is_on_record_where_the_daemon_knows_it() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = serve(directory.path(), vec![running, on_record, running, on_record]);
    let outcome = run(directory.path(), &["--socket", "test.sock", "info"]);
    daemon_lines(
        &outcome,
        &["foo:runs solo5 ", " running since 2026-01-31T12:00:00-00:00 pid 77 restarts 2"],
        2,
    );
    daemon_lines(&outcome, &["foo:waits not started: no bridge\\x1b[2J since ", "last ended by exit 1"], 2);
    assert!(!outcome.stdout.contains("secret"), "{outcome:?}");
    let outcome = run(directory.path(), &["--socket", "test.sock", "info", "--json"]);
    let objects: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["status"]["pid"], 77, "{outcome:?}");
    assert_eq!((&objects[0]["type"], &objects[1]["type"]), (&"unikernel".into(), &"status".into()));
    assert_eq!(objects[1]["last_exit"]["exited"], 1);
    daemon.join().unwrap();
    // A daemon that does not know the question closes, or refuses.
    for part in [
        (|_: &mut UnixStream, _: Wire<'static>| ()) as fn(&mut UnixStream, Wire<'static>),
        |stream: &mut UnixStream, wire: Wire<'static>| {
            reply(stream, &wire.header, Payload::Failure("unknown command".into()));
        },
    ] {
        let directory = tempfile::tempdir().unwrap();
        let daemon = serve(directory.path(), vec![running, part]);
        let outcome = run(directory.path(), &["--socket", "test.sock", "info"]);
        daemon_lines(&outcome, &["foo:runs solo5 "], 1);
        daemon.join().unwrap();
    }
}

/// Success, with so many lines, of which one has all of `parts`.
fn daemon_lines(outcome: &Outcome, parts: &[&str], lines: usize) {
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (0, lines), "{outcome:?}");
    let has = |line: &str| parts.iter().all(|part| line.contains(part));
    assert!(outcome.stdout.lines().any(has), "{parts:?}: {outcome:?}");
}

#[test]
fn what_happens_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let outcome = converse(directory.path(), &["log", "--since", "2026-01-31"], |stream, wire| {
        let since = History::Since("2026-01-31".parse().unwrap());
        assert_eq!(wire.payload, Payload::Command(Command::Log(LogCommand(since))));
        reply(stream, &wire.header, Payload::Success(Success::Empty));
        let session = Session { address: "10.0.0.1\x1b".into(), serial: [0_u8, 0xff].as_slice().into() };
        for (name, event) in [
            (":", Event::DaemonStarted),
            ("foo:", Event::Login(session)),
            ("foo:a", Event::Command { command: "create".into(), failure: Some("no".into()) }),
            (
                "foo:a",
                Event::UnikernelStopped { pid: Int::from(7), exit: Some(Exit::Signalled(Int::from(9))) },
            ),
        ] {
            let timestamp = Time::from_unix(1_769_860_800, 0).unwrap();
            let data = Data::Log(LogEntry { timestamp, event });
            reply(stream, &Header::new(0, name.parse().unwrap()), Payload::Data(data));
        }
    });
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let time = "2026-01-31T12:00:00-00:00";
    assert_eq!(
        lines[1..],
        [
            format!("log {time} :: albatrossd started"),
            format!("log {time} foo:: login from 10.0.0.1\\x1b serial 00ff"),
            format!("log {time} foo:a: create failed: no"),
            format!("log {time} foo:a: pid 7 ended by signal 9"),
        ]
    );
}

#[test]
fn an_image_by_digest_follows_its_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = image("spt-net-service.elf");
    let content = fs::read(&file).unwrap();
    let words = ["create", "a:b", file.to_str().unwrap(), "--by-digest", "--net", "service"];
    let outcome = converse(directory.path(), &words, move |stream, wire| {
        let mut came = Vec::new();
        loop {
            let chunk = read_frame(stream);
            if chunk.is_empty() {
                break;
            }
            came.extend(chunk);
        }
        assert_eq!(came, content);
        let Payload::Command(Command::Unikernel(UnikernelCommand::CreateByDigest(signed))) = wire.payload
        else {
            panic!("{:?}", wire.payload);
        };
        assert_eq!(signed.sha256, albatross_core::image::digest(&content));
        assert_eq!(signed.size.get(), i64::try_from(content.len()).unwrap());
        assert!(!signed.config.compressed && signed.config.image.is_empty());
        reply(stream, &wire.header, Payload::Success(Success::Text("created unikernel".into())));
    });
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// Starts the client against a daemon that answers with `payloads` and then waits; `act` is given the client
/// when that much is sent, and the outcome is what comes then.
fn interrupt(directory: &Path, words: &[&str], payloads: Vec<Payload<'static>>, signal: Signal) -> Outcome {
    let listener = UnixListener::bind(directory.join("test.sock")).unwrap();
    let mut all = vec!["--socket", "test.sock"];
    all.extend(words);
    let mut child = start(directory, &all);
    let (mut stream, _) = listener.accept().unwrap();
    let wire = Wire::decode(read_frame(&mut stream).leak()).unwrap();
    let is_console = matches!(wire.payload, Payload::Command(Command::Console(_)));
    for payload in payloads {
        reply(&mut stream, &wire.header, payload);
    }
    if is_console {
        // It has the answer when it has said so.
        let mut line = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    } else {
        // It is at it when there is the beginning of a file.
        while fs::read_dir(directory).unwrap().count() < 2 {
            thread::yield_now();
        }
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    finish(child)
}

#[test]
fn what_has_no_end_is_ended_by_the_user() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let directory = tempfile::tempdir().unwrap();
        let subscribed = Payload::Success(Success::Text("subscribed".into()));
        let outcome = interrupt(directory.path(), &["console", "a:b"], vec![subscribed], signal);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let directory = tempfile::tempdir().unwrap();
        let outcome =
            interrupt(directory.path(), &["dump-block", "a:data"], vec![PLAIN, part(b"half")], signal);
        assert_eq!(outcome.code, code, "{outcome:?}");
        // Nothing is left of what is not whole.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
