//! Making certificates: profiles, requests, and signing them.
//!
//! There are four [`Profile`]s: a self-signed root, a server, an intermediate that carries a policy, and a
//! leaf that carries a command. What a certificate may be used for follows from its profile; of a
//! [`Request`] only the CommonName, the key and the command are taken. Nothing is issued that the verifier
//! in [`certificate`](crate::certificate) would refuse, and [`Issuer::sign`] refuses what goes beyond the
//! signer's own policy. Rules: `docs/protocol.md`, "Certificates" (RFC 5280, RFC 2986, RFC 5958).
//!
//! No file is read or written and no clock is read here; random octets come from the caller. Keys sit
//! behind [`SigningKey`], so that they may live elsewhere; [`KeyPair`] is one in memory.

mod crl;
mod encode;
mod error;
mod generate;
mod key;
mod pkcs8;
mod request;
mod sign;
mod terms;

use crate::certificate::Certificate;

pub use crl::{
    Database, DatabaseError, LIST_DAYS, ListIssuer, ListTerms, RevokeError, Revoked, Selected, parse_serial,
};
pub use error::{IssueError, KeyError};
pub use key::{KeyKind, KeyPair, SigningKey};
pub use request::Request;
pub use sign::{Issuer, Signed, root};
pub use terms::{Serial, Terms, Validity};

/// How long a root is valid by default, in days.
pub const ROOT_DAYS: u32 = 3650;
/// How long a server's certificate is valid by default, in days.
pub const SERVER_DAYS: u32 = 365;
/// How long an intermediate is valid by default, in days.
pub const INTERMEDIATE_DAYS: u32 = 365;
/// How long a leaf that is signed from a request is valid by default, in days.
pub const LEAF_DAYS: u32 = 1;
/// How long a leaf that a client makes on the spot is valid, in seconds: long enough for one handshake
/// with a clock that is off by minutes.
pub const DIRECT_LEAF_SECONDS: u32 = 300;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// A self-signed CA.
    Root,
    /// The TLS server.
    Server,
    /// A CA that may delegate what its policy says.
    Intermediate,
    /// A client's certificate with a command.
    Leaf,
}

impl Profile {
    /// How many days such a certificate is valid by default.
    #[must_use]
    pub const fn default_days(self) -> u32 {
        match self {
            Self::Root => ROOT_DAYS,
            Self::Server => SERVER_DAYS,
            Self::Intermediate => INTERMEDIATE_DAYS,
            Self::Leaf => LEAF_DAYS,
        }
    }
}

/// The line of a CA's database for a certificate: the serial number in hex, a leading zero octet
/// included, a space, and the CommonName; without a line break.
#[must_use]
pub fn database_line(certificate: &Certificate<'_>) -> String {
    let mut line: String = certificate.serial().iter().map(|octet| format!("{octet:02x}")).collect();
    line.push(' ');
    line.push_str(certificate.common_name().unwrap_or_default());
    line
}
