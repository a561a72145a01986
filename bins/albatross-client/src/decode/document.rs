//! What a file can be, and finding out which.

use std::fmt;
use std::io;
use std::str::FromStr;

use albatross_core::certificate::pem::{self, PemError};
use albatross_core::certificate::{Certificate, CertificateError};
use albatross_core::eventlog::{self, Log, LogError};
use albatross_core::issue::{IssueError, Request};
use albatross_core::journal::{self, Entries, JournalError};
use albatross_core::revocation::{ListError, MAX_LIST_SIZE, PEM_LABEL, RevocationList};
use albatross_proto::frame::MAX_ENCODED;
use albatross_proto::state::{Record, State};
use albatross_proto::{Command, DecodeError, Wire, extension};

use super::frames::{Frames, FramesError};
use super::signed;
use crate::schema::{
    Writer, write_extension, write_journal, write_log, write_record, write_state, write_wire,
};

/// The longest file that is looked at, in octets: the longest value, and as PEM or as several frames.
pub const MAX_INPUT: usize = 2 * MAX_ENCODED;

/// The most blocks of a PEM text: more certificates than there are in any file of several.
const MAX_BLOCKS: usize = 1024;

/// Something that was recognised.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few at a time")]
pub enum Document<'a> {
    /// Frames, of which the first is a message.
    Frames(Frames<'a>),
    /// A message without a frame.
    Message(Wire<'a>),
    /// The value of the certificate extension.
    Extension(Command<'a>),
    /// A certificate.
    Certificate(Certificate<'a>),
    /// A request for a certificate.
    Request(Request<'a>),
    /// A list of revoked certificates.
    RevocationList(RevocationList<'a>),
    /// A state file.
    State(State<'a>),
    /// Our own record.
    Record(Record),
    /// The file that it is kept in.
    Journal(Entries),
    /// A file of the event log.
    Log(Log),
    /// A block of PEM that is not looked into, a private key for example.
    Block {
        /// What it is called.
        label: String,
        /// How many octets it has.
        length: usize,
    },
}

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
    attempts: Vec<(Kind, Refusal)>,
    is_json: bool,
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
    fn of_label(label: &str) -> Option<Self> {
        match label {
            pem::CERTIFICATE | "X509 CERTIFICATE" => Some(Self::Certificate),
            pem::REQUEST | "NEW CERTIFICATE REQUEST" => Some(Self::Request),
            PEM_LABEL => Some(Self::RevocationList),
            _ => None,
        }
    }

    fn decode(self, octets: &[u8]) -> Result<Document<'_>, Refusal> {
        Ok(match self {
            Self::Frames => Document::Frames(Frames::read(octets).map_err(Refusal::Frames)?),
            Self::Message => Document::Message(Wire::decode(octets).map_err(Refusal::Decode)?),
            Self::Extension => Document::Extension(extension::decode(octets).map_err(Refusal::Decode)?),
            Self::State => Document::State(State::decode(octets).map_err(Refusal::Decode)?),
            Self::Record => Document::Record(Record::decode(octets).map_err(Refusal::Decode)?),
            Self::Journal => Document::Journal(journal::read_entries(octets).map_err(Refusal::Journal)?),
            Self::Log => Document::Log(Log::read(octets).map_err(Refusal::Log)?),
            Self::Certificate => {
                Document::Certificate(Certificate::from_der(octets).map_err(Refusal::Certificate)?)
            }
            Self::Request => Document::Request(Request::from_der(octets).map_err(Refusal::Request)?),
            Self::RevocationList => Document::RevocationList(
                RevocationList::from_der(octets, MAX_LIST_SIZE).map_err(Refusal::RevocationList)?,
            ),
        })
    }
}

/// Finds out what `octets` are: one document, or those of a PEM text. With `kind` they are that or nothing.
///
/// # Errors
/// [`NotRecognised`] says for each kind why they are not of it.
pub fn recognise(octets: &[u8], kind: Option<Kind>) -> Result<Vec<Document<'_>>, NotRecognised> {
    let mut attempts = Vec::new();
    // Some files say what they are.
    let kind = kind.or_else(|| match octets {
        _ if journal::is_journal(octets) => Some(Kind::Journal),
        _ if eventlog::is_log(octets) => Some(Kind::Log),
        _ => None,
    });
    for candidate in Kind::ALL.into_iter().filter(|candidate| kind.is_none_or(|kind| kind == *candidate)) {
        match candidate.decode(octets) {
            Ok(document) => return Ok(vec![document]),
            Err(refusal) => attempts.push((candidate, refusal)),
        }
    }
    // Last, as text of this form may also stand inside a message.
    if is_pem(octets) {
        return from_pem(octets, kind);
    }
    let is_json = matches!(octets.trim_ascii_start().first(), Some(b'{'));
    Err(NotRecognised { attempts, is_json })
}

/// Whether this is text with a line that begins a block.
fn is_pem(octets: &[u8]) -> bool {
    std::str::from_utf8(octets)
        .is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with("-----BEGIN ")))
}

fn from_pem(text: &[u8], kind: Option<Kind>) -> Result<Vec<Document<'static>>, NotRecognised> {
    let refused = |kind: Kind, refusal| NotRecognised { attempts: vec![(kind, refusal)], is_json: false };
    let wanted = kind.unwrap_or(Kind::Certificate);
    let blocks = pem::blocks(text).map_err(|error| refused(wanted, Refusal::Pem(error)))?;
    if blocks.len() > MAX_BLOCKS {
        return Err(refused(wanted, Refusal::TooManyBlocks { limit: MAX_BLOCKS }));
    }
    let mut documents = Vec::new();
    for block in blocks {
        let found = Kind::of_label(&block.label);
        match found {
            Some(found) if kind.is_none_or(|kind| kind == found) => {
                let document = signed::owned(found, block.der.to_vec());
                documents.push(document.map_err(|refusal| refused(found, refusal))?);
            }
            _ if kind.is_none() => {
                documents.push(Document::Block { length: block.der.len(), label: block.label });
            }
            _ => {}
        }
    }
    if documents.is_empty() { Err(refused(wanted, Refusal::NotInPem)) } else { Ok(documents) }
}

impl Document<'_> {
    /// Shows it.
    ///
    /// # Errors
    /// As the output has them.
    pub fn write(&self, writer: &mut Writer<'_>) -> io::Result<()> {
        match self {
            Self::Frames(frames) => {
                writer.heading(&"frames")?;
                frames.write(writer.slot())?;
            }
            Self::Message(wire) => {
                writer.heading(&"message")?;
                write_wire(writer.slot(), wire)?;
            }
            Self::Extension(command) => {
                writer.heading(&"value of the Albatross extension")?;
                write_extension(writer.slot(), command)?;
            }
            Self::Certificate(certificate) => {
                writer.heading(&"certificate")?;
                signed::write_certificate(writer.slot(), certificate)?;
            }
            Self::Request(request) => {
                writer.heading(&"certificate request")?;
                signed::write_request(writer.slot(), request)?;
            }
            Self::RevocationList(list) => {
                writer.heading(&"revocation list")?;
                signed::write_list(writer.slot(), list)?;
            }
            Self::State(state) => {
                writer.heading(&"state file")?;
                write_state(writer.slot(), state)?;
            }
            Self::Record(record) => {
                writer.heading(&"record")?;
                write_record(writer.slot(), record)?;
            }
            Self::Journal(entries) => {
                writer.heading(&"file of a record")?;
                write_journal(writer.slot(), entries)?;
            }
            Self::Log(log) => {
                writer.heading(&"event log")?;
                write_log(writer.slot(), log)?;
            }
            Self::Block { label, length } => {
                writer.heading(&"block of PEM that is not looked into")?;
                writer.slot().object(|fields| {
                    fields.put("pem_label")?.string(label)?;
                    fields.put("der_bytes")?.number(*length)
                })?;
            }
        }
        writer.end()
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
