//! A small certificate authority: `generate` makes it, `sign` signs requests.
//!
//! What may be issued is decided by [`albatross_core::issue`]. Here are the files: nothing is written
//! before everything that can be checked was checked, and the line of the database goes before the
//! certificate, so that no certificate is out that the database does not know.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use albatross_core::certificate::{Certificate, pem};
use albatross_core::issue::{self, IssueError, Issuer, Profile, SigningKey, Terms, Validity};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::logging::Logger;
use ring::rand::SystemRandom;

use crate::command::{self, PATH_ITSELF};
use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, MAX_PEM};
use crate::options::values::file_stem;
use crate::options::{Generate, Options, Sign};
use crate::pki::{self, FileKey, PkiError};
use crate::print::Printer;

/// The file of the root's certificate.
const ROOT_FILE: &str = "cacert.pem";

/// Makes the root NAME.key and cacert.pem and the server's SERVER.key and SERVER.pem; existing keys are
/// used.
///
/// # Errors
/// [`Error`]: a file in the way, no key, no certificate.
pub(crate) fn generate(
    it: &Generate,
    options: &Options,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    let file = |stem: &str, kind: &str| PathBuf::from(format!("{stem}.{kind}"));
    let (root_file, server_file) = (PathBuf::from(ROOT_FILE), file(&it.server, "pem"));
    if it.server == it.name {
        return Err(PkiError::SameFile { path: file(&it.name, "key") }.into());
    }
    if server_file == root_file {
        return Err(PkiError::SameFile { path: root_file }.into());
    }
    let root_key = FileKey::open(file(&it.name, "key"), options.key_kind())?;
    let server_key = FileKey::open(file(&it.server, "key"), options.key_kind())?;
    let root = issue::root(&it.name, &root_key.key, &terms(&SystemRandom::new(), it.days)?)
        .map_err(PkiError::Issue)?;
    let chain = [root];
    let issuer = Issuer::new(&chain, &root_key.key).map_err(PkiError::Issue)?;
    let server = server(&issuer, &it.server, &server_key.key, it.server_days)?;
    let [root] = &chain;
    pki::check_replaceable(&root_file, root)?;
    pki::check_replaceable(&server_file, &server)?;
    root_key.save(printer, log)?;
    server_key.save(printer, log)?;
    files::append_line(&it.db, &issue::database_line(&server))?;
    pki::write_public(&root_file, &pem::encode_certificates(&chain), printer, log)?;
    pki::write_public(&server_file, &issuer.chain_pem(&server), printer, log)?;
    Ok(Exit::Success)
}

/// The server's certificate; with its name as host name where it is one.
fn server(
    issuer: &Issuer<'_>,
    name: &str,
    key: &dyn SigningKey,
    days: u32,
) -> Result<Certificate<'static>, Error> {
    let random = SystemRandom::new();
    let is_host = name.contains('.') || name.parse::<IpAddr>().is_ok() || name == "localhost";
    let hosts: &[&str] = if is_host { &[name] } else { &[] };
    let issued = match issuer.server(name, key.public_key(), hosts, &terms(&random, days)?) {
        // With a dot in it, and yet no host name.
        Err(IssueError::HostName { .. }) => {
            issuer.server(name, key.public_key(), &[], &terms(&random, days)?)
        }
        issued => issued,
    };
    Ok(issued.map_err(PkiError::Issue)?)
}

/// Signs a request: NAME.pem, NAME being the request's CommonName, with the chain up to and without the
/// root.
///
/// # Errors
/// [`Error`]: not a CA, not its key, what the authority may not sign, a file in the way.
pub(crate) fn sign(it: &Sign, printer: &Printer, log: &Logger) -> Result<Exit, Error> {
    let chain = pki::certificates(&it.cacert)?;
    let key = pki::key(&it.cakey)?;
    let issuer = Issuer::new(&chain, &key).map_err(|error| match error {
        IssueError::KeyMismatch { .. } => {
            PkiError::KeyMismatch { certificate: it.cacert.clone(), key: it.cakey.clone() }
        }
        error => PkiError::Request { path: it.cacert.clone(), error },
    })?;
    let refused = |error| PkiError::Request { path: it.csr.clone(), error };
    let der = pem::request(&files::read(&it.csr, MAX_PEM)?)
        .map_err(|error| PkiError::Pem { path: it.csr.clone(), error })?;
    let request = issue::Request::from_der(&der).map_err(refused)?;
    let path = certificate_file(&request)?;
    let days = it.days.unwrap_or_else(|| request.profile().default_days());
    let signed = issuer.sign(&request, &terms(&SystemRandom::new(), days)?).map_err(refused)?;
    if signed.profile == Profile::Server {
        log.warning("the request has no command: the certificate is one for a server");
    }
    pki::check_replaceable(&path, &signed.certificate)?;
    files::append_line(&it.db, &issue::database_line(&signed.certificate))?;
    pki::write_public(&path, &issuer.chain_pem(&signed.certificate), printer, log)?;
    Ok(Exit::Success)
}

/// The file in the working directory that is named after the CommonName of a request.
fn certificate_file(request: &issue::Request<'_>) -> Result<PathBuf, PkiError> {
    let common_name = request.common_name().unwrap_or_default();
    let stem = match request.command() {
        // As for the files of the request itself.
        Ok(Some(command)) if matches!(common_name, PATH_ITSELF | ":") => command::word(&command).to_owned(),
        _ => {
            file_stem(common_name).map_err(|_| PkiError::FileName { common_name: common_name.to_owned() })?
        }
    };
    Ok(Path::new(&format!("{stem}.pem")).to_owned())
}

/// Valid for so many days from now, with a random serial number.
fn terms(random: &SystemRandom, days: u32) -> Result<Terms<'_>, Error> {
    let validity = Validity::days(wall_clock_second(), days).map_err(PkiError::Issue)?;
    Ok(Terms::new(validity, random).map_err(PkiError::Issue)?)
}
