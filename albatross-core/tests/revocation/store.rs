//! What the store takes, what it refuses, and what happens to chains.

use std::borrow::Cow;

use albatross_core::certificate::{
    ChainError, NothingRevoked, Position, Revocation, Root, Rule, SignatureError, verify,
};
use albatross_core::issue::KeyKind;
use albatross_core::revocation::{
    Installed, Issuers, ListErrorKind, Loaded, RevocationError, RevocationStore, StoreLimits, accept, answer,
};
use albatross_proto::{Command, Header, Payload, Success, Time, Wire, command::RevocationCommand, extension};

use super::forge::{AUTHORITY_KEY_ID, Forge, altered, entry, tlv, utc};
use super::{Ca, key, now, path_of, root_of};

/// A root with a CA, a CA below that, and a leaf.
struct Story {
    root: Ca,
    alice: Ca,
    bob: Ca,
}

impl Story {
    fn new() -> Self {
        let root = Ca::root(KeyKind::Ed25519);
        let alice = root.below("alice");
        let bob = alice.below("bob");
        Self { root, alice, bob }
    }
}

fn revoked_at(result: Result<impl Sized, ChainError>) -> Option<usize> {
    match result.map(drop) {
        Ok(()) => None,
        Err(ChainError::Refused { position: Position::Sent(index), rule: Rule::Revoked, .. }) => Some(index),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_revoked_certificate_takes_all_below_it_along() {
    let Story { root, alice, bob } = Story::new();
    let anchor = root_of(&root);
    let (chain, of_alice, other) = (bob.leaf(), alice.leaf(), bob.leaf());
    let path = path_of(&chain, &anchor);
    let issuers = Issuers::of_path(&path);

    let mut store = RevocationStore::default();
    let list = bob.revoke(None, &[&chain[0]]);
    assert_eq!(store.install(list.der(), issuers, now()), Ok(Installed::First));
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), Some(0));
    assert_eq!(revoked_at(verify(&other, &anchor, now(), &store)), None);

    let mut store = RevocationStore::default();
    let list = alice.revoke(None, &[bob.certificate()]);
    assert_eq!(store.install(list.der(), issuers, now()), Ok(Installed::First));
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), Some(1));
    assert_eq!(revoked_at(verify(&other, &anchor, now(), &store)), Some(1));
    assert_eq!(revoked_at(verify(&of_alice, &anchor, now(), &store)), None);

    let mut store = RevocationStore::default();
    let list = root.revoke(None, &[alice.certificate()]);
    assert_eq!(store.install(list.der(), Issuers::of_root(&anchor), now()), Ok(Installed::First));
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), Some(2));
    assert_eq!(revoked_at(verify(&of_alice, &anchor, now(), &store)), Some(1));
}

#[test]
fn lists_of_several_issuers_are_apart() {
    let Story { root, alice, bob } = Story::new();
    let anchor = root_of(&root);
    let chain = bob.leaf();
    let path = path_of(&chain, &anchor);
    let mut store = RevocationStore::default();
    for ca in [&root, &alice, &bob] {
        let list = ca.revoke(None, &[]);
        assert_eq!(store.install(list.der(), Issuers::of_path(&path), now()), Ok(Installed::First));
    }
    assert_eq!(store.lists().count(), 3);
    // The same serial number, revoked by another CA, means nothing.
    let list = alice.revoke(Some(store.list_of(alice.certificate()).unwrap()), &[&chain[0]]);
    assert_eq!(store.install(list.der(), Issuers::of_path(&path), now()), Ok(Installed::Newer));
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), None);
    let list = bob.revoke(store.list_of(bob.certificate()), &[&chain[0]]);
    assert_eq!(store.install(list.der(), Issuers::of_path(&path), now()), Ok(Installed::Newer));
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), Some(0));
    assert_eq!(store.list_of(bob.certificate()).unwrap().number(), 2.into());
}

#[test]
fn an_expired_list_is_honoured_and_installed() {
    let Story { root, alice, .. } = Story::new();
    let anchor = root_of(&root);
    let chain = alice.leaf();
    let path = path_of(&chain, &anchor);
    let mut forge = Forge::new(alice.certificate()).entry(entry(chain[0].serial(), &[]));
    (forge.this_update, forge.next_update) = (utc("260101000000Z"), utc("260102000000Z"));
    let der = forge.sign(&alice.key);
    let mut store = RevocationStore::default();
    assert_eq!(store.install(&der, Issuers::of_path(&path), now()), Ok(Installed::First));
    assert!(store.list_of(alice.certificate()).unwrap().is_expired(now()));
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), Some(0));
}

#[test]
fn numbers_only_grow() {
    let Story { root, alice, .. } = Story::new();
    let anchor = root_of(&root);
    let chain = alice.leaf();
    let path = path_of(&chain, &anchor);
    let list = |number, this_update| {
        let mut forge = Forge::new(alice.certificate()).numbered(number);
        forge.this_update = utc(this_update);
        forge.sign(&alice.key)
    };
    let mut store = RevocationStore::default();
    let mut install = |der: &[u8]| store.install(der, Issuers::of_path(&path), now());
    let five = list(5, "260601000000Z");
    assert_eq!(install(&five), Ok(Installed::First));
    assert_eq!(install(&five), Ok(Installed::Unchanged));
    let refused = Err(RevocationError::Older { number: 4.into(), on_file: 5.into() });
    assert_eq!(install(&list(4, "260601100000Z")), refused, "though it was made later");
    assert_eq!(install(&list(5, "260601100000Z")), Err(RevocationError::SameNumber { number: 5.into() }));
    assert_eq!(install(&list(6, "260531000000Z")), Ok(Installed::Newer));
    assert_eq!(install(&five), Err(RevocationError::Older { number: 5.into(), on_file: 6.into() }));
    assert_eq!(store.list_of(alice.certificate()).unwrap().number(), 6.into());
}

#[test]
fn what_is_refused_and_why() {
    use RevocationError as E;
    let Story { root, alice, bob } = Story::new();
    let anchor = root_of(&root);
    let chain = bob.leaf();
    let path = path_of(&chain, &anchor);
    let limits = StoreLimits { list_size: 1000, ..StoreLimits::default() };
    let mut store = RevocationStore::new(limits);
    let mut install = |der: &[u8]| store.install(der, Issuers::of_path(&path), now()).unwrap_err();
    let issuer = || "CN=alice".to_owned();

    let stranger = root.below("stranger");
    assert_eq!(install(stranger.revoke(None, &[]).der()), E::UnknownIssuer { issuer: "CN=stranger".into() });
    let wrong_key = Forge::new(alice.certificate()).sign(&bob.key);
    let error = SignatureError::Wrong;
    assert_eq!(install(&wrong_key), E::Signature { issuer: issuer(), error });
    // Of another CA of that name.
    let impostor = root.below("alice").revoke(None, &[]);
    assert_eq!(install(impostor.der()), E::KeyIdentifier { issuer: issuer() });
    let spoilt = Forge { spoil_signature: true, ..Forge::new(alice.certificate()) }.sign(&alice.key);
    assert_eq!(install(&spoilt), E::Signature { issuer: issuer(), error });
    let mut unknown = Forge::new(alice.certificate());
    unknown.inner_algorithm = tlv(0x30, &[0x06, 0x03, 0x2b, 0x65, 0x71]);
    unknown.outer_algorithm.clone_from(&unknown.inner_algorithm);
    let error = SignatureError::UnsupportedAlgorithm;
    assert_eq!(install(&unknown.sign(&alice.key)), E::Signature { issuer: issuer(), error });
    let serial = tlv(0x30, &tlv(0x82, &[77]));
    let other_serial = Forge::new(alice.certificate()).with(AUTHORITY_KEY_ID, false, &serial);
    assert_eq!(install(&other_serial.sign(&alice.key)), E::KeyIdentifier { issuer: issuer() });

    let leaf = Forge::new(&chain[0]).sign(&key());
    assert!(matches!(install(&leaf), E::UnknownIssuer { .. }), "the leaf is no candidate");
    let mut future = Forge::new(alice.certificate());
    future.this_update = utc("260601120001Z");
    let this_update = "2026-06-01T12:00:01Z".parse().unwrap();
    assert_eq!(install(&future.sign(&alice.key)), E::NotYetValid { this_update });
    assert!(matches!(install(b"rubbish"), E::Malformed(_)));
    let mut large = Forge::new(alice.certificate());
    large.entries = Some(vec![entry(&[1], &[]); 50]);
    let refused = install(&large.sign(&alice.key));
    assert!(
        matches!(&refused, E::Malformed(e) if *e.kind() == ListErrorKind::TooLarge { limit: 1000 }),
        "{refused}"
    );
    assert_eq!(store.lists().count(), 0);
}

#[test]
fn ca_without_crl_sign() {
    let Story { root, alice, .. } = Story::new();
    let anchor = root_of(&root);
    let mute = altered(alice.certificate(), &root.key, &[3, 2, 1, 0xc6], &[3, 2, 2, 0xc4]);
    let mut chain = alice.leaf();
    chain[1] = mute;
    let path = path_of(&chain, &anchor);
    let list = alice.revoke(None, &[]);
    let refused = RevocationStore::default().install(list.der(), Issuers::of_path(&path), now());
    assert_eq!(refused, Err(RevocationError::MayNotSign { issuer: "CN=alice".into() }));
}

/// One second earlier a list is of the future; part of a second does not count.
#[test]
fn the_second_of_this_update_is_included() {
    let ca = Ca::root(KeyKind::Ed25519);
    let anchor = root_of(&ca);
    let der = Forge::new(ca.certificate()).sign(&ca.key);
    let at = |text: &str| text.parse::<Time>().unwrap();
    let install = |now| RevocationStore::default().install(&der, Issuers::of_root(&anchor), now);
    assert_eq!(install(at("2026-06-01T00:00:00Z")), Ok(Installed::First));
    assert!(matches!(install(at("2026-05-31T23:59:59.9Z")), Err(RevocationError::NotYetValid { .. })));
}

#[test]
fn the_command_takes_lists_of_the_presented_chain() {
    let Story { root, alice, bob } = Story::new();
    let anchor = root_of(&root);
    let (chain, victim) = (alice.leaf(), bob.leaf());
    let path = path_of(&chain, &anchor);
    let mut store = RevocationStore::default();
    let mut send =
        |list: &[u8]| accept(&RevocationCommand::Install(Cow::Borrowed(list)), &path, &mut store, now());
    assert_eq!(send(alice.revoke(None, &[bob.certificate()]).der()), Ok(Installed::First));
    assert_eq!(send(root.revoke(None, &[]).der()), Ok(Installed::First));
    let refused = send(bob.revoke(None, &[]).der());
    assert_eq!(refused, Err(RevocationError::UnknownIssuer { issuer: "CN=bob".into() }));
    assert_eq!(revoked_at(verify(&victim, &anchor, now(), &store)), Some(1));
}

/// The command as it comes in a leaf, and the reply as it goes back.
#[test]
fn the_command_and_its_reply_on_the_wire() {
    let Story { root, alice, bob } = Story::new();
    let anchor = root_of(&root);
    let chain = alice.leaf();
    let path = path_of(&chain, &anchor);
    let mut store = RevocationStore::default();
    let mut send = |list: &[u8]| {
        let command = Command::Revocation(RevocationCommand::Install(Cow::Borrowed(list)));
        let bytes = extension::encode(&command).unwrap();
        let Command::Revocation(command) = extension::decode(&bytes).unwrap() else {
            panic!("another command")
        };
        let payload = answer(accept(&command, &path, &mut store, now()));
        let header = Header::new(7, "alice:".parse().unwrap());
        let reply = Wire::new(header.clone(), payload).encode().unwrap();
        let Wire { header: echoed, payload } = Wire::decode(&reply).unwrap();
        assert_eq!(echoed, header);
        match payload {
            Payload::Success(Success::Empty) => Ok(()),
            Payload::Failure(why) => Err(why.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let list = alice.revoke(None, &[bob.certificate()]);
    assert_eq!((send(list.der()), send(list.der())), (Ok(()), Ok(())));
    let why = send(bob.revoke(None, &[]).der()).unwrap_err();
    assert!(why.contains("CN=bob"), "{why}");
    let why = send(b"garbage").unwrap_err();
    assert!(why.contains("at octet 0"), "{why}");
}

#[test]
fn a_loaded_list_waits_for_its_issuer() {
    let Story { root, alice, bob } = Story::new();
    let anchor = root_of(&root);
    let (chain, other) = (bob.leaf(), alice.leaf());
    let mut store = RevocationStore::default();
    let bobs = bob.revoke(None, &[&chain[0]]);
    let newer = bob.revoke(Some(&bobs), &[]);
    let forged = Forge::new(bob.certificate()).numbered(99).sign(&key());
    for list in [newer.der(), bobs.der(), &forged] {
        assert_eq!(store.load(list, &anchor, now()), Ok(Loaded::Waiting));
    }
    assert_eq!(store.load(&forged, &anchor, now()), Ok(Loaded::Waiting));
    assert_eq!(store.waiting().count(), 3, "it waits already");
    let roots = root.revoke(None, &[]);
    assert_eq!(store.load(roots.der(), &anchor, now()), Ok(Loaded::Installed(Installed::First)));
    let foreign = Forge::new(root.certificate()).numbered(9).sign(&key());
    assert!(matches!(store.load(&foreign, &anchor, now()), Err(RevocationError::Signature { .. })));
    assert!(matches!(store.load(b"", &anchor, now()), Err(RevocationError::Malformed(_))));

    assert!(!store.is_revoked(&chain[0], bob.certificate()), "not while it waits");
    assert_eq!(revoked_at(store.verify(&other, &anchor, now())), None);
    assert_eq!((store.lists().count(), store.waiting().count()), (1, 3));
    assert_eq!(revoked_at(store.verify(&chain, &anchor, now())), Some(0), "with the first chain of bob");
    assert_eq!((store.lists().count(), store.waiting().count()), (2, 1), "the forged one waits on");
    assert_eq!(store.list_of(bob.certificate()).unwrap().number(), 2.into());
    assert_eq!(revoked_at(verify(&chain, &anchor, now(), &store)), Some(0));
    assert_eq!(store.load(newer.der(), &anchor, now()), Ok(Loaded::Installed(Installed::Unchanged)));
    assert_eq!(store.load(bobs.der(), &anchor, now()), Ok(Loaded::Waiting), "nobody knows whose it is");
    assert_eq!(revoked_at(store.verify(&chain, &anchor, now())), Some(0));
    assert_eq!((store.waiting().count(), store.list_of(bob.certificate()).unwrap().number()), (2, 2.into()));
}

/// A CA that is renewed keeps its key, and what its old certificate may not do says nothing about the new one.
#[test]
fn a_waiting_list_counts_once_its_issuer_may_sign_lists() {
    let Story { root, alice, .. } = Story::new();
    let anchor = root_of(&root);
    let chain = alice.leaf();
    let list = alice.revoke(None, &[&chain[0]]);
    let may_not = altered(alice.certificate(), &root.key, &[3, 2, 1, 0xc6], &[3, 2, 2, 0xc4]);
    let before = [chain[0].clone(), may_not];
    let mut store = RevocationStore::default();
    assert_eq!(store.load(list.der(), &anchor, now()), Ok(Loaded::Waiting));
    assert_eq!(revoked_at(store.verify(&before, &anchor, now())), None);
    assert_eq!(revoked_at(store.verify(&chain, &anchor, now())), Some(0));
}

/// A CA that was delegated to fills its own room only.
#[test]
fn room_is_shared_by_the_cas_of_the_root() {
    let root = Ca::root(KeyKind::Ed25519);
    let anchor = root_of(&root);
    let size = root.below("alice").revoke(None, &[]).der().len() + 20;
    let limits = StoreLimits {
        list_size: 10 * size,
        issuers: 5,
        octets: 6 * size,
        branch_issuers: 2,
        branch_octets: 3 * size,
    };
    let mut store = RevocationStore::new(limits);
    let mut install = |ca: &Ca, certificates: &[_]| {
        let chain = ca.leaf();
        let path = path_of(&chain, &anchor);
        let list = ca.revoke(store.list_of(ca.certificate()), certificates);
        store.install(list.der(), Issuers::of_path(&path), now())
    };
    let (alice, bob) = (root.below("alice"), root.below("bob"));
    let many: Vec<_> = (0..9).map(|_| alice.leaf().remove(0)).collect();
    let many: Vec<_> = many.iter().collect();
    assert_eq!(install(&alice, &[]), Ok(Installed::First));
    assert_eq!(install(&alice.below("x"), &[]), Ok(Installed::First));
    let full = Err(RevocationError::TooManyIssuers { limit: 2 });
    assert_eq!(install(&alice.below("y"), &[]), full);
    assert_eq!(install(&alice, &[]), Ok(Installed::Newer), "in place of the one before");
    assert_eq!(install(&alice, &many), Err(RevocationError::Full { limit: 3 * size }));
    assert_eq!(install(&bob, &[]), Ok(Installed::First));
    assert_eq!(install(&bob.below("x"), &[]), Ok(Installed::First));
    assert_eq!(install(&root.below("carol"), &[]), Ok(Installed::First));
    assert_eq!(install(&root.below("dave"), &[]), Err(RevocationError::TooManyIssuers { limit: 5 }));
    assert_eq!(install(&root, &[alice.certificate()]), Ok(Installed::First), "the root always");
    assert_eq!(store.lists().count(), 6);
    let large = alice.revoke(None, &[many.clone(), many].concat());
    let mut small = RevocationStore::new(StoreLimits { issuers: 1, octets: 2 * size, ..limits });
    assert_eq!(small.load(large.der(), &anchor, now()), Err(RevocationError::Full { limit: 2 * size }));
    assert_eq!(small.load(bob.revoke(None, &[]).der(), &anchor, now()), Ok(Loaded::Waiting));
    let refused = small.load(alice.revoke(None, &[]).der(), &anchor, now());
    assert_eq!(refused, Err(RevocationError::TooManyIssuers { limit: 1 }));
}

#[test]
fn room_is_filled_to_the_last_octet() {
    let Story { root, alice, .. } = Story::new();
    let anchor = root_of(&root);
    let chain = alice.leaf();
    let path = path_of(&chain, &anchor);
    let list = alice.revoke(None, &[]);
    let size = list.der().len();
    let store = |branch_octets, octets| {
        RevocationStore::new(StoreLimits { branch_octets, octets, ..StoreLimits::default() })
    };
    let install = |mut store: RevocationStore| store.install(list.der(), Issuers::of_path(&path), now());
    let load = |mut store: RevocationStore| store.load(list.der(), &anchor, now());
    assert_eq!(install(store(size, size)), Ok(Installed::First));
    assert_eq!(load(store(0, size)), Ok(Loaded::Waiting));
    let full = RevocationError::Full { limit: size - 1 };
    assert_eq!(install(store(size - 1, size)), Err(full.clone()));
    assert_eq!(install(store(size, size - 1)), Err(full.clone()));
    assert_eq!(load(store(size, size - 1)), Err(full));
}

/// A CA whose certificate was renewed has the same list; one of the same name and another key has not.
#[test]
fn an_issuer_is_a_subject_with_a_key() {
    let root = Ca::root(KeyKind::Ed25519);
    let anchor = root_of(&root);
    let alice = root.below("alice");
    let chain = alice.leaf();
    let mut store = RevocationStore::default();
    let list = alice.revoke(None, &[&chain[0]]);
    store.install(list.der(), Issuers::of_path(&path_of(&chain, &anchor)), now()).unwrap();
    let other = root.below("alice");
    assert!(!store.is_revoked(&chain[0], other.certificate()));
    let renewed = root.with_key("alice", alice.key);
    assert_ne!(&renewed.chain[0], &chain[1]);
    assert!(store.is_revoked(&chain[0], renewed.certificate()));
    let renewed_chain = [chain[0].clone(), renewed.chain[0].clone()];
    assert_eq!(revoked_at(verify(&renewed_chain, &anchor, now(), &store)), Some(0));
    let path = verify(&renewed_chain, &anchor, now(), &NothingRevoked).unwrap();
    assert_eq!(store.install(list.der(), Issuers::of_path(&path), now()), Ok(Installed::Unchanged));
    let _still: &Root<'_> = path.root();
}
