//! Lists between OpenSSL and this library. Skipped where it is not installed.

use std::path::Path;
use std::process::{Command as Process, Output};

use albatross_core::certificate::{Certificate, pem};
use albatross_core::issue::{KeyKind, KeyPair, Revoked, Serial};
use albatross_core::issue::{ListIssuer, ListTerms, SigningKey, Validity};
use albatross_core::revocation::{MAX_LIST_SIZE, Reason, RevocationList};
use albatross_proto::Time;

use super::{Ca, list_terms, now, random};

const CONFIGURATION: &str = "
[ca]
default_ca = own
[own]
database = index.txt
crlnumber = number
default_md = DIGEST
default_crl_days = 30
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid
[req]
distinguished_name = name
x509_extensions = v3
prompt = no
[name]
CN = root
[v3]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
";

fn openssl(folder: &Path, arguments: &str) -> Output {
    Process::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap()
}

fn succeeds(folder: &Path, arguments: &str) -> String {
    let Output { status, stdout, stderr } = openssl(folder, arguments);
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success(), "openssl {arguments}: {text}");
    text
}

/// A new folder, or `None` where there is no openssl.
fn folder() -> Option<tempfile::TempDir> {
    if Process::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

/// OpenSSL's options for a new key of this kind.
fn options(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "ed25519",
        KeyKind::P256 => "EC -pkeyopt ec_paramgen_curve:P-256",
        KeyKind::P384 => "EC -pkeyopt ec_paramgen_curve:P-384",
        KeyKind::P521 => "EC -pkeyopt ec_paramgen_curve:P-521",
        KeyKind::Rsa2048 => "RSA -pkeyopt rsa_keygen_bits:2048",
        KeyKind::Rsa4096 => "RSA -pkeyopt rsa_keygen_bits:4096",
    }
}

const fn digest(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "default",
        KeyKind::P384 => "sha384",
        KeyKind::P521 => "sha512",
        _ => "sha256",
    }
}

/// A CA with key and certificate by OpenSSL.
fn make_ca(folder: &Path, kind: KeyKind) -> (Certificate<'static>, KeyPair) {
    std::fs::write(folder.join("cnf"), CONFIGURATION.replace("DIGEST", digest(kind))).unwrap();
    succeeds(folder, &format!("genpkey -out key -algorithm {}", options(kind)));
    succeeds(folder, "req -new -x509 -config cnf -key key -out ca -days 9");
    let read = |file| std::fs::read(folder.join(file)).unwrap();
    let certificate = pem::certificates(&read("ca"), 10_000).unwrap().remove(0);
    (certificate, KeyPair::from_pem(&read("key"), &random()).unwrap())
}

/// OpenSSL's lists are read, ours are verified by it, and each goes on from the other's.
#[test]
fn lists_of_every_kind_of_key() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    for kind in KeyKind::ALL {
        let (ca, key) = make_ca(folder, kind);
        let index = "R\t270101000000Z\t260501000000Z,keyCompromise\t0A\tunknown\t/CN=a\n\
                     R\t270101000000Z\t260502000000Z\t4ABC\tunknown\t/CN=b\n\
                     V\t270101000000Z\t\t0D\tunknown\t/CN=c\n";
        std::fs::write(folder.join("index.txt"), index).unwrap();
        std::fs::write(folder.join("number"), "0ff0\n").unwrap();
        succeeds(folder, "ca -config cnf -gencrl -keyfile key -cert ca -out theirs");
        let text = std::fs::read(folder.join("theirs")).unwrap();
        let der = RevocationList::der_from_pem(&text, MAX_LIST_SIZE).unwrap();
        let theirs = RevocationList::from_der(&der, MAX_LIST_SIZE).unwrap();
        assert_eq!(theirs.verify(&ca), Ok(()), "{kind}");
        assert_eq!((theirs.number(), theirs.len()), (0x0ff0.into(), 2));
        let entries: Vec<_> = theirs.entries().map(|entry| (entry.serial.to_vec(), entry.reason)).collect();
        assert_eq!(entries, [(vec![10], Some(Reason::KeyCompromise)), (vec![0x4a, 0xbc], None)]);

        let issuer = ListIssuer::new(&ca, &key).unwrap();
        let revoked =
            Revoked { serial: Serial::new(&[0xd0]).unwrap(), date: now(), reason: Some(Reason::Superseded) };
        let ours = issuer.issue(Some(&theirs), &[revoked], &list_terms(&random())).unwrap();
        std::fs::write(folder.join("ours"), ours.to_pem()).unwrap();
        let text = succeeds(folder, "crl -in ours -CAfile ca -text -noout");
        for expected in [
            "verify OK",
            "Version 2",
            "4081",
            "Serial Number: 0A",
            "Key Compromise",
            "4ABC",
            "D0",
            "Superseded",
        ] {
            assert!(text.contains(expected), "{kind}: no {expected} in {text}");
        }
    }
}

/// What our lists revoke, OpenSSL refuses with `crl_check_all`, and what they do not it accepts.
#[test]
fn openssl_honours_our_lists() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let root = Ca::root(KeyKind::Ed25519);
    let alice = root.below("alice");
    let leaf = alice.leaf();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("ca", pem::encode_certificates([root.certificate()]));
    write("rest", pem::encode_certificates(&leaf[1..]));
    write("leaf", pem::encode_certificates(&leaf[..1]));
    let at = now().unix_seconds();
    let verify = format!("verify -crl_check_all -attime {at} -CAfile ca -CRLfile lists -untrusted rest leaf");
    let nothing = [root.revoke(None, &[]), alice.revoke(None, &[])];
    let lists = |lists: [&RevocationList<'_>; 2]| lists.map(RevocationList::to_pem).concat();
    write("lists", lists([&nothing[0], &nothing[1]]));
    succeeds(folder, &verify);
    let leaf_gone = alice.revoke(Some(&nothing[1]), &[&leaf[0]]);
    write("lists", lists([&nothing[0], &leaf_gone]));
    assert!(!openssl(folder, &verify).status.success());
    let alice_gone = root.revoke(Some(&nothing[0]), &[alice.certificate()]);
    write("lists", lists([&alice_gone, &nothing[1]]));
    let output = openssl(folder, &verify);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("revoked"), "{output:?}");
}

/// Times beyond 2049 and many entries.
#[test]
fn openssl_reads_a_large_list() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let ca = Ca::root(KeyKind::P256);
    let revoked: Vec<_> = (1..=2000_u32)
        .map(|number| Revoked {
            serial: Serial::new(&number.to_be_bytes()).unwrap(),
            date: now(),
            reason: Reason::ALL.get(usize::try_from(number % 9).unwrap()).copied(),
        })
        .collect();
    let random = random();
    let end: Time = "2077-01-01T00:00:00Z".parse().unwrap();
    let terms = ListTerms::new(Validity::new(now(), end).unwrap(), &random);
    let issuer = ListIssuer::new(ca.certificate(), &ca.key).unwrap();
    let list = issuer.issue(None, &revoked, &terms).unwrap();
    std::fs::write(folder.join("list"), list.der()).unwrap();
    std::fs::write(folder.join("ca"), pem::encode_certificates([ca.certificate()])).unwrap();
    let text = succeeds(folder, "crl -inform DER -in list -CAfile ca -text -noout");
    assert!(text.contains("verify OK") && text.contains("2077"));
    assert_eq!(text.matches("Serial Number").count(), 2000);
    assert_eq!(list.verify(ca.certificate()), Ok(()));
    assert_eq!(ca.key.public_key(), ca.certificate().public_key());
}
