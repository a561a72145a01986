//! What albatross decides, without I/O: third parties embed it, the daemons drive it.
//!
//! [albatross] runs unikernels by certificate. What somebody may do stands in the certificates of CAs, what is to
//! be done in the leaf; there are no accounts:
//!
//! ```text
//! root CA (its certificate is all that a server knows)
//!   └─ intermediate CA "alice", carries: policy add { 4 unikernels, 256 MB, cpus 0 and 1 }
//!        └─ intermediate CA "bob", carries: policy add { 1 unikernel, 64 MB, cpu 0 }
//!             └─ leaf "hello", carries: create { image, 32 MB, cpu 0 }
//! ```
//! This chain asks for a unikernel `alice:bob:hello`. It is created if the chain is exactly a path to the root
//! ([`certificate`]), nothing of it is revoked ([`revocation`]), each policy is inside the one above
//! ([`authority`]), and alice's and bob's subtrees still have room for it ([`resources`]).
//!
//! | to | use |
//! |---|---|
//! | issue CAs and leaves, sign requests | [`issue`] |
//! | check a chain before something is done with it, and see what it may do | [`certificate::verify()`], [`authority::Authority`] |
//! | revoke, and honour what was revoked | [`issue::ListIssuer`], [`revocation::RevocationStore`] |
//! | ask whether something fits, without doing it | [`resources::Resources::check_plan`] |
//! | look at an image | [`image::inspect`] |
//!
//! Three programs show that: `cargo run -p albatross-core --example delegate` issues a delegated CA, `authority`
//! checks a chain and prints what it may do, `plan` asks whether several changes fit together.
//!
//! Nothing here reads a clock, a file or a socket: time is an argument, randomness comes from the caller, keys
//! sit behind [`issue::SigningKey`]. No input makes it panic; errors are types that say which certificate,
//! field, byte or policy is at fault; whatever comes from a peer has a named limit.
//!
//! # The daemons
//! [`vmmd`], [`console`], [`stats`], [`influx`], [`metrics`], [`endpoint`] and what they share, [`machine`], are the machines of the daemons. A
//! machine is a plain struct with one entrance, `handle(now, input)`, that returns what is to be done; it owns
//! all rules and no file descriptor. [`journal`] and [`eventlog`] are the files that daemons append to,
//! [`restart`] and [`mac`] small rules of their own.
//!
//! # Features
//! `metrics` (default) adds [`metrics`]. `certificates` (default) adds [`certificate`], [`authority`], [`issue`], [`revocation`] and [`endpoint`].
//! albatrossd is built without them: root parses no HTTP and no X.509.
//!
//! The protocol itself is in the crate [`albatross_proto`]; in words, it is `docs/protocol.md`.
//!
//! [albatross]: https://github.com/robur-coop/albatross
#![forbid(unsafe_code)]

#[cfg(feature = "certificates")]
pub mod authority;
pub mod block;
#[cfg(feature = "certificates")]
pub mod certificate;
pub mod console;
mod digest;
#[cfg(feature = "certificates")]
pub mod endpoint;
pub mod eventlog;
pub mod image;
pub mod influx;
#[cfg(feature = "certificates")]
pub mod issue;
pub mod journal;
pub mod log;
pub mod mac;
pub mod machine;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod resources;
pub mod restart;
#[cfg(feature = "certificates")]
pub mod revocation;
pub mod stats;
pub mod vmmd;
