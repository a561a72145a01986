//! Numbers, text, names and times.

use std::collections::BTreeSet;

use albatross_proto::{Int, Name, Text, Time};
use asn1_rs::{Any, CheckDerConstraints, Class, GeneralizedTime, Tag};

use super::{Refused, Result, parts::is};

fn primitive(any: &Any<'_>, tag: Tag) -> Result<()> {
    if is(any, Class::Universal, false, tag) { Ok(()) } else { Err(Refused) }
}

pub(super) fn int(any: &Any<'_>) -> Result<Int> {
    primitive(any, Tag::Integer)?;
    i64::check_constraints(any).map_err(|_| Refused)?;
    let value = i64::try_from(any).map_err(|_| Refused)?;
    Int::new(value).map_err(|_| Refused)
}

/// The set of some numbers; any order and duplicates are read.
pub(super) fn set_of(numbers: Vec<Int>) -> BTreeSet<Int> {
    let mut set = BTreeSet::new();
    for number in numbers {
        set.insert(number);
    }
    set
}

pub(super) fn boolean(any: &Any<'_>) -> Result<bool> {
    primitive(any, Tag::Boolean)?;
    // First the length: the check of the constraints takes it for granted.
    let boolean = asn1_rs::Boolean::try_from(any).map_err(|_| Refused)?;
    asn1_rs::Boolean::check_constraints(any).map_err(|_| Refused)?;
    Ok(boolean.bool())
}

pub(super) fn null(any: &Any<'_>) -> Result<()> {
    primitive(any, Tag::Null)?;
    asn1_rs::Null::try_from(any).map(|_| ()).map_err(|_| Refused)
}

pub(super) fn octets<'a>(any: &Any<'a>) -> Result<&'a [u8]> {
    primitive(any, Tag::OctetString)?;
    Ok(any.data)
}

pub(super) fn fixed<const N: usize>(any: &Any<'_>) -> Result<[u8; N]> {
    octets(any)?.try_into().map_err(|_| Refused)
}

/// Eight octets, the highest first.
pub(super) fn int64(any: &Any<'_>) -> Result<i64> {
    let octets: [u8; 8] = fixed(any)?;
    let unsigned = octets.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    Ok(i64::from_ne_bytes(unsigned.to_ne_bytes()))
}

/// `asn1-rs` would refuse what is not UTF-8, which the protocol does not.
pub(super) fn utf8<'a>(any: &Any<'a>) -> Result<&'a [u8]> {
    primitive(any, Tag::Utf8String)?;
    Ok(any.data)
}

pub(super) fn text(any: &Any<'_>) -> Result<Text> {
    utf8(any).map(Text::from)
}

/// A name, by rules of its own: what the first decoder's parser then makes of the plainest spelling must
/// be what was found here.
pub(super) fn name(any: &Any<'_>) -> Result<Name> {
    let (path, label) = labels(utf8(any)?)?;
    let plain = format!("{}:{}", path.join(":"), label.as_deref().unwrap_or_default());
    let name: Name = plain.parse().expect("a name of good labels in lower case");
    assert_eq!(name.path().labels().collect::<Vec<_>>(), path, "{plain}");
    assert_eq!(name.label().map(|label| label.as_str()), label.as_deref(), "{plain}");
    Ok(name)
}

/// The labels of the path and the last one.
fn labels(octets: &[u8]) -> Result<(Vec<String>, Option<String>)> {
    if octets.is_empty() {
        return Err(Refused);
    }
    let mut pieces: Vec<&[u8]> = octets.split(|octet| *octet == b':').collect();
    if pieces.len() > 1 && pieces[0].is_empty() {
        pieces.remove(0);
    }
    let last = pieces.pop().ok_or(Refused)?;
    let path = pieces.into_iter().map(label).collect::<Result<_>>()?;
    Ok((path, if last.is_empty() { None } else { Some(label(last)?) }))
}

fn label(octets: &[u8]) -> Result<String> {
    if !(1..=63).contains(&octets.len()) || octets[0] == b'-' {
        return Err(Refused);
    }
    octets
        .iter()
        .map(|octet| match octet {
            b'A'..=b'Z' => Ok(char::from(octet + (b'a' - b'A'))),
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => Ok(char::from(*octet)),
            _ => Err(Refused),
        })
        .collect()
}

/// The peer reads more than `asn1-rs` does: minutes and seconds may be left out, a fraction may have any
/// number of digits (none, too) of which the first three count as a number of milliseconds, the `Z` may be
/// missing, and a minute may have a second 60. The rest is brought into the one form of DER, which
/// `asn1-rs` reads.
pub(super) fn time(any: &Any<'_>) -> Result<Time> {
    primitive(any, Tag::GeneralizedTime)?;
    let text = std::str::from_utf8(any.data).map_err(|_| Refused)?;
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit()) {
        return Err(Refused);
    }
    let (whole, extra) = match whole.len() {
        10 => (format!("{whole}0000"), 0),
        12 => (format!("{whole}00"), 0),
        14 if whole.ends_with("60") => (format!("{}59", &whole[..12]), 1),
        14 => (whole.to_owned(), 0),
        _ => return Err(Refused),
    };
    let read = GeneralizedTime::from_bytes(format!("{whole}Z").as_bytes()).map_err(|_| Refused)?;
    // `asn1-rs` leaves it to the calendar to know that there is no month 0 and no 30th of February.
    let seconds = read.utc_datetime().map_err(|_| Refused)?.unix_timestamp() + extra;
    let millis: u64 = format!("0{:.3}", fraction).parse().map_err(|_| Refused)?;
    Time::from_unix_picos(seconds, millis * 1_000_000_000).map_err(|_| Refused)
}
