//! How long it takes to write and read messages: `cargo bench -p albatross-proto`.
//!
//! Targets on one core: a whole `info` message (header and command) written in 100 ns and read in 250 ns, a
//! `create` with an image of 16 MiB read in 50 us.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;

use albatross_proto::reply::{Info, InfoNet};
use albatross_proto::{
    Arguments, Command, Config, FailBehaviour, Header, Int, MacAddress, NetDevice, Payload, Success, Time,
    Typ, UnikernelCommand, Wire, extension,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const IMAGE: usize = 16 * 1024 * 1024;

fn arguments() -> Arguments {
    Arguments {
        net_devices: vec![NetDevice { name: "service".into(), bridge: Some("ext".into()), mac: None }],
        argv: Some(vec!["--ipv4=10.0.0.2/24".into(), "--ipv4-gateway=10.0.0.1".into()]),
        ..Arguments::new()
    }
}

fn create(image: usize) -> Command<'static> {
    let config =
        Config { typ: Typ::Solo5, compressed: true, image: vec![7; image].into(), arguments: arguments() };
    Command::Unikernel(UnikernelCommand::Create(config))
}

/// A message about `foo:bar:hello`.
fn about(payload: Payload<'static>) -> Wire<'static> {
    Wire::new(Header::new(1, "foo:bar:hello".parse().unwrap()), payload)
}

fn infos(count: u32) -> Success<'static> {
    let info = Info {
        typ: Typ::Solo5,
        startup: None,
        fail_behaviour: FailBehaviour::Quit,
        cpuids: [Int::ONE].into(),
        memory: Int::from(32),
        digest: [7_u8; 32].as_slice().into(),
        block_devices: Vec::new(),
        net_devices: vec![InfoNet {
            unikernel_device: "service".into(),
            host_device: "ext".into(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
        }],
        argv: arguments().argv,
        started: Time::from_unix_millis(1_700_000_000_123).unwrap(),
        cpus: Int::ONE,
        linux_boot_partition: None,
    };
    Success::Info((0..count).map(|n| (format!("bar:u{n}").parse().unwrap(), info.clone())).collect())
}

fn message(c: &mut Criterion, what: &str, wire: &Wire<'_>) {
    let bytes = wire.encode().unwrap();
    let mut group = c.benchmark_group(what);
    group.throughput(Throughput::Bytes(u64::try_from(bytes.len()).unwrap()));
    group.bench_function("encode", |b| b.iter(|| black_box(wire).encode().unwrap()));
    group.bench_function("decode", |b| b.iter(|| drop(Wire::decode(black_box(&bytes)).unwrap())));
    group.finish();
}

fn messages(c: &mut Criterion) {
    let info = Payload::Command(Command::Unikernel(UnikernelCommand::Info));
    message(c, "info", &about(info));
    message(c, "info reply of 1 unikernel", &about(Payload::Success(infos(1))));
    message(c, "info reply of 1000 unikernels", &about(Payload::Success(infos(1000))));
    message(c, "create without an image", &about(Payload::Command(create(0))));
    message(c, "create with 16 MiB", &about(Payload::Command(create(IMAGE))));
}

fn extensions(c: &mut Criterion) {
    let command = create(0);
    let value = extension::encode(&command).unwrap();
    let mut group = c.benchmark_group("extension");
    group.bench_function("encode", |b| b.iter(|| extension::encode(black_box(&command)).unwrap()));
    group.bench_function("decode", |b| b.iter(|| drop(extension::decode(black_box(&value)).unwrap())));
    group.finish();
}

criterion_group!(benches, messages, extensions);
criterion_main!(benches);
