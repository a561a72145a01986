//! `albatross-client`: see docs/commands.md.

fn main() -> std::process::ExitCode {
    albatross_client::run()
}
