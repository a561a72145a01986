//! Private keys as PKCS#8 (RFC 5958), elliptic curve keys in it as RFC 5915, Ed25519 as RFC 8410.
//!
//! Read are versions 1 and 2, and elliptic curve keys without their public half. Written is version 1,
//! which every other program reads.

use der::{
    Encode, Sequence, Tag,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef},
    zeroize::Zeroizing,
};
use ring::{
    rand::SecureRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::{KeyError, key::Secret};
use crate::certificate::{PublicKey, any, content, oid, read_all};

/// A private key, its public half, and how it is written.
pub(super) struct Parts {
    pub(super) public: PublicKey,
    pub(super) secret: Secret,
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
}

/// A number that is forgotten with care, big-endian.
type SecretNumber = Zeroizing<Vec<u8>>;

/// A curve and what is needed to use a key on it.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// ```asn1
/// ECPrivateKey ::= SEQUENCE { version INTEGER (1), privateKey OCTET STRING, parameters [0] .. OPTIONAL,
///                  publicKey [1] BIT STRING OPTIONAL }
/// ```
/// As it is written here: without the parameters, which stand in PKCS#8, and with the public key.
#[derive(Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    private_key: &'a OctetStringRef,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    public_key: BitStringRef<'a>,
}

/// Reads a key. ring draws a value at random that later signatures with P-256 and P-384 depend on.
pub(super) fn read(der: &[u8], random: &dyn SecureRandom) -> Result<Parts, KeyError> {
    let info = pkcs8::PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Malformed)?;
    let content = info.private_key.as_bytes();
    match info.algorithm.oid {
        oid::ED25519 => read_ed25519(content),
        oid::RSA => read_rsa(content),
        oid::EC => {
            let curve = info.algorithm.parameters_oid().map_err(|_| KeyError::Malformed)?;
            let curve = Curve::of(curve).ok_or(KeyError::UnknownKind)?;
            ec(curve, read_ec(content)?, random)
        }
        _ => Err(KeyError::UnknownKind),
    }
}

/// The key with this seed.
pub(super) fn ed25519(seed: &[u8]) -> Result<Parts, KeyError> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Rejected)?;
    let algorithm = AlgorithmIdentifierRef { oid: oid::ED25519, parameters: None };
    let public = public_key(algorithm, key.public_key().as_ref())?;
    let seed =
        OctetStringRef::new(seed).and_then(|seed| Encode::to_der(&seed)).map_err(|_| KeyError::Malformed)?;
    let pkcs8 = write(algorithm, &Zeroizing::new(seed))?;
    Ok(Parts { public, secret: Secret::Ed25519(key), pkcs8 })
}

/// The key with this secret number, big-endian.
pub(super) fn ec(curve: Curve, number: &[u8], random: &dyn SecureRandom) -> Result<Parts, KeyError> {
    let (number, point) = curve.complete(number)?;
    let curve_oid = curve.oid();
    let algorithm = AlgorithmIdentifierRef { oid: oid::EC, parameters: Some(AnyRef::from(&curve_oid)) };
    let malformed = |_| KeyError::Malformed;
    let private = EcPrivateKey {
        version: 1,
        private_key: OctetStringRef::new(&number).map_err(malformed)?,
        public_key: BitStringRef::from_bytes(&point).map_err(malformed)?,
    };
    let pkcs8 = write(algorithm, &Zeroizing::new(private.to_der().map_err(malformed)?))?;
    let public = public_key(algorithm, &point)?;
    Ok(Parts { public, secret: curve.secret(&number, &point, random)?, pkcs8 })
}

fn read_ed25519(content: &[u8]) -> Result<Parts, KeyError> {
    use der::Decode;
    let seed = <&OctetStringRef>::from_der(content).map_err(|_| KeyError::Malformed)?;
    ed25519(seed.as_bytes())
}

/// The number of an ECPrivateKey. What follows it is computed from it.
fn read_ec(bytes: &[u8]) -> Result<&[u8], KeyError> {
    const FIELD: &str = "ECPrivateKey";
    let fields = read_all(bytes, FIELD, |from| content(from, Tag::Sequence, FIELD));
    let number = fields.and_then(|fields| {
        read_all(fields, FIELD, |from| {
            let version: u8 = any(from, FIELD)?;
            let number: &OctetStringRef = any(from, FIELD)?;
            while !der::Reader::is_finished(from) {
                let _parameters_or_public_key: AnyRef<'_> = any(from, FIELD)?;
            }
            Ok((version, number.as_bytes()))
        })
    });
    match number {
        Ok((1, number)) => Ok(number),
        _ => Err(KeyError::Malformed),
    }
}

fn read_rsa(content: &[u8]) -> Result<Parts, KeyError> {
    let key = RsaKeyPair::from_der(content).map_err(|_| KeyError::Rejected)?;
    let algorithm = AlgorithmIdentifierRef { oid: oid::RSA, parameters: Some(AnyRef::NULL) };
    let public = public_key(algorithm, key.public_key().as_ref())?;
    let pkcs8 = write(algorithm, content)?;
    Ok(Parts { public, secret: Secret::Rsa(Box::new(key)), pkcs8 })
}

fn public_key(algorithm: AlgorithmIdentifierRef<'_>, bits: &[u8]) -> Result<PublicKey, KeyError> {
    let subject_public_key = BitStringRef::from_bytes(bits).map_err(|_| KeyError::Malformed)?;
    let spki = SubjectPublicKeyInfoRef { algorithm, subject_public_key };
    let spki = spki.to_der().map_err(|_| KeyError::Malformed)?;
    PublicKey::from_spki(&spki).map_err(|_| KeyError::Malformed)
}

fn write(algorithm: AlgorithmIdentifierRef<'_>, content: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let content = OctetStringRef::new(content).map_err(|_| KeyError::Malformed)?;
    let info = pkcs8::PrivateKeyInfoRef::new(algorithm, content);
    info.to_der().map(Zeroizing::new).map_err(|_| KeyError::Malformed)
}

impl Curve {
    fn of(curve: ObjectIdentifier) -> Option<Self> {
        match curve {
            oid::P256 => Some(Self::P256),
            oid::P384 => Some(Self::P384),
            oid::P521 => Some(Self::P521),
            _ => None,
        }
    }

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => oid::P256,
            Self::P384 => oid::P384,
            Self::P521 => oid::P521,
        }
    }

    /// Octets of a number below the order of the curve.
    pub(super) const fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The number in its full length, and the uncompressed point that is its public key.
    fn complete(self, number: &[u8]) -> Result<(SecretNumber, Box<[u8]>), KeyError> {
        let significant = number.iter().position(|octet| *octet != 0).ok_or(KeyError::Rejected)?;
        let number = number.get(significant..).unwrap_or_default();
        let padding = self.length().checked_sub(number.len()).ok_or(KeyError::Rejected)?;
        let mut full = Zeroizing::new(vec![0; padding]);
        full.extend_from_slice(number);
        let rejected = |_| KeyError::Rejected;
        let point = match self {
            Self::P256 => p256::SecretKey::from_slice(&full).map_err(rejected)?.public_key().to_sec1_bytes(),
            Self::P384 => p384::SecretKey::from_slice(&full).map_err(rejected)?.public_key().to_sec1_bytes(),
            Self::P521 => p521::SecretKey::from_slice(&full).map_err(rejected)?.public_key().to_sec1_bytes(),
        };
        Ok((full, point))
    }

    fn secret(self, number: &[u8], point: &[u8], random: &dyn SecureRandom) -> Result<Secret, KeyError> {
        match self {
            Self::P256 => ring_ec(&ECDSA_P256_SHA256_ASN1_SIGNING, number, point, random).map(Secret::P256),
            Self::P384 => ring_ec(&ECDSA_P384_SHA384_ASN1_SIGNING, number, point, random).map(Secret::P384),
            Self::P521 => p521::ecdsa::SigningKey::from_slice(number)
                .map(|key| Secret::P521(Box::new(key)))
                .map_err(|_| KeyError::Rejected),
        }
    }
}

fn ring_ec(
    algorithm: &'static EcdsaSigningAlgorithm,
    number: &[u8],
    point: &[u8],
    random: &dyn SecureRandom,
) -> Result<EcdsaKeyPair, KeyError> {
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, number, point, random)
        .map_err(|_| KeyError::Rejected)
}
