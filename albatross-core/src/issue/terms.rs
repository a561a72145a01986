//! What the caller decides about a certificate: how long it is valid, its serial number, randomness.

use std::{fmt, time::Duration};

use albatross_proto::Time;
use der::asn1::{GeneralizedTime, UtcTime};
use ring::rand::SecureRandom;

use super::IssueError;

/// How long before now a certificate is valid already, in milliseconds: clocks differ.
const BACKDATED: i64 = 10_000;
/// Octets of a serial number made here. RFC 5280 allows 20.
const SERIAL_LENGTH: usize = 16;
/// The most octets of a serial number (RFC 5280 section 4.1.2.2).
const MAX_SERIAL: usize = 20;

/// What comes from the caller for each certificate.
#[derive(Clone)]
pub struct Terms<'a> {
    /// When it is valid.
    pub validity: Validity,
    /// Its serial number, never used before by this issuer.
    pub serial: Serial,
    /// Where random octets come from.
    pub random: &'a dyn SecureRandom,
}

/// From when until when a certificate is valid, both included, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: Time,
    not_after: Time,
}

/// A serial number: positive, at most 20 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(
    /// Invariant: the content octets of a positive INTEGER, a leading zero octet where it is needed.
    Vec<u8>,
);

impl<'a> Terms<'a> {
    /// Terms with a random serial number.
    ///
    /// # Errors
    /// [`IssueError::Random`].
    pub fn new(validity: Validity, random: &'a dyn SecureRandom) -> Result<Self, IssueError> {
        Ok(Self { validity, serial: Serial::random(random)?, random })
    }
}

impl fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { validity, serial, random: _ } = self;
        f.debug_struct("Terms").field("validity", validity).field("serial", serial).finish_non_exhaustive()
    }
}

impl Validity {
    /// From 10 seconds before `now` until so many days after it.
    ///
    /// # Errors
    /// [`IssueError::Time`] outside the years 1970 to 9999.
    pub fn days(now: Time, days: u32) -> Result<Self, IssueError> {
        Self::millis(now, i64::from(days) * 86_400_000)
    }

    /// From 10 seconds before `now` until so many seconds after it.
    ///
    /// # Errors
    /// [`IssueError::Time`] outside the years 1970 to 9999.
    pub fn seconds(now: Time, seconds: u32) -> Result<Self, IssueError> {
        Self::millis(now, i64::from(seconds) * 1000)
    }

    /// From and until exactly these seconds.
    ///
    /// # Errors
    /// [`IssueError::Time`] outside the years 1970 to 9999, or where it would end before it begins.
    pub fn new(not_before: Time, not_after: Time) -> Result<Self, IssueError> {
        if not_before.unix_seconds() < 0 || not_after < not_before {
            return Err(IssueError::Time);
        }
        Ok(Self { not_before, not_after })
    }

    fn millis(now: Time, millis: i64) -> Result<Self, IssueError> {
        let at = |offset| {
            let millis = now.unix_millis().saturating_add(offset);
            Time::from_unix_millis(millis).map_err(|_| IssueError::Time)
        };
        Self::new(at(-BACKDATED)?, at(millis)?)
    }

    /// The two times as they are written: UTCTime until 2049, GeneralizedTime after (RFC 5280 section
    /// 4.1.2.5).
    pub(super) fn encoded(self) -> Result<[x509_cert::time::Time; 2], IssueError> {
        Ok([encode_time(self.not_before)?, encode_time(self.not_after)?])
    }
}

fn encode_time(time: Time) -> Result<x509_cert::time::Time, IssueError> {
    let seconds = u64::try_from(time.unix_seconds()).map_err(|_| IssueError::Time)?;
    let since_1970 = Duration::from_secs(seconds);
    if let Ok(time) = UtcTime::from_unix_duration(since_1970) {
        return Ok(time.into());
    }
    GeneralizedTime::from_unix_duration(since_1970).map(Into::into).map_err(|_| IssueError::Time)
}

impl Serial {
    /// A random serial number.
    ///
    /// # Errors
    /// [`IssueError::Random`].
    pub fn random(random: &dyn SecureRandom) -> Result<Self, IssueError> {
        let mut octets = [0; SERIAL_LENGTH];
        random.fill(&mut octets).map_err(|ring::error::Unspecified| IssueError::Random)?;
        if let Some(first) = octets.first_mut() {
            // Positive, and always of the same length.
            *first = (*first & 0x7f) | 0x40;
        }
        Ok(Self(octets.to_vec()))
    }

    /// This number, big-endian.
    ///
    /// # Errors
    /// [`IssueError::Serial`] for zero, and for more than 20 octets.
    pub fn new(number: &[u8]) -> Result<Self, IssueError> {
        let significant = number.iter().position(|octet| *octet != 0).ok_or(IssueError::Serial)?;
        let mut octets = number.get(significant..).unwrap_or_default().to_vec();
        if octets.first().is_some_and(|first| first & 0x80 != 0) {
            octets.insert(0, 0);
        }
        if octets.len() > MAX_SERIAL { Err(IssueError::Serial) } else { Ok(Self(octets)) }
    }

    /// The content octets of the INTEGER.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
