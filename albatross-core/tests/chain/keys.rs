//! Every kind of key: made, written, read, signed with.

use albatross_core::certificate::{NothingRevoked, PublicKey, Root, TLS13_SCHEMES, verify};
use albatross_core::issue::{self, Issuer, KeyError, KeyKind, KeyPair, SigningKey};
use der::asn1::BitStringRef;
use spki::SubjectPublicKeyInfoRef;

use super::forge::tlv;
use super::{info, label, now, policy, random, terms};

/// RSA keys take long to make, so 4096 bits are made once, where all kinds are.
pub(crate) const QUICK: [KeyKind; 4] = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];

/// A root, an intermediate, and a leaf, all with keys of this kind.
pub(crate) fn story(kind: KeyKind) -> (Vec<String>, [KeyPair; 3]) {
    let random = random();
    let new = || KeyPair::generate(kind, &random).unwrap();
    let [root_key, middle_key, leaf_key] = [new(), new(), new()];
    let root = issue::root("ca", &root_key, &terms(&random)).unwrap();
    let roots = [root.clone()];
    let issuer = Issuer::new(&roots, &root_key).unwrap();
    let middle =
        issuer.intermediate(&label("alice"), middle_key.public_key(), &policy(2), &terms(&random)).unwrap();
    let chain = [middle, root.clone()];
    let issuer = Issuer::new(&chain, &middle_key).unwrap();
    let leaf = issuer.leaf(Some(&label("hello")), leaf_key.public_key(), &info(), &terms(&random)).unwrap();
    let path = [leaf.clone(), chain[0].clone()];
    verify(&path, &Root::new(root.clone()).unwrap(), now(), &NothingRevoked).unwrap();
    let texts = [&root, &chain[0], &leaf].map(|c| super::pem_of(c));
    (texts.to_vec(), [root_key, middle_key, leaf_key])
}

#[test]
fn chains_of_every_quick_kind() {
    for kind in QUICK {
        story(kind);
    }
}

#[test]
fn rsa_keys_are_made_and_sign() {
    let random = random();
    let key = KeyPair::generate(KeyKind::Rsa2048, &random).unwrap();
    check(&key);
    let root = issue::root("ca", &key, &terms(&random)).unwrap();
    Root::new(root).unwrap();
}

#[test]
fn keys_are_written_and_read() {
    for kind in QUICK {
        check(&KeyPair::generate(kind, &random()).unwrap());
    }
}

fn check(key: &KeyPair) {
    let random = random();
    let again = KeyPair::from_pem(key.to_pem().as_bytes(), &random).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(again.pkcs8(), key.pkcs8());
    let again = KeyPair::from_pkcs8(key.pkcs8(), &random).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert!(key.public_key().is_usable());
    for scheme in TLS13_SCHEMES {
        let signature = again.sign_tls13(*scheme, b"message", &random);
        assert_eq!(signature.is_ok(), key.tls13_schemes().contains(scheme));
        if let Ok(signature) = signature {
            key.public_key().verify_tls13(*scheme, b"message", &signature).unwrap();
            assert!(key.public_key().verify_tls13(*scheme, b"another", &signature).is_err());
        }
    }
    // The public half and nothing else.
    let public = format!("KeyPair {{ public: {:?}, .. }}", key.public_key());
    assert_eq!(format!("{key:?}"), public);
}

#[test]
fn names_of_kinds() {
    for kind in KeyKind::ALL {
        assert_eq!(kind.to_string().parse::<KeyKind>().unwrap(), kind);
    }
    assert_eq!("ed448".parse::<KeyKind>(), Err(KeyError::UnknownName));
}

#[test]
fn keys_that_are_refused() {
    let random = random();
    let bad = |der: &[u8]| KeyPair::from_pkcs8(der, &random).unwrap_err();
    assert_eq!(bad(b""), KeyError::Malformed);
    for kind in QUICK {
        let key = KeyPair::generate(kind, &random).unwrap();
        let der = key.pkcs8();
        for length in 0..der.len() {
            bad(&der[..length]);
        }
        for position in 0..der.len() {
            let mut spoilt = der.to_vec();
            spoilt[position] ^= 0x81;
            let _no_panic = KeyPair::from_pkcs8(&spoilt, &random);
        }
    }
    // Zero, and the order of P-256, are no numbers of a key.
    let key = KeyPair::generate(KeyKind::P256, &random).unwrap();
    let at = key.pkcs8().windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
    for octet in [0, 0xff] {
        let mut spoilt = key.pkcs8().to_vec();
        spoilt[at..at + 32].fill(octet);
        assert_eq!(bad(&spoilt), KeyError::Rejected);
    }
    let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(KeyPair::from_pem(certificate, &random), Err(KeyError::Pem(_))));
}

/// What let somebody in without a key, or ended the program, elsewhere (OSEC-2026-13, -14 and -15 of mirage-crypto).
#[test]
fn keys_off_their_curve_and_signatures_of_a_few_octets_verify_nothing() {
    let random = random();
    for kind in QUICK.into_iter().chain([KeyKind::Rsa2048]) {
        let key = KeyPair::generate(kind, &random).unwrap();
        let spki = key.public_key().spki();
        let length = key_length(kind, spki);
        // The point at infinity; points that are cut short, compressed ones too; none at all; another point.
        let mut spoilt = vec![vec![0], vec![2], vec![3], vec![2, 1], vec![4], vec![], vec![0; length]];
        if kind != KeyKind::Ed25519 {
            let bits = &spki[spki.len() - length..];
            spoilt.push(bits[..length - 1].to_vec());
            spoilt.push([bits, &[0]].concat());
        }
        for bits in spoilt {
            let other = PublicKey::from_spki(&with_bits(spki, length, &bits)).unwrap();
            assert!(
                kind == KeyKind::Ed25519 && bits.len() == length || !other.is_usable(),
                "{kind} {bits:?}"
            );
            refuses_all(&other);
        }
        refuses_all(key.public_key());
    }
}

/// RFC 5480 has compressed points, too: no peer writes them, and for P-521 nothing but this asks.
#[test]
fn points_that_are_compressed_or_off_their_curve_are_no_usable_keys() {
    let random = random();
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let key = KeyPair::generate(kind, &random).unwrap();
        let spki = key.public_key().spki();
        let length = key_length(kind, spki);
        let point = &spki[spki.len() - length..];
        let (x, last) = (&point[1..=length / 2], point[length - 1]);
        let off_curve = [&point[..length - 1], &[last ^ 1]].concat();
        let compressed = [&[2 | (last & 1)], x].concat();
        let hybrid = [&[6 | (last & 1)], &point[1..]].concat();
        for bits in [off_curve, compressed, hybrid] {
            let other = PublicKey::from_spki(&with_bits(spki, length, &bits)).unwrap();
            assert!(!other.is_usable(), "{kind} {bits:x?}");
            // Not even what the key itself has signed.
            for scheme in key.tls13_schemes() {
                let signature = key.sign_tls13(*scheme, b"message", &random).unwrap();
                assert!(other.verify_tls13(*scheme, b"message", &signature).is_err(), "{kind} {bits:x?}");
            }
        }
    }
}

/// As `RSAPublicKey`, a modulus of so many bits and an exponent.
fn rsa(bits: usize, exponent: &[u8]) -> PublicKey {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= modulus.len() * 8 - bits;
    let number = |octets: &[u8]| match octets[0] {
        0x80.. => tlv(0x02, &[&[0], octets].concat()),
        _ => tlv(0x02, octets),
    };
    let numbers = tlv(0x30, &[number(&modulus), number(exponent)].concat());
    let algorithm =
        tlv(0x30, &[tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]), vec![5, 0]].concat());
    let spki = tlv(0x30, &[algorithm, tlv(0x03, &[&[0], &numbers[..]].concat())].concat());
    PublicKey::from_spki(&spki).unwrap()
}

/// The range of ring, which verifies what these keys sign.
#[test]
fn rsa_keys_are_usable_from_2048_to_8192_bits_with_an_odd_exponent() {
    let (three, usual, largest) = ([3], [1, 0, 1], [1, 0xff, 0xff, 0xff, 0xff]);
    for (bits, exponent) in
        [(2048, &three[..]), (2048, &usual), (2049, &usual), (8192, &usual), (8192, &three), (4096, &largest)]
    {
        assert!(rsa(bits, exponent).is_usable(), "{bits} {exponent:?}");
    }
    for (bits, exponent) in [
        (2047, &usual[..]),
        (1024, &usual),
        (8193, &usual),
        (2048, &[0]),
        (2048, &[1]),
        (2048, &[2]),
        (2048, &[1, 0, 0]),
        (2048, &[2, 0, 0, 0, 1]),
    ] {
        assert!(!rsa(bits, exponent).is_usable(), "{bits} {exponent:?}");
    }
}

/// No signature that can be made without a key: numbers 0 and 1 in every form, nothing, and octets of the right lengths.
fn refuses_all(key: &PublicKey) {
    let mut signatures = vec![vec![], vec![0], vec![1], vec![0x30, 0], vec![0xff; 600]];
    for number in [0, 1] {
        signatures.push(vec![0x30, 6, 2, 1, number, 2, 1, number]);
        for length in [32, 64, 96, 132, 256] {
            signatures.push([vec![0; length - 1], vec![number]].concat());
        }
    }
    for scheme in TLS13_SCHEMES {
        for signature in &signatures {
            assert!(key.verify_tls13(*scheme, b"message", signature).is_err(), "{scheme:x} {signature:?}");
        }
    }
}

/// Octets of the key's bits, at the end of its SubjectPublicKeyInfo.
fn key_length(kind: KeyKind, spki: &[u8]) -> usize {
    match kind {
        KeyKind::Ed25519 => 32,
        KeyKind::P256 => 65,
        KeyKind::P384 => 97,
        KeyKind::P521 => 133,
        // After SEQUENCE, the algorithm, and the BIT STRING with its octet of unused bits.
        _ => spki.len() - 24,
    }
}

/// The same SubjectPublicKeyInfo with other bits.
fn with_bits(spki: &[u8], length: usize, bits: &[u8]) -> Vec<u8> {
    let read = SubjectPublicKeyInfoRef::try_from(spki).unwrap();
    assert_eq!(read.subject_public_key.raw_bytes().len(), length);
    let other =
        SubjectPublicKeyInfoRef { subject_public_key: BitStringRef::from_bytes(bits).unwrap(), ..read };
    der::Encode::to_der(&other).unwrap()
}
