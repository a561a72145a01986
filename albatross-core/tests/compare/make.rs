//! Chains with all their keys, the same ones each time.

use albatross_core::certificate::Certificate;
use albatross_core::issue::{self, Issuer, KeyKind, KeyPair, Serial, SigningKey, Terms, Validity};
use albatross_proto::{Command, Int, Label, Policy, PolicyCommand, UnikernelCommand};
use ring::rand::SystemRandom;

use crate::tree::Node;

/// The most intermediates of a chain.
pub(crate) const MAX_DEPTH: usize = 8;
/// PKCS#8 of an Ed25519 key, up to the seed.
const ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Certificates and their keys: the leaf first, the root last.
pub(crate) struct Chain {
    pub(crate) ders: Vec<Vec<u8>>,
    pub(crate) keys: Vec<KeyPair>,
}

/// An Ed25519 key that is always the same.
pub(crate) fn fixed_key(number: usize) -> KeyPair {
    let mut pkcs8 = ED25519.to_vec();
    pkcs8.extend([u8::try_from(number).unwrap() + 1; 32]);
    KeyPair::from_pkcs8(&pkcs8, &SystemRandom::new()).unwrap()
}

/// A chain of fixed keys, with so many intermediates.
pub(crate) fn fixed(depth: usize) -> Chain {
    with_keys((0..depth + 2).map(fixed_key).collect())
}

/// A chain of new keys: the leaf's kind first, the root's last.
pub(crate) fn of_kinds(kinds: &[KeyKind]) -> Chain {
    let key = |kind: &KeyKind| KeyPair::generate(*kind, &SystemRandom::new()).unwrap();
    with_keys(kinds.iter().map(key).collect())
}

/// A chain of these keys, the leaf's first, the root's last.
pub(crate) fn with_keys(keys: Vec<KeyPair>) -> Chain {
    let random = SystemRandom::new();
    let terms = |number: usize| Terms {
        validity: Validity::new("2026-01-01".parse().unwrap(), "2027-01-01".parse().unwrap()).unwrap(),
        serial: Serial::new(&[u8::try_from(number).unwrap() + 0x80]).unwrap(),
        random: &random,
    };
    let root_at = keys.len() - 1;
    let mut above = vec![issue::root("ca", &keys[root_at], &terms(root_at)).unwrap()];
    for at in (1..root_at).rev() {
        let issuer = Issuer::new(&above, &keys[at + 1]).unwrap();
        let label: Label = format!("i{at}").parse().unwrap();
        let policy = policy(i32::try_from(at).unwrap() + 1);
        let next = issuer.intermediate(&label, keys[at].public_key(), &policy, &terms(at)).unwrap();
        above.insert(0, next);
    }
    let issuer = Issuer::new(&above, &keys[1]).unwrap();
    let command = Command::Unikernel(UnikernelCommand::Info);
    let label = "hello".parse().unwrap();
    let leaf = issuer.leaf(Some(&label), keys[0].public_key(), &command, &terms(0)).unwrap();
    let ders = std::iter::once(&leaf).chain(&above).map(|it: &Certificate<'_>| it.der().to_vec()).collect();
    Chain { ders, keys }
}

fn policy(unikernels: i32) -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(unikernels),
        memory: Int::from(100 * unikernels),
        block: None,
        bridges: ["service".into()].into(),
    }
}

/// The value of the extension of an intermediate that OpenSSL is to make.
pub(crate) fn policy_extension() -> Vec<u8> {
    albatross_proto::extension::encode(&Command::Policy(PolicyCommand::Add(policy(5)))).unwrap()
}

impl Chain {
    /// The certificates as they are sent: without the root.
    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        self.ders[..self.ders.len() - 1].to_vec()
    }

    pub(crate) fn root(&self) -> &[u8] {
        self.ders.last().unwrap()
    }

    /// The certificate at `at` with another content, signed by its issuer's key (the root by its own).
    pub(crate) fn signed_again(&self, at: usize, tbs: &[u8]) -> Vec<u8> {
        let key = &self.keys[(at + 1).min(self.keys.len() - 1)];
        let mut certificate = Node::parse(&self.ders[at]).unwrap();
        let algorithm = certificate.children()[1].der();
        let mut signature = key.sign(tbs, &SystemRandom::new()).unwrap();
        signature.insert(0, 0);
        let mut content = tbs.to_vec();
        content.extend(algorithm);
        content.extend(Node::octets(0x03, &signature).der());
        Node::octets(0x30, &content).der()
    }

    /// The content that is signed of the certificate at `at`.
    pub(crate) fn tbs(&self, at: usize) -> Node {
        Node::parse(&self.ders[at]).unwrap().children().swap_remove(0)
    }

    /// The same chain and root with another certificate at `at`.
    pub(crate) fn with(&self, at: usize, der: Vec<u8>) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut ders = self.ders.clone();
        ders[at] = der;
        let root = ders.pop().unwrap();
        (root, ders)
    }
}
