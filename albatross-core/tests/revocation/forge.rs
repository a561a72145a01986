//! Writes lists of any shape, right or wrong.

use albatross_core::certificate::Certificate;
use albatross_core::issue::{KeyPair, SigningKey};

use super::random;

/// An extension: OID in DER, whether critical, value.
pub(crate) type Extension = (Vec<u8>, bool, Vec<u8>);

pub(crate) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
pub(crate) const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
pub(crate) const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
pub(crate) const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 0x18];
pub(crate) const DELTA: &[u8] = &[0x55, 0x1d, 0x1b];
pub(crate) const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
pub(crate) const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];
pub(crate) const UNKNOWN: &[u8] = &[0x2a, 0x03, 0x04];

/// `Ed25519` as AlgorithmIdentifier.
pub(crate) const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

/// What goes into a list; all of it can be changed. Values are DER with tag and length.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) version: Vec<u8>,
    pub(crate) inner_algorithm: Vec<u8>,
    pub(crate) outer_algorithm: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) this_update: Vec<u8>,
    pub(crate) next_update: Vec<u8>,
    pub(crate) entries: Option<Vec<Vec<u8>>>,
    pub(crate) extensions: Option<Vec<Extension>>,
    pub(crate) after_extensions: Vec<u8>,
    pub(crate) spoil_signature: bool,
}

impl Forge {
    /// An empty list with number 1, as it should be.
    pub(crate) fn new(issuer: &Certificate<'_>) -> Self {
        Self {
            version: tlv(0x02, &[1]),
            inner_algorithm: ED25519.to_vec(),
            outer_algorithm: ED25519.to_vec(),
            issuer: issuer.subject().as_der().to_vec(),
            this_update: utc("260601000000Z"),
            next_update: utc("260701000000Z"),
            entries: None,
            extensions: Some(vec![number(1)]),
            after_extensions: Vec::new(),
            spoil_signature: false,
        }
    }

    pub(crate) fn numbered(mut self, octet: u8) -> Self {
        self.extensions = Some(vec![number(octet)]);
        self
    }

    pub(crate) fn with(mut self, oid: &[u8], critical: bool, value: &[u8]) -> Self {
        self.extensions.get_or_insert_default().push((oid.to_vec(), critical, value.to_vec()));
        self
    }

    pub(crate) fn entry(mut self, entry: Vec<u8>) -> Self {
        self.entries.get_or_insert_default().push(entry);
        self
    }

    pub(crate) fn sign(&self, key: &KeyPair) -> Vec<u8> {
        let extensions = self.extensions.as_ref().map(|list| tlv(0xa0, &extensions(list)));
        let fields = [
            self.version.clone(),
            self.inner_algorithm.clone(),
            self.issuer.clone(),
            self.this_update.clone(),
            self.next_update.clone(),
            self.entries.as_ref().map(|entries| tlv(0x30, &entries.concat())).unwrap_or_default(),
            extensions.unwrap_or_default(),
            self.after_extensions.clone(),
        ];
        let tbs = tlv(0x30, &fields.concat());
        let mut signature = [vec![0], key.sign(&tbs, &random()).unwrap()].concat();
        if self.spoil_signature {
            signature[9] ^= 1;
        }
        tlv(0x30, &[tbs, self.outer_algorithm.clone(), tlv(0x03, &signature)].concat())
    }
}

fn number(octet: u8) -> Extension {
    (CRL_NUMBER.to_vec(), false, tlv(0x02, &[octet]))
}

pub(crate) fn extensions(list: &[Extension]) -> Vec<u8> {
    let field = |(oid, critical, value): &Extension| {
        let critical = if *critical { tlv(0x01, &[0xff]) } else { Vec::new() };
        tlv(0x30, &[tlv(0x06, oid), critical, tlv(0x04, value)].concat())
    };
    tlv(0x30, &list.iter().map(field).collect::<Vec<_>>().concat())
}

pub(crate) fn entry(serial: &[u8], list: &[Extension]) -> Vec<u8> {
    let extensions = if list.is_empty() { Vec::new() } else { extensions(list) };
    tlv(0x30, &[tlv(0x02, serial), utc("260531000000Z"), extensions].concat())
}

pub(crate) fn utc(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

pub(crate) fn generalized(text: &str) -> Vec<u8> {
    tlv(0x18, text.as_bytes())
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|octet| *octet == 0).collect();
    let mut out = vec![tag];
    if content.len() < 0x80 {
        out.push(content.len() as u8);
    } else {
        out.push(0x80 | significant.len() as u8);
        out.extend(significant);
    }
    out.extend(content);
    out
}

/// The certificate with these octets in place of those, signed again by this Ed25519 key.
pub(crate) fn altered(
    certificate: &Certificate<'_>,
    key: &KeyPair,
    from: &[u8],
    to: &[u8],
) -> Certificate<'static> {
    let mut der = certificate.der().to_vec();
    let at = der.windows(from.len()).position(|window| window == from).unwrap();
    der[at..at + to.len()].copy_from_slice(to);
    // A SEQUENCE of what is signed, the algorithm and a BIT STRING that ends with the signature.
    let start = value(&der).start;
    let end = start + value(&der[start..]).end;
    let signature = key.sign(&der[start..end], &random()).unwrap();
    let place = der.len() - signature.len();
    der[place..].copy_from_slice(&signature);
    Certificate::from_vec(der).unwrap()
}

/// Where the content of the value at the beginning stands.
fn value(der: &[u8]) -> std::ops::Range<usize> {
    let octets = usize::from(der[1].saturating_sub(0x80));
    let length = der[2..2 + octets].iter().fold(0, |length, octet| (length << 8) | usize::from(*octet));
    let length = if octets == 0 { usize::from(der[1]) } else { length };
    2 + octets..2 + octets + length
}
