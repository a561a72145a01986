//! The subject and issuer of a certificate (RFC 5280 section 4.1.2.4).

use std::fmt;

use der::{
    Reader, SliceReader, Tag, Tagged,
    asn1::{AnyRef, ObjectIdentifier},
};

use super::{CertificateError, CertificateErrorKind, any, content, oid, read_all};

/// A distinguished name as it stands in a certificate. Two are equal when their DER is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistinguishedName<'a> {
    /// Invariant: was read by [`DistinguishedName::check`].
    der: &'a [u8],
}

impl<'a> DistinguishedName<'a> {
    /// Checks the DER of a `Name`: its structure, and that each value is text.
    pub(crate) fn check(der: &'a [u8], field: &'static str) -> Result<Self, CertificateError> {
        for_each_attribute(der, field, |_, _| ())?;
        Ok(Self { der })
    }

    /// The name of a parsed certificate; `der` was checked before.
    pub(crate) const fn checked(der: &'a [u8]) -> Self {
        Self { der }
    }

    /// The name with its tag and length.
    #[must_use]
    pub const fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// The CommonName; of several the last one, as the peer has it.
    #[must_use]
    pub fn common_name(&self) -> Option<&'a str> {
        let mut last = None;
        // The name was checked when it was read, so nothing fails here.
        let _checked = for_each_attribute(self.der, "name", |oid, text| {
            if oid == oid::COMMON_NAME {
                last = Some(text);
            }
        });
        last
    }
}

impl fmt::Display for DistinguishedName<'_> {
    /// `CN=alice,2.5.4.10=example`, control characters escaped; `(empty)` without any attribute.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        let mut first = true;
        let _checked = for_each_attribute(self.der, "name", |oid, text| {
            let comma = if first { "" } else { "," };
            first = false;
            result = result.and_then(|()| match oid {
                oid::COMMON_NAME => write!(f, "{comma}CN={}", text.escape_debug()),
                oid => write!(f, "{comma}{oid}={}", text.escape_debug()),
            });
        });
        if first { f.write_str("(empty)") } else { result }
    }
}

/// ```asn1
/// Name ::= SEQUENCE OF SET SIZE (1..MAX) OF SEQUENCE { type OBJECT IDENTIFIER, value ANY }
/// ```
fn for_each_attribute<'a>(
    der: &'a [u8],
    field: &'static str,
    mut visit: impl FnMut(ObjectIdentifier, &'a str),
) -> Result<(), CertificateError> {
    let names = read_all(der, field, |from| content(from, Tag::Sequence, field))?;
    if names.is_empty() {
        return Ok(());
    }
    read_all(names, field, |from| {
        while !from.is_finished() {
            let set = content(from, Tag::Set, field)?;
            read_all(set, field, |from| {
                while !from.is_finished() {
                    let (oid, text) = attribute(from, field)?;
                    visit(oid, text);
                }
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn attribute<'a>(
    from: &mut SliceReader<'a>,
    field: &'static str,
) -> Result<(ObjectIdentifier, &'a str), CertificateError> {
    let pair = content(from, Tag::Sequence, field)?;
    read_all(pair, field, |from| {
        let oid = any(from, field)?;
        let value: AnyRef<'a> = any(from, field)?;
        let text = std::str::from_utf8(value.value()).ok().filter(|text| match value.tag() {
            Tag::Utf8String => true,
            Tag::PrintableString | Tag::Ia5String | Tag::TeletexString | Tag::NumericString => {
                text.is_ascii()
            }
            _ => false,
        });
        let text = text.ok_or_else(|| CertificateErrorKind::NameNotText { field }.at(value.value()))?;
        Ok((oid, text))
    })
}
