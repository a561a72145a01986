//! The commands that ask no daemon for anything: a certificate authority's, and looking into files.
//! (`certificate` and `revoke` may go to an endpoint.)

use std::path::PathBuf;

use albatross_core::issue;
use albatross_core::revocation::Reason;
use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_proto::{Name, Time};

use super::values;
use crate::decode::Kind;

/// Makes a certificate authority and the certificate of a server.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "generate")]
pub(crate) struct Generate {
    /// what the authority is called; its key is written to NAME.key, its certificate to cacert.pem
    #[argh(positional, arg_name = "NAME", from_str_fn(values::file_stem))]
    pub(crate) name: String,
    /// file that gets a line for each certificate that is issued
    #[argh(positional, arg_name = "DB")]
    pub(crate) db: PathBuf,
    /// how long the authority is valid (3650)
    #[argh(option, arg_name = "N", default = "issue::ROOT_DAYS", from_str_fn(values::days))]
    pub(crate) days: u32,
    /// what the server is called: its host name, or any other (server)
    #[argh(option, arg_name = "NAME", default = "\"server\".to_owned()", from_str_fn(values::file_stem))]
    pub(crate) server: String,
    /// how long the server's certificate is valid (365)
    #[argh(option, arg_name = "N", default = "issue::SERVER_DAYS", from_str_fn(values::days))]
    pub(crate) server_days: u32,
}

/// Signs a request; the certificate is written to NAME.pem, NAME being the request's.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sign")]
pub(crate) struct Sign {
    /// certificate that signs, with those above it
    #[argh(positional, arg_name = "CACERT")]
    pub(crate) cacert: PathBuf,
    /// file that gets a line for each certificate that is issued
    #[argh(positional, arg_name = "DB")]
    pub(crate) db: PathBuf,
    /// private key of CACERT
    #[argh(positional, arg_name = "CAKEY")]
    pub(crate) cakey: PathBuf,
    /// the request
    #[argh(positional, arg_name = "CSR")]
    pub(crate) csr: PathBuf,
    /// how long the certificate is valid (1; with a policy 365)
    #[argh(option, arg_name = "N", from_str_fn(values::days))]
    pub(crate) days: Option<u32>,
}

/// Has done what a signed certificate commands; needs --destination.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "certificate")]
pub(crate) struct Certificate {
    /// the certificate with the command, and those above it
    #[argh(positional, arg_name = "CERT")]
    pub(crate) cert: PathBuf,
    /// its private key
    #[argh(positional, arg_name = "KEY")]
    pub(crate) key: PathBuf,
    /// image that the command wants sent after it
    #[argh(option, arg_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
}

/// Checks a chain of certificates as the endpoint would, and shows what it may do.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "verify")]
pub(crate) struct Verify {
    /// certificate of the authority, the root
    #[argh(positional, arg_name = "CA")]
    pub(crate) ca: PathBuf,
    /// the chain, the certificate with the command first
    #[argh(positional, arg_name = "CHAIN")]
    pub(crate) chain: PathBuf,
    /// time to check it at, 2026-01-31T12:00:00Z or 2026-01-31 (now)
    #[argh(option, arg_name = "RFC3339", from_str_fn(values::time))]
    pub(crate) at: Option<Time>,
    /// revocation list of one of the authorities, PEM or DER; may be repeated
    #[argh(option, arg_name = "FILE")]
    pub(crate) crl: Vec<PathBuf>,
}

/// Shows what is in a file: frames, a message, certificates and requests (PEM or DER) and what they command,
/// a state file, a record, a revocation list. With --json in the schema of albatross's test vectors.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "decode")]
pub(crate) struct Decode {
    /// the file; - for standard input
    #[argh(positional, arg_name = "FILE")]
    pub(crate) file: String,
    /// what it is: frames, message, extension, state, record, certificate, request, crl (found out)
    #[argh(option, long = "as", arg_name = "KIND")]
    pub(crate) kind: Option<Kind>,
    /// read the JSON that --json prints, and write the octets to standard output
    #[argh(switch)]
    pub(crate) encode: bool,
}

/// Revokes certificates: writes the authority's list with them; with --destination installs it there.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "revoke")]
pub(crate) struct Revoke {
    /// certificate that signed them, with those above it
    #[argh(positional, arg_name = "CACERT")]
    pub(crate) cacert: PathBuf,
    /// file with a line for each certificate that was issued
    #[argh(positional, arg_name = "DB")]
    pub(crate) db: PathBuf,
    /// private key of CACERT
    #[argh(positional, arg_name = "CAKEY")]
    pub(crate) cakey: PathBuf,
    /// serial numbers, or names: all certificates of a name. Without any the list is made anew
    #[argh(positional, arg_name = "SERIAL-or-NAME")]
    pub(crate) who: Vec<String>,
    /// the list (CACERT with .crl for its ending)
    #[argh(option, arg_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,
    /// in how many days there will be a newer list (30)
    #[argh(option, arg_name = "N", default = "issue::LIST_DAYS", from_str_fn(values::days))]
    pub(crate) days: u32,
    /// why: key-compromise, ca-compromise, affiliation-changed, superseded, cessation, privilege-withdrawn
    #[argh(option, arg_name = "REASON", from_str_fn(values::reason))]
    pub(crate) reason: Option<Reason>,
    /// number of the list, where the one before was lost (one more than that of the list before)
    #[argh(option, arg_name = "N", from_str_fn(values::list_number))]
    pub(crate) number: Option<u64>,
}

/// Shows the unikernels and policies of a state file of the OCaml implementation, or of our record.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "inspect-dump")]
pub(crate) struct InspectDump {
    /// the file; a bare name lies in --dbdir (state)
    #[argh(option, arg_name = "FILE", default = "values::STATE_FILE.into()")]
    pub(crate) file: PathBuf,
    /// directory of the daemon's files (/var/lib/albatross)
    #[argh(option, arg_name = "DIR", default = "values::DEFAULT_DBDIR.into()")]
    pub(crate) dbdir: PathBuf,
}

/// Writes the image of a unikernel in such a file to a file under $TMPDIR, and shows its configuration.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "extract-dump")]
pub(crate) struct ExtractDump {
    /// the unikernel
    #[argh(positional, arg_name = "NAME", from_str_fn(values::name))]
    pub(crate) name: Name,
    /// the file; a bare name lies in --dbdir (state)
    #[argh(option, arg_name = "FILE", default = "values::STATE_FILE.into()")]
    pub(crate) file: PathBuf,
    /// directory of the daemon's files (/var/lib/albatross)
    #[argh(option, arg_name = "DIR", default = "values::DEFAULT_DBDIR.into()")]
    pub(crate) dbdir: PathBuf,
}
