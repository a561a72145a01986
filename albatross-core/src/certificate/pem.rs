//! The text form of certificates, requests and keys (RFC 7468).
//!
//! Read are files with any number of blocks, text between them, CR LF, and lines of any length, as
//! editors, mail programs and other tools leave them. Written are lines of 64 columns with LF.

use std::fmt;

use base64ct::{Base64, Encoding};
use der::{
    pem::{LineEnding, encode_string},
    zeroize::Zeroizing,
};

use super::{Certificate, CertificateError};

/// The label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a request.
pub const REQUEST: &str = "CERTIFICATE REQUEST";
/// The label of a private key in PKCS#8.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One block: what it is called and what is in it.
#[derive(Clone, Debug)]
pub struct Block {
    /// The words after BEGIN.
    pub label: String,
    /// The octets; forgotten with care, as they may be a key.
    pub der: Zeroizing<Vec<u8>>,
}

/// Text that is not the PEM that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemError {
    /// No block with this label.
    Missing {
        /// The label that was looked for.
        label: &'static str,
    },
    /// More than one block where one is asked for.
    NotAlone {
        /// The label that was looked for.
        label: &'static str,
    },
    /// A block that does not end, or ends with another label.
    Unfinished {
        /// The line it begins in, from 1.
        line: usize,
    },
    /// What stands in a block is not base64.
    Base64 {
        /// The line the block begins in, from 1.
        line: usize,
    },
    /// More octets than the caller allows.
    TooLarge {
        /// How many are allowed.
        limit: usize,
    },
    /// A block that is no certificate.
    Certificate {
        /// Its place among the certificates of the text, from 0.
        index: usize,
        /// Why.
        error: CertificateError,
    },
}

/// All blocks of a text.
///
/// # Errors
/// [`PemError`]: a block without end, or without base64.
pub fn blocks(text: &[u8]) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, Zeroizing<Vec<u8>>)> = None;
    for (line, number) in text.split(|octet| *octet == b'\n').zip(1..) {
        let line = line.trim_ascii();
        open = match (open, boundary(line)) {
            (None, Some(Boundary::Begin(label))) => {
                Some((number, label.to_owned(), Zeroizing::new(Vec::new())))
            }
            // Text around the blocks.
            (None, _) => None,
            (Some((begin, label, body)), Some(Boundary::End(end))) if end == label => {
                let der = decode(&body).ok_or(PemError::Base64 { line: begin })?;
                blocks.push(Block { label, der });
                None
            }
            (Some((begin, ..)), Some(_)) => return Err(PemError::Unfinished { line: begin }),
            (Some((begin, label, mut body)), None) => {
                body.extend(line.iter().filter(|octet| !octet.is_ascii_whitespace()));
                Some((begin, label, body))
            }
        };
    }
    match open {
        Some((line, ..)) => Err(PemError::Unfinished { line }),
        None => Ok(blocks),
    }
}

/// The certificates of a text in their order, at least one, with no more octets of DER than
/// `size_limit`. Blocks of other kinds are passed over.
///
/// # Errors
/// [`PemError`]: none, too large, or one that cannot be read.
pub fn certificates(text: &[u8], size_limit: usize) -> Result<Vec<Certificate<'static>>, PemError> {
    let mut size = 0_usize;
    let mut certificates = Vec::new();
    for block in blocks(text)? {
        if block.label != CERTIFICATE && block.label != "X509 CERTIFICATE" {
            continue;
        }
        size = size.saturating_add(block.der.len());
        if size > size_limit {
            return Err(PemError::TooLarge { limit: size_limit });
        }
        let index = certificates.len();
        let certificate = Certificate::from_vec(block.der.to_vec())
            .map_err(|error| PemError::Certificate { index, error })?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(PemError::Missing { label: CERTIFICATE });
    }
    Ok(certificates)
}

/// The DER of the only request of a text.
///
/// # Errors
/// [`PemError`]: none, or more than one.
pub fn request(text: &[u8]) -> Result<Vec<u8>, PemError> {
    let wanted = |label: &str| label == REQUEST || label == "NEW CERTIFICATE REQUEST";
    only(text, REQUEST, wanted).map(|der| der.to_vec())
}

/// The PKCS#8 DER of the only private key of a text.
///
/// # Errors
/// [`PemError`]: none, or more than one.
pub fn private_key(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, PemError> {
    only(text, PRIVATE_KEY, |label| label == PRIVATE_KEY)
}

/// Writes one block.
#[must_use]
pub fn encode(label: &'static str, der: &[u8]) -> String {
    // It fails for more than 2^32 octets only, which nothing here has.
    encode_string(label, LineEnding::LF, der).unwrap_or_default()
}

/// Writes a block for each certificate.
#[must_use]
pub fn encode_certificates<'a>(certificates: impl IntoIterator<Item = &'a Certificate<'a>>) -> String {
    certificates.into_iter().map(|certificate| encode(CERTIFICATE, certificate.der())).collect()
}

fn only(
    text: &[u8],
    label: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let mut found = blocks(text)?.into_iter().filter(|block| wanted(&block.label));
    let first = found.next().ok_or(PemError::Missing { label })?;
    if found.next().is_some() { Err(PemError::NotAlone { label }) } else { Ok(first.der) }
}

enum Boundary<'a> {
    Begin(&'a str),
    End(&'a str),
}

fn boundary(line: &[u8]) -> Option<Boundary<'_>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix(DASHES)?;
    let begin = line.strip_prefix(BEGIN).map(Boundary::Begin);
    begin.or_else(|| line.strip_prefix(END).map(Boundary::End))
}

fn decode(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(body).ok()?;
    Base64::decode_vec(text).ok().map(Zeroizing::new)
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { label } => write!(f, "no \"-----BEGIN {label}-----\" in it"),
            Self::NotAlone { label } => write!(f, "more than one \"-----BEGIN {label}-----\" in it"),
            Self::Unfinished { line } => write!(f, "the block that begins in line {line} does not end"),
            Self::Base64 { line } => write!(f, "the block that begins in line {line} is not base64"),
            Self::TooLarge { limit } => write!(f, "certificates of more than {limit} octets"),
            Self::Certificate { index, error } => write!(f, "certificate {index}: {error}"),
        }
    }
}

impl std::error::Error for PemError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Certificate { error, .. } => Some(error),
            _ => None,
        }
    }
}
