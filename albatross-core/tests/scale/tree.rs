//! A tree of the largest size that is meant to work well: 8 levels, three paths below each path, a policy
//! on each of these 9840 paths, and unikernels at the lowest.

use albatross_core::resources::Resources;
use albatross_proto::{Arguments, Int, Name, NetDevice, Path, Policy};

pub(crate) const LEVELS: u32 = 8;
const BELOW: u32 = 3;

/// The lowest path of this number; the first eight in `number % 3^8`.
fn path(number: u32) -> Path {
    let labels: Vec<String> =
        (0..LEVELS).map(|level| format!("tenant{}", number / BELOW.pow(level) % BELOW)).collect();
    labels.join(":").parse().unwrap()
}

/// The unikernel of this number.
pub(crate) fn name(number: u32) -> Name {
    Name::new(path(number), Some(format!("unikernel{number}").parse().unwrap()))
}

pub(crate) fn arguments() -> Arguments {
    let device = |bridge: &str| NetDevice { name: "net".into(), bridge: Some(bridge.into()), mac: None };
    Arguments { net_devices: vec![device("service"), device("external")], ..Arguments::new() }
}

fn policy() -> Policy {
    Policy {
        cpuids: (0..8).map(Int::from).collect(),
        unikernels: Int::from(1_000_000),
        memory: Int::MAX,
        block: None,
        bridges: ["service".into(), "external".into(), "internal".into()].into(),
    }
}

/// The tree with every policy and no unikernel.
pub(crate) fn policies() -> Resources {
    let mut tree = Resources::default();
    tree.adopt_policy(&Path::root(), policy()).unwrap();
    for number in 0..BELOW.pow(LEVELS) {
        for path in path(number).ancestors() {
            if tree.policy(&path).is_none() {
                tree.adopt_policy(&path, policy()).unwrap();
            }
        }
    }
    tree
}
