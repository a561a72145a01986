//! Asks whether a plan fits before anything is done: two unikernels and a block device for Alice, of whom the
//! host and her policy have a say.
//!
//! `cargo run -p albatross-core --example plan`

use std::error::Error;
use std::fmt::Write;

use albatross_core::resources::{Change, Resources};
use albatross_proto::{Arguments, BlockDevice, Int, Path, Policy};

#[allow(dead_code, clippy::print_stdout, reason = "a test calls `run` instead")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", run()?);
    Ok(())
}

/// What it prints.
pub(crate) fn run() -> Result<String, Box<dyn Error>> {
    let mut tree = Resources::default();
    tree.adopt_policy(&Path::root(), share(100, 16 * 1024, 1024))?;
    tree.insert_policy(&"alice".parse()?, share(3, 512, 100))?;
    tree.insert_unikernel(&"alice:web".parse()?, &arguments(256, &[]))?;

    let plan = |memory| -> Result<_, Box<dyn Error>> {
        Ok([
            Change::AddBlock { name: "alice:data".parse()?, size: Int::from(50) },
            Change::CreateUnikernel { name: "alice:db".parse()?, arguments: arguments(memory, &["data"]) },
            Change::CreateUnikernel { name: "alice:cache".parse()?, arguments: arguments(64, &[]) },
        ])
    };
    let mut out = String::new();
    for memory in [256, 192] {
        match tree.check_plan(&plan(memory)?) {
            Ok(()) => writeln!(out, "{memory} MB for the database: fits")?,
            Err(refused) => writeln!(out, "{memory} MB for the database: {refused}")?,
        }
    }
    let usage = tree.usage(&"alice".parse()?);
    writeln!(out, "in use before: {} unikernels, {} MB", usage.unikernels, usage.memory)?;
    tree.apply_plan(&plan(192)?)?;
    let usage = tree.usage(&"alice".parse()?);
    writeln!(out, "in use after: {} unikernels, {} MB", usage.unikernels, usage.memory)?;
    Ok(out)
}

fn share(unikernels: i32, memory: i32, block: i32) -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(unikernels),
        memory: Int::from(memory),
        block: Some(Int::from(block)),
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
