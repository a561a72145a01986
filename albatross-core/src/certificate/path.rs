//! The path verifier: RFC 5280 section 6, narrowed to chains that are exactly a path.

use albatross_proto::Time;

use super::{
    Certificate, ChainError, Position, Rule, SignatureError, VerifiedLinks, extensions::Purposes, links::Link,
};

/// The most certificates in a chain, counted as sent: the peer's limit, a leaf and eight above it.
pub const MAX_CHAIN: usize = 9;

/// A self-signed CA that was configured as the root.
///
/// All that does not depend on the time is checked when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root<'a>(
    /// Invariant: passed [`check_root`].
    Certificate<'a>,
);

/// A chain that was found to be exactly a path from a leaf for clients to the root.
///
/// Only [`verify()`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedPath<'p> {
    /// Invariant: not empty; the leaf first; without the root.
    path: &'p [Certificate<'p>],
    root: &'p Root<'p>,
}

/// Who knows what was revoked.
pub trait Revocation {
    /// Whether `issuer` has revoked `certificate`.
    fn is_revoked(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool;
}

/// Nothing was ever revoked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingRevoked;

impl Revocation for NothingRevoked {
    fn is_revoked(&self, _certificate: &Certificate<'_>, _issuer: &Certificate<'_>) -> bool {
        false
    }
}

/// What the leaf is to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Client,
    Server,
}

impl<'a> Root<'a> {
    /// Checks that this is a root: a self-signed CA of version 3 that may sign certificates.
    ///
    /// # Errors
    /// [`ChainError::Refused`] with the rule.
    pub fn new(certificate: Certificate<'a>) -> Result<Self, ChainError> {
        check_root(&certificate).map_err(|rule| refused(Position::Root, &certificate, rule))?;
        Ok(Self(certificate))
    }

    /// The certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate<'a> {
        &self.0
    }

    /// The same root with a certificate of its own.
    #[must_use]
    pub fn into_owned(self) -> Root<'static> {
        Root(self.0.into_owned())
    }
}

impl<'p> VerifiedPath<'p> {
    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &'p Certificate<'p> {
        // Invariant: the path has a leaf.
        self.path.first().unwrap_or(&self.root.0)
    }

    /// The CAs between the leaf and the root, the leaf's issuer first.
    #[must_use]
    pub fn intermediates(&self) -> &'p [Certificate<'p>] {
        self.path.get(1..).unwrap_or_default()
    }

    /// The root.
    #[must_use]
    pub const fn root(&self) -> &'p Root<'p> {
        self.root
    }
}

/// Parses the certificates of a chain, the leaf first.
///
/// `size_limit` is the most octets that all of them together may have; count and size are checked before
/// anything is parsed.
///
/// # Errors
/// [`ChainError`]: too many, too large, or one that cannot be read.
pub fn chain_from_der<'a>(
    certificates: impl IntoIterator<Item = &'a [u8]>,
    size_limit: usize,
) -> Result<Vec<Certificate<'a>>, ChainError> {
    let mut ders = Vec::new();
    let mut size = 0_usize;
    for der in certificates {
        size = size.saturating_add(der.len());
        if size > size_limit {
            return Err(ChainError::TooLarge { limit: size_limit });
        }
        if ders.len() == MAX_CHAIN {
            return Err(ChainError::TooManyCertificates { limit: MAX_CHAIN });
        }
        ders.push(der);
    }
    let parse =
        |(index, der)| Certificate::from_der(der).map_err(|error| ChainError::Malformed { index, error });
    ders.into_iter().enumerate().map(parse).collect()
}

/// Checks that `chain` is exactly a path, at the time `at`, from a leaf for clients to `root`.
///
/// The leaf comes first, each certificate is issued by the next, the last by the root, which itself may
/// follow as the last one.
///
/// # Errors
/// [`ChainError`] says which certificate breaks which rule.
pub fn verify<'p>(
    chain: &'p [Certificate<'p>],
    root: &'p Root<'p>,
    at: Time,
    revocation: &dyn Revocation,
) -> Result<VerifiedPath<'p>, ChainError> {
    let path = verify_path(chain, root, at, Purpose::Client, revocation, None)?;
    Ok(VerifiedPath { path, root })
}

/// The same, without computing again what `links` knows; what is computed for an accepted chain is
/// remembered there.
///
/// # Errors
/// As [`verify()`].
pub fn verify_with<'p>(
    chain: &'p [Certificate<'p>],
    root: &'p Root<'p>,
    at: Time,
    revocation: &dyn Revocation,
    links: &mut VerifiedLinks,
) -> Result<VerifiedPath<'p>, ChainError> {
    let path = verify_path(chain, root, at, Purpose::Client, revocation, Some(links))?;
    Ok(VerifiedPath { path, root })
}

/// The chain without the root, when it is a path to it.
pub(super) fn verify_path<'p>(
    chain: &'p [Certificate<'p>],
    root: &Root<'_>,
    at: Time,
    purpose: Purpose,
    revocation: &dyn Revocation,
    mut links: Option<&mut VerifiedLinks>,
) -> Result<&'p [Certificate<'p>], ChainError> {
    if chain.len() > MAX_CHAIN {
        return Err(ChainError::TooManyCertificates { limit: MAX_CHAIN });
    }
    let path = match chain.split_last() {
        Some((last, before)) if last.der() == root.0.der() && !before.is_empty() => before,
        Some(_) => chain,
        None => return Err(ChainError::Empty),
    };
    check_repeats(path, root)?;
    for (index, certificate) in path.iter().enumerate() {
        let issuer = path.get(index + 1).unwrap_or(&root.0);
        check_link(certificate, issuer)
            .and_then(|()| check_any(certificate, at))
            .and_then(|()| match index.checked_sub(1) {
                None => check_leaf(certificate, purpose),
                Some(below) => check_ca(certificate, below, purpose),
            })
            .map_err(|rule| refused(Position::Sent(index), certificate, rule))?;
    }
    check_validity(&root.0, at)
        .and_then(|()| check_path_length(&root.0, path.len().saturating_sub(1)))
        .and_then(|()| check_purpose(&root.0, purpose))
        .map_err(|rule| refused(Position::Root, &root.0, rule))?;
    // Last, as they cost the most.
    let mut computed = Vec::new();
    for (index, certificate) in path.iter().enumerate() {
        let issuer = path.get(index + 1).unwrap_or(&root.0);
        let refused = |rule| refused(Position::Sent(index), certificate, rule);
        check_signature(certificate, issuer, links.as_deref_mut(), &mut computed)
            .map_err(|error| refused(Rule::Signature(error)))?;
        if revocation.is_revoked(certificate, issuer) {
            return Err(refused(Rule::Revoked));
        }
    }
    if let Some(links) = links {
        links.remember(computed);
    }
    Ok(path)
}

/// Computes a signature that is not known; what it is goes to `computed` where it may be known next time.
fn check_signature(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    known: Option<&mut VerifiedLinks>,
    computed: &mut Vec<Link>,
) -> Result<(), SignatureError> {
    let Some(known) = known else { return certificate.verify_signature(issuer) };
    let link = Link::of(certificate, issuer);
    if known.knows(&link) {
        return Ok(());
    }
    certificate.verify_signature(issuer)?;
    computed.push(link);
    Ok(())
}

fn refused(position: Position, certificate: &Certificate<'_>, rule: Rule) -> ChainError {
    ChainError::Refused { position, subject: certificate.subject().to_string(), rule }
}

/// Each certificate, and each pair of subject and key, stands in a path once; the root stands above it.
fn check_repeats(path: &[Certificate<'_>], root: &Root<'_>) -> Result<(), ChainError> {
    let same = |a: &Certificate<'_>, b: &Certificate<'_>| {
        a.subject() == b.subject() && a.public_key() == b.public_key()
    };
    for (index, certificate) in path.iter().enumerate() {
        let before = path.get(..index).unwrap_or_default();
        if same(certificate, &root.0) || before.iter().any(|earlier| same(earlier, certificate)) {
            return Err(refused(Position::Sent(index), certificate, Rule::Repeated));
        }
    }
    Ok(())
}

/// What every certificate of a path but the root must have in common with its issuer.
fn check_link(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<(), Rule> {
    if certificate.issuer() != issuer.subject() {
        return Err(Rule::IssuerName {
            issuer: certificate.issuer().to_string(),
            next: issuer.subject().to_string(),
        });
    }
    check_key_id(certificate, issuer)
}

/// An authority key identifier names its issuer's key by identifier, by issuer and serial number, or
/// both; what it says must be so where the issuer says anything.
fn check_key_id(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<(), Rule> {
    use x509_cert::ext::pkix::name::GeneralName;
    let Some(authority) = &certificate.extensions().authority_key_id else { return Ok(()) };
    if let (Some(stated), Some(actual)) = (&authority.key_identifier, &issuer.extensions().subject_key_id)
        && stated.as_bytes() != actual
    {
        return Err(Rule::KeyIdentifier);
    }
    if let Some(serial) = &authority.authority_cert_serial_number {
        let significant = issuer.serial().strip_prefix(&[0]).unwrap_or_else(|| issuer.serial());
        if serial.as_bytes().strip_prefix(&[0]).unwrap_or_else(|| serial.as_bytes()) != significant {
            return Err(Rule::KeyIdentifier);
        }
    }
    for name in authority.authority_cert_issuer.iter().flatten() {
        if let GeneralName::DirectoryName(name) = name
            && der::Encode::to_der(name).ok().as_deref() != Some(issuer.issuer().as_der())
        {
            return Err(Rule::KeyIdentifier);
        }
    }
    Ok(())
}

fn check_any(certificate: &Certificate<'_>, at: Time) -> Result<(), Rule> {
    check_form(certificate)?;
    check_validity(certificate, at)
}

/// What must hold of every certificate whatever its place and the time.
fn check_form(certificate: &Certificate<'_>) -> Result<(), Rule> {
    let extensions = certificate.extensions();
    if !certificate.is_version_3() {
        return Err(Rule::Version);
    }
    if extensions.command_is_critical {
        return Err(Rule::CriticalCommand);
    }
    if let Some(oid) = extensions.unknown_critical {
        return Err(Rule::UnknownCriticalExtension { oid });
    }
    if let Some(oid) = extensions.narrowing {
        return Err(Rule::NarrowingExtension { oid });
    }
    if certificate.public_key().is_usable() { Ok(()) } else { Err(Rule::UnusableKey) }
}

/// Both ends count; certificates know whole seconds only.
fn check_validity(certificate: &Certificate<'_>, at: Time) -> Result<(), Rule> {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if at.unix_seconds() < not_before.unix_seconds() {
        Err(Rule::NotYetValid { not_before })
    } else if at.unix_seconds() > not_after.unix_seconds() {
        Err(Rule::Expired { not_after })
    } else {
        Ok(())
    }
}

fn check_leaf(leaf: &Certificate<'_>, purpose: Purpose) -> Result<(), Rule> {
    if leaf.is_ca() {
        return Err(Rule::LeafIsCa);
    }
    let Some(purposes) = leaf.extensions().ext_key_usage else { return Err(purpose.missing()) };
    if !purpose.is_in(purposes) {
        return Err(purpose.missing());
    }
    match leaf.extensions().key_usage {
        Some(usage) if usage.digital_signature => Ok(()),
        _ => Err(Rule::DigitalSignatureMissing),
    }
}

/// An issuer with `below` CAs between it and the leaf.
fn check_ca(ca: &Certificate<'_>, below: usize, purpose: Purpose) -> Result<(), Rule> {
    check_ca_form(ca)?;
    check_path_length(ca, below)?;
    check_purpose(ca, purpose)
}

fn check_ca_form(ca: &Certificate<'_>) -> Result<(), Rule> {
    match ca.extensions().basic_constraints {
        Some(basic) if !basic.ca => return Err(Rule::NotACa),
        Some(basic) if !basic.critical => return Err(Rule::BasicConstraintsNotCritical),
        Some(_) => {}
        None => return Err(Rule::NotACa),
    }
    match ca.extensions().key_usage {
        None => Err(Rule::KeyUsageMissing),
        Some(usage) if !usage.cert_sign => Err(Rule::CertSignMissing),
        Some(_) => Ok(()),
    }
}

/// Self-issued CAs count too, which is stricter than RFC 5280.
fn check_path_length(ca: &Certificate<'_>, below: usize) -> Result<(), Rule> {
    match ca.path_length() {
        Some(allowed) if below > usize::from(allowed) => Err(Rule::PathLength { allowed }),
        _ => Ok(()),
    }
}

/// A CA with extended key usages can issue for these only, as general verifiers have it.
fn check_purpose(ca: &Certificate<'_>, purpose: Purpose) -> Result<(), Rule> {
    match ca.extensions().ext_key_usage {
        Some(purposes) if !purpose.is_in(purposes) => Err(purpose.missing()),
        _ => Ok(()),
    }
}

fn check_root(root: &Certificate<'_>) -> Result<(), Rule> {
    check_form(root)?;
    check_ca_form(root)?;
    if !root.is_self_issued() {
        return Err(Rule::NotSelfIssued);
    }
    check_key_id(root, root)?;
    root.verify_signature(root).map_err(Rule::Signature)
}

impl Purpose {
    const fn is_in(self, purposes: Purposes) -> bool {
        match self {
            Self::Client => purposes.client,
            Self::Server => purposes.server,
        }
    }

    const fn missing(self) -> Rule {
        match self {
            Self::Client => Rule::ClientAuthMissing,
            Self::Server => Rule::ServerAuthMissing,
        }
    }
}
