//! `HOST[:PORT]`, and connecting to it.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::conversation::ConversationError;

/// The port of endpoints.
const DEFAULT_PORT: u16 = 1025;

/// How long one address of the host is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name or an address, without brackets.
    host: String,
    port: u16,
}

/// Text that is no `HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostError(String);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no destination: write HOST, HOST:PORT, or [ADDRESS]:PORT for IPv6",
            self.0.escape_default()
        )
    }
}

impl std::error::Error for HostError {}

impl FromStr for Host {
    type Err = HostError;

    /// A name or an IPv4 address, with or without port; an IPv6 address with a port, in brackets or not.
    fn from_str(text: &str) -> Result<Self, HostError> {
        parse(text).ok_or_else(|| HostError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Host> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port_number(port)?),
        None => (text, DEFAULT_PORT),
    };
    let bracketed = host.strip_prefix('[').map(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(inside) => inside.filter(|inside| inside.parse::<Ipv6Addr>().is_ok())?,
        None if host.contains(':') => Some(host).filter(|host| host.parse::<Ipv6Addr>().is_ok())?,
        None => host,
    };
    let is_plain = host.bytes().all(|octet| octet.is_ascii_graphic() && !b"/@[]".contains(&octet));
    (!host.is_empty() && is_plain).then(|| Host { host: host.to_owned(), port })
}

/// Digits only, and not 0.
fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

impl Host {
    /// Connects to the first of its addresses that answers.
    ///
    /// # Errors
    /// [`ConversationError::Connect`] with the last address's error.
    pub(crate) fn connect(&self) -> Result<TcpStream, ConversationError> {
        let failed = |source| ConversationError::Connect { to: self.to_string(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for (text, shown) in [
            ("host", "host:1025"),
            ("www.example.org:1", "www.example.org:1"),
            ("10.0.0.1", "10.0.0.1:1025"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("::1:1025", "[::1]:1025"),
            ("[::1]:7", "[::1]:7"),
            ("2001:db8::1:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(text.parse::<Host>().map(|host| host.to_string()).as_deref(), Ok(shown));
        }
        for text in [
            "",
            ":",
            ":1",
            "host:",
            "host:x",
            "host:0",
            "host:65536",
            "host:+1",
            "[::1]",
            "[host]:1",
            "a b",
            "[::1",
            "::",
        ] {
            text.parse::<Host>().unwrap_err();
        }
    }
}
