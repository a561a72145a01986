//! Reading DER with a name for each field, on `der`'s reader.

use der::{Decode, Reader, SliceReader, Tag, asn1::AnyRef};

use super::CertificateError;

/// Reads `bytes` to the last octet.
pub(crate) fn read_all<'a, T>(
    bytes: &'a [u8],
    field: &'static str,
    read: impl FnOnce(&mut SliceReader<'a>) -> Result<T, CertificateError>,
) -> Result<T, CertificateError> {
    let failed = |error: der::Error| CertificateError::Der { field, kind: error.kind() };
    if bytes.is_empty() {
        // `der` has no reader of nothing; a field that is read here has content.
        return Err(CertificateError::Empty { field });
    }
    let mut reader = SliceReader::new(bytes).map_err(failed)?;
    let value = read(&mut reader)?;
    reader.finish().map_err(failed)?;
    Ok(value)
}

/// The next value, decoded.
pub(crate) fn any<'a, T>(from: &mut SliceReader<'a>, field: &'static str) -> Result<T, CertificateError>
where
    T: Decode<'a, Error = der::Error>,
{
    T::decode(from).map_err(|error| CertificateError::Der { field, kind: error.kind() })
}

/// The content octets of the next value, which has this tag.
pub(crate) fn content<'a>(
    from: &mut SliceReader<'a>,
    tag: Tag,
    field: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let value: AnyRef<'a> = any(from, field)?;
    der::Tagged::tag(&value)
        .assert_eq(tag)
        .map_err(|error| CertificateError::Der { field, kind: error.kind() })?;
    Ok(value.value())
}

/// The next value as it stands, with its tag and length; the tag is checked.
pub(crate) fn raw<'a>(
    from: &mut SliceReader<'a>,
    tag: Tag,
    field: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let failed = |error: der::Error| CertificateError::Der { field, kind: error.kind() };
    Tag::peek(from).and_then(|found| found.assert_eq(tag)).map_err(failed)?;
    from.tlv_bytes().map_err(failed)
}
