//! Each rule of the verifier broken once, in a chain that is right in all else.

use albatross_core::certificate::{
    Certificate, CertificateError, CertificateErrorKind, ChainError, MAX_CHAIN, NothingRevoked, Position,
    Revocation, Root, Rule, SignatureError, chain_from_der, verify, verify_server,
};
use albatross_core::issue::{Issuer, KeyPair, SigningKey};
use albatross_proto::Time;

use super::forge::{self, Forge, tlv};
use super::{info, key, label, new_chain, new_leaf, now, random, terms};

/// A root, an intermediate and a leaf that are right, and their keys.
struct Story {
    root: Forge,
    middle: Forge,
    leaf: Forge,
    root_key: KeyPair,
    middle_key: KeyPair,
}

impl Story {
    fn new() -> Self {
        let (root_key, middle_key) = (key(), key());
        Self {
            root: Forge::ca("ca", &root_key, "ca"),
            middle: Forge::ca("middle", &middle_key, "ca"),
            leaf: Forge::leaf("hello", &key(), "middle"),
            root_key,
            middle_key,
        }
    }

    fn verify_at(&self, at: Time) -> Result<(), ChainError> {
        let root = Certificate::from_vec(self.root.der(&self.root_key)).unwrap();
        let root = Root::new(root)?;
        let ders = [self.leaf.der(&self.middle_key), self.middle.der(&self.root_key)];
        let chain = chain_from_der(ders.iter().map(Vec::as_slice), 1 << 16)?;
        verify(&chain, &root, at, &NothingRevoked).map(|_| ())
    }

    fn verify(&self) -> Result<(), ChainError> {
        self.verify_at(now())
    }
}

fn rule(result: Result<(), ChainError>) -> (Position, Rule) {
    match result {
        Err(ChainError::Refused { position, rule, .. }) => (position, rule),
        other => panic!("{other:?}"),
    }
}

fn leaf_rule(change: impl FnOnce(Forge) -> Forge) -> Rule {
    let mut story = Story::new();
    story.leaf = change(story.leaf);
    let (position, rule) = rule(story.verify());
    assert_eq!(position, Position::Sent(0));
    rule
}

fn middle_rule(change: impl FnOnce(Forge) -> Forge) -> Rule {
    let mut story = Story::new();
    story.middle = change(story.middle);
    let (position, rule) = rule(story.verify());
    assert_eq!(position, Position::Sent(1));
    rule
}

fn root_rule(change: impl FnOnce(Forge) -> Forge) -> Rule {
    let mut story = Story::new();
    story.root = change(story.root);
    let (position, rule) = rule(story.verify());
    assert_eq!(position, Position::Root);
    rule
}

/// What cannot even be read, as a leaf.
fn malformed(change: impl FnOnce(Forge) -> Forge) -> CertificateError {
    let mut story = Story::new();
    story.leaf = change(story.leaf);
    match story.verify() {
        Err(ChainError::Malformed { index: 0, error }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_story_itself_is_right() {
    Story::new().verify().unwrap();
}

#[test]
fn versions_other_than_3() {
    assert_eq!(leaf_rule(|leaf| leaf.change(|leaf| leaf.version = None)), Rule::Version);
    assert_eq!(middle_rule(|ca| ca.change(|ca| ca.version = Some(1))), Rule::Version);
    assert_eq!(root_rule(|ca| ca.change(|ca| ca.version = Some(3))), Rule::Version);
}

#[test]
fn validity_includes_both_ends() {
    let at = |text: &str| Story::new().verify_at(text.parse().unwrap());
    at("2026-01-01T00:00:00Z").unwrap();
    at("2027-01-01T00:00:00.999Z").unwrap();
    assert!(matches!(rule(at("2025-12-31T23:59:59.999Z")).1, Rule::NotYetValid { .. }));
    assert!(matches!(rule(at("2027-01-01T00:00:01Z")).1, Rule::Expired { .. }));
}

#[test]
fn validity_of_the_root_counts() {
    let expired = root_rule(|ca| ca.change(|ca| ca.validity = ["20200101000000Z", "20210101000000Z"]));
    assert!(matches!(expired, Rule::Expired { .. }));
}

#[test]
fn signatures() {
    let wrong = Rule::Signature(SignatureError::Wrong);
    assert_eq!(leaf_rule(|leaf| leaf.change(|leaf| leaf.spoil_signature = true)), wrong);
    assert_eq!(middle_rule(|ca| ca.change(|ca| ca.spoil_signature = true)), wrong);
    assert_eq!(root_rule(|ca| ca.change(|ca| ca.spoil_signature = true)), wrong);
    // ecdsa-with-SHA256 stated outside only, then inside too.
    let ecdsa = tlv(0x30, &tlv(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
    let differ = leaf_rule(|leaf| leaf.change(|leaf| leaf.outer_algorithm.clone_from(&ecdsa)));
    assert_eq!(differ, Rule::Signature(SignatureError::AlgorithmsDiffer));
    let unfit = leaf_rule(|leaf| {
        leaf.change(|leaf| {
            leaf.outer_algorithm.clone_from(&ecdsa);
            leaf.inner_algorithm.clone_from(&ecdsa);
        })
    });
    assert_eq!(unfit, Rule::Signature(SignatureError::UnsupportedAlgorithm));
    // Ed25519 with NULL parameters.
    let null = tlv(0x30, &[0x06, 0x03, 0x2b, 0x65, 0x70, 0x05, 0x00]);
    let parameters = leaf_rule(|leaf| {
        leaf.change(|leaf| {
            leaf.outer_algorithm.clone_from(&null);
            leaf.inner_algorithm.clone_from(&null);
        })
    });
    assert_eq!(parameters, Rule::Signature(SignatureError::UnsupportedAlgorithm));
}

#[test]
fn issuers_by_name_and_key_id() {
    let stranger = leaf_rule(|leaf| leaf.change(|leaf| leaf.issuer = forge::name("stranger")));
    assert!(matches!(stranger, Rule::IssuerName { .. }));
    // The same text as another type of string is another name.
    let printable = leaf_rule(|leaf| {
        leaf.change(|leaf| {
            let at = leaf.issuer.windows(6).position(|part| part == b"middle").unwrap() - 2;
            leaf.issuer[at] = 0x13;
        })
    });
    assert!(matches!(printable, Rule::IssuerName { .. }));

    let mut story = Story::new();
    story.middle = story.middle.with(forge::SUBJECT_KEY_ID, false, &tlv(0x04, b"one"));
    story.leaf = story.leaf.with(forge::AUTHORITY_KEY_ID, false, &tlv(0x30, &tlv(0x80, b"one")));
    story.verify().unwrap();
    story.leaf = story.leaf.with(forge::AUTHORITY_KEY_ID, false, &tlv(0x30, &tlv(0x80, b"two")));
    assert_eq!(rule(story.verify()), (Position::Sent(0), Rule::KeyIdentifier));
    // By serial number of the issuer, which is 1.
    story.leaf = story.leaf.with(forge::AUTHORITY_KEY_ID, false, &tlv(0x30, &tlv(0x82, &[2])));
    assert_eq!(rule(story.verify()), (Position::Sent(0), Rule::KeyIdentifier));
    story.leaf = story.leaf.with(forge::AUTHORITY_KEY_ID, false, &tlv(0x30, &tlv(0x82, &[1])));
    story.verify().unwrap();
    // By the name of the issuer's issuer, with and without that.
    let named = |name: &str| tlv(0xa1, &tlv(0xa4, &forge::name(name)));
    for (name, serial) in [("ca", &[][..]), ("ca", &tlv(0x82, &[1]))] {
        let stated = tlv(0x30, &[&named(name), serial].concat());
        story.leaf = story.leaf.with(forge::AUTHORITY_KEY_ID, false, &stated);
        story.verify().unwrap();
    }
    for (name, serial) in [("middle", &[][..]), ("other", &tlv(0x82, &[1])), ("ca", &tlv(0x82, &[2]))] {
        let stated = tlv(0x30, &[&named(name), serial].concat());
        story.leaf = story.leaf.with(forge::AUTHORITY_KEY_ID, false, &stated);
        assert_eq!(rule(story.verify()), (Position::Sent(0), Rule::KeyIdentifier), "{name} {serial:?}");
    }
}

#[test]
fn what_an_issuer_must_be() {
    let basic = forge::BASIC_CONSTRAINTS;
    assert_eq!(middle_rule(|ca| ca.without(basic)), Rule::NotACa);
    assert_eq!(middle_rule(|ca| ca.with(basic, true, &[0x30, 0])), Rule::NotACa);
    assert_eq!(
        middle_rule(|ca| ca.with(basic, false, &[0x30, 3, 1, 1, 0xff])),
        Rule::BasicConstraintsNotCritical
    );
    let usage = forge::KEY_USAGE;
    assert_eq!(middle_rule(|ca| ca.without(usage)), Rule::KeyUsageMissing);
    assert_eq!(middle_rule(|ca| ca.with(usage, true, &[3, 2, 1, 0x02])), Rule::CertSignMissing);
    assert_eq!(root_rule(|ca| ca.without(basic)), Rule::NotACa);
    assert_eq!(root_rule(|ca| ca.without(usage)), Rule::KeyUsageMissing);
    // A CA for servers only.
    let server = tlv(0x30, &tlv(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01]));
    assert_eq!(middle_rule(|ca| ca.with(forge::EXT_KEY_USAGE, true, &server)), Rule::ClientAuthMissing);
    assert_eq!(root_rule(|ca| ca.with(forge::EXT_KEY_USAGE, true, &server)), Rule::ClientAuthMissing);
    // CAs for clients only.
    let client = tlv(0x30, &tlv(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]));
    let mut story = Story::new();
    story.root = story.root.with(forge::EXT_KEY_USAGE, true, &client);
    story.middle = story.middle.with(forge::EXT_KEY_USAGE, true, &client);
    story.verify().unwrap();
}

#[test]
fn a_root_names_itself() {
    assert_eq!(root_rule(|ca| ca.change(|ca| ca.issuer = forge::name("above"))), Rule::NotSelfIssued);
}

#[test]
fn path_length() {
    let limited = |length| tlv(0x30, &[&[1, 1, 0xff][..], &tlv(0x02, &[length])].concat());
    let allowed = root_rule(|ca| ca.with(forge::BASIC_CONSTRAINTS, true, &limited(0)));
    assert_eq!(allowed, Rule::PathLength { allowed: 0 });
    let mut story = Story::new();
    story.root = story.root.with(forge::BASIC_CONSTRAINTS, true, &limited(1));
    story.middle = story.middle.with(forge::BASIC_CONSTRAINTS, true, &limited(0));
    story.verify().unwrap();
    let without_ca = tlv(0x30, &tlv(0x02, &[0]));
    let error = malformed(|leaf| leaf.with(forge::BASIC_CONSTRAINTS, true, &without_ca));
    assert_eq!(error.kind, CertificateErrorKind::PathLengthWithoutCa);
}

#[test]
fn what_a_leaf_must_be() {
    assert_eq!(
        leaf_rule(|leaf| leaf.with(forge::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff])),
        Rule::LeafIsCa
    );
    assert_eq!(leaf_rule(|leaf| leaf.without(forge::EXT_KEY_USAGE)), Rule::ClientAuthMissing);
    let server = tlv(0x30, &tlv(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01]));
    assert_eq!(leaf_rule(|leaf| leaf.with(forge::EXT_KEY_USAGE, true, &server)), Rule::ClientAuthMissing);
    // anyExtendedKeyUsage does not say it is for clients.
    let any = tlv(0x30, &tlv(0x06, &[0x55, 0x1d, 0x25, 0x00]));
    assert_eq!(leaf_rule(|leaf| leaf.with(forge::EXT_KEY_USAGE, true, &any)), Rule::ClientAuthMissing);
    assert_eq!(leaf_rule(|leaf| leaf.without(forge::KEY_USAGE)), Rule::DigitalSignatureMissing);
    assert_eq!(
        leaf_rule(|leaf| leaf.with(forge::KEY_USAGE, true, &[3, 2, 5, 0x20])),
        Rule::DigitalSignatureMissing
    );
    let mut key = tlv(0x30, &[0x06, 0x03, 0x2b, 0x65, 0x70]);
    key.extend(tlv(0x03, &[0; 32]));
    assert_eq!(leaf_rule(|leaf| leaf.change(|leaf| leaf.spki = tlv(0x30, &key))), Rule::UnusableKey);
}

#[test]
fn extensions_that_are_refused() {
    assert!(matches!(
        leaf_rule(|leaf| leaf.with(forge::UNKNOWN, true, b"x")),
        Rule::UnknownCriticalExtension { .. }
    ));
    assert!(matches!(
        middle_rule(|ca| ca.with(forge::UNKNOWN, true, b"x")),
        Rule::UnknownCriticalExtension { .. }
    ));
    // RFC 5280: never critical.
    assert!(matches!(
        leaf_rule(|leaf| leaf.with(forge::SUBJECT_KEY_ID, true, &tlv(0x04, b"one"))),
        Rule::UnknownCriticalExtension { .. }
    ));
    assert!(matches!(
        middle_rule(|ca| ca.with(forge::NAME_CONSTRAINTS, false, &[0x30, 0])),
        Rule::NarrowingExtension { .. }
    ));
    let info = [0x30, 9, 2, 1, 5, 0xa3, 4, 0xb3, 2, 5, 0];
    assert_eq!(leaf_rule(|leaf| leaf.with(forge::ALBATROSS, true, &info)), Rule::CriticalCommand);
    assert_eq!(middle_rule(|ca| ca.with(forge::ALBATROSS, true, &info)), Rule::CriticalCommand);
    let mut story = Story::new();
    story.leaf = story.leaf.with(forge::UNKNOWN, false, b"x");
    story.verify().unwrap();
}

#[test]
fn certificates_that_cannot_be_read() {
    let twice = malformed(|leaf| leaf.change(|leaf| leaf.extensions.push(leaf.extensions[0].clone())));
    assert!(matches!(twice.kind, CertificateErrorKind::DuplicateExtension { .. }));
    for serial in [vec![], vec![0], vec![0x80], vec![0, 1], vec![1; 21]] {
        let error = malformed(|leaf| leaf.change(|leaf| leaf.serial = serial));
        assert_eq!(error.kind, CertificateErrorKind::SerialNumber);
    }
    let mut story = Story::new();
    for serial in [vec![1; 20], vec![0x7f; 20], vec![0, 0x80]] {
        story.leaf = story.leaf.change(|leaf| leaf.serial = serial);
        story.verify().unwrap();
    }
    malformed(|leaf| leaf.change(|leaf| leaf.unique_id = true));
    let many = malformed(|leaf| {
        leaf.change(|leaf| leaf.extensions = (0..65).map(|n| (vec![0x2a, n], false, vec![])).collect())
    });
    assert!(matches!(many.kind, CertificateErrorKind::TooManyExtensions { .. }));
    let mut latin = forge::name("h\u{e9}llo");
    let at = latin.iter().position(|octet| *octet == 0xc3).unwrap();
    latin[at] = b'\xff';
    let not_text = malformed(|leaf| leaf.change(|leaf| leaf.subject = latin));
    assert_eq!(not_text.kind, CertificateErrorKind::NameNotText { field: "subject" });
}

/// What is made of an extension takes more octets than it has.
#[test]
fn extensions_that_are_taken_apart_have_16_kib_at_most() {
    let mut story = Story::new();
    let id = |octets: usize| tlv(0x04, &vec![7; octets - 4]);
    story.leaf = story.leaf.with(forge::SUBJECT_KEY_ID, false, &id(16_384));
    story.verify().unwrap();
    for octets in [16_385, 50_000] {
        let error = malformed(|leaf| leaf.with(forge::SUBJECT_KEY_ID, false, &id(octets)));
        let field = "subjectKeyIdentifier";
        assert_eq!(error.kind, CertificateErrorKind::LongExtension { field, limit: 16_384 });
    }
}

/// They say where lists are to be had, which is not asked: see docs/protocol.md.
#[test]
fn distribution_points_are_read_and_say_nothing() {
    let points = tlv(0x30, &tlv(0x30, &tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://ca.example.org/list")))));
    let mut story = Story::new();
    story.leaf = story.leaf.with(forge::CRL_DISTRIBUTION_POINTS, false, &points);
    story.verify().unwrap();
    assert!(matches!(
        leaf_rule(|leaf| leaf.with(forge::CRL_DISTRIBUTION_POINTS, true, &points)),
        Rule::UnknownCriticalExtension { .. }
    ));
    let error = malformed(|leaf| leaf.with(forge::CRL_DISTRIBUTION_POINTS, false, &points[..9]));
    assert!(error.to_string().starts_with("cRLDistributionPoints"), "{error}");
}

/// An error says where the field begins that is at fault.
#[test]
fn errors_know_their_place() {
    let story = Story::new();
    let der = story.leaf.der(&story.middle_key);
    let find = |what: &[u8]| der.windows(what.len()).position(|part| part == what).unwrap();
    let at = find(&story.leaf.subject);
    let mut spoilt = der.clone();
    spoilt[at] = 0x31;
    let error = Certificate::from_der(&spoilt).unwrap_err();
    assert_eq!(error.position, at);
    assert_eq!(error.to_string(), format!("{} (at byte {at})", error.kind));
    assert!(error.to_string().starts_with("subject cannot be read"), "{error}");
    let at = find(forge::KEY_USAGE) + 3 + 3 + 2;
    spoilt.clone_from(&der);
    spoilt[at] = 0x04;
    assert_eq!(Certificate::from_der(&spoilt).unwrap_err().position, at);
    assert_eq!(Certificate::from_der(&der[..der.len() - 1]).unwrap_err().position, 0);
    let longer = [&der[..], b"x"].concat();
    assert_eq!(Certificate::from_der(&longer).unwrap_err().position, der.len());
}

#[test]
fn truncated_and_spoilt_certificates_never_panic() {
    let story = Story::new();
    let der = story.leaf.der(&story.middle_key);
    for length in 0..der.len() {
        assert!(Certificate::from_der(&der[..length]).is_err());
    }
    let root = Root::new(Certificate::from_vec(story.root.der(&story.root_key)).unwrap()).unwrap();
    let middle = Certificate::from_vec(story.middle.der(&story.root_key)).unwrap();
    for position in 0..der.len() {
        for flip in [1, 0x80, 0xff] {
            let mut spoilt = der.clone();
            spoilt[position] ^= flip;
            let Ok(leaf) = Certificate::from_vec(spoilt) else { continue };
            let chain = [leaf, middle.clone()];
            assert!(verify(&chain, &root, now(), &NothingRevoked).is_err(), "octet {position}");
        }
    }
}

#[test]
fn exactly_a_path() {
    let (above, key) = new_chain(&["a", "b", "c"]);
    let chain = new_leaf(&above, &key, &info());
    let root = above.last().unwrap().clone();
    let anchor = Root::new(root.clone()).unwrap();
    let check = |chain: &[Certificate<'_>]| verify(chain, &anchor, now(), &NothingRevoked).map(|_| ());
    check(&chain).unwrap();

    let mut with_root = chain.clone();
    with_root.push(root.clone());
    check(&with_root).unwrap();
    with_root.push(root.clone());
    assert_eq!(rule(check(&with_root)).1, Rule::Repeated);

    for gone in 1..chain.len() {
        let mut missing = chain.clone();
        missing.remove(gone);
        assert!(matches!(rule(check(&missing)).1, Rule::IssuerName { .. }));
    }
    let mut reordered = chain.clone();
    reordered.swap(1, 2);
    assert!(matches!(rule(check(&reordered)).1, Rule::IssuerName { .. }));
    let mut repeated = chain.clone();
    repeated.insert(2, chain[1].clone());
    assert_eq!(rule(check(&repeated)), (Position::Sent(2), Rule::Repeated));
    // A certificate of another tree below the same root's name.
    let mut superfluous = chain.clone();
    superfluous.push(new_chain(&["x"]).0[0].clone());
    assert!(matches!(rule(check(&superfluous)).1, Rule::IssuerName { .. }));
    assert_eq!(rule(check(&chain[1..])).1, Rule::LeafIsCa);
    assert_eq!(rule(check(std::slice::from_ref(&root))).1, Rule::Repeated);
    assert_eq!(check(&[]), Err(ChainError::Empty));

    let stranger = Root::new(new_chain(&[]).0[0].clone()).unwrap();
    let other = verify(&chain, &stranger, now(), &NothingRevoked).map(|_| ());
    assert_eq!(rule(other), (Position::Sent(3), Rule::Signature(SignatureError::Wrong)));
}

#[test]
fn at_most_nine_certificates_as_sent() {
    let (above, key) = new_chain(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let mut chain = new_leaf(&above, &key, &info());
    let root = above.last().unwrap().clone();
    let anchor = Root::new(root.clone()).unwrap();
    assert_eq!(chain.len(), MAX_CHAIN);
    verify(&chain, &anchor, now(), &NothingRevoked).unwrap();
    let octets = chain.iter().map(|certificate| certificate.der().len()).sum();
    assert_eq!(chain_from_der(chain.iter().map(Certificate::der), octets).unwrap(), chain);
    let short = chain_from_der(chain.iter().map(Certificate::der), octets - 1);
    assert_eq!(short.unwrap_err(), ChainError::TooLarge { limit: octets - 1 });
    chain.push(root);
    let error = verify(&chain, &anchor, now(), &NothingRevoked).unwrap_err();
    assert_eq!(error, ChainError::TooManyCertificates { limit: MAX_CHAIN });
    let ders = || chain.iter().map(Certificate::der);
    let limit = ChainError::TooManyCertificates { limit: MAX_CHAIN };
    assert_eq!(chain_from_der(ders(), 1 << 20).unwrap_err(), limit);
    assert_eq!(chain_from_der(ders(), 100).unwrap_err(), ChainError::TooLarge { limit: 100 });
}

#[test]
fn what_an_issuer_revoked() {
    struct Revoked(Vec<u8>);
    impl Revocation for Revoked {
        fn is_revoked(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
            assert_eq!(certificate.issuer(), issuer.subject());
            certificate.serial() == self.0
        }
    }
    let (above, key) = new_chain(&["a"]);
    let chain = new_leaf(&above, &key, &info());
    let root = Root::new(above.last().unwrap().clone()).unwrap();
    for (index, certificate) in chain.iter().enumerate() {
        let revoked = Revoked(certificate.serial().to_vec());
        let result = verify(&chain, &root, now(), &revoked).map(|_| ());
        assert_eq!(rule(result), (Position::Sent(index), Rule::Revoked));
    }
    verify(&chain, &root, now(), &Revoked(vec![1])).unwrap();
}

#[test]
fn servers() {
    let (above, key) = new_chain(&[]);
    let issuer = Issuer::new(&above, &key).unwrap();
    let random = random();
    let own = super::key();
    let hosts = ["albatross.example.org", "*.example.net", "127.0.0.1", "::1"];
    let server = issuer.server("server", own.public_key(), &hosts, &terms(&random)).unwrap();
    let leaf = issuer.leaf(Some(&label("a")), own.public_key(), &info(), &terms(&random)).unwrap();
    let root = Root::new(above[0].clone()).unwrap();
    let chain = [server];
    let check = |host| verify_server(&chain, &root, now(), host, &NothingRevoked);
    check(None).unwrap();
    for host in ["albatross.example.org", "Albatross.Example.org.", "a.example.net", "127.0.0.1", "::1"] {
        check(Some(host)).unwrap();
    }
    for host in ["server", "example.org", "a.b.example.net", "127.0.0.2", "", "."] {
        assert!(matches!(rule(check(Some(host))).1, Rule::HostName { .. }), "{host}");
    }
    // A client's certificate is no server's, and the other way round.
    let client = verify_server(&[leaf], &root, now(), None, &NothingRevoked);
    assert_eq!(rule(client).1, Rule::ServerAuthMissing);
    let server = verify(&chain, &root, now(), &NothingRevoked).map(|_| ());
    assert_eq!(rule(server).1, Rule::ClientAuthMissing);
}
