//! Why a list cannot be read, and why it is not honoured.

use std::fmt;

use albatross_proto::Time;
use der::asn1::ObjectIdentifier;

use super::ListNumber;
use crate::certificate::{CertificateError, SignatureError};

/// Octets that are no list that is read here: which field, where, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError {
    field: &'static str,
    position: usize,
    kind: ListErrorKind,
}

/// What is wrong with a field of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListErrorKind {
    /// More octets than the caller allows.
    TooLarge {
        /// How many are allowed.
        limit: usize,
    },
    /// The list, or the value that the field stands in, ends too early.
    Ended,
    /// Another type than the field has.
    Tag {
        /// The tag octet of the field.
        expected: u8,
        /// The tag octet that stands there.
        found: u8,
    },
    /// A length that is not definite and as short as can be.
    Length,
    /// More after the last field.
    Trailing,
    /// The content is not of the field's type.
    Value,
    /// Not version 2.
    NotVersion2,
    /// The algorithm that is signed is not the one that is stated outside.
    AlgorithmsDiffer,
    /// The issuer is no name.
    Issuer(CertificateError),
    /// The issuer's name is longer than is looked at.
    IssuerTooLong {
        /// How many octets are.
        limit: usize,
    },
    /// The next list is promised for a time before this one.
    NextUpdateTooEarly,
    /// A list of revoked certificates that is there and has none: it is left out then.
    EmptyList,
    /// A serial number that is not positive, or longer than 20 octets.
    SerialNumber,
    /// A reason that a complete list does not have.
    Reason,
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
        /// How many are.
        limit: usize,
    },
    /// A critical extension that is not known here.
    UnknownCriticalExtension {
        /// Which.
        oid: ObjectIdentifier,
    },
    /// Only the changes since another list (delta).
    Delta,
    /// A list for some of the issuer's certificates only, or with an issuing distribution point at all.
    Partial,
    /// A list of certificates of several issuers.
    Indirect,
    /// No number.
    NoNumber,
    /// A number that is negative or longer than 20 octets.
    Number,
}

/// Why a list is not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationError {
    /// It cannot be read.
    Malformed(ListError),
    /// It is of an issuer that is not among those that may install one here.
    UnknownIssuer {
        /// The issuer that it names.
        issuer: String,
    },
    /// Its key identifier is not that of the issuer's key.
    KeyIdentifier {
        /// The issuer.
        issuer: String,
    },
    /// The issuer is no CA.
    NotACa {
        /// The issuer.
        issuer: String,
    },
    /// The issuer has no key usage cRLSign.
    MayNotSign {
        /// The issuer.
        issuer: String,
    },
    /// The signature is not the issuer's.
    Signature {
        /// The issuer.
        issuer: String,
        /// What is wrong with it.
        error: SignatureError,
    },
    /// It was made in the future: somebody's clock is wrong.
    NotYetValid {
        /// When it says it was made.
        this_update: Time,
    },
    /// A newer one of the same issuer is on file.
    Older {
        /// Its number.
        number: ListNumber,
        /// The number of the one on file.
        on_file: ListNumber,
    },
    /// Another one with the same number is on file.
    SameNumber {
        /// The number of both.
        number: ListNumber,
    },
    /// Lists of as many issuers as are kept are on file.
    TooManyIssuers {
        /// How many are kept, or how many below one CA of the root.
        limit: usize,
    },
    /// The lists on file would be larger than what is kept.
    Full {
        /// How many octets are kept, or how many below one CA of the root.
        limit: usize,
    },
}

impl ListError {
    pub(crate) const fn new(field: &'static str, position: usize, kind: ListErrorKind) -> Self {
        Self { field, position, kind }
    }

    /// The field, as RFC 5280 section 5 names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// Where it begins, in octets from the beginning of the list.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn kind(&self) -> &ListErrorKind {
        &self.kind
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, position, kind } = self;
        write!(f, "{field} at octet {position} {kind}")
    }
}

impl fmt::Display for ListErrorKind {
    /// Reads on from the name of the field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "has more than {limit} octets"),
            Self::Ended => f.write_str("ends too early"),
            Self::Tag { expected, found } => {
                write!(f, "begins with {found:#04x} where {expected:#04x} belongs")
            }
            Self::Length => f.write_str("has a length that is not DER"),
            Self::Trailing => f.write_str("is followed by more than belongs there"),
            Self::Value => f.write_str("has content that is not of its type"),
            Self::NotVersion2 => f.write_str("is not 2"),
            Self::AlgorithmsDiffer => f.write_str("differs from the algorithm that is stated outside"),
            Self::Issuer(error) => write!(f, "is no name: {error}"),
            Self::IssuerTooLong { limit } => write!(f, "is a name of more than {limit} octets"),
            Self::NextUpdateTooEarly => f.write_str("is before thisUpdate"),
            Self::EmptyList => f.write_str("is empty: leave it out"),
            Self::SerialNumber => f.write_str("is not positive or longer than 20 octets"),
            Self::Reason => f.write_str("is none that a complete list has"),
            Self::DuplicateExtension { oid } => write!(f, "has extension {oid} twice"),
            Self::TooManyExtensions { limit } => write!(f, "has more than {limit} extensions"),
            Self::LongExtension { limit } => write!(f, "has more than {limit} octets"),
            Self::UnknownCriticalExtension { oid } => write!(f, "has the unknown critical extension {oid}"),
            Self::Delta => f.write_str("is that of a delta list: make a complete one"),
            Self::Partial => f.write_str("is that of a list for some certificates only: make a complete one"),
            Self::Indirect => f.write_str("is that of a list for several issuers: make one for each"),
            Self::NoNumber => f.write_str("has no cRLNumber"),
            Self::Number => f.write_str("is negative or longer than 20 octets"),
        }
    }
}

impl std::error::Error for ListError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ListErrorKind::Issuer(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the revocation list cannot be read: {error}"),
            Self::UnknownIssuer { issuer } => {
                write!(f, "the revocation list is of {issuer}, which is no CA of this chain")
            }
            Self::KeyIdentifier { issuer } => {
                write!(f, "the revocation list names another key than that of {issuer}")
            }
            Self::NotACa { issuer } => write!(f, "{issuer} is no CA and has no revocation list"),
            Self::MayNotSign { issuer } => {
                write!(f, "{issuer} has no key usage cRLSign: it may not sign revocation lists")
            }
            Self::Signature { issuer, error } => {
                write!(f, "the revocation list is not signed by the key of {issuer}: {error}")
            }
            Self::NotYetValid { this_update } => {
                write!(
                    f,
                    "the revocation list is of {this_update}, which has not come yet: compare the clocks"
                )
            }
            Self::Older { number, on_file } => {
                write!(f, "the revocation list has number {number}, and number {on_file} is on file")
            }
            Self::SameNumber { number } => {
                write!(f, "another revocation list with number {number} is on file: count on")
            }
            Self::TooManyIssuers { limit } => {
                write!(f, "revocation lists of {limit} issuers are on file, which is all that are kept")
            }
            Self::Full { limit } => {
                write!(f, "the revocation lists on file would have more than {limit} octets")
            }
        }
    }
}

impl std::error::Error for RevocationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Signature { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<ListError> for RevocationError {
    fn from(error: ListError) -> Self {
        Self::Malformed(error)
    }
}
