//! What the daemon that runs as root is linked with: no TLS, no X.509, no HTTP.

use albatross_e2e::Failure;
use albatross_e2e::programs::cargo;
use albatross_e2e::run::run as run_command;

/// Packages that would bring in what is not wanted there, by how their names begin.
const UNWANTED: [&str; 9] =
    ["albatross-tls", "rustls", "webpki", "x509", "pkcs8", "openssl", "native-tls", "http", "hyper"];

/// Fails where albatrossd depends on one of them.
#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(crate) fn run() -> Result<(), Failure> {
    let arguments = ["tree", "--package", "albatrossd", "--edges", "normal", "--prefix", "none"];
    let tree = run_command(cargo().args(arguments))?.expect(0, "albatrossd v")?;
    let mut packages: Vec<&str> = tree.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    packages.sort_unstable();
    packages.dedup();
    let found: Vec<&str> = packages.iter().copied().filter(|package| is_unwanted(package)).collect();
    if !found.is_empty() {
        let what = format!("albatrossd runs as root and must not link {}", found.join(", "));
        return Err(Failure::Unexpected { command: tree.command, what });
    }
    println!("albatrossd links {} packages, none of them for TLS, X.509 or HTTP", packages.len());
    Ok(())
}

fn is_unwanted(package: &str) -> bool {
    UNWANTED.iter().any(|unwanted| package.starts_with(unwanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_that_runs_as_root_links_no_tls() {
        run().unwrap();
    }

    #[test]
    fn unwanted_packages_are_known() {
        assert!(is_unwanted("rustls-webpki") && is_unwanted("x509-cert"));
        assert!(!is_unwanted("albatross-core") && !is_unwanted("ring"));
    }
}
