//! Certificates made here and read back: every key, every profile, every rule broken once, and what
//! OpenSSL says about them.
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

mod authority;
mod forge;
mod issuing;
mod keys;
mod openssl;
mod pem;
mod rules;

use albatross_core::certificate::{Certificate, pem as text};
use albatross_core::issue::{self, Issuer, KeyKind, KeyPair, SigningKey, Terms, Validity};
use albatross_proto::{Command, Int, Label, Policy, Time, UnikernelCommand};
use ring::rand::SystemRandom;

/// When all of this happens.
fn now() -> Time {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn random() -> SystemRandom {
    SystemRandom::new()
}

fn key() -> KeyPair {
    KeyPair::generate(KeyKind::Ed25519, &random()).unwrap()
}

fn terms(random: &SystemRandom) -> Terms<'_> {
    Terms::new(Validity::days(now(), 1).unwrap(), random).unwrap()
}

fn pem_of(certificate: &Certificate<'_>) -> String {
    text::encode_certificates([certificate])
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn info() -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Info)
}

/// A policy for so many unikernels, 100 MB each.
fn policy(unikernels: i32) -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(unikernels),
        memory: Int::from(100 * unikernels),
        block: None,
        bridges: ["service".into()].into(),
    }
}

/// A root and its key.
fn new_root() -> (Certificate<'static>, KeyPair) {
    let (key, random) = (key(), random());
    (issue::root("ca", &key, &terms(&random)).unwrap(), key)
}

/// A chain of intermediates below a root, the lowest first, the root last, and the key of the lowest.
/// Each policy is one unikernel smaller than the one above.
fn new_chain(labels: &[&str]) -> (Vec<Certificate<'static>>, KeyPair) {
    let (root, mut key) = new_root();
    let mut chain = vec![root];
    let mut unikernels = 20;
    for text in labels {
        let (next, random) = (self::key(), random());
        let issuer = Issuer::new(&chain, &key).unwrap();
        let certificate = issuer
            .intermediate(&label(text), next.public_key(), &policy(unikernels), &terms(&random))
            .unwrap();
        chain.insert(0, certificate);
        unikernels -= 1;
        key = next;
    }
    (chain, key)
}

/// The chain of a new leaf below `above`, without the root.
fn new_leaf(
    above: &[Certificate<'static>],
    key: &KeyPair,
    command: &Command<'_>,
) -> Vec<Certificate<'static>> {
    let random = random();
    let issuer = Issuer::new(above, key).unwrap();
    let leaf =
        issuer.leaf(Some(&label("hello")), self::key().public_key(), command, &terms(&random)).unwrap();
    let above = issuer.chain().iter().map(|ca| ca.clone().into_owned());
    std::iter::once(leaf).chain(above).collect()
}
