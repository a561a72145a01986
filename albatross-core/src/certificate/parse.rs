//! One certificate, parsed (RFC 5280 section 4.1).

use std::{borrow::Cow, ops::Range};

use albatross_proto::{Command, DecodeError, Time, extension};
use der::{Reader, SliceReader, Tag, TagNumber, asn1::BitStringRef};
use spki::AlgorithmIdentifierRef;

use super::{
    CertificateError, CertificateErrorKind, DistinguishedName, PublicKey, SignatureAlgorithm, SignatureError,
    any, content, extensions::Extensions, raw, read_all,
};

/// The most octets of a serial number (RFC 5280 section 4.1.2.2).
const MAX_SERIAL: usize = 20;

/// A certificate: its DER, and what that says.
///
/// Parsing copies nothing large: the value of the Albatross extension, of up to 16 MiB, stays in the DER.
/// That a certificate could be parsed says nothing about whether it may be trusted; see
/// [`verify()`](super::verify()).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    der: Cow<'a, [u8]>,
    /// Invariant: every range lies within `der`.
    fields: Fields,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    /// What is signed, with its tag and length.
    tbs: Range<usize>,
    version_is_3: bool,
    serial: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    not_before: Time,
    not_after: Time,
    key: PublicKey,
    extensions: Extensions,
    /// The algorithm inside and outside of what is signed are the same.
    algorithms_agree: bool,
    algorithm: Option<SignatureAlgorithm>,
    signature: Range<usize>,
}

/// Something that is signed: `SEQUENCE { signed SEQUENCE, AlgorithmIdentifier, signature BIT STRING }`.
pub(crate) struct Signed<'a> {
    /// What is signed, with its tag and length.
    pub(crate) tbs: &'a [u8],
    /// The content of that.
    pub(crate) content: &'a [u8],
    /// The AlgorithmIdentifier with its tag and length.
    pub(crate) raw_algorithm: &'a [u8],
    pub(crate) algorithm: Option<SignatureAlgorithm>,
    pub(crate) signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Parses a certificate, which must fill `der` to the last octet.
    ///
    /// # Errors
    /// [`CertificateError`] says which field is not what it should be.
    pub fn from_der(der: &'a [u8]) -> Result<Self, CertificateError> {
        let fields = Fields::read(der).map_err(|error| error.within(der))?;
        Ok(Self { fields, der: Cow::Borrowed(der) })
    }

    /// The same for DER of its own.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub fn from_vec(der: Vec<u8>) -> Result<Certificate<'static>, CertificateError> {
        let fields = Fields::read(&der).map_err(|error| error.within(&der))?;
        Ok(Certificate { fields, der: Cow::Owned(der) })
    }

    /// The same certificate with DER of its own.
    #[must_use]
    pub fn into_owned(self) -> Certificate<'static> {
        Certificate { der: Cow::Owned(self.der.into_owned()), fields: self.fields }
    }

    /// The DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> DistinguishedName<'_> {
        DistinguishedName::checked(self.slice(&self.fields.subject))
    }

    /// Who signed it.
    #[must_use]
    pub fn issuer(&self) -> DistinguishedName<'_> {
        DistinguishedName::checked(self.slice(&self.fields.issuer))
    }

    /// The CommonName of the subject.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.subject().common_name()
    }

    /// Whether subject and issuer are the same, as in a root.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// The octets of the serial number, a leading zero octet included.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        self.slice(&self.fields.serial)
    }

    /// The first second in which it is valid.
    #[must_use]
    pub const fn not_before(&self) -> Time {
        self.fields.not_before
    }

    /// The last second in which it is valid.
    #[must_use]
    pub const fn not_after(&self) -> Time {
        self.fields.not_after
    }

    /// The key that it is about.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.fields.key
    }

    /// Whether BasicConstraints say that it may issue certificates.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.fields.extensions.basic_constraints.is_some_and(|basic| basic.ca)
    }

    /// The DNS names of its SubjectAltName.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.fields.extensions.dns_names.iter().map(String::as_str)
    }

    /// The value of the Albatross extension.
    #[must_use]
    pub fn command_extension(&self) -> Option<&[u8]> {
        self.fields.extensions.command.as_ref().map(|range| self.slice(range))
    }

    /// The command that the Albatross extension carries. Large content is borrowed.
    ///
    /// # Errors
    /// [`DecodeError`] where the extension is there and cannot be read.
    pub fn command(&self) -> Result<Option<Command<'_>>, DecodeError> {
        self.command_extension().map(extension::decode).transpose()
    }

    /// Checks the signature of this certificate with the key of `issuer`.
    ///
    /// # Errors
    /// [`SignatureError`]: other algorithms inside and outside, an unknown one, a wrong signature.
    pub(crate) fn verify_signature(&self, issuer: &Certificate<'_>) -> Result<(), SignatureError> {
        if !self.fields.algorithms_agree {
            return Err(SignatureError::AlgorithmsDiffer);
        }
        let algorithm = self.fields.algorithm.ok_or(SignatureError::UnsupportedAlgorithm)?;
        let (tbs, signature) = (self.slice(&self.fields.tbs), self.slice(&self.fields.signature));
        issuer.public_key().verify(algorithm, tbs, signature)
    }

    /// Whether `issuer` issued this certificate: its name and its signature.
    pub(crate) fn is_issued_by(&self, issuer: &Certificate<'_>) -> bool {
        self.issuer() == issuer.subject() && self.verify_signature(issuer).is_ok()
    }

    /// Whether this is a CA whose key may sign certificates.
    pub(crate) fn may_issue(&self) -> bool {
        self.is_ca() && self.fields.extensions.key_usage.is_some_and(|usage| usage.cert_sign)
    }

    /// How many CAs may stand below it, where that is limited.
    pub(crate) fn path_length(&self) -> Option<u8> {
        self.fields.extensions.basic_constraints.and_then(|basic| basic.path_length)
    }

    /// The identifier of its key: what it says itself, or what is written for such a key.
    pub(crate) fn key_id(&self) -> Vec<u8> {
        let stated = self.fields.extensions.subject_key_id.clone();
        stated.unwrap_or_else(|| self.fields.key.key_id().to_vec())
    }

    pub(crate) const fn is_version_3(&self) -> bool {
        self.fields.version_is_3
    }

    pub(crate) const fn extensions(&self) -> &Extensions {
        &self.fields.extensions
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.der.get(range.clone()).unwrap_or_default()
    }
}

impl Fields {
    fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let signed = Signed::read(der, "certificate")?;
        read_all(signed.content, "tbsCertificate", |from| Self::read_tbs(der, &signed, from))
    }

    /// ```asn1
    /// TBSCertificate ::= SEQUENCE { version [0] EXPLICIT INTEGER DEFAULT v1, serialNumber INTEGER,
    ///   signature AlgorithmIdentifier, issuer Name, validity SEQUENCE { notBefore Time, notAfter Time },
    ///   subject Name, subjectPublicKeyInfo SubjectPublicKeyInfo, issuerUniqueID [1] .. OPTIONAL,
    ///   subjectUniqueID [2] .. OPTIONAL, extensions [3] EXPLICIT Extensions OPTIONAL }
    /// ```
    fn read_tbs<'a>(
        der: &[u8],
        signed: &Signed<'a>,
        from: &mut SliceReader<'a>,
    ) -> Result<Self, CertificateError> {
        let version_is_3 = read_version(from)?;
        let serial = read_serial(from)?;
        let inner_algorithm = raw(from, Tag::Sequence, "signature")?;
        let issuer = raw(from, Tag::Sequence, "issuer")?;
        DistinguishedName::check(issuer, "issuer")?;
        let validity = content(from, Tag::Sequence, "validity")?;
        let (not_before, not_after) =
            read_all(validity, "validity", |from| Ok((read_time(from)?, read_time(from)?)))?;
        let subject = raw(from, Tag::Sequence, "subject")?;
        DistinguishedName::check(subject, "subject")?;
        let key = PublicKey::read_spki(raw(from, Tag::Sequence, "subjectPublicKeyInfo")?)?;
        let extensions = read_extension_field(der, from)?;
        Ok(Self {
            tbs: range_in(der, signed.tbs),
            version_is_3,
            serial: range_in(der, serial),
            issuer: range_in(der, issuer),
            subject: range_in(der, subject),
            not_before,
            not_after,
            key,
            extensions,
            algorithms_agree: inner_algorithm == signed.raw_algorithm,
            algorithm: signed.algorithm,
            signature: range_in(der, signed.signature),
        })
    }
}

impl<'a> Signed<'a> {
    pub(crate) fn read(der: &'a [u8], field: &'static str) -> Result<Self, CertificateError> {
        let outer = read_all(der, field, |from| content(from, Tag::Sequence, field))?;
        read_all(outer, field, |from| {
            let tbs = raw(from, Tag::Sequence, field)?;
            let content = read_all(tbs, field, |from| content(from, Tag::Sequence, field))?;
            let raw_algorithm = raw(from, Tag::Sequence, "signatureAlgorithm")?;
            let identifier: AlgorithmIdentifierRef<'a> =
                read_all(raw_algorithm, "signatureAlgorithm", |from| any(from, "signatureAlgorithm"))?;
            let signature: BitStringRef<'a> = any(from, "signatureValue")?;
            let signature = signature.as_bytes().ok_or_else(|| {
                CertificateErrorKind::UnusedBits { field: "signatureValue" }.at(signature.raw_bytes())
            })?;
            let algorithm = SignatureAlgorithm::of(identifier);
            Ok(Self { tbs, content, raw_algorithm, algorithm, signature })
        })
    }
}

/// Where `part`, which was read from `whole`, stands in it.
pub(crate) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start.saturating_add(part.len())
}

/// Whether this is version 3; an absent version is 1.
fn read_version(from: &mut SliceReader<'_>) -> Result<bool, CertificateError> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    if Tag::peek(from).is_ok_and(|found| found == tag) {
        let version = content(from, tag, "version")?;
        let number: u8 = read_all(version, "version", |from| any(from, "version"))?;
        return Ok(number == 2);
    }
    Ok(false)
}

/// The content octets of a positive INTEGER.
fn read_serial<'a>(from: &mut SliceReader<'a>) -> Result<&'a [u8], CertificateError> {
    let serial = content(from, Tag::Integer, "serialNumber")?;
    let negative_or_zero = match serial {
        [] | [0] => true,
        [first, ..] => first & 0x80 != 0,
    };
    let padded = matches!(serial, [0, second, ..] if second & 0x80 == 0);
    if negative_or_zero || padded || serial.len() > MAX_SERIAL {
        return Err(CertificateErrorKind::SerialNumber.at(serial));
    }
    Ok(serial)
}

fn read_time(from: &mut SliceReader<'_>) -> Result<Time, CertificateError> {
    let time: x509_cert::time::Time = any(from, "validity")?;
    Ok(time.to_date_time().into())
}

/// The list of extensions; unique identifiers before it are refused.
fn read_extension_field(der: &[u8], from: &mut SliceReader<'_>) -> Result<Extensions, CertificateError> {
    if from.is_finished() {
        return Ok(Extensions::default());
    }
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    let field = content(from, tag, "extensions")?;
    let list = read_all(field, "extensions", |from| content(from, Tag::Sequence, "extensions"))?;
    Extensions::read(der, list)
}
