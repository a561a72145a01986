//! Certificates, requests and revocation lists of 16 MiB. Their signatures are nobody's: reading a certificate
//! or a list does not look at them, a request is refused for it last.

use albatross_core::certificate::{Certificate, chain_from_der};
use albatross_core::issue::Request;
use albatross_core::revocation::{ListError, RevocationList};

use super::bounds::{SIZE, check, many, tlv};

/// The limit that a caller gives, beyond which nothing is read.
const LIMIT: usize = 2 * SIZE;

const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
const ALBATROSS: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0x85, 0x2c, 0x2a];
const ALT_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
const UNKNOWN: &[u8] = &[0x2a, 0x03, 0x04];

/// Fields of what is signed that a test changes.
struct Parts {
    serial: Vec<u8>,
    name: Vec<u8>,
    key: Vec<u8>,
    extensions: Vec<u8>,
    signature: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        Self {
            serial: vec![1],
            name: rdn(b"a"),
            key: [&[0][..], &[9; 32]].concat(),
            extensions: extension(UNKNOWN, b"x"),
            signature: vec![0; 65],
        }
    }

    fn signed(&self, content: &[u8]) -> Vec<u8> {
        tlv(0x30, &[&tlv(0x30, content), ED25519, &tlv(0x03, &self.signature)].concat())
    }

    fn certificate(&self) -> Vec<u8> {
        let time = tlv(0x17, b"260101000000Z");
        let fields = [
            tlv(0xa0, &[2, 1, 2]),
            tlv(0x02, &self.serial),
            ED25519.to_vec(),
            tlv(0x30, &self.name),
            tlv(0x30, &[&time[..], &time].concat()),
            tlv(0x30, &self.name),
            tlv(0x30, &[ED25519, &tlv(0x03, &self.key)].concat()),
            tlv(0xa3, &tlv(0x30, &self.extensions)),
        ];
        self.signed(&fields.concat())
    }

    fn request(&self) -> Vec<u8> {
        let attribute = [
            tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]),
            tlv(0x31, &tlv(0x30, &self.extensions)),
        ];
        let fields = [
            tlv(0x02, &[0]),
            tlv(0x30, &self.name),
            tlv(0x30, &[ED25519, &tlv(0x03, &self.key)].concat()),
            tlv(0xa0, &tlv(0x30, &attribute.concat())),
        ];
        self.signed(&fields.concat())
    }

    fn list(&self, entries: &[u8]) -> Vec<u8> {
        let time = tlv(0x17, b"260101000000Z");
        let number = extension(&[0x55, 0x1d, 0x14], &tlv(0x02, &[1]));
        let fields = [
            tlv(0x02, &[1]),
            ED25519.to_vec(),
            tlv(0x30, &self.name),
            time.clone(),
            time,
            tlv(0x30, entries),
            tlv(0xa0, &tlv(0x30, &[number, self.extensions.clone()].concat())),
        ];
        self.signed(&fields.concat())
    }
}

fn rdn(text: &[u8]) -> Vec<u8> {
    tlv(0x31, &tlv(0x30, &[tlv(0x06, &[0x55, 0x04, 0x03]), tlv(0x0c, text)].concat()))
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x06, oid), tlv(0x04, value)].concat())
}

/// Values inside values, as deep as 16 MiB are.
fn nested() -> Vec<u8> {
    many(|_| vec![0x30, 0x80])
}

/// What a test puts into parts, and whether a certificate with it is read.
fn cases() -> Vec<(&'static str, Parts, bool)> {
    let long = || vec![7; SIZE];
    let base = Parts::new;
    vec![
        ("a long serial number", Parts { serial: long(), ..base() }, false),
        ("a long name", Parts { name: rdn(&vec![b'a'; SIZE / 2]), ..base() }, true),
        ("a name of many parts", Parts { name: rdn(b"a").repeat(SIZE / 24), ..base() }, true),
        ("a name of nested values", Parts { name: nested()[..SIZE / 2].to_vec(), ..base() }, false),
        ("a long key", Parts { key: [vec![0], long()].concat(), ..base() }, true),
        ("a long signature", Parts { signature: [vec![0], long()].concat(), ..base() }, true),
        ("many extensions", Parts { extensions: many(|_| extension(UNKNOWN, b"")), ..base() }, false),
        ("a long unknown extension", Parts { extensions: extension(UNKNOWN, &long()), ..base() }, true),
        ("a long command", Parts { extensions: extension(ALBATROSS, &long()), ..base() }, true),
        (
            "many names of a host",
            Parts { extensions: extension(ALT_NAMES, &tlv(0x30, &many(|_| tlv(0x82, b"a")))), ..base() },
            false,
        ),
        (
            "many purposes",
            Parts {
                extensions: extension(EXT_KEY_USAGE, &tlv(0x30, &many(|_| tlv(0x06, UNKNOWN)))),
                ..base()
            },
            false,
        ),
        (
            "an authority's key identifier with many names",
            Parts {
                extensions: extension(
                    AUTHORITY_KEY_ID,
                    &tlv(0x30, &[tlv(0xa1, &many(|_| tlv(0x82, b"a"))), tlv(0x82, &[1])].concat()),
                ),
                ..base()
            },
            false,
        ),
        ("nested extensions", Parts { extensions: nested(), ..base() }, false),
    ]
}

#[test]
fn certificates() {
    for (what, parts, is_read) in cases() {
        let der = parts.certificate();
        check(&format!("a certificate with {what}"), &der, Certificate::from_der, is_read);
        let chain = |der| chain_from_der([der], LIMIT);
        check(&format!("a chain of one with {what}"), &der, chain, is_read);
    }
    check("nested values", &nested(), Certificate::from_der, false);
    check("a chain that is too large", &nested(), |der| chain_from_der([der], SIZE - 1), false);
}

#[test]
fn requests() {
    for (what, parts, _) in cases() {
        let der = parts.request();
        // What a request does not have is small.
        if der.len() >= SIZE {
            check(&format!("a request with {what}"), &der, Request::from_der, false);
        }
    }
}

#[test]
fn lists() {
    fn read(der: &[u8]) -> Result<RevocationList<'_>, ListError> {
        RevocationList::from_der(der, LIMIT)
    }
    let entry = |serial: &[u8], date: &[u8]| tlv(0x30, &[tlv(0x02, serial), tlv(0x17, date)].concat());
    let date = b"260101000000Z";
    let ascending = many(|number| entry(&[&[1][..], &number.to_be_bytes()].concat(), date));
    let descending = many(|number| entry(&[&[1][..], &(u32::MAX - number).to_be_bytes()].concat(), date));
    let none = Parts { extensions: Vec::new(), ..Parts::new() };
    check("a list in order", &none.list(&ascending), read, true);
    check("a list in the other order", &none.list(&descending), read, true);
    check("a list of the same", &none.list(&many(|_| entry(&[1], date))), read, true);
    check("a list of nested values", &none.list(&nested()), read, false);
    check(
        "a list beyond the limit",
        &none.list(&ascending),
        |der| RevocationList::from_der(der, SIZE),
        false,
    );
    let list = none.list(&descending);
    let list = RevocationList::from_der(&list, LIMIT).unwrap();
    // As many questions as there are answers.
    let found = (0..list.len()).filter(|number| {
        let number = u32::MAX - u32::try_from(*number).unwrap();
        list.contains(&[&[1][..], &number.to_be_bytes()].concat())
    });
    assert_eq!(found.count(), list.len());
    for (what, parts, _) in cases() {
        let der = parts.list(&entry(&[1], date));
        if der.len() >= SIZE {
            // Most extensions of a certificate say nothing in a list, unless they are critical.
            let says_something =
                ["many extensions", "nested extensions", "an authority's key identifier with many names"];
            let is_read = !says_something.contains(&what);
            check(&format!("a list with {what}"), &der, read, is_read);
        }
    }
}
