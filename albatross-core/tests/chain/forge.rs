//! Writes certificates of any shape, right or wrong.

use albatross_core::issue::{KeyPair, SigningKey};

/// An extension: OID in DER, whether critical, value.
pub(crate) type Extension = (Vec<u8>, bool, Vec<u8>);

pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
pub(crate) const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
pub(crate) const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
pub(crate) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
pub(crate) const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
pub(crate) const UNKNOWN: &[u8] = &[0x2a, 0x03, 0x04];
pub(crate) const ALBATROSS: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0x85, 0x2c, 0x2a];

/// `Ed25519` as AlgorithmIdentifier.
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

/// What goes into a certificate; all of it can be changed.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) version: Option<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) inner_algorithm: Vec<u8>,
    pub(crate) outer_algorithm: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) validity: [&'static str; 2],
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pub(crate) unique_id: bool,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) spoil_signature: bool,
}

impl Forge {
    fn new(subject: &str, key: &KeyPair, issuer: &str, extensions: Vec<Extension>) -> Self {
        Self {
            version: Some(2),
            serial: vec![1],
            inner_algorithm: ED25519.to_vec(),
            outer_algorithm: ED25519.to_vec(),
            issuer: name(issuer),
            validity: ["20260101000000Z", "20270101000000Z"],
            subject: name(subject),
            spki: key.public_key().spki().to_vec(),
            unique_id: false,
            extensions,
            spoil_signature: false,
        }
    }

    /// As the profile of a CA asks for.
    pub(crate) fn ca(subject: &str, key: &KeyPair, issuer: &str) -> Self {
        let extensions = vec![
            (BASIC_CONSTRAINTS.to_vec(), true, vec![0x30, 0x03, 0x01, 0x01, 0xff]),
            (KEY_USAGE.to_vec(), true, vec![0x03, 0x02, 0x01, 0xc6]),
        ];
        Self::new(subject, key, issuer, extensions)
    }

    /// As the profile of a leaf asks for, with the command `info`.
    pub(crate) fn leaf(subject: &str, key: &KeyPair, issuer: &str) -> Self {
        let client = tlv(0x30, &tlv(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]));
        let extensions = vec![
            (BASIC_CONSTRAINTS.to_vec(), true, vec![0x30, 0x00]),
            (KEY_USAGE.to_vec(), true, vec![0x03, 0x02, 0x05, 0xa0]),
            (EXT_KEY_USAGE.to_vec(), true, client),
            (ALBATROSS.to_vec(), false, vec![0x30, 9, 2, 1, 5, 0xa3, 4, 0xb3, 2, 5, 0]),
        ];
        Self::new(subject, key, issuer, extensions)
    }

    /// Replaces the value of an extension, or adds it.
    pub(crate) fn with(mut self, oid: &[u8], critical: bool, value: &[u8]) -> Self {
        self = self.without(oid);
        self.extensions.push((oid.to_vec(), critical, value.to_vec()));
        self
    }

    pub(crate) fn without(mut self, oid: &[u8]) -> Self {
        self.extensions.retain(|extension| extension.0 != oid);
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The certificate, signed with this key.
    pub(crate) fn der(&self, key: &KeyPair) -> Vec<u8> {
        let mut tbs = Vec::new();
        if let Some(version) = self.version {
            tbs.extend(tlv(0xa0, &tlv(0x02, &[version])));
        }
        tbs.extend(tlv(0x02, &self.serial));
        tbs.extend(&self.inner_algorithm);
        tbs.extend(&self.issuer);
        tbs.extend(tlv(0x30, &self.validity.map(|time| tlv(0x18, time.as_bytes())).concat()));
        tbs.extend(&self.subject);
        tbs.extend(&self.spki);
        if self.unique_id {
            tbs.extend(tlv(0x81, &[0, 1]));
        }
        if !self.extensions.is_empty() {
            let list: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
            tbs.extend(tlv(0xa3, &tlv(0x30, &list)));
        }
        let tbs = tlv(0x30, &tbs);
        let mut signature = key.sign(&tbs, &super::random()).unwrap();
        if self.spoil_signature {
            signature[0] ^= 1;
        }
        signature.insert(0, 0);
        tlv(0x30, &[tbs, self.outer_algorithm.clone(), tlv(0x03, &signature)].concat())
    }
}

fn extension((oid, critical, value): &Extension) -> Vec<u8> {
    let critical = if *critical { tlv(0x01, &[0xff]) } else { Vec::new() };
    tlv(0x30, &[tlv(0x06, oid), critical, tlv(0x04, value)].concat())
}

/// A name with a CommonName.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let pair = [tlv(0x06, &[0x55, 0x04, 0x03]), tlv(0x0c, common_name.as_bytes())].concat();
    tlv(0x30, &tlv(0x31, &tlv(0x30, &pair)))
}

/// Tag, length, content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ 0..=127) => out.push(length),
        Ok(length) => out.extend([0x81, length]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}
