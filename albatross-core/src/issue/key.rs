//! Keys that sign.

use std::{fmt, str::FromStr};

use der::zeroize::Zeroizing;
use p521::ecdsa::signature::Signer;
use ring::{
    rand::SecureRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaEncoding, RsaKeyPair},
};

use super::{KeyError, generate, pkcs8};
use crate::certificate::{Hash, PublicKey, PublicKeyAlgorithm, SignatureAlgorithm, pem};

/// A key that signs certificates and requests. It may live in a file, in another process or in hardware.
pub trait SigningKey {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message in the way that goes with the kind of key: Ed25519; ECDSA (as DER) with SHA-256 on
    /// P-256, SHA-384 on P-384, SHA-512 on P-521; RSA PKCS#1 v1.5 with SHA-256.
    ///
    /// # Errors
    /// [`KeyError`].
    fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, KeyError>;
}

/// The kinds of keys that can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    #[default]
    Ed25519,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

/// A private key in memory, with its public half.
pub struct KeyPair {
    public: PublicKey,
    secret: Secret,
    /// PKCS#8 version 1.
    pkcs8: Zeroizing<Vec<u8>>,
}

pub(super) enum Secret {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    P521(Box<p521::ecdsa::SigningKey>),
    Rsa(Box<RsaKeyPair>),
}

impl KeyKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Ed25519, Self::P256, Self::P384, Self::P521, Self::Rsa2048, Self::Rsa4096];

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::P521 => "p521",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa4096 => "rsa4096",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyKind {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(KeyError::UnknownName)
    }
}

impl KeyPair {
    /// Makes a new key. RSA takes seconds.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate(kind: KeyKind, random: &dyn SecureRandom) -> Result<Self, KeyError> {
        Self::from_pkcs8(&generate::private_key(kind, random)?, random)
    }

    /// The private key of a PEM file, of which there is exactly one.
    ///
    /// # Errors
    /// [`KeyError`]: no key, more than one, or none that is known here.
    pub fn from_pem(text: &[u8], random: &dyn SecureRandom) -> Result<Self, KeyError> {
        Self::from_pkcs8(&pem::private_key(text).map_err(KeyError::Pem)?, random)
    }

    /// Reads PKCS#8, version 1 or 2. Elliptic curve keys may lack their public half, as the peer writes
    /// them.
    ///
    /// # Errors
    /// [`KeyError`]: malformed, unknown, or not accepted.
    pub fn from_pkcs8(der: &[u8], random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let pkcs8::Parts { public, secret, pkcs8 } = pkcs8::read(der, random)?;
        Ok(Self { public, secret, pkcs8 })
    }

    /// PKCS#8 version 1; elliptic curve keys with their public half.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The same as PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode(pem::PRIVATE_KEY, &self.pkcs8))
    }

    /// The signature schemes of TLS 1.3 (RFC 8446 section 4.2.3) that this key signs with, the preferred
    /// one first.
    #[must_use]
    pub const fn tls13_schemes(&self) -> &'static [u16] {
        match self.secret {
            Secret::Ed25519(_) => &[0x0807],
            Secret::P256(_) => &[0x0403],
            Secret::P384(_) => &[0x0503],
            Secret::P521(_) => &[0x0603],
            Secret::Rsa(_) => &[0x0804, 0x0805, 0x0806],
        }
    }

    /// Signs for a TLS 1.3 CertificateVerify.
    ///
    /// # Errors
    /// [`KeyError::Sign`] for a scheme that is not among [`KeyPair::tls13_schemes`].
    pub fn sign_tls13(
        &self,
        scheme: u16,
        message: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, KeyError> {
        if !self.tls13_schemes().contains(&scheme) {
            return Err(KeyError::Sign);
        }
        match (&self.secret, scheme) {
            (Secret::Rsa(key), 0x0804) => sign_rsa(key, &signature::RSA_PSS_SHA256, message, random),
            (Secret::Rsa(key), 0x0805) => sign_rsa(key, &signature::RSA_PSS_SHA384, message, random),
            (Secret::Rsa(key), 0x0806) => sign_rsa(key, &signature::RSA_PSS_SHA512, message, random),
            _ => self.sign(message, random),
        }
    }
}

impl SigningKey for KeyPair {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, KeyError> {
        match &self.secret {
            Secret::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Secret::P256(key) | Secret::P384(key) => {
                let signature = key.sign(random, message).map_err(|_| KeyError::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
            Secret::P521(key) => {
                let signature: p521::ecdsa::DerSignature =
                    key.try_sign(message).map_err(|_| KeyError::Sign)?;
                Ok(signature.as_bytes().to_vec())
            }
            Secret::Rsa(key) => sign_rsa(key, &signature::RSA_PKCS1_SHA256, message, random),
        }
    }
}

impl fmt::Debug for KeyPair {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// How a key of this kind signs certificates and requests.
pub(super) fn signature_algorithm(key: &PublicKey) -> Result<SignatureAlgorithm, KeyError> {
    match key.algorithm() {
        Some(PublicKeyAlgorithm::Ed25519) => Ok(SignatureAlgorithm::Ed25519),
        Some(PublicKeyAlgorithm::Rsa) => Ok(SignatureAlgorithm::RsaPkcs1(Hash::Sha256)),
        Some(PublicKeyAlgorithm::P256) => Ok(SignatureAlgorithm::Ecdsa(Hash::Sha256)),
        Some(PublicKeyAlgorithm::P384) => Ok(SignatureAlgorithm::Ecdsa(Hash::Sha384)),
        Some(PublicKeyAlgorithm::P521) => Ok(SignatureAlgorithm::Ecdsa(Hash::Sha512)),
        None => Err(KeyError::UnknownKind),
    }
}

fn sign_rsa(
    key: &RsaKeyPair,
    padding: &'static dyn RsaEncoding,
    message: &[u8],
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, random, message, &mut signature).map_err(|_| KeyError::Sign)?;
    Ok(signature)
}
