//! Judging the chain that a client presents.

use std::sync::{Arc, Mutex};

use albatross_core::certificate::{Certificate, ChainError, PublicKey, chain_from_der};
use albatross_core::endpoint::Judged;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::tls13::OkmBlock;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, KeyLog, PeerIncompatible,
    SignatureScheme,
};

use super::{MAX_CHAIN_OCTETS, SharedJudge, Shown, lock};
use crate::schemes::{tls13_schemes, verify_by};

/// What one connection and its rustls tell each other.
#[derive(Debug)]
pub(super) struct Shared {
    judge: SharedJudge,
    found: Mutex<Option<Result<Judged, ChainError>>>,
    /// Of the leaf of the chain that was judged, until it has signed.
    key: Mutex<Option<PublicKey>>,
    secrets: Mutex<Secrets>,
    stand_in: Mutex<StandIn>,
}

/// The secrets of a handshake, until it is known that they are not needed. They are overwritten when they are dropped.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) client: Option<OkmBlock>,
    pub(super) server: Option<OkmBlock>,
}

/// Whether what rustls is given is not the client's messages, but stands for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandIn {
    No,
    /// The client holds the key of the leaf of the chain that was judged.
    Accepted,
    Refused,
}

impl Shared {
    pub(super) fn new(judge: SharedJudge) -> Self {
        let (found, key, secrets) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { judge, found, key, secrets, stand_in: Mutex::new(StandIn::No) }
    }

    /// Judges a chain that could be read, and remembers its leaf's key.
    pub(super) fn judge(&self, chain: &[Certificate<'_>], now: UnixTime) {
        self.remember(chain.first());
        self.keep(lock(&self.judge).judge(chain, crate::time(now)));
    }

    fn remember(&self, leaf: Option<&Certificate<'_>>) {
        *lock(&self.key) = leaf.map(|leaf| leaf.public_key().clone());
    }

    /// The key of the leaf of the chain that was judged. Once.
    pub(super) fn take_key(&self) -> Option<PublicKey> {
        lock(&self.key).take()
    }

    fn keep(&self, found: Result<Judged, ChainError>) {
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

    /// The secrets as far as they are known, which are forgotten.
    pub(super) fn take_secrets(&self) -> Secrets {
        std::mem::take(&mut lock(&self.secrets))
    }

    /// What the next messages are for rustls.
    pub(super) fn set_stand_in(&self, stand_in: StandIn) {
        *lock(&self.stand_in) = stand_in;
    }

    fn stand_in(&self) -> StandIn {
        *lock(&self.stand_in)
    }
}

/// What rustls asks and tells. It lets every chain pass that can be read: the client is then told, over what was agreed
/// on, what is wrong with its chain. What it may do comes from the judge and from nothing else.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<Shared>);

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
        match self.0.stand_in() {
            StandIn::No => {
                let ders = std::iter::once(end_entity).chain(intermediates).map(AsRef::as_ref);
                match chain_from_der(ders, MAX_CHAIN_OCTETS) {
                    Ok(chain) => self.0.judge(&chain, now),
                    Err(error) => {
                        // Its client is told, if there is a leaf.
                        self.0.remember(Certificate::from_der(end_entity).ok().as_ref());
                        self.0.keep(Err(error));
                    }
                }
                Ok(ClientCertVerified::assertion())
            }
            StandIn::Accepted => Ok(ClientCertVerified::assertion()),
            StandIn::Refused => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
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
        _leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.0.stand_in() {
            StandIn::No => {
                let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
                verify_by(&self.0.take_key().ok_or_else(unreadable)?, message, signature)
            }
            StandIn::Accepted => Ok(HandshakeSignatureValid::assertion()),
            StandIn::Refused => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls13_schemes()
    }
}

/// What the client encrypts its certificates with, and the server what it says before. No other secret is asked for.
impl KeyLog for Shared {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut secrets = lock(&self.secrets);
        match label {
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => secrets.client = Some(OkmBlock::new(secret)),
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => secrets.server = Some(OkmBlock::new(secret)),
            _ => {}
        }
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_HANDSHAKE_TRAFFIC_SECRET" | "SERVER_HANDSHAKE_TRAFFIC_SECRET")
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}
