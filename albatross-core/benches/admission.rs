//! How long it takes to admit a unikernel: `cargo bench -p albatross-core --bench admission`.
//!
//! Target: 3 us at 100 000 unikernels and some 10 000 policies below 8 levels; by the depth of the path, not
//! by what else runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

#[path = "../tests/scale/tree.rs"]
mod tree;

use std::hint::black_box;

use albatross_core::resources::Change;
use criterion::{Criterion, criterion_group, criterion_main};

fn admission(c: &mut Criterion) {
    for count in [10, 1000, 100_000] {
        let (name, arguments) = (tree::name(count), tree::arguments());
        let mut tree = tree::policies();
        for number in 0..count {
            tree.insert_unikernel(&tree::name(number), &arguments).unwrap();
        }
        let mut group = c.benchmark_group(format!("{count} unikernels"));
        group.bench_function("check", |b| {
            b.iter(|| tree.check_unikernel(black_box(&name), black_box(&arguments)).unwrap());
        });
        group.bench_function("insert and remove", |b| {
            b.iter(|| {
                tree.insert_unikernel(black_box(&name), black_box(&arguments)).unwrap();
                tree.remove_unikernel(black_box(&name)).unwrap()
            });
        });
        let plan: Vec<Change> = (0..10)
            .map(|n| Change::CreateUnikernel { name: tree::name(count + n), arguments: arguments.clone() })
            .collect();
        group.bench_function("plan of 10", |b| b.iter(|| tree.check_plan(black_box(&plan)).unwrap()));
        group.finish();
    }
}

criterion_group!(benches, admission);
criterion_main!(benches);
