//! Judging the chain that a client presents.

use std::sync::{Arc, Mutex};

#[cfg(feature = "openssl")]
use albatross_core::certificate::Certificate;
use albatross_core::certificate::{ChainError, chain_from_der};
use albatross_core::endpoint::Judged;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};

use super::{MAX_CHAIN_OCTETS, SharedJudge, Shown, lock};
use crate::schemes::{tls13_schemes, verify_tls13};

/// Where the verifier of one connection leaves what it found.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    judge: SharedJudge,
    found: Arc<Mutex<Option<Result<Judged, ChainError>>>>,
}

impl Slot {
    pub(super) fn new(judge: SharedJudge) -> Self {
        Self { judge, found: Arc::default() }
    }

    /// Judges a chain that could be read.
    #[cfg(feature = "openssl")]
    pub(super) fn judge(&self, chain: &[Certificate<'_>], now: UnixTime) {
        let found = lock(&self.judge).judge(chain, crate::time(now));
        *lock(&self.found) = Some(found);
    }

    /// What was found, to be asked for when the handshake is done. A list that came since then counts.
    pub(super) fn take(&self) -> Option<Shown> {
        let found = lock(&self.found).take()?;
        Some(match found {
            Err(error) => Shown::Refused(error),
            Ok(judged) => match lock(&self.judge).revoked(&judged.path) {
                Some(error) => Shown::Refused(error),
                None => Shown::Path(Box::new(judged)),
            },
        })
    }
}

/// The verifier of one connection. It lets every chain pass that can be read: the client is then told, over
/// what was agreed on, what is wrong with its chain. What it may do comes from the judge and from nothing else.
#[derive(Debug)]
pub(super) struct Verifier(Slot);

impl Verifier {
    pub(super) const fn new(slot: Slot) -> Self {
        Self(slot)
    }

    fn judge<'a>(&self, ders: impl Iterator<Item = &'a [u8]>, now: UnixTime) -> Result<Judged, ChainError> {
        let chain = chain_from_der(ders, MAX_CHAIN_OCTETS)?;
        lock(&self.0.judge).judge(&chain, crate::time(now))
    }
}

impl ClientCertVerifier for Verifier {
    /// None, as the peer has it: clients have one chain and send it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let ders = std::iter::once(end_entity).chain(intermediates).map(AsRef::as_ref);
        let found = self.judge(ders, now);
        *lock(&self.0.found) = Some(found);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // The leaf of the chain that was just judged.
        verify_tls13(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls13_schemes()
    }
}
