//! Points in time: GeneralizedTime with the fraction that `der` does not know.

use alloc::string::String;
use core::{fmt, str::FromStr};

use der::{DateTime, Tag};

use crate::{
    DecodeError, DecodeErrorKind,
    codec::{Decoder, Encoder},
};

/// Picoseconds per second.
const PICOS: u64 = 1_000_000_000_000;
/// Picoseconds per millisecond.
const PICOS_PER_MILLI: u64 = 1_000_000_000;
/// Picoseconds per nanosecond.
const PICOS_PER_NANO: u64 = 1000;
/// Seconds per day.
const DAY: i64 = 86_400;

/// A point in time of the years 0 to 9999, UTC.
///
/// Written as `YYYYMMDDHHMMSS[.ddd]Z`: milliseconds, what is finer is cut off, and the fraction is there
/// whenever it is not 0 (also when it is finer than a millisecond: then `.000`). That is why a time
/// counts picoseconds, as the peer's does. Read with and without fraction (`.5` is 5 ms as the peer has
/// it), with and without `Z`, and with minutes and seconds left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, negative before.
    seconds: i64,
    /// Invariant: less than [`PICOS`].
    picos: u64,
}

/// Not a time, or one outside the years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeError {
    /// The text is not of the form that is asked for.
    Malformed,
    /// A month, day, hour, minute or second that does not exist.
    OutOfRange,
}

impl Time {
    /// The first moment of the year 0.
    pub const MIN: Self = Self { seconds: days_from_civil(0, 1, 1) * DAY, picos: 0 };
    /// The last picosecond of the year 9999.
    pub const MAX: Self = Self { seconds: days_from_civil(10_000, 1, 1) * DAY - 1, picos: PICOS - 1 };

    /// The time so many seconds after (or before) the first moment of 1970, and picoseconds after that.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside the years 0 to 9999, and for 10^12 picoseconds or more.
    pub const fn from_unix_picos(seconds: i64, picos: u64) -> Result<Self, TimeError> {
        if seconds < Self::MIN.seconds || seconds > Self::MAX.seconds || picos >= PICOS {
            return Err(TimeError::OutOfRange);
        }
        Ok(Self { seconds, picos })
    }

    /// The time so many seconds after (or before) the first moment of 1970, and nanoseconds after that.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside the years 0 to 9999, and for 10^9 nanoseconds or more.
    pub const fn from_unix(seconds: i64, nanos: u32) -> Result<Self, TimeError> {
        #[allow(clippy::cast_lossless, reason = "From is not const")]
        Self::from_unix_picos(seconds, nanos as u64 * PICOS_PER_NANO)
    }

    /// The time so many milliseconds after (or before) the first moment of 1970.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside the years 0 to 9999.
    pub fn from_unix_millis(millis: i64) -> Result<Self, TimeError> {
        Self::from_unix_picos(
            millis.div_euclid(1000),
            millis.rem_euclid(1000).unsigned_abs() * PICOS_PER_MILLI,
        )
    }

    /// Milliseconds since the first moment of 1970, rounded down.
    #[must_use]
    pub fn unix_millis(self) -> i64 {
        self.seconds * 1000 + i64::from(self.subsec_millis())
    }

    /// Seconds since the first moment of 1970, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// The milliseconds of the second, 0 to 999.
    #[must_use]
    pub fn subsec_millis(self) -> u16 {
        u16::try_from(self.picos / PICOS_PER_MILLI).unwrap_or(999)
    }

    /// The picoseconds of the second.
    #[must_use]
    pub const fn subsec_picos(self) -> u64 {
        self.picos
    }

    pub(crate) fn write(self, out: &mut Encoder<'_>) {
        let (year, month, day, hour, minute, second) = self.civil();
        let mut text = Digits::default();
        text.push(year, 4);
        [month, day, hour, minute, second].into_iter().for_each(|part| text.push(part, 2));
        if self.picos != 0 {
            text.byte(b'.');
            text.push(self.subsec_millis().into(), 3);
        }
        text.byte(b'Z');
        out.value(Tag::GeneralizedTime, text.as_bytes());
    }

    pub(crate) fn read(from: &mut Decoder<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let at = from.error(field, DecodeErrorKind::Time(TimeError::Malformed));
        let content = from.generalized_time(field)?;
        Self::from_generalized(content)
            .map_err(|error| DecodeError { kind: DecodeErrorKind::Time(error), ..at })
    }

    fn from_generalized(content: &[u8]) -> Result<Self, TimeError> {
        let mut rest = content;
        let date = [digits(&mut rest, 4)?, digits(&mut rest, 2)?, digits(&mut rest, 2)?];
        let hour = digits(&mut rest, 2)?;
        let mut minute_second = [0, 0];
        for part in &mut minute_second {
            if rest.first().is_some_and(u8::is_ascii_digit) {
                *part = digits(&mut rest, 2)?;
            }
        }
        let mut millis = 0;
        if let [b'.', fraction @ ..] = rest {
            let length = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
            let (mut number, after) = fraction.split_at_checked(length).ok_or(TimeError::Malformed)?;
            millis = digits(&mut number, length.min(3))?;
            rest = after;
        }
        if !matches!(rest, b"" | b"Z") {
            return Err(TimeError::Malformed);
        }
        let [minute, second] = minute_second;
        Self::from_civil(date, [hour, minute, second], millis)
    }

    /// A second of 60 (a leap second) is the first of the next minute.
    fn from_civil(date: [i64; 3], time: [i64; 3], millis: i64) -> Result<Self, TimeError> {
        let [year, month, day] = date;
        let [hour, minute, second] = time;
        let in_range = (1..=12).contains(&month)
            && (1..=days_of_month(year, month)).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        if !in_range {
            return Err(TimeError::OutOfRange);
        }
        let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        Self::from_unix_millis(seconds * 1000 + millis)
    }

    /// Year, month, day, hour, minute, second.
    fn civil(self) -> (i64, i64, i64, i64, i64, i64) {
        let (days, second) = (self.unix_seconds().div_euclid(DAY), self.unix_seconds().rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        (year, month, day, second / 3600, second / 60 % 60, second % 60)
    }
}

impl From<DateTime> for Time {
    /// From the time of a certificate (1970 to 9999).
    fn from(time: DateTime) -> Self {
        let since = time.unix_duration();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self::from_unix(seconds, since.subsec_nanos()).unwrap_or(Self::MAX)
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with milliseconds where there are any: `2026-01-31T12:00:00.500-00:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.subsec_millis() != 0 {
            write!(f, ".{:03}", self.subsec_millis())?;
        }
        f.write_str("-00:00")
    }
}

impl FromStr for Time {
    type Err = TimeError;

    /// RFC 3339 with any offset, or a date alone, which is its midnight in UTC.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let mut rest = text.as_bytes();
        let year = digits(&mut rest, 4)?;
        byte(&mut rest, b"-")?;
        let month = digits(&mut rest, 2)?;
        byte(&mut rest, b"-")?;
        let day = digits(&mut rest, 2)?;
        if rest.is_empty() {
            return Self::from_civil([year, month, day], [0, 0, 0], 0);
        }
        byte(&mut rest, b"Tt ")?;
        let hour = digits(&mut rest, 2)?;
        byte(&mut rest, b":")?;
        let minute = digits(&mut rest, 2)?;
        byte(&mut rest, b":")?;
        let second = digits(&mut rest, 2)?;
        let mut millis = 0;
        if rest.first() == Some(&b'.') {
            byte(&mut rest, b".")?;
            let mut scale = 100;
            let mut any = false;
            while rest.first().is_some_and(u8::is_ascii_digit) {
                millis += digits(&mut rest, 1)? * scale;
                scale /= 10;
                any = true;
            }
            if !any {
                return Err(TimeError::Malformed);
            }
        }
        let offset = offset_minutes(&mut rest)?;
        let local = Self::from_civil([year, month, day], [hour, minute, second], millis)?;
        Self::from_unix_picos(local.seconds - offset * 60, local.picos)
    }
}

fn offset_minutes(rest: &mut &[u8]) -> Result<i64, TimeError> {
    let sign = byte(rest, b"Zz+-")?;
    if matches!(sign, b'Z' | b'z') {
        return if rest.is_empty() { Ok(0) } else { Err(TimeError::Malformed) };
    }
    let hours = digits(rest, 2)?;
    byte(rest, b":")?;
    let minutes = digits(rest, 2)?;
    if !rest.is_empty() {
        return Err(TimeError::Malformed);
    }
    if hours > 23 || minutes > 59 {
        return Err(TimeError::OutOfRange);
    }
    Ok((hours * 60 + minutes) * if sign == b'-' { -1 } else { 1 })
}

fn byte(rest: &mut &[u8], allowed: &[u8]) -> Result<u8, TimeError> {
    let (first, later) = rest.split_first().ok_or(TimeError::Malformed)?;
    if !allowed.contains(first) {
        return Err(TimeError::Malformed);
    }
    *rest = later;
    Ok(*first)
}

/// Exactly `count` decimal digits from the front of `rest`.
fn digits(rest: &mut &[u8], count: usize) -> Result<i64, TimeError> {
    let (number, later) = rest.split_at_checked(count).ok_or(TimeError::Malformed)?;
    *rest = later;
    number.iter().try_fold(0, |value: i64, c| {
        if c.is_ascii_digit() { Ok(value * 10 + i64::from(c - b'0')) } else { Err(TimeError::Malformed) }
    })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years are counted from March, so
/// that the leap day is the last of its year, in eras of 400 years of 146097 days.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse of [`days_from_civil`].
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

/// Decimal digits put together without a formatter.
#[derive(Default)]
struct Digits(String);

impl Digits {
    fn push(&mut self, value: i64, width: u32) {
        for place in (0..width).rev() {
            let digit = value / 10_i64.pow(place) % 10;
            self.byte(b'0' + u8::try_from(digit).unwrap_or(0));
        }
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(char::from(byte));
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a time (write 2026-01-31, or 2026-01-31T12:00:00Z)",
            Self::OutOfRange => "a date or time that does not exist, or is outside the years 0 to 9999",
        })
    }
}

impl core::error::Error for TimeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_day_of_the_range_has_one_date() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        for days in days_from_civil(0, 1, 1)..=days_from_civil(9999, 12, 31) {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            day += 1;
            if day > days_of_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn rfc3339_is_read_with_offsets() {
        let time: Time = "2026-01-31T13:00:00.25+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-31T12:00:00.250-00:00");
        assert_eq!("2026-01-31".parse::<Time>().unwrap().to_string(), "2026-01-31T00:00:00-00:00");
        for bad in
            ["", "2026", "2026-02-30", "2026-01-31T", "2026-01-31T24:00:00Z", "2026-01-31T12:00:00", "x"]
        {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }
}
