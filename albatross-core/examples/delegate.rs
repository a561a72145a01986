//! Issues a delegated CA: a root gives Alice a share of a host, Alice gives Bob a share of hers, and nobody
//! gets more than is there to give.
//!
//! `cargo run -p albatross-core --example delegate`

use std::error::Error;
use std::fmt::Write;

use albatross_core::issue::{
    INTERMEDIATE_DAYS, Issuer, KeyKind, KeyPair, ROOT_DAYS, SigningKey, Terms, Validity, root,
};
use albatross_proto::{Int, Policy, Time};
use ring::rand::SystemRandom;

#[allow(dead_code, clippy::print_stdout, reason = "a test calls `run` instead")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", run()?);
    Ok(())
}

/// What it prints.
pub(crate) fn run() -> Result<String, Box<dyn Error>> {
    let random = SystemRandom::new();
    // Nothing in the library reads a clock: whoever issues says what time it is.
    let now: Time = "2026-01-31T12:00:00Z".parse()?;

    // The root: its key stays offline, its certificate goes to the server.
    let root_key = KeyPair::generate(KeyKind::Ed25519, &random)?;
    let terms = Terms::new(Validity::days(now, ROOT_DAYS)?, &random)?;
    let root_certificate = root("albatross root", &root_key, &terms)?;

    // Alice makes a key of her own; the root sees the public half only.
    let alice_key = KeyPair::generate(KeyKind::P256, &random)?;
    let chain = [root_certificate];
    let issuer = Issuer::new(&chain, &root_key)?;
    let terms = Terms::new(Validity::days(now, INTERMEDIATE_DAYS)?, &random)?;
    let alice =
        issuer.intermediate(&"alice".parse()?, alice_key.public_key(), &share(10, 1024, &["ext"]), &terms)?;

    // Alice delegates a part of it to Bob. Her file has her certificate first, then those above it.
    let bob_key = KeyPair::generate(KeyKind::Ed25519, &random)?;
    let chain = [alice, chain[0].clone()];
    let issuer = Issuer::new(&chain, &alice_key)?;
    let terms = Terms::new(Validity::days(now, INTERMEDIATE_DAYS)?, &random)?;
    let bob = issuer.intermediate(&"bob".parse()?, bob_key.public_key(), &share(2, 256, &["ext"]), &terms)?;

    // More than she has is refused, and the refusal says what there is too much of.
    let terms = Terms::new(Validity::days(now, INTERMEDIATE_DAYS)?, &random)?;
    let refused = issuer
        .intermediate(&"carol".parse()?, bob_key.public_key(), &share(2, 4096, &["ext"]), &terms)
        .err()
        .ok_or("more than Alice has was delegated")?;

    let mut out = String::new();
    writeln!(out, "bob's certificate, issued by {}:", bob.issuer())?;
    writeln!(out, "{}", issuer.chain_pem(&bob))?;
    writeln!(out, "carol: {refused}")?;
    Ok(out)
}

fn share(unikernels: i32, memory: i32, bridges: &[&str]) -> Policy {
    Policy {
        cpuids: [Int::ZERO, Int::ONE].into(),
        unikernels: Int::from(unikernels),
        memory: Int::from(memory),
        block: None,
        bridges: bridges.iter().map(|bridge| (*bridge).into()).collect(),
    }
}
