//! What OpenSSL says about what is made and accepted here. Skipped where it is not installed.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use albatross_core::authority::Authority;
use albatross_core::certificate::{Certificate, NothingRevoked, Root, SignatureError, pem, verify};
use albatross_core::issue::{IssueError, KeyKind, KeyPair, Request, SigningKey};
use albatross_proto::Time;

use super::{info, key, keys, new_chain, new_leaf, now, random};

fn openssl(folder: &Path, arguments: &str) -> Output {
    Process::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap()
}

fn succeeds(folder: &Path, arguments: &str) -> String {
    let output = openssl(folder, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "openssl {arguments}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
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

/// Whether OpenSSL accepts the chain for clients.
fn verifies(folder: &Path, root: &Certificate<'_>, chain: &[Certificate<'_>], at: Time) -> Output {
    std::fs::write(folder.join("ca"), pem::encode_certificates([root])).unwrap();
    std::fs::write(folder.join("leaf"), pem::encode_certificates(&chain[..1])).unwrap();
    let mut arguments = format!("verify -purpose sslclient -attime {} -CAfile ca", at.unix_seconds());
    if chain.len() > 1 {
        std::fs::write(folder.join("rest"), pem::encode_certificates(&chain[1..])).unwrap();
        arguments.push_str(" -untrusted rest");
    }
    openssl(folder, &(arguments + " leaf"))
}

#[test]
fn keys_and_chains_of_every_kind() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    for kind in keys::QUICK {
        let (texts, keys) = keys::story(kind);
        for (name, text) in ["ca", "rest", "leaf"].iter().zip(&texts) {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let at = now().unix_seconds();
        succeeds(folder, &format!("verify -purpose sslclient -attime {at} -CAfile ca -untrusted rest leaf"));
        for (name, key) in ["ca", "rest", "leaf"].iter().zip(&keys) {
            std::fs::write(folder.join("key"), key.to_pem().as_bytes()).unwrap();
            succeeds(folder, "pkey -in key -check -noout");
            let public = succeeds(folder, "pkey -in key -pubout");
            assert_eq!(succeeds(folder, &format!("x509 -in {name} -noout -pubkey")), public);
        }
    }
}

#[test]
fn requests() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    for kind in keys::QUICK {
        let key = KeyPair::generate(kind, &random()).unwrap();
        for command in [None, Some(&info())] {
            let request = Request::create("hello", command, &key, &random()).unwrap();
            std::fs::write(folder.join("req"), request.to_pem()).unwrap();
            let text = succeeds(folder, "req -in req -verify -noout -text");
            assert!(text.contains("CN = hello"), "{text}");
            assert_eq!(text.contains("1.3.6.1.4.1.49836.42"), command.is_some(), "{text}");
        }
    }
}

#[test]
fn keys_and_requests_that_openssl_wrote() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    for (algorithm, schemes) in [
        ("ED25519", &[0x0807][..]),
        ("EC -pkeyopt ec_paramgen_curve:P-256", &[0x0403]),
        ("EC -pkeyopt ec_paramgen_curve:P-384", &[0x0503]),
        ("EC -pkeyopt ec_paramgen_curve:P-521", &[0x0603]),
        ("RSA -pkeyopt rsa_keygen_bits:2048", &[0x0804, 0x0805, 0x0806]),
    ] {
        succeeds(folder, &format!("genpkey -out key -algorithm {algorithm}"));
        let key = KeyPair::from_pem(&std::fs::read(folder.join("key")).unwrap(), &random()).unwrap();
        assert_eq!(key.tls13_schemes(), schemes);
        for digest in ["sha256", "sha384", "sha512"] {
            succeeds(folder, &format!("req -new -key key -{digest} -out req -subj /O=x/CN=server"));
            let der = pem::request(&std::fs::read(folder.join("req")).unwrap()).unwrap();
            let request = Request::from_der(&der);
            if digest == "sha512" && (algorithm.ends_with("256") || algorithm.ends_with("384")) {
                let refused = IssueError::RequestSignature(SignatureError::UnsupportedAlgorithm);
                assert_eq!(request.unwrap_err(), refused);
                continue;
            }
            let request = request.unwrap_or_else(|e| panic!("{algorithm} {digest}: {e}"));
            assert_eq!(request.common_name(), Some("server"));
            assert_eq!(request.public_key(), key.public_key());
        }
    }
}

/// All that is accepted here, OpenSSL accepts too.
#[test]
fn recorded_chains() {
    let Some(folder) = folder() else { return };
    let vectors = std::env::var_os("ALBATROSS_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors"), PathBuf::from);
    let mut accepted = 0;
    for entry in std::fs::read_dir(vectors.join("chain")).unwrap() {
        let case = entry.unwrap().path();
        let Ok(result) = std::fs::read(case.join("result.json")) else { continue };
        let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
        let at: Time = result["validation_time"].as_str().unwrap().parse().unwrap();
        let read = |file| pem::certificates(&std::fs::read(case.join(file)).unwrap(), 64 << 20).unwrap();
        let (mut roots, chain) = (read("ca.pem"), read("chain.pem"));
        let root = Root::new(roots.remove(0)).unwrap();
        let Ok(path) = verify(&chain, &root, at, &NothingRevoked) else { continue };
        let Ok(_) = Authority::of(&path) else { continue };
        let output = verifies(folder.path(), root.certificate(), &chain, at);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", case.display());
        accepted += 1;
    }
    println!("{accepted} recorded chains that are accepted here, OpenSSL accepts");
    assert!(accepted > 0);
}

#[test]
fn the_longest_chain() {
    let Some(folder) = folder() else { return };
    let (above, key) = new_chain(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let chain = new_leaf(&above, &key, &info());
    assert!(verifies(folder.path(), above.last().unwrap(), &chain, now()).status.success());
}

#[test]
fn rsa_keys() {
    let Some(folder) = folder() else { return };
    let rsa = KeyPair::generate(KeyKind::Rsa2048, &random()).unwrap();
    std::fs::write(folder.path().join("key"), rsa.to_pem().as_bytes()).unwrap();
    succeeds(folder.path(), "pkey -in key -check -noout");
    assert_ne!(rsa.public_key(), key().public_key());
}
