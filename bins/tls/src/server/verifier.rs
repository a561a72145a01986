//! Judging the chain that a client presents.

use std::sync::{Arc, Mutex, PoisonError};

use albatross_core::authority::{Authority, AuthorityError};
use albatross_core::certificate::{
    self, Certificate, ChainError, Position, Rule, VerifiedPath, chain_from_der,
};
use albatross_proto::Time;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};

use super::{MAX_CHAIN_OCTETS, Peer, Trust};
use crate::schemes::{tls13_schemes, verify_tls13};

/// Where the verifier of one connection leaves what it found.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
enum Found {
    #[default]
    Nothing,
    /// A verified path, of whose leaf the client has not shown the key yet.
    Accepted(Box<Peer>),
    Refused(ChainError),
}

impl Slot {
    /// Who is at the other end. To be asked when the handshake is done, so that the client has shown that
    /// it holds the key.
    pub(super) fn take_peer(&self) -> Option<Peer> {
        match self.take() {
            Found::Accepted(peer) => Some(*peer),
            Found::Nothing | Found::Refused(_) => None,
        }
    }

    /// Why the chain was refused, if it was.
    pub(super) fn take_refusal(&self) -> Option<ChainError> {
        match self.take() {
            Found::Refused(error) => Some(error),
            Found::Nothing | Found::Accepted(_) => None,
        }
    }

    fn take(&self) -> Found {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, found: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Arc<Trust>,
    slot: Slot,
}

impl Verifier {
    pub(super) const fn new(trust: Arc<Trust>, slot: Slot) -> Self {
        Self { trust, slot }
    }

    fn judge<'a>(&self, ders: impl Iterator<Item = &'a [u8]>, now: UnixTime) -> Result<Peer, ChainError> {
        let chain = chain_from_der(ders, MAX_CHAIN_OCTETS)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let at = Time::from_unix(seconds, 0).unwrap_or(Time::MAX);
        let path = certificate::verify(&chain, &self.trust.root, at, &*self.trust.revocation)?;
        Ok(peer(&path))
    }
}

fn peer(path: &VerifiedPath<'_>) -> Peer {
    let leaf = path.leaf();
    Peer { subject: leaf.subject().to_string(), serial: serial(leaf), authority: authority(path) }
}

fn authority(path: &VerifiedPath<'_>) -> Result<Authority<'static>, AuthorityError> {
    Authority::of(path).map(Authority::into_owned)
}

fn serial(certificate: &Certificate<'_>) -> String {
    certificate.serial().iter().map(|octet| format!("{octet:02x}")).collect()
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
        match self.judge(ders, now) {
            Ok(peer) => {
                self.slot.put(Found::Accepted(Box::new(peer)));
                Ok(ClientCertVerified::assertion())
            }
            Err(error) => {
                let alert = certificate_error(&error, 1 + intermediates.len());
                self.slot.put(Found::Refused(error));
                Err(Error::InvalidCertificate(alert))
            }
        }
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
        // The leaf of the path that was just verified.
        verify_tls13(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls13_schemes()
    }
}

/// The error whose alert (RFC 8446 section 6.2) says most about what is wrong with a chain of `count`
/// certificates.
fn certificate_error(error: &ChainError, count: usize) -> CertificateError {
    let ChainError::Refused { position, rule, .. } = error else { return CertificateError::BadEncoding };
    match rule {
        Rule::Expired { .. } | Rule::NotYetValid { .. } => CertificateError::Expired,
        Rule::IssuerName { .. } | Rule::KeyIdentifier => CertificateError::UnknownIssuer,
        // Another CA of the same name.
        Rule::Signature(_) if *position == Position::Sent(count.saturating_sub(1)) => {
            CertificateError::UnknownIssuer
        }
        Rule::ClientAuthMissing | Rule::DigitalSignatureMissing | Rule::LeafIsCa => {
            CertificateError::InvalidPurpose
        }
        Rule::UnknownCriticalExtension { .. } => CertificateError::UnhandledCriticalExtension,
        Rule::Revoked => CertificateError::Revoked,
        _ => CertificateError::BadEncoding,
    }
}
