//! The extensions of a certificate (RFC 5280 section 4.2).

use std::ops::Range;

use albatross_proto::extension;
use der::{
    Decode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef},
};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage,
    name::{GeneralName, GeneralNames},
};

use super::{
    CertificateError, CertificateErrorKind, any, content, oid, parse::range_in, read_all, reader::not_der,
};

/// `digitalSignature`, the first bit of `KeyUsage`.
const DIGITAL_SIGNATURE: usize = 0;
/// `keyCertSign`, the sixth bit of `KeyUsage`.
const KEY_CERT_SIGN: usize = 5;

/// The most extensions in one certificate: the profiles here have six; each is looked for among all
/// before it, so their number is bounded.
const MAX_EXTENSIONS: usize = 64;

/// The most octets of an extension that is taken apart, which Albatross's is not here: what is made of a list
/// of names takes many times its octets, before anybody has proved who he is. webpki has 64 KiB for all of a
/// certificate.
pub(crate) const MAX_EVALUATED: usize = 16 * 1024;

/// What the extensions of a certificate say, as far as it is evaluated here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) basic_constraints: Option<Basic>,
    pub(crate) key_usage: Option<Usage>,
    pub(crate) ext_key_usage: Option<Purposes>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) authority_key_id: Option<AuthorityKeyIdentifier>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) ip_addresses: Vec<Vec<u8>>,
    /// Where the value of the Albatross extension stands in the certificate.
    pub(crate) command: Option<Range<usize>>,
    pub(crate) command_is_critical: bool,
    /// The first critical extension that is not evaluated here.
    pub(crate) unknown_critical: Option<ObjectIdentifier>,
    /// The first extension, critical or not, by which others narrow a certificate and which is not
    /// evaluated here.
    pub(crate) narrowing: Option<ObjectIdentifier>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Basic {
    pub(crate) critical: bool,
    pub(crate) ca: bool,
    pub(crate) path_length: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) digital_signature: bool,
    pub(crate) cert_sign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purposes {
    pub(crate) client: bool,
    pub(crate) server: bool,
}

/// One extension as it stands.
pub(crate) struct Extension<'a> {
    pub(crate) oid: ObjectIdentifier,
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
}

/// ```asn1
/// Extensions ::= SEQUENCE SIZE (1..MAX) OF SEQUENCE { extnID OBJECT IDENTIFIER,
///                critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }
/// ```
/// `list` is the content of the outer SEQUENCE. The same extension twice is refused.
pub(crate) fn read_extensions<'a>(
    list: &'a [u8],
    mut visit: impl FnMut(Extension<'a>) -> Result<(), CertificateError>,
) -> Result<(), CertificateError> {
    let mut seen: Vec<ObjectIdentifier> = Vec::new();
    read_all(list, "extensions", |from| {
        while !from.is_finished() {
            let fields = content(from, Tag::Sequence, "extensions")?;
            let refused = |kind: CertificateErrorKind| Err(kind.at(fields));
            let extension = read_all(fields, "extensions", read_extension)?;
            if seen.contains(&extension.oid) {
                return refused(CertificateErrorKind::DuplicateExtension { oid: extension.oid });
            }
            if seen.len() == MAX_EXTENSIONS {
                return refused(CertificateErrorKind::TooManyExtensions { limit: MAX_EXTENSIONS });
            }
            seen.push(extension.oid);
            visit(extension)?;
        }
        Ok(())
    })
}

fn read_extension<'a>(from: &mut SliceReader<'a>) -> Result<Extension<'a>, CertificateError> {
    const FIELD: &str = "extensions";
    let oid = any(from, FIELD)?;
    let is_boolean = Tag::peek(from).is_ok_and(|tag| tag == Tag::Boolean);
    let critical = is_boolean && {
        let flag: AnyRef<'_> = any(from, FIELD)?;
        // DER leaves a default out.
        let is_true = flag
            .decode_as::<bool>()
            .and_then(|flag| if flag { Ok(true) } else { Err(Tag::Boolean.value_error().into()) });
        is_true.map_err(|error| not_der(FIELD, &error).at(flag.value()))?
    };
    let value: &OctetStringRef = any(from, FIELD)?;
    Ok(Extension { oid, critical, value: value.as_bytes() })
}

impl Extensions {
    /// `whole` is the certificate, `list` the content of its list of extensions.
    pub(crate) fn read(whole: &[u8], list: &[u8]) -> Result<Self, CertificateError> {
        let mut extensions = Self::default();
        read_extensions(list, |extension| extensions.take(whole, &extension))?;
        Ok(extensions)
    }

    fn take(&mut self, whole: &[u8], extension: &Extension<'_>) -> Result<(), CertificateError> {
        let Extension { oid, critical, value } = *extension;
        // Those that are evaluated here may be critical; no others.
        let mut evaluated = true;
        match oid {
            oid::BASIC_CONSTRAINTS => self.basic_constraints = Some(read_basic(value, critical)?),
            oid::KEY_USAGE => self.key_usage = Some(read_usage(value)?),
            oid::EXT_KEY_USAGE => {
                let ExtendedKeyUsage(purposes) = decode(value, "extKeyUsage")?;
                self.ext_key_usage = Some(Purposes {
                    client: purposes.contains(&oid::CLIENT_AUTH),
                    server: purposes.contains(&oid::SERVER_AUTH),
                });
            }
            oid::SUBJECT_ALT_NAME => self.take_names(value)?,
            extension::OID => {
                self.command = Some(range_in(whole, value));
                self.command_is_critical = critical;
            }
            oid::SUBJECT_KEY_ID => {
                let id: &OctetStringRef = decode(value, "subjectKeyIdentifier")?;
                self.subject_key_id = Some(id.as_bytes().to_vec());
                evaluated = false;
            }
            oid::AUTHORITY_KEY_ID => {
                self.authority_key_id = Some(decode(value, "authorityKeyIdentifier")?);
                evaluated = false;
            }
            oid::CRL_DISTRIBUTION_POINTS => {
                let _well_formed: CrlDistributionPoints = decode(value, "cRLDistributionPoints")?;
                evaluated = false;
            }
            oid::NAME_CONSTRAINTS
            | oid::IP_ADDRESSES
            | oid::AUTONOMOUS_SYSTEMS
            | oid::PROXY_CERTIFICATE
            | oid::NETSCAPE_TYPE => {
                self.narrowing.get_or_insert(oid);
            }
            _ => evaluated = false,
        }
        if critical && !evaluated {
            self.unknown_critical.get_or_insert(oid);
        }
        Ok(())
    }

    fn take_names(&mut self, value: &[u8]) -> Result<(), CertificateError> {
        let names: GeneralNames = decode(value, "subjectAltName")?;
        if names.is_empty() {
            return Err(CertificateErrorKind::Empty { field: "subjectAltName" }.at(value));
        }
        for name in names {
            match name {
                GeneralName::DnsName(name) => self.dns_names.push(name.as_str().to_owned()),
                GeneralName::IpAddress(address) => self.ip_addresses.push(address.into_bytes().into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn decode<'a, T>(value: &'a [u8], field: &'static str) -> Result<T, CertificateError>
where
    T: Decode<'a, Error = der::Error>,
{
    if value.len() > MAX_EVALUATED {
        return Err(CertificateErrorKind::LongExtension { field, limit: MAX_EVALUATED }.at(value));
    }
    T::from_der(value).map_err(|error| not_der(field, &error).at(value))
}

fn read_basic(value: &[u8], critical: bool) -> Result<Basic, CertificateError> {
    let BasicConstraints { ca, path_len_constraint } = decode(value, "basicConstraints")?;
    if path_len_constraint.is_some() && !ca {
        return Err(CertificateErrorKind::PathLengthWithoutCa.at(value));
    }
    Ok(Basic { critical, ca, path_length: path_len_constraint })
}

/// The peer writes trailing zero bits, which DER leaves out; they are read.
fn read_usage(value: &[u8]) -> Result<Usage, CertificateError> {
    let bits: BitStringRef<'_> = decode(value, "keyUsage")?;
    if bits.is_empty() {
        return Err(CertificateErrorKind::Empty { field: "keyUsage" }.at(value));
    }
    let bit = |position| bits.get(position).unwrap_or(false);
    Ok(Usage { digital_signature: bit(DIGITAL_SIGNATURE), cert_sign: bit(KEY_CERT_SIGN) })
}
