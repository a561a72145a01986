//! The client's half: which server is talked to, and who the client says that it is.
//!
//! The root is pinned: a server is the right one when its chain is exactly a path from a certificate for
//! servers to that root. Its host name is checked only where the user asks for it, as the peer's servers
//! have none in their certificates. No name is sent (SNI), nothing is resumed: each handshake carries one
//! command.

use std::sync::Arc;

use albatross_core::certificate::{Certificate, NothingRevoked, Root, chain_from_der, verify_server};
use albatross_core::issue::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError,
    SignatureScheme,
};

use crate::schemes::{SigningKey, provider, tls13_schemes, verify_tls13};

/// The most octets of a chain that can be sent: what a message of TLS holds (2^24 less one), without what stands around
/// at most nine certificates.
const MAX_SENT: usize = 0xff_ff00;

/// The most octets of a server's chain: nine certificates of any kind of key are far below.
const MAX_SERVER_CHAIN: usize = 64 * 1024;

/// A new connection, of which nothing was sent yet.
///
/// `chain` is what the client sends, its own certificate first; it may be of any size, as nothing here
/// parses it. `host_name` is checked against the server's certificate where it is given.
///
/// # Errors
/// Those of rustls, none of which depends on the peer; a chain that is longer than TLS can send.
pub fn connect(
    root: Root<'static>,
    host_name: Option<String>,
    chain: &[Certificate<'_>],
    key: KeyPair,
) -> Result<ClientConnection, Error> {
    connection(config(root, host_name, chain, key)?)
}

/// What [`connect`] connects with.
///
/// # Errors
/// As there.
pub fn config(
    root: Root<'static>,
    host_name: Option<String>,
    chain: &[Certificate<'_>],
    key: KeyPair,
) -> Result<ClientConfig, Error> {
    let size: usize = chain.iter().map(|certificate| certificate.der().len()).sum();
    if size > MAX_SENT {
        let text =
            format!("the certificates have {size} octets, TLS can send {MAX_SENT}: stream the image instead");
        return Err(Error::General(text));
    }
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let own = Arc::new(CertifiedKey::new(chain, SigningKey::new(key)));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedRoot { root, host_name }))
        .with_client_cert_resolver(Arc::new(Own(own)));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// A new connection with this configuration.
///
/// # Errors
/// As [`connect`].
pub fn connection(config: ClientConfig) -> Result<ClientConnection, Error> {
    // rustls asks for a name. It is neither sent nor checked.
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    ClientConnection::new(Arc::new(config), name)
}

/// For tests that choose the rest.
#[cfg(test)]
pub(crate) fn pinned(root: Root<'static>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(PinnedRoot { root, host_name: None })
}

/// Trusts servers whose certificate this root issued, directly or by way of CAs that are sent.
#[derive(Debug)]
struct PinnedRoot {
    root: Root<'static>,
    host_name: Option<String>,
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refused = |error| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))));
        let certificates = std::iter::once(end_entity).chain(intermediates).map(AsRef::as_ref);
        let chain = chain_from_der(certificates, MAX_SERVER_CHAIN).map_err(refused)?;
        let host_name = self.host_name.as_deref();
        verify_server(&chain, &self.root, crate::time(now), host_name, &NothingRevoked).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Not reached: version 1.3 is the only one that is offered.
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls13_schemes()
    }
}

/// The client's own certificate, whatever the server asks for: it knows better than the client what it
/// accepts, and says so.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
