//! Why a key cannot be used, and why nothing was issued.

use std::fmt;

use albatross_proto::{DecodeError, EncodeError, NameError};

use crate::{
    certificate::{CertificateError, SignatureError, pem::PemError},
    resources::{Exceeded, Unusable},
};

/// A private key that cannot be read, made or used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has no key in it.
    Pem(PemError),
    /// Not PKCS#8 with a key of its kind.
    Malformed,
    /// A kind of key that is not known here.
    UnknownKind,
    /// A key that the cryptographic library does not accept: an RSA modulus outside of 2048 to 4096 bits,
    /// numbers that do not fit each other.
    Rejected,
    /// The text is no kind of key.
    UnknownName,
    /// There were no random octets.
    Random,
    /// Signing failed, or this key does not sign in this way.
    Sign,
}

/// Why nothing was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueError {
    /// There is no certificate of the issuer.
    NoIssuer,
    /// The issuer's certificate is no CA, or may not sign certificates.
    NotACa {
        /// Its subject.
        subject: String,
    },
    /// The key is not that of the issuer's certificate.
    KeyMismatch {
        /// The subject of that certificate.
        subject: String,
    },
    /// The certificates of the issuer are not a chain, each issued by the next.
    NotInOrder {
        /// The first that is not issued by the next, from 0.
        index: usize,
    },
    /// The chain would have more certificates than are accepted.
    ChainTooLong {
        /// How many are.
        limit: usize,
    },
    /// The issuer may not issue for CAs.
    PathLength {
        /// The subject of the issuer.
        subject: String,
    },
    /// A CA of the chain carries an Albatross extension that is no policy.
    IssuerNotAPolicy {
        /// Its subject.
        subject: String,
    },
    /// An Albatross extension cannot be read.
    Extension(DecodeError),
    /// A CommonName with a control character, a line break for example.
    ControlCharacter,
    /// A command is too long for an extension.
    Encode(EncodeError),
    /// Something that cannot be read as what it should be, the request for example.
    Certificate(CertificateError),
    /// A request that was not signed by its own key.
    RequestSignature(SignatureError),
    /// A request whose key is malformed or of a kind that is not accepted.
    RequestKey,
    /// The request has no CommonName.
    NoCommonName,
    /// The CommonName is no label. A chain has one label per certificate.
    Label(NameError),
    /// Under this policy nothing could run.
    PolicyUnusable(Unusable),
    /// The policy goes beyond that of the issuer.
    PolicyNotInside(Exceeded),
    /// The unikernel goes beyond the policy of the issuer.
    CreateNotAllowed(Exceeded),
    /// Text that is no host name or address.
    HostName {
        /// The text.
        name: String,
    },
    /// A time outside the years 1970 to 9999, or an end before the beginning.
    Time,
    /// A serial number that is zero or too long.
    Serial,
    /// There were no random octets.
    Random,
    /// The key did not sign.
    Key(KeyError),
    /// DER that could not be written, of more than 2^32 octets for example.
    Write(der::ErrorKind),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem(error) => return error.fmt(f),
            Self::Malformed => "the private key is not PKCS#8: convert it with openssl pkcs8 -topk8 -nocrypt",
            Self::UnknownKind => "the private key is none of Ed25519, RSA, P-256, P-384 and P-521",
            Self::Rejected => "the private key is not accepted: RSA of 2048 to 4096 bits, sound numbers",
            Self::UnknownName => "no kind of key: rsa2048, rsa4096, ed25519, p256, p384 or p521",
            Self::Random => "no random octets to be had",
            Self::Sign => "the private key did not sign",
        })
    }
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlCharacter => {
                f.write_str("the CommonName has a control character, ask for another name")
            }
            Self::NoIssuer => f.write_str("no certificate of the issuer"),
            Self::NotACa { subject } => write!(f, "the certificate of the issuer, {subject}, is no CA"),
            Self::KeyMismatch { subject } => {
                write!(f, "the key is not that of the certificate of the issuer, {subject}")
            }
            Self::NotInOrder { index } => {
                write!(f, "certificate {index} of the issuer is not issued by the one after it")
            }
            Self::ChainTooLong { limit } => write!(f, "the chain would have more than {limit} certificates"),
            Self::PathLength { subject } => write!(f, "the issuer {subject} may not issue for CAs"),
            Self::IssuerNotAPolicy { subject } => {
                write!(f, "{subject} carries something other than a policy")
            }
            Self::Extension(error) => write!(f, "the Albatross extension cannot be read: {error}"),
            Self::Encode(error) => error.fmt(f),
            Self::Certificate(error) => error.fmt(f),
            Self::RequestSignature(error) => write!(f, "the request is not signed by its own key: {error}"),
            Self::RequestKey => f.write_str("the key of the request is not accepted"),
            Self::NoCommonName => f.write_str("the request has no CommonName"),
            Self::Label(error) => write!(f, "the CommonName is no label: {error}"),
            Self::PolicyUnusable(error) => error.fmt(f),
            Self::PolicyNotInside(error) => write!(f, "the policy of the issuer {error}"),
            Self::CreateNotAllowed(error) => write!(f, "the policy of the issuer {error}"),
            Self::HostName { name } => write!(f, "{name:?} is no host name or address"),
            Self::Time => {
                f.write_str("a time outside the years 1970 to 9999, or an end before the beginning")
            }
            Self::Serial => f.write_str("a serial number is positive and has at most 20 octets"),
            Self::Random => f.write_str("no random octets to be had"),
            Self::Key(error) => error.fmt(f),
            Self::Write(kind) => write!(f, "the certificate cannot be written: {kind}"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pem(error) => Some(error),
            _ => None,
        }
    }
}

impl std::error::Error for IssueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Extension(error) => Some(error),
            Self::Encode(error) => Some(error),
            Self::Certificate(error) => Some(error),
            Self::RequestSignature(error) => Some(error),
            Self::Label(error) => Some(error),
            Self::PolicyUnusable(error) => Some(error),
            Self::PolicyNotInside(error) | Self::CreateNotAllowed(error) => Some(error),
            Self::Key(error) => Some(error),
            _ => None,
        }
    }
}

impl From<der::Error> for IssueError {
    fn from(error: der::Error) -> Self {
        Self::Write(error.kind())
    }
}

impl From<CertificateError> for IssueError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error)
    }
}

impl From<KeyError> for IssueError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
