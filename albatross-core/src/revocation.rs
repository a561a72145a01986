//! Revocation lists (CRLs, RFC 5280 section 5): read, and kept for the verifier to ask.
//!
//! A CA revokes certificates that it issued by their serial numbers. The list is signed by that CA's key
//! and numbered; the number only grows, so the newest list can be told from what somebody kept from
//! earlier.
//!
//! * [`RevocationList`] is one list, read strictly: version 2, complete, for all certificates of one
//!   issuer. A list for a part of them, a list of changes (delta) or for several issuers (indirect), a
//!   list without a number, and critical extensions that are not known here are refused.
//! * [`RevocationStore`] keeps the newest list of each issuer and is the
//!   [`Revocation`](crate::certificate::Revocation) that [`certificate::verify`](crate::certificate::verify())
//!   asks about every certificate of a chain. A list that has expired is still honoured for what it revokes:
//!   who holds back new lists gains nothing.
//! * [`accept()`] carries out the `revocation` command of a verified path, [`answer()`] is the reply.
//!
//! Lists are made by [`issue::ListIssuer`](crate::issue::ListIssuer). Nothing here reads a clock or a file:
//! time is an argument, and so is the size of the largest list that is read. Rules: `docs/protocol.md`,
//! "Revocation".
//!
//! ```
//! use albatross_core::{
//!     certificate::{NothingRevoked, Root, verify},
//!     issue::{Issuer, KeyKind, KeyPair, ListIssuer, ListTerms, Revoked, Serial, SigningKey, Terms, Validity, root},
//!     revocation::{Issuers, RevocationStore},
//! };
//! use albatross_proto::{Command, Time, UnikernelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let random = ring::rand::SystemRandom::new();
//! let now: Time = "2026-01-31T12:00:00Z".parse()?;
//! let later: Time = "2026-01-31T13:00:00Z".parse()?;
//! let key = KeyPair::generate(KeyKind::Ed25519, &random)?;
//! let ca = root("ca", &key, &Terms::new(Validity::days(now, 10)?, &random)?)?;
//! let root = Root::new(ca.clone())?;
//!
//! let leaf = Issuer::new(std::slice::from_ref(&ca), &key)?.leaf(
//!     None,
//!     KeyPair::generate(KeyKind::Ed25519, &random)?.public_key(),
//!     &Command::Unikernel(UnikernelCommand::Info),
//!     &Terms::new(Validity::days(now, 1)?, &random)?,
//! )?;
//! let chain = [leaf];
//! verify(&chain, &root, later, &NothingRevoked)?;
//!
//! let terms = ListTerms::new(Validity::days(now, 30)?, &random);
//! let revoked = Revoked { serial: Serial::new(chain[0].serial())?, date: now, reason: None };
//! let list = ListIssuer::new(&ca, &key)?.issue(None, &[revoked], &terms)?;
//!
//! let mut store = RevocationStore::default();
//! store.install(list.der(), Issuers::of_root(&root), later)?;
//! assert!(verify(&chain, &root, later, &store).is_err());
//! # Ok(())
//! # }
//! ```

mod accept;
mod entry;
mod error;
mod extensions;
mod issuer;
mod list;
mod number;
mod reader;
mod store;
#[cfg(test)]
mod tests;

pub use accept::{accept, answer};
pub use entry::{Entries, Entry, Reason};
pub use error::{ListError, ListErrorKind, RevocationError};
pub(crate) use extensions::{CRL_NUMBER, REASON_CODE};
pub(crate) use issuer::check_issuer;
pub use list::{MAX_LIST_SIZE, PEM_LABEL, RevocationList};
pub use number::ListNumber;
pub(crate) use reader::Value;
pub use store::{Installed, Issuers, Loaded, RevocationStore, StoreLimits};
