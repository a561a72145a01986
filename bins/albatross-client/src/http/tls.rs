//! https: TLS 1.3 with the authorities that this system trusts.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albatross_core::certificate::pem;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Both, HttpError, Server};
use crate::files;

/// Names a file of authorities, as it does for openssl.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Where systems keep theirs: Debian, Fedora, and the BSDs.
const FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// The longest such file, in octets; they have a quarter of a million.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// TLS over `socket`, to a server that has a certificate for its name.
pub(super) fn wrap(socket: TcpStream, server: &Server) -> Result<Box<dyn Both>, HttpError> {
    let name = ServerName::try_from(server.host.clone()).map_err(|_| HttpError::Url(server.to_string()))?;
    let failed = |error: rustls::Error| HttpError::Io {
        server: server.to_string(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .with_root_certificates(roots()?)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
    Ok(Box::new(StreamOwned::new(session, socket)))
}

fn roots() -> Result<RootCertStore, HttpError> {
    let path = match std::env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => {
            let [first, ..] = FILES;
            let found = FILES.into_iter().find(|path| Path::new(path).is_file());
            PathBuf::from(found.unwrap_or(first))
        }
    };
    let no_roots = |why: String| HttpError::NoRoots { path: path.clone(), why };
    let text = files::read(&path, MAX_FILE).map_err(|error| no_roots(error.to_string()))?;
    let blocks = pem::blocks(&text).map_err(|error| no_roots(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let certificates = blocks.iter().filter(|block| block.label == pem::CERTIFICATE);
    // Bundles have some that are not understood; what they signed is not trusted.
    let (added, _) =
        roots.add_parsable_certificates(certificates.map(|block| CertificateDer::from(block.der.to_vec())));
    if added == 0 { Err(no_roots("it has no certificate".to_owned())) } else { Ok(roots) }
}
