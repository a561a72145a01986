//! How far the memory of unikernels may exceed that of the host.

use core::{fmt, str::FromStr};

use albatross_proto::Int;

/// The factor by which the root policy's memory is multiplied at admission; 1 unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overcommit {
    /// Invariant: 100 ..= 10 000.
    percent: u16,
}

/// Text that is no factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OvercommitError;

impl Overcommit {
    /// No more than there is.
    pub const NONE: Self = Self { percent: 100 };
    /// The largest factor, 100, in percent: beyond it a slip of the pen is likelier than a wish.
    const MAX_PERCENT: u16 = 10_000;

    /// That many MB times the factor, rounded down.
    pub(super) fn relax(self, memory: Int) -> Int {
        super::node::to_int(i128::from(memory.get()) * i128::from(self.percent) / 100)
    }
}

impl Default for Overcommit {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromStr for Overcommit {
    type Err = OvercommitError;

    /// A decimal number from 1 to 100 with at most two decimals: `1.5`.
    fn from_str(text: &str) -> Result<Self, OvercommitError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
            return Err(OvercommitError);
        }
        let number = |text: &str| text.parse::<u16>().map_err(|_| OvercommitError);
        let hundredths = number(decimals)? * if decimals.len() == 1 { 10 } else { 1 };
        let percent = number(whole)?.checked_mul(100).and_then(|p| p.checked_add(hundredths));
        match percent {
            Some(percent @ 100..=Self::MAX_PERCENT) => Ok(Self { percent }),
            _ => Err(OvercommitError),
        }
    }
}

impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.percent / 100, self.percent % 100)
    }
}

impl fmt::Display for OvercommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a factor from 1 to 100 with at most two decimals (write 1.5)")
    }
}

impl core::error::Error for OvercommitError {}
