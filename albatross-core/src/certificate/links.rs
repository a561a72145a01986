//! Signatures of certificates that were found right before.

use ring::digest;

use super::Certificate;

/// How many are remembered, of CAs and of leaves each: those of all users of a busy host, in 16 KiB.
pub const MAX_VERIFIED_LINKS: usize = 512;

/// Which certificates were found to be signed by which keys, so that a CA that everybody's chain has, or a leaf
/// that comes again every minute, need not be computed for each connection.
///
/// Only that is remembered, and it does not change: validity, revocation and every other rule are checked
/// anew for each chain. CAs and leaves are kept apart: a leaf made on the spot comes once, and must not take the
/// place of a CA.
#[derive(Clone, Debug, Default)]
pub struct VerifiedLinks {
    cas: Recent,
    leaves: Recent,
}

/// Digests of issuer's key and certificate, the one that was asked for last at the end.
#[derive(Clone, Debug, Default)]
struct Recent(
    /// Invariant: at most [`MAX_VERIFIED_LINKS`], each once.
    Vec<Link>,
);

/// The digest of an issuer's key and a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    digest: [u8; 32],
    is_ca: bool,
}

impl Link {
    pub(super) fn of(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // Both are DER and say themselves how long they are.
        context.update(issuer.public_key().spki());
        context.update(certificate.der());
        // SHA-256 has 32 octets.
        let digest = context.finish().as_ref().try_into().unwrap_or_default();
        Self { digest, is_ca: certificate.is_ca() }
    }
}

impl VerifiedLinks {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.cas.0.clear();
        self.leaves.0.clear();
    }

    /// How many are remembered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cas.0.len() + self.leaves.0.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is remembered; then it is the last to be forgotten.
    pub(super) fn knows(&mut self, link: &Link) -> bool {
        self.of(link).knows(link)
    }

    /// Remembers what was computed, in place of what nobody has asked for the longest.
    pub(super) fn remember(&mut self, links: Vec<Link>) {
        for link in links {
            self.of(&link).remember(link);
        }
    }

    const fn of(&mut self, link: &Link) -> &mut Recent {
        if link.is_ca { &mut self.cas } else { &mut self.leaves }
    }
}

impl Recent {
    fn knows(&mut self, link: &Link) -> bool {
        let Some(place) = self.0.iter().rposition(|known| known == link) else { return false };
        if let Some(later) = self.0.get_mut(place..) {
            later.rotate_left(1);
        }
        true
    }

    fn remember(&mut self, link: Link) {
        if self.knows(&link) {
            return;
        }
        if self.0.len() >= MAX_VERIFIED_LINKS {
            self.0.remove(0);
        }
        self.0.push(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: usize, is_ca: bool) -> Link {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        Link { digest, is_ca }
    }

    #[test]
    fn what_is_asked_for_stays_and_the_number_is_bounded() {
        let mut links = VerifiedLinks::default();
        links.remember(vec![link(0, true)]);
        for number in 0..3 * MAX_VERIFIED_LINKS {
            links.remember(vec![link(number, false), link(number, false)]);
            assert!(links.knows(&link(0, false)) && links.knows(&link(number, false)));
            assert!(links.len() <= 1 + MAX_VERIFIED_LINKS);
        }
        assert!(!links.knows(&link(1, false)));
        assert!(links.knows(&link(0, true)), "leaves do not take the place of CAs");
        links.clear();
        assert!(links.is_empty() && !links.knows(&link(0, true)));
    }
}
