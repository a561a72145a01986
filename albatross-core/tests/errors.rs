//! Every error is one sentence that says what it is about: users and operators read it as it is.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::error::Error;

use albatross_core::authority::AuthorityError;
use albatross_core::certificate::pem::PemError;
use albatross_core::certificate::{
    Certificate, CertificateErrorKind, ChainError, Position, Rule, SignatureError,
};
use albatross_core::eventlog::LogError;
use albatross_core::image::elf::ElfError;
use albatross_core::image::{ImageError, InflateError, IntakeError, NoteError, SegmentError};
use albatross_core::issue::{DatabaseError, IssueError, KeyError, RevokeError};
use albatross_core::journal::JournalError;
use albatross_core::resources::{Exceeded, Unusable};
use albatross_core::revocation::{ListErrorKind, ListNumber, RevocationError, RevocationList};
use albatross_proto::{EncodeError, Int, NameError, Time, Wire};

/// An error, what its sentence has to name, and whether another error is its cause.
type Case = (Box<dyn Error>, &'static str, bool);

fn case(error: impl Error + 'static, part: &'static str) -> Case {
    (Box::new(error), part, false)
}

fn caused(error: impl Error + 'static, part: &'static str) -> Case {
    (Box::new(error), part, true)
}

/// Each is one line without an end stop that names what it should and its cause, which can be asked for, and no two
/// are alike.
fn are_sentences(cases: Vec<Case>) {
    let mut all = BTreeSet::new();
    for (error, part, has_cause) in cases {
        let text = error.to_string();
        assert!(text.contains(part), "{part:?} is not in {text:?}");
        assert!(text.len() > 5 && !text.contains('\n') && !text.ends_with('.'), "{text:?}");
        assert_eq!(error.source().is_some(), has_cause, "{error:?}");
        if let Some(source) = error.source() {
            assert!(text.contains(&source.to_string()), "{source} is not in {text:?}");
        }
        assert!(all.insert(text), "{error} stands for two");
    }
}

/// A list whose issuer is a SEQUENCE of something that is no part of a name.
const LIST_OF_NO_NAME: &[u8] = &[
    0x30, 0x1a, 0x30, 0x0e, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 0x30, 2, 1, 1, 0x30, 5, 6, 3, 0x2b,
    0x65, 0x70, 3, 1, 0,
];

fn too_long() -> EncodeError {
    EncodeError::TooLong { length: 99_999_999 }
}

fn exceeded() -> Exceeded {
    Exceeded::Memory { allowed: Int::from(64), used: Int::from(32), asked: Int::from(33) }
}

#[test]
fn errors_of_issuing_are_sentences() {
    let subject = || "CN=alice".to_owned();
    let decode = Wire::decode(b"nonsense").unwrap_err();
    let certificate = Certificate::from_der(b"nonsense").unwrap_err();
    are_sentences(vec![
        case(IssueError::NoIssuer, "issuer"),
        case(IssueError::NotACa { subject: subject() }, "CN=alice"),
        case(IssueError::KeyMismatch { subject: subject() }, "CN=alice"),
        case(IssueError::NotInOrder { index: 3 }, "certificate 3"),
        case(IssueError::ChainTooLong { limit: 9 }, "9 certificates"),
        case(IssueError::PathLength { subject: subject() }, "CN=alice"),
        case(IssueError::IssuerNotAPolicy { subject: subject() }, "CN=alice"),
        caused(IssueError::Extension(decode), "Albatross extension"),
        caused(IssueError::Encode(too_long()), "99999999 octets"),
        case(IssueError::ControlCharacter, "CommonName"),
        caused(IssueError::Certificate(certificate), "byte 0"),
        caused(IssueError::RequestSignature(SignatureError::Wrong), "request"),
        case(IssueError::RequestKey, "key of the request"),
        case(IssueError::NoCommonName, "no CommonName"),
        caused(IssueError::Label(NameError::LeadingHyphen), "CommonName"),
        caused(IssueError::PolicyUnusable(Unusable::Cpuids), "cpu"),
        caused(IssueError::PolicyNotInside(exceeded()), "64"),
        caused(IssueError::CreateNotAllowed(Exceeded::Bridge { name: "lan".into() }), "lan"),
        case(IssueError::HostName { name: "a b".to_owned() }, "a b"),
        case(IssueError::Time, "1970"),
        case(IssueError::Serial, "20 octets"),
        case(IssueError::Random, "random"),
        caused(IssueError::Key(KeyError::Sign), "sign"),
    ]);
    are_sentences(vec![
        caused(KeyError::Pem(PemError::Missing { label: "PRIVATE KEY" }), "BEGIN PRIVATE KEY"),
        case(KeyError::Malformed, "openssl pkcs8"),
        case(KeyError::UnknownKind, "Ed25519"),
        case(KeyError::Rejected, "4096 bits"),
        case(KeyError::UnknownName, "p384"),
        case(KeyError::Random, "random"),
        case(KeyError::Sign, "did not sign"),
    ]);
}

#[test]
fn errors_of_pem_are_sentences() {
    let error = Certificate::from_der(b"nonsense").unwrap_err();
    are_sentences(vec![
        case(PemError::Missing { label: "CERTIFICATE" }, "no \"-----BEGIN CERTIFICATE-----\""),
        case(PemError::NotAlone { label: "CERTIFICATE" }, "more than one \"-----BEGIN CERTIFICATE-----\""),
        case(PemError::Unfinished { line: 7 }, "line 7 does not end"),
        case(PemError::Base64 { line: 7 }, "line 7 is not base64"),
        case(PemError::TooLarge { limit: 12 }, "12 octets"),
        caused(PemError::Certificate { index: 3, error }, "certificate 3"),
    ]);
}

#[test]
fn errors_of_chains_are_sentences() {
    let at: Time = "2026-01-31T12:00:00Z".parse().unwrap();
    let name = |text: &str| text.to_owned();
    let rules = [
        (Rule::Version, "version 3"),
        (Rule::NotSelfIssued, "self-signed"),
        (Rule::NotYetValid { not_before: at }, "2026-01-31"),
        (Rule::Expired { not_after: at }, "2026-01-31"),
        (Rule::CriticalCommand, "Albatross extension"),
        (Rule::UnusableKey, "key"),
        (Rule::IssuerName { issuer: name("CN=a"), next: name("CN=b") }, "CN=a, but what follows is CN=b"),
        (Rule::KeyIdentifier, "authority key identifier"),
        (Rule::Signature(SignatureError::UnsupportedAlgorithm), "algorithm"),
        (Rule::Signature(SignatureError::AlgorithmsDiffer), "stated"),
        (Rule::Repeated, "twice"),
        (Rule::NotACa, "no CA"),
        (Rule::BasicConstraintsNotCritical, "BasicConstraints"),
        (Rule::PathLength { allowed: 2 }, "2 CAs"),
        (Rule::KeyUsageMissing, "KeyUsage"),
        (Rule::CertSignMissing, "sign certificates"),
        (Rule::LeafIsCa, "leaf"),
        (Rule::DigitalSignatureMissing, "digital signatures"),
        (Rule::ClientAuthMissing, "clientAuth"),
        (Rule::ServerAuthMissing, "serverAuth"),
        (Rule::Revoked, "revoked"),
        (Rule::HostName { asked: name("host") }, "host"),
    ];
    let refused = |(rule, part)| {
        case(ChainError::Refused { position: Position::Sent(1), subject: name("CN=it"), rule }, part)
    };
    are_sentences(rules.into_iter().map(refused).collect());
    let error = Certificate::from_der(b"nonsense").unwrap_err();
    let root = ChainError::Refused { position: Position::Root, subject: name("CN=it"), rule: Rule::NotACa };
    are_sentences(vec![
        case(ChainError::Empty, "no certificate"),
        case(ChainError::TooManyCertificates { limit: 10 }, "10 certificates"),
        case(ChainError::TooLarge { limit: 1000 }, "1000 octets"),
        caused(ChainError::Malformed { index: 2, error }, "certificate 2"),
        case(root, "the root (CN=it)"),
    ]);
    let kinds = [
        CertificateErrorKind::Empty { field: "issuer" },
        CertificateErrorKind::UnusedBits { field: "signature" },
        CertificateErrorKind::NameNotText { field: "subject" },
        CertificateErrorKind::SerialNumber,
        CertificateErrorKind::TooManyExtensions { limit: 32 },
        CertificateErrorKind::LongExtension { field: "keyUsage", limit: 16 },
        CertificateErrorKind::PathLengthWithoutCa,
    ];
    let parts = ["issuer", "signature", "subject", "20 octets", "32", "keyUsage", "no CA"];
    for (kind, part) in kinds.iter().zip(parts) {
        assert!(kind.to_string().contains(part), "{kind}");
    }
}

#[test]
fn errors_of_authority_are_sentences() {
    let subject = || "CN=alice".to_owned();
    let decode = Wire::decode(b"nonsense").unwrap_err();
    are_sentences(vec![
        caused(AuthorityError::Extension { subject: subject(), error: decode }, "CN=alice"),
        case(AuthorityError::NotAPolicy { subject: subject() }, "CN=alice"),
        case(AuthorityError::NoCommonName { subject: subject() }, "CN=alice"),
        caused(AuthorityError::Label { subject: subject(), error: NameError::Empty }, "CN=alice"),
        case(AuthorityError::NoCommand { subject: subject() }, "CN=alice"),
        case(AuthorityError::NotAccepted { subject: subject() }, "local clients"),
        caused(
            AuthorityError::NotInside {
                path: "a:b".parse().unwrap(),
                above: "a".parse().unwrap(),
                exceeded: exceeded(),
            },
            "policy of a:b",
        ),
    ]);
}

#[test]
fn errors_of_revocation_lists_are_sentences() {
    let issuer = || "CN=alice".to_owned();
    let this_update: Time = "2026-01-31T12:00:00Z".parse().unwrap();
    let error = SignatureError::Wrong;
    let unreadable = |list: &[u8]| RevocationList::from_der(list, 100).unwrap_err();
    are_sentences(vec![
        case(unreadable(b"nonsense"), "CertificateList at octet 0"),
        caused(unreadable(LIST_OF_NO_NAME), "issuer at octet 14 is no name"),
    ]);
    are_sentences(vec![
        caused(RevocationError::Malformed(unreadable(b"nonsense")), "cannot be read"),
        case(RevocationError::UnknownIssuer { issuer: issuer() }, "CN=alice"),
        case(RevocationError::KeyIdentifier { issuer: issuer() }, "CN=alice"),
        case(RevocationError::NotACa { issuer: issuer() }, "CN=alice"),
        case(RevocationError::MayNotSign { issuer: issuer() }, "cRLSign"),
        caused(RevocationError::Signature { issuer: issuer(), error }, "CN=alice"),
        case(RevocationError::NotYetValid { this_update }, "2026-01-31"),
        case(RevocationError::TooManyIssuers { limit: 77 }, "77 issuers"),
        case(RevocationError::Full { limit: 4096 }, "4096 octets"),
    ]);
    let kinds = [
        (ListErrorKind::TooLarge { limit: 12 }, "more than 12 octets"),
        (ListErrorKind::Ended, "too early"),
        (ListErrorKind::Tag { expected: 0x30, found: 0x02 }, "0x02 where 0x30"),
        (ListErrorKind::Length, "not DER"),
        (ListErrorKind::Trailing, "followed by more"),
        (ListErrorKind::Value, "not of its type"),
        (ListErrorKind::NotVersion2, "not 2"),
        (ListErrorKind::AlgorithmsDiffer, "stated outside"),
        (ListErrorKind::IssuerTooLong { limit: 13 }, "name of more than 13 octets"),
        (ListErrorKind::NextUpdateTooEarly, "before thisUpdate"),
        (ListErrorKind::EmptyList, "leave it out"),
        (ListErrorKind::SerialNumber, "20 octets"),
        (ListErrorKind::Reason, "complete list"),
        (ListErrorKind::TooManyExtensions { limit: 14 }, "14 extensions"),
        (ListErrorKind::Delta, "delta list"),
        (ListErrorKind::Partial, "some certificates only"),
        (ListErrorKind::Indirect, "several issuers"),
        (ListErrorKind::NoNumber, "cRLNumber"),
        (ListErrorKind::Number, "negative"),
    ];
    for (kind, part) in kinds {
        assert!(kind.to_string().contains(part), "{part:?} is not in {kind}");
    }
}

#[test]
fn errors_of_revoking_are_sentences() {
    let issuer = || RevocationError::NotACa { issuer: "CN=alice".to_owned() };
    are_sentences(vec![
        caused(RevokeError::Issuer(issuer()), "CN=alice"),
        case(RevokeError::KeyMismatch { subject: "CN=alice".to_owned() }, "the CA, CN=alice"),
        caused(RevokeError::Previous(issuer()), "the list so far"),
        case(RevokeError::NumberNotLarger { previous: ListNumber::from(41) }, "number 41"),
        case(RevokeError::NoNumberLeft, "largest number"),
        case(RevokeError::TooLarge { limit: 4096 }, "4096 octets"),
        caused(RevokeError::Time(IssueError::Time), "1970"),
        caused(RevokeError::Key(KeyError::Sign), "did not sign"),
        caused(
            RevokeError::Unreadable(RevocationList::from_der(b"nonsense", 100).unwrap_err()),
            "the list that was made",
        ),
    ]);
    let text = || "0c".to_owned();
    are_sentences(vec![
        case(DatabaseError::Line { line: 7 }, "line 7 of the database"),
        case(DatabaseError::NotFound { text: text() }, "\"0c\" is no name"),
        case(DatabaseError::Ambiguous { text: text() }, "\"0c\" is the name of one certificate"),
    ]);
}

#[test]
fn errors_of_images_are_sentences() {
    let elf = |error, part| caused(ImageError::Elf(error), part);
    let note = |error, part| caused(ImageError::Note { header: 4, error }, part);
    let segment = |error, part| caused(ImageError::Segment { header: 5, error }, part);
    are_sentences(vec![
        elf(ElfError::TooShort, "shorter"),
        elf(ElfError::Magic, "ELF"),
        elf(ElfError::Format, "64-bit"),
        elf(ElfError::NotExecutable, "ET_EXEC"),
        elf(ElfError::Machine { machine: 183 }, "183"),
        elf(ElfError::Headers { count: 999 }, "999"),
        elf(ElfError::Table, "not wholly in the file"),
        case(ImageError::NoAbi, "ABI note"),
        case(ImageError::NoManifest, "manifest note"),
        case(ImageError::Entry { entry: 0x1000 }, "0x1000"),
        note(NoteError::Truncated, "program header 4"),
        note(NoteError::SecondAbi, "second Solo5 ABI"),
        note(NoteError::SecondManifest, "second Solo5 manifest"),
        note(NoteError::Length { length: 17 }, "17 octets"),
        note(NoteError::AbiReserved, "reserved"),
        note(NoteError::Target { target: 99 }, "99"),
        note(NoteError::ManifestVersion { version: 8 }, "version 8"),
        note(NoteError::Entries { entries: 0 }, "0 entries"),
        note(NoteError::FirstEntry, "first entry"),
        note(NoteError::DeviceName { entry: 2 }, "entry 2"),
        note(NoteError::DeviceKind { entry: 2, kind: 6 }, "kind 6"),
        note(NoteError::NotBlank { entry: 2 }, "entry 2"),
        segment(SegmentError::File, "program header 5"),
        segment(SegmentError::Sizes, "in memory"),
        segment(SegmentError::Alignment, "power of two"),
        segment(SegmentError::Low, "0x100000"),
        segment(SegmentError::Order, "out of order"),
        segment(SegmentError::High, "beyond any memory"),
        segment(SegmentError::Page, "within a page"),
        segment(SegmentError::WriteAndExecute, "write and execute"),
    ]);
    are_sentences(vec![
        case(InflateError::Malformed, "not a zlib stream"),
        case(InflateError::Truncated, "cut off"),
        case(InflateError::TooLarge { limit: 4096 }, "more than 4096 octets"),
        case(InflateError::TrailingData { end: 88 }, "octet 88"),
    ]);
    are_sentences(vec![
        caused(IntakeError::Inflate(InflateError::Truncated), "cut off"),
        case(IntakeError::TooLarge { limit: 4096 }, "4096 octets"),
        case(IntakeError::Digest, "SHA-256"),
    ]);
}

#[test]
fn errors_of_files_are_sentences() {
    let decode = || Wire::decode(b"nonsense").unwrap_err();
    are_sentences(vec![
        case(JournalError::NoJournal, "record of albatrossd"),
        case(JournalError::NoRecord, "whole record"),
        case(JournalError::Damaged { position: 88 }, "octet 88"),
        caused(JournalError::Entry { position: 88, error: decode() }, "octet 88"),
        case(LogError::NoLog, "event log"),
        case(LogError::Broken { position: 88 }, "octet 88"),
        caused(LogError::Record { position: 88, error: decode() }, "octet 88"),
        case(LogError::TooLong { length: 99_999 }, "99999 octets"),
        caused(LogError::Encode(too_long()), "99999999 octets"),
    ]);
}
