//! Certificates, read and verified: the narrow path from a leaf to a configured root.
//!
//! A chain of certificates carries the authority to do something and the command to be done, so it is
//! accepted only if it is exactly a path: leaf first, each certificate issued by the next, the last one by
//! the configured root, nothing missing, reordered, repeated or superfluous. General verifiers search for
//! some path among what was sent and tolerate the rest; here the certificates that were sent *are* the
//! path, or the chain is refused. What is accepted here, a general verifier accepts too.
//!
//! * [`Certificate`] is one certificate, parsed without copying its content (RFC 5280 section 4.1).
//! * [`verify()`] checks a client's chain (RFC 5280 section 6, narrowed by `docs/protocol.md`) and returns
//!   a [`VerifiedPath`], the only thing an [`Authority`](crate::authority::Authority) is made of.
//! * [`verify_server`] checks the chain of a server; it yields nothing that could be mistaken for an
//!   authority.
//! * [`pem`] reads and writes the text form.
//!
//! Refused by intent: certificates other than version 3, unique identifiers, keys and signatures other
//! than Ed25519, RSA (2048 to 8192 bits, PKCS#1 with SHA-2) and ECDSA on P-256, P-384 and P-521, name
//! constraints and other extensions by which verifiers narrow a certificate and which are not
//! evaluated here. Nothing here reads a clock or a file: time is an argument.

mod error;
mod extensions;
mod key;
mod links;
mod name;
pub(crate) mod oid;
mod parse;
mod path;
pub mod pem;
mod reader;
mod server;

pub use error::{CertificateError, CertificateErrorKind, ChainError, Position, Rule, SignatureError};
pub(crate) use extensions::{MAX_EVALUATED, read_extensions};
pub(crate) use key::{Hash, SignatureAlgorithm};
pub use key::{PublicKey, PublicKeyAlgorithm, TLS13_SCHEMES};
pub use links::{MAX_VERIFIED_LINKS, VerifiedLinks};
pub use name::DistinguishedName;
pub use parse::Certificate;
pub(crate) use parse::{Signed, range_in};
pub use path::{
    MAX_CHAIN, NothingRevoked, Revocation, Root, VerifiedPath, chain_from_der, verify, verify_with,
};
pub(crate) use reader::{any, content, raw, read_all};
pub use server::verify_server;
