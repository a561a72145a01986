//! The tree against a naive model, and what its errors say.

use std::collections::BTreeSet;

use albatross_proto::{Arguments, BlockDevice, Int, Name, NetDevice, Path, Policy};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use model::{Model, Step};

mod model;

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn policy(unikernels: i32, memory: i32, block: Option<i32>) -> Policy {
    Policy {
        cpuids: BTreeSet::from([Int::ZERO, Int::ONE]),
        unikernels: Int::from(unikernels),
        memory: Int::from(memory),
        block: block.map(Int::from),
        bridges: BTreeSet::from(["service".into()]),
    }
}

fn memory(memory: i32) -> Arguments {
    Arguments { memory: Int::from(memory), ..Arguments::new() }
}

fn with_blocks(names: &[&str]) -> Arguments {
    let device = |name: &&str| BlockDevice { name: (*name).into(), device: None, sector_size: None };
    Arguments { block_devices: names.iter().map(device).collect(), ..Arguments::new() }
}

fn with_bridge(bridge: &str) -> Arguments {
    let device = NetDevice { name: "net".into(), bridge: Some(bridge.into()), mac: None };
    Arguments { net_devices: vec![device], ..Arguments::new() }
}

/// Takes each step in both, and compares.
fn run(steps: &[Step]) {
    let (mut tree, mut model) = (Resources::default(), Model::default());
    for step in steps {
        assert_eq!(step.take(&mut tree), model.take(step), "{step:?}");
        model.assert_same(&tree);
        for (at, policy) in &model.policies {
            assert_eq!(model.check_use(at, policy), Ok(()), "policy {at} is exceeded");
        }
    }
}

fn any_path() -> impl Strategy<Value = Path> {
    let label = prop::sample::select(&["a", "b", "b-", "aa"][..]);
    prop::collection::vec(label, 0..=3).prop_map(|labels| path(&labels.join(":")))
}

fn any_name() -> impl Strategy<Value = Name> {
    let label = prop::sample::select(&["a", "b", "x"][..]);
    (any_path(), label).prop_map(|(path, label)| Name::new(path, Some(label.parse().unwrap())))
}

fn any_int() -> impl Strategy<Value = Int> {
    prop_oneof![20 => (0..6).prop_map(Int::from), 1 => Just(Int::MAX), 1 => (-2..0).prop_map(Int::from)]
}

/// Not negative: taking such a device away would use more.
fn any_size() -> impl Strategy<Value = Int> {
    any_int().prop_map(|size| size.max(Int::ZERO))
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let cpuids = prop::collection::btree_set((0..3).prop_map(Int::from), 1..=3);
    let bridges = prop::collection::btree_set(prop::sample::select(&["s", "t"][..]), 0..=2);
    (cpuids, any_int(), any_int(), prop::option::of(any_int()), bridges).prop_map(
        |(cpuids, unikernels, memory, block, bridges)| Policy {
            cpuids,
            unikernels,
            memory,
            block,
            bridges: bridges.into_iter().map(Into::into).collect(),
        },
    )
}

fn any_arguments() -> impl Strategy<Value = Arguments> {
    let cpuids = prop::collection::btree_set((0..3).prop_map(Int::from), 0..=2);
    let memory = prop_oneof![20 => (1..4).prop_map(Int::from), 1 => Just(Int::MAX)];
    let blocks = prop::collection::vec(prop::sample::select(&["a", "b"][..]), 0..=2);
    let bridges = prop::collection::vec(prop::sample::select(&["s", "t"][..]), 0..=2);
    (cpuids, memory, blocks, bridges).prop_map(|(cpuids, memory, blocks, bridges)| Arguments {
        cpuids,
        memory,
        net_devices: bridges
            .iter()
            .map(|bridge| NetDevice { name: (*bridge).into(), bridge: None, mac: None })
            .collect(),
        ..with_blocks(&blocks)
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any_path(), any_policy()).prop_map(|(at, policy)| Step::InsertPolicy(at, policy)),
        1 => any_path().prop_map(Step::RemovePolicy),
        1 => (any_name(), any_arguments()).prop_map(|(name, one)| Step::CheckReplacement(name, one)),
        5 => (any_name(), any_arguments()).prop_map(|(name, one)| Step::InsertUnikernel(name, one)),
        2 => any_name().prop_map(Step::RemoveUnikernel),
        3 => (any_name(), any_size()).prop_map(|(name, size)| Step::InsertBlock(name, size)),
        1 => any_name().prop_map(Step::RemoveBlock),
        1 => any_name().prop_map(Step::HoldBlock),
        1 => any_name().prop_map(Step::ReleaseBlock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2),
        cases: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tree_answers_as_the_model(steps in prop::collection::vec(any_step(), 0..60)) {
        run(&steps);
    }
}

/// Every sequence of steps in a small universe: three levels, two labels, numbers up to 2.
#[test]
fn every_short_sequence_answers_as_the_model() {
    const LENGTH: usize = 4;
    let mut steps = Vec::new();
    for at in ["", "a", "a:b"] {
        steps.push(Step::InsertPolicy(path(at), policy(1, 2, Some(1))));
        steps.push(Step::InsertPolicy(path(at), policy(2, 1, None)));
        steps.push(Step::RemovePolicy(path(at)));
        let child = |label| Name::new(path(at), Some(label));
        steps.push(Step::InsertUnikernel(child("b".parse().unwrap()), memory(1)));
        steps.push(Step::RemoveUnikernel(child("b".parse().unwrap())));
    }
    steps.push(Step::InsertBlock(name("a:b"), Int::ONE));
    steps.push(Step::InsertUnikernel(name("a:a"), Arguments { memory: Int::ONE, ..with_blocks(&["b"]) }));
    steps.push(Step::RemoveBlock(name("a:b")));
    let mut count = 0;
    let mut states = vec![(Resources::default(), Model::default(), 0)];
    while let Some((tree, model, length)) = states.pop() {
        for step in &steps {
            let (mut tree, mut model) = (tree.clone(), model.clone());
            let answer = step.take(&mut tree);
            assert_eq!(answer, model.take(step), "{step:?} on {model:?}");
            count += 1;
            // A refusal changes nothing: what could follow is tried without it.
            if answer.is_ok() && length + 1 < LENGTH {
                model.assert_same(&tree);
                states.push((tree, model, length + 1));
            }
        }
    }
    assert!(count > 10_000, "{count}");
}

/// Alice may run 2 and delegates 2 to each of Bob and Charlie: together they still run 2.
#[test]
fn a_delegated_policy_stays_within_what_was_delegated() {
    let mut tree = Resources::default();
    for at in ["alice", "alice:bob", "alice:charlie"] {
        tree.insert_policy(&path(at), policy(2, 1024, None)).unwrap();
    }
    tree.insert_unikernel(&name("alice:bob:x"), &memory(32)).unwrap();
    tree.insert_unikernel(&name("alice:charlie:x"), &memory(32)).unwrap();
    let refused = tree.check_unikernel(&name("alice:charlie:y"), &memory(32)).unwrap_err();
    assert_eq!(refused.to_string(), "policy alice: allows 2 unikernels, 2 are running");
    tree.remove_unikernel(&name("alice:bob:x")).unwrap();
    assert_eq!(tree.check_unikernel(&name("alice:charlie:y"), &memory(32)), Ok(()));
}

#[test]
fn refusals_say_which_policy_which_limit_used_and_asked() {
    let mut tree = Resources::default();
    tree.insert_policy(&path("a"), policy(9, 64, Some(10))).unwrap();
    tree.insert_unikernel(&name("a:b:x"), &memory(48)).unwrap();
    tree.insert_block(&name("a:b:disk"), Int::from(8)).unwrap();
    let unikernel = |arguments| tree.check_unikernel(&name("a:c:y"), &arguments).unwrap_err().to_string();
    assert_eq!(
        unikernel(memory(32)),
        "policy a: allows 64 MB of memory, 48 MB are in use and 32 MB more are asked for"
    );
    let cpuids = BTreeSet::from([Int::from(7)]);
    assert_eq!(unikernel(Arguments { cpuids, ..memory(1) }), "policy a: does not allow cpu 7");
    assert_eq!(
        unikernel(Arguments { memory: Int::ONE, ..with_bridge("lan") }),
        "policy a: does not allow bridge lan"
    );
    assert_eq!(
        tree.check_block(&name("a:new"), Int::from(3)).unwrap_err().to_string(),
        "policy a: allows 10 MB of block storage, 8 MB are in use and 3 MB more are asked for"
    );
    let insert = |at, policy| tree.check_policy(&path(at), &policy).unwrap_err().to_string();
    assert_eq!(insert("a:b", policy(9, 65, None)), "policy a: allows 64 MB of memory, 65 MB are asked for");
    assert_eq!(
        insert("a:b", policy(0, 64, None)),
        "what is in use does not fit: the new policy allows 0 unikernels, 1 is running"
    );
    assert_eq!(
        insert("", policy(8, 64, None)),
        "policy a: below does not fit: the new policy allows 8 unikernels, 9 are asked for"
    );
}

#[test]
fn the_root_policy_bounds_admission_and_not_what_is_delegated() {
    let mut tree = Resources::new("1.5".parse().unwrap());
    tree.adopt_policy(&Path::root(), policy(1, 100, Some(10))).unwrap();
    tree.insert_policy(&path("a"), policy(5, 1000, Some(1000))).unwrap();
    assert!(matches!(
        tree.check_unikernel(&name("a:x"), &memory(151)),
        Err(Refused::Policy { at, exceeded: Exceeded::Memory { allowed, .. } })
            if at.is_root() && allowed == Int::from(150)
    ));
    assert!(matches!(
        tree.check_block(&name("a:x"), Int::from(11)),
        Err(Refused::Policy { exceeded: Exceeded::Block { .. }, .. })
    ));
    tree.insert_unikernel(&name("a:x"), &memory(150)).unwrap();
    let refused = tree.check_unikernel(&name("a:y"), &memory(1)).unwrap_err();
    assert_eq!(refused.to_string(), "policy : allows 1 unikernel, 1 is running");
}

#[test]
fn a_replacement_counts_without_the_one_it_replaces() {
    let mut tree = Resources::default();
    tree.insert_policy(&path("a"), policy(1, 64, Some(1))).unwrap();
    tree.insert_block(&name("a:disk"), Int::ONE).unwrap();
    tree.insert_unikernel(&name("a:x"), &Arguments { memory: Int::from(64), ..with_blocks(&["disk"]) })
        .unwrap();
    assert_eq!(tree.check_replacement(&name("a:x"), &with_blocks(&["disk"])), Ok(()));
    assert!(tree.check_replacement(&name("a:x"), &memory(65)).is_err());
    assert!(tree.check_replacement(&name("a:y"), &memory(1)).is_err(), "another one still counts");
    assert!(tree.check_unikernel(&name("a:x"), &memory(1)).is_err());
    assert_eq!(
        others_disk().check_replacement(&name(":y"), &with_blocks(&["disk"])),
        Err(Refused::BlockInUse(name(":disk"))),
        "the device of another one is not free"
    );
}

/// `:x` uses `:disk`; `:y` runs, too.
fn others_disk() -> Resources {
    let mut tree = Resources::default();
    tree.insert_block(&name(":disk"), Int::ONE).unwrap();
    tree.insert_unikernel(&name(":x"), &with_blocks(&["disk"])).unwrap();
    tree.insert_unikernel(&name(":y"), &memory(1)).unwrap();
    tree
}

#[test]
fn a_policy_is_inside_itself_and_block_storage_needs_block_storage() {
    let whole = policy(2, 64, Some(10));
    assert_eq!(inside(&whole, &whole), Ok(()));
    assert_eq!(inside(&policy(2, 64, None), &whole), Ok(()));
    assert!(matches!(
        inside(&policy(2, 64, Some(0)), &policy(2, 64, None)),
        Err(Exceeded::Block { allowed: None, .. })
    ));
}

#[test]
fn a_block_device_has_one_user_at_its_path() {
    let mut tree = Resources::default();
    let disk = name("a:disk");
    tree.insert_block(&disk, Int::from(-3)).unwrap();
    let in_use = Err(Refused::BlockInUse(disk.clone()));
    assert_eq!(tree.check_unikernel(&name("a:x"), &with_blocks(&["disk", "Disk"])), in_use);
    assert!(tree.check_unikernel(&name(":x"), &with_blocks(&["disk"])).is_err(), "another path");
    assert_eq!(
        tree.check_unikernel(&name("a:x"), &with_blocks(&["no/name"])),
        Err(Refused::BlockNameInvalid("no/name".into()))
    );
    tree.insert_unikernel(&name("a:x"), &with_blocks(&["disk"])).unwrap();
    assert_eq!(tree.block(&disk).unwrap().user(), Some(&BlockUser::Unikernel("x".parse().unwrap())));
    assert_eq!(tree.check_unikernel(&name("a:y"), &with_blocks(&["disk"])), in_use);
    assert_eq!(tree.remove_block(&disk).map(drop), in_use);
    assert_eq!(tree.hold_block(&disk), in_use);
    tree.release_block(&disk);
    assert!(tree.check_free(&disk).is_err(), "not the command's to release");
    tree.remove_unikernel(&name("a:x")).unwrap();
    tree.hold_block(&disk).unwrap();
    assert_eq!(tree.check_unikernel(&name("a:y"), &with_blocks(&["disk"])), in_use);
    tree.release_block(&disk);
    assert_eq!(tree.remove_block(&disk).map(|block| block.size()), Ok(Int::from(-3)));
}

#[test]
fn what_is_there_already_is_adopted_and_counts() {
    let mut tree = Resources::default();
    tree.adopt_policy(&path("a"), policy(1, 16, None)).unwrap();
    tree.adopt_block(&name("a:disk"), Int::from(8)).unwrap();
    tree.adopt_unikernel(&name("a:x"), &with_blocks(&["disk", "gone"])).unwrap();
    tree.adopt_unikernel(&name("a:y"), &with_blocks(&["disk"])).unwrap();
    tree.adopt_unikernel(&name("a:y"), &memory(1)).unwrap();
    assert!(tree.check_free(&name("a:disk")).is_err(), "x uses it still");
    let usage = tree.usage(&Path::root());
    assert_eq!((usage.unikernels, usage.memory, usage.block), (2.into(), 33.into(), 8.into()));
    assert!(tree.check_unikernel(&name("a:z"), &memory(1)).is_err());
    assert!(matches!(tree.adopt_block(&name("a:disk"), Int::ONE), Err(Refused::BlockExists(_))));
}

#[test]
fn a_unikernel_and_a_path_of_the_same_text_are_apart() {
    let mut tree = Resources::default();
    tree.insert_unikernel(&name(":a"), &memory(1)).unwrap();
    tree.insert_unikernel(&name("a:x"), &memory(1)).unwrap();
    tree.insert_policy(&path("a"), policy(1, 1, None)).unwrap();
    assert_eq!(tree.usage(&path("a")).unikernels, Int::ONE);
    let names = |order| {
        let found = tree.unikernels(&Path::root(), order).into_iter();
        found.map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(Siblings::Ascending), [":a", "a:x"]);
    assert_eq!(names(Siblings::Descending), [":a", "a:x"]);
    tree.remove_unikernel(&name(":a")).unwrap();
    assert!(tree.unikernel(&name("a:x")).is_some());
}

#[test]
fn nonsense_is_refused() {
    let mut tree = Resources::default();
    assert!(matches!(tree.insert_unikernel(&name("a:"), &memory(1)), Err(Refused::NoLabel(_))));
    assert!(matches!(tree.insert_block(&Name::root(), Int::ONE), Err(Refused::NoLabel(_))));
    for memory in [Int::ZERO, Int::MIN] {
        let arguments = Arguments { memory, ..Arguments::new() };
        assert_eq!(tree.insert_unikernel(&name(":x"), &arguments), Err(Refused::NoMemory { memory }));
    }
    let deepest = path(&vec!["b"; MAX_DEPTH].join(":"));
    assert_eq!(tree.insert_policy(&deepest, policy(1, 1, None)), Ok(()));
    let deep = path(&vec!["a"; MAX_DEPTH + 1].join(":"));
    let depth = MAX_DEPTH + 1;
    assert_eq!(tree.insert_policy(&deep, policy(1, 1, None)), Err(Refused::TooDeep { depth }));
    let name = Name::new(deep, Some("x".parse().unwrap()));
    assert_eq!(tree.insert_unikernel(&name, &memory(1)), Err(Refused::TooDeep { depth }));
    assert_eq!(tree.insert_block(&name, Int::ONE), Err(Refused::TooDeep { depth }));
    assert!(tree.unikernels(&Path::root(), Siblings::Ascending).is_empty());
}

#[test]
fn sums_beyond_the_range_of_the_wire_are_taken_apart_again() {
    let mut tree = Resources::default();
    let huge = Arguments { memory: Int::MAX, ..Arguments::new() };
    for label in ["x", "y", "z"] {
        tree.insert_unikernel(&name(label), &huge).unwrap();
    }
    assert_eq!(tree.usage(&Path::root()).memory, Int::MAX);
    assert!(tree.check_policy(&Path::root(), &Policy { memory: Int::MAX, ..policy(9, 1, None) }).is_err());
    for label in ["x", "y"] {
        tree.remove_unikernel(&name(label)).unwrap();
    }
    assert_eq!(tree.check_policy(&Path::root(), &Policy { memory: Int::MAX, ..policy(9, 1, None) }), Ok(()));
    assert_eq!(tree.usage(&Path::root()).memory, Int::MAX);
    for (label, block) in [("x", Int::MIN), ("y", Int::MIN), ("z", Int::MIN)] {
        tree.adopt_block(&name(label), block).unwrap();
    }
    assert_eq!(tree.usage(&Path::root()).block, Int::MIN);
}

#[test]
fn what_a_unikernel_takes_is_told() {
    let mut tree = Resources::default();
    tree.adopt_block(&name("a:disk"), Int::ONE).unwrap();
    let cpuids = [3, 0, 2].map(Int::from).into();
    let arguments = Arguments { cpuids, net_devices: with_bridge("t").net_devices, ..with_blocks(&["disk"]) };
    tree.insert_unikernel(&name("a:x"), &arguments).unwrap();
    let demand = tree.unikernel(&name("a:x")).unwrap();
    assert_eq!((demand.memory(), demand.cpuids()), (32.into(), &[0, 2, 3].map(Int::from)[..]));
    assert_eq!(demand.bridges(), ["t".into()]);
    assert_eq!(demand.block_devices(), ["disk".parse().unwrap()]);
}

#[test]
fn usable_names_the_first_thing_that_leaves_nothing() {
    assert_eq!(usable(&policy(1, 17, Some(0))), Ok(()));
    assert_eq!(usable(&policy(0, 0, None)), Err(Unusable::Unikernels { allowed: Int::ZERO }));
    let none = Policy { cpuids: BTreeSet::new(), ..policy(1, 16, None) };
    assert_eq!(usable(&none), Err(Unusable::Cpuids));
    assert_eq!(usable(&policy(1, 16, Some(-1))), Err(Unusable::Memory { allowed: 16.into() }));
    assert_eq!(usable(&policy(1, 17, Some(-1))), Err(Unusable::Block { allowed: (-1).into() }));
}

#[test]
fn an_overcommit_factor_has_two_decimals_and_is_at_least_one() {
    for (text, printed) in [("1", "1.00"), ("1.5", "1.50"), ("2.05", "2.05"), ("100", "100.00")] {
        assert_eq!(text.parse::<Overcommit>().unwrap().to_string(), printed);
    }
    for text in ["", "0.9", "1.", ".5", "1.234", "-1", "+2", "100.01", "1e3", "99999999999", "1,5", "1.+5"] {
        assert_eq!(text.parse::<Overcommit>(), Err(OvercommitError), "{text}");
    }
    assert_eq!(Overcommit::default(), Overcommit::NONE);
    let said = "not a factor from 1 to 100 with at most two decimals (write 1.5)";
    assert_eq!(OvercommitError.to_string(), said);
}
