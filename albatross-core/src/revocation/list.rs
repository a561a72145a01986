//! One list, parsed (RFC 5280 section 5.1).

use std::{borrow::Cow, ops::Range};

use albatross_proto::{Time, frame};
use der::Decode;
use ring::digest;
use spki::AlgorithmIdentifierRef;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::{
    Entries, ListError, ListErrorKind, ListNumber, RevocationError, Value,
    entry::{Serials, read_time},
    extensions::{ListExtensions, read_list_extensions},
    issuer::check_made_by,
    reader::{Cursor, tag},
};
use crate::certificate::{
    Certificate, DistinguishedName, PublicKey, SignatureAlgorithm, SignatureError,
    pem::{self, PemError},
};

/// The most octets of a list by default: it comes in a message of the protocol.
pub const MAX_LIST_SIZE: usize = frame::MAX_MESSAGE;
/// The label of a list as PEM (RFC 7468 section 6).
pub const PEM_LABEL: &str = "X509 CRL";

/// The most octets of an issuer's name: that of a CA here is one CommonName. It is written into errors, so
/// its length is bounded.
const MAX_ISSUER: usize = 4096;
/// Positions in a list are kept in 32 bits.
const MAX_POSITION: usize = 0xffff_ffff;

/// A list of revoked certificates: its DER, and what that says.
///
/// ```asn1
/// CertificateList ::= SEQUENCE { tbsCertList TBSCertList, signatureAlgorithm AlgorithmIdentifier,
///   signatureValue BIT STRING }
/// TBSCertList ::= SEQUENCE { version INTEGER (1, which is version 2), signature AlgorithmIdentifier,
///   issuer Name, thisUpdate Time, nextUpdate Time, revokedCertificates SEQUENCE SIZE (1..MAX) OF Entry
///   OPTIONAL, crlExtensions [0] EXPLICIT Extensions }
/// ```
/// Beside the DER, four octets are kept for each entry, and up to 64 while it is parsed. That a list could be parsed says nothing
/// about who made it: see [`RevocationList::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList<'a> {
    der: Cow<'a, [u8]>,
    /// Invariant: every range lies within `der`.
    fields: Fields,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    /// What is signed, with its tag and length.
    tbs: Range<usize>,
    issuer: Range<usize>,
    this_update: Time,
    next_update: Time,
    /// The content of the list of entries.
    entries: Range<usize>,
    serials: Serials,
    number: ListNumber,
    authority_key_id: Option<AuthorityKeyIdentifier>,
    /// `None`: one that is not known here.
    algorithm: Option<SignatureAlgorithm>,
    signature: Range<usize>,
}

impl<'a> RevocationList<'a> {
    /// Parses a list, which must fill `der` to the last octet. `size_limit` is the most octets that it may
    /// have; [`MAX_LIST_SIZE`] is a good one.
    ///
    /// # Errors
    /// [`ListError`] says which field is not what it should be, and where it is.
    pub fn from_der(der: &'a [u8], size_limit: usize) -> Result<Self, ListError> {
        Ok(Self { fields: Fields::read(der, size_limit)?, der: Cow::Borrowed(der) })
    }

    /// The same for DER of its own.
    ///
    /// # Errors
    /// As [`RevocationList::from_der`].
    pub fn from_vec(der: Vec<u8>, size_limit: usize) -> Result<RevocationList<'static>, ListError> {
        Ok(RevocationList { fields: Fields::read(&der, size_limit)?, der: Cow::Owned(der) })
    }

    /// The DER of the only list of a PEM text. It is not parsed yet.
    ///
    /// # Errors
    /// [`PemError`]: none, more than one, too large.
    pub fn der_from_pem(text: &[u8], size_limit: usize) -> Result<Vec<u8>, PemError> {
        let mut found = pem::blocks(text)?.into_iter().filter(|block| block.label == PEM_LABEL);
        let first = found.next().ok_or(PemError::Missing { label: PEM_LABEL })?;
        if found.next().is_some() {
            Err(PemError::NotAlone { label: PEM_LABEL })
        } else if first.der.len() > size_limit {
            Err(PemError::TooLarge { limit: size_limit })
        } else {
            Ok(first.der.to_vec())
        }
    }

    /// The same list with DER of its own.
    #[must_use]
    pub fn into_owned(self) -> RevocationList<'static> {
        RevocationList { der: Cow::Owned(self.der.into_owned()), fields: self.fields }
    }

    /// The DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The same as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(PEM_LABEL, &self.der)
    }

    /// Whose certificates it is about, and who signed it as it says.
    #[must_use]
    pub fn issuer(&self) -> DistinguishedName<'_> {
        DistinguishedName::checked(self.slice(&self.fields.issuer))
    }

    /// What it says about its issuer, name and key identifier, in 32 octets: for telling apart files of several
    /// issuers. Whether it is true is not asked.
    #[must_use]
    pub fn issuer_digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        // The name says itself how long it is.
        context.update(self.issuer().as_der());
        if let Some(key) = self.authority_key_id().and_then(|key| key.key_identifier.as_ref()) {
            context.update(key.as_bytes());
        }
        // SHA-256 has 32 octets.
        context.finish().as_ref().try_into().unwrap_or_default()
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> ListNumber {
        self.fields.number
    }

    /// When it was made.
    #[must_use]
    pub const fn this_update(&self) -> Time {
        self.fields.this_update
    }

    /// Until when there will be a newer one.
    #[must_use]
    pub const fn next_update(&self) -> Time {
        self.fields.next_update
    }

    /// Whether there should be a newer one at this time. What it revokes stays revoked.
    #[must_use]
    pub const fn is_expired(&self, at: Time) -> bool {
        at.unix_seconds() > self.fields.next_update.unix_seconds()
    }

    /// How many serial numbers it revokes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.fields.serials.len()
    }

    /// Whether it revokes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it revokes the certificate with this serial number, given as the content octets of the
    /// INTEGER. It takes as many comparisons as the number of entries has bits.
    #[must_use]
    pub fn contains(&self, serial: &[u8]) -> bool {
        self.fields.serials.find(&self.der, |entry| entry.cmp(serial))
    }

    /// Its entries, in its order.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(Cursor::part(&self.der, self.fields.entries.clone()))
    }

    /// Checks that `issuer` made this list: a CA that may sign lists, its name, its key and its signature.
    /// Whether `issuer` is to be trusted is not checked.
    ///
    /// # Errors
    /// [`RevocationError::UnknownIssuer`], [`RevocationError::NotACa`], [`RevocationError::MayNotSign`],
    /// [`RevocationError::KeyIdentifier`], [`RevocationError::Signature`].
    pub fn verify(&self, issuer: &Certificate<'_>) -> Result<(), RevocationError> {
        check_made_by(self, issuer)
    }

    pub(super) fn verify_signature(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let algorithm = self.fields.algorithm.ok_or(SignatureError::UnsupportedAlgorithm)?;
        key.verify(algorithm, self.slice(&self.fields.tbs), self.slice(&self.fields.signature))
    }

    pub(super) const fn authority_key_id(&self) -> Option<&AuthorityKeyIdentifier> {
        self.fields.authority_key_id.as_ref()
    }

    /// The entries as they stand, for a list that has them, too.
    pub(crate) fn raw_entries(&self) -> &[u8] {
        self.slice(&self.fields.entries)
    }

    #[cfg(test)]
    pub(super) const fn serials(&self) -> &Serials {
        &self.fields.serials
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.der.get(range.clone()).unwrap_or_default()
    }
}

impl Fields {
    fn read(der: &[u8], size_limit: usize) -> Result<Self, ListError> {
        const FIELD: &str = "CertificateList";
        let limit = size_limit.min(MAX_POSITION);
        if der.len() > limit {
            return Err(ListError::new(FIELD, 0, ListErrorKind::TooLarge { limit }));
        }
        let mut outside = Cursor::new(der);
        let mut fields = outside.expect(tag::SEQUENCE, FIELD)?.inside();
        outside.finish(FIELD)?;
        let tbs = fields.expect(tag::SEQUENCE, "tbsCertList")?;
        let algorithm = fields.expect(tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = fields.expect(tag::BIT_STRING, "signatureValue")?;
        fields.finish("CertificateList")?;
        let [0, ..] = signature.content() else {
            // There are unused bits, or not even their number.
            return Err(signature.error("signatureValue", ListErrorKind::Value));
        };
        let known = read_algorithm(&algorithm)?;
        let signature = signature.range().start.saturating_add(1)..signature.range().end;
        Self::read_tbs(der, &tbs, &algorithm, known, signature)
    }

    fn read_tbs(
        der: &[u8],
        tbs: &Value<'_>,
        outer: &Value<'_>,
        algorithm: Option<SignatureAlgorithm>,
        signature: Range<usize>,
    ) -> Result<Self, ListError> {
        let mut fields = tbs.inside();
        read_version(&mut fields)?;
        let inner = fields.expect(tag::SEQUENCE, "signature")?;
        if inner.raw() != outer.raw() {
            return Err(inner.error("signature", ListErrorKind::AlgorithmsDiffer));
        }
        let issuer = fields.expect(tag::SEQUENCE, "issuer")?;
        check_name(&issuer)?;
        let this_update = read_time(&fields.any("thisUpdate")?, "thisUpdate")?;
        let next = fields.any("nextUpdate")?;
        let next_update = read_time(&next, "nextUpdate")?;
        if next_update < this_update {
            return Err(next.error("nextUpdate", ListErrorKind::NextUpdateTooEarly));
        }
        let entries = fields.optional(tag::SEQUENCE, "revokedCertificates")?;
        let serials = entries.as_ref().map(|entries| Serials::read(der, entries)).transpose()?;
        if fields.is_finished() {
            return Err(fields.error("crlExtensions", ListErrorKind::NoNumber));
        }
        let extensions = fields.expect(tag::EXPLICIT_0, "crlExtensions")?;
        fields.finish("tbsCertList")?;
        let ListExtensions { number, authority_key_id } = read_list_extensions(&extensions)?;
        Ok(Self {
            tbs: tbs.raw_range(),
            issuer: issuer.raw_range(),
            this_update,
            next_update,
            entries: entries.map_or(0..0, |entries| entries.range().clone()),
            serials: serials.unwrap_or(Serials::NONE),
            number,
            authority_key_id,
            algorithm,
            signature,
        })
    }
}

/// Version 2 is written as 1, and version 1 not at all.
fn read_version(fields: &mut Cursor<'_>) -> Result<(), ListError> {
    let refused = fields.error("version", ListErrorKind::NotVersion2);
    match fields.optional(tag::INTEGER, "version")? {
        Some(version) if version.content() == [1] => Ok(()),
        _ => Err(refused),
    }
}

fn read_algorithm(value: &Value<'_>) -> Result<Option<SignatureAlgorithm>, ListError> {
    AlgorithmIdentifierRef::from_der(value.raw())
        .map(SignatureAlgorithm::of)
        .map_err(|_| value.error("signatureAlgorithm", ListErrorKind::Value))
}

fn check_name(issuer: &Value<'_>) -> Result<(), ListError> {
    if issuer.raw().len() > MAX_ISSUER {
        return Err(issuer.error("issuer", ListErrorKind::IssuerTooLong { limit: MAX_ISSUER }));
    }
    DistinguishedName::check(issuer.raw(), "issuer")
        .map(|_| ())
        .map_err(|error| issuer.error("issuer", ListErrorKind::Issuer(error.within(issuer.raw()))))
}
