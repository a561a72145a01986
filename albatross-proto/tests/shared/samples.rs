//! Encodings of what no recorded vector has: what is new in this implementation, and our own record.

use albatross_proto::command::{ByDigest, History, RevocationCommand};
use albatross_proto::log::{Event, LogCommand, LogEntry, LogRecord, Session};
use albatross_proto::reply::{Exit, State as Doing, Status};
use albatross_proto::state::{Change, Process, Record, RecordedUnikernel, Running, Stage, Tender};
use albatross_proto::{
    Arguments, BlockDevice, Command, Config, Data, FailBehaviour, Header, Int, MacAddress, NetDevice,
    Payload, Policy, Success, Time, Typ, UnikernelCommand, Wire, extension,
};

/// Encodings for the decoder of this name.
pub(crate) fn samples(decoder: &str) -> Vec<Vec<u8>> {
    match decoder {
        "wire" => wires(),
        "extension" => commands().iter().map(|command| extension::encode(command).unwrap()).collect(),
        "change" => changes().iter().map(|change| change.encode().unwrap()).collect(),
        "log_record" => log_records().iter().map(|record| record.encode().unwrap()).collect(),
        "running" => runnings(),
        "record" => records().iter().map(|record| record.encode().unwrap()).collect(),
        _ => Vec::new(),
    }
}

fn wires() -> Vec<Vec<u8>> {
    let mut payloads: Vec<Payload<'_>> = commands().into_iter().map(Payload::Command).collect();
    payloads.extend(statuses().into_iter().map(Payload::Success));
    payloads.extend(events().into_iter().map(|event| {
        Payload::Data(Data::Log(LogEntry { timestamp: Time::from_unix_millis(1_500).unwrap(), event }))
    }));
    let header = Header::new(7, "foo:bar".parse().unwrap());
    let mut encodings: Vec<Vec<u8>> =
        payloads.into_iter().map(|payload| Wire::new(header.clone(), payload).encode().unwrap()).collect();
    encodings.extend(with_later_fields());
    encodings
}

/// A status and a log entry with fields of later versions: context tags, in ascending order.
fn with_later_fields() -> [Vec<u8>; 2] {
    let time = tlv(&[0x18], &[b"19700101000000Z"]);
    let header = tlv(
        &[0x30],
        &[&tlv(&[0x02], &[&[5]]), &tlv(&[0x04], &[&[0, 0, 0, 0, 0, 0, 0, 7]]), &tlv(&[0x0c], &[b"a:b"])],
    );
    let running = tlv(&[0xa0], &[&[0x05, 0]]);
    let status = tlv(&[0x30], &[&running, &time, &[0x02, 1, 0], &[0xa2, 2, 0x05, 0], &[0xbf, 0x1f, 1, 0]]);
    let named = tlv(&[0x30], &[&tlv(&[0x0c], &[b":a"]), &status]);
    let success = tlv(&[0xa1], &[&tlv(&[0xbe], &[&tlv(&[0x30], &[&named])])]);
    let entry = tlv(&[0x30], &[&time, &running, &[0xa0, 0], &[0xa9, 2, 0xff, 0xff]]);
    let data = tlv(&[0xa3], &[&tlv(&[0xbe], &[&entry])]);
    [success, data].map(|payload| tlv(&[0x30], &[&header, &payload]))
}

/// A short value of these parts.
fn tlv(tag: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80).expect("a short value");
    [tag, &[length], &content].concat()
}

fn commands() -> Vec<Command<'static>> {
    let by_digest = ByDigest {
        config: Config { image: Vec::new().into(), ..config() },
        sha256: [7; 32],
        size: Int::from(123_456),
    };
    vec![
        Command::Log(LogCommand(History::Since(Time::from_unix_millis(-1).unwrap()))),
        Command::Log(LogCommand(History::Count(Int::MAX))),
        Command::Revocation(RevocationCommand::Install(vec![0x30, 0].into())),
        Command::Unikernel(UnikernelCommand::Status),
        Command::Unikernel(UnikernelCommand::CreateByDigest(by_digest.clone())),
        Command::Unikernel(UnikernelCommand::ForceCreateByDigest(by_digest)),
    ]
}

fn statuses() -> Vec<Success<'static>> {
    let status = |state, pid, last_exit| Status {
        state,
        since: Time::from_unix_millis(1_000_000_000_123).unwrap(),
        restarts: Int::from(3),
        pid,
        last_exit,
    };
    let until = Time::from_unix_millis(1_700_000_000_000).unwrap();
    let list = vec![
        (":a".parse().unwrap(), status(Doing::Running, Some(Int::from(4711)), None)),
        (":b".parse().unwrap(), status(Doing::Starting, None, Some(Exit::Exited(Int::ZERO)))),
        ("b:c".parse().unwrap(), status(Doing::Waiting(until), None, Some(Exit::Signalled(Int::from(11))))),
        ("b:".parse().unwrap(), status(Doing::Failed("no tap".into()), None, Some(Exit::Stopped(Int::ONE)))),
    ];
    vec![Success::Status(Vec::new()), Success::Status(list)]
}

fn events() -> Vec<Event> {
    let session = Session { address: "192.0.2.1:1025".into(), serial: [0, 0xff, 1].as_slice().into() };
    vec![
        Event::DaemonStarted,
        Event::Login(session.clone()),
        Event::Logout(session),
        Event::Command { command: "create".into(), failure: None },
        Event::Command { command: "create".into(), failure: Some("no".into()) },
        Event::UnikernelStarted(Int::from(4711)),
        Event::UnikernelStopped { pid: Int::from(4711), exit: Some(Exit::Exited(Int::from(-1))) },
        Event::UnikernelStopped { pid: Int::from(4711), exit: None },
    ]
}

/// A record of the event log for each kind of event.
pub(crate) fn log_records() -> Vec<LogRecord> {
    let timestamp = Time::from_unix_millis(1_700_000_000_000).unwrap();
    let record = |event| LogRecord { name: "a:b".parse().unwrap(), entry: LogEntry { timestamp, event } };
    events().into_iter().map(record).collect()
}

/// A change of each kind.
pub(crate) fn changes() -> Vec<Change> {
    let Record { unikernels, policies } = records().remove(1);
    let unikernels = unikernels.into_iter().map(|(name, unikernel)| Change::Unikernel(name, unikernel));
    let policies = policies.into_iter().map(|(path, policy)| Change::Policy(path, policy));
    let removed = [Change::NoUnikernel("b:c".parse().unwrap()), Change::NoPolicy("b".parse().unwrap())];
    unikernels.chain(policies).chain(removed).collect()
}

/// Notes of tenders in each stage, one of them with fields of a later version.
fn runnings() -> Vec<Vec<u8>> {
    let tender = |stage, user, taps: &[&str], blocks: &[&str]| Tender {
        name: "a:b".parse().unwrap(),
        taps: taps.iter().map(|tap| (*tap).into()).collect(),
        user,
        since: Time::from_unix_millis(1_700_000_000_005).unwrap(),
        restarts: Int::from(3),
        stage,
        blocks: blocks.iter().map(|block| block.parse().unwrap()).collect(),
    };
    let user = Some(Int::from(90_001));
    let tenders = [
        tender(Stage::Starting, None, &[], &[]),
        tender(Stage::Running, user, &["vmmtap0"], &["a:data"]),
        tender(Stage::Stopping, user, &["vmmtap0", "vmmtap12"], &[":x", "a:y"]),
    ];
    let process = Process { pid: Int::from(4711), started: Int::from(123_456) };
    let note = |tender| Running { process: process.clone(), tender }.encode().unwrap();
    let time = tlv(&[0x18], &[b"19700101000000Z"]);
    let process = tlv(&[0x30], &[&[0x02, 1, 7], &[0x02, 1, 9]]);
    let head = [&tlv(&[0x0c], &[b":a"]), &[0x30, 0][..], &time, &[0x02, 1, 0], &[0xa1, 2, 0x05, 0]];
    let tender =
        tlv(&[0x30], &[&head.concat(), &[0xa1, 2, 0x30, 0], &[0xa2, 2, 0x05, 0], &[0xbf, 0x1f, 1, 0]]);
    let later = tlv(&[0xbf, 0x1f], &[&tlv(&[0x30], &[&process, &tender])]);
    tenders.map(note).into_iter().chain([later]).collect()
}

fn config() -> Config<'static> {
    let arguments = Arguments {
        fail_behaviour: FailBehaviour::Restart([Int::from(1), Int::from(1000)].into()),
        startup: Some(Int::from(10)),
        block_devices: vec![
            BlockDevice { name: "a".into(), device: Some("b".into()), sector_size: Some(Int::from(4096)) },
            BlockDevice { name: "b".into(), device: None, sector_size: None },
        ],
        net_devices: vec![NetDevice {
            name: "service".into(),
            bridge: Some("ext".into()),
            mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        }],
        argv: Some(vec!["--ipv4=10.0.0.2/24".into(), "".into()]),
        cpus: Int::from(2),
        linux_boot_partition: Some("1".into()),
        ..Arguments::new()
    };
    Config { typ: Typ::Solo5, compressed: true, image: vec![1, 2, 3].into(), arguments }
}

/// Records with nothing and with something.
pub(crate) fn records() -> Vec<Record> {
    let unikernel = |image: &[u8]| RecordedUnikernel {
        config: Config { image: image.to_vec().into(), ..config() },
        digest: [9; 32],
    };
    let policy = Policy {
        cpuids: [Int::ZERO, Int::ONE].into(),
        unikernels: Int::from(10),
        memory: Int::from(1024),
        block: Some(Int::from(20)),
        bridges: ["ext".into(), "service".into()].into(),
    };
    vec![
        Record::default(),
        Record {
            unikernels: vec![
                (":a".parse().unwrap(), unikernel(b"")),
                ("b:c".parse().unwrap(), unikernel(b"x")),
            ],
            policies: vec![
                ("".parse().unwrap(), policy.clone()),
                ("b".parse().unwrap(), Policy { block: None, ..policy }),
            ],
        },
    ]
}
