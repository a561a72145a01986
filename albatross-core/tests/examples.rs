//! Runs the examples.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and reads files"
)]

#[path = "../examples/authority.rs"]
mod authority;
#[path = "../examples/delegate.rs"]
mod delegate;
#[path = "../examples/plan.rs"]
mod plan;

use albatross_core::certificate::pem;

#[test]
fn a_delegated_ca_is_issued() {
    let out = delegate::run().unwrap();
    // Bob's and Alice's; the root's is with the server.
    assert_eq!(pem::certificates(out.as_bytes(), 1 << 20).unwrap().len(), 2, "{out}");
    assert!(out.contains("carol: ") && out.contains("4096"), "{out}");
}

#[test]
fn what_a_chain_may_do_is_printed() {
    let case = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/vectors/chain/lib-depth1");
    let read = |file: &str| std::fs::read(format!("{case}/{file}")).unwrap();
    let (root, chain) = (read("ca.pem"), read("chain.pem"));
    let out = authority::run(&root, &chain, "2026-06-01T00:00:00Z".parse().unwrap()).unwrap();
    assert!(out.contains("name: ") && out.contains("command: "), "{out}");
    let early = authority::run(&root, &chain, "2000-01-01T00:00:00Z".parse().unwrap()).unwrap_err();
    assert!(early.to_string().contains("valid"), "{early}");
}

#[test]
fn a_plan_is_asked_about() {
    let out = plan::run().unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "256 MB for the database: change 2, alice:cache: policy alice: allows 512 MB of memory, \
             512 MB are in use and 64 MB more are asked for",
            "192 MB for the database: fits",
            "in use before: 1 unikernels, 256 MB",
            "in use after: 3 unikernels, 512 MB",
        ]
    );
}
