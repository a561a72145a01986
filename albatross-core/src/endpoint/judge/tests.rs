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

fn policy() -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(2),
        memory: Int::from(64),
        block: None,
        bridges: [].into(),
    }
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
        let issuer = Issuer::new(&root, &root_key).unwrap();
        let label = "alice".parse().unwrap();
        let alice = vec![issuer.intermediate(&label, alice_key.public_key(), &policy(), &terms()).unwrap()];
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
    assert_eq!(judge.lists().count(), 0);
    assert_eq!(judge.install(&command, &other.path, noon()).unwrap(), Installed::First);
    assert_eq!(judge.lists().count(), 1);
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
    let changes = judge.changes();
    judge.load(&list, noon()).unwrap();
    assert!(judge.revoked(&judged.path).is_some());
    assert!(judge.links.is_empty() && judge.changes() != changes);
    // A list of somebody else changes nothing for those who are connected.
    let (other, changes) = (Pki::new(), judge.changes());
    let other = self::list(&other.alice[0], &other.alice_key, &chain[0]);
    assert_eq!(judge.load(&other, noon()).unwrap(), Loaded::Waiting);
    assert_eq!(judge.changes(), changes);
}

/// Below a CA that was revoked are all CAs below it, too.
#[test]
fn the_revoked_ca_of_a_longer_path_is_named() {
    let pki = Pki::new();
    let (random, bob_key) = (SystemRandom::new(), key());
    let cas = [pki.alice.clone(), pki.root.clone()].concat();
    let issuer = Issuer::new(&cas, &pki.alice_key).unwrap();
    let terms = Terms::new(validity(), &random).unwrap();
    let bob = issuer.intermediate(&"bob".parse().unwrap(), bob_key.public_key(), &policy(), &terms).unwrap();
    let cas = [vec![bob], pki.alice.clone()].concat();
    let chain = [vec![leaf(&cas, &bob_key, "one")], cas.clone()].concat();
    for (place, list) in [
        (0, list(&cas[0], &bob_key, &chain[0])),
        (1, list(&cas[1], &pki.alice_key, &chain[1])),
        (2, list(&pki.root[0], &pki.root_key, &chain[2])),
    ] {
        let mut judge = pki.judge();
        let judged = judge.judge(&chain, noon()).unwrap();
        judge.load(&list, noon()).unwrap();
        let found = judge.revoked(&judged.path).unwrap();
        assert_eq!(refusal(&found), (Position::Sent(place), Rule::Revoked));
        let subject = ["CN=one", "CN=bob", "CN=alice"][place];
        assert!(found.to_string().contains(subject), "{found}");
    }
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

#[test]
fn what_is_kept_of_closed_connections_is_forgotten_before_it_is_too_much() {
    let pki = Pki::new();
    let mut judge = pki.judge();
    let alice = judge.judge(&pki.chain("one"), noon()).unwrap();
    let closed = (0..2 * MAX_CONNECTIONS - 2).map(|number| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        (id, Arc::downgrade(&Arc::from(Vec::new())))
    });
    judge.known.extend(closed);
    let direct = |name: &str| [leaf(&pki.root, &pki.root_key, name)];
    let root = judge.judge(&direct("two"), noon()).unwrap();
    assert_eq!(judge.known.len(), 2 * MAX_CONNECTIONS);
    // There is no room for another: those of connections that last stay, the others go.
    let other = {
        let (random, own) = (SystemRandom::new(), key());
        let issuer = Issuer::new(&pki.root, &pki.root_key).unwrap();
        let terms = Terms::new(validity(), &random).unwrap();
        let ca = issuer.intermediate(&"bob".parse().unwrap(), own.public_key(), &policy(), &terms).unwrap();
        let leaf = leaf(std::slice::from_ref(&ca), &own, "one");
        judge.judge(&[leaf, ca], noon()).unwrap()
    };
    assert_eq!(judge.known.len(), 3);
    for (judged, chain) in [(alice, pki.chain("three")), (root, direct("four").to_vec())] {
        let again = judge.judge(&chain, noon()).unwrap();
        assert!(Arc::ptr_eq(&judged.path.issuers, &again.path.issuers));
    }
    drop(other);
}

#[test]
fn a_judge_is_shown_by_its_root() {
    let judge = Pki::new().judge();
    assert_eq!(format!("{judge:?}"), format!("Judge {{ root: {:?}, .. }}", judge.root));
}
