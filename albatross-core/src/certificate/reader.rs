//! Reading DER with a name for each field, on `der`'s reader. Errors know where their field stands.

use der::{Decode, Reader, SliceReader, Tag, asn1::AnyRef};

use super::{CertificateError, CertificateErrorKind};

/// Reads `bytes` to the last octet.
pub(crate) fn read_all<'a, T>(
    bytes: &'a [u8],
    field: &'static str,
    read: impl FnOnce(&mut SliceReader<'a>) -> Result<T, CertificateError>,
) -> Result<T, CertificateError> {
    if bytes.is_empty() {
        // `der` has no reader of nothing; a field that is read here has content.
        return Err(CertificateErrorKind::Empty { field }.at(bytes));
    }
    let mut reader = SliceReader::new(bytes).map_err(|error| not_der(field, &error).at(bytes))?;
    let value = read(&mut reader)?;
    let rest = rest(&reader);
    reader.finish().map_err(|error| not_der(field, &error).at(rest))?;
    Ok(value)
}

/// The next value, decoded.
pub(crate) fn any<'a, T>(from: &mut SliceReader<'a>, field: &'static str) -> Result<T, CertificateError>
where
    T: Decode<'a, Error = der::Error>,
{
    let before = from.clone();
    T::decode(from).map_err(|error| not_der(field, &error).at(rest(&before)))
}

/// The content octets of the next value, which has this tag.
pub(crate) fn content<'a>(
    from: &mut SliceReader<'a>,
    tag: Tag,
    field: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let before = from.clone();
    let value: AnyRef<'a> = any(from, field)?;
    der::Tagged::tag(&value).assert_eq(tag).map_err(|error| not_der(field, &error).at(rest(&before)))?;
    Ok(value.value())
}

/// The next value as it stands, with its tag and length; the tag is checked.
pub(crate) fn raw<'a>(
    from: &mut SliceReader<'a>,
    tag: Tag,
    field: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let before = from.clone();
    Tag::peek(from)
        .and_then(|found| found.assert_eq(tag))
        .and_then(|_| from.tlv_bytes())
        .map_err(|error| not_der(field, &error).at(rest(&before)))
}

/// What a reader has not read yet.
fn rest<'a>(reader: &SliceReader<'a>) -> &'a [u8] {
    let mut reader = reader.clone();
    let length = reader.remaining_len();
    // All that remains is there.
    reader.read_slice(length).unwrap_or_default()
}

pub(crate) fn not_der(field: &'static str, error: &der::Error) -> CertificateErrorKind {
    CertificateErrorKind::Der { field, kind: error.kind() }
}
