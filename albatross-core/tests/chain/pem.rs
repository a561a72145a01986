//! The text form, as tolerant as files in the wild ask for.

use albatross_core::certificate::pem::{self, PemError};
use albatross_core::issue::Request;

use super::{info, new_chain, new_leaf, random};

#[test]
fn several_blocks_text_between_crlf_and_any_width() {
    let (above, key) = new_chain(&["a"]);
    let chain = new_leaf(&above, &key, &info());
    let text = pem::encode_certificates(&chain);
    assert_eq!(pem::certificates(text.as_bytes(), 1 << 16).unwrap(), chain);
    let annotated = format!("subject=hello\r\n\r\n{}\r\ntrailing words", text.replace('\n', "\r\n"));
    assert_eq!(pem::certificates(annotated.as_bytes(), 1 << 16).unwrap(), chain);
    let one_line: String = text.lines().fold(String::new(), |mut out, line| {
        if line.starts_with("-----END") {
            out.push('\n');
        }
        out.push_str(line);
        if line.starts_with("-----") {
            out.push('\n');
        }
        out
    });
    assert_eq!(pem::certificates(one_line.as_bytes(), 1 << 16).unwrap(), chain);
    let octets = chain.iter().map(|certificate| certificate.der().len()).sum();
    assert_eq!(pem::certificates(text.as_bytes(), octets).unwrap(), chain);
    let limit = octets - 1;
    assert_eq!(pem::certificates(text.as_bytes(), limit), Err(PemError::TooLarge { limit }));
    assert_eq!(pem::certificates(text.as_bytes(), 300), Err(PemError::TooLarge { limit: 300 }));
}

/// RFC 7468 section 5.1 and 7: what other programs have written.
#[test]
fn older_labels_are_read_and_other_blocks_are_passed_over() {
    let (above, key) = new_chain(&["a"]);
    let chain = new_leaf(&above, &key, &info());
    let text = pem::encode_certificates(&chain);
    let older = text.replace("CERTIFICATE", "X509 CERTIFICATE");
    assert_eq!(pem::certificates(older.as_bytes(), 1 << 16).unwrap(), chain);
    let request = Request::create("hello", None, &super::key(), &random()).unwrap();
    let mixed = format!("{}{text}{}", *key.to_pem(), request.to_pem());
    assert_eq!(pem::certificates(mixed.as_bytes(), 1 << 16).unwrap(), chain);
    assert_eq!(pem::request(mixed.as_bytes()).unwrap(), request.der());
    assert_eq!(*pem::private_key(mixed.as_bytes()).unwrap(), key.pkcs8());
    let older = request.to_pem().replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    assert_eq!(pem::request(older.as_bytes()).unwrap(), request.der());
    assert_eq!(pem::request(text.as_bytes()), Err(PemError::Missing { label: "CERTIFICATE REQUEST" }));
}

#[test]
fn what_is_no_pem() {
    let none = PemError::Missing { label: "CERTIFICATE" };
    assert_eq!(pem::certificates(b"", 100), Err(none.clone()));
    assert_eq!(pem::certificates(b"hello", 100), Err(none));
    let unfinished = b"\n-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert_eq!(pem::certificates(unfinished, 100), Err(PemError::Unfinished { line: 2 }));
    let other_end = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END X-----\n";
    assert_eq!(pem::certificates(other_end, 100), Err(PemError::Unfinished { line: 1 }));
    let no_base64 = b"-----BEGIN CERTIFICATE-----\nA?AA\n-----END CERTIFICATE-----\n";
    assert_eq!(pem::certificates(no_base64, 100), Err(PemError::Base64 { line: 1 }));
    let no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(pem::certificates(no_certificate, 100), Err(PemError::Certificate { index: 0, .. })));
    let key = super::key().to_pem();
    let twice = format!("{}{}", *key, *key);
    assert_eq!(pem::private_key(twice.as_bytes()).unwrap_err(), PemError::NotAlone { label: "PRIVATE KEY" });
}
