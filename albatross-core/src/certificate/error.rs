//! Why a certificate cannot be read, and why a chain is refused.

use std::fmt;

use albatross_proto::Time;
use der::{ErrorKind, asn1::ObjectIdentifier};

/// Bytes that are no certificate (or request, or key) that is read here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateError {
    /// The byte of the DER at which the field begins that is not what it should be.
    pub position: usize,
    /// Which field, and what is wrong with it.
    pub kind: CertificateErrorKind,
}

/// What is wrong with a field of a certificate (or request, or key).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateErrorKind {
    /// Not DER, or another type than the field has.
    Der {
        /// The field that was read, as RFC 5280 names it.
        field: &'static str,
        /// What is wrong.
        kind: ErrorKind,
    },
    /// A field without content that must have some.
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A BIT STRING that does not consist of whole octets.
    UnusedBits {
        /// The field.
        field: &'static str,
    },
    /// A name with a value that is not text.
    NameNotText {
        /// Issuer or subject.
        field: &'static str,
    },
    /// A serial number that is not positive, or longer than 20 octets.
    SerialNumber,
    /// The same extension twice.
    DuplicateExtension {
        /// Which.
        oid: ObjectIdentifier,
    },
    /// More extensions than are looked at.
    TooManyExtensions {
        /// How many are.
        limit: usize,
    },
    /// An extension that is evaluated and has more octets than are looked at.
    LongExtension {
        /// The extension.
        field: &'static str,
        /// How many are.
        limit: usize,
    },
    /// A path length constraint in a certificate that is no CA.
    PathLengthWithoutCa,
}

/// A signature that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// An algorithm that is not accepted, or does not fit the issuer's key.
    UnsupportedAlgorithm,
    /// The algorithm that is signed is not the one that is stated outside.
    AlgorithmsDiffer,
    /// Not made by that key over that content.
    Wrong,
}

/// A chain that is not exactly a path from a leaf to the root: which certificate breaks which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainError {
    /// There is no certificate.
    Empty,
    /// More certificates than a chain may have.
    TooManyCertificates {
        /// How many are allowed.
        limit: usize,
    },
    /// More octets than the caller allows.
    TooLarge {
        /// How many are allowed in all certificates together.
        limit: usize,
    },
    /// A certificate that cannot be read.
    Malformed {
        /// Its place, from 0, the leaf.
        index: usize,
        /// Why.
        error: CertificateError,
    },
    /// A certificate breaks a rule.
    Refused {
        /// Which one.
        position: Position,
        /// Its subject, as text.
        subject: String,
        /// The rule.
        rule: Rule,
    },
}

/// A place in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// As sent, from 0, the leaf.
    Sent(usize),
    /// The configured root.
    Root,
}

/// A rule of `docs/protocol.md`, "Verifying a chain", that a certificate breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Not version 3.
    Version,
    /// The root does not name itself as its issuer.
    NotSelfIssued,
    /// Used before its first second.
    NotYetValid {
        /// That second.
        not_before: Time,
    },
    /// Used after its last second.
    Expired {
        /// That second.
        not_after: Time,
    },
    /// A critical extension that is not evaluated.
    UnknownCriticalExtension {
        /// Which.
        oid: ObjectIdentifier,
    },
    /// An extension by which other verifiers narrow a certificate, critical or not, and which is not
    /// evaluated here.
    NarrowingExtension {
        /// Which.
        oid: ObjectIdentifier,
    },
    /// The Albatross extension is critical.
    CriticalCommand,
    /// The key is of a kind that is not accepted, or malformed.
    UnusableKey,
    /// Its issuer is not the subject of the next certificate.
    IssuerName {
        /// Who issued it, as it says.
        issuer: String,
        /// The subject of the next certificate, or of the root.
        next: String,
    },
    /// The key identifiers of issuer and certificate differ.
    KeyIdentifier,
    /// The signature is not the issuer's.
    Signature(SignatureError),
    /// It, or another one of the same subject and key, was sent before.
    Repeated,
    /// An issuer that is no CA.
    NotACa,
    /// BasicConstraints of a CA are not critical.
    BasicConstraintsNotCritical,
    /// More CAs below than its path length constraint allows.
    PathLength {
        /// How many it allows.
        allowed: u8,
    },
    /// An issuer without KeyUsage.
    KeyUsageMissing,
    /// An issuer without the key usage keyCertSign.
    CertSignMissing,
    /// The leaf is a CA.
    LeafIsCa,
    /// The leaf has no key usage digitalSignature.
    DigitalSignatureMissing,
    /// No extended key usage clientAuth, in the leaf or in a CA that has any.
    ClientAuthMissing,
    /// No extended key usage serverAuth, in the leaf or in a CA that has any.
    ServerAuthMissing,
    /// Revoked by its issuer.
    Revoked,
    /// The server's certificate is for other host names.
    HostName {
        /// The name that was asked for.
        asked: String,
    },
}

impl CertificateErrorKind {
    /// This is wrong with `value`, part of what is read. The position is an address until
    /// [`CertificateError::within`] is told where all of that begins.
    pub(crate) fn at(self, value: &[u8]) -> CertificateError {
        CertificateError { position: value.as_ptr().addr(), kind: self }
    }
}

impl CertificateError {
    /// The error of reading `whole`.
    pub(crate) fn within(self, whole: &[u8]) -> Self {
        let position = self.position.saturating_sub(whole.as_ptr().addr()).min(whole.len());
        Self { position, ..self }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.kind, self.position)
    }
}

impl fmt::Display for CertificateErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Der { field, kind } => write!(f, "{field} cannot be read: {kind}"),
            Self::Empty { field } => write!(f, "{field} is empty"),
            Self::UnusedBits { field } => write!(f, "{field} does not consist of whole octets"),
            Self::NameNotText { field } => write!(f, "{field} has a value that is not text"),
            Self::SerialNumber => f.write_str("serialNumber is not positive or longer than 20 octets"),
            Self::DuplicateExtension { oid } => write!(f, "extension {oid} stands there twice"),
            Self::TooManyExtensions { limit } => write!(f, "more than {limit} extensions"),
            Self::LongExtension { field, limit } => write!(f, "{field} has more than {limit} octets"),
            Self::PathLengthWithoutCa => f.write_str("basicConstraints limit the path of what is no CA"),
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnsupportedAlgorithm => "the signature algorithm is not accepted or does not fit the key",
            Self::AlgorithmsDiffer => "the signature algorithm that is signed is not the one that is stated",
            Self::Wrong => "the signature is wrong",
        })
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the chain has no certificate"),
            Self::TooManyCertificates { limit } => write!(f, "the chain has more than {limit} certificates"),
            Self::TooLarge { limit } => write!(f, "the chain has more than {limit} octets"),
            Self::Malformed { index, error } => write!(f, "certificate {index}: {error}"),
            Self::Refused { position, subject, rule } => write!(f, "{position} ({subject}): {rule}"),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(index) => write!(f, "certificate {index}"),
            Self::Root => f.write_str("the root"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYetValid { not_before } => return write!(f, "not valid before {not_before}"),
            Self::Expired { not_after } => return write!(f, "expired at {not_after}"),
            Self::UnknownCriticalExtension { oid } => {
                return write!(f, "critical extension {oid} is not known");
            }
            Self::NarrowingExtension { oid } => return write!(f, "extension {oid} is not accepted"),
            Self::IssuerName { issuer, next } => {
                return write!(f, "issued by {issuer}, but what follows is {next}");
            }
            Self::Signature(error) => return error.fmt(f),
            Self::PathLength { allowed } => return write!(f, "more than {allowed} CAs below it"),
            Self::HostName { asked } => return write!(f, "not for the host name {asked:?}"),
            Self::Version => "not version 3",
            Self::NotSelfIssued => "not self-signed",
            Self::CriticalCommand => "the Albatross extension is critical",
            Self::UnusableKey => "the key is malformed or of a kind that is not accepted",
            Self::KeyIdentifier => "its authority key identifier is not that of its issuer",
            Self::Repeated => "sent twice",
            Self::NotACa => "an issuer that is no CA",
            Self::BasicConstraintsNotCritical => "an issuer whose BasicConstraints are not critical",
            Self::KeyUsageMissing => "an issuer without KeyUsage",
            Self::CertSignMissing => "an issuer whose key may not sign certificates",
            Self::LeafIsCa => "the leaf is a CA",
            Self::DigitalSignatureMissing => "a leaf whose key may not make digital signatures",
            Self::ClientAuthMissing => "not for clients (extended key usage clientAuth)",
            Self::ServerAuthMissing => "not for servers (extended key usage serverAuth)",
            Self::Revoked => "revoked by its issuer",
        })
    }
}

impl std::error::Error for CertificateError {}
impl std::error::Error for SignatureError {}
impl std::error::Error for ChainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed { error, .. } => Some(error),
            _ => None,
        }
    }
}
