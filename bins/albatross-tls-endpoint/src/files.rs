//! The three files: whom to trust, who we are, and the key that shows it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use albatross_core::certificate::pem::{self, PemError};
use albatross_core::certificate::{Certificate, ChainError, MAX_CHAIN, Root};
use albatross_core::endpoint::Judge;
use albatross_core::issue::{KeyError, KeyPair};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::logging::Logger;
use albatross_tls::server::{Acceptor, AcceptorError};
use ring::rand::SystemRandom;

use crate::Paths;

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

/// What stands in the files.
pub(crate) struct Files {
    pub(crate) root: Root<'static>,
    pub(crate) chain: Vec<Certificate<'static>>,
    pub(crate) key: KeyPair,
}

/// Reads the files.
pub(crate) fn read(paths: &Paths, log: &Logger) -> Result<Files, FileError> {
    let Paths { ca, certificate, key } = paths;
    let root = read_one(ca).and_then(|text| root(&text)).map_err(|problem| at(ca, problem))?;
    let chain =
        read_one(certificate).and_then(|text| chain(&text)).map_err(|problem| at(certificate, problem))?;
    warn_of_time(ca, root.certificate(), log);
    for member in &chain {
        warn_of_time(certificate, member, log);
    }
    warn_of_mode(key, log);
    let text = read_one(key).map_err(|problem| at(key, problem))?;
    let pair =
        KeyPair::from_pem(&text, &SystemRandom::new()).map_err(|error| at(key, Problem::Key(error)))?;
    Ok(Files { root, chain, key: pair })
}

/// What is needed to accept connections. The key came from the file `path`.
pub(crate) fn acceptor(
    judge: Judge,
    chain: &[Certificate<'_>],
    key: KeyPair,
    path: &Path,
) -> Result<Acceptor, FileError> {
    Acceptor::new(judge, chain, key).map_err(|error| at(path, Problem::Acceptor(error)))
}

fn read_one(path: &Path) -> Result<Vec<u8>, Problem> {
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
    let now = wall_clock_second().unix_seconds();
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
