//! What a client checks of the server that it talks to.

use std::net::IpAddr;

use albatross_proto::Time;

use super::{
    Certificate, ChainError, Position, Revocation, Root, Rule,
    path::{Purpose, verify_path},
};

/// Checks that `chain` is exactly a path, at the time `at`, from a certificate for servers to `root`.
///
/// The peer's servers have a CommonName and no host name, so a client pins their root; a host name is
/// checked only when one is given: against the DNS names (`*.` stands for one label) and addresses of
/// SubjectAltName (RFC 9525), never against the CommonName.
///
/// # Errors
/// [`ChainError`] says which certificate breaks which rule.
pub fn verify_server(
    chain: &[Certificate<'_>],
    root: &Root<'_>,
    at: Time,
    host_name: Option<&str>,
    revocation: &dyn Revocation,
) -> Result<(), ChainError> {
    let path = verify_path(chain, root, at, Purpose::Server, revocation, None)?;
    let (Some(asked), Some(leaf)) = (host_name, path.first()) else { return Ok(()) };
    if is_for_host(leaf, asked) {
        return Ok(());
    }
    Err(ChainError::Refused {
        position: Position::Sent(0),
        subject: leaf.subject().to_string(),
        rule: Rule::HostName { asked: asked.to_owned() },
    })
}

fn is_for_host(leaf: &Certificate<'_>, asked: &str) -> bool {
    match asked.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => has_address(leaf, &address.octets()),
        Ok(IpAddr::V6(address)) => has_address(leaf, &address.octets()),
        Err(_) => {
            let asked = asked.strip_suffix('.').unwrap_or(asked);
            !asked.is_empty() && leaf.dns_names().any(|name| matches_name(name, asked))
        }
    }
}

fn has_address(leaf: &Certificate<'_>, octets: &[u8]) -> bool {
    leaf.extensions().ip_addresses.iter().any(|address| address == octets)
}

/// `*.` at the front stands for exactly one label, above at least two more.
fn matches_name(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        None => name.eq_ignore_ascii_case(asked),
        Some(parent) => {
            parent.contains('.')
                && asked
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_name;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(matches_name("*.example.org", "A.Example.org"));
        assert!(!matches_name("*.example.org", "a.b.example.org"));
        assert!(!matches_name("*.example.org", "example.org"));
        assert!(!matches_name("*.org", "example.org"));
        assert!(matches_name("host.example.org", "HOST.example.org"));
    }
}
