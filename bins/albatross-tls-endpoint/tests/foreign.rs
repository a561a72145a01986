//! The conversations of the other tests once more, with clients that do not say that they are ours: OpenSSL speaks TLS
//! with them. Verdicts, streams and ends have to be the same.
#![allow(clippy::duplicate_mod, reason = "the modules are the other tests, each with its own helpers")]

#[path = "conversations.rs"]
mod conversations;
#[path = "hostile.rs"]
mod hostile;
#[path = "revocation.rs"]
mod revocation;
