//! `verify`: checks a chain as the endpoint would, and says what it may do.
//!
//! The rules are those of [`albatross_core::certificate`] and [`albatross_core::authority`]; none is added
//! and none is left out. With `--json` the keys are those of `handle_of_validated_path` in the schema of the
//! vectors, and where the chain is refused `ok` (false), `error`, `certificate` (its place, from 0, the leaf,
//! or `"root"`) and `subject`.

mod place;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use albatross_core::authority::{Authority, AuthorityError};
use albatross_core::certificate::pem::{self, PemError};
use albatross_core::certificate::{Certificate, ChainError, Position, Root};
use albatross_core::revocation::{MAX_LIST_SIZE, RevocationError, RevocationList, RevocationStore};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::escape;
use albatross_driver::logging::Logger;
use albatross_proto::command::Daemon;
use albatross_proto::{BlockCommand, Command, ConsoleCommand, StatisticsCommand, Time};

use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, MAX_PEM};
use crate::options;
use crate::print::Printer;
use crate::schema::{Fields, Slot, Style, Writer, name_fields, write_command, write_policy};

/// The longest file of a revocation list: as PEM, with what stands around it.
const MAX_LIST_FILE: usize = 2 * MAX_LIST_SIZE;

/// Why a chain may do nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The root is none.
    Root(ChainError),
    /// The root's file has more than one certificate.
    SeveralRoots,
    /// A file of certificates cannot be read.
    Pem(PemError),
    /// The chain is not exactly a path to the root.
    Chain(ChainError),
    /// The path has no authority.
    Authority {
        /// Which certificate is at fault, from 0, the leaf.
        place: Option<usize>,
        /// Its subject.
        subject: Option<String>,
        /// Why.
        error: Box<AuthorityError>,
    },
}

/// Why `verify` does not say that a chain is good.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum VerifyError {
    /// The chain is refused.
    Refused { path: PathBuf, refusal: Box<Refusal> },
    /// A revocation list cannot be read.
    ListPem { path: PathBuf, error: PemError },
    /// A revocation list is not to be honoured.
    List { path: PathBuf, error: RevocationError },
}

impl Refusal {
    /// The certificate that is at fault, where it is a single one.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Root(_) => Some(Position::Root),
            Self::Chain(ChainError::Refused { position, .. }) => Some(*position),
            Self::Chain(ChainError::Malformed { index, .. })
            | Self::Pem(PemError::Certificate { index, .. }) => Some(Position::Sent(*index)),
            Self::Authority { place, .. } => place.map(Position::Sent),
            Self::Chain(_) | Self::Pem(_) | Self::SeveralRoots => None,
        }
    }

    /// The subject of that certificate.
    fn subject(&self) -> Option<&str> {
        match self {
            Self::Root(ChainError::Refused { subject, .. })
            | Self::Chain(ChainError::Refused { subject, .. }) => Some(subject),
            Self::Authority { subject, .. } => subject.as_deref(),
            _ => None,
        }
    }
}

impl VerifyError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } => Exit::ChainInvalid,
            Self::ListPem { .. } | Self::List { .. } => Exit::Usage,
        }
    }
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// [`Refusal::Pem`].
pub fn certificates(text: &[u8]) -> Result<Vec<Certificate<'static>>, Refusal> {
    pem::certificates(text, MAX_PEM).map_err(Refusal::Pem)
}

/// The root in a PEM text, alone.
///
/// # Errors
/// [`Refusal`]: none, more than one, not a root.
pub fn root(text: &[u8]) -> Result<Root<'static>, Refusal> {
    let mut certificates = certificates(text)?.into_iter();
    match (certificates.next(), certificates.next()) {
        (Some(certificate), None) => Root::new(certificate).map_err(Refusal::Root),
        _ => Err(Refusal::SeveralRoots),
    }
}

/// What `chain` may do at the time `at`.
///
/// # Errors
/// [`Refusal`]: not exactly a path, revoked, without authority.
pub fn authority<'p>(
    chain: &'p [Certificate<'p>],
    root: &'p Root<'p>,
    at: Time,
    revoked: &mut RevocationStore,
) -> Result<Authority<'p>, Refusal> {
    let path = revoked.verify(chain, root, at).map_err(Refusal::Chain)?;
    Authority::of(&path).map_err(|error| {
        let found = place::of(&error, &path);
        let subject = found.map(|(_, certificate)| certificate.subject().to_string());
        Refusal::Authority { place: found.map(|(place, _)| place), subject, error: Box::new(error) }
    })
}

/// Writes what a chain may do.
///
/// # Errors
/// As the output has them.
pub fn write_authority(slot: Slot<'_, '_>, authority: &Authority<'_>) -> io::Result<()> {
    slot.object(|fields| {
        if fields.is_json() {
            fields.put("ok")?.boolean(true)?;
        }
        name_fields(fields, &authority.name)?;
        // From the leaf upwards.
        fields.put("policies")?.list(authority.policies.iter().rev(), |slot, (path, policy)| {
            slot.object(|fields| {
                fields.put("path")?.texts(path.labels().map(str::as_bytes))?;
                write_policy(fields.put("policy")?, policy)
            })
        })?;
        if fields.is_json() {
            fields.put("version")?.number(5)?;
        }
        write_command(fields.put("command")?, &authority.command)?;
        if fields.is_json() { write_endpoint(fields, &authority.command) } else { Ok(()) }
    })
}

/// Where the endpoint takes the command, and what comes back: one reply, or replies until the end.
fn write_endpoint(fields: &mut Fields<'_, '_>, command: &Command<'_>) -> io::Result<()> {
    let socket = match command.daemon() {
        Daemon::Vmmd => "vmmd",
        Daemon::Console => "console",
        Daemon::Stats => "stat",
        Daemon::Log => "log",
        Daemon::Endpoint => "endpoint",
    };
    let mode = match command {
        Command::Console(ConsoleCommand::Add(_) | ConsoleCommand::Subscribe(_))
        | Command::Statistics(StatisticsCommand::Subscribe)
        | Command::Log(_) => "read",
        Command::Block(BlockCommand::Dump(_)) => "dump",
        _ => "single",
    };
    fields.put("endpoint")?.object(|fields| {
        fields.put("socket")?.string(socket)?;
        fields.put("mode")?.string(mode)
    })
}

/// Does what `verify` is asked for.
///
/// # Errors
/// [`Error`]: no such file, a list that is not to be honoured, a chain that is refused.
pub(crate) fn run(it: &options::Verify, json: bool, printer: &Printer, log: &Logger) -> Result<Exit, Error> {
    let at = it.at.unwrap_or_else(wall_clock_second);
    let (ca, chain) = (files::read(&it.ca, MAX_PEM)?, files::read(&it.chain, MAX_PEM)?);
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |refusal| VerifyError::Refused { path, refusal: Box::new(refusal) }
    };
    let outcome = root(&ca)
        .map_err(refused(&it.ca))
        .and_then(|root| certificates(&chain).map(|chain| (root, chain)).map_err(refused(&it.chain)));
    let (root, chain) = match outcome {
        Ok(both) => both,
        Err(error) => return refuse(error, json, printer),
    };
    let mut revoked = RevocationStore::default();
    for path in &it.crl {
        load(&mut revoked, path, &root, at)?;
    }
    match authority(&chain, &root, at, &mut revoked) {
        Ok(authority) => {
            for list in revoked.waiting() {
                log.warning(format_args!(
                    "the revocation list of {} is of no CA of this chain",
                    list.issuer()
                ));
            }
            let mut out = Vec::new();
            let style = if json { Style::Json } else { Style::Plain };
            let mut writer = Writer::new(&mut out, style);
            writer
                .heading(&"the chain is valid")
                .and_then(|()| write_authority(writer.slot(), &authority))
                .and_then(|()| writer.end())
                .map_err(Error::Output)?;
            printer.raw(&String::from_utf8_lossy(&out))?;
            Ok(Exit::Success)
        }
        Err(refusal) => refuse(refused(&it.chain)(refusal), json, printer),
    }
}

/// Says why the chain is refused: on a line of JSON, or as the error of the program.
fn refuse(error: VerifyError, json: bool, printer: &Printer) -> Result<Exit, Error> {
    let VerifyError::Refused { refusal, .. } = &error else { return Err(error.into()) };
    if !json {
        return Err(error.into());
    }
    let object = serde_json::json!({
        "ok": false,
        "error": refusal.to_string(),
        "certificate": match refusal.position() {
            Some(Position::Sent(index)) => index.into(),
            Some(Position::Root) => "root".into(),
            None => serde_json::Value::Null,
        },
        "subject": refusal.subject(),
    });
    printer.raw(&format!("{object}\n"))?;
    Ok(Exit::ChainInvalid)
}

/// Takes in a revocation list, PEM or DER.
fn load(revoked: &mut RevocationStore, path: &Path, root: &Root<'_>, at: Time) -> Result<(), Error> {
    let content = files::read(path, MAX_LIST_FILE)?;
    // DER begins with the tag of a SEQUENCE, which is an ASCII `0`.
    let der = if content.starts_with(b"0") {
        content
    } else {
        RevocationList::der_from_pem(&content, MAX_LIST_SIZE)
            .map_err(|error| VerifyError::ListPem { path: path.to_owned(), error })?
    };
    revoked.load(&der, root, at).map_err(|error| VerifyError::List { path: path.to_owned(), error })?;
    Ok(())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(error) => write!(f, "no root: {error}"),
            Self::SeveralRoots => f.write_str("more than one certificate, the root alone is meant"),
            Self::Pem(error) => error.fmt(f),
            Self::Chain(error) => error.fmt(f),
            Self::Authority { place, subject, error } => {
                if let (Some(place), Some(subject)) = (place, subject) {
                    write!(f, "certificate {place} ({subject}): ")?;
                }
                error.fmt(f)
            }
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Root(error) | Self::Chain(error) => Some(error),
            Self::Pem(error) => Some(error),
            Self::Authority { error, .. } => Some(&**error),
            Self::SeveralRoots => None,
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { path, refusal } => write!(f, "{}: {refusal}", escape::line(path.display())),
            Self::ListPem { path, error } => write!(f, "{}: {error}", escape::line(path.display())),
            Self::List { path, error } => write!(f, "{}: {error}", escape::line(path.display())),
        }
    }
}

impl std::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { refusal, .. } => Some(&**refusal),
            Self::ListPem { error, .. } => Some(error),
            Self::List { error, .. } => Some(error),
        }
    }
}
