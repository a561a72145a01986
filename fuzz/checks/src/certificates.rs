//! Certificates, chains, requests, revocation lists, keys, and the text form of all of them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use albatross_core::authority::Authority;
use albatross_core::certificate::{
    Certificate, NothingRevoked, Root, chain_from_der, pem as text_form, verify,
};
use albatross_core::issue::{KeyPair, Request, SigningKey};
use albatross_core::revocation::RevocationList;
use albatross_proto::Time;
use asn1_rs::{Any, FromDer};
use ring::rand::SystemRandom;

/// More than any input has.
const SIZE_LIMIT: usize = 1 << 24;

/// The root of the recorded chains, at whose time they are verified.
static ROOT: LazyLock<Root<'static>> = LazyLock::new(|| {
    let text = include_bytes!("../../../testdata/vectors/chain/_lib-root/ca.pem");
    Root::new(text_form::certificates(text, SIZE_LIMIT).unwrap().remove(0)).unwrap()
});

/// When the recorded chains are valid.
static AT: LazyLock<Time> = LazyLock::new(|| "2026-06-01T00:00:00Z".parse().unwrap());

/// What the CAs of the recorded chains have signed, as far as it is recorded: no other content can verify.
static SIGNED: LazyLock<BTreeSet<Vec<u8>>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/vectors/chain");
    let mut signed = BTreeSet::new();
    for case in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(case.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|kind| kind == "pem") {
                let text = std::fs::read(&file).unwrap();
                let certificates = text_form::certificates(&text, SIZE_LIMIT).unwrap();
                signed.extend(certificates.iter().map(|certificate| content(certificate.der()).to_vec()));
            }
        }
    }
    signed
});

/// What is signed of a certificate or list: its first part.
fn content(der: &[u8]) -> &[u8] {
    let (_, all) = Any::from_der(der).unwrap();
    let (rest, _) = Any::from_der(all.data).unwrap();
    &all.data[..all.data.len() - rest.len()]
}

/// Certificates one after the other, the leaf first: what verifies was signed by a CA of the recorded
/// chains, and whatever can be read is read again the same.
pub fn chain(bytes: &[u8]) -> bool {
    let mut ders = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok((later, _)) = Any::from_der(rest) else { break };
        ders.push(&rest[..rest.len() - later.len()]);
        rest = later;
    }
    if !rest.is_empty() || ders.is_empty() {
        ders.push(rest);
    }
    if let Some(Err(error)) = ders.first().map(|der| Certificate::from_der(der)) {
        assert!(error.position <= ders[0].len(), "{error}");
    }
    let Ok(chain) = chain_from_der(ders.iter().copied(), SIZE_LIMIT) else { return false };
    for certificate in &chain {
        look_at(certificate);
    }
    if let Ok(path) = verify(&chain, &ROOT, *AT, &NothingRevoked) {
        for certificate in &chain {
            assert!(SIGNED.contains(content(certificate.der())), "a forged certificate was accepted");
        }
        match Authority::of(&path) {
            Ok(authority) => {
                assert_eq!(authority.policies.len(), authority.name.path().depth());
                assert_eq!(authority.clone().into_owned(), authority);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    true
}

fn look_at(certificate: &Certificate<'_>) {
    assert!(certificate.not_before() <= Time::MAX && certificate.not_after() <= Time::MAX);
    let _ = (certificate.subject().to_string(), certificate.issuer().to_string());
    let _ = (certificate.common_name(), certificate.serial(), certificate.is_ca());
    assert!(certificate.dns_names().all(|name| !name.contains('\0')));
    if let Some(Ok(command)) = certificate.command_extension().map(albatross_proto::extension::decode) {
        assert_eq!(certificate.command(), Ok(Some(command)));
    }
    let text = text_form::encode_certificates([certificate]);
    let again = text_form::certificates(text.as_bytes(), SIZE_LIMIT).unwrap();
    assert_eq!(again, std::slice::from_ref(certificate));
}

/// A request: what is read is read again the same from its text form.
pub fn request(bytes: &[u8]) -> bool {
    let Ok(request) = Request::from_der(bytes) else { return false };
    let _ = (request.subject().to_string(), request.common_name(), request.profile());
    assert!(request.command().is_ok());
    assert_eq!(text_form::request(request.to_pem().as_bytes()).unwrap(), bytes);
    true
}

/// A revocation list: it contains what it lists, and nothing verifies against the root of the recorded
/// chains, which has signed none.
pub fn crl(bytes: &[u8]) -> bool {
    let Ok(list) = RevocationList::from_der(bytes, SIZE_LIMIT) else { return false };
    let mut entries = 0;
    for entry in list.entries() {
        assert!(list.contains(entry.serial), "an entry that is not contained");
        entries += 1;
    }
    // A serial number that stands twice counts once.
    assert!(list.len() <= entries);
    assert_eq!(list.is_empty(), entries == 0);
    assert!(list.verify(ROOT.certificate()).is_err(), "a forged list was accepted");
    let again = RevocationList::der_from_pem(list.to_pem().as_bytes(), SIZE_LIMIT).unwrap();
    assert_eq!(again, bytes);
    let _ = (list.issuer().to_string(), list.number(), list.is_expired(list.next_update()));
    true
}

/// The text form: what is found in it is found again when it is written alone.
pub fn pem(bytes: &[u8]) -> bool {
    let _ = text_form::certificates(bytes, SIZE_LIMIT);
    let _ = text_form::request(bytes);
    let _ = text_form::private_key(bytes);
    let _ = RevocationList::der_from_pem(bytes, SIZE_LIMIT);
    let Ok(blocks) = text_form::blocks(bytes) else { return false };
    for block in &blocks {
        let again = text_form::encode(text_form::CERTIFICATE, &block.der);
        let found = text_form::blocks(again.as_bytes()).unwrap();
        assert!(matches!(&found[..], [only] if only.der == block.der), "{again}");
    }
    !blocks.is_empty()
}

/// A private key: what is read signs, and is written in a form that is read as the same key.
pub fn key(bytes: &[u8]) -> bool {
    let random = SystemRandom::new();
    let Ok(key) = KeyPair::from_pkcs8(bytes, &random) else { return false };
    let again = KeyPair::from_pem(key.to_pem().as_bytes(), &random).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(again.pkcs8(), key.pkcs8());
    true
}
