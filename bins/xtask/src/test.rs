//! Every test there is.

use std::path::Path;

use albatross_e2e::programs::cargo;
use albatross_e2e::{Failure, Profile, Programs};

/// Runs unit, vector, documentation and end-to-end tests of the workspace, whose guests are built first.
/// What cargo prints is not touched: its closing lines say how many passed.
pub(crate) fn run() -> Result<(), Failure> {
    Programs::build(Profile::Dev, false)?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let status = command.status();
    let status = status.map_err(|error| Failure::io("run", Path::new("cargo"), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Tests { status }) }
}
