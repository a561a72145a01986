//! Lists that are made here.

use albatross_core::certificate::Certificate;
use albatross_core::issue::{
    Database, DatabaseError, IssueError, KeyKind, ListIssuer, ListTerms, RevokeError, Revoked, Serial,
    Validity, database_line, parse_serial,
};
use albatross_core::revocation::{ListNumber, MAX_LIST_SIZE, Reason, RevocationError};
use albatross_proto::Time;

use super::forge::{Forge, UNKNOWN, altered, entry};
use super::{Ca, list_terms, now, random, read, revoked};

fn serial(octets: &[u8]) -> Serial {
    Serial::new(octets).unwrap()
}

#[test]
fn every_kind_of_key_signs_lists() {
    // RSA keys of 4096 bits are made for minutes in a debug build; see the test with OpenSSL's.
    for kind in KeyKind::ALL.into_iter().filter(|kind| *kind != KeyKind::Rsa4096) {
        let ca = Ca::root(kind);
        let leaf = ca.leaf();
        let list = ca.revoke(None, &[&leaf[0]]);
        assert_eq!(list.verify(ca.certificate()), Ok(()), "{kind}");
        assert!(list.contains(leaf[0].serial()));
        assert_eq!(read(list.der()), list);
    }
}

#[test]
fn a_list_keeps_all_of_the_one_before_and_its_number_grows() {
    let ca = Ca::root(KeyKind::Ed25519);
    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let random = random();
    let terms = list_terms(&random);
    let early: Time = "2026-05-01T00:00:00Z".parse().unwrap();
    let first = Revoked { serial: serial(&[1]), date: early, reason: Some(Reason::KeyCompromise) };
    let list = issuer.issue(None, std::slice::from_ref(&first), &terms).unwrap();
    assert_eq!(list.number(), ListNumber::FIRST);

    let again = Revoked { date: now(), reason: Some(Reason::Superseded), ..first };
    let second = Revoked { serial: serial(&[200]), date: now(), reason: Some(Reason::Unspecified) };
    let newer = issuer.issue(Some(&list), &[again, second.clone(), second], &terms).unwrap();
    assert_eq!(newer.number(), ListNumber::from(2));
    let entries: Vec<_> = newer.entries().map(|e| (e.serial.to_vec(), e.date, e.reason)).collect();
    let expected = [(vec![1], early, Some(Reason::KeyCompromise)), (vec![0, 200], now(), None)];
    assert_eq!(entries, expected, "who is revoked keeps date and reason; unspecified is left out");

    // Without any change: a new time and number.
    let renewed = issuer.issue(Some(&newer), &[], &terms).unwrap();
    assert_eq!((renewed.number(), renewed.len()), (ListNumber::from(3), 2));
    for reason in Reason::ALL {
        let revoked = Revoked { serial: serial(&[reason.code() + 1]), date: now(), reason: Some(reason) };
        let list = issuer.issue(None, &[revoked], &terms).unwrap();
        let expected = Some(reason).filter(|reason| *reason != Reason::Unspecified);
        assert_eq!(list.entries().next().unwrap().reason, expected);
    }
}

#[test]
fn an_empty_list_says_that_nothing_is_revoked() {
    let ca = Ca::root(KeyKind::Ed25519);
    let list = ca.revoke(None, &[]);
    assert!(list.is_empty());
    assert_eq!(list.this_update().unix_seconds(), now().unix_seconds() - 10);
    assert_eq!(list.next_update().unix_seconds(), now().unix_seconds() + 30 * 86_400);
}

#[test]
fn a_number_can_be_given_and_only_grows() {
    let ca = Ca::root(KeyKind::Ed25519);
    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let random = random();
    let numbered = |number| ListTerms { number: Some(number), ..list_terms(&random) };
    let list = issuer.issue(None, &[], &numbered(41.into())).unwrap();
    assert_eq!(list.number(), 41.into());
    for number in [40, 41] {
        let refused = issuer.issue(Some(&list), &[], &numbered(number.into())).unwrap_err();
        assert_eq!(refused, RevokeError::NumberNotLarger { previous: 41.into() });
    }
    assert_eq!(issuer.issue(Some(&list), &[], &numbered(u64::MAX.into())).unwrap().number(), u64::MAX.into());
}

#[test]
fn who_may_not_make_a_list() {
    let ca = Ca::root(KeyKind::Ed25519);
    let other = Ca::root(KeyKind::Ed25519);
    let leaf = ca.leaf();
    let refused = |certificate: &Certificate<'_>| ListIssuer::new(certificate, &ca.key).unwrap_err();
    assert!(matches!(refused(&leaf[0]), RevokeError::Issuer(RevocationError::NotACa { .. })));
    let without = altered(ca.certificate(), &ca.key, &[3, 2, 1, 0xc6], &[3, 2, 2, 0xc4]);
    assert!(matches!(refused(&without), RevokeError::Issuer(RevocationError::MayNotSign { .. })));
    assert!(matches!(refused(other.certificate()), RevokeError::KeyMismatch { .. }));

    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let foreign = other.revoke(None, &[]);
    let refused = issuer.issue(Some(&foreign), &[], &list_terms(&random())).unwrap_err();
    // Both are called "root".
    assert!(matches!(
        refused,
        RevokeError::Previous(RevocationError::KeyIdentifier { .. } | RevocationError::Signature { .. })
    ));
    let below = ca.below("alice").revoke(None, &[]);
    let refused = issuer.issue(Some(&below), &[], &list_terms(&random())).unwrap_err();
    assert!(matches!(refused, RevokeError::Previous(RevocationError::UnknownIssuer { .. })));
}

/// What nobody would read is not made.
#[test]
fn a_list_grows_to_the_last_octet_that_is_read() {
    let ca = Ca::root(KeyKind::Ed25519);
    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let random = random();
    let renewed = |octets: usize| {
        let long = entry(&[1], &[(UNKNOWN.to_vec(), false, vec![7; octets])]);
        let der = Forge::new(ca.certificate()).entry(long).sign(&ca.key);
        issuer.issue(Some(&read(&der)), &[], &list_terms(&random)).map(|list| list.der().len())
    };
    let octets = MAX_LIST_SIZE - 1000;
    let most = octets + MAX_LIST_SIZE - renewed(octets).unwrap();
    assert_eq!(renewed(most), Ok(MAX_LIST_SIZE));
    for octets in [most + 1, most + 9] {
        assert_eq!(renewed(octets), Err(RevokeError::TooLarge { limit: MAX_LIST_SIZE }));
    }
}

#[test]
fn who_makes_lists_and_how_is_shown_without_a_key() {
    let ca = Ca::root(KeyKind::Ed25519);
    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let certificate = format!("ListIssuer {{ certificate: {:?}, .. }}", ca.certificate());
    assert_eq!(format!("{issuer:?}"), certificate);
    let random = random();
    let terms = list_terms(&random);
    let shown = format!("ListTerms {{ validity: {:?}, number: None, .. }}", terms.validity);
    assert_eq!(format!("{terms:?}"), shown);
}

#[test]
fn times_of_both_forms() {
    let ca = Ca::root(KeyKind::Ed25519);
    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let random = random();
    let (before, after): (Time, Time) =
        ("2049-12-31T23:59:59Z".parse().unwrap(), "2050-01-01T00:00:00Z".parse().unwrap());
    let terms = ListTerms::new(Validity::new(before, after).unwrap(), &random);
    let entry = |octet, date| Revoked { serial: serial(&[octet]), date, reason: None };
    let list = issuer.issue(None, &[entry(1, before), entry(2, after)], &terms).unwrap();
    assert_eq!((list.this_update(), list.next_update()), (before, after));
    assert_eq!(list.entries().map(|entry| entry.date).collect::<Vec<_>>(), [before, after]);
    let too_early = entry(1, "1969-12-31T23:59:59Z".parse().unwrap());
    assert_eq!(issuer.issue(None, &[too_early], &terms), Err(RevokeError::Time(IssueError::Time)));
}

#[test]
fn certificates_of_the_database() {
    let ca = Ca::root(KeyKind::Ed25519);
    let leaves = [ca.leaf(), ca.leaf()];
    let lines = leaves.iter().map(|leaf| database_line(&leaf[0]) + "\n");
    let text = lines.collect::<String>() + "\r\n00ff some body\n0b 0c\n0c x\n0d ab\n0e 0e\n";
    let text = text.replace("\r\n", "\n\n");
    let database = Database::parse(&text).unwrap();

    let same_name = database.select(".").unwrap();
    assert_eq!(
        same_name.iter().map(|one| one.serial.as_bytes()).collect::<Vec<_>>(),
        [leaves[0][0].serial(), leaves[1][0].serial()]
    );
    let hex: String = leaves[1][0].serial().iter().map(|octet| format!("{octet:02X}")).collect();
    assert_eq!(database.select(&hex).unwrap(), same_name[1..]);
    assert_eq!(revoked(&leaves[1][0]).serial, same_name[1].serial);
    assert_eq!(database.select("some body").unwrap()[0].serial.as_bytes(), [0, 0xff]);
    assert_eq!(database.select("FF").unwrap()[0].name, Some("some body"));

    let unlisted = database.select("12:34").unwrap();
    assert_eq!((unlisted[0].serial.as_bytes(), unlisted[0].name), (&[0x12, 0x34][..], None));
    assert_eq!(database.select("ab").unwrap()[0].serial.as_bytes(), [0x0d], "a name before a serial number");
    assert_eq!(database.select("0c"), Err(DatabaseError::Ambiguous { text: "0c".into() }));
    assert_eq!(database.select("00:0c").unwrap()[0].name, Some("x"));
    assert_eq!(database.select("0e").unwrap()[0].serial.as_bytes(), [0x0e], "both of the same");
    for text in ["nobody", "", "abc", "00", "ab:", "a:b", "é", "1é", &"01".repeat(21)] {
        assert_eq!(database.select(text), Err(DatabaseError::NotFound { text: text.into() }));
    }
    for (text, line) in [("x y", 1), ("\n01 a\n02\n", 3), ("00 zero", 1), ("010 odd", 1)] {
        assert_eq!(Database::parse(text).unwrap_err(), DatabaseError::Line { line });
    }
    assert_eq!(parse_serial("0x12"), Err(IssueError::Serial));
}
