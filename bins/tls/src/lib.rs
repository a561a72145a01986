//! TLS for the albatross endpoint and its clients: version 1.3 only, both sides with certificates, without
//! resumption, for every kind of key that albatross knows.
//!
//! rustls speaks TLS; with the feature `openssl` the system's OpenSSL does so with clients that do not say that
//! their chain is a small one, as rustls accepts none of more than 64 KiB. Chains are verified by [`albatross_core::certificate`] and nothing else, and
//! signatures of the handshake are made and checked there too. Nothing in here opens a socket or a file.
//!
//! * [`client`]: whom a client trusts, and what it shows.
//! * [`server`]: what the endpoint accepts, and the stream of one connection.
//! * [`schemes`]: keys and signatures of both.
//! * [`queue`]: octets that wait to be written.
#![deny(unsafe_code)]

pub mod client;
pub mod queue;
pub mod schemes;
pub mod server;

use albatross_proto::Time;
use rustls::pki_types::UnixTime;

/// The name (ALPN, RFC 7301) that our client offers where its chain has at most [`SMALL_CHAIN`] octets. The endpoint
/// selects none: it only learns that it need not be ready for a large chain. Servers that do not know it ignore it.
pub const PROTOCOL: &[u8] = b"albatross";

/// The most octets of the chain of a client that offers [`PROTOCOL`]: with all around it, less than the 64 KiB that
/// rustls takes in one message.
pub const SMALL_CHAIN: usize = 60 * 1024;

/// The clock's time, as certificates have it.
fn time(now: UnixTime) -> Time {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| Time::from_unix(seconds, 0).ok())
        .unwrap_or(Time::MAX)
}
