//! The INTEGER of the protocol.

use core::fmt;

/// An INTEGER in the range that the peer's 63-bit integers have: -2^62 .. 2^62-1.
///
/// Invariant: the value lies in [`Int::MIN`] .. [`Int::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Int(i64);

/// A number outside the 63-bit range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntRangeError;

impl Int {
    /// The smallest value, -2^62.
    pub const MIN: Self = Self(-(1 << 62));
    /// The largest value, 2^62-1, which stands for "unlimited" where a limit is meant.
    pub const MAX: Self = Self((1 << 62) - 1);
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(1);

    /// The number, if it is in range.
    ///
    /// # Errors
    /// [`IntRangeError`] outside -2^62 .. 2^62-1.
    pub const fn new(value: i64) -> Result<Self, IntRangeError> {
        if value < Self::MIN.0 || value > Self::MAX.0 { Err(IntRangeError) } else { Ok(Self(value)) }
    }

    /// The number as a plain integer.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, held at the ends of the range.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::clamp_to_range(self.0.saturating_add(other.0))
    }

    /// The difference, held at the ends of the range.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self::clamp_to_range(self.0.saturating_sub(other.0))
    }

    const fn clamp_to_range(value: i64) -> Self {
        if value < Self::MIN.0 {
            Self::MIN
        } else if value > Self::MAX.0 {
            Self::MAX
        } else {
            Self(value)
        }
    }
}

impl TryFrom<i64> for Int {
    type Error = IntRangeError;
    fn try_from(value: i64) -> Result<Self, IntRangeError> {
        Self::new(value)
    }
}

impl TryFrom<u64> for Int {
    type Error = IntRangeError;
    fn try_from(value: u64) -> Result<Self, IntRangeError> {
        i64::try_from(value).map_err(|_| IntRangeError).and_then(Self::new)
    }
}

impl TryFrom<usize> for Int {
    type Error = IntRangeError;
    fn try_from(value: usize) -> Result<Self, IntRangeError> {
        i64::try_from(value).map_err(|_| IntRangeError).and_then(Self::new)
    }
}

impl From<i32> for Int {
    fn from(value: i32) -> Self {
        Self(value.into())
    }
}

impl From<u32> for Int {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl From<Int> for i64 {
    fn from(value: Int) -> Self {
        value.0
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for IntRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("integer outside -2^62 .. 2^62-1")
    }
}

impl core::error::Error for IntRangeError {}
