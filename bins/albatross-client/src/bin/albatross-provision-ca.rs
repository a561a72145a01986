//! `albatross-provision-ca`: albatross-client under this name.

fn main() -> std::process::ExitCode {
    albatross_client::become_client("albatross-provision-ca")
}
