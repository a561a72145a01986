//! Certificates, requests and keys in files.

use std::fmt;
use std::path::{Path, PathBuf};

use albatross_core::certificate::pem::{self, PemError};
use albatross_core::certificate::{Certificate, ChainError, Root};
use albatross_core::issue::{IssueError, KeyError, KeyKind, KeyPair, SigningKey};
use albatross_driver::logging::Logger;
use albatross_proto::DecodeError;
use ring::rand::SystemRandom;

use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, FileError, KEY_MODE, MAX_PEM, PUBLIC_MODE};
use crate::options::Conflict;
use crate::print::Printer;

/// Octets of a certificate that endpoints on rustls accept (a handshake message of 64 KiB), less what
/// stands around the command in it and above it in the chain.
const SMALL_ENOUGH: usize = 60 * 1024;

/// What is wrong with certificates and keys.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum PkiError {
    /// A file is not what it should be.
    Pem { path: PathBuf, error: PemError },
    /// A file with a private key that cannot be used.
    Key { path: PathBuf, error: KeyError },
    /// No new private key could be made.
    NewKey(KeyError),
    /// A file with several certificates where one is meant.
    SeveralCertificates { path: PathBuf },
    /// A key that is not that of the certificate.
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    /// The command in a certificate cannot be read.
    Command { path: PathBuf, error: DecodeError },
    /// Nothing was issued.
    Issue(IssueError),
    /// A request that cannot be signed, or not by this authority.
    Request { path: PathBuf, error: IssueError },
    /// The own chain does not verify against the server's root.
    OwnChain(ChainError),
    /// The server's root is none.
    ServerRoot { path: PathBuf, error: ChainError },
    /// A CommonName that no file can be named after.
    FileName { common_name: String },
    /// Two files of `generate` would be the same.
    SameFile { path: PathBuf },
    /// What the certificate's command asks of the command line.
    Data(Conflict),
    /// A command that this client does not know how to follow.
    NotFollowed { word: &'static str },
}

impl PkiError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OwnChain(_) | Self::ServerRoot { .. } => Exit::ChainInvalid,
            _ => Exit::Usage,
        }
    }
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Key { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NewKey(error) => write!(f, "no private key could be made: {error}"),
            Self::SeveralCertificates { path } => {
                write!(f, "{}: more than one certificate, the root alone is meant", path.display())
            }
            Self::KeyMismatch { certificate, key } => {
                write!(f, "{} is not the private key of {}", key.display(), certificate.display())
            }
            Self::Command { path, error } => {
                write!(f, "{}: the command in it cannot be read: {error}", path.display())
            }
            Self::Issue(error) => error.fmt(f),
            Self::Request { path, error } => write!(f, "{}: {error}", path.display()),
            Self::OwnChain(error) => {
                write!(f, "the own certificates do not lead to the server's root (--server-ca): {error}")
            }
            Self::ServerRoot { path, error } => write!(f, "{} is no root: {error}", path.display()),
            Self::FileName { common_name } => write!(
                f,
                "the certificate would go into a file named after '{}', which is no name for a file here",
                common_name.escape_default()
            ),
            Self::SameFile { path } => {
                write!(f, "authority and server would share {}: choose another name", path.display())
            }
            Self::Data(conflict) => conflict.fmt(f),
            Self::NotFollowed { word } => {
                write!(f, "this client cannot receive what answers the command in it ({word})")
            }
        }
    }
}

impl std::error::Error for PkiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pem { error, .. } => Some(error),
            Self::Key { error, .. } | Self::NewKey(error) => Some(error),
            Self::Command { error, .. } => Some(error),
            Self::Issue(error) | Self::Request { error, .. } => Some(error),
            Self::OwnChain(error) | Self::ServerRoot { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let text = files::read(path, MAX_PEM)?;
    pem::certificates(&text, MAX_PEM).map_err(|error| PkiError::Pem { path: path.to_owned(), error }.into())
}

/// The root in a file.
pub(crate) fn root(path: &Path) -> Result<Root<'static>, Error> {
    let mut certificates = certificates(path)?.into_iter();
    let (Some(certificate), None) = (certificates.next(), certificates.next()) else {
        return Err(PkiError::SeveralCertificates { path: path.to_owned() }.into());
    };
    Root::new(certificate).map_err(|error| PkiError::ServerRoot { path: path.to_owned(), error }.into())
}

/// The private key in a file.
pub(crate) fn key(path: &Path) -> Result<KeyPair, Error> {
    read_key(path, &files::read(path, MAX_PEM)?)
}

fn read_key(path: &Path, text: &[u8]) -> Result<KeyPair, Error> {
    KeyPair::from_pem(text, &SystemRandom::new())
        .map_err(|error| PkiError::Key { path: path.to_owned(), error }.into())
}

/// A new private key.
pub(crate) fn new_key(kind: KeyKind) -> Result<KeyPair, Error> {
    KeyPair::generate(kind, &SystemRandom::new()).map_err(|error| PkiError::NewKey(error).into())
}

/// A private key that belongs into a file: the one that is there, or a new one to be written.
pub(crate) struct FileKey {
    path: PathBuf,
    pub(crate) key: KeyPair,
    is_new: bool,
}

impl FileKey {
    /// The key of this file, or a new one.
    pub(crate) fn open(path: PathBuf, kind: KeyKind) -> Result<Self, Error> {
        match files::read_if_present(&path, MAX_PEM)? {
            Some(text) => Ok(Self { key: read_key(&path, &text)?, path, is_new: false }),
            None => Ok(Self { key: new_key(kind)?, path, is_new: true }),
        }
    }

    /// Writes it, if it is new.
    pub(crate) fn save(&self, printer: &Printer, log: &Logger) -> Result<(), Error> {
        if !self.is_new {
            log.info(format_args!("{} is there and is used", self.path.display()));
            return Ok(());
        }
        files::write_new(&self.path, self.key.to_pem().as_bytes(), KEY_MODE)?;
        printer.file(&self.path)
    }
}

/// Refuses to write a certificate over a file that is something else than an older certificate of the
/// same key: a request could otherwise name itself after the authority's file.
pub(crate) fn check_replaceable(path: &Path, certificate: &Certificate<'_>) -> Result<(), Error> {
    let Some(text) = files::read_if_present(path, MAX_PEM)? else { return Ok(()) };
    let older = pem::certificates(&text, MAX_PEM).unwrap_or_default();
    match older.first() {
        Some(older) if older.public_key() == certificate.public_key() => Ok(()),
        _ => Err(FileError::Exists { path: path.to_owned() }.into()),
    }
}

/// Writes a file that anybody may read, in place of an older one, and says so. Before a certificate is
/// written, call [`check_replaceable`].
pub(crate) fn write_public(path: &Path, text: &str, printer: &Printer, log: &Logger) -> Result<(), Error> {
    if path.exists() {
        log.warning(format_args!("{} was there and is replaced", path.display()));
    }
    files::replace(path, text.as_bytes(), PUBLIC_MODE)?;
    printer.file(path)
}

/// Says what will not work with a request or certificate that embeds a large image.
pub(crate) fn warn_of_size(what: &str, der: &[u8], log: &Logger) {
    if der.len() > SMALL_ENOUGH {
        log.warning(format_args!(
            "{what} has {} octets, most of them the image: not every endpoint accepts certificates of more than \
             64 KiB; with --by-digest it stays small, and with --destination the image is sent beside it",
            der.len()
        ));
    }
}

/// Whether `key` is that of `certificate`.
pub(crate) fn belongs(certificate: &Certificate<'_>, key: &KeyPair) -> bool {
    certificate.public_key() == key.public_key()
}
