//! A TLS client that sends any chain, and trusts any server: what no client of albatross does.

use std::fmt::Debug;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use albatross_e2e::raw::Raw;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned, version,
};

/// A connection over TLS.
pub(crate) type Tls = Raw<StreamOwned<ClientConnection, TcpStream>>;

/// Connects with this chain and key, or with none. The handshake is carried out by the first reading or
/// writing, and a chain that is refused shows after it.
pub(crate) fn connect(port: u16, chain: Option<(&Path, &Path)>) -> Tls {
    let mut tcp = Raw::tcp(port).unwrap();
    let tcp = tcp.stream().try_clone().unwrap();
    Raw::over(StreamOwned::new(client(chain), tcp))
}

/// The half of a client with this chain and key, or with none.
pub(crate) fn client(chain: Option<(&Path, &Path)>) -> ClientConnection {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll));
    let mut config = match chain {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config.with_client_cert_resolver(Arc::new(Always(certified(chain, key)))),
    };
    config.enable_sni = false;
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

fn certified(chain: &Path, key: &Path) -> Arc<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
    let key = any_supported_type(&PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    Arc::new(CertifiedKey::new(chain, key))
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct TrustAll;

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
