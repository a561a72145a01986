//! Finding out what a file is, and showing it.

use std::io;

use albatross_core::certificate::{Certificate, pem};
use albatross_core::eventlog::{self, Log};
use albatross_core::issue::Request;
use albatross_core::journal::{self, Entries};
use albatross_core::revocation::{MAX_LIST_SIZE, RevocationList};
use albatross_proto::frame::MAX_ENCODED;
use albatross_proto::state::{Record, State};
use albatross_proto::{Command, Wire, extension};

use super::frames::Frames;
use super::kind::{Kind, NotRecognised, Refusal};
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
        match decode(candidate, octets) {
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

fn decode(kind: Kind, octets: &[u8]) -> Result<Document<'_>, Refusal> {
    Ok(match kind {
        Kind::Frames => Document::Frames(Frames::read(octets).map_err(Refusal::Frames)?),
        Kind::Message => Document::Message(Wire::decode(octets).map_err(Refusal::Decode)?),
        Kind::Extension => Document::Extension(extension::decode(octets).map_err(Refusal::Decode)?),
        Kind::State => Document::State(State::decode(octets).map_err(Refusal::Decode)?),
        Kind::Record => Document::Record(Record::decode(octets).map_err(Refusal::Decode)?),
        Kind::Journal => Document::Journal(journal::read_entries(octets).map_err(Refusal::Journal)?),
        Kind::Log => Document::Log(Log::read(octets).map_err(Refusal::Log)?),
        Kind::Certificate => {
            Document::Certificate(Certificate::from_der(octets).map_err(Refusal::Certificate)?)
        }
        Kind::Request => Document::Request(Request::from_der(octets).map_err(Refusal::Request)?),
        Kind::RevocationList => Document::RevocationList(
            RevocationList::from_der(octets, MAX_LIST_SIZE).map_err(Refusal::RevocationList)?,
        ),
    })
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
                let document = owned(found, block.der.to_vec());
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

/// A document with octets of its own.
fn owned(kind: Kind, der: Vec<u8>) -> Result<Document<'static>, Refusal> {
    match kind {
        Kind::Request => {
            let request = Request::from_der(&der).map_err(Refusal::Request)?;
            Ok(Document::Request(request.into_owned()))
        }
        Kind::RevocationList => {
            let list = RevocationList::from_vec(der, MAX_LIST_SIZE).map_err(Refusal::RevocationList)?;
            Ok(Document::RevocationList(list))
        }
        _ => Certificate::from_vec(der).map(Document::Certificate).map_err(Refusal::Certificate),
    }
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
