//! Whether a certificate may sign lists, and whether it signed one.

use der::{Decode, Encode, Reader, Tag, asn1::BitStringRef};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, name::GeneralName};

use super::{RevocationError, RevocationList};
use crate::certificate::{Certificate, Signed, any, content, oid, read_all, read_extensions};

/// `cRLSign`, the seventh bit of `KeyUsage` (RFC 5280 section 4.2.1.3).
const CRL_SIGN: usize = 6;

/// Whether this certificate may sign lists: a CA with the key usage cRLSign.
///
/// # Errors
/// [`RevocationError::NotACa`], [`RevocationError::MayNotSign`].
pub(crate) fn check_issuer(issuer: &Certificate<'_>) -> Result<(), RevocationError> {
    let name = || issuer.subject().to_string();
    if !issuer.is_ca() {
        return Err(RevocationError::NotACa { issuer: name() });
    }
    if !has_crl_sign(issuer) {
        return Err(RevocationError::MayNotSign { issuer: name() });
    }
    Ok(())
}

/// Whether `issuer` made this list.
pub(super) fn check_made_by(
    list: &RevocationList<'_>,
    issuer: &Certificate<'_>,
) -> Result<(), RevocationError> {
    let name = || issuer.subject().to_string();
    if list.issuer() != issuer.subject() {
        return Err(RevocationError::UnknownIssuer { issuer: list.issuer().to_string() });
    }
    check_issuer(issuer)?;
    if list.authority_key_id().is_some_and(|stated| !is_key_of(stated, issuer)) {
        return Err(RevocationError::KeyIdentifier { issuer: name() });
    }
    list.verify_signature(issuer.public_key())
        .map_err(|error| RevocationError::Signature { issuer: name(), error })
}

/// An authority key identifier names the issuer's key by identifier, by issuer and serial number, or both;
/// what it says must be so where the issuer says anything.
fn is_key_of(stated: &AuthorityKeyIdentifier, issuer: &Certificate<'_>) -> bool {
    let AuthorityKeyIdentifier { key_identifier, authority_cert_issuer, authority_cert_serial_number } =
        stated;
    if let (Some(stated), Some(actual)) = (key_identifier, &issuer.extensions().subject_key_id)
        && stated.as_bytes() != actual
    {
        return false;
    }
    let significant = |octets: &[u8]| octets.strip_prefix(&[0]).unwrap_or(octets).to_vec();
    if let Some(serial) = authority_cert_serial_number
        && significant(serial.as_bytes()) != significant(issuer.serial())
    {
        return false;
    }
    authority_cert_issuer.iter().flatten().all(|name| match name {
        GeneralName::DirectoryName(name) => name.to_der().ok().as_deref() == Some(issuer.issuer().as_der()),
        _ => true,
    })
}

/// Whether KeyUsage has cRLSign. A certificate without KeyUsage may not issue here, and has not.
fn has_crl_sign(certificate: &Certificate<'_>) -> bool {
    let mut found = false;
    // The certificate was read before, so nothing fails here.
    let _read = Signed::read(certificate.der(), "certificate").and_then(|signed| {
        read_all(signed.content, "tbsCertificate", |from| {
            let tag = Tag::ContextSpecific { constructed: true, number: der::TagNumber(3) };
            while Tag::peek(from).is_ok_and(|next| next != tag) {
                let _skipped: der::asn1::AnyRef<'_> = any(from, "tbsCertificate")?;
            }
            if from.is_finished() {
                return Ok(());
            }
            let field = content(from, tag, "extensions")?;
            let list = read_all(field, "extensions", |from| content(from, Tag::Sequence, "extensions"))?;
            read_extensions(list, |extension| {
                if extension.oid == oid::KEY_USAGE {
                    let bits = BitStringRef::from_der(extension.value);
                    found = bits.is_ok_and(|bits| bits.get(CRL_SIGN).unwrap_or(false));
                }
                Ok(())
            })
        })
    });
    found
}
