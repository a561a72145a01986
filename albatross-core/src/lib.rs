//! What albatross decides, without I/O: third parties embed it, the daemons drive it.
//!
//! * [`resources`]: the tree of policies, unikernels and block devices, and what it admits.
//! * [`eventlog`]: the file of the event log, a chain of records.
//! * [`image`]: what a Solo5 image says about itself.
//! * [`journal`]: the record on the disk: entries with checksums, the last of which may be torn.
//! * [`mac`]: the addresses of network devices that none was given for.
//! * [`restart`]: whether and when a unikernel that ended is started again.
//! * [`console`], [`vmmd`] and what they share, [`machine`]: the machines of the daemons. A machine is a plain struct with one entrance,
//!   `handle(now, input)`, that returns what is to be done; it owns all rules and no file descriptor.
//! * [`certificate`], [`authority`], [`issue`] (feature `certificates`): the path verifier, what a verified
//!   path may do, and the making of certificates.
//! * [`revocation`] (feature `certificates`): revocation lists, and the newest of each issuer.
//! * [`endpoint`] (feature `certificates`): the machine of the TLS endpoint, one session for each connection.
#![forbid(unsafe_code)]

#[cfg(feature = "certificates")]
pub mod authority;
#[cfg(feature = "certificates")]
pub mod certificate;
pub mod console;
#[cfg(feature = "certificates")]
pub mod endpoint;
pub mod eventlog;
pub mod image;
#[cfg(feature = "certificates")]
pub mod issue;
pub mod journal;
pub mod mac;
pub mod machine;
pub mod resources;
pub mod restart;
#[cfg(feature = "certificates")]
pub mod revocation;
pub mod vmmd;
