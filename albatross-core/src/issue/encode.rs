//! Writing what is signed (RFC 5280 section 4.1, RFC 2986 section 4).

use std::net::IpAddr;

use albatross_proto::{Command, extension};
use der::{
    Encode, Sequence, Tag,
    asn1::{AnyRef, BitStringRef, Ia5String, ObjectIdentifier, OctetString, OctetStringRef, UintRef},
};
use ring::rand::SecureRandom;
use spki::AlgorithmIdentifierRef;
use x509_cert::{
    ext::pkix::{
        AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
        name::GeneralName,
    },
    time::Time,
};

use super::{IssueError, Profile, SigningKey, Terms, key::signature_algorithm};
use crate::certificate::{Certificate, PublicKey, oid};

/// The number of version 3.
const VERSION_3: u8 = 2;

/// Whom and what a certificate is about.
pub(super) struct Subject<'a> {
    pub(super) profile: Profile,
    pub(super) common_name: &'a str,
    pub(super) key: &'a PublicKey,
    /// The value of the Albatross extension.
    pub(super) command: Option<Vec<u8>>,
    /// Names and addresses of a server.
    pub(super) hosts: &'a [&'a str],
}

/// Who signs. A root has no certificate yet.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) certificate: Option<&'a Certificate<'a>>,
    pub(super) key: &'a dyn SigningKey,
}

/// ```asn1
/// TBSCertificate ::= SEQUENCE { version [0] EXPLICIT INTEGER, serialNumber INTEGER,
///   signature AlgorithmIdentifier, issuer Name, validity SEQUENCE { notBefore Time, notAfter Time },
///   subject Name, subjectPublicKeyInfo SubjectPublicKeyInfo, extensions [3] EXPLICIT Extensions }
/// ```
#[derive(Sequence)]
struct Tbs<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: UintRef<'a>,
    signature: AlgorithmIdentifierRef<'a>,
    issuer: AnyRef<'a>,
    validity: ValidityField,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<ExtensionField<'a>>,
}

#[derive(Clone, Copy, Sequence)]
struct ValidityField {
    not_before: Time,
    not_after: Time,
}

#[derive(Sequence)]
struct ExtensionField<'a> {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: &'a OctetStringRef,
}

#[derive(Sequence)]
struct SignedField<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

#[derive(Sequence)]
struct AttributeField<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

/// ```asn1
/// CertificationRequestInfo ::= SEQUENCE { version INTEGER (0), subject Name,
///   subjectPKInfo SubjectPublicKeyInfo, attributes [0] IMPLICIT SET OF Attribute }
/// ```
#[derive(Sequence)]
struct RequestInfo<'a> {
    version: u8,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    attributes: AnyRef<'a>,
}

/// An extension to be written.
struct Extension {
    oid: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
}

/// Writes and signs a certificate.
pub(super) fn certificate(
    subject: Subject<'_>,
    by: By<'_>,
    terms: &Terms<'_>,
) -> Result<Certificate<'static>, IssueError> {
    let name = name(subject.common_name)?;
    let issuer = by.certificate.map_or(&*name, |issuer| issuer.subject().as_der());
    let key = subject.key;
    let extensions = extensions(subject, by)?;
    let [not_before, not_after] = terms.validity.encoded()?;
    let tbs = Tbs {
        version: VERSION_3,
        serial: UintRef::new(terms.serial.as_bytes())?,
        signature: signature_algorithm(by.key.public_key())?.identifier(),
        issuer: AnyRef::try_from(issuer)?,
        validity: ValidityField { not_before, not_after },
        subject: AnyRef::try_from(&*name)?,
        key: AnyRef::try_from(key.spki())?,
        extensions: extensions.iter().map(Extension::field).collect::<Result<_, _>>()?,
    };
    let der = sign(&tbs.to_der()?, by.key, terms.random)?;
    Ok(Certificate::from_vec(der)?)
}

/// Writes and signs a request.
pub(super) fn request(
    common_name: &str,
    command: Option<&Command<'_>>,
    key: &dyn SigningKey,
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, IssueError> {
    let name = name(common_name)?;
    let attributes = command.map_or_else(|| Ok(Vec::new()), extension_request)?;
    let tag = Tag::ContextSpecific { constructed: true, number: der::TagNumber(0) };
    let info = RequestInfo {
        version: 0,
        subject: AnyRef::try_from(&*name)?,
        key: AnyRef::try_from(key.public_key().spki())?,
        attributes: AnyRef::new(tag, &attributes)?,
    };
    sign(&info.to_der()?, key, random)
}

/// The value of the extension that carries `command`.
pub(super) fn command(command: &Command<'_>) -> Result<Vec<u8>, IssueError> {
    extension::encode(command).map_err(IssueError::Encode)
}

/// An extensionRequest attribute with the Albatross extension and nothing else.
fn extension_request(carried: &Command<'_>) -> Result<Vec<u8>, IssueError> {
    let extension = Extension { oid: extension::OID, critical: false, value: command(carried)? };
    let list = vec![extension.field()?].to_der()?;
    let value = AnyRef::new(Tag::Set, &list)?;
    Ok(AttributeField { oid: oid::EXTENSION_REQUEST, value }.to_der()?)
}

/// `SEQUENCE { content, AlgorithmIdentifier, BIT STRING }`
fn sign(content: &[u8], key: &dyn SigningKey, random: &dyn SecureRandom) -> Result<Vec<u8>, IssueError> {
    let signature = key.sign(content, random)?;
    let signed = SignedField {
        content: AnyRef::try_from(content)?,
        algorithm: signature_algorithm(key.public_key())?.identifier(),
        signature: BitStringRef::from_bytes(&signature)?,
    };
    Ok(signed.to_der()?)
}

/// A name with a CommonName only.
fn name(common_name: &str) -> Result<Vec<u8>, IssueError> {
    let value = AnyRef::new(Tag::Utf8String, common_name.as_bytes())?;
    let attribute = AttributeField { oid: oid::COMMON_NAME, value }.to_der()?;
    let set = AnyRef::new(Tag::Set, &attribute)?.to_der()?;
    Ok(AnyRef::new(Tag::Sequence, &set)?.to_der()?)
}

impl Extension {
    fn new(oid: ObjectIdentifier, critical: bool, value: &impl Encode) -> Result<Self, IssueError> {
        Ok(Self { oid, critical, value: value.to_der()? })
    }

    fn field(&self) -> Result<ExtensionField<'_>, der::Error> {
        let Self { oid, critical, value } = self;
        Ok(ExtensionField { oid: *oid, critical: *critical, value: OctetStringRef::new(value)? })
    }
}

/// The extensions of each profile: the table in `docs/protocol.md`, "Certificates".
fn extensions(subject: Subject<'_>, by: By<'_>) -> Result<Vec<Extension>, IssueError> {
    let ca = matches!(subject.profile, Profile::Root | Profile::Intermediate);
    let usages = if ca {
        KeyUsages::KeyCertSign | KeyUsages::CRLSign | KeyUsages::DigitalSignature | KeyUsages::NonRepudiation
    } else {
        KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment
    };
    let basic = BasicConstraints { ca, path_len_constraint: None };
    let mut extensions = vec![
        Extension::new(oid::BASIC_CONSTRAINTS, true, &basic)?,
        Extension::new(oid::KEY_USAGE, true, &KeyUsage(usages))?,
    ];
    let purpose = match subject.profile {
        Profile::Root | Profile::Intermediate => None,
        Profile::Server => Some(oid::SERVER_AUTH),
        Profile::Leaf => Some(oid::CLIENT_AUTH),
    };
    if let Some(purpose) = purpose {
        extensions.push(Extension::new(oid::EXT_KEY_USAGE, true, &ExtendedKeyUsage(vec![purpose]))?);
    }
    if let Some(issuer) = by.certificate {
        let own = OctetString::new(subject.key.key_id())?;
        extensions.push(Extension::new(oid::SUBJECT_KEY_ID, false, &own)?);
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(issuer.key_id())?),
            ..AuthorityKeyIdentifier::default()
        };
        extensions.push(Extension::new(oid::AUTHORITY_KEY_ID, false, &authority)?);
    }
    if !subject.hosts.is_empty() {
        let names = subject.hosts.iter().map(|host| general_name(host)).collect::<Result<_, _>>()?;
        extensions.push(Extension::new(oid::SUBJECT_ALT_NAME, false, &SubjectAltName(names))?);
    }
    if let Some(value) = subject.command {
        extensions.push(Extension { oid: extension::OID, critical: false, value });
    }
    Ok(extensions)
}

/// A host name of letters, digits, hyphens, underscores and dots, perhaps with `*.` at its front, or an
/// address.
fn general_name(host: &str) -> Result<GeneralName, IssueError> {
    let refused = || IssueError::HostName { name: host.to_owned() };
    if let Ok(address) = host.parse::<IpAddr>() {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        return Ok(GeneralName::IpAddress(OctetString::new(octets)?));
    }
    let labels = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    if labels.len() > 253 || !labels.split('.').all(is_label) {
        return Err(refused());
    }
    Ia5String::new(host).map(GeneralName::DnsName).map_err(|_| refused())
}
