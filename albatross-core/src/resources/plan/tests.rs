//! Plans against a model that copies the whole tree and looks at all of it.

use std::collections::BTreeMap;

use albatross_proto::BlockDevice;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::{Exceeded, Siblings, inside, use_inside};
use super::*;

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn policy(unikernels: i32, memory: i32, block: Option<i32>) -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(unikernels),
        memory: Int::from(memory),
        block: block.map(Int::from),
        bridges: [].into(),
    }
}

fn arguments(memory: i32, blocks: &[&str]) -> Arguments {
    let device = |name: &&str| BlockDevice { name: (*name).into(), device: None, sector_size: None };
    Arguments {
        memory: Int::from(memory),
        block_devices: blocks.iter().map(device).collect(),
        ..Arguments::new()
    }
}

/// Everything in the tree, sums and users of block devices included.
fn all_of(tree: &Resources) -> String {
    format!("{tree:?}")
}

/// The same change on a copy, with the operations for single changes; a group of policies is put up and
/// then everything in the tree is compared with everything.
fn naive(tree: &Resources, change: &Change) -> Option<Resources> {
    let mut tree = tree.clone();
    let made = match change {
        Change::Policies(policies) => return naive_policies(tree, policies),
        Change::RemovePolicy(path) => tree.remove_policy(path).is_ok(),
        Change::CreateUnikernel { name, arguments } => tree.insert_unikernel(name, arguments).is_ok(),
        Change::ReplaceUnikernel { name, arguments } => {
            // As if the old one were gone, which it is for good only if the new one may come.
            let _gone = tree.remove_unikernel(name);
            tree.insert_unikernel(name, arguments).is_ok()
        }
        Change::DestroyUnikernel(name) => tree.remove_unikernel(name).is_ok(),
        Change::AddBlock { name, size } => tree.insert_block(name, *size).is_ok(),
        Change::RemoveBlock(name) => tree.remove_block(name).is_ok(),
    };
    made.then_some(tree)
}

fn naive_policies(mut tree: Resources, policies: &[(Path, Policy)]) -> Option<Resources> {
    let unique: BTreeMap<_, _> = policies.iter().cloned().collect();
    if unique.len() < policies.len() {
        return None;
    }
    let before = tree.clone();
    for (path, policy) in policies {
        tree.adopt_policy(path, policy.clone()).ok()?;
    }
    let is_new = |path: &Path| before.policy(path) != tree.policy(path);
    let all = tree.policies(&Path::root(), Siblings::Ascending);
    for (path, policy) in &all {
        let node = tree.root.find(path).unwrap();
        if is_new(path) && use_inside(node, policy).is_err() {
            return None;
        }
        for (above, sup) in &all {
            let is_above = path != above && path.is_within(above);
            // What the root has bounds what runs and not what is delegated, but a new root policy must
            // hold all that was.
            let counts =
                is_above && if above.is_root() { is_new(above) } else { is_new(above) || is_new(path) };
            if counts && inside(policy, sup).is_err() {
                return None;
            }
        }
    }
    Some(tree)
}

/// Which change does not fit, and the tree after all of them.
fn naive_plan(tree: &Resources, plan: &[Change]) -> (Option<usize>, Resources) {
    let mut now = tree.clone();
    for (index, change) in plan.iter().enumerate() {
        match naive(&now, change) {
            Some(next) => now = next,
            None => return (Some(index), tree.clone()),
        }
    }
    (None, now)
}

fn compare(tree: &mut Resources, plan: &[Change]) -> Option<usize> {
    let (index, expected) = naive_plan(tree, plan);
    let before = all_of(tree);
    let checked = tree.check_plan(plan);
    assert_eq!(all_of(tree), before, "a check changes nothing: {plan:?}");
    assert_eq!(checked.as_ref().err().map(PlanRefused::index), index, "{plan:?} on {before}");
    assert_eq!(tree.apply_plan(plan), checked);
    assert_eq!(all_of(tree), all_of(&expected), "{plan:?} on {before}");
    index
}

fn any_path() -> impl Strategy<Value = Path> {
    let label = prop::sample::select(&["a", "b"][..]);
    prop::collection::vec(label, 0..=3).prop_map(|labels| path(&labels.join(":")))
}

fn any_name() -> impl Strategy<Value = Name> {
    let label = prop::sample::select(&["a", "x", "y"][..]);
    (any_path(), label).prop_map(|(path, label)| Name::new(path, Some(label.parse().unwrap())))
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (1..5, 1..12, prop::option::of(0..8))
        .prop_map(|(unikernels, memory, block)| policy(unikernels, memory, block))
}

fn any_arguments() -> impl Strategy<Value = Arguments> {
    let blocks = prop::collection::vec(prop::sample::select(&["a", "x"][..]), 0..=2);
    (1..5, blocks).prop_map(|(memory, blocks)| arguments(memory, &blocks))
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => prop::collection::vec((any_path(), any_policy()), 1..4).prop_map(Change::Policies),
        1 => any_path().prop_map(Change::RemovePolicy),
        4 => (any_name(), any_arguments())
            .prop_map(|(name, arguments)| Change::CreateUnikernel { name, arguments }),
        2 => (any_name(), any_arguments())
            .prop_map(|(name, arguments)| Change::ReplaceUnikernel { name, arguments }),
        2 => any_name().prop_map(Change::DestroyUnikernel),
        4 => (any_name(), 0_i32..4)
            .prop_map(|(name, size)| Change::AddBlock { name, size: size.into() }),
        1 => any_name().prop_map(Change::RemoveBlock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Plans of which most are refused somewhere, on a tree that single changes have filled.
    #[test]
    fn plans_answer_as_the_model(
        singles in prop::collection::vec(any_change(), 0..30),
        adopted in prop::collection::vec((any_name(), any_arguments()), 0..3),
        plans in prop::collection::vec(prop::collection::vec(any_change(), 1..6), 1..8),
    ) {
        let mut tree = Resources::default();
        for change in singles {
            compare(&mut tree, &[change]);
        }
        // More than the policies allow, and block devices that others have.
        for (name, arguments) in adopted {
            tree.adopt_unikernel(&name, &arguments).unwrap();
        }
        for plan in plans {
            compare(&mut tree, &plan);
        }
    }

    /// A chain's policies fit or not whatever their order.
    #[test]
    fn the_order_within_a_group_does_not_matter(
        filling in prop::collection::vec(any_change(), 0..30),
        group in prop::collection::btree_map(any_path(), any_policy(), 1..5),
    ) {
        let mut tree = Resources::default();
        for change in filling {
            let _fits = tree.apply_plan(&[change]);
        }
        let group: Vec<_> = group.into_iter().collect();
        let reversed: Vec<_> = group.iter().rev().cloned().collect();
        let mut other = tree.clone();
        assert_eq!(tree.insert_policies(&group).is_ok(), other.insert_policies(&reversed).is_ok());
        assert_eq!(all_of(&tree), all_of(&other));
    }
}

/// Every plan of up to three of these changes.
#[test]
fn every_short_plan_answers_as_the_model() {
    let chain = |outer, inner| {
        Change::Policies(vec![
            (path("a"), policy(outer, 4, Some(outer))),
            (path("a:b"), policy(inner, 4, Some(inner))),
        ])
    };
    let create = |at: &str, blocks: &[&str]| Change::CreateUnikernel {
        name: name(at),
        arguments: arguments(2, blocks),
    };
    let replace = |at: &str, memory, blocks: &[&str]| Change::ReplaceUnikernel {
        name: name(at),
        arguments: arguments(memory, blocks),
    };
    let changes = [
        chain(2, 1),
        chain(1, 1),
        chain(1, 2),
        Change::policy(path(""), policy(2, 4, Some(1))),
        Change::RemovePolicy(path("a:b")),
        create("a:b:x", &[]),
        create("a:b:y", &["d"]),
        replace("a:b:x", 3, &["d"]),
        replace("a:b:y", 1, &[]),
        Change::DestroyUnikernel(name("a:b:y")),
        Change::AddBlock { name: name("a:b:d"), size: Int::ONE },
        Change::RemoveBlock(name("a:b:d")),
    ];
    let (mut fit, mut refused) = (0, 0);
    let mut trees = vec![Resources::default()];
    for change in &changes {
        let mut tree = trees.last().unwrap().clone();
        if tree.apply_plan(std::slice::from_ref(change)).is_ok() {
            trees.push(tree);
        }
    }
    assert!(trees.len() > 5);
    for tree in &trees {
        for first in &changes {
            for second in &changes {
                for third in &changes {
                    let plan = [first.clone(), second.clone(), third.clone()];
                    match compare(&mut tree.clone(), &plan) {
                        None => fit += 1,
                        Some(_) => refused += 1,
                    }
                }
            }
        }
    }
    assert!(fit > 500 && refused > 5000, "{fit} fit, {refused} refused");
}

#[test]
fn a_chain_grows_and_shrinks_as_one() {
    let chain = |unikernels: [i32; 3]| -> Vec<_> {
        ["a", "a:b", "a:b:c"].iter().zip(unikernels).map(|(at, n)| (path(at), policy(n, 9, None))).collect()
    };
    let mut tree = Resources::default();
    tree.insert_policies(&chain([3, 2, 1])).unwrap();
    let grown = chain([9, 8, 7]);
    assert!(grown.iter().rev().any(|(at, policy)| tree.check_policy(at, policy).is_err()), "innermost first");
    tree.insert_policies(&grown).unwrap();
    let shrunk = chain([3, 2, 1]);
    assert!(shrunk.iter().any(|(at, policy)| tree.check_policy(at, policy).is_err()), "outermost first");
    tree.insert_policies(&shrunk).unwrap();
    tree.insert_policies(&shrunk).unwrap();
    tree.insert_unikernel(&name("a:b:c:x"), &arguments(5, &[])).unwrap();

    let before = all_of(&tree);
    let outside = tree.insert_policies(&chain([3, 2, 4])).unwrap_err();
    assert_eq!(
        outside.to_string(),
        "change 0, a:b:c:: policy a:b: allows 2 unikernels, 4 are asked for",
        "the nearest above"
    );
    let none = tree.insert_policies(&chain([2, 1, 0])).unwrap_err();
    assert_eq!(
        none.to_string(),
        "change 0, a:b:c:: what is in use does not fit: the new policy allows 0 unikernels, 1 is running"
    );
    let twice = [chain([2, 2, 2]), chain([2, 2, 2])].concat();
    assert_eq!(tree.insert_policies(&twice), Err(PlanRefused::PathTwice { index: 0, path: path("a") }));
    let deep = path(&["a"; 65].join(":"));
    assert!(matches!(
        tree.insert_policies(&[(path("z"), policy(1, 1, None)), (deep, policy(1, 1, None))]),
        Err(PlanRefused::Change { refused: Refused::TooDeep { depth: 65 }, .. })
    ));
    assert_eq!(all_of(&tree), before);
}

#[test]
fn a_refusal_says_which_change_which_ancestor_and_how_much() {
    let mut tree = Resources::default();
    tree.insert_policy(&path("a"), policy(9, 10, None)).unwrap();
    tree.insert_unikernel(&name("a:old"), &arguments(4, &[])).unwrap();
    let create =
        |at: &str, memory| Change::CreateUnikernel { name: name(at), arguments: arguments(memory, &[]) };
    let plan = [create("a:b:x", 5), Change::DestroyUnikernel(name("a:old")), create("a:b:y", 6)];
    assert_eq!(
        tree.check_plan(&plan),
        Err(PlanRefused::Change {
            index: 2,
            name: name("a:b:y"),
            refused: Refused::Policy {
                at: path("a"),
                exceeded: Exceeded::Memory { allowed: 10.into(), used: 5.into(), asked: 6.into() },
            },
        })
    );
    assert_eq!(tree.check_plan(&plan[..2]), Ok(()));
    assert!(tree.unikernel(&name("a:old")).is_some());
}

#[test]
fn a_refusal_has_its_cause() {
    use core::error::Error;
    let mut tree = Resources::default();
    let refused = tree.apply_plan(&[Change::DestroyUnikernel(name("a:x"))]).unwrap_err();
    let cause = Refused::UnikernelNotFound(name("a:x")).to_string();
    assert_eq!(refused.source().map(ToString::to_string), Some(cause));
    let twice = [(path("a"), policy(1, 1, None)), (path("a"), policy(1, 1, None))];
    assert!(tree.insert_policies(&twice).unwrap_err().source().is_none());
}

#[test]
fn a_block_device_is_with_whom_it_was_when_a_plan_is_taken_back() {
    let mut tree = Resources::default();
    tree.adopt_block(&name("a:disk"), 1.into()).unwrap();
    tree.insert_unikernel(&name("a:x"), &arguments(1, &["disk"])).unwrap();
    // It was adopted, and lists what is the other's.
    tree.adopt_unikernel(&name("a:y"), &arguments(1, &["disk"])).unwrap();
    let gone = [Change::DestroyUnikernel(name("a:y")), Change::DestroyUnikernel(name("a:x"))];
    let before = all_of(&tree);
    for refused in
        [Change::DestroyUnikernel(name("a:x")), Change::AddBlock { name: name("a:disk"), size: 1.into() }]
    {
        let plan = [gone.clone().to_vec(), vec![refused]].concat();
        assert_eq!(tree.apply_plan(&plan).map_err(|refused| refused.index()), Err(2));
        assert_eq!(all_of(&tree), before);
    }
    let user = BlockUser::Unikernel("x".parse().unwrap());
    assert_eq!(tree.block(&name("a:disk")).unwrap().user(), Some(&user));
}

/// Takes minutes if the tree were copied for each plan.
#[test]
fn plans_on_a_large_tree() {
    let mut tree = Resources::default();
    for outer in 0..100 {
        tree.insert_policy(&path(&format!("p{outer}")), policy(1000, 100_000, None)).unwrap();
        for inner in 0..300 {
            tree.insert_unikernel(&name(&format!("p{outer}:a:b:u{inner}")), &arguments(1, &[])).unwrap();
        }
    }
    for round in 0..3000 {
        let at = format!("p{}", round % 100);
        let plan = [
            Change::policy(path(&format!("{at}:a")), policy(301, 301, None)),
            Change::CreateUnikernel { name: name(&format!("{at}:a:new")), arguments: arguments(1, &[]) },
            Change::DestroyUnikernel(name(&format!("{at}:a:b:u0"))),
            Change::CreateUnikernel { name: name(&format!("{at}:a:b:v")), arguments: arguments(1, &[]) },
            Change::CreateUnikernel { name: name(&format!("{at}:a:b:w")), arguments: arguments(1, &[]) },
        ];
        assert_eq!(tree.check_plan(&plan).map_err(|refused| refused.index()), Err(4));
        assert_eq!(tree.check_plan(&plan[..4]), Ok(()));
    }
    assert_eq!(tree.usage(&Path::root()).unikernels, Int::from(30_000));
}
