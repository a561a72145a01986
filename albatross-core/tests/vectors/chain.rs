//! `chain/NAME/`: a root, a chain, the leaf's key, and what must come of it at a given time.

use std::fmt;
use std::path::Path as FilePath;

use albatross_core::authority::{Authority, AuthorityError};
use albatross_core::certificate::{
    Certificate, ChainError, MAX_CHAIN, NothingRevoked, Root, Rule, pem, verify,
};
use albatross_core::issue::{KeyPair, SigningKey};
use albatross_proto::{Command, Policy, Time, extension};
use ring::rand::SystemRandom;
use serde_json::Value;

/// More than any recorded chain has.
const SIZE_LIMIT: usize = 64 << 20;

/// What a case is made of.
const FILES: [&str; 3] = ["ca.pem", "chain.pem", "result.json"];
/// Stands beside them where the key was kept.
const KEY: &str = "leaf.key";

#[derive(Default)]
pub(crate) struct Counts {
    accepted: usize,
    refused: usize,
    /// Folders of roots and keys for making more.
    roots: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, roots } = self;
        write!(f, "{} cases: {accepted} accepted, {refused} refused; {roots} roots", accepted + refused)
    }
}

#[derive(Debug)]
enum Refusal {
    Chain(ChainError),
    Authority(AuthorityError),
}

/// Runs every case in the folder.
pub(crate) fn run(directory: &FilePath) -> Counts {
    let mut counts = Counts::default();
    for name in super::entries(directory) {
        let folder = directory.join(&name);
        if name.starts_with('_') {
            check_roots(&folder);
            counts.roots += 1;
        } else if check_case(&folder) {
            counts.accepted += 1;
        } else {
            counts.refused += 1;
        }
    }
    assert!(counts.accepted + counts.refused > 0, "chain: no case");
    counts
}

/// Certificates with the key of the same name, all of which can be read and fit.
fn check_roots(folder: &FilePath) {
    for file in super::entries(folder) {
        let path = folder.join(&file);
        let text = std::fs::read(&path).unwrap();
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("pem") => {
                pem::certificates(&text, SIZE_LIMIT).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
            Some("key") => {
                KeyPair::from_pem(&text, &SystemRandom::new())
                    .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
            _ => panic!("{}: unknown kind of file", path.display()),
        }
    }
}

/// Whether the chain is accepted.
fn check_case(folder: &FilePath) -> bool {
    let name = folder.display();
    let mut files = super::entries(folder);
    let has_key = files.iter().any(|file| file == KEY);
    files.retain(|file| file != KEY);
    assert_eq!(files, FILES, "{name}: files");
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    let result: Value = serde_json::from_slice(&read("result.json")).unwrap();
    let at: Time = result["validation_time"].as_str().unwrap().parse().unwrap();
    let root = pem::certificates(&read("ca.pem"), SIZE_LIMIT).unwrap().remove(0);
    let root = Root::new(root).unwrap_or_else(|e| panic!("{name}: {e}"));
    let chain = pem::certificates(&read("chain.pem"), SIZE_LIMIT).unwrap();
    if has_key {
        check_key(&read(KEY), &chain[0]);
    }

    let outcome = authority(&chain, &root, at);
    let expected = result["ours"].as_str().unwrap();
    match outcome {
        Ok(authority) => {
            assert_eq!(expected, "ok", "{name}: accepted as {authority:?}");
            check_authority(&authority, &result, &name.to_string());
            true
        }
        Err(refusal) => {
            assert!(is_refusal(&refusal, expected), "{name}: {expected}, but {refusal:?}");
            false
        }
    }
}

fn authority<'a>(
    chain: &'a [Certificate<'a>],
    root: &'a Root<'a>,
    at: Time,
) -> Result<Authority<'a>, Refusal> {
    let path = verify(chain, root, at, &NothingRevoked).map_err(Refusal::Chain)?;
    Authority::of(&path).map_err(Refusal::Authority)
}

fn is_refusal(refusal: &Refusal, expected: &str) -> bool {
    match expected.strip_prefix("refused: ") {
        None => false,
        Some("path validation" | "not exactly a path") => matches!(refusal, Refusal::Chain(_)),
        Some("leaf without clientAuth") => {
            matches!(refusal, Refusal::Chain(ChainError::Refused { rule: Rule::ClientAuthMissing, .. }))
        }
        Some("policies not monotone") => {
            matches!(refusal, Refusal::Authority(AuthorityError::NotInside { .. }))
        }
        // The peer counts the certificates where it reads the authority.
        Some("authority") => matches!(
            refusal,
            Refusal::Authority(_) | Refusal::Chain(ChainError::TooManyCertificates { limit: MAX_CHAIN })
        ),
        Some(_) => true,
    }
}

/// The key is read, is the leaf's, and can sign what the leaf's public key verifies.
fn check_key(text: &[u8], leaf: &Certificate<'_>) {
    let random = SystemRandom::new();
    let key = KeyPair::from_pem(text, &random).unwrap();
    assert_eq!(key.public_key(), leaf.public_key());
    for &scheme in key.tls13_schemes() {
        let signature = key.sign_tls13(scheme, b"message", &random).unwrap();
        leaf.public_key().verify_tls13(scheme, b"message", &signature).unwrap();
        assert!(leaf.public_key().verify_tls13(scheme, b"another", &signature).is_err());
    }
}

fn check_authority(authority: &Authority<'_>, result: &Value, name: &str) {
    let expected = &result["handle_of_validated_path"];
    assert_eq!(authority.name.to_string().trim_start_matches(':'), trimmed(&expected["name"]), "{name}");
    let path: Vec<&str> = expected["name_path"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(authority.name.path().labels().collect::<Vec<_>>(), path, "{name}");
    let label = expected["name_label"].as_str();
    assert_eq!(authority.name.label().map(albatross_proto::Label::as_str), label, "{name}");

    // Recorded are the policies from the leaf upwards.
    let policies = expected["policies"].as_array().unwrap();
    assert_eq!(authority.policies.len(), policies.len(), "{name}");
    for ((path, policy), expected) in authority.policies.iter().rev().zip(policies) {
        let labels: Vec<&str> = expected["path"].as_array().unwrap().iter().map(text).collect();
        assert_eq!(path.labels().collect::<Vec<_>>(), labels, "{name}");
        check_policy(policy, &expected["policy"]);
    }

    let value = hex(result["chain"][0]["albatross_extension"]["value_hex"].as_str().unwrap());
    assert_eq!(authority.command, extension::decode(&value).unwrap(), "{name}");
    assert_eq!(class(&authority.command), expected["command"]["class"].as_str().unwrap(), "{name}");
}

fn check_policy(policy: &Policy, expected: &Value) {
    let int = |value: &Value| value.as_i64().unwrap();
    let cpuids: Vec<i64> = expected["cpuids"].as_array().unwrap().iter().map(int).collect();
    assert_eq!(policy.cpuids.iter().map(|id| id.get()).collect::<Vec<_>>(), cpuids);
    assert_eq!(policy.unikernels.get(), int(&expected["unikernels"]));
    assert_eq!(policy.memory.get(), int(&expected["memory"]));
    assert_eq!(policy.block.map(albatross_proto::Int::get), expected["block"].as_i64());
    let bridges: Vec<&str> = expected["bridges"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(policy.bridges.iter().map(|b| b.as_str().unwrap()).collect::<Vec<_>>(), bridges);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A name at the root prints with a leading colon or without.
fn trimmed(value: &Value) -> &str {
    text(value).trim_start_matches(':')
}

fn class(command: &Command<'_>) -> &'static str {
    match command {
        Command::Console(_) => "console",
        Command::Statistics(_) => "stats",
        Command::Unikernel(_) => "unikernel",
        Command::Policy(_) => "policy",
        Command::Block(_) => "block",
        Command::Log(_) => "log",
        Command::Revocation(_) => "revocation",
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let octets = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    octets.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
