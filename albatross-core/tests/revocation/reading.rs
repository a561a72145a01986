//! Each rule of a list broken once, and spoilt lists.

use albatross_core::revocation::{ListErrorKind, MAX_LIST_SIZE, Reason, RevocationError, RevocationList};
use albatross_core::{certificate::pem::PemError, issue::KeyKind};
use proptest::prelude::*;

use super::forge::{
    AUTHORITY_KEY_ID, CERTIFICATE_ISSUER, DELTA, DISTRIBUTION_POINT, Forge, INVALIDITY_DATE, REASON_CODE,
    UNKNOWN, entry, generalized, tlv, utc,
};
use super::{Ca, read};

fn reason(code: u8) -> (Vec<u8>, bool, Vec<u8>) {
    (REASON_CODE.to_vec(), false, tlv(0x0a, &[code]))
}

#[test]
fn what_a_list_says() {
    let ca = Ca::root(KeyKind::Ed25519);
    let date = generalized("20260530120000Z");
    let der = Forge::new(ca.certificate())
        .numbered(7)
        .entry(entry(&[9], &[reason(1), (INVALIDITY_DATE.to_vec(), true, date)]))
        .entry(entry(&[0, 200], &[(UNKNOWN.to_vec(), false, vec![])]))
        .entry(entry(&[5; 20], &[]))
        .entry(entry(&[9], &[]))
        .with(UNKNOWN, false, &[1])
        .sign(&ca.key);
    let list = read(&der);
    assert_eq!(list.verify(ca.certificate()), Ok(()));
    assert_eq!(list.issuer(), ca.certificate().subject());
    assert_eq!(list.number().to_string(), "7");
    assert_eq!(list.this_update(), "2026-06-01T00:00:00Z".parse().unwrap());
    assert_eq!(list.next_update(), "2026-07-01T00:00:00Z".parse().unwrap());
    assert!(!list.is_expired("2026-07-01T00:00:00.9Z".parse().unwrap()));
    assert!(list.is_expired("2026-07-01T00:00:01Z".parse().unwrap()));
    assert_eq!(list.len(), 3, "one of them stands there twice");
    assert!(!list.is_empty());
    let entries: Vec<_> = list.entries().map(|entry| (entry.serial.to_vec(), entry.reason)).collect();
    let compromised = Some(Reason::KeyCompromise);
    let expected = [(vec![9], compromised), (vec![0, 200], None), (vec![5; 20], None), (vec![9], None)];
    assert_eq!(entries, expected);
    for (serial, contained) in [
        (&[9][..], true),
        (&[0, 200], true),
        (&[5; 20], true),
        (&[200], false),
        (&[5; 19], false),
        (&[], false),
    ] {
        assert_eq!(list.contains(serial), contained, "{serial:?}");
    }
    let owned = list.clone().into_owned();
    assert_eq!(owned, list);
    assert_eq!(RevocationList::der_from_pem(list.to_pem().as_bytes(), MAX_LIST_SIZE).unwrap(), der);
}

#[test]
fn a_list_without_entries_revokes_nothing() {
    let ca = Ca::root(KeyKind::Ed25519);
    let der = Forge::new(ca.certificate()).sign(&ca.key);
    let list = read(&der);
    assert!(list.is_empty() && list.entries().next().is_none() && !list.contains(&[1]));
}

/// The field and the kind of the error that each change leads to.
#[test]
fn each_rule_broken_once() {
    use ListErrorKind as K;
    let ca = Ca::root(KeyKind::Ed25519);
    let good = Forge::new(ca.certificate());
    let error = |forge: Forge| {
        let der = forge.sign(&ca.key);
        let error = RevocationList::from_der(&der, MAX_LIST_SIZE).unwrap_err();
        assert!(error.position() <= der.len());
        (error.field(), error.kind().clone())
    };
    let changed = |change: &dyn Fn(&mut Forge)| {
        let mut forge = good.clone();
        change(&mut forge);
        error(forge)
    };
    let entry_error = |entry| error(good.clone().entry(entry));
    let extended = |list: &[_]| entry_error(entry(&[1], list));
    let unknown = K::UnknownCriticalExtension { oid: "1.2.3.4".parse().unwrap() };

    assert_eq!(changed(&|f| f.version = vec![]), ("version", K::NotVersion2));
    assert_eq!(changed(&|f| f.version = tlv(2, &[0])), ("version", K::NotVersion2));
    assert_eq!(changed(&|f| f.version = tlv(2, &[2])), ("version", K::NotVersion2));
    let rsa = tlv(0x30, &[0x06, 0x03, 0x2b, 0x65, 0x71]);
    assert_eq!(changed(&|f| f.inner_algorithm.clone_from(&rsa)), ("signature", K::AlgorithmsDiffer));
    assert_eq!(changed(&|f| f.outer_algorithm = tlv(0x30, &[5])).0, "signatureAlgorithm");
    assert!(matches!(changed(&|f| f.issuer = tlv(0x30, &[1, 1])), ("issuer", K::Issuer(_))));
    let long = tlv(0x30, &tlv(0x31, &tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(12, &[b'x'; 5000])].concat())));
    assert_eq!(changed(&|f| f.issuer.clone_from(&long)), ("issuer", K::IssuerTooLong { limit: 4096 }));
    assert_eq!(changed(&|f| f.this_update = utc("260601000000")), ("thisUpdate", K::Value));
    assert_eq!(changed(&|f| f.this_update = generalized("20260601000000Z")), ("thisUpdate", K::Value));
    assert_eq!(changed(&|f| f.next_update = vec![]), ("nextUpdate", K::Value));
    assert_eq!(changed(&|f| f.next_update = utc("260531235959Z")), ("nextUpdate", K::NextUpdateTooEarly));
    assert_eq!(changed(&|f| f.entries = Some(vec![])), ("revokedCertificates", K::EmptyList));
    assert_eq!(changed(&|f| f.extensions = None), ("crlExtensions", K::NoNumber));
    assert_eq!(changed(&|f| f.extensions = Some(vec![])), ("crlExtensions", K::Ended));
    let others = || Some(vec![(UNKNOWN.to_vec(), false, vec![])]);
    assert_eq!(changed(&|f| f.extensions = others()), ("crlExtensions", K::NoNumber));
    assert_eq!(changed(&|f| f.after_extensions = vec![5, 0]), ("tbsCertList", K::Trailing));
    assert_eq!(error(good.clone().numbered(0x80)), ("cRLNumber", K::Number));
    assert_eq!(error(good.clone().with(UNKNOWN, true, &[])), ("crlExtensions", unknown.clone()));
    assert_eq!(error(good.clone().with(DELTA, true, &[2, 1, 1])), ("deltaCRLIndicator", K::Delta));
    assert_eq!(error(good.clone().with(DELTA, false, &[2, 1, 1])), ("deltaCRLIndicator", K::Delta));
    assert_eq!(
        error(good.clone().with(DISTRIBUTION_POINT, false, &[0x30, 0])),
        ("issuingDistributionPoint", K::Partial)
    );
    assert_eq!(error(good.clone().with(AUTHORITY_KEY_ID, false, &[5])), ("authorityKeyIdentifier", K::Value));
    assert!(matches!(
        error(good.clone().with(UNKNOWN, false, &[]).with(UNKNOWN, false, &[])),
        ("crlExtensions", K::DuplicateExtension { .. })
    ));
    let mut many = good.clone();
    (0..16).for_each(|last| many.extensions.as_mut().unwrap().push((vec![0x2a, 3, last], false, vec![])));
    assert_eq!(error(many), ("crlExtensions", K::TooManyExtensions { limit: 16 }));

    for serial in [&[][..], &[0], &[0x80], &[0, 1], &[1; 21], &[0xff; 3]] {
        assert_eq!(entry_error(entry(serial, &[])), ("userCertificate", K::SerialNumber), "{serial:?}");
    }
    assert_eq!(entry_error(tlv(0x30, &[2, 1, 1])), ("revocationDate", K::Ended));
    let entry_of = |date: Vec<u8>| tlv(0x30, &[vec![2, 1, 1], date].concat());
    assert_eq!(entry_error(entry_of(utc("261301000000Z"))), ("revocationDate", K::Value));
    assert_eq!(entry_error(entry_of(generalized("20260601000000Z"))), ("revocationDate", K::Value));
    let trailing = [utc("260531000000Z"), vec![5, 0]].concat();
    assert_eq!(entry_error(entry_of(trailing)), ("revokedCertificates", K::Trailing));
    assert_eq!(extended(&[(UNKNOWN.to_vec(), true, vec![])]), ("crlEntryExtensions", unknown));
    assert_eq!(extended(&[(CERTIFICATE_ISSUER.to_vec(), false, vec![])]), ("certificateIssuer", K::Indirect));
    for code in [7, 8, 11, 0x80] {
        assert_eq!(extended(&[reason(code)]), ("reasonCode", K::Reason), "{code}");
    }
    assert_eq!(extended(&[(REASON_CODE.to_vec(), false, tlv(2, &[1]))]).0, "reasonCode");
    assert!(matches!(
        extended(&[reason(1), reason(1)]),
        ("crlEntryExtensions", K::DuplicateExtension { .. })
    ));
    assert_eq!(extended(&[(INVALIDITY_DATE.to_vec(), false, utc("260531000000Z"))]).0, "invalidityDate");
}

#[test]
fn der_that_is_none() {
    use ListErrorKind as K;
    let ca = Ca::root(KeyKind::Ed25519);
    let der = Forge::new(ca.certificate()).entry(entry(&[1], &[])).sign(&ca.key);
    let error = |der: &[u8]| {
        let error = RevocationList::from_der(der, MAX_LIST_SIZE).unwrap_err();
        (error.field(), error.position(), error.kind().clone())
    };
    assert_eq!(error(&[]), ("CertificateList", 0, K::Ended));
    let whole = |kind| ("CertificateList", 0, kind);
    assert_eq!(error(&[0x30, 0x80, 0, 0]), whole(K::Length), "indefinite");
    assert_eq!(error(&[0x30, 0x81, 1, 0]), whole(K::Length), "not the shortest form");
    assert_eq!(error(&[0x30, 0x82, 0, 0x80]), whole(K::Length));
    assert_eq!(error(&[0x30, 0x85, 1, 0, 0, 0, 0]), whole(K::Length));
    assert_eq!(error(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), whole(K::Ended));
    assert_eq!(error(&[0x31, 0]), whole(K::Tag { expected: 0x30, found: 0x31 }));
    for length in 1..der.len() {
        assert!(matches!(error(&der[..length]), (_, _, K::Ended | K::Length)), "{length}");
    }
    let trailing = [&der[..], &[0]].concat();
    assert_eq!(error(&trailing), ("CertificateList", der.len(), K::Trailing));
    let limit = der.len() - 1;
    let refused = RevocationList::from_der(&der, limit).unwrap_err();
    assert_eq!(refused.kind(), &K::TooLarge { limit });
    assert!(RevocationList::from_vec(der.clone(), der.len()).is_ok());
    assert_eq!(refused.to_string(), format!("CertificateList at octet 0 has more than {limit} octets"));
}

#[test]
fn pem_with_other_than_one_list() {
    let ca = Ca::root(KeyKind::Ed25519);
    let list = ca.revoke(None, &[]);
    let pem = list.to_pem();
    let der = |text: &str, limit| RevocationList::der_from_pem(text.as_bytes(), limit);
    assert_eq!(der(&format!("text\n{pem}"), 1000).as_deref(), Ok(list.der()));
    assert_eq!(der("", 1000), Err(PemError::Missing { label: "X509 CRL" }));
    assert_eq!(der(&pem.repeat(2), 1000), Err(PemError::NotAlone { label: "X509 CRL" }));
    assert_eq!(der(&pem, 10), Err(PemError::TooLarge { limit: 10 }));
    let limit = list.der().len() - 1;
    assert_eq!(der(&pem, limit + 1).as_deref(), Ok(list.der()));
    assert_eq!(der(&pem, limit), Err(PemError::TooLarge { limit }));
}

#[test]
fn names_and_key_identifiers_have_a_longest() {
    use ListErrorKind as K;
    let ca = Ca::root(KeyKind::Ed25519);
    let read = |forge: Forge| {
        let der = forge.sign(&ca.key);
        let list = RevocationList::from_der(&der, MAX_LIST_SIZE).map(drop);
        list.map_err(|error| (error.field(), error.kind().clone()))
    };
    // Four SEQUENCEs and the like with two octets of length each, and the type of the attribute.
    let named = |octets: usize| {
        let attribute = [tlv(6, &[0x55, 4, 3]), tlv(12, &vec![b'x'; octets - 21])].concat();
        let issuer = tlv(0x30, &tlv(0x31, &tlv(0x30, &attribute)));
        assert_eq!(issuer.len(), octets);
        read(Forge { issuer, ..Forge::new(ca.certificate()) })
    };
    assert_eq!(named(4096), Ok(()));
    assert_eq!(named(4097), Err(("issuer", K::IssuerTooLong { limit: 4096 })));
    let identified = |octets: usize| {
        let value = tlv(0x30, &tlv(0x80, &vec![7; octets - 8]));
        assert_eq!(value.len(), octets);
        read(Forge::new(ca.certificate()).with(AUTHORITY_KEY_ID, false, &value))
    };
    assert_eq!(identified(16_384), Ok(()));
    for octets in [16_385, 20_000] {
        let long = K::LongExtension { limit: 16_384 };
        assert_eq!(identified(octets), Err(("authorityKeyIdentifier", long)));
    }
}

/// What is critical is said in one way only.
#[test]
fn true_is_written_as_ff() {
    let ca = Ca::root(KeyKind::Ed25519);
    for octets in [&[0][..], &[1], &[0xfe], &[0xff, 0xff], &[]] {
        let extension = [tlv(6, UNKNOWN), tlv(1, octets), tlv(4, &[])].concat();
        let entry = [vec![2, 1, 1], utc("260531000000Z"), tlv(0x30, &tlv(0x30, &extension))].concat();
        let der = Forge::new(ca.certificate()).entry(tlv(0x30, &entry)).sign(&ca.key);
        let error = RevocationList::from_der(&der, MAX_LIST_SIZE).unwrap_err();
        assert_eq!(
            (error.field(), error.kind()),
            ("crlEntryExtensions", &ListErrorKind::Value),
            "{octets:x?}"
        );
    }
}

#[test]
fn reasons_are_called_as_in_rfc_5280() {
    let names: Vec<_> = Reason::ALL.iter().map(|reason| (reason.code(), reason.to_string())).collect();
    let expected = [
        (0, "unspecified"),
        (1, "keyCompromise"),
        (2, "cACompromise"),
        (3, "affiliationChanged"),
        (4, "superseded"),
        (5, "cessationOfOperation"),
        (6, "certificateHold"),
        (9, "privilegeWithdrawn"),
        (10, "aACompromise"),
    ];
    assert_eq!(names, expected.map(|(code, name)| (code, name.to_owned())));
    assert_eq!(format!("[{:<14}]", Reason::KeyCompromise), "[keyCompromise ]");
}

#[test]
fn lists_are_told_apart_by_what_they_say_about_their_issuer() {
    let (one, other) = (Ca::root(KeyKind::Ed25519), Ca::root(KeyKind::Ed25519));
    let alice = one.below("alice");
    let first = one.revoke(None, &[]);
    let next = one.revoke(Some(&first), &[alice.certificate()]);
    assert_eq!(first.issuer_digest(), next.issuer_digest());
    // Another name; another key of the same name.
    let digests =
        [&first, &alice.revoke(None, &[]), &other.revoke(None, &[])].map(|list| list.issuer_digest());
    assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
}

/// By identifier, by the name of the issuer's issuer and serial number, or both.
#[test]
fn a_list_names_the_key_of_its_issuer() {
    let root = Ca::root(KeyKind::Ed25519);
    let alice = root.below("alice");
    let certificate = alice.certificate();
    let named = |name: &[u8]| tlv(0xa1, &tlv(0xa4, name));
    let (above, own) = (named(certificate.issuer().as_der()), named(certificate.subject().as_der()));
    let (serial, other) = (tlv(0x82, certificate.serial()), tlv(0x82, &[1]));
    let web = tlv(0xa1, &tlv(0x86, b"http://ca.example.org"));
    for (stated, right) in [
        (vec![], true),
        (above.clone(), true),
        (serial.clone(), true),
        ([&above[..], &serial].concat(), true),
        ([&web[..], &serial].concat(), true),
        (own.clone(), false),
        (other.clone(), false),
        ([&own[..], &serial].concat(), false),
        ([&above[..], &other].concat(), false),
        (tlv(0x80, b"another"), false),
    ] {
        let der = Forge::new(certificate).with(AUTHORITY_KEY_ID, false, &tlv(0x30, &stated)).sign(&alice.key);
        let issuer = "CN=alice".to_owned();
        let expected = if right { Ok(()) } else { Err(RevocationError::KeyIdentifier { issuer }) };
        assert_eq!(read(&der).verify(certificate), expected, "{stated:x?}");
    }
}

fn sample() -> Vec<u8> {
    let ca = Ca::root(KeyKind::Ed25519);
    let mut forge = Forge::new(ca.certificate()).with(UNKNOWN, false, &[1, 2, 3]);
    for serial in 1..20 {
        forge = forge.entry(entry(&[serial; 9], &[reason(serial % 7)]));
    }
    forge.sign(&ca.key)
}

/// Every octet changed in every bit, and every value of a length: read or refused, and what is read agrees
/// with itself.
#[test]
fn every_octet_changed() {
    let sample = sample();
    let mut read = 0;
    for position in 0..sample.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut der = sample.clone();
            der[position] ^= change;
            read += usize::from(is_consistent(&der));
        }
    }
    // The signature and the serial numbers are free.
    assert!(read > 1000, "{read}");
}

/// Whether it is read.
fn is_consistent(der: &[u8]) -> bool {
    let Ok(list) = RevocationList::from_der(der, MAX_LIST_SIZE) else { return false };
    assert!(list.entries().count() >= list.len());
    assert!(list.entries().all(|entry| list.contains(entry.serial)));
    true
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(5),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn many_changes_at_once(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local!(static SAMPLE: Vec<u8> = sample());
        let mut der = SAMPLE.with(Clone::clone);
        for (position, octet) in changes {
            let position = position.index(der.len());
            der[position] = octet;
        }
        if let Some(cut) = cut {
            let (from, to) = (cut.index(der.len()), der.len().min(cut.index(der.len()) + 3));
            der.drain(from..to);
        }
        is_consistent(&der);
    }

    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        is_consistent(&octets);
    }
}
