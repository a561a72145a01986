//! Keys and signatures of TLS 1.3, for every kind of key that albatross knows.
//!
//! rustls with ring has neither keys nor signatures of P-521, and its certificates go through webpki,
//! which has a limit of its own. So both halves sign with [`SigningKey`] of this module and verify with
//! albatross-core.

use std::fmt;
use std::sync::Arc;

use albatross_core::certificate::{Certificate, PublicKey, PublicKeyAlgorithm, TLS13_SCHEMES};
use albatross_core::issue::{KeyPair, SigningKey as _};
use ring::rand::SystemRandom;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign;
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, Error, SignatureAlgorithm, SignatureScheme,
};

/// A key in memory, for rustls.
pub struct SigningKey(Arc<KeyPair>);

impl SigningKey {
    /// The key, as rustls takes it.
    #[must_use]
    #[allow(clippy::new_ret_no_self, reason = "rustls holds keys behind this trait")]
    pub fn new(key: KeyPair) -> Arc<dyn sign::SigningKey> {
        Arc::new(Self(Arc::new(key)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.0).finish()
    }
}

impl sign::SigningKey for SigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn sign::Signer>> {
        let own = self.0.tls13_schemes().iter().copied();
        let scheme = own.map(SignatureScheme::from).find(|scheme| offered.contains(scheme))?;
        Some(Box::new(Signer { key: Arc::clone(&self.0), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.public_key().algorithm() {
            Some(PublicKeyAlgorithm::Ed25519) => SignatureAlgorithm::ED25519,
            Some(PublicKeyAlgorithm::Rsa) => SignatureAlgorithm::RSA,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

#[derive(Debug)]
struct Signer {
    key: Arc<KeyPair>,
    scheme: SignatureScheme,
}

impl sign::Signer for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.key
            .sign_tls13(self.scheme.into(), message, &SystemRandom::new())
            .map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// The same for the server, which chooses the suite: first the one that every client of TLS 1.3 has (RFC 8446
/// section 9.1) and that costs the least, in the handshake as in a stream.
pub(crate) fn server_provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// The cryptography of both halves.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The schemes that [`verify_tls13`] knows.
pub(crate) fn tls13_schemes() -> Vec<SignatureScheme> {
    TLS13_SCHEMES.iter().copied().map(SignatureScheme::from).collect()
}

/// Checks the signature of a CertificateVerify by the key of `certificate`.
pub(crate) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    verify_by(certificate.public_key(), message, signature)
}

/// The same by a key that is known.
pub(crate) fn verify_by(
    key: &PublicKey,
    message: &[u8],
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    key.verify_tls13(signature.scheme.into(), message, signature.signature())
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))?;
    Ok(HandshakeSignatureValid::assertion())
}
