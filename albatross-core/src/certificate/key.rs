//! Public keys and the signatures that they verify.

use der::{
    Tag,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef},
};
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use ring::{digest, signature as ring_signature};
use spki::AlgorithmIdentifierRef;

use super::{CertificateError, CertificateErrorKind, SignatureError, any, content, oid, read_all};

/// Octets of a coordinate on P-521.
const P521_OCTETS: usize = 66;
/// The shortest RSA modulus in bits: below, a key is within reach of a large adversary.
const MIN_RSA_BITS: usize = 2048;
/// The longest RSA modulus in bits that ring verifies with.
const MAX_RSA_BITS: usize = 8192;

/// The signature schemes of TLS 1.3 (RFC 8446 section 4.2.3) that [`PublicKey::verify_tls13`] knows:
/// Ed25519, ECDSA on P-256, P-384 and P-521, and RSA-PSS with SHA-256, SHA-384 and SHA-512.
pub const TLS13_SCHEMES: &[u16] = &[0x0807, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806];

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKeyAlgorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA.
    Rsa,
    /// The elliptic curve P-256 (FIPS 186).
    P256,
    /// The elliptic curve P-384.
    P384,
    /// The elliptic curve P-521.
    P521,
}

/// A public key with its DER, `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    bits: Vec<u8>,
    /// `None`: a kind of key that is not known here.
    algorithm: Option<PublicKeyAlgorithm>,
}

/// A digest that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The algorithm of a signature in a certificate or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    Ed25519,
    RsaPkcs1(Hash),
    Ecdsa(Hash),
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`. A kind of key that is not known here is read too, and verifies
    /// nothing.
    ///
    /// # Errors
    /// [`CertificateError`] where this is not its DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read_spki(der).map_err(|error| error.within(der))
    }

    pub(crate) fn read_spki(der: &[u8]) -> Result<Self, CertificateError> {
        const FIELD: &str = "subjectPublicKeyInfo";
        let fields = read_all(der, FIELD, |from| content(from, Tag::Sequence, FIELD))?;
        let (algorithm, bits) = read_all(fields, FIELD, |from| {
            let algorithm: AlgorithmIdentifierRef<'_> = any(from, FIELD)?;
            let bits: BitStringRef<'_> = any(from, FIELD)?;
            Ok((algorithm, bits))
        })?;
        let bits = bits
            .as_bytes()
            .ok_or_else(|| CertificateErrorKind::UnusedBits { field: FIELD }.at(bits.raw_bytes()))?;
        Ok(Self { spki: der.to_vec(), bits: bits.to_vec(), algorithm: key_algorithm(algorithm) })
    }

    /// The DER of the `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The kind of key, `None` where it is not known here.
    #[must_use]
    pub const fn algorithm(&self) -> Option<PublicKeyAlgorithm> {
        self.algorithm
    }

    /// The key identifier that is written for this key: SHA-1 of the key's bits (RFC 5280 section
    /// 4.2.1.2, method 1). It only helps to find an issuer and protects nothing.
    #[must_use]
    pub fn key_id(&self) -> [u8; 20] {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.bits);
        // SHA-1 has 20 octets.
        digest.as_ref().try_into().unwrap_or_default()
    }

    /// Whether this is a well-formed key of a known kind: a point on its curve, an RSA modulus of
    /// 2048 to 8192 bits.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match self.algorithm {
            Some(PublicKeyAlgorithm::Ed25519) => self.bits.len() == 32,
            Some(PublicKeyAlgorithm::Rsa) => rsa_is_usable(&self.bits),
            Some(PublicKeyAlgorithm::P256) => {
                is_uncompressed(&self.bits) && p256::PublicKey::from_sec1_bytes(&self.bits).is_ok()
            }
            Some(PublicKeyAlgorithm::P384) => {
                is_uncompressed(&self.bits) && p384::PublicKey::from_sec1_bytes(&self.bits).is_ok()
            }
            Some(PublicKeyAlgorithm::P521) => {
                is_uncompressed(&self.bits) && p521::PublicKey::from_sec1_bytes(&self.bits).is_ok()
            }
            None => false,
        }
    }

    /// Checks the signature of a TLS 1.3 CertificateVerify over `message` (the content that RFC 8446
    /// section 4.4.3 describes). All kinds of keys are served, unlike in rustls with ring.
    ///
    /// # Errors
    /// [`SignatureError`]: a scheme that is not this key's, or a signature that this key did not make.
    pub fn verify_tls13(&self, scheme: u16, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let algorithm: &dyn ring_signature::VerificationAlgorithm = match (self.algorithm, scheme) {
            (Some(PublicKeyAlgorithm::Ed25519), 0x0807) => &ring_signature::ED25519,
            (Some(PublicKeyAlgorithm::P256), 0x0403) => &ring_signature::ECDSA_P256_SHA256_ASN1,
            (Some(PublicKeyAlgorithm::P384), 0x0503) => &ring_signature::ECDSA_P384_SHA384_ASN1,
            (Some(PublicKeyAlgorithm::P521), 0x0603) => {
                return self.verify_p521(Hash::Sha512, message, signature);
            }
            (Some(PublicKeyAlgorithm::Rsa), 0x0804) => &ring_signature::RSA_PSS_2048_8192_SHA256,
            (Some(PublicKeyAlgorithm::Rsa), 0x0805) => &ring_signature::RSA_PSS_2048_8192_SHA384,
            (Some(PublicKeyAlgorithm::Rsa), 0x0806) => &ring_signature::RSA_PSS_2048_8192_SHA512,
            _ => return Err(SignatureError::UnsupportedAlgorithm),
        };
        self.verify_with(algorithm, message, signature)
    }

    /// Checks the signature of a certificate or request.
    pub(crate) fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        use {Hash as H, PublicKeyAlgorithm as K, SignatureAlgorithm as S};
        let key = self.algorithm.ok_or(SignatureError::UnsupportedAlgorithm)?;
        let algorithm: &dyn ring_signature::VerificationAlgorithm = match (key, algorithm) {
            (K::Ed25519, S::Ed25519) => &ring_signature::ED25519,
            (K::Rsa, S::RsaPkcs1(H::Sha256)) => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
            (K::Rsa, S::RsaPkcs1(H::Sha384)) => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
            (K::Rsa, S::RsaPkcs1(H::Sha512)) => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
            (K::P256, S::Ecdsa(H::Sha256)) => &ring_signature::ECDSA_P256_SHA256_ASN1,
            (K::P256, S::Ecdsa(H::Sha384)) => &ring_signature::ECDSA_P256_SHA384_ASN1,
            (K::P384, S::Ecdsa(H::Sha256)) => &ring_signature::ECDSA_P384_SHA256_ASN1,
            (K::P384, S::Ecdsa(H::Sha384)) => &ring_signature::ECDSA_P384_SHA384_ASN1,
            (K::P521, S::Ecdsa(hash)) => return self.verify_p521(hash, message, signature),
            _ => return Err(SignatureError::UnsupportedAlgorithm),
        };
        self.verify_with(algorithm, message, signature)
    }

    fn verify_with(
        &self,
        algorithm: &'static dyn ring_signature::VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        ring_signature::UnparsedPublicKey::new(algorithm, &self.bits)
            .verify(message, signature)
            .map_err(|ring::error::Unspecified| SignatureError::Wrong)
    }

    /// ECDSA on P-521, which ring does not have.
    fn verify_p521(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let wrong = |_| SignatureError::Wrong;
        if !is_uncompressed(&self.bits) {
            return Err(SignatureError::Wrong);
        }
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&self.bits).map_err(wrong)?;
        let signature = p521::ecdsa::Signature::from_der(signature).map_err(wrong)?;
        // The number that is signed, in the length of the curve's numbers: no hash is longer.
        let digest = digest::digest(hash.ring(), message);
        let mut number = vec![0; P521_OCTETS.saturating_sub(digest.as_ref().len())];
        number.extend_from_slice(digest.as_ref());
        key.verify_prehash(&number, &signature).map_err(wrong)
    }
}

impl Hash {
    fn ring(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl SignatureAlgorithm {
    /// The algorithm with this identifier, if it is known here. Parameters are those of RFC 4055, 5758
    /// and 8410: NULL for RSA, absent for the others.
    pub(crate) fn of(identifier: AlgorithmIdentifierRef<'_>) -> Option<Self> {
        match (identifier.oid, parameters(identifier)) {
            (oid::ED25519, Parameters::Absent) => Some(Self::Ed25519),
            (oid::RSA_SHA256, Parameters::Null) => Some(Self::RsaPkcs1(Hash::Sha256)),
            (oid::RSA_SHA384, Parameters::Null) => Some(Self::RsaPkcs1(Hash::Sha384)),
            (oid::RSA_SHA512, Parameters::Null) => Some(Self::RsaPkcs1(Hash::Sha512)),
            (oid::ECDSA_SHA256, Parameters::Absent) => Some(Self::Ecdsa(Hash::Sha256)),
            (oid::ECDSA_SHA384, Parameters::Absent) => Some(Self::Ecdsa(Hash::Sha384)),
            (oid::ECDSA_SHA512, Parameters::Absent) => Some(Self::Ecdsa(Hash::Sha512)),
            _ => None,
        }
    }

    /// How this algorithm is written.
    pub(crate) const fn identifier(self) -> AlgorithmIdentifierRef<'static> {
        let (oid, parameters) = match self {
            Self::Ed25519 => (oid::ED25519, None),
            Self::RsaPkcs1(Hash::Sha256) => (oid::RSA_SHA256, Some(AnyRef::NULL)),
            Self::RsaPkcs1(Hash::Sha384) => (oid::RSA_SHA384, Some(AnyRef::NULL)),
            Self::RsaPkcs1(Hash::Sha512) => (oid::RSA_SHA512, Some(AnyRef::NULL)),
            Self::Ecdsa(Hash::Sha256) => (oid::ECDSA_SHA256, None),
            Self::Ecdsa(Hash::Sha384) => (oid::ECDSA_SHA384, None),
            Self::Ecdsa(Hash::Sha512) => (oid::ECDSA_SHA512, None),
        };
        AlgorithmIdentifierRef { oid, parameters }
    }
}

enum Parameters {
    Absent,
    Null,
    Oid(ObjectIdentifier),
    Other,
}

fn parameters(identifier: AlgorithmIdentifierRef<'_>) -> Parameters {
    match identifier.parameters {
        None => Parameters::Absent,
        Some(value) if value.is_null() => Parameters::Null,
        Some(value) => value.decode_as().map_or(Parameters::Other, Parameters::Oid),
    }
}

fn key_algorithm(identifier: AlgorithmIdentifierRef<'_>) -> Option<PublicKeyAlgorithm> {
    match (identifier.oid, parameters(identifier)) {
        (oid::ED25519, Parameters::Absent) => Some(PublicKeyAlgorithm::Ed25519),
        (oid::RSA, Parameters::Null) => Some(PublicKeyAlgorithm::Rsa),
        (oid::EC, Parameters::Oid(oid::P256)) => Some(PublicKeyAlgorithm::P256),
        (oid::EC, Parameters::Oid(oid::P384)) => Some(PublicKeyAlgorithm::P384),
        (oid::EC, Parameters::Oid(oid::P521)) => Some(PublicKeyAlgorithm::P521),
        _ => None,
    }
}

/// Whether this is said to be an uncompressed point (SEC 1 section 2.3.3). Whoever reads the coordinates checks how
/// long they are, and that they are those of a point on the curve.
fn is_uncompressed(point: &[u8]) -> bool {
    point.first() == Some(&4)
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017 appendix A.1.1)
fn rsa_is_usable(bits: &[u8]) -> bool {
    const FIELD: &str = "RSAPublicKey";
    let numbers = read_all(bits, FIELD, |from| content(from, Tag::Sequence, FIELD)).and_then(|fields| {
        read_all(fields, FIELD, |from| {
            let modulus: UintRef<'_> = any(from, FIELD)?;
            let exponent: UintRef<'_> = any(from, FIELD)?;
            Ok((modulus, exponent))
        })
    });
    let Ok((modulus, exponent)) = numbers else { return false };
    let bits = bit_length(modulus.as_bytes());
    // The range of exponents that ring verifies with: odd, 3 to 2^33-1.
    let exponent_is_odd = exponent.as_bytes().last().is_some_and(|octet| octet & 1 == 1);
    (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits)
        && exponent_is_odd
        && (2..=33).contains(&bit_length(exponent.as_bytes()))
}

fn bit_length(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |octet| octet.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(leading).unwrap_or_default())
}
