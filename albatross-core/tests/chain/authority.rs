//! From a verified path to name, policies and command.

use std::borrow::Cow;

use albatross_core::authority::{Authority, AuthorityError};
use albatross_core::certificate::{Certificate, NothingRevoked, Root, verify};
use albatross_core::issue::{Issuer, KeyPair, SigningKey};
use albatross_proto::{
    Arguments, BlockCommand, Command, Config, ConsoleCommand, Int, Name, PolicyCommand, StatisticsCommand,
    Typ, UnikernelCommand, extension,
};

use super::forge::{self, Forge};
use super::{info, key, new_chain, new_leaf, now, policy, random, terms};

fn authority<'a>(chain: &'a [Certificate<'a>], root: &'a Root<'a>) -> Result<Authority<'a>, AuthorityError> {
    Authority::of(&verify(chain, root, now(), &NothingRevoked).unwrap())
}

fn create(image: &[u8]) -> Command<'_> {
    Command::Unikernel(UnikernelCommand::Create(Config {
        typ: Typ::Solo5,
        compressed: false,
        image: Cow::Borrowed(image),
        arguments: Arguments::new(),
    }))
}

#[test]
fn name_policies_and_command_of_a_chain() {
    let (above, key) = new_chain(&["alice", "bob"]);
    let chain = new_leaf(&above, &key, &info());
    let root = Root::new(above.last().unwrap().clone()).unwrap();
    let authority = authority(&chain, &root).unwrap();
    assert_eq!(authority.name, "alice:bob:hello".parse::<Name>().unwrap());
    let path = |text: &str| text.parse().unwrap();
    assert_eq!(authority.policies, [(path("alice"), policy(20)), (path("alice:bob"), policy(19))]);
    assert_eq!(authority.command, info());
}

#[test]
fn an_image_of_16_mib_is_borrowed_from_the_leaf() {
    let image = vec![7; 16 << 20];
    let (above, key) = new_chain(&["alice"]);
    let chain = new_leaf(&above, &key, &create(&image));
    let root = Root::new(above.last().unwrap().clone()).unwrap();
    let authority = authority(&chain, &root).unwrap();
    let Command::Unikernel(UnikernelCommand::Create(config)) = authority.command else { panic!() };
    let Cow::Borrowed(borrowed) = config.image else { panic!("copied") };
    assert_eq!(borrowed, image);
    assert!(chain[0].der().as_ptr_range().contains(&borrowed.as_ptr()));
}

#[test]
fn a_leaf_without_label_is_about_the_path() {
    let (above, key) = new_chain(&["alice"]);
    let random = random();
    let issuer = Issuer::new(&above, &key).unwrap();
    let leaf = issuer.leaf(None, super::key().public_key(), &info(), &terms(&random)).unwrap();
    assert_eq!(leaf.common_name(), Some("."));
    let chain = [leaf, above[0].clone()];
    let root = Root::new(above[1].clone()).unwrap();
    assert_eq!(authority(&chain, &root).unwrap().name, "alice:".parse().unwrap());
}

/// Two CAs with the same name, one below the other, are told apart by their keys.
#[test]
fn a_label_may_stand_below_itself() {
    let (above, key) = new_chain(&["alice", "alice"]);
    let chain = new_leaf(&above, &key, &info());
    let root = Root::new(above.last().unwrap().clone()).unwrap();
    assert_eq!(authority(&chain, &root).unwrap().name, "alice:alice:hello".parse().unwrap());
}

/// A root, an intermediate and a leaf that carry anything.
struct Forged {
    root: Root<'static>,
    chain: Vec<Certificate<'static>>,
}

impl Forged {
    fn new(middle: impl FnOnce(Forge) -> Forge, leaf: impl FnOnce(Forge) -> Forge) -> Self {
        let (root_key, middle_key): (KeyPair, KeyPair) = (key(), key());
        let root = Forge::ca("ca", &root_key, "ca").der(&root_key);
        let middle = middle(Forge::ca("alice", &middle_key, "ca")).der(&root_key);
        let middle = Certificate::from_vec(middle).unwrap();
        let forged = leaf(Forge::leaf("hello", &key(), "alice").change(|leaf| {
            leaf.issuer = middle.subject().as_der().to_vec();
        }));
        let leaf = Certificate::from_vec(forged.der(&middle_key)).unwrap();
        let root = Root::new(Certificate::from_vec(root).unwrap()).unwrap();
        Self { root, chain: vec![leaf, middle] }
    }

    fn authority(&self) -> Result<Authority<'_>, AuthorityError> {
        authority(&self.chain, &self.root)
    }

    fn error(&self) -> AuthorityError {
        self.authority().unwrap_err()
    }
}

fn carrying(forge: Forge, command: &Command<'_>) -> Forge {
    forge.with(forge::ALBATROSS, false, &extension::encode(command).unwrap())
}

fn add(unikernels: i32) -> Command<'static> {
    Command::Policy(PolicyCommand::Add(policy(unikernels)))
}

fn named(text: &str) -> impl FnOnce(Forge) -> Forge {
    let name = forge::name(text);
    move |forge| forge.change(|forge| forge.subject = name)
}

fn nameless(forge: Forge) -> Forge {
    forge.change(|forge| forge.subject = vec![0x30, 0])
}

#[test]
fn an_intermediate_without_extension_adds_nothing() {
    let forged = Forged::new(|ca| ca, |leaf| leaf);
    let authority = forged.authority().unwrap();
    assert_eq!(authority.name, ":hello".parse().unwrap());
    assert!(authority.policies.is_empty());
}

#[test]
fn what_intermediates_may_not_be() {
    let forged = |middle: fn(Forge) -> Forge| Forged::new(middle, |leaf| leaf).error();
    assert!(matches!(forged(|ca| carrying(ca, &info())), AuthorityError::NotAPolicy { .. }));
    assert!(matches!(forged(|ca| ca.with(forge::ALBATROSS, false, b"x")), AuthorityError::Extension { .. }));
    assert!(matches!(forged(|ca| nameless(carrying(ca, &add(1)))), AuthorityError::NoCommonName { .. }));
    assert!(matches!(forged(|ca| named("a:b")(carrying(ca, &add(1)))), AuthorityError::Label { .. }));
    // Not a path of its own: a label like any other.
    let dot = Forged::new(|ca| named(".")(carrying(ca, &add(1))), |leaf| leaf);
    assert_eq!(dot.authority().unwrap().name, ".:hello".parse().unwrap());
}

#[test]
fn what_leaves_may_not_be() {
    let forged = |leaf: fn(Forge) -> Forge| Forged::new(|ca| carrying(ca, &add(1)), leaf).error();
    assert!(matches!(forged(|leaf| leaf.without(forge::ALBATROSS)), AuthorityError::NoCommand { .. }));
    assert!(matches!(
        forged(|leaf| leaf.with(forge::ALBATROSS, false, b"")),
        AuthorityError::Extension { .. }
    ));
    assert!(matches!(forged(|leaf| named("")(leaf)), AuthorityError::Label { .. }));
    assert!(matches!(forged(|leaf| named("a b")(leaf)), AuthorityError::Label { .. }));
    assert!(matches!(
        forged(|leaf| nameless(carrying(leaf, &Command::Block(BlockCommand::Remove)))),
        AuthorityError::NoCommonName { .. }
    ));
    for command in [
        add(1),
        Command::Policy(PolicyCommand::Remove),
        Command::Console(ConsoleCommand::Add(Int::ONE)),
        Command::Statistics(StatisticsCommand::Remove),
        Command::Statistics(StatisticsCommand::Initial),
    ] {
        let refused = Forged::new(|ca| ca, |leaf| carrying(leaf, &command)).error();
        assert!(matches!(refused, AuthorityError::NotAccepted { .. }), "{command:?}");
    }
    for colon in [".", ":"] {
        let path = Forged::new(|ca| carrying(ca, &add(1)), named(colon));
        assert_eq!(path.authority().unwrap().name, "alice:".parse().unwrap());
    }
    for command in [info(), Command::Policy(PolicyCommand::Info), Command::Block(BlockCommand::Info)] {
        let path = Forged::new(|ca| carrying(ca, &add(1)), |leaf| nameless(carrying(leaf, &command)));
        assert_eq!(path.authority().unwrap().name, "alice:".parse().unwrap(), "{command:?}");
    }
}

#[test]
fn each_policy_is_inside_the_one_above() {
    let (mut above, key) = new_chain(&["alice"]);
    let (lower, leaf_key) = (super::key(), super::key());
    // An issuer that does not check.
    let bob = carrying(Forge::ca("bob", &lower, "alice"), &add(21));
    above.insert(0, Certificate::from_vec(bob.der(&key)).unwrap());
    let leaf = Forge::leaf("hello", &leaf_key, "bob").der(&lower);
    let chain = [Certificate::from_vec(leaf).unwrap(), above[0].clone(), above[1].clone()];
    let root = Root::new(above[2].clone()).unwrap();
    assert!(matches!(authority(&chain, &root), Err(AuthorityError::NotInside { .. })));
}
