//! `albatross-client top`, which becomes this.

use std::process::ExitCode;

fn main() -> ExitCode {
    albatross_client::run_top()
}
