//! Requests for certificates, PKCS#10 (RFC 2986).

use std::{borrow::Cow, ops::Range};

use albatross_proto::{Command, PolicyCommand, extension};
use der::{Reader, SliceReader, Tag, TagNumber, asn1::ObjectIdentifier};
use ring::rand::SecureRandom;

use super::{IssueError, Profile, SigningKey, encode};
use crate::certificate::{
    CertificateError, CertificateErrorKind, DistinguishedName, PublicKey, SignatureError, any, content, oid,
    pem, range_in, raw, read_all, read_extensions,
};

/// A request: a CommonName, a key, and perhaps a command. Its signature was checked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    der: Cow<'a, [u8]>,
    subject: Range<usize>,
    key: PublicKey,
    /// Where the value of the Albatross extension stands.
    command: Option<Range<usize>>,
    profile: Profile,
}

impl<'a> Request<'a> {
    /// Reads a request and checks that it is signed by its own key.
    ///
    /// Of the extensions that it asks for only Albatross's is looked at.
    ///
    /// # Errors
    /// [`IssueError`]: not a request, a wrong signature, an Albatross extension that cannot be read.
    pub fn from_der(der: &'a [u8]) -> Result<Self, IssueError> {
        let mut fields = Fields::read(der).map_err(|error| error.within(der))?;
        fields.signature?;
        if !fields.key.is_usable() {
            return Err(IssueError::RequestKey);
        }
        let command = fields.command.take();
        let profile = match command.map(extension::decode).transpose().map_err(IssueError::Extension)? {
            None => Profile::Server,
            Some(Command::Policy(PolicyCommand::Add(_))) => Profile::Intermediate,
            Some(_) => Profile::Leaf,
        };
        let subject = range_in(der, fields.subject);
        let command = command.map(|value| range_in(der, value));
        Ok(Self { der: Cow::Borrowed(der), subject, key: fields.key, command, profile })
    }

    /// Makes a request, signed by `key`, for a certificate with this CommonName that carries `command`, or
    /// for a server's.
    ///
    /// # Errors
    /// [`IssueError`]: the command is too long, the key did not sign.
    pub fn create(
        common_name: &str,
        command: Option<&Command<'_>>,
        key: &dyn SigningKey,
        random: &dyn SecureRandom,
    ) -> Result<Request<'static>, IssueError> {
        let der = encode::request(common_name, command, key, random)?;
        Ok(Request::from_der(&der)?.into_owned())
    }

    /// The same request with DER of its own.
    #[must_use]
    pub fn into_owned(self) -> Request<'static> {
        let Self { der, subject, key, command, profile } = self;
        Request { der: Cow::Owned(der.into_owned()), subject, key, command, profile }
    }

    /// The DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(pem::REQUEST, &self.der)
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> DistinguishedName<'_> {
        DistinguishedName::checked(self.slice(&self.subject))
    }

    /// The CommonName of the subject.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.subject().common_name()
    }

    /// The key that is to be certified.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// What it becomes when it is signed: an intermediate with `policy add`, a leaf with any other
    /// command, a server without one.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The command that it carries. Large content is borrowed.
    ///
    /// # Errors
    /// None: it was read before.
    pub fn command(&self) -> Result<Option<Command<'_>>, IssueError> {
        let value = self.command.as_ref().map(|range| self.slice(range));
        value.map(extension::decode).transpose().map_err(IssueError::Extension)
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.der.get(range.clone()).unwrap_or_default()
    }
}

struct Fields<'a> {
    subject: &'a [u8],
    key: PublicKey,
    command: Option<&'a [u8]>,
    signature: Result<(), IssueError>,
}

impl<'a> Fields<'a> {
    fn read(der: &'a [u8]) -> Result<Self, CertificateError> {
        const FIELD: &str = "certificationRequestInfo";
        let signed = crate::certificate::Signed::read(der, "certificationRequest")?;
        let mut fields = read_all(signed.content, FIELD, |from| {
            let version = content(from, Tag::Integer, "version")?;
            if version != [0] {
                let kind = der::ErrorKind::Value { tag: Tag::Integer };
                return Err(CertificateErrorKind::Der { field: "version", kind }.at(version));
            }
            let subject = raw(from, Tag::Sequence, "subject")?;
            DistinguishedName::check(subject, "subject")?;
            let key = PublicKey::read_spki(raw(from, Tag::Sequence, "subjectPKInfo")?)?;
            let command = read_attributes(from)?;
            Ok(Self { subject, key, command, signature: Ok(()) })
        })?;
        fields.signature = signed
            .algorithm
            .ok_or(SignatureError::UnsupportedAlgorithm)
            .and_then(|algorithm| fields.key.verify(algorithm, signed.tbs, signed.signature))
            .map_err(IssueError::RequestSignature);
        Ok(fields)
    }
}

/// The value of the Albatross extension among `attributes [0] IMPLICIT SET OF Attribute`, which some
/// programs leave out when it is empty.
fn read_attributes<'a>(from: &mut SliceReader<'a>) -> Result<Option<&'a [u8]>, CertificateError> {
    const FIELD: &str = "attributes";
    if from.is_finished() {
        return Ok(None);
    }
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    let attributes = content(from, tag, FIELD)?;
    if attributes.is_empty() {
        return Ok(None);
    }
    read_all(attributes, FIELD, |from| {
        let mut command = None;
        while !from.is_finished() {
            let attribute = content(from, Tag::Sequence, FIELD)?;
            read_all(attribute, FIELD, |from| read_attribute(from, &mut command))?;
        }
        Ok(command)
    })
}

fn read_attribute<'a>(
    from: &mut SliceReader<'a>,
    command: &mut Option<&'a [u8]>,
) -> Result<(), CertificateError> {
    let oid: ObjectIdentifier = any(from, "attributes")?;
    let values = content(from, Tag::Set, "attributes")?;
    if oid != oid::EXTENSION_REQUEST {
        return Ok(());
    }
    let list = read_all(values, "extensionRequest", |from| content(from, Tag::Sequence, "extensionRequest"))?;
    if list.is_empty() {
        return Ok(());
    }
    read_extensions(list, |extension| {
        if extension.oid == extension::OID && command.replace(extension.value).is_some() {
            return Err(CertificateErrorKind::DuplicateExtension { oid: extension.oid }.at(extension.value));
        }
        Ok(())
    })
}
