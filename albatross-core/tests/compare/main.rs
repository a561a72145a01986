//! The path verifier beside two general ones, webpki and OpenSSL: what is accepted here, they accept too.
//!
//! Over the recorded chains, chains of all kinds of keys and depths, chains that OpenSSL made, and changed ones:
//! bits flipped, certificates left out, doubled and swapped, extensions changed and signed again, and the DER
//! of what is signed changed anywhere and signed again. The other direction does not hold: they search for a
//! path, here a chain is one.
//!
//! What is random comes from a seed, which is printed; `ALBATROSS_COMPARE_SEED` sets it and
//! `ALBATROSS_COMPARE_ROUNDS` the number of changed chains of each kind. Where openssl is not installed, webpki
//! alone is asked.
#![cfg(feature = "certificates")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test stops at the first surprise, reads files and runs openssl"
)]

mod judges;
mod make;
mod mutate;
mod openssl;
mod tree;

use std::path::{Path, PathBuf};

use albatross_core::certificate::pem;
use albatross_core::issue::KeyKind;
use albatross_proto::Time;

use judges::Judges;
use mutate::Numbers;

/// Changed chains of each kind.
const ROUNDS: usize = 1500;
const SEED: u64 = 0x6d61_7920_2732_3621;

/// When the chains that are made here are valid.
fn now() -> Time {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn rounds() -> usize {
    std::env::var("ALBATROSS_COMPARE_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap())
}

fn numbers() -> Numbers {
    let seed = std::env::var("ALBATROSS_COMPARE_SEED").map_or(SEED, |text| text.parse().unwrap());
    println!("seed {seed}");
    Numbers::new(seed)
}

fn certificates(path: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read(path).unwrap();
    pem::certificates(&text, 64 << 20).unwrap().iter().map(|it| it.der().to_vec()).collect()
}

/// The recorded chains at their time, and at times when they are not valid.
#[test]
fn recorded_chains() {
    let vectors = std::env::var_os("ALBATROSS_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors"), PathBuf::from);
    let mut judges = Judges::default();
    for entry in std::fs::read_dir(vectors.join("chain")).unwrap() {
        let case = entry.unwrap().path();
        let Ok(result) = std::fs::read(case.join("result.json")) else { continue };
        let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
        let at = result["validation_time"].as_str().unwrap().parse().unwrap();
        let (root, sent) = (certificates(&case.join("ca.pem")), certificates(&case.join("chain.pem")));
        for at in
            [at, "1999-01-01".parse().unwrap(), "2020-01-01".parse().unwrap(), "2300-01-01".parse().unwrap()]
        {
            judges.ask(&root[0], &sent, at, &case.display());
        }
    }
    assert!(judges.finish("recorded") > 0);
}

#[test]
fn every_depth() {
    let mut judges = Judges::default();
    for depth in 0..=make::MAX_DEPTH {
        let chain = make::fixed(depth);
        assert!(judges.ask(chain.root(), &chain.sent(), now(), &depth));
        for at in ["2025-12-31T23:59:59Z", "2026-01-01", "2026-12-31T23:59:59Z", "2027-01-01T00:00:01Z"] {
            judges.ask(chain.root(), &chain.sent(), at.parse().unwrap(), &depth);
        }
        // RFC 5280 section 4.1.2.5: the last second is included. OpenSSL ends one earlier.
        assert!(judges.ask_webpki_alone(chain.root(), &chain.sent(), "2027-01-01".parse().unwrap(), &depth));
    }
    assert_eq!(judges.finish("depths"), (make::MAX_DEPTH + 1) * 4);
}

/// Each kind as leaf, intermediate and root below and above each other.
#[test]
fn every_kind_of_key() {
    const QUICK: [KeyKind; 4] = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];
    let mut judges = Judges::default();
    for kind in QUICK {
        for depth in 0..=make::MAX_DEPTH {
            let chain = make::of_kinds(&vec![kind; depth + 2]);
            assert!(judges.ask(chain.root(), &chain.sent(), now(), &format_args!("{kind} {depth}")));
        }
        for other in QUICK {
            let chain = make::of_kinds(&[kind, other, kind, other]);
            assert!(judges.ask(chain.root(), &chain.sent(), now(), &format_args!("{kind} {other}")));
        }
    }
    let rsa = make::of_kinds(&[KeyKind::Rsa2048, KeyKind::P256, KeyKind::Rsa2048]);
    assert!(judges.ask(rsa.root(), &rsa.sent(), now(), &"RSA"));
    if let Some(keys) = (0..3).map(|_| openssl::large_key()).collect() {
        let large = make::with_keys(keys);
        assert!(judges.ask(large.root(), &large.sent(), now(), &"RSA of 4096 bits"));
    }
    judges.finish("kinds of keys");
}

#[test]
fn chains_that_openssl_made() {
    let Some(chains) = openssl::chains() else { return };
    let mut judges = Judges::default();
    let mut numbers = numbers();
    for chain in &chains {
        assert!(judges.ask(&chain.root, &chain.sent, chain.at, &chain.name), "{}", chain.name);
        for round in 0..rounds() / 20 {
            let mut sent = chain.sent.clone();
            let at = numbers.below(sent.len());
            mutate::flip(&mut sent[at], &mut numbers);
            judges.ask(&chain.root, &sent, chain.at, &format_args!("{} round {round}", chain.name));
        }
    }
    judges.finish("made by OpenSSL, and bits of them flipped");
}

#[test]
fn other_orders_and_numbers() {
    let stranger = make::of_kinds(&[KeyKind::Ed25519, KeyKind::Ed25519]);
    let mut judges = Judges::default();
    for depth in 0..=6 {
        let chain = make::fixed(depth);
        for (what, sent) in mutate::orders(&chain, stranger.root()) {
            let accepted = judges.ask(chain.root(), &sent, now(), &format_args!("depth {depth}, {what}"));
            // Nothing but the path, with the root or without it; and a path that begins with a CA is none.
            assert_eq!(accepted, what == format!("the root at {}", depth + 1), "depth {depth}, {what}");
        }
    }
    judges.finish("orders and numbers");
}

#[test]
fn changed_extensions() {
    let mut judges = Judges::default();
    let chain = make::fixed(2);
    for at in 0..chain.ders.len() {
        for (what, der) in mutate::extensions(&chain, at) {
            let (root, sent) = chain.with(at, der);
            judges.ask(&root, &sent, now(), &format_args!("certificate {at}: {what}"));
        }
    }
    judges.finish("changed extensions");
}

#[test]
fn flipped_bits() {
    let (mut judges, mut numbers) = (Judges::default(), numbers());
    let chain = make::fixed(2);
    for round in 0..rounds() {
        let at = numbers.below(chain.ders.len());
        let mut der = chain.ders[at].clone();
        mutate::flip(&mut der, &mut numbers);
        let (root, sent) = chain.with(at, der);
        judges.ask(&root, &sent, now(), &format_args!("certificate {at}, round {round}"));
    }
    assert_eq!(judges.finish("bits flipped"), 0);
}

/// Bits flipped in what is signed, and signed again: the issuer is at fault, not somebody on the way.
#[test]
fn flipped_bits_signed_again() {
    let (mut judges, mut numbers) = (Judges::default(), numbers());
    let chain = make::fixed(2);
    for round in 0..rounds() {
        let at = numbers.below(chain.ders.len());
        let mut tbs = chain.tbs(at).der();
        mutate::flip(&mut tbs, &mut numbers);
        let (root, sent) = chain.with(at, chain.signed_again(at, &tbs));
        judges.ask(&root, &sent, now(), &format_args!("certificate {at}, round {round}"));
    }
    assert!(judges.finish("bits flipped and signed again") > 0);
}

/// The structure of what is signed changed in one or two places, and signed again.
#[test]
fn changed_structure_signed_again() {
    let (mut judges, mut numbers) = (Judges::default(), numbers());
    let chain = make::fixed(2);
    for round in 0..rounds() * 2 {
        let at = numbers.below(chain.ders.len());
        let mut tbs = chain.tbs(at);
        for _ in 0..=numbers.below(2) {
            mutate::change(&mut tbs, &mut numbers);
            if tbs.count() < 2 {
                break;
            }
        }
        let (root, sent) = chain.with(at, chain.signed_again(at, &tbs.der()));
        judges.ask(&root, &sent, now(), &format_args!("certificate {at}, round {round}"));
    }
    assert!(judges.finish("structure changed and signed again") > 0);
}
