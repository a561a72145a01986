//! How long it takes from a chain to its authority: `cargo bench -p albatross-core --bench certificates`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise"
)]

use std::hint::black_box;

use albatross_core::authority::Authority;
use albatross_core::certificate::{Certificate, NothingRevoked, Root, chain_from_der, verify};
use albatross_core::issue::{Issuer, KeyKind, KeyPair, SigningKey, Terms, Validity, root};
use albatross_proto::{Arguments, Command, Config, Int, Policy, Time, Typ, UnikernelCommand};
use criterion::{Criterion, criterion_group, criterion_main};
use ring::rand::SystemRandom;

const IMAGE: usize = 16 * 1024 * 1024;
const SIZE_LIMIT: usize = 2 * IMAGE;

/// A root, and a chain of a leaf with an image of so many octets and three intermediates with policies.
fn chain(kind: KeyKind, image: usize) -> (Certificate<'static>, Vec<Vec<u8>>, Time) {
    let random = SystemRandom::new();
    let now: Time = "2026-01-31T12:00:00Z".parse().unwrap();
    let terms = || Terms::new(Validity::days(now, 10).unwrap(), &random).unwrap();
    let mut key = KeyPair::generate(kind, &random).unwrap();
    let top = root("root", &key, &terms()).unwrap();
    let mut above = vec![top.clone()];
    let policy = Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(10),
        memory: Int::from(1024),
        block: None,
        bridges: [].into(),
    };
    for label in ["alice", "bob", "carol"] {
        let own = KeyPair::generate(kind, &random).unwrap();
        let issuer = Issuer::new(&above, &key).unwrap();
        let ca = issuer.intermediate(&label.parse().unwrap(), own.public_key(), &policy, &terms()).unwrap();
        above.insert(0, ca);
        key = own;
    }
    let own = KeyPair::generate(kind, &random).unwrap();
    let config = Config {
        typ: Typ::Solo5,
        compressed: true,
        image: vec![7; image].into(),
        arguments: Arguments::new(),
    };
    let command = Command::Unikernel(UnikernelCommand::Create(config));
    let issuer = Issuer::new(&above, &key).unwrap();
    let leaf = issuer.leaf(Some(&"hello".parse().unwrap()), own.public_key(), &command, &terms()).unwrap();
    above.pop();
    above.insert(0, leaf);
    (top, above.iter().map(|certificate| certificate.der().to_vec()).collect(), now)
}

fn bench(c: &mut Criterion, what: &str, kind: KeyKind, image: usize) {
    let (top, ders, now) = chain(kind, image);
    let root = Root::new(top).unwrap();
    let parse = || chain_from_der(black_box(&ders).iter().map(Vec::as_slice), SIZE_LIMIT).unwrap();
    let mut group = c.benchmark_group(what);
    group.sample_size(20);
    group.bench_function("parse", |b| b.iter(|| drop(parse())));
    let parsed = parse();
    group.bench_function("extension out of the leaf", |b| {
        b.iter(|| drop(black_box(&parsed[0]).command().unwrap()));
    });
    let verified = verify(&parsed, &root, now, &NothingRevoked).unwrap();
    group.bench_function("authority of a verified path", |b| {
        b.iter(|| drop(Authority::of(black_box(&verified)).unwrap()));
    });
    group.bench_function("chain to authority", |b| {
        b.iter(|| {
            let chain = parse();
            let path = verify(&chain, &root, now, &NothingRevoked).unwrap();
            drop(Authority::of(&path).unwrap());
        });
    });
    group.finish();
}

fn issue(c: &mut Criterion) {
    let random = SystemRandom::new();
    let now: Time = "2026-01-31T12:00:00Z".parse().unwrap();
    let key = KeyPair::generate(KeyKind::Ed25519, &random).unwrap();
    let terms = Terms::new(Validity::days(now, 10).unwrap(), &random).unwrap();
    let above = [root("root", &key, &terms).unwrap()];
    let issuer = Issuer::new(&above, &key).unwrap();
    let command = Command::Unikernel(UnikernelCommand::Info);
    c.bench_function("extension into a leaf, signed with Ed25519", |b| {
        b.iter(|| drop(issuer.leaf(None, key.public_key(), black_box(&command), &terms).unwrap()));
    });
}

fn chains(c: &mut Criterion) {
    bench(c, "Ed25519", KeyKind::Ed25519, 0);
    bench(c, "P-256", KeyKind::P256, 0);
    bench(c, "RSA 2048", KeyKind::Rsa2048, 0);
    bench(c, "Ed25519 with an image of 16 MiB", KeyKind::Ed25519, IMAGE);
    issue(c);
}

criterion_group!(benches, chains);
criterion_main!(benches);
