//! `albatross-client`: see README.md.

fn main() -> std::process::ExitCode {
    albatross_client::run()
}
