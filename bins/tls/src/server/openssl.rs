//! TLS by the system's OpenSSL, for clients that may have a chain of more than 64 KiB.
//!
//! OpenSSL does TLS and nothing else: version 1.3, no tickets, no resumption, a certificate of the client, whose key it
//! has to hold. The chain is judged by the same judge as any other, on the octets of the message in which it came, and
//! before OpenSSL takes them apart ([`chain`]).
//!
//! What a stranger can make it hold: until the client's certificates begin, a ClientHello ([`super::records`]); then,
//! if their first record is not a full one, [`SMALL`] octets; else up to [`MAX_LARGE_CHAIN`] octets, but only with one
//! of a few places ([`super::places`]), for which it waits, unread.

mod chain;
mod ffi;

use std::io::{self, Read, Write};

use albatross_core::certificate::Certificate;
use albatross_core::endpoint::limits::MAX_LARGE_CHAIN;
use albatross_core::issue::KeyPair;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    Error, ErrorCode, Ssl, SslContext, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslStream,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509;

use super::engine::Large;
use super::places::{Place, Places};
use super::records::{Found, MAX_HELLO, Records};
use super::{Shown, TlsError, verifier::Slot};
use crate::queue::Queue;
use chain::Presented;

/// The most octets of certificates that begin with a record which is not a full one.
const SMALL: usize = 16 * 1024;

/// What stands in the message around the certificates: lengths, and extensions, which nobody sends.
const AROUND: usize = 1024;

/// Octets of one record, decrypted.
const RECORD: usize = 16 * 1024;

/// The signatures that are made and accepted in handshakes: those of [`crate::schemes`].
const SCHEMES: &str = "ed25519:ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:\
                       rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512";

/// Key exchanges.
const GROUPS: &str = "X25519:P-256:P-384";

/// Ciphers, as rustls has them for the server.
const SUITES: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/// From `openssl/sslerr.h`.
const SSL_R_EXCESSIVE_MESSAGE_SIZE: i32 = 152;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Context(SslContext);

/// One connection.
pub(super) struct Openssl {
    stream: SslStream<Wire>,
    /// Until the client's certificates begin.
    records: Option<Records>,
    places: Places,
    place: Option<Place>,
    /// Waits for a place with these octets of the chain.
    held: Option<Vec<u8>>,
    /// To be said when more comes.
    late: Option<TlsError>,
    done: bool,
    ended: bool,
    /// The client broke the rules: what it sends is forgotten.
    failed: bool,
}

/// The network, as OpenSSL sees it.
#[derive(Debug, Default)]
struct Wire {
    input: Vec<u8>,
    /// Octets of it that are read.
    read: usize,
    output: Queue,
}

impl Context {
    /// For the server of this chain, leaf first, and its key.
    ///
    /// # Errors
    /// OpenSSL's, as text.
    pub(super) fn new(chain: &[Certificate<'_>], key: &KeyPair) -> Result<Self, String> {
        ffi::begin()?;
        Self::make(chain, key).map_err(|error| error.to_string())
    }

    fn make(chain: &[Certificate<'_>], key: &KeyPair) -> Result<Self, ErrorStack> {
        let mut context = SslContext::builder(SslMethod::tls_server())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_max_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_options(SslOptions::NO_TICKET | SslOptions::CIPHER_SERVER_PREFERENCE);
        context.set_num_tickets(0)?;
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        context.set_max_early_data(0)?;
        // An idle connection keeps no buffers.
        context.set_mode(SslMode::RELEASE_BUFFERS);
        context.set_sigalgs_list(SCHEMES)?;
        context.set_groups_list(GROUPS)?;
        context.set_ciphersuites(SUITES)?;
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        ffi::show_certificates(&mut context, SMALL)?;
        for (index, certificate) in chain.iter().enumerate() {
            let certificate = X509::from_der(certificate.der())?;
            if index == 0 {
                context.set_certificate(&certificate)?;
            } else {
                context.add_extra_chain_cert(certificate)?;
            }
        }
        context.set_private_key(PKey::private_key_from_pkcs8(key.pkcs8())?.as_ref())?;
        context.check_private_key()?;
        Ok(Self(context.build()))
    }

    /// A client of which nothing was read yet.
    ///
    /// # Errors
    /// OpenSSL's, as text: there is no memory.
    pub(super) fn connection(&self, slot: Slot, places: &Places) -> Result<Openssl, String> {
        self.start(slot, places).map_err(|error| error.to_string())
    }

    fn start(&self, slot: Slot, places: &Places) -> Result<Openssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.0)?;
        ssl.set_ex_data(ffi::presented()?, Presented::new(slot));
        Ok(Openssl {
            stream: SslStream::new(ssl, Wire::default())?,
            records: Some(Records::default()),
            places: places.clone(),
            place: None,
            held: None,
            late: None,
            done: false,
            ended: false,
            failed: false,
        })
    }
}

impl Openssl {
    pub(super) const fn is_handshaking(&self) -> bool {
        !self.done
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it may turn out that the chain is a large one.
    pub(super) const fn may_want_place(&self) -> bool {
        self.records.is_some()
    }

    pub(super) fn large(&self) -> Large {
        match (&self.held, &self.place) {
            (Some(_), _) if self.places.free() == 0 => Large::Waits,
            (Some(_), _) => Large::MayGoOn,
            (None, Some(_)) => Large::HasPlace,
            (None, None) => Large::No,
        }
    }

    /// What was found, once the handshake is done: then the client holds the key of the leaf.
    pub(super) fn take_shown(&self) -> Option<Shown> {
        let presented = self.stream.ssl().ex_data(ffi::presented().ok()?)?;
        if self.done && !self.failed { presented.slot().take() } else { None }
    }

    /// What came while it was not known whose it is. A failure is said by the next [`Self::receive`].
    pub(super) fn receive_first(&mut self, input: &[u8], plain: &mut Vec<u8>) {
        self.late = self.receive(input, plain).err();
    }

    pub(super) fn receive(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        if let Some(error) = self.late.take() {
            return Err(error);
        }
        if self.failed || self.ended {
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            // Nobody reads now; this was read before.
            held.extend_from_slice(input);
            return Ok(());
        }
        let Some(records) = &mut self.records else { return self.feed(input, plain) };
        match records.look(input) {
            Ok(Found::Clear) => self.feed(input, plain),
            Ok(Found::Encrypted { full: false, .. }) => {
                self.records = None;
                self.feed(input, plain)
            }
            Ok(Found::Encrypted { at, full: true }) => {
                self.records = None;
                let (clear, chain) = input.split_at_checked(at).unwrap_or((input, &[]));
                self.feed(clear, plain)?;
                self.held = Some(chain.to_vec());
                self.resume(plain).map(drop)
            }
            Err(_) => {
                self.failed = true;
                Err(TlsError::Other(format!("a ClientHello of more than {MAX_HELLO} octets")))
            }
        }
    }

    /// Goes on if there is a place now. False where it still waits.
    pub(super) fn resume(&mut self, plain: &mut Vec<u8>) -> Result<bool, TlsError> {
        let Some(held) = self.held.take() else { return Ok(true) };
        let Some(place) = self.places.take() else {
            self.held = Some(held);
            return Ok(false);
        };
        self.place = Some(place);
        ffi::set_max_certificates(self.stream.ssl(), MAX_LARGE_CHAIN + AROUND);
        self.feed(&held, plain).map(|()| true)
    }

    fn feed(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        self.stream.get_mut().put(input);
        if !self.done {
            let accepted = self.stream.accept();
            ffi::refuse_no_more();
            if let Some(error) = self.take_unreadable() {
                self.failed = true;
                return Err(error);
            }
            match accepted {
                Ok(()) => self.done = true,
                Err(error) => return self.waits_or_fails(&error),
            }
        }
        self.collect(plain)
    }

    fn take_unreadable(&self) -> Option<TlsError> {
        self.stream.ssl().ex_data(ffi::presented().ok()?)?.take_unreadable()
    }

    /// Takes what is decrypted.
    fn collect(&mut self, plain: &mut Vec<u8>) -> Result<(), TlsError> {
        loop {
            let length = plain.len();
            plain.resize(length + RECORD, 0);
            let read = self.stream.ssl_read(plain.get_mut(length..).unwrap_or_default());
            plain.truncate(length + read.as_ref().map_or(0, |count| *count));
            match read {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                    // close_notify
                    self.ended = true;
                    return Ok(());
                }
                Err(error) => return self.waits_or_fails(&error),
            }
        }
    }

    fn waits_or_fails(&mut self, error: &Error) -> Result<(), TlsError> {
        if error.code() == ErrorCode::WANT_READ {
            return Ok(());
        }
        self.failed = true;
        let errors = error.ssl_error().map(ErrorStack::errors).unwrap_or_default();
        if errors.iter().any(|it| it.reason_code() == SSL_R_EXCESSIVE_MESSAGE_SIZE) {
            let limit = if self.place.is_some() { MAX_LARGE_CHAIN } else { SMALL };
            return Err(TlsError::TooLarge { limit });
        }
        let text = errors.first().and_then(openssl::error::Error::reason);
        Err(TlsError::Other(text.map_or_else(|| error.to_string(), str::to_owned)))
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.stream.get_ref().output.is_empty()
    }

    pub(super) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        self.stream.get_mut().output.write_to(stream)
    }

    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.ssl_write(octets).map_err(|error| error.into_io_error().unwrap_or_else(io::Error::other))
    }

    pub(super) fn send_close_notify(&mut self) {
        // Within the handshake there is nothing that it could be said in.
        if self.done {
            _ = self.stream.shutdown();
        }
    }
}

impl std::fmt::Debug for Openssl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Openssl")
            .field("done", &self.done)
            .field("large", &self.large())
            .finish_non_exhaustive()
    }
}

impl Wire {
    fn put(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.input.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            // All of it came in one piece and is read.
            self.input = Vec::new();
            self.read = 0;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.output.push(octets.to_vec());
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
