//! Names of subjects and extensions as the vectors write them.

use std::fmt::Write;

use albatross_core::certificate::{Certificate, DistinguishedName};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, TagNumber};

/// Short names of attributes; the others show their numbers.
const ATTRIBUTES: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Names of extensions (RFC 5280 section 4.2); the others show their numbers.
const EXTENSIONS: [(&str, &str); 17] = [
    ("2.5.29.9", "subjectDirectoryAttributes"),
    ("2.5.29.14", "subjectKeyIdentifier"),
    ("2.5.29.15", "keyUsage"),
    ("2.5.29.16", "privateKeyUsagePeriod"),
    ("2.5.29.17", "subjectAltName"),
    ("2.5.29.18", "issuerAltName"),
    ("2.5.29.19", "basicConstraints"),
    ("2.5.29.30", "nameConstraints"),
    ("2.5.29.31", "cRLDistributionPoints"),
    ("2.5.29.32", "certificatePolicies"),
    ("2.5.29.33", "policyMappings"),
    ("2.5.29.35", "authorityKeyIdentifier"),
    ("2.5.29.36", "policyConstraints"),
    ("2.5.29.37", "extKeyUsage"),
    ("2.5.29.46", "freshestCRL"),
    ("2.5.29.54", "inhibitAnyPolicy"),
    ("1.3.6.1.5.5.7.1.1", "authorityInfoAccess"),
];

/// An extension: its name, and whether it is critical.
pub(super) struct ExtensionName {
    pub(super) name: String,
    pub(super) is_critical: bool,
}

/// `/O=example/CN=alice`; attributes of one set are joined by `+`.
pub(super) fn subject(name: &DistinguishedName<'_>) -> String {
    let mut text = String::new();
    // A name of a parsed certificate was checked, so nothing fails here.
    if write_name(name.as_der(), &mut text).is_err() || text.is_empty() {
        text.push('/');
    }
    text
}

/// The extensions of a certificate in the order of their names.
pub(super) fn extensions(certificate: &Certificate<'_>) -> Vec<ExtensionName> {
    // A certificate that was parsed has this form.
    let mut extensions = read_extensions(certificate.der()).unwrap_or_default();
    extensions.sort_by(|a, b| a.name.cmp(&b.name));
    extensions
}

fn write_name(der: &[u8], text: &mut String) -> der::Result<()> {
    for_each(AnyRef::from_der(der)?.value(), |set| {
        let mut separator = '/';
        for_each(set.value(), |pair| {
            let mut fields = SliceReader::new(pair.value())?;
            let oid: ObjectIdentifier = fields.decode()?;
            let value: AnyRef<'_> = fields.decode()?;
            let value = String::from_utf8_lossy(value.value());
            // Writing to a String does not fail.
            _ = write!(text, "{separator}{}={value}", known(&ATTRIBUTES, oid));
            separator = '+';
            Ok(())
        })
    })
}

fn read_extensions(der: &[u8]) -> der::Result<Vec<ExtensionName>> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    let mut extensions = Vec::new();
    let certificate = AnyRef::from_der(der)?;
    let mut parts = SliceReader::new(certificate.value())?;
    let tbs: AnyRef<'_> = parts.decode()?;
    for_each(tbs.value(), |field| {
        if der::Tagged::tag(&field) != tag {
            return Ok(());
        }
        for_each(AnyRef::from_der(field.value())?.value(), |extension| {
            let mut fields = SliceReader::new(extension.value())?;
            let oid: ObjectIdentifier = fields.decode()?;
            let is_critical = Tag::peek(&fields)? == Tag::Boolean && fields.decode()?;
            let _value: &OctetStringRef = fields.decode()?;
            extensions.push(ExtensionName { name: known(&EXTENSIONS, oid), is_critical });
            Ok(())
        })
    })?;
    Ok(extensions)
}

/// Visits each of the values that stand one after the other.
fn for_each<'a>(content: &'a [u8], mut visit: impl FnMut(AnyRef<'a>) -> der::Result<()>) -> der::Result<()> {
    if content.is_empty() {
        return Ok(());
    }
    let mut reader = SliceReader::new(content)?;
    while !reader.is_finished() {
        visit(reader.decode()?)?;
    }
    Ok(())
}

fn known(table: &[(&str, &str)], oid: ObjectIdentifier) -> String {
    let oid = oid.to_string();
    table.iter().find(|(number, _)| *number == oid).map_or(oid, |(_, name)| (*name).to_owned())
}
