//! `decode` of what the vectors do not have: what is ours alone, frames, requests and revocation lists, and
//! garbage of every size.
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

use albatross_client::decode::{EncodeJsonError, Kind, encode, recognise};
use albatross_client::schema::{MAX_JSON_VALUES, Style, Writer};
use albatross_core::eventlog::{Chain, LINK};
use albatross_core::journal::{Entries, SALT};
use albatross_e2e::run::has_openssl;
use albatross_proto::command::{ByDigest, History, RevocationCommand};
use albatross_proto::log::{Event, LogCommand, LogEntry, LogRecord, Session};
use albatross_proto::reply::{BlockDeviceInfo, Exit, State as Doing, Status};
use albatross_proto::state::{Change, Record, RecordedUnikernel};
use albatross_proto::{
    Arguments, BlockCommand, Command, Config, Data, Header, Int, Name, Path, Payload, Policy, Success, Time,
    Typ, UnikernelCommand, Wire, extension, frame,
};
use common::{openssl, run, run_with_input, succeed};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn time() -> Time {
    "2026-01-31T12:00:00.25Z".parse().unwrap()
}

fn config() -> Config<'static> {
    let mut arguments = Arguments::new();
    arguments.argv = Some(vec!["--hello=\u{1b}[31m".into()]);
    Config { typ: Typ::Solo5, compressed: false, image: Cow::Borrowed(b""), arguments }
}

fn by_digest() -> ByDigest {
    ByDigest { config: config(), sha256: [7; 32], size: Int::from(1000) }
}

fn policy() -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::ONE,
        memory: Int::from(64),
        block: None,
        bridges: ["service".into()].into(),
    }
}

fn session() -> Session {
    Session { address: "192.0.2.1".into(), serial: [0, 200, 1].as_slice().into() }
}

fn commands() -> Vec<Command<'static>> {
    vec![
        Command::Unikernel(UnikernelCommand::Status),
        Command::Unikernel(UnikernelCommand::InfoV4),
        Command::Unikernel(UnikernelCommand::CreateByDigest(by_digest())),
        Command::Unikernel(UnikernelCommand::ForceCreateByDigest(by_digest())),
        Command::Log(LogCommand(History::Count(Int::from(10)))),
        Command::Log(LogCommand(History::Since(time()))),
        Command::Revocation(RevocationCommand::Install(Cow::Borrowed(b"list"))),
        Command::Block(BlockCommand::Dump(Int::ZERO)),
    ]
}

fn status(state: Doing, last_exit: Option<Exit>) -> Status {
    Status { state, since: time(), restarts: Int::from(2), pid: last_exit.map(|_| Int::from(99)), last_exit }
}

fn payloads() -> Vec<Payload<'static>> {
    let statuses = vec![
        (name("a:b"), status(Doing::Running, None)),
        (name("c"), status(Doing::Starting, Some(Exit::Exited(Int::from(3))))),
        (name("d"), status(Doing::Waiting(time()), Some(Exit::Signalled(Int::from(9))))),
        (name("e"), status(Doing::Failed("no tap".into()), Some(Exit::Stopped(Int::from(19))))),
    ];
    let device = BlockDeviceInfo { size: Int::from(5), active: true };
    let events = [
        Event::DaemonStarted,
        Event::Login(session()),
        Event::Logout(session()),
        Event::Command { command: "info".into(), failure: None },
        Event::Command { command: "info".into(), failure: Some([0xff].as_slice().into()) },
        Event::UnikernelStarted(Int::from(7)),
        Event::UnikernelStopped { pid: Int::from(7), exit: Some(Exit::Exited(Int::ZERO)) },
    ];
    let mut payloads = vec![
        Payload::Success(Success::Status(statuses)),
        Payload::Success(Success::BlockDevices(vec![(name("a:disk"), device)])),
        Payload::Success(Success::Consoles(vec![name("a:b"), name("c")])),
        Payload::Success(Success::InfoV4(Vec::new())),
        Payload::Data(Data::Block(None)),
        Payload::Data(Data::Block(Some(Cow::Borrowed(b"octets")))),
    ];
    payloads.extend(commands().into_iter().map(Payload::Command));
    let entry = |event| Payload::Data(Data::Log(LogEntry { timestamp: time(), event }));
    payloads.extend(events.map(entry));
    payloads
}

fn wires() -> Vec<Wire<'static>> {
    payloads().into_iter().map(|payload| Wire::new(Header::new(-1, name("a:b")), payload)).collect()
}

fn written(octets: &[u8], kind: Option<Kind>, style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    for document in recognise(octets, kind).unwrap() {
        document.write(&mut Writer::new(&mut out, style)).unwrap();
    }
    out
}

/// Recognised without help; from its JSON come the same octets; for people there is no control character.
fn there_and_back(octets: &[u8]) -> String {
    let json = written(octets, None, Style::Json);
    assert_eq!(encode(&json).unwrap(), octets, "{}", String::from_utf8_lossy(&json));
    let plain = String::from_utf8(written(octets, None, Style::Plain)).unwrap();
    assert!(!plain.contains(|c: char| c.is_control() && c != '\n'), "{plain}");
    plain
}

#[test]
fn what_is_ours_alone() {
    for wire in wires() {
        there_and_back(&wire.encode().unwrap());
    }
    for command in commands() {
        there_and_back(&extension::encode(&command).unwrap());
    }
}

#[test]
fn our_record() {
    let policies: Vec<(Path, Policy)> = vec![("foo".parse().unwrap(), policy())];
    let unikernels = vec![(name("foo:a"), RecordedUnikernel { config: config(), digest: [9; 32] })];
    for record in [Record::default(), Record { unikernels: unikernels.clone(), policies: policies.clone() }] {
        there_and_back(&record.encode().unwrap());
    }

    // As albatrossd keeps it.
    let (name, unikernel) = unikernels[0].clone();
    let (path, policy) = policies[0].clone();
    let changes = vec![
        Change::Unikernel(name.clone(), unikernel),
        Change::NoUnikernel(name),
        Change::Policy(path.clone(), policy),
        Change::NoPolicy(path),
    ];
    let entries = Entries { salt: [7; SALT], record: Record { unikernels, policies }, changes, torn: 0 };
    let file = entries.write().unwrap();
    there_and_back(&file);
    let torn = written(&file[..file.len() - 1], None, Style::Plain);
    let torn = String::from_utf8(torn).unwrap();
    assert!(torn.contains("torn_octets: ") && !torn.contains("no-policy"), "{torn}");
    let mut broken = file;
    broken[100] ^= 1;
    let why = recognise(&broken, None).unwrap_err().to_string();
    assert!(why.contains("whole record"), "{why}");
}

#[test]
fn the_event_log() {
    let events = [
        Event::DaemonStarted,
        Event::Login(session()),
        Event::Logout(session()),
        Event::Command { command: "create".into(), failure: Some("\u{1b}[31m".into()) },
        Event::UnikernelStarted(Int::from(7)),
        Event::UnikernelStopped { pid: Int::from(7), exit: Some(Exit::Signalled(Int::from(9))) },
        Event::UnikernelStopped { pid: Int::from(7), exit: None },
    ];
    let (mut chain, mut file) = Chain::begin([3; LINK]);
    for event in events {
        let record = LogRecord { name: name("foo:a"), entry: LogEntry { timestamp: time(), event } };
        file.extend(chain.append(&record).unwrap());
    }
    let plain = there_and_back(&file);
    assert!(plain.contains("unikernel-stopped"), "{plain}");
    let middle = file.len() / 2;
    file[middle] ^= 1;
    let why = recognise(&file, None).unwrap_err().to_string();
    assert!(why.contains("chain is broken"), "{why}");
}

#[test]
fn frames_and_chunks() {
    let mut stream = Vec::new();
    for wire in wires() {
        stream.extend(frame::frame(&wire.encode().unwrap()));
    }
    stream.extend(frame::frame(&[0xfe; 100]));
    stream.extend(frame::frame(b""));
    let plain = there_and_back(&stream);
    assert!(plain.contains("chunk: 100 octets, SHA-256 "), "{plain}");

    for cut in [1, 3, 5, 103, 104] {
        let error = recognise(&stream[..stream.len() - cut], Some(Kind::Frames));
        // The last frame is empty, so without it all is well.
        assert_eq!(error.is_err(), cut != 4, "{cut}");
    }
    let error = recognise(&[0, 0, 0, 2, 0x30, 0x80], Some(Kind::Frames)).unwrap_err().to_string();
    assert!(error.contains("message at byte 4"), "{error}");
}

/// Everything of an authority: keys, requests, certificates, revocation lists; PEM and DER.
#[test]
fn files_of_an_authority() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    succeed(here, &["generate", "root", "db"]);
    succeed(here, &["add-policy", "alice", "2", "--mem=256", "--cpu=0", "--csr"]);
    succeed(here, &["sign", "cacert.pem", "db", "root.key", "alice.req"]);
    for file in ["cacert.pem", "server.pem", "alice.req", "alice.pem"] {
        let text = fs::read(here.join(file)).unwrap();
        let json = written(&text, None, Style::Json);
        let der = encode(&json).unwrap();
        there_and_back(&der);
        // What is signed cannot be changed in its JSON.
        let changed = String::from_utf8(json).unwrap().replace("\"der_bytes\":", "\"der_bytes\":1");
        let error = encode(changed.as_bytes()).unwrap_err();
        assert!(matches!(&error, EncodeJsonError::SignedDiffers { key } if key == "der_bytes"), "{error}");
        let shown = succeed(here, &["decode", file]).stdout;
        assert_eq!(shown.contains("class: policy"), file.starts_with("alice"), "{shown}");
    }

    // Several in one file; a private key is named and not shown.
    let all: Vec<u8> = ["cacert.pem", "alice.pem", "root.key"]
        .iter()
        .flat_map(|file| fs::read(here.join(file)).unwrap())
        .collect();
    fs::write(here.join("all"), &all).unwrap();
    let shown = succeed(here, &["decode", "all", "--json"]).stdout;
    let lines: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["pem_label"], "PRIVATE KEY");
    let key = fs::read_to_string(here.join("root.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!shown.contains(secret));
    let two = shown.lines().take(2).collect::<Vec<_>>().join("\n");
    let (code, octets, _) = run_with_input(here, &["decode", "-", "--encode"], two.as_bytes());
    assert_eq!(code, 0);
    let pem = ["cacert.pem", "alice.pem"].map(|file| fs::read_to_string(here.join(file)).unwrap()).concat();
    assert_eq!(String::from_utf8(octets).unwrap(), pem);
    assert_eq!(run(here, &["decode", "root.key", "--as", "certificate"]).code, 124);
}

#[test]
fn revocation_lists_of_openssl() {
    if !has_openssl() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    succeed(here, &["generate", "root", "db"]);
    fs::write(here.join("index"), "R\t360101000000Z\t260101000000Z,keyCompromise\t0ABC\tunknown\t/CN=x\n")
        .unwrap();
    fs::write(here.join("number"), "2A\n").unwrap();
    fs::write(
        here.join("config"),
        "[ca]\ndefault_ca=it\n[it]\ndatabase=index\ncrlnumber=number\ndefault_md=default\n\
         default_crl_days=30\n",
    )
    .unwrap();
    openssl(
        here,
        &["ca", "-config", "config", "-gencrl", "-cert", "cacert.pem", "-keyfile", "root.key", "-out", "crl"],
    );
    let shown = succeed(here, &["decode", "crl"]).stdout;
    for part in ["number: 42", "serial: 0abc", "reason: keyCompromise", "issuer: /CN=root"] {
        assert!(shown.contains(part), "{shown}");
    }
    let der = encode(&written(&fs::read(here.join("crl")).unwrap(), None, Style::Json)).unwrap();
    there_and_back(&der);

    // And `verify` honours it.
    succeed(here, &["add-policy", "alice", "2", "--csr"]);
    succeed(here, &["sign", "cacert.pem", "db", "root.key", "alice.req"]);
    succeed(here, &["info", "--csr", "-n", "hello"]);
    succeed(here, &["sign", "alice.pem", "db", "alice.key", "hello.req"]);
    let verify = ["verify", "cacert.pem", "hello.pem", "--crl", "crl"];
    let valid = succeed(here, &verify).stdout;
    assert!(valid.contains("name: alice:hello") && valid.contains("op: info"), "{valid}");
    let serial = fs::read_to_string(here.join("db")).unwrap();
    let serial =
        serial.lines().find(|line| line.ends_with(" alice")).unwrap().split(' ').next().unwrap().to_owned();
    let line = format!("R\t360101000000Z\t260101000000Z\t{}\tunknown\t/CN=alice\n", serial.to_uppercase());
    fs::write(here.join("index"), line).unwrap();
    openssl(
        here,
        &["ca", "-config", "config", "-gencrl", "-cert", "cacert.pem", "-keyfile", "root.key", "-out", "crl"],
    );
    let outcome = run(here, &verify);
    assert_eq!(outcome.code, 116, "{outcome:?}");
    assert!(outcome.stdout.contains("certificate 1 (CN=alice): revoked by its issuer"), "{outcome:?}");
    // A list that is not to be honoured is said, not passed over.
    fs::write(here.join("crl"), "x").unwrap();
    assert_eq!(run(here, &verify).code, 124);
}

#[test]
fn mistakes_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let file = |content: &[u8]| fs::write(here.join("file"), content).unwrap();
    let refused = |words: &[&str], parts: &[&str]| {
        let outcome = run(here, words);
        assert_eq!(outcome.code, 124, "{words:?} {outcome:?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        parts.iter().for_each(|part| assert!(said.contains(part), "{part}: {said}"));
    };
    file(b"");
    refused(
        &["decode", "file"],
        &["as frames: ", "as message: ", "as certificate: ", "as crl: ", "as record: "],
    );
    file(b"{}");
    refused(&["decode", "file"], &["--encode"]);
    refused(&["decode", "file", "--encode"], &["header, frames"]);
    refused(&["decode", "file", "--as", "cert"], &["the kinds are frames, message"]);
    refused(&["decode", "nowhere"], &["nowhere"]);
    refused(&["decode"], &["FILE"]);
    refused(&["decode", "file", "--csr"], &["--csr"]);
    file(br#"{"header":{"version":5,"sequence":"0","name":"a"},"payload":{"kind":"command","command":{"class":"block","op":"add"}}}"#);
    refused(&["decode", "file", "--encode"], &["payload.command.size: this key is missing"]);
    file(br#"{"header":{"version":5,"sequence":"0","name":"a:b","name_path":["b"]},"payload":{"kind":"failure","message":""}}"#);
    refused(&["decode", "file", "--encode"], &["header.name_path: does not follow"]);
    file(br#"{"unikernels":[],"policies":[{"name":"a","policy":null}]}"#);
    refused(&["decode", "file", "--encode"], &["policies[0].name: a path is needed"]);
}

/// No input makes it run out of memory, stack or time.
#[test]
fn garbage() {
    let deep = "[".repeat(1 << 20);
    assert!(encode(deep.as_bytes()).is_err());
    let many = format!("[{}1]", "1,".repeat(MAX_JSON_VALUES));
    let error = encode(many.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("values"), "{error}");
    assert!(encode("1 ".repeat(1 << 16).as_bytes()).is_err());

    let blocks = "-----BEGIN A-----\n-----END A-----\n".repeat(1025);
    let error = recognise(blocks.as_bytes(), None).unwrap_err().to_string();
    assert!(error.contains("1024 blocks"), "{error}");

    // Octets of every kind, from a generator with a fixed seed.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seeds: Vec<Vec<u8>> = wires().iter().map(|wire| wire.encode().unwrap()).collect();
    let mut recognised = 0;
    for round in 0..20_000 {
        let mut octets = seeds[round % seeds.len()].clone();
        for _ in 0..=next() % 4 {
            let at = usize::try_from(next()).unwrap() % octets.len();
            octets[at] ^= 1 << (next() % 8);
        }
        if let Ok(documents) = recognise(&octets, None) {
            recognised += 1;
            for document in &documents {
                let mut json = Vec::new();
                document.write(&mut Writer::new(&mut json, Style::Json)).unwrap();
                let again = encode(&json).unwrap();
                assert_eq!(written(&again, None, Style::Json), json, "round {round}");
            }
        }
    }
    println!("{recognised} of 20000 damaged messages are still messages");
}

/// The worst that 16 MiB can hold: as many values as possible.
#[test]
fn large_files() {
    let mut arguments = Arguments::new();
    arguments.argv = Some(vec!["".into(); 8 << 20]);
    let restart = Command::Unikernel(UnikernelCommand::Restart(Some(arguments)));
    let octets = extension::encode(&restart).unwrap();
    assert!(octets.len() > 16 << 20);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), &octets).unwrap();
    let json = succeed(directory.path(), &["decode", "file", "--json"]).stdout;
    assert!(json.len() > 16 << 20);
    // More values than are read back.
    assert!(encode(json.as_bytes()).is_err());
    drop(json);

    let image = vec![0x5a; 16 << 20];
    let create = Config { image: Cow::Owned(image), ..config() };
    let octets = extension::encode(&Command::Unikernel(UnikernelCommand::Create(create))).unwrap();
    fs::write(directory.path().join("file"), &octets).unwrap();
    let plain = succeed(directory.path(), &["decode", "file"]).stdout;
    assert!(plain.contains("image: 16777216 octets, SHA-256 ") && plain.len() < 2000, "{plain}");
    assert_eq!(encode(&written(&octets, None, Style::Json)).unwrap(), octets);
    let endless = run(directory.path(), &["decode", "/dev/zero"]);
    assert_eq!(endless.code, 124, "{endless:?}");
}
