//! Who is let in: chains against the root, the revocation lists, and what was verified before.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use albatross_proto::{Time, command::RevocationCommand};
use ring::digest;

use super::limits::MAX_CONNECTIONS;
use crate::{
    authority::{Authority, AuthorityError},
    certificate::{
        Certificate, ChainError, Position, Revocation as _, Root, Rule, VerifiedLinks, VerifiedPath,
        verify_with,
    },
    revocation::{Installed, Issuers, Loaded, RevocationError, RevocationList, RevocationStore, StoreLimits},
};

/// Judges the chains of all connections of an endpoint.
///
/// A list that was taken in counts for every chain that is judged afterwards, and for those that were let in
/// before: [`revoked`](Self::revoked) says so, for connections that last.
pub struct Judge {
    root: Root<'static>,
    lists: RevocationStore,
    links: VerifiedLinks,
    /// The CAs of the paths that are in use, so that connections of one user share them.
    known: HashMap<[u8; 32], Weak<[Certificate<'static>]>>,
    changes: u64,
}

/// A client whose chain was found to be a path to the root.
#[derive(Debug)]
#[non_exhaustive]
pub struct Judged {
    /// The subject of the leaf.
    pub subject: String,
    /// Its serial number, in lower-case hex.
    pub serial: String,
    /// What the path may do, or why it may do nothing.
    pub authority: Result<Authority<'static>, AuthorityError>,
    /// For asking about it later.
    pub path: KnownPath,
}

/// What is kept of a verified path while its client is connected.
#[derive(Clone, Debug)]
pub struct KnownPath {
    /// The serial number of the leaf, as in the certificate.
    leaf: Box<[u8]>,
    subject: Box<str>,
    /// The leaf's issuer first, without the root.
    issuers: Arc<[Certificate<'static>]>,
}

impl Judge {
    /// Trusts `root`, knows no lists.
    #[must_use]
    pub fn new(root: Root<'static>) -> Self {
        Self {
            root,
            lists: RevocationStore::new(StoreLimits::default()),
            links: VerifiedLinks::default(),
            known: HashMap::new(),
            changes: 0,
        }
    }

    /// Judges a chain as it was sent, leaf first.
    ///
    /// # Errors
    /// [`ChainError`] says which certificate breaks which rule.
    pub fn judge(&mut self, chain: &[Certificate<'_>], at: Time) -> Result<Judged, ChainError> {
        let mut path = verify_with(chain, &self.root, at, &self.lists, &mut self.links)?;
        if self.lists.claim(&path) > 0 {
            self.links.clear();
            self.changes += 1;
            path = verify_with(chain, &self.root, at, &self.lists, &mut self.links)?;
        }
        let leaf = path.leaf();
        let subject = leaf.subject().to_string();
        Ok(Judged {
            serial: leaf.serial().iter().map(|octet| format!("{octet:02x}")).collect(),
            authority: Authority::of(&path).map(Authority::into_owned),
            path: KnownPath {
                leaf: leaf.serial().into(),
                subject: subject.as_str().into(),
                issuers: known(&mut self.known, &path),
            },
            subject,
        })
    }

    /// Takes in a list from a file. It may be of a CA that nobody has shown yet; then it counts from the moment
    /// in which somebody does.
    ///
    /// # Errors
    /// [`RevocationError`]; what counted before still does.
    pub fn load(&mut self, list: &[u8], now: Time) -> Result<Loaded, RevocationError> {
        let loaded = self.lists.load(list, &self.root, now)?;
        let changed = match loaded {
            Loaded::Installed(Installed::Unchanged) => false,
            Loaded::Installed(_) => true,
            Loaded::Waiting => self.claim_of_known(),
        };
        if changed {
            self.has_changed();
        }
        Ok(loaded)
    }

    /// Carries out a `revocation` command that came with this path.
    ///
    /// # Errors
    /// [`RevocationError`], which is what the client is told; what counted before still does.
    pub fn install(
        &mut self,
        command: &RevocationCommand<'_>,
        path: &KnownPath,
        now: Time,
    ) -> Result<Installed, RevocationError> {
        let RevocationCommand::Install(list) = command;
        let installed = self.lists.install(list, Issuers::known(&path.issuers, &self.root), now)?;
        if installed != Installed::Unchanged {
            self.has_changed();
        }
        Ok(installed)
    }

    /// Which certificate of a path that was accepted before has been revoked since.
    #[must_use]
    pub fn revoked(&self, path: &KnownPath) -> Option<ChainError> {
        // Most endpoints have none.
        self.lists.lists().next()?;
        let root = self.root.certificate();
        let issuer_of = |place: usize| path.issuers.get(place).unwrap_or(root);
        let leaf = self.lists.list_of(issuer_of(0)).is_some_and(|list| list.contains(&path.leaf));
        let place = if leaf {
            0
        } else {
            let mut issuers = path.issuers.iter().enumerate();
            1 + issuers.position(|(place, ca)| self.lists.is_revoked(ca, issuer_of(place + 1)))?
        };
        let subject = match place.checked_sub(1).and_then(|place| path.issuers.get(place)) {
            Some(ca) => ca.subject().to_string(),
            None => path.subject.to_string(),
        };
        Some(ChainError::Refused { position: Position::Sent(place), subject, rule: Rule::Revoked })
    }

    /// A number that is another one whenever more may be revoked than before.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The lists that count, one for each issuer.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList<'static>> {
        self.lists.lists()
    }

    fn has_changed(&mut self) {
        self.links.clear();
        self.changes += 1;
    }

    /// Whether one of the lists that wait was made by a CA of a path that is in use.
    fn claim_of_known(&mut self) -> bool {
        let mut claimed = 0;
        for cas in self.known.values().filter_map(Weak::upgrade) {
            claimed += self.lists.claim_of(Issuers::known(&cas, &self.root));
        }
        claimed > 0
    }
}

/// The CAs of this path, shared with others who have the same.
fn known(
    known: &mut HashMap<[u8; 32], Weak<[Certificate<'static>]>>,
    path: &VerifiedPath<'_>,
) -> Arc<[Certificate<'static>]> {
    let mut context = digest::Context::new(&digest::SHA256);
    for ca in path.intermediates() {
        // DER says itself how long it is.
        context.update(ca.der());
    }
    // SHA-256 has 32 octets.
    let id = context.finish().as_ref().try_into().unwrap_or_default();
    if let Some(cas) = known.get(&id).and_then(Weak::upgrade) {
        return cas;
    }
    if known.len() >= 2 * MAX_CONNECTIONS {
        // At least half of them are of connections that are closed.
        known.retain(|_, cas| cas.strong_count() > 0);
    }
    let cas: Arc<[_]> = path.intermediates().iter().cloned().map(Certificate::into_owned).collect();
    known.insert(id, Arc::downgrade(&cas));
    cas
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("root", &self.root).finish_non_exhaustive()
    }
}
