//! What the endpoint accepts, and the stream of one connection.
//!
//! An [`Acceptor`] holds what all connections share: the root that client chains lead to, the server's own
//! chain and key. Each connection gets a [`Stream`], which does not block and does not know sockets.
//!
//! The chain that a client presents is judged inside the handshake by [`Judge`]. What the path may do is taken
//! from it there and then, and kept beside the connection: an authority never comes from certificates that were
//! merely presented. A chain that is refused does not end the handshake, so that the client can be told which
//! certificate breaks which rule; it is told that and nothing else ([`Shown`]). There is no session ticket, no
//! resumption and no early data, so each connection shows its chain and each command runs once.

mod beginning;
mod engine;
mod large;
mod places;
mod stream;
mod verifier;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use albatross_core::certificate::{Certificate, ChainError};
use albatross_core::endpoint::limits::{LARGE_PLACES, LARGE_PLACES_PER_ADDRESS};
use albatross_core::endpoint::{Judge, Judged};
use albatross_core::issue::{KeyPair, SigningKey as _};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ServerConfig, ServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::schemes::{self, SigningKey};
use engine::Engine;
pub use engine::Places;
pub use stream::{EndWriting, READ_PER_TURN, Stream};
use verifier::{Shared, Verifier};

/// The most octets of a client's chain that does not begin with a full record: rustls accepts no longer handshake
/// messages. Of one that does, all but the command of the leaf.
pub const MAX_CHAIN_OCTETS: usize = 64 * 1024;

/// What is needed to accept connections.
#[derive(Debug)]
pub struct Acceptor(Arc<Setup>);

/// What all connections share.
#[derive(Debug)]
struct Setup {
    judge: SharedJudge,
    provider: Arc<CryptoProvider>,
    identity: Arc<SingleCertAndKey>,
    places: places::Places,
}

/// rustls asks for what threads could share.
type SharedJudge = Arc<Mutex<Judge>>;

/// What a client showed, once the handshake is done.
#[derive(Debug)]
pub enum Shown {
    /// A path to the root, whose leaf's key it holds.
    Path(Box<Judged>),
    /// A chain that is none. It is to be told so, and nothing else.
    Refused(ChainError),
}

/// Why a connection cannot be used any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The client broke the rules of TLS, or speaks something else. An alert may wait to be written.
    Tls(rustls::Error),
    /// The client's chain is longer than this many octets.
    TooLarge {
        /// The most octets.
        limit: usize,
    },
    /// What there is in the client's chain beside the command is longer than this many octets.
    LargeBesideCommand {
        /// The most octets.
        limit: usize,
    },
    /// The client's chain cannot be read.
    Chain(ChainError),
    /// As the first, in our words.
    Other(String),
    /// The stream failed.
    Io(io::Error),
}

/// Why nothing can be accepted.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptorError {
    /// The server's chain is empty.
    NoCertificate,
    /// The key is not the one of the server's certificate.
    WrongKey {
        /// The subject of that certificate.
        subject: String,
    },
    /// rustls does not take the configuration.
    Tls(rustls::Error),
}

impl Acceptor {
    /// Accepts clients whose chains `judge` finds to be paths, as the server of `chain` (leaf first) and its `key`.
    ///
    /// # Errors
    /// [`AcceptorError`], where chain and key do not belong together.
    pub fn new(judge: Judge, chain: &[Certificate<'_>], key: KeyPair) -> Result<Self, AcceptorError> {
        let leaf = chain.first().ok_or(AcceptorError::NoCertificate)?;
        if leaf.public_key() != key.public_key() {
            return Err(AcceptorError::WrongKey { subject: leaf.subject().to_string() });
        }
        let ders = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec()));
        let identity = CertifiedKey::new(ders.collect(), SigningKey::new(key));
        let setup = Setup {
            judge: Arc::new(Mutex::new(judge)),
            provider: schemes::server_provider(),
            identity: Arc::new(SingleCertAndKey::from(identity)),
            places: places::Places::new(LARGE_PLACES, LARGE_PLACES_PER_ADDRESS),
        };
        // What can fail fails now.
        setup.config(&setup.shared()).map_err(AcceptorError::Tls)?;
        Ok(Self(Arc::new(setup)))
    }

    /// Serves a client that has just connected over `stream`, which does not block, from this address, if it has one.
    ///
    /// # Errors
    /// None in practice: the configuration was tried by [`Self::new`].
    pub fn accept<S>(&self, stream: S, address: Option<IpAddr>) -> Result<Stream<S>, TlsError> {
        Ok(Stream::new(stream, self.engine(address)?))
    }

    fn engine(&self, address: Option<IpAddr>) -> Result<Engine, TlsError> {
        let shared = self.0.shared();
        let tls = self.0.config(&shared).and_then(ServerConnection::new).map_err(TlsError::Tls)?;
        Ok(Engine::new(tls, shared, self.0.places.claim(address)))
    }

    /// Who judges the chains. Not to be held while a connection is read.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        lock(&self.0.judge)
    }
}

impl Setup {
    fn shared(&self) -> Arc<Shared> {
        Arc::new(Shared::new(Arc::clone(&self.judge)))
    }

    /// The verifier of each connection has a place of its own for what it found, so that it cannot be
    /// mistaken for that of another.
    fn config(&self, shared: &Arc<Shared>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier = Verifier(Arc::clone(shared));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&self.identity) as _);
        config.key_log = Arc::clone(shared) as _;
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

/// What panicked left nothing half done here.
fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::TooLarge { limit } => write!(f, "the client's certificates have more than {limit} octets"),
            Self::LargeBesideCommand { limit } => write!(
                f,
                "the client's chain is refused: its certificates have more than {limit} octets beside the command"
            ),
            Self::Chain(error) => write!(f, "the client's chain is refused: {error}"),
            Self::Other(text) => write!(f, "TLS failed: {text}"),
            Self::Io(error) => write!(f, "connection failed: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(error) => Some(error),
            Self::Chain(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::TooLarge { .. } | Self::LargeBesideCommand { .. } | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for AcceptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("the server's chain has no certificate"),
            Self::WrongKey { subject } => write!(f, "the key is not the one of the certificate of {subject}"),
            Self::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for AcceptorError {}
