//! Revocation lists in files, by the real binary; openssl reads them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::path::Path;

use albatross_e2e::run::has_openssl;
use common::{openssl, run, succeed};

/// An authority `root`, and `alice` below it, who has signed `hello` twice and `other`.
fn delegated(place: &Path) {
    succeed(place, &["generate", "root", "root.db"]);
    succeed(place, &["add-policy", "alice", "2", "--mem=256", "--csr"]);
    succeed(place, &["sign", "cacert.pem", "root.db", "root.key", "alice.req"]);
    for name in ["hello", "hello", "other"] {
        succeed(place, &["info", "--csr", "-n", name]);
        succeed(place, &["sign", "alice.pem", "alice.db", "alice.key", &format!("{name}.req")]);
    }
}

/// The serial numbers of a name in a database.
fn serials(place: &Path, db: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(place.join(db)).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(' ')).filter(|(_, found)| *found == name);
    lines.map(|(serial, _)| serial.to_owned()).collect()
}

#[test]
fn names_and_serial_numbers_are_revoked_and_the_list_grows() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    delegated(place);
    let words = ["revoke", "alice.pem", "alice.db", "alice.key"];
    let revoke = |who: &[&str]| succeed(place, &[&words, who].concat());
    let outcome = revoke(&["hello", "--reason", "key-compromise"]);
    let of_hello = serials(place, "alice.db", "hello");
    assert_eq!(of_hello.len(), 2);
    for serial in &of_hello {
        assert!(outcome.stdout.contains(&format!("revoked {serial} hello\n")), "{outcome:?}");
    }
    assert!(outcome.stdout.ends_with("written alice.crl\n"), "{outcome:?}");
    let shown = succeed(place, &["decode", "alice.crl"]).stdout;
    assert!(of_hello.iter().all(|serial| shown.contains(serial.as_str())), "{shown}");
    assert!(shown.contains("keyCompromise"), "{shown}");
    // What is revoked stays, the number grows; by serial number, with one that the database does not have.
    let other = serials(place, "alice.db", "other").remove(0);
    let outcome = revoke(&[&other, "0123456789abcdef"]);
    assert!(outcome.stdout.contains("is not in alice.db"), "{outcome:?}");
    let all = succeed(place, &["decode", "alice.crl", "--json"]).stdout;
    let list: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!(list["revoked"].as_array().unwrap().len(), 4, "{all}");
    // Anew, for a newer date.
    revoke(&[]);
    let json = succeed(place, &[&words[..], &["--json", "other"]].concat()).stdout;
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["name"]), (&"revoked".into(), &"other".into()), "{json}");
}

#[test]
fn verifiers_refuse_what_is_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    delegated(place);
    let verify = |crl: &str| run(place, &["verify", "cacert.pem", "hello.pem", "--crl", crl]);
    succeed(place, &["revoke", "alice.pem", "alice.db", "alice.key", "other"]);
    assert_eq!(verify("alice.crl").code, 0);
    succeed(place, &["revoke", "alice.pem", "alice.db", "alice.key", "hello"]);
    assert_eq!(verify("alice.crl").code, 116);
    // And with an authority all below it.
    succeed(place, &["revoke", "cacert.pem", "root.db", "root.key", "alice", "--crl", "root.crl"]);
    assert_eq!(verify("root.crl").code, 116);
    if !has_openssl() {
        return;
    }
    let text = openssl(place, &["crl", "-in", "alice.crl", "-noout", "-text", "-CAfile", "alice.pem"]);
    assert!(text.contains("Version 2") && text.contains("X509v3 CRL Number"), "{text}");
    // Ours are PEM; DER is read as well, as openssl writes it.
    openssl(place, &["crl", "-in", "alice.crl", "-outform", "DER", "-out", "der.crl"]);
    let words = ["revoke", "alice.pem", "alice.db", "alice.key", "--crl", "der.crl"];
    succeed(place, &words);
    let shown = succeed(place, &["decode", "der.crl", "--json"]).stdout;
    let list: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(list["number"].to_string().trim_matches('"'), "3", "{shown}");
}

#[test]
fn what_is_not_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    delegated(place);
    fs::write(place.join("bad.db"), "not a serial number\n").unwrap();
    fs::write(place.join("bad.crl"), "not a list").unwrap();
    succeed(place, &["revoke", "cacert.pem", "root.db", "root.key", "--crl", "root.crl"]);
    for (words, why) in [
        (&["revoke", "alice.pem", "alice.db", "alice.key", "nobody"][..], "is no name in the database"),
        (&["revoke", "alice.pem", "alice.db", "root.key", "hello"], "is not the private key"),
        (&["revoke", "hello.pem", "alice.db", "hello.key", "hello"], "CA"),
        (&["revoke", "alice.pem", "bad.db", "alice.key", "hello"], "line 1 of the database"),
        (&["revoke", "alice.pem", "missing.db", "alice.key", "hello"], "missing.db"),
        (
            &["revoke", "alice.pem", "alice.db", "alice.key", "hello", "--crl", "bad.crl"],
            "is not the list so far",
        ),
        (&["revoke", "alice.pem", "alice.db", "alice.key", "hello", "--crl", "root.crl"], "the list so far"),
        (
            &["revoke", "cacert.pem", "root.db", "root.key", "alice", "--crl", "root.crl", "--number", "1"],
            "larger",
        ),
    ] {
        let before = fs::read(place.join("root.crl")).unwrap();
        let outcome = run(place, words);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.code == 124 && text.contains(why), "{words:?}: {outcome:?}");
        assert_eq!(fs::read(place.join("root.crl")).unwrap(), before);
        assert!(!place.join("alice.crl").exists() && !place.join("hello.crl").exists(), "{words:?}");
    }
}
