//! The user ids that tenders run under: one each, so that a guest that breaks out of its tender cannot
//! touch another.
//!
//! An id is given to one start, and comes back when that start has failed or its tender has ended. Ids
//! are taken in turn, so that one is used again as late as possible. The first id of the range is never
//! a tender's: it is the group that may read images, and what tenders are asked their version as.

use std::collections::BTreeSet;
use std::fmt;

/// Ids below this are those of the system and of persons on every common distribution (`login.defs`,
/// systemd's `UID_MAX`), 65534 and 65535 are nobody and the 16-bit "none".
const LOWEST: u32 = 65_536;
/// The kernel takes this one as "leave it as it is".
const NONE: u32 = u32::MAX;

/// The range of user ids that tenders run under (`--uid-base`, `--uid-count`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    /// Invariant: at least [`LOWEST`].
    first: u32,
    /// Invariant: at least 2, and `first + count` is at most [`NONE`].
    count: u32,
}

/// Why a range of user ids is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserRangeError {
    /// It begins with ids that may be somebody's.
    TooLow(u32),
    /// Fewer than two ids: one is kept back.
    TooFew(u32),
    /// It does not end below 2^32 - 1.
    TooHigh {
        /// The first id.
        first: u32,
        /// How many.
        count: u32,
    },
}

impl UserRange {
    /// The range of `count` ids from `first` on.
    ///
    /// # Errors
    /// [`UserRangeError`], where ids of the range may be somebody else's or do not exist.
    pub const fn new(first: u32, count: u32) -> Result<Self, UserRangeError> {
        if first < LOWEST {
            return Err(UserRangeError::TooLow(first));
        }
        if count < 2 {
            return Err(UserRangeError::TooFew(count));
        }
        match first.checked_add(count) {
            Some(_) => Ok(Self { first, count }),
            None => Err(UserRangeError::TooHigh { first, count }),
        }
    }

    /// The id that no tender runs under: the group that may read images.
    #[must_use]
    pub const fn readers(self) -> u32 {
        self.first
    }

    /// Whether tenders may run under this id.
    #[must_use]
    pub const fn contains(self, user: u32) -> bool {
        user > self.first && user - self.first < self.count
    }

    /// The id after this one, and after the last the first that tenders run under.
    const fn after(self, user: u32) -> u32 {
        if user - self.first + 1 < self.count { user + 1 } else { self.first + 1 }
    }
}

impl fmt::Display for UserRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLow(first) => {
                write!(f, "user id {first} may be somebody's, begin the range at {LOWEST} or above")
            }
            Self::TooFew(count) => write!(f, "{count} user ids are too few, give 2 or more"),
            Self::TooHigh { first, count } => {
                write!(
                    f,
                    "{count} user ids from {first} on do not end below {NONE}, begin lower or give fewer"
                )
            }
        }
    }
}

impl std::error::Error for UserRangeError {}

/// Which ids are given. Without a range none is, and tenders run under the daemon's own.
#[derive(Debug, Default)]
pub(super) struct Users {
    range: Option<UserRange>,
    /// Invariant: all inside the range.
    given: BTreeSet<u32>,
    /// The one that was given last.
    last: Option<u32>,
}

/// All ids of the range are given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoneFree;

impl Users {
    pub(super) fn new(range: UserRange) -> Self {
        Self { range: Some(range), ..Self::default() }
    }

    /// An id that nobody has, until it is given back; `None` without a range.
    pub(super) fn take(&mut self) -> Result<Option<u32>, NoneFree> {
        let Some(range) = self.range else { return Ok(None) };
        // All but the first of the range.
        if self.given.len() >= usize::try_from(range.count - 1).unwrap_or(usize::MAX) {
            return Err(NoneFree);
        }
        let mut user = range.after(self.last.unwrap_or(range.first));
        while !self.given.insert(user) {
            user = range.after(user);
        }
        self.last = Some(user);
        Ok(Some(user))
    }

    /// Notes that a tender that runs already has this id. One outside the range is nobody's concern here.
    pub(super) fn adopt(&mut self, user: u32) {
        if self.may_be_tenders(user) {
            self.given.insert(user);
        }
    }

    /// Whether this may be the id of a tender.
    pub(super) fn may_be_tenders(&self, user: u32) -> bool {
        self.range.is_some_and(|range| range.contains(user))
    }

    /// Its tender has ended, or was never started.
    pub(super) fn give_back(&mut self, user: Option<u32>) {
        user.inspect(|user| _ = self.given.remove(user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_may_be_somebodys_are_refused() {
        assert!(UserRange::new(65_536, 2).is_ok() && UserRange::new(NONE - 2, 2).is_ok());
        for (first, count, text) in [
            (0, 100, "somebody's"),
            (65_535, 9, "somebody's"),
            (70_000, 1, "too few"),
            (NONE - 1, 2, "lower"),
        ] {
            let error = UserRange::new(first, count).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn ids_are_taken_in_turn_and_never_twice_at_a_time() {
        let range = UserRange::new(70_000, 4).unwrap();
        let mut users = Users::new(range);
        users.adopt(70_002);
        users.adopt(1000);
        assert_eq!(
            [users.take(), users.take(), users.take()],
            [Ok(Some(70_001)), Ok(Some(70_003)), Err(NoneFree)]
        );
        users.give_back(Some(70_003));
        assert_eq!([users.take(), users.take()], [Ok(Some(70_003)), Err(NoneFree)]);
        users.give_back(Some(70_001));
        users.give_back(Some(70_002));
        assert_eq!([users.take(), users.take()], [Ok(Some(70_001)), Ok(Some(70_002))]);
        assert_eq!(range.readers(), 70_000, "nobody's");
        assert!(!range.contains(70_000) && !range.contains(70_004));
    }

    #[test]
    fn without_a_range_nobody_gets_one() {
        let mut users = Users::default();
        assert_eq!(users.take(), Ok(None));
        users.adopt(5);
        users.give_back(Some(5));
    }
}
