//! The newest list of each issuer.

use std::cmp::Ordering;

use albatross_proto::Time;
use ring::digest;

use super::{MAX_LIST_SIZE, RevocationError, RevocationList};
use crate::certificate::{self, Certificate, ChainError, Revocation, Root, VerifiedPath};

/// How much a [`RevocationStore`] keeps.
///
/// A CA that was delegated to can make any number of CAs below it, and install a list of each. So what the
/// lists below each CA of the root may take is limited apart, and the root's list, which can revoke such a
/// CA, always has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// The most octets of one list.
    pub list_size: usize,
    /// The most issuers, the root not counted.
    pub issuers: usize,
    /// The most octets of all lists together, the root's not counted.
    pub octets: usize,
    /// The most issuers at and below one CA of the root.
    pub branch_issuers: usize,
    /// The most octets of the lists at and below one CA of the root.
    pub branch_octets: usize,
}

impl Default for StoreLimits {
    /// 1024 issuers with 256 MiB, of these 64 issuers with 32 MiB for each CA of the root: some 600 000
    /// revoked certificates, more than a CA here issues before the first of them expire.
    fn default() -> Self {
        Self {
            list_size: MAX_LIST_SIZE,
            issuers: 1024,
            octets: 256 * 1024 * 1024,
            branch_issuers: 64,
            branch_octets: 32 * 1024 * 1024,
        }
    }
}

/// The CAs whose lists may be taken in: those of a verified path and its root, or a root alone.
#[derive(Clone, Copy, Debug)]
pub struct Issuers<'a> {
    /// The leaf's issuer first, the root's CA last.
    intermediates: &'a [Certificate<'a>],
    root: &'a Certificate<'a>,
}

/// The newest list of each issuer, and lists whose issuers have not been seen yet.
///
/// An issuer is a subject with a key. It implements [`Revocation`], for
/// [`verify`](certificate::verify()) to ask about each certificate of a chain; a CA that was revoked takes
/// all below it along, as no chain through it is accepted.
#[derive(Clone, Debug, Default)]
pub struct RevocationStore {
    limits: StoreLimits,
    /// Invariant: sorted by issuer, each once. Those that were installed are within the limits; those that
    /// waited were so when they were loaded.
    kept: Vec<Kept>,
    /// Invariant: within the limits.
    waiting: Vec<Waiting>,
}

/// What became of a list that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Installed {
    /// There was none of this issuer.
    First,
    /// It replaced an older one.
    Newer,
    /// It is the one that was on file.
    Unchanged,
}

/// What became of a list that was loaded without its issuer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded {
    /// It is the root's, or on file already.
    Installed(Installed),
    /// It waits for a chain with its issuer.
    Waiting,
}

#[derive(Clone, Debug)]
struct Kept {
    list: RevocationList<'static>,
    /// The SubjectPublicKeyInfo of the issuer.
    key: Vec<u8>,
    branch: Branch,
}

/// Under which CA of the root an issuer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    Root,
    /// The digest of subject and key of that CA.
    Below([u8; 32]),
}

/// Whether there has to be room for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Checked,
    /// It had its own while it waited.
    Its,
}

#[derive(Clone, Debug)]
struct Waiting {
    list: RevocationList<'static>,
    /// The last key that it was found not to be signed by, not to be tried again.
    not_by: Option<Vec<u8>>,
}

impl<'a> Issuers<'a> {
    /// The CAs of a verified path, the root among them.
    #[must_use]
    pub fn of_path(path: &VerifiedPath<'a>) -> Self {
        Self { intermediates: path.intermediates(), root: path.root().certificate() }
    }

    /// The root alone.
    #[must_use]
    pub const fn of_root(root: &'a Root<'a>) -> Self {
        Self { intermediates: &[], root: root.certificate() }
    }

    /// The CAs of a path that was verified before, the root not among them, and that root.
    pub(crate) const fn known(intermediates: &'a [Certificate<'a>], root: &'a Root<'a>) -> Self {
        Self { intermediates, root: root.certificate() }
    }

    fn iter(self) -> impl Iterator<Item = (&'a Certificate<'a>, Branch)> {
        let branch = self.intermediates.last().map_or(Branch::Root, Branch::below);
        let intermediates = self.intermediates.iter().map(move |ca| (ca, branch));
        intermediates.chain([(self.root, Branch::Root)])
    }
}

impl RevocationStore {
    /// An empty store.
    #[must_use]
    pub const fn new(limits: StoreLimits) -> Self {
        Self { limits, kept: Vec::new(), waiting: Vec::new() }
    }

    /// Takes a list in that one of `issuers` made.
    ///
    /// # Errors
    /// [`RevocationError`]: malformed, not made by any of them, made in the future, not newer than the one
    /// on file, or no room for it. What was on file stays.
    pub fn install(
        &mut self,
        der: &[u8],
        issuers: Issuers<'_>,
        now: Time,
    ) -> Result<Installed, RevocationError> {
        let list = self.read(der, now)?;
        self.install_list(list, issuers)
    }

    /// Takes a list in that was kept from earlier, from a folder for example: at once if it is the root's,
    /// otherwise it waits until [`claim`](Self::claim) is given a path with its issuer. Until then it is
    /// honoured for nothing, and there is nothing it could be honoured for.
    ///
    /// # Errors
    /// As [`install`](Self::install), but the issuer may be unknown.
    pub fn load(&mut self, der: &[u8], root: &Root<'_>, now: Time) -> Result<Loaded, RevocationError> {
        let list = self.read(der, now)?;
        if list.issuer() == root.certificate().subject() {
            return self.install_list(list, Issuers::of_root(root)).map(Loaded::Installed);
        }
        if self.kept.iter().any(|kept| kept.list.der() == der) {
            return Ok(Loaded::Installed(Installed::Unchanged));
        }
        if self.waiting.iter().any(|waiting| waiting.list.der() == der) {
            return Ok(Loaded::Waiting);
        }
        let limits = self.limits;
        if self.waiting.len() >= limits.issuers {
            return Err(RevocationError::TooManyIssuers { limit: limits.issuers });
        }
        let octets = self.waiting.iter().map(|waiting| waiting.list.der().len()).sum::<usize>();
        if octets.saturating_add(list.der().len()) > limits.octets {
            return Err(RevocationError::Full { limit: limits.octets });
        }
        self.waiting.push(Waiting { list: list.into_owned(), not_by: None });
        Ok(Loaded::Waiting)
    }

    /// Takes in the waiting lists that CAs of this path made, the newest of each CA; returns how often there
    /// was a newer one than before. If so, what was verified before has to be verified again:
    /// [`verify`](Self::verify) does both.
    pub fn claim(&mut self, path: &VerifiedPath<'_>) -> usize {
        self.claim_of(Issuers::of_path(path))
    }

    /// The same for CAs that are known to be of a verified path.
    pub(crate) fn claim_of(&mut self, issuers: Issuers<'_>) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        let mut claimed = 0;
        for mut waiting in std::mem::take(&mut self.waiting) {
            match waiting.maker(issuers) {
                Some((maker, branch)) => {
                    let kept = self.keep(waiting.list, maker, branch, Room::Its);
                    claimed += usize::from(matches!(kept, Ok(Installed::First | Installed::Newer)));
                }
                None => self.waiting.push(waiting),
            }
        }
        claimed
    }

    /// [`certificate::verify`](certificate::verify()) with this store, waiting lists of the chain's CAs
    /// included.
    ///
    /// # Errors
    /// [`ChainError`] says which certificate breaks which rule.
    pub fn verify<'p>(
        &mut self,
        chain: &'p [Certificate<'p>],
        root: &'p Root<'p>,
        at: Time,
    ) -> Result<VerifiedPath<'p>, ChainError> {
        let path = certificate::verify(chain, root, at, self)?;
        if self.claim(&path) == 0 { Ok(path) } else { certificate::verify(chain, root, at, self) }
    }

    /// The lists that are honoured, one for each issuer.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList<'static>> {
        self.kept.iter().map(|kept| &kept.list)
    }

    /// The lists whose issuers have not been seen yet.
    pub fn waiting(&self) -> impl Iterator<Item = &RevocationList<'static>> {
        self.waiting.iter().map(|waiting| &waiting.list)
    }

    /// The list of this issuer.
    #[must_use]
    pub fn list_of(&self, issuer: &Certificate<'_>) -> Option<&RevocationList<'static>> {
        let index = self.find(issuer).ok()?;
        self.kept.get(index).map(|kept| &kept.list)
    }

    fn read<'d>(&self, der: &'d [u8], now: Time) -> Result<RevocationList<'d>, RevocationError> {
        let list = RevocationList::from_der(der, self.limits.list_size)?;
        if list.this_update() > now {
            return Err(RevocationError::NotYetValid { this_update: list.this_update() });
        }
        Ok(list)
    }

    fn install_list(
        &mut self,
        list: RevocationList<'_>,
        issuers: Issuers<'_>,
    ) -> Result<Installed, RevocationError> {
        let mut refused = RevocationError::UnknownIssuer { issuer: list.issuer().to_string() };
        for (candidate, branch) in issuers.iter().filter(|(ca, _)| ca.subject() == list.issuer()) {
            match list.verify(candidate) {
                Ok(()) => return self.keep(list, candidate, branch, Room::Checked),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Keeps a list that `issuer` made, if it is newer than the one on file and there is room.
    fn keep(
        &mut self,
        list: RevocationList<'_>,
        issuer: &Certificate<'_>,
        branch: Branch,
        room: Room,
    ) -> Result<Installed, RevocationError> {
        let place = self.find(issuer);
        if let Some(on_file) = place.ok().and_then(|index| self.kept.get(index)) {
            if on_file.list.der() == list.der() {
                return Ok(Installed::Unchanged);
            }
            let (number, on_file) = (list.number(), on_file.list.number());
            match number.cmp(&on_file) {
                Ordering::Less => return Err(RevocationError::Older { number, on_file }),
                Ordering::Equal => return Err(RevocationError::SameNumber { number }),
                Ordering::Greater => {}
            }
        }
        if room == Room::Checked {
            self.check_room(list.der().len(), place.ok(), branch)?;
        }
        let kept = Kept { list: list.into_owned(), key: issuer.public_key().spki().to_vec(), branch };
        Ok(match place {
            Ok(index) => {
                self.kept.splice(index..=index, [kept]);
                Installed::Newer
            }
            Err(index) => {
                self.kept.insert(index, kept);
                Installed::First
            }
        })
    }

    /// Whether `size` more octets may be kept in place of what is at `replaced`.
    fn check_room(
        &self,
        size: usize,
        replaced: Option<usize>,
        branch: Branch,
    ) -> Result<(), RevocationError> {
        if branch == Branch::Root {
            return Ok(());
        }
        let StoreLimits { issuers, octets, branch_issuers, branch_octets, .. } = self.limits;
        let others = self.kept.iter().enumerate().filter(|(index, _)| Some(*index) != replaced);
        let (mut all, mut same) = ((1_usize, size), (1_usize, size));
        for kept in others.map(|(_, kept)| kept).filter(|kept| kept.branch != Branch::Root) {
            let add =
                |sum: &mut (usize, usize)| *sum = (sum.0 + 1, sum.1.saturating_add(kept.list.der().len()));
            add(&mut all);
            if kept.branch == branch {
                add(&mut same);
            }
        }
        for (sum, issuers, octets) in [(same, branch_issuers, branch_octets), (all, issuers, octets)] {
            if sum.0 > issuers {
                return Err(RevocationError::TooManyIssuers { limit: issuers });
            }
            if sum.1 > octets {
                return Err(RevocationError::Full { limit: octets });
            }
        }
        Ok(())
    }

    /// Where the list of this issuer is, or would be.
    fn find(&self, issuer: &Certificate<'_>) -> Result<usize, usize> {
        let wanted = (issuer.subject().as_der(), issuer.public_key().spki());
        self.kept.binary_search_by(|kept| (kept.list.issuer().as_der(), &*kept.key).cmp(&wanted))
    }
}

impl Revocation for RevocationStore {
    fn is_revoked(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        self.list_of(issuer).is_some_and(|list| list.contains(certificate.serial()))
    }
}

impl Waiting {
    /// The one of `issuers` that made this list.
    fn maker<'a>(&mut self, issuers: Issuers<'a>) -> Option<(&'a Certificate<'a>, Branch)> {
        issuers.iter().find(|(candidate, _)| {
            let key = candidate.public_key().spki();
            if candidate.subject() != self.list.issuer() || self.not_by.as_deref() == Some(key) {
                return false;
            }
            match self.list.verify(candidate) {
                Ok(()) => true,
                Err(RevocationError::Signature { .. }) => {
                    self.not_by = Some(key.to_vec());
                    false
                }
                // Another certificate of this key may be one that makes lists.
                Err(_) => false,
            }
        })
    }
}

impl Branch {
    fn below(ca: &Certificate<'_>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // The subject says itself how long it is.
        context.update(ca.subject().as_der());
        context.update(ca.public_key().spki());
        // SHA-256 has 32 octets.
        Self::Below(context.finish().as_ref().try_into().unwrap_or_default())
    }
}
