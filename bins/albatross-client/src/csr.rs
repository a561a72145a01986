//! Commands as requests for certificates (`--csr`): the authority signs them, whoever has the certificate
//! and the key has them carried out.

use std::path::PathBuf;

use albatross_core::issue;
use albatross_driver::logging::Logger;
use ring::rand::SystemRandom;

use crate::command::{self, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::options::Options;
use crate::options::values::file_stem;
use crate::pki::{self, FileKey, PkiError};
use crate::print::Printer;

/// Writes NAME.key, unless it is there, and NAME.req, NAME being the CommonName.
///
/// # Errors
/// [`Error`], before anything is written where possible.
pub(crate) fn write(
    options: &Options,
    request: &Request,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    let common_name = request.common_name()?;
    // The command for the path itself has the CommonName `.`, which would make files that nobody sees.
    let stem = file_stem(&common_name).unwrap_or_else(|_| command::word(&request.command).to_owned());
    let key = FileKey::open(PathBuf::from(format!("{stem}.key")), options.key_kind())?;
    let random = SystemRandom::new();
    let signed = issue::Request::create(&common_name, Some(&request.command), &key.key, &random)
        .map_err(PkiError::Issue)?;
    pki::warn_of_size("the request", signed.der(), log);
    key.save(printer, log)?;
    pki::write_public(&PathBuf::from(format!("{stem}.req")), &signed.to_pem(), printer, log)?;
    Ok(Exit::Success)
}
