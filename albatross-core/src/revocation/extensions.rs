//! The extensions of a list and of its entries (RFC 5280 sections 5.2 and 5.3).

use der::{Decode, asn1::ObjectIdentifier};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::{ListError, ListErrorKind, ListNumber, Reason, Value, reader::tag};
use crate::certificate::{MAX_EVALUATED, oid::AUTHORITY_KEY_ID};

/// `id-ce-cRLNumber`
pub(crate) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
/// `id-ce-cRLReasons`, the reasonCode of an entry
pub(crate) const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
/// `id-ce-invalidityDate`
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");
/// `id-ce-deltaCRLIndicator`
const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
/// `id-ce-issuingDistributionPoint`
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
/// `id-ce-certificateIssuer`
const CERTIFICATE_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.29");

/// The most extensions of a list, and of an entry: RFC 5280 has seven for lists and three for entries. Each
/// is looked for among all before it, so their number is bounded.
const MAX_EXTENSIONS: usize = 16;

/// What the extensions of a list say.
#[derive(Debug)]
pub(super) struct ListExtensions {
    pub(super) number: ListNumber,
    pub(super) authority_key_id: Option<AuthorityKeyIdentifier>,
}

struct Extension<'a> {
    oid: ObjectIdentifier,
    critical: bool,
    /// The OCTET STRING with the value.
    value: Value<'a>,
}

/// The extensions of a list. `extensions` is `[0] EXPLICIT Extensions`.
pub(super) fn read_list_extensions(extensions: &Value<'_>) -> Result<ListExtensions, ListError> {
    const FIELD: &str = "crlExtensions";
    let mut explicit = extensions.inside();
    let list = explicit.expect(tag::SEQUENCE, FIELD)?;
    explicit.finish(FIELD)?;
    let (mut number, mut authority_key_id) = (None, None);
    for_each(&list, FIELD, |extension| {
        let Extension { oid, critical, value } = extension;
        match oid {
            CRL_NUMBER => number = Some(read_number(&value)?),
            AUTHORITY_KEY_ID => authority_key_id = Some(read_key_id(&value)?),
            DELTA_CRL_INDICATOR => return Err(value.error("deltaCRLIndicator", ListErrorKind::Delta)),
            ISSUING_DISTRIBUTION_POINT => {
                return Err(value.error("issuingDistributionPoint", ListErrorKind::Partial));
            }
            _ if critical => return Err(unknown(&value, FIELD, oid)),
            _ => {}
        }
        Ok(())
    })?;
    let number = number.ok_or_else(|| list.error(FIELD, ListErrorKind::NoNumber))?;
    Ok(ListExtensions { number, authority_key_id })
}

/// The reason among the extensions of an entry.
pub(super) fn read_entry_extensions(list: &Value<'_>) -> Result<Option<Reason>, ListError> {
    const FIELD: &str = "crlEntryExtensions";
    let mut reason = None;
    for_each(list, FIELD, |extension| {
        let Extension { oid, critical, value } = extension;
        match oid {
            REASON_CODE => reason = Some(read_reason(&value)?),
            CERTIFICATE_ISSUER => return Err(value.error("certificateIssuer", ListErrorKind::Indirect)),
            INVALIDITY_DATE => {
                let _well_formed = single(&value, tag::GENERALIZED_TIME, "invalidityDate")?;
            }
            _ if critical => return Err(unknown(&value, FIELD, oid)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(reason)
}

/// ```asn1
/// Extensions ::= SEQUENCE SIZE (1..MAX) OF SEQUENCE { extnID OBJECT IDENTIFIER,
///                critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }
/// ```
fn for_each<'a>(
    list: &Value<'a>,
    field: &'static str,
    mut visit: impl FnMut(Extension<'a>) -> Result<(), ListError>,
) -> Result<(), ListError> {
    let mut extensions = list.inside();
    let mut seen: Vec<ObjectIdentifier> = Vec::new();
    if extensions.is_finished() {
        return Err(list.error(field, ListErrorKind::Ended));
    }
    while !extensions.is_finished() {
        let fields = extensions.expect(tag::SEQUENCE, field)?;
        let extension = read_extension(&fields, field)?;
        if seen.contains(&extension.oid) {
            return Err(fields.error(field, ListErrorKind::DuplicateExtension { oid: extension.oid }));
        }
        if seen.len() == MAX_EXTENSIONS {
            return Err(fields.error(field, ListErrorKind::TooManyExtensions { limit: MAX_EXTENSIONS }));
        }
        seen.push(extension.oid);
        visit(extension)?;
    }
    Ok(())
}

fn read_extension<'a>(whole: &Value<'a>, field: &'static str) -> Result<Extension<'a>, ListError> {
    let mut fields = whole.inside();
    let id = fields.expect(tag::OID, field)?;
    let oid =
        ObjectIdentifier::from_bytes(id.content()).map_err(|_| id.error(field, ListErrorKind::Value))?;
    let critical = match fields.optional(tag::BOOLEAN, field)? {
        None => false,
        Some(value) if value.content() == [0xff] => true,
        // DER leaves a default out and writes TRUE as 0xff.
        Some(value) => return Err(value.error(field, ListErrorKind::Value)),
    };
    let value = fields.expect(tag::OCTET_STRING, field)?;
    fields.finish(field)?;
    Ok(Extension { oid, critical, value })
}

const fn unknown(value: &Value<'_>, field: &'static str, oid: ObjectIdentifier) -> ListError {
    value.error(field, ListErrorKind::UnknownCriticalExtension { oid })
}

/// The only value in the value of an extension.
fn single<'a>(value: &Value<'a>, tag: u8, field: &'static str) -> Result<Value<'a>, ListError> {
    let mut inside = value.inside();
    let content = inside.expect(tag, field)?;
    inside.finish(field)?;
    Ok(content)
}

fn read_number(value: &Value<'_>) -> Result<ListNumber, ListError> {
    let number = single(value, tag::INTEGER, "cRLNumber")?;
    ListNumber::from_content(number.content()).ok_or_else(|| number.error("cRLNumber", ListErrorKind::Number))
}

fn read_key_id(value: &Value<'_>) -> Result<AuthorityKeyIdentifier, ListError> {
    if value.content().len() > MAX_EVALUATED {
        return Err(
            value.error("authorityKeyIdentifier", ListErrorKind::LongExtension { limit: MAX_EVALUATED })
        );
    }
    AuthorityKeyIdentifier::from_der(value.content())
        .map_err(|_| value.error("authorityKeyIdentifier", ListErrorKind::Value))
}

fn read_reason(value: &Value<'_>) -> Result<Reason, ListError> {
    let code = single(value, tag::ENUMERATED, "reasonCode")?;
    let reason = match code.content() {
        [code] => Reason::from_code(*code),
        _ => None,
    };
    reason.ok_or_else(|| code.error("reasonCode", ListErrorKind::Reason))
}
