//! The revoked certificates of a list (RFC 5280 section 5.1.2.6).

use std::{cmp::Ordering, fmt};

use albatross_proto::Time;
use der::Decode;

use super::{
    ListError, ListErrorKind, Value,
    extensions::read_entry_extensions,
    reader::{Cursor, tag},
};

/// The most octets of a serial number (RFC 5280 section 4.1.2.2). A certificate with a longer one is refused
/// by the verifier, so none needs to be revoked.
const MAX_SERIAL: usize = 20;
/// The first second of 2050. Times before it are written as UTCTime (RFC 5280 section 4.1.2.5).
const YEAR_2050: i64 = 2_524_608_000;

/// A revoked certificate.
///
/// ```asn1
/// SEQUENCE { userCertificate INTEGER, revocationDate Time, crlEntryExtensions Extensions OPTIONAL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The octets of the serial number, a leading zero octet included.
    pub serial: &'a [u8],
    /// Since when it is revoked. Whoever asks at an earlier time is told that it is revoked, too.
    pub date: Time,
    /// Why.
    pub reason: Option<Reason>,
}

/// Why a certificate was revoked (RFC 5280 section 5.3.1). `certificateHold` counts as revoked.
///
/// ```asn1
/// CRLReason ::= ENUMERATED { unspecified (0), keyCompromise (1), cACompromise (2), affiliationChanged (3),
///   superseded (4), cessationOfOperation (5), certificateHold (6), removeFromCRL (8),
///   privilegeWithdrawn (9), aACompromise (10) }
/// ```
/// `removeFromCRL` is for delta lists and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No reason given.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// Somebody else may have the key of this CA.
    CaCompromise,
    /// Whom it is about is somewhere else now.
    AffiliationChanged,
    /// There is a newer one.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// It is revoked for now.
    CertificateHold,
    /// What it allows was taken back.
    PrivilegeWithdrawn,
    /// Somebody else may have the key of an attribute authority.
    AaCompromise,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// Its number in the ENUMERATED.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    /// As RFC 5280 has it: `keyCompromise`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        })
    }
}

/// The entries of a list, in its order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Entries<'a> {
    pub(super) const fn new(cursor: Cursor<'a>) -> Self {
        Self { cursor }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        // The entries were read before, so nothing fails here.
        if self.cursor.is_finished() {
            None
        } else {
            read_entry(&mut self.cursor).ok().map(|(_, entry)| entry)
        }
    }
}

/// Where the serial numbers of a list stand in it, for finding one without looking at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Serials {
    /// Where the content of each begins, in the order of the contents, each content once.
    ///
    /// Invariant: each is a serial number of [`MAX_SERIAL`] octets at most, its length in the octet before.
    positions: Vec<u32>,
}

impl Serials {
    pub(super) const NONE: Self = Self { positions: Vec::new() };

    /// Reads all entries: a SEQUENCE that is not empty. `whole` is the list, of 4 GiB at most.
    pub(super) fn read(whole: &[u8], entries: &Value<'_>) -> Result<Self, ListError> {
        let mut cursor = entries.inside();
        if cursor.is_finished() {
            return Err(entries.error("revokedCertificates", ListErrorKind::EmptyList));
        }
        let mut found = Vec::new();
        while !cursor.is_finished() {
            let (position, entry) = read_entry(&mut cursor)?;
            // A list of 4 GiB and more is refused before.
            found.push((first_octets(entry.serial), u32::try_from(position).unwrap_or(u32::MAX)));
        }
        // Most serial numbers differ in their first octets, so the list itself is hardly looked at.
        found.sort_unstable_by(|(a, at_a), (b, at_b)| {
            a.cmp(b).then_with(|| serial_at(whole, *at_a).cmp(serial_at(whole, *at_b)))
        });
        let mut positions: Vec<u32> = found.into_iter().map(|(_, position)| position).collect();
        positions.dedup_by(|a, b| serial_at(whole, *a) == serial_at(whole, *b));
        positions.shrink_to_fit();
        Ok(Self { positions })
    }

    pub(super) const fn len(&self) -> usize {
        self.positions.len()
    }

    #[cfg(test)]
    pub(super) const fn octets(&self) -> usize {
        self.positions.capacity() * size_of::<u32>()
    }

    /// Whether there is a serial number for which `order` says that it is the one that is looked for.
    pub(super) fn find(&self, whole: &[u8], mut order: impl FnMut(&[u8]) -> Ordering) -> bool {
        self.positions.binary_search_by(|position| order(serial_at(whole, *position))).is_ok()
    }
}

/// The first eight octets of a serial number as a number that orders as they do, missing ones as zeros.
fn first_octets(serial: &[u8]) -> u64 {
    let mut octets = [0; 8];
    octets.iter_mut().zip(serial).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(octets)
}

fn serial_at(whole: &[u8], position: u32) -> &[u8] {
    let Ok(start) = usize::try_from(position) else { return &[] };
    let length = start.checked_sub(1).and_then(|at| whole.get(at)).copied().map_or(0, usize::from);
    whole.get(start..start.saturating_add(length)).unwrap_or_default()
}

/// An entry, and where the content of its serial number begins.
fn read_entry<'a>(from: &mut Cursor<'a>) -> Result<(usize, Entry<'a>), ListError> {
    const FIELD: &str = "revokedCertificates";
    let mut fields = from.expect(tag::SEQUENCE, FIELD)?.inside();
    let serial = fields.expect(tag::INTEGER, "userCertificate")?;
    if !is_serial(serial.content()) {
        return Err(serial.error("userCertificate", ListErrorKind::SerialNumber));
    }
    let date = read_time(&fields.any("revocationDate")?, "revocationDate")?;
    let extensions = fields.optional(tag::SEQUENCE, "crlEntryExtensions")?;
    let reason = extensions.as_ref().map(read_entry_extensions).transpose()?.flatten();
    fields.finish(FIELD)?;
    Ok((serial.range().start, Entry { serial: serial.content(), date, reason }))
}

/// The content of a positive INTEGER in its shortest form.
fn is_serial(content: &[u8]) -> bool {
    let positive = match content {
        [] | [0] => false,
        [0, second, ..] => second & 0x80 != 0,
        [first, ..] => first & 0x80 == 0,
    };
    positive && content.len() <= MAX_SERIAL
}

/// `Time ::= CHOICE { utcTime UTCTime, generalTime GeneralizedTime }`
pub(super) fn read_time(value: &Value<'_>, field: &'static str) -> Result<Time, ListError> {
    let wrong = || value.error(field, ListErrorKind::Value);
    let time = x509_cert::time::Time::from_der(value.raw()).map_err(|_| wrong())?;
    let time = Time::from(time.to_date_time());
    let early = time.unix_seconds() < YEAR_2050;
    if early == (value.tag() == tag::UTC_TIME) { Ok(time) } else { Err(wrong()) }
}
