//! What a file can be, and why it is not.

use std::fmt;
use std::str::FromStr;

use albatross_core::certificate::CertificateError;
use albatross_core::certificate::pem::{self, PemError};
use albatross_core::eventlog::LogError;
use albatross_core::issue::IssueError;
use albatross_core::journal::JournalError;
use albatross_core::revocation::{ListError, PEM_LABEL};
use albatross_proto::DecodeError;

use super::frames::FramesError;

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// One or several frames.
    Frames,
    /// A message without a frame.
    Message,
    /// The value of the certificate extension.
    Extension,
    /// A certificate, or several as PEM.
    Certificate,
    /// A request for a certificate.
    Request,
    /// A list of revoked certificates.
    RevocationList,
    /// A state file.
    State,
    /// Our own record.
    Record,
    /// The file that it is kept in.
    Journal,
    /// A file of the event log.
    Log,
}

/// No kind has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind;

/// Octets that are none of these, and why.
#[derive(Debug)]
pub struct NotRecognised {
    pub(super) attempts: Vec<(Kind, Refusal)>,
    pub(super) is_json: bool,
}

/// Why octets are not of a kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Not frames.
    Frames(FramesError),
    /// Not a value of the protocol.
    Decode(DecodeError),
    /// Not a certificate.
    Certificate(CertificateError),
    /// Not a request.
    Request(IssueError),
    /// Not a list of revoked certificates.
    RevocationList(ListError),
    /// Not the file of a record.
    Journal(JournalError),
    /// Not a file of the event log.
    Log(LogError),
    /// PEM with something wrong about it.
    Pem(PemError),
    /// PEM in which there is none of the kind.
    NotInPem,
    /// PEM of more blocks than are looked at.
    TooManyBlocks {
        /// How many are.
        limit: usize,
    },
}

impl Kind {
    /// All kinds, in the order in which they are tried.
    pub const ALL: [Self; 10] = [
        Self::Frames,
        Self::Message,
        Self::Extension,
        Self::State,
        Self::Record,
        Self::Certificate,
        Self::Request,
        Self::RevocationList,
        Self::Journal,
        Self::Log,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Message => "message",
            Self::Extension => "extension",
            Self::Certificate => "certificate",
            Self::Request => "request",
            Self::RevocationList => "crl",
            Self::State => "state",
            Self::Record => "record",
            Self::Journal => "record-file",
            Self::Log => "log",
        }
    }

    /// The kind that a block of PEM says it is.
    pub(super) fn of_label(label: &str) -> Option<Self> {
        match label {
            pem::CERTIFICATE | "X509 CERTIFICATE" => Some(Self::Certificate),
            pem::REQUEST | "NEW CERTIFICATE REQUEST" => Some(Self::Request),
            PEM_LABEL => Some(Self::RevocationList),
            _ => None,
        }
    }
}

impl NotRecognised {
    /// Why the octets are not of each kind that was tried.
    pub fn attempts(&self) -> impl Iterator<Item = (Kind, &Refusal)> {
        self.attempts.iter().map(|(kind, refusal)| (*kind, refusal))
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(UnknownKind)
    }
}

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kinds are ")?;
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, kind.name())?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownKind {}

impl fmt::Display for NotRecognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_json {
            f.write_str("this looks like JSON, which --encode reads; ")?;
        }
        if self.attempts.len() > 1 {
            f.write_str("nothing that is known here: ")?;
        }
        for (index, (kind, refusal)) in self.attempts.iter().enumerate() {
            write!(f, "{}as {}: {refusal}", if index > 0 { "; " } else { "" }, kind.name())?;
        }
        Ok(())
    }
}

impl std::error::Error for NotRecognised {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.attempts.as_slice() {
            [(_, only)] => Some(only),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Certificate(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::RevocationList(error) => error.fmt(f),
            Self::Journal(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::Pem(error) => error.fmt(f),
            Self::NotInPem => f.write_str("there is none in this PEM text"),
            Self::TooManyBlocks { limit } => {
                write!(f, "more than the {limit} blocks that are looked at in a PEM text")
            }
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Frames(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Certificate(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::RevocationList(error) => Some(error),
            Self::Journal(error) => Some(error),
            Self::Log(error) => Some(error),
            Self::Pem(error) => Some(error),
            Self::NotInPem | Self::TooManyBlocks { .. } => None,
        }
    }
}
