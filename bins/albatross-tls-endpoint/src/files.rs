//! The three files: whom to trust, who we are, and the key that shows it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use albatross_core::certificate::pem::{self, PemError};
use albatross_core::certificate::{Certificate, ChainError, MAX_CHAIN, Root};
use albatross_core::issue::{KeyError, KeyPair};
use albatross_driver::logging::Logger;
use albatross_tls::server::{Acceptor, AcceptorError};
use ring::rand::SystemRandom;

/// The most octets of a file: nine certificates with the longest keys take a tenth of it.
const MAX_FILE: usize = 256 * 1024;

/// A file that cannot be used.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    TooLarge,
    Pem(PemError),
    NotOne(usize),
    TooMany(usize),
    Root(ChainError),
    Key(KeyError),
    Acceptor(AcceptorError),
}

/// What is needed to accept connections, from the files.
pub(crate) fn acceptor(
    ca: &Path,
    certificate: &Path,
    key: &Path,
    log: &Logger,
) -> Result<Acceptor, FileError> {
    let root = read(ca).and_then(|text| root(&text)).map_err(|problem| at(ca, problem))?;
    let chain =
        read(certificate).and_then(|text| chain(&text)).map_err(|problem| at(certificate, problem))?;
    warn_of_time(ca, root.certificate(), log);
    for member in &chain {
        warn_of_time(certificate, member, log);
    }
    warn_of_mode(key, log);
    let text = read(key).map_err(|problem| at(key, problem))?;
    let pair =
        KeyPair::from_pem(&text, &SystemRandom::new()).map_err(|error| at(key, Problem::Key(error)))?;
    Acceptor::new(root, &chain, pair).map_err(|error| at(key, Problem::Acceptor(error)))
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let text = fs::read(path).map_err(Problem::Io)?;
    if text.len() > MAX_FILE { Err(Problem::TooLarge) } else { Ok(text) }
}

fn root(text: &[u8]) -> Result<Root<'static>, Problem> {
    let mut certificates = pem::certificates(text, MAX_FILE).map_err(Problem::Pem)?;
    match (certificates.pop(), certificates.len()) {
        (Some(only), 0) => Root::new(only).map_err(Problem::Root),
        (_, more) => Err(Problem::NotOne(more + 1)),
    }
}

fn chain(text: &[u8]) -> Result<Vec<Certificate<'static>>, Problem> {
    let chain = pem::certificates(text, MAX_FILE).map_err(Problem::Pem)?;
    if chain.len() > MAX_CHAIN { Err(Problem::TooMany(chain.len())) } else { Ok(chain) }
}

/// Clients may have other clocks, so this is theirs to judge.
fn warn_of_time(path: &Path, certificate: &Certificate<'_>, log: &Logger) {
    let Ok(since) = SystemTime::now().duration_since(UNIX_EPOCH) else { return };
    let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let (path, subject) = (path.display(), certificate.subject());
    if now > certificate.not_after().unix_seconds() {
        log.warning(format_args!("{path}: {subject} has expired on {}", certificate.not_after()));
    } else if now < certificate.not_before().unix_seconds() {
        log.warning(format_args!("{path}: {subject} is not valid before {}", certificate.not_before()));
    }
}

fn warn_of_mode(path: &Path, log: &Logger) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = path.display();
        log.warning(format_args!("{path}: everybody may use this key (mode {mode:04o}): chmod 0400 {path}"));
    }
}

fn at(path: &Path, problem: Problem) -> FileError {
    FileError { path: path.to_owned(), problem }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            Problem::Io(error) => error.fmt(f),
            Problem::TooLarge => write!(f, "more than {MAX_FILE} octets"),
            Problem::Pem(error) => error.fmt(f),
            Problem::NotOne(count) => {
                write!(f, "{count} certificates where exactly one is asked for, the CA")
            }
            Problem::TooMany(count) => write!(f, "{count} certificates, a chain has at most {MAX_CHAIN}"),
            Problem::Root(error) => error.fmt(f),
            Problem::Key(error) => error.fmt(f),
            Problem::Acceptor(error) => error.fmt(f),
        }
    }
}
