//! `revoke`: a CA's list of what it revoked, kept in a file and installed at an endpoint.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use albatross_core::issue::{Database, DatabaseError, ListIssuer, ListTerms, RevokeError, Revoked, Validity};
use albatross_core::revocation::{ListError, ListNumber, MAX_LIST_SIZE, RevocationList};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::escape;
use albatross_driver::logging::Logger;
use albatross_proto::command::RevocationCommand;
use albatross_proto::{Command, Name};
use ring::rand::SystemRandom;

use crate::command::Request;
use crate::conversation::Manner;
use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, MAX_PEM, PUBLIC_MODE};
use crate::options::{Destination, Options, Revoke};
use crate::pki::{self, PkiError};
use crate::print::Printer;
use crate::remote::{self, Signer};
use crate::reply;

/// The longest database of a CA, in octets: some hundred thousand certificates.
const MAX_DATABASE: usize = 64 * 1024 * 1024;

/// Why nothing was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum RevokeFailure {
    /// The database is none.
    Database { path: PathBuf, error: DatabaseError },
    /// It is not UTF-8.
    NotText { path: PathBuf },
    /// What was to be revoked is not in it.
    Who(DatabaseError),
    /// The list so far cannot be read.
    List { path: PathBuf, error: ListError },
    /// The list was not made.
    NotMade(RevokeError),
}

impl fmt::Display for RevokeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NotText { path } => write!(f, "{}: a database is text", path.display()),
            Self::Who(error) => error.fmt(f),
            Self::List { path, error } => write!(
                f,
                "{} is not the list so far: {error}; move it away, and give --number larger than its number",
                path.display()
            ),
            Self::NotMade(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RevokeFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database { error, .. } | Self::Who(error) => Some(error),
            Self::List { error, .. } => Some(error),
            Self::NotMade(error) => Some(error),
            Self::NotText { .. } => None,
        }
    }
}

/// Writes the list; with a destination installs it there. The file comes first: what is not installed can be
/// later.
///
/// # Errors
/// [`Error`]: files, names that the database does not have, and those of asking.
pub(crate) fn run(it: &Revoke, options: &Options, printer: &Printer, log: &Logger) -> Result<Exit, Error> {
    let path = it.crl.clone().unwrap_or_else(|| it.cacert.with_extension("crl"));
    let (list, revoked) = make(it, &path, log)?;
    files::replace(&path, list.to_pem().as_bytes(), PUBLIC_MODE)?;
    for (serial, name) in &revoked {
        printer.revoked(serial, name.as_deref())?;
    }
    printer.file(&path)?;
    let command = RevocationCommand::Install(Cow::Owned(list.der().to_vec()));
    let request = Request { name: Name::root(), command: Command::Revocation(command) };
    let signer = Signer { certificates: it.cacert.clone(), key: it.cakey.clone() };
    let outcome = match options.destination() {
        Destination::RemoteDump => return remote::show(options, &signer, request, printer),
        Destination::Remote(host) => {
            let manner = Manner::shown(options.level());
            remote::open(options, &signer, &host, request, None, manner)
                .and_then(|asked| reply::follow(asked, printer))
        }
        _ => return Ok(Exit::Success),
    };
    if !matches!(outcome, Ok(Exit::Success)) {
        let path = path.display();
        log.warning(format_args!(
            "the list is in {path} and not installed: revoke without names, with --destination, installs it"
        ));
    }
    outcome
}

/// A serial number in hex, and the name in the database.
type Line = (String, Option<String>);

/// The list with what is to be revoked, and that.
fn make(it: &Revoke, path: &Path, log: &Logger) -> Result<(RevocationList<'static>, Vec<Line>), Error> {
    let chain = pki::certificates(&it.cacert)?;
    let key = pki::key(&it.cakey)?;
    let Some(certificate) = chain.first() else { return Err(Error::NoCommand) };
    if !pki::belongs(certificate, &key) {
        let (certificate, key) = (it.cacert.clone(), it.cakey.clone());
        return Err(PkiError::KeyMismatch { certificate, key }.into());
    }
    let issuer = ListIssuer::new(certificate, &key).map_err(RevokeFailure::NotMade)?;
    let previous = previous(path)?;
    let random = SystemRandom::new();
    let validity = Validity::days(wall_clock_second(), it.days).map_err(PkiError::Issue)?;
    let terms = ListTerms { number: it.number.map(ListNumber::from), ..ListTerms::new(validity, &random) };
    let mut lines = Vec::new();
    let mut revoked = Vec::new();
    let text = String::from_utf8(files::read(&it.db, MAX_DATABASE)?)
        .map_err(|_| RevokeFailure::NotText { path: it.db.clone() })?;
    let database =
        Database::parse(&text).map_err(|error| RevokeFailure::Database { path: it.db.clone(), error })?;
    for who in &it.who {
        for selected in database.select(who).map_err(RevokeFailure::Who)? {
            let serial = crate::print::hex(selected.serial.as_bytes());
            if selected.name.is_none() {
                log.warning(format_args!("{serial} is not in {}, and revoked", it.db.display()));
            }
            lines.push((serial, selected.name.map(|name| escape::line(name).to_string())));
            revoked.push(Revoked { serial: selected.serial, date: wall_clock_second(), reason: it.reason });
        }
    }
    let list = issuer.issue(previous.as_ref(), &revoked, &terms).map_err(RevokeFailure::NotMade)?;
    Ok((list, lines))
}

/// The list so far, as PEM or DER.
fn previous(path: &Path) -> Result<Option<RevocationList<'static>>, Error> {
    let Some(content) = files::read_if_present(path, MAX_PEM)? else { return Ok(None) };
    let der = if content.starts_with(b"-----") {
        RevocationList::der_from_pem(&content, MAX_LIST_SIZE)
            .map_err(|error| PkiError::Pem { path: path.to_owned(), error })?
    } else {
        content
    };
    match RevocationList::from_vec(der, MAX_LIST_SIZE) {
        Ok(list) => Ok(Some(list)),
        Err(error) => Err(RevokeFailure::List { path: path.to_owned(), error }.into()),
    }
}

impl From<RevokeFailure> for Error {
    fn from(failure: RevokeFailure) -> Self {
        Self::Revoke(Box::new(failure))
    }
}
