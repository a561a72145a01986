//! Chains that are judged again and again, with lists coming in between.

use albatross_proto::{Int, Policy, UnikernelCommand};
use ring::rand::SystemRandom;

use super::*;
use crate::{
    certificate::{MAX_VERIFIED_LINKS, SignatureError},
    issue::{
        self, Issuer, KeyKind, KeyPair, ListIssuer, ListTerms, Revoked, Serial, SigningKey as _, Terms,
        Validity,
    },
};

struct Pki {
    root: Vec<Certificate<'static>>,
    root_key: KeyPair,
    alice: Vec<Certificate<'static>>,
    alice_key: KeyPair,
}

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

fn noon() -> Time {
    at("2026-06-01T12:00:00Z")
}

fn key() -> KeyPair {
    KeyPair::generate(KeyKind::Ed25519, &SystemRandom::new()).unwrap()
}

fn validity() -> Validity {
    Validity::new(at("2026-01-01"), at("2027-01-01")).unwrap()
}

fn leaf(cas: &[Certificate<'_>], ca_key: &KeyPair, name: &str) -> Certificate<'static> {
    let (random, own) = (SystemRandom::new(), key());
    let terms = Terms::new(validity(), &random).unwrap();
    let info = albatross_proto::Command::Unikernel(UnikernelCommand::Info);
    let issuer = Issuer::new(cas, ca_key).unwrap();
    issuer.leaf(Some(&name.parse().unwrap()), own.public_key(), &info, &terms).unwrap()
}

fn list(ca: &Certificate<'_>, ca_key: &KeyPair, revoked: &Certificate<'_>) -> Vec<u8> {
    let random = SystemRandom::new();
    let revoked =
        Revoked { serial: Serial::new(revoked.serial()).unwrap(), date: at("2026-02-01"), reason: None };
    let issuer = ListIssuer::new(ca, ca_key).unwrap();
    issuer.issue(None, &[revoked], &ListTerms::new(validity(), &random)).unwrap().der().to_vec()
}

impl Pki {
    fn new() -> Self {
        let random = SystemRandom::new();
        let terms = || Terms::new(validity(), &random).unwrap();
        let (root_key, alice_key) = (key(), key());
        let root = vec![issue::root("ca", &root_key, &terms()).unwrap()];
        let policy = Policy {
            cpuids: [Int::ZERO].into(),
            unikernels: Int::from(2),
            memory: Int::from(64),
            block: None,
            bridges: [].into(),
        };
        let issuer = Issuer::new(&root, &root_key).unwrap();
        let label = "alice".parse().unwrap();
        let alice = vec![issuer.intermediate(&label, alice_key.public_key(), &policy, &terms()).unwrap()];
        Self { root, root_key, alice, alice_key }
    }

    fn judge(&self) -> Judge {
        Judge::new(Root::new(self.root[0].clone()).unwrap())
    }

    fn chain(&self, name: &str) -> Vec<Certificate<'static>> {
        vec![leaf(&self.alice, &self.alice_key, name), self.alice[0].clone()]
    }
}

fn refusal(error: &ChainError) -> (Position, Rule) {
    match error {
        ChainError::Refused { position, rule, .. } => (*position, rule.clone()),
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_computed_is_not_computed_again_and_all_else_is_checked_each_time() {
    let pki = Pki::new();
    let mut judge = pki.judge();
    let chain = pki.chain("one");
    let judged = judge.judge(&chain, noon()).unwrap();
    assert_eq!(
        (judged.subject.as_str(), judged.authority.unwrap().name.to_string().as_str()),
        ("CN=one", "alice:one")
    );
    assert_eq!(judge.links.len(), 2);
    judge.judge(&pki.chain("two"), noon()).unwrap();
    assert_eq!(judge.links.len(), 3, "the CA is known");
    // The time counts whatever is known.
    let (place, rule) = refusal(&judge.judge(&chain, at("2027-06-01")).unwrap_err());
    assert!(matches!((place, rule), (Position::Sent(0), Rule::Expired { .. })));
    // So does every octet: another signature is another certificate.
    for (place, certificate) in chain.iter().enumerate() {
        let mut der = certificate.der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        let mut changed = chain.clone();
        changed[place] = Certificate::from_vec(der).unwrap();
        let found = refusal(&judge.judge(&changed, noon()).unwrap_err());
        assert_eq!(found, (Position::Sent(place), Rule::Signature(SignatureError::Wrong)));
    }
    // And what was signed by another key of the same name is not known.
    let other = Pki::new();
    assert!(judge.judge(&other.chain("one"), noon()).is_err());
    assert!(judge.judge(&[chain[0].clone(), other.alice[0].clone()], noon()).is_err());
    assert_eq!(judge.links.len(), 3, "nothing of what is refused is remembered");
    assert!(judge.links.len() <= 2 * MAX_VERIFIED_LINKS);
}

#[test]
fn a_new_list_empties_what_is_known_and_counts_at_once() {
    let pki = Pki::new();
    let mut judge = pki.judge();
    let (one, two) = (pki.chain("one"), pki.chain("two"));
    let before = judge.judge(&one, noon()).unwrap();
    let other = judge.judge(&two, noon()).unwrap();
    assert!(judge.revoked(&before.path).is_none());
    let changes = judge.changes();
    let command = RevocationCommand::Install(list(&pki.alice[0], &pki.alice_key, &one[0]).into());
    assert_eq!(judge.install(&command, &other.path, noon()).unwrap(), Installed::First);
    assert!(judge.links.is_empty() && judge.changes() != changes);
    assert_eq!(refusal(&judge.revoked(&before.path).unwrap()), (Position::Sent(0), Rule::Revoked));
    assert_eq!(refusal(&judge.judge(&one, noon()).unwrap_err()), (Position::Sent(0), Rule::Revoked));
    assert!(judge.revoked(&other.path).is_none());
    judge.judge(&two, noon()).unwrap();
    // The same once more changes nothing.
    let changes = judge.changes();
    assert_eq!(judge.install(&command, &other.path, noon()).unwrap(), Installed::Unchanged);
    assert_eq!((judge.changes(), judge.links.is_empty()), (changes, false));
    // With the CA goes all below it.
    judge.load(&list(&pki.root[0], &pki.root_key, &pki.alice[0]), noon()).unwrap();
    let gone = judge.revoked(&other.path).unwrap();
    assert_eq!(refusal(&gone), (Position::Sent(1), Rule::Revoked));
    assert!(gone.to_string().contains("CN=alice"));
}

#[test]
fn a_list_of_a_ca_that_is_connected_counts_when_it_is_loaded() {
    let pki = Pki::new();
    let chain = pki.chain("one");
    let list = list(&pki.alice[0], &pki.alice_key, &chain[0]);
    // Nobody has shown that CA: it waits until somebody does.
    let mut judge = pki.judge();
    assert_eq!(judge.load(&list, noon()).unwrap(), Loaded::Waiting);
    let changes = judge.changes();
    assert_eq!(refusal(&judge.judge(&chain, noon()).unwrap_err()), (Position::Sent(0), Rule::Revoked));
    assert_ne!(judge.changes(), changes, "others who were let in are asked about again");
    // Somebody is connected who did.
    let mut judge = pki.judge();
    let judged = judge.judge(&chain, noon()).unwrap();
    judge.load(&list, noon()).unwrap();
    assert!(judge.revoked(&judged.path).is_some());
}

#[test]
fn connections_of_one_user_share_what_is_kept_and_it_goes_with_the_last() {
    let pki = Pki::new();
    let mut judge = pki.judge();
    let judged: Vec<_> = (0..10).map(|_| judge.judge(&pki.chain("one"), noon()).unwrap()).collect();
    assert_eq!(judge.known.len(), 1);
    assert_eq!(Arc::strong_count(&judged[0].path.issuers), 10);
    drop(judged);
    assert_eq!(judge.known.values().filter(|cas| cas.strong_count() > 0).count(), 0);
}
