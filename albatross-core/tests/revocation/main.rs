//! Revocation lists made here and read back: every rule broken once, what the store takes and what it
//! refuses, what happens to chains, and what OpenSSL says about the lists.
#![cfg(feature = "certificates")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise, reads files and runs openssl"
)]

mod forge;
mod issuing;
mod openssl;
mod reading;
mod store;

use albatross_core::certificate::{Certificate, Root, VerifiedPath};
use albatross_core::issue::{
    self, Issuer, KeyKind, KeyPair, ListIssuer, ListTerms, Revoked, Serial, SigningKey, Terms, Validity,
};
use albatross_core::revocation::{MAX_LIST_SIZE, RevocationList};
use albatross_proto::{Command, Int, Policy, Time, UnikernelCommand};
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

fn list_terms(random: &SystemRandom) -> ListTerms<'_> {
    ListTerms::new(Validity::days(now(), issue::LIST_DAYS).unwrap(), random)
}

fn policy() -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(5),
        memory: Int::from(500),
        block: None,
        bridges: ["service".into()].into(),
    }
}

fn info() -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Info)
}

/// A CA: its certificate with those above it, its own first, and its key.
struct Ca {
    chain: Vec<Certificate<'static>>,
    key: KeyPair,
}

impl Ca {
    fn root(kind: KeyKind) -> Self {
        let key = KeyPair::generate(kind, &random()).unwrap();
        let certificate = issue::root("root", &key, &terms(&random())).unwrap();
        Self { chain: vec![certificate], key }
    }

    fn below(&self, label: &str) -> Self {
        self.with_key(label, key())
    }

    fn with_key(&self, label: &str, key: KeyPair) -> Self {
        let issuer = Issuer::new(&self.chain, &self.key).unwrap();
        let label = label.parse().unwrap();
        let made = issuer.intermediate(&label, key.public_key(), &policy(), &terms(&random())).unwrap();
        let chain = [vec![made], self.chain.clone()].concat();
        Self { chain, key }
    }

    fn certificate(&self) -> &Certificate<'static> {
        &self.chain[0]
    }

    /// A leaf with the chain above it, without the root.
    fn leaf(&self) -> Vec<Certificate<'static>> {
        let issuer = Issuer::new(&self.chain, &self.key).unwrap();
        let leaf = issuer.leaf(None, key().public_key(), &info(), &terms(&random())).unwrap();
        let above = self.chain[..self.chain.len() - 1].to_vec();
        [vec![leaf], above].concat()
    }

    /// A list of this CA that also revokes these.
    fn revoke(
        &self,
        previous: Option<&RevocationList<'_>>,
        certificates: &[&Certificate<'_>],
    ) -> RevocationList<'static> {
        let revoked: Vec<_> = certificates.iter().map(|certificate| revoked(certificate)).collect();
        let issuer = ListIssuer::new(self.certificate(), &self.key).unwrap();
        issuer.issue(previous, &revoked, &list_terms(&random())).unwrap()
    }
}

fn revoked(certificate: &Certificate<'_>) -> Revoked {
    Revoked { serial: Serial::new(certificate.serial()).unwrap(), date: now(), reason: None }
}

fn root_of(ca: &Ca) -> Root<'static> {
    Root::new(ca.chain.last().unwrap().clone()).unwrap()
}

fn path_of<'p>(chain: &'p [Certificate<'p>], root: &'p Root<'p>) -> VerifiedPath<'p> {
    let nothing = &albatross_core::certificate::NothingRevoked;
    albatross_core::certificate::verify(chain, root, now(), nothing).unwrap()
}

fn read(der: &[u8]) -> RevocationList<'_> {
    RevocationList::from_der(der, MAX_LIST_SIZE).unwrap()
}
