//! TLS for the albatross endpoint and its clients: version 1.3 only, both sides with certificates, without
//! resumption, for every kind of key that albatross knows.
//!
//! rustls speaks TLS. It accepts no chain of more than 64 KiB, so the endpoint reads larger ones itself. Chains are
//! verified by [`albatross_core::certificate`] and nothing else, and signatures of the handshake are made and checked
//! there too. Nothing in here opens a socket or a file.
//!
//! * [`client`]: whom a client trusts, and what it shows.
//! * [`server`]: what the endpoint accepts, and the stream of one connection.
//! * [`schemes`]: keys and signatures of both.
//! * [`queue`]: octets that wait to be written.
#![forbid(unsafe_code)]

pub mod client;
pub mod queue;
pub mod schemes;
pub mod server;

use albatross_proto::Time;
use rustls::pki_types::UnixTime;

/// The clock's time, as certificates have it.
fn time(now: UnixTime) -> Time {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| Time::from_unix(seconds, 0).ok())
        .unwrap_or(Time::MAX)
}
