//! Every error is one sentence that says what it is about: users and operators read it as it is.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::error::Error;

use albatross_core::authority::AuthorityError;
use albatross_core::certificate::{
    Certificate, CertificateErrorKind, ChainError, Position, Rule, SignatureError,
};
use albatross_core::eventlog::LogError;
use albatross_core::image::elf::ElfError;
use albatross_core::image::{ImageError, NoteError, SegmentError};
use albatross_core::issue::{IssueError, KeyError};
use albatross_core::journal::JournalError;
use albatross_core::resources::{Exceeded, Unusable};
use albatross_core::revocation::{ListErrorKind, RevocationError};
use albatross_proto::{Int, NameError, Time, Wire};

/// An error, and what its sentence has to name.
type Case = (Box<dyn Error>, &'static str);

fn case(error: impl Error + 'static, part: &'static str) -> Case {
    (Box::new(error), part)
}

/// Each is one line without an end stop that names what it should and the source that it has, and no two are alike.
fn are_sentences(cases: Vec<Case>) {
    let mut all = BTreeSet::new();
    for (error, part) in cases {
        let text = error.to_string();
        assert!(text.contains(part), "{part:?} is not in {text:?}");
        assert!(text.len() > 5 && !text.contains('\n') && !text.ends_with('.'), "{text:?}");
        if let Some(source) = error.source() {
            assert!(text.contains(&source.to_string()), "{source} is not in {text:?}");
        }
        assert!(all.insert(text), "{error} stands for two");
    }
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
        case(IssueError::Extension(decode), "Albatross extension"),
        case(IssueError::ControlCharacter, "CommonName"),
        case(IssueError::Certificate(certificate), "byte 0"),
        case(IssueError::RequestSignature(SignatureError::Wrong), "request"),
        case(IssueError::RequestKey, "key of the request"),
        case(IssueError::NoCommonName, "no CommonName"),
        case(IssueError::Label(NameError::LeadingHyphen), "CommonName"),
        case(IssueError::PolicyUnusable(Unusable::Cpuids), "cpu"),
        case(IssueError::PolicyNotInside(exceeded()), "64"),
        case(IssueError::HostName { name: "a b".to_owned() }, "a b"),
        case(IssueError::Time, "1970"),
        case(IssueError::Serial, "20 octets"),
        case(IssueError::Random, "random"),
        case(IssueError::Key(KeyError::Sign), "sign"),
    ]);
    are_sentences(vec![
        case(KeyError::Malformed, "openssl pkcs8"),
        case(KeyError::UnknownKind, "Ed25519"),
        case(KeyError::Rejected, "4096 bits"),
        case(KeyError::UnknownName, "p384"),
        case(KeyError::Random, "random"),
        case(KeyError::Sign, "did not sign"),
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
        case(ChainError::Malformed { index: 2, error }, "certificate 2"),
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
        case(AuthorityError::Extension { subject: subject(), error: decode }, "CN=alice"),
        case(AuthorityError::NotAPolicy { subject: subject() }, "CN=alice"),
        case(AuthorityError::NoCommonName { subject: subject() }, "CN=alice"),
        case(AuthorityError::Label { subject: subject(), error: NameError::Empty }, "CN=alice"),
        case(AuthorityError::NoCommand { subject: subject() }, "CN=alice"),
        case(AuthorityError::NotAccepted { subject: subject() }, "local clients"),
        case(
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
    are_sentences(vec![
        case(RevocationError::UnknownIssuer { issuer: issuer() }, "CN=alice"),
        case(RevocationError::KeyIdentifier { issuer: issuer() }, "CN=alice"),
        case(RevocationError::NotACa { issuer: issuer() }, "CN=alice"),
        case(RevocationError::MayNotSign { issuer: issuer() }, "cRLSign"),
        case(RevocationError::Signature { issuer: issuer(), error }, "CN=alice"),
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
fn errors_of_images_are_sentences() {
    let elf = |error, part| case(ImageError::Elf(error), part);
    let note = |error, part| case(ImageError::Note { header: 4, error }, part);
    let segment = |error, part| case(ImageError::Segment { header: 5, error }, part);
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
}

#[test]
fn errors_of_files_are_sentences() {
    let decode = || Wire::decode(b"nonsense").unwrap_err();
    are_sentences(vec![
        case(JournalError::NoJournal, "record of albatrossd"),
        case(JournalError::NoRecord, "whole record"),
        case(JournalError::Damaged { position: 88 }, "octet 88"),
        case(JournalError::Entry { position: 88, error: decode() }, "octet 88"),
        case(LogError::NoLog, "event log"),
        case(LogError::Broken { position: 88 }, "octet 88"),
        case(LogError::Record { position: 88, error: decode() }, "octet 88"),
        case(LogError::TooLong { length: 99_999 }, "99999 octets"),
    ]);
}
