//! What issuers make, and what they refuse.

use std::borrow::Cow;

use albatross_core::authority::Authority;
use albatross_core::certificate::{
    Certificate, ChainError, NothingRevoked, PublicKey, Root, Rule, pem, verify,
};
use albatross_core::issue::{
    self, IssueError, Issuer, KeyError, Profile, Request, Serial, SigningKey, Terms, Validity, database_line,
};
use albatross_proto::{
    Arguments, BlockCommand, Command, Config, Int, Policy, PolicyCommand, Typ, UnikernelCommand,
    command::ByDigest,
};
use ring::rand::SecureRandom;

use super::forge::{self, Forge};
use super::{info, key, label, new_chain, new_root, now, policy, random, terms};

fn request(common_name: &str, command: &Command<'_>) -> Request<'static> {
    Request::create(common_name, Some(command), &key(), &random()).unwrap()
}

fn add(policy: Policy) -> Command<'static> {
    Command::Policy(PolicyCommand::Add(policy))
}

fn create(memory: i32) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Create(Config {
        typ: Typ::Solo5,
        compressed: false,
        image: Cow::Borrowed(&[]),
        arguments: Arguments { memory: Int::from(memory), ..Arguments::new() },
    }))
}

#[test]
fn a_signed_request_becomes_an_authority() {
    let (above, key) = new_chain(&["alice"]);
    let issuer = Issuer::new(&above, &key).unwrap();
    let random = random();
    let request = request("hello", &create(32));
    assert_eq!((request.common_name(), request.profile()), (Some("hello"), Profile::Leaf));
    let signed = issuer.sign(&request, &terms(&random)).unwrap();
    assert_eq!(signed.profile, Profile::Leaf);

    // Whole chains, without the root.
    let text = issuer.chain_pem(&signed.certificate);
    let chain = pem::certificates(text.as_bytes(), 1 << 16).unwrap();
    assert_eq!(chain, [signed.certificate, above[0].clone()]);
    let root = Root::new(above[1].clone()).unwrap();
    let path = verify(&chain, &root, now(), &NothingRevoked).unwrap();
    let authority = Authority::of(&path).unwrap();
    assert_eq!(authority.name.to_string(), "alice:hello");
    assert_eq!(authority.command, create(32));
}

#[test]
fn a_signed_policy_becomes_an_intermediate() {
    let (above, key) = new_chain(&["alice"]);
    let random = random();
    let bob = super::key();
    let issuer = Issuer::new(&above, &key).unwrap();
    let request = Request::create("bob", Some(&add(policy(3))), &bob, &random).unwrap();
    let signed = issuer.sign(&request, &terms(&random)).unwrap();
    assert_eq!(signed.profile, Profile::Intermediate);
    let text = issuer.chain_pem(&signed.certificate);
    let chain = pem::certificates(text.as_bytes(), 1 << 16).unwrap();
    let below = Issuer::new(&chain, &bob).unwrap();
    assert_eq!(below.policy().unwrap(), Some(policy(3)));
    assert_eq!(below.chain().len(), 2);
}

#[test]
fn a_request_without_command_becomes_a_server() {
    let (above, key) = new_chain(&[]);
    let random = random();
    let issuer = Issuer::new(&above, &key).unwrap();
    let request = Request::create("server", None, &super::key(), &random).unwrap();
    assert_eq!(request.command().unwrap(), None);
    let signed = issuer.sign(&request, &terms(&random)).unwrap();
    assert_eq!((signed.profile, signed.profile.default_days()), (Profile::Server, 365));
    assert_eq!(signed.certificate.common_name(), Some("server"));
}

#[test]
fn a_name_that_would_be_two_lines_of_the_database_is_refused() {
    let (above, key) = new_chain(&[]);
    let random = random();
    let request = Request::create("server\n00 other", None, &super::key(), &random).unwrap();
    let signed = Issuer::new(&above, &key).unwrap().sign(&request, &terms(&random));
    assert!(matches!(signed, Err(IssueError::ControlCharacter)));
}

/// Two CAs can have the same name.
#[test]
fn certificates_name_the_key_of_their_issuer() {
    let (root, root_key) = new_root();
    let random = random();
    let above = [root.clone()];
    let issuer = Issuer::new(&above, &root_key).unwrap();
    let [alice, other] = [key(), key()].map(|key| {
        let ca = issuer.intermediate(&label("alice"), key.public_key(), &policy(2), &terms(&random)).unwrap();
        (key, ca)
    });
    let cas = [alice.1, root.clone()];
    let issuer = Issuer::new(&cas, &alice.0).unwrap();
    let leaf = issuer.leaf(Some(&label("hello")), key().public_key(), &info(), &terms(&random)).unwrap();
    let root = Root::new(root).unwrap();
    verify(&[leaf.clone(), cas[0].clone()], &root, now(), &NothingRevoked).unwrap();
    let error = verify(&[leaf, other.1], &root, now(), &NothingRevoked).unwrap_err();
    assert!(matches!(error, ChainError::Refused { rule: Rule::KeyIdentifier, .. }), "{error}");
}

/// Who creates by digest sends the image later, and is held to the policy all the same.
#[test]
fn what_is_created_by_digest_is_inside_the_policy_of_the_issuer() {
    let (above, key) = new_chain(&["alice"]);
    let issuer = Issuer::new(&above, &key).unwrap();
    let random = random();
    for by_digest in [UnikernelCommand::CreateByDigest, UnikernelCommand::ForceCreateByDigest] {
        let made = |memory| {
            let Command::Unikernel(UnikernelCommand::Create(config)) = create(memory) else { panic!() };
            let command =
                Command::Unikernel(by_digest(ByDigest { config, sha256: [7; 32], size: Int::from(99) }));
            issuer.leaf(Some(&label("big")), super::key().public_key(), &command, &terms(&random))
        };
        assert!(matches!(made(2001), Err(IssueError::CreateNotAllowed(_))));
        made(2000).unwrap();
    }
}

#[test]
fn requests_are_read_back() {
    let made = request("hello", &info());
    let der = pem::request(made.to_pem().as_bytes()).unwrap();
    let read = Request::from_der(&der).unwrap();
    assert_eq!(read.command().unwrap(), Some(info()));
    assert_eq!(read.public_key(), made.public_key());
    for position in 0..der.len() {
        let mut spoilt = der.clone();
        spoilt[position] ^= 1;
        assert!(Request::from_der(&spoilt).is_err(), "octet {position}");
        assert!(Request::from_der(&der[..position]).is_err());
    }
}

#[test]
fn requests_with_an_unreadable_extension_are_refused() {
    // As `request` writes it, with a version of 4 in the extension.
    let made = request("hello", &info());
    let der = made.der();
    let at = der.windows(3).rposition(|part| part == [2, 1, 5]).unwrap();
    let (key, random) = (key(), random());
    let mut info_bytes = der.to_vec();
    info_bytes[at + 2] = 4;
    // Signed anew by its own key: the content is the first element of the outer SEQUENCE.
    let spki = made.public_key().spki().to_vec();
    let start = if der[1] & 0x80 == 0 { 2 } else { 2 + usize::from(der[1] & 0x7f) };
    let header = if der[start + 1] & 0x80 == 0 { 2 } else { 2 + usize::from(der[start + 1] & 0x7f) };
    let length = match header {
        2 => usize::from(der[start + 1]),
        _ => usize::from(der[start + 2]),
    };
    let mut content = info_bytes[start..start + header + length].to_vec();
    let key_at = content.windows(spki.len()).position(|part| part == spki).unwrap();
    content[key_at..key_at + spki.len()].copy_from_slice(key.public_key().spki());
    let mut signature = key.sign(&content, &random).unwrap();
    signature.insert(0, 0);
    let ed25519 = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
    let forged = forge::tlv(0x30, &[content, ed25519.to_vec(), forge::tlv(0x03, &signature)].concat());
    assert!(matches!(Request::from_der(&forged), Err(IssueError::Extension(_))));
}

#[test]
fn every_refusal_of_sign() {
    let (above, key) = new_chain(&["alice"]);
    let issuer = Issuer::new(&above, &key).unwrap();
    let random = random();
    let sign =
        |name: &str, command: Command<'_>| issuer.sign(&request(name, &command), &terms(&random)).map(|_| ());
    let unusable = sign("bob", add(policy(0)));
    assert!(matches!(unusable, Err(IssueError::PolicyUnusable(_))));
    assert!(matches!(sign("bob", add(policy(21))), Err(IssueError::PolicyNotInside(_))));
    sign("bob", add(policy(20))).unwrap();
    assert!(matches!(sign("big", create(2001)), Err(IssueError::CreateNotAllowed(_))));
    sign("big", create(2000)).unwrap();
    for name in ["", "a b", "-a", "a:b"] {
        assert!(matches!(sign(name, info()), Err(IssueError::Label(_))), "{name}");
        assert!(matches!(sign(name, add(policy(1))), Err(IssueError::Label(_))), "{name}");
    }
    for name in [".", ":"] {
        sign(name, info()).unwrap();
    }
    sign(".", Command::Block(BlockCommand::Info)).unwrap();
}

#[test]
fn a_request_without_common_name_is_refused() {
    let (above, key) = new_chain(&[]);
    let random = random();
    let issuer = Issuer::new(&above, &key).unwrap();
    // A name with an organisation only: the same length, another attribute.
    let (own, mut content) = (super::key(), Vec::new());
    content.extend(forge::tlv(0x02, &[0]));
    content.extend([0x30, 0]);
    content.extend(own.public_key().spki());
    content.extend([0xa0, 0]);
    let content = forge::tlv(0x30, &content);
    let mut signature = own.sign(&content, &random).unwrap();
    signature.insert(0, 0);
    let ed25519 = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70].to_vec();
    let der = forge::tlv(0x30, &[content, ed25519, forge::tlv(0x03, &signature)].concat());
    let request = Request::from_der(&der).unwrap();
    let refused = issuer.sign(&request, &terms(&random)).unwrap_err();
    assert_eq!(refused, IssueError::NoCommonName);
}

#[test]
fn who_is_no_issuer() {
    let (above, key) = new_chain(&["alice", "bob"]);
    let random = random();
    assert!(matches!(Issuer::new(&[], &key).err(), Some(IssueError::NoIssuer)));
    assert!(matches!(Issuer::new(&above, &super::key()).err(), Some(IssueError::KeyMismatch { .. })));
    let own = super::key();
    let issuer = Issuer::new(&above, &key).unwrap();
    let leaf = issuer.leaf(None, own.public_key(), &info(), &terms(&random)).unwrap();
    assert!(matches!(Issuer::new(&[leaf], &own).err(), Some(IssueError::NotACa { .. })));
    // A CA whose key may sign lists only; who may sign certificates and is no CA.
    let basic = [0x30, 3, 1, 1, 0xff];
    let lists = Forge::ca("lists", &own, "ca").with(forge::KEY_USAGE, true, &[3, 2, 1, 0x02]);
    let no_ca = Forge::leaf("leaf", &own, "ca").with(forge::KEY_USAGE, true, &[3, 2, 2, 4]);
    for (forge, right) in [
        (lists.clone(), false),
        (no_ca.clone(), false),
        (no_ca.with(forge::BASIC_CONSTRAINTS, true, &basic), true),
    ] {
        let certificate = [Certificate::from_vec(forge.der(&own)).unwrap()];
        let error = Issuer::new(&certificate, &own).err();
        assert_eq!(matches!(error, Some(IssueError::NotACa { .. })), !right, "{error:?}");
    }
    // The name of the next, and not its signature.
    let other = [above[0].clone(), new_chain(&["alice"]).0[0].clone()];
    assert!(matches!(Issuer::new(&other, &key).err(), Some(IssueError::NotInOrder { index: 0 })));
    let gap = [above[0].clone(), above[2].clone()];
    assert!(matches!(Issuer::new(&gap, &key).err(), Some(IssueError::NotInOrder { index: 0 })));
    // Its policy is the nearest: an own one, or that of a CA above.
    assert_eq!(issuer.policy().unwrap(), Some(policy(19)));
}

#[test]
fn chains_do_not_grow_beyond_what_is_accepted() {
    let (above, key) = new_chain(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let random = random();
    let issuer = Issuer::new(&above, &key).unwrap();
    let public = super::key();
    issuer.leaf(None, public.public_key(), &info(), &terms(&random)).unwrap();
    let ninth = issuer.intermediate(&label("i"), public.public_key(), &policy(1), &terms(&random));
    assert!(matches!(ninth, Err(IssueError::ChainTooLong { .. })));
    // A path length of 0.
    let own = super::key();
    let (root, root_key) = new_root();
    let limited =
        Forge::ca("ca2", &own, "ca").with(forge::BASIC_CONSTRAINTS, true, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]);
    let chain = [Certificate::from_vec(limited.der(&root_key)).unwrap(), root];
    let issuer = Issuer::new(&chain, &own).unwrap();
    let below = issuer.intermediate(&label("i"), public.public_key(), &policy(1), &terms(&random));
    assert!(matches!(below, Err(IssueError::PathLength { .. })));
    issuer.leaf(None, public.public_key(), &info(), &terms(&random)).unwrap();
}

#[test]
fn host_names_of_servers() {
    let (above, key) = new_chain(&[]);
    let random = random();
    let issuer = Issuer::new(&above, &key).unwrap();
    let public = super::key();
    let server = |hosts: &[&str]| issuer.server("s", public.public_key(), hosts, &terms(&random));
    let names = server(&["a.example.org", "10.0.0.1"]).unwrap();
    assert_eq!(names.dns_names().collect::<Vec<_>>(), ["a.example.org"]);
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61));
    for good in [&longest, &"a".repeat(63), "*.a", "a-b.c_d"] {
        assert_eq!(server(&[good]).unwrap().dns_names().collect::<Vec<_>>(), [good]);
    }
    let long = longest.clone() + "a";
    for bad in
        ["", "a b", "a..b", "h\u{e9}llo", "a/b", "a-/", &"a".repeat(64), &long, &(long.clone() + "aaa")]
    {
        assert!(matches!(server(&[bad]), Err(IssueError::HostName { .. })), "{bad}");
    }
}

#[test]
fn validity_and_serial_numbers() {
    let random = random();
    let validity = Validity::days(now(), 3650).unwrap();
    let terms = Terms { validity, serial: Serial::new(&[0, 0x83, 1]).unwrap(), random: &random };
    let root = issue::root("ca", &key(), &terms).unwrap();
    assert_eq!(root.not_before().to_string(), "2026-06-01T11:59:50-00:00");
    assert_eq!(root.not_after().to_string(), "2036-05-29T12:00:00-00:00");
    assert_eq!(root.serial(), [0, 0x83, 1]);
    let shown = format!("Terms {{ validity: {:?}, serial: {:?}, .. }}", terms.validity, terms.serial);
    assert_eq!(format!("{terms:?}"), shown);
    assert_eq!(database_line(&root), "008301 ca");

    // GeneralizedTime from 2050 on.
    let validity = Validity::days(now(), 36_500).unwrap();
    let root = issue::root("ca", &key(), &Terms { validity, ..terms }).unwrap();
    assert_eq!(root.not_after().to_string(), "2126-05-08T12:00:00-00:00");

    let validity = Validity::seconds(now(), 90).unwrap();
    let terms = Terms { validity, serial: Serial::new(&[1]).unwrap(), random: &random };
    let root = issue::root("ca", &key(), &terms).unwrap();
    assert_eq!(root.not_before().to_string(), "2026-06-01T11:59:50-00:00");
    assert_eq!(root.not_after().to_string(), "2026-06-01T12:01:30-00:00");

    assert!(Validity::days(now(), u32::MAX).is_err());
    assert!(Validity::days("1960-01-01".parse().unwrap(), 1).is_err());
    assert!(Serial::new(&[0]).is_err() && Serial::new(&[1; 21]).is_err());
    assert!(Serial::new(&[1; 20]).is_ok() && Serial::new(&[0x80; 20]).is_err());
    for _ in 0..100 {
        let serial = Serial::random(&random).unwrap();
        assert!(serial.as_bytes().len() <= 20 && (0x40..0x80).contains(&serial.as_bytes()[0]));
    }
}

#[test]
fn keys_behind_a_trait() {
    /// Counts what it signs, as a device would.
    struct Device(issue::KeyPair, std::cell::Cell<u32>);
    impl SigningKey for Device {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }
        fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, KeyError> {
            self.1.set(self.1.get() + 1);
            self.0.sign(message, random)
        }
    }
    let device = Device(key(), std::cell::Cell::new(0));
    let random = random();
    let root = [issue::root("ca", &device, &terms(&random)).unwrap()];
    Issuer::new(&root, &device).unwrap().leaf(None, key().public_key(), &info(), &terms(&random)).unwrap();
    assert_eq!(device.1.get(), 2);
}
