//! Making revocation lists (RFC 5280 section 5).

use std::{collections::BTreeSet, fmt};

use albatross_proto::Time;
use der::{Encode, asn1::OctetString};
use ring::rand::SecureRandom;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::{IssueError, KeyError, Serial, SigningKey, Validity, key::signature_algorithm};
use crate::{
    certificate::{Certificate, oid},
    revocation::{
        CRL_NUMBER, ListError, ListNumber, MAX_LIST_SIZE, REASON_CODE, Reason, RevocationError,
        RevocationList, check_issuer,
    },
};

mod database;
mod write;

pub use database::{Database, DatabaseError, Selected, parse_serial};
use write::Writer;

/// After how many days there will be a newer list by default. Lists that are older are honoured still, so
/// this is a promise to people and other verifiers.
pub const LIST_DAYS: u32 = 30;

/// A CA that makes revocation lists.
#[derive(Clone, Copy)]
pub struct ListIssuer<'a> {
    /// Invariant: a CA that may sign lists, with this key.
    certificate: &'a Certificate<'a>,
    key: &'a dyn SigningKey,
}

/// What comes from the caller for each list.
#[derive(Clone, Copy)]
pub struct ListTerms<'a> {
    /// From when on it counts, and until when there will be a newer one. [`Validity::days`] begins 10
    /// seconds in the past, as clocks differ.
    pub validity: Validity,
    /// Its number. `None`: one more than that of the list before, 1 without any. One is to be given when
    /// the list before was lost: endpoints take newer numbers only.
    pub number: Option<ListNumber>,
    /// Where random octets come from.
    pub random: &'a dyn SecureRandom,
}

/// A certificate to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Serial,
    /// Since when it is revoked.
    pub date: Time,
    /// Why. [`Reason::Unspecified`] is left out.
    pub reason: Option<Reason>,
}

/// Why no list was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevokeError {
    /// The certificate may not sign lists.
    Issuer(RevocationError),
    /// The key is not that of the certificate.
    KeyMismatch {
        /// The subject of the certificate.
        subject: String,
    },
    /// The list before is not one of this CA.
    Previous(RevocationError),
    /// The number that was asked for is not larger than that of the list before.
    NumberNotLarger {
        /// The number of the list before.
        previous: ListNumber,
    },
    /// There is no larger number.
    NoNumberLeft,
    /// The list would have more octets than are read.
    TooLarge {
        /// How many are.
        limit: usize,
    },
    /// Times that cannot be written.
    Time(IssueError),
    /// The key did not sign.
    Key(KeyError),
    /// DER that could not be written.
    Write(der::ErrorKind),
    /// What was written cannot be read: an error of ours.
    Unreadable(ListError),
}

impl<'a> ListTerms<'a> {
    /// Terms with the next number.
    #[must_use]
    pub const fn new(validity: Validity, random: &'a dyn SecureRandom) -> Self {
        Self { validity, number: None, random }
    }
}

impl<'a> ListIssuer<'a> {
    /// A CA with its key.
    ///
    /// # Errors
    /// [`RevokeError::Issuer`]: no CA, or without the key usage cRLSign; [`RevokeError::KeyMismatch`].
    pub fn new(certificate: &'a Certificate<'a>, key: &'a dyn SigningKey) -> Result<Self, RevokeError> {
        check_issuer(certificate).map_err(RevokeError::Issuer)?;
        if certificate.public_key() != key.public_key() {
            return Err(RevokeError::KeyMismatch { subject: certificate.subject().to_string() });
        }
        Ok(Self { certificate, key })
    }

    /// Makes a list with all entries of the one before, and those of `revoked` that are not among them: a
    /// certificate that is revoked already keeps its date and reason. Without any entries it says that
    /// nothing is revoked.
    ///
    /// # Errors
    /// [`RevokeError`]: the list before is not one of this CA, times or numbers that cannot be written, the
    /// key did not sign, more than [`MAX_LIST_SIZE`] octets.
    pub fn issue(
        &self,
        previous: Option<&RevocationList<'_>>,
        revoked: &[Revoked],
        terms: &ListTerms<'_>,
    ) -> Result<RevocationList<'static>, RevokeError> {
        if let Some(previous) = previous {
            previous.verify(self.certificate).map_err(RevokeError::Previous)?;
        }
        let number = next_number(previous, terms.number)?;
        let tbs = self.tbs(previous, revoked, terms.validity, number)?;
        let signature = self.key.sign(&tbs, terms.random)?;
        let mut out = Writer::default();
        let mut signed = Writer::default();
        signed.raw(&tbs);
        signed.raw(&self.algorithm()?);
        signed.bit_string(&signature);
        out.sequence(&signed);
        let limit = MAX_LIST_SIZE;
        if out.len() > limit {
            return Err(RevokeError::TooLarge { limit });
        }
        RevocationList::from_vec(out.into_vec(), limit).map_err(RevokeError::Unreadable)
    }

    /// ```asn1
    /// TBSCertList ::= SEQUENCE { version INTEGER (1, which is version 2), signature AlgorithmIdentifier,
    ///   issuer Name, thisUpdate Time, nextUpdate Time, revokedCertificates SEQUENCE SIZE (1..MAX) OF Entry
    ///   OPTIONAL, crlExtensions [0] EXPLICIT Extensions }
    /// ```
    fn tbs(
        &self,
        previous: Option<&RevocationList<'_>>,
        revoked: &[Revoked],
        validity: Validity,
        number: ListNumber,
    ) -> Result<Vec<u8>, RevokeError> {
        let [this_update, next_update] = validity.encoded().map_err(RevokeError::Time)?;
        let mut fields = Writer::default();
        fields.integer(&[1]);
        fields.raw(&self.algorithm()?);
        fields.raw(self.certificate.subject().as_der());
        fields.raw(&this_update.to_der()?);
        fields.raw(&next_update.to_der()?);
        let entries = entries(previous, revoked)?;
        if !entries.is_empty() {
            fields.sequence(&entries);
        }
        fields.explicit_0(&self.extensions(number)?);
        let mut tbs = Writer::default();
        tbs.sequence(&fields);
        Ok(tbs.into_vec())
    }

    fn extensions(&self, number: ListNumber) -> Result<Writer, RevokeError> {
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(self.certificate.key_id())?),
            ..AuthorityKeyIdentifier::default()
        };
        let mut value = Writer::default();
        value.integer(number.as_bytes());
        let mut list = Writer::default();
        list.extension(&oid::AUTHORITY_KEY_ID, &authority.to_der()?);
        list.extension(&CRL_NUMBER, &value.into_vec());
        let mut extensions = Writer::default();
        extensions.sequence(&list);
        Ok(extensions)
    }

    fn algorithm(&self) -> Result<Vec<u8>, RevokeError> {
        Ok(signature_algorithm(self.key.public_key())?.identifier().to_der()?)
    }
}

impl fmt::Debug for ListIssuer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListIssuer").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl fmt::Debug for ListTerms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { validity, number, random: _ } = self;
        f.debug_struct("ListTerms")
            .field("validity", validity)
            .field("number", number)
            .finish_non_exhaustive()
    }
}

fn next_number(
    previous: Option<&RevocationList<'_>>,
    asked: Option<ListNumber>,
) -> Result<ListNumber, RevokeError> {
    match (previous.map(RevocationList::number), asked) {
        (None, asked) => Ok(asked.unwrap_or(ListNumber::FIRST)),
        (Some(previous), None) => previous.next().ok_or(RevokeError::NoNumberLeft),
        (Some(previous), Some(asked)) if asked > previous => Ok(asked),
        (Some(previous), Some(_)) => Err(RevokeError::NumberNotLarger { previous }),
    }
}

/// The entries of the list before as they stand, and the new ones.
fn entries(previous: Option<&RevocationList<'_>>, revoked: &[Revoked]) -> Result<Writer, RevokeError> {
    let mut out = Writer::default();
    if let Some(previous) = previous {
        out.raw(previous.raw_entries());
    }
    let mut written = BTreeSet::new();
    for Revoked { serial, date, reason } in revoked {
        let serial = serial.as_bytes();
        if previous.is_some_and(|previous| previous.contains(serial)) || !written.insert(serial) {
            continue;
        }
        let [date, _] = Validity::new(*date, *date).and_then(Validity::encoded).map_err(RevokeError::Time)?;
        let mut entry = Writer::default();
        entry.integer(serial);
        entry.raw(&date.to_der()?);
        if let Some(reason) = reason.filter(|reason| *reason != Reason::Unspecified) {
            let mut value = Writer::default();
            value.enumerated(reason.code());
            let mut extensions = Writer::default();
            extensions.extension(&REASON_CODE, &value.into_vec());
            entry.sequence(&extensions);
        }
        out.sequence(&entry);
    }
    Ok(out)
}

impl fmt::Display for RevokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(error) => error.fmt(f),
            Self::KeyMismatch { subject } => {
                write!(f, "the key is not that of the certificate of the CA, {subject}")
            }
            Self::Previous(error) => write!(f, "the list so far is not one of this CA: {error}"),
            Self::NumberNotLarger { previous } => {
                write!(f, "the list so far has number {previous}: give a larger one, or none")
            }
            Self::NoNumberLeft => f.write_str("the list so far has the largest number there is"),
            Self::TooLarge { limit } => write!(f, "the list would have more than {limit} octets"),
            Self::Time(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Write(kind) => write!(f, "the list cannot be written: {kind}"),
            Self::Unreadable(error) => write!(f, "the list that was made cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RevokeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Issuer(error) | Self::Previous(error) => Some(error),
            Self::Time(error) => Some(error),
            Self::Key(error) => Some(error),
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<der::Error> for RevokeError {
    fn from(error: der::Error) -> Self {
        Self::Write(error.kind())
    }
}

impl From<KeyError> for RevokeError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
