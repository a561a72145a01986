//! Why bytes could not be read, and why a value could not be written.

use core::fmt;

use der::Tag;

use crate::{IntRangeError, NameError, TimeError};

/// Bytes that are not what they should be: where, in which field, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Offset in bytes from the start of what was decoded.
    pub position: usize,
    /// The field of the grammar that was being read, for example `header.name`.
    pub field: &'static str,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// What is wrong with the bytes at [`DecodeError::position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Not DER: truncated, a non-minimal length, an indefinite length, and so on.
    Der(der::ErrorKind),
    /// Another type stands here.
    UnexpectedTag {
        /// What the grammar asks for.
        expected: Tag,
        /// What was found.
        found: Tag,
    },
    /// A CHOICE with a tag that this version does not know.
    UnknownChoice {
        /// What was found.
        found: Tag,
    },
    /// Octets after the end of the value.
    TrailingData,
    /// A value of a fixed length has another one.
    WrongLength {
        /// Octets asked for.
        expected: usize,
        /// Octets found.
        found: usize,
    },
    /// An INTEGER outside the 63-bit range.
    IntRange(IntRangeError),
    /// Text that is no name.
    Name(NameError),
    /// Text that is no time.
    Time(TimeError),
    /// Another version of the protocol.
    WrongVersion {
        /// The version found.
        found: i64,
    },
    /// The same name twice where each may stand once.
    DuplicateName,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.field, self.position, self.kind)
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Der(kind) => write!(f, "not DER: {kind}"),
            Self::UnexpectedTag { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownChoice { found } => write!(f, "unknown alternative {found}"),
            Self::TrailingData => f.write_str("trailing data"),
            Self::WrongLength { expected, found } => {
                write!(f, "{found} octets where {expected} are asked for")
            }
            Self::IntRange(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::Time(error) => error.fmt(f),
            Self::WrongVersion { found } => write!(f, "version {found}, this program speaks version 5"),
            Self::DuplicateName => f.write_str("the same name stands here twice"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A value that cannot be written as DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The encoding would be longer than [`crate::frame::MAX_ENCODED`] octets.
    TooLong {
        /// Octets that the encoding would take.
        length: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length } => {
                write!(f, "message of {length} octets, the limit is {}", crate::frame::MAX_ENCODED)
            }
        }
    }
}

impl core::error::Error for EncodeError {}
