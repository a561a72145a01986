//! Checks a chain and prints what it may do.
//!
//! `cargo run -p albatross-core --example authority -- ROOT.pem CHAIN.pem TIME`, or without arguments for a
//! chain of the test data.

use std::error::Error;
use std::fmt::Write;

use albatross_core::authority::Authority;
use albatross_core::certificate::{NothingRevoked, Root, pem, verify};
use albatross_proto::Time;

/// The most octets of a chain: as much as there is in a message.
const SIZE_LIMIT: usize = albatross_proto::frame::MAX_MESSAGE;

#[allow(
    dead_code,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test calls `run` instead; files and arguments are the program's, not the library's"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (root, chain, at) = match &arguments[..] {
        [root, chain, at] => (root.clone(), chain.clone(), at.clone()),
        [] => {
            let case = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/vectors/chain/lib-depth1");
            (format!("{case}/ca.pem"), format!("{case}/chain.pem"), "2026-06-01T00:00:00Z".to_owned())
        }
        _ => return Err("usage: authority ROOT.pem CHAIN.pem TIME".into()),
    };
    println!("{}", run(&std::fs::read(root)?, &std::fs::read(chain)?, at.parse()?)?);
    Ok(())
}

/// What it prints.
pub(crate) fn run(root: &[u8], chain: &[u8], at: Time) -> Result<String, Box<dyn Error>> {
    let root = pem::certificates(root, SIZE_LIMIT)?.into_iter().next().ok_or("no root")?;
    let root = Root::new(root)?;
    let chain = pem::certificates(chain, SIZE_LIMIT)?;

    // A path that was verified is the only thing that an authority is made of.
    let path = verify(&chain, &root, at, &NothingRevoked)?;
    let authority = Authority::of(&path)?;

    let mut out = String::new();
    writeln!(out, "name: {}", authority.name)?;
    for (path, policy) in &authority.policies {
        writeln!(out, "at {path}: {} unikernels, {} MB", policy.unikernels, policy.memory)?;
    }
    writeln!(out, "command: {:?}", authority.command)?;
    Ok(out)
}
