//! The tree at its largest: what a unikernel takes in memory, and that admission depends on nothing but the
//! depth of its path. Counted in what the allocator is asked for, which is the same on any machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "../../../albatross-proto/tests/worst/counting.rs"]
mod counting;
mod tree;

use counting::{Cost, Counting, measure};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const UNIKERNELS: u32 = 100_000;

/// Octets of memory for each unikernel in the tree, without its image.
const MEMORY: usize = 1024;

#[test]
fn a_unikernel_takes_little_memory_and_its_admission_is_by_depth() {
    let names: Vec<_> = (0..=UNIKERNELS).map(tree::name).collect();
    let arguments = tree::arguments();
    let mut tree = tree::policies();
    let (_, few) = measure(|| tree.check_unikernel(&names[0], &arguments).unwrap());
    let ((), cost) = measure(|| {
        for name in names.iter().take(usize::try_from(UNIKERNELS).unwrap()) {
            tree.insert_unikernel(name, &arguments).unwrap();
        }
    });
    let each = cost.held / usize::try_from(UNIKERNELS).unwrap();
    println!("{each} octets of memory for each unikernel, {} calls of the allocator", cost.calls);
    assert!(each <= MEMORY, "{each}");
    let (_, many) = measure(|| tree.check_unikernel(names.last().unwrap(), &arguments).unwrap());
    println!("a check among none: {few:?}, among {UNIKERNELS}: {many:?}");
    let Cost { calls, asked, .. } = many;
    assert_eq!((calls, asked), (few.calls, few.asked), "a check costs by what else runs");
    assert!(calls <= 2 * usize::try_from(tree::LEVELS).unwrap(), "{calls}");
}
