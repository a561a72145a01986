//! The real binary as an authority: what `generate`, `--csr` and `sign` write, and what they refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use albatross_core::authority::Authority;
use albatross_core::certificate::{Certificate, NothingRevoked, Root, pem, verify, verify_server};
use albatross_core::issue::{KeyKind, KeyPair, Request};
use albatross_e2e::run::has_openssl;
use albatross_proto::{Command, Int, PolicyCommand, Time, UnikernelCommand};
use common::{image, openssl, run, succeed};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn certificates(path: &Path) -> Vec<Certificate<'static>> {
    pem::certificates(&fs::read(path).unwrap(), 1 << 24).unwrap()
}

fn root(path: &Path) -> Root<'static> {
    Root::new(certificates(path).remove(0)).unwrap()
}

fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time::from_unix(i64::try_from(since.as_secs()).unwrap(), 0).unwrap()
}

/// An authority, and an intermediate `alice` for two unikernels.
fn with_alice(directory: &Path) {
    succeed(directory, &["generate", "root", "db"]);
    let words = ["add-policy", "alice", "2", "--mem=256", "--cpu=0", "--cpu=1", "--network=service", "--csr"];
    succeed(directory, &words);
    succeed(directory, &["sign", "cacert.pem", "db", "root.key", "alice.req"]);
}

#[test]
fn a_new_authority() {
    for kind in ["ed25519", "p256", "p384", "p521", "rsa2048"] {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        succeed(
            directory.path(),
            &["generate", "root", "db", "--key-type", kind, "--days=10", "--server-days", "5"],
        );
        assert_eq!((mode(&path("root.key")), mode(&path("server.key"))), (0o400, 0o400));
        assert_eq!(mode(&path("cacert.pem")) & 0o700, 0o600);
        let (root, server) = (root(&path("cacert.pem")), certificates(&path("server.pem")));
        assert_eq!(server.len(), 1);
        verify_server(&server, &root, now(), None, &NothingRevoked).unwrap();
        assert_eq!(
            (root.certificate().common_name(), server[0].common_name()),
            (Some("root"), Some("server"))
        );
        let days = |certificate: &Certificate<'_>| {
            (certificate.not_after().unix_seconds() - certificate.not_before().unix_seconds() - 10) / 86400
        };
        assert_eq!((days(root.certificate()), days(&server[0])), (10, 5));
        let serial: String = server[0].serial().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(fs::read_to_string(path("db")).unwrap(), format!("{serial} server\n"));
        if has_openssl() {
            let words = ["verify", "-CAfile", "cacert.pem", "-purpose", "sslserver", "server.pem"];
            assert_eq!(openssl(directory.path(), &words), "server.pem: OK\n");
            openssl(directory.path(), &["pkey", "-in", "root.key", "-noout", "-check"]);
        }
    }
}

#[test]
fn an_authority_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let first = succeed(directory.path(), &["generate", "root", "db"]);
    assert!(first.stdout.contains("written root.key\n"), "{first:?}");
    let key = fs::read(path("root.key")).unwrap();
    // The keys that are there are used, their certificates are renewed.
    let again = succeed(directory.path(), &["generate", "root", "db", "--server", "host.example.org"]);
    assert!(again.stdout.contains("cacert.pem was there"), "{again:?}");
    assert_eq!(fs::read(path("root.key")).unwrap(), key);
    let server = certificates(&path("host.example.org.pem"));
    assert_eq!(server[0].dns_names().collect::<Vec<_>>(), ["host.example.org"]);
    // Another authority does not take the place of the first.
    let before = fs::read(path("cacert.pem")).unwrap();
    let outcome = run(directory.path(), &["generate", "other", "db"]);
    assert!(outcome.code == 124 && outcome.stdout.contains("cacert.pem exists"), "{outcome:?}");
    assert_eq!(fs::read(path("cacert.pem")).unwrap(), before);
    assert!(!path("other.key").exists());
    for words in [["generate", "server", "db"], ["generate", "x", "db"]] {
        let mut words = words.to_vec();
        words.extend(["--server", if words[1] == "x" { "cacert" } else { "server" }]);
        assert_eq!(run(directory.path(), &words).code, 124, "{words:?}");
    }
}

#[test]
fn a_policy_and_a_command_are_delegated_and_signed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    with_alice(directory.path());
    assert_eq!((mode(&path("alice.key")), mode(&path("alice.req")) & 0o700), (0o400, 0o600));
    assert_eq!(certificates(&path("alice.pem")).len(), 1);
    let image = image("spt-net-service.elf");
    let words = [
        "create",
        "hello",
        image.to_str().unwrap(),
        "--net=service",
        "--csr",
        "--arg=--hello",
        "--key-type=p256",
    ];
    succeed(directory.path(), &words);
    succeed(directory.path(), &["sign", "alice.pem", "db", "alice.key", "hello.req"]);
    let chain = certificates(&path("hello.pem"));
    assert_eq!(chain.iter().map(|it| it.common_name().unwrap()).collect::<Vec<_>>(), ["hello", "alice"]);
    let root = root(&path("cacert.pem"));
    let authority = Authority::of(&verify(&chain, &root, now(), &NothingRevoked).unwrap()).unwrap();
    assert_eq!(authority.name.to_string(), "alice:hello");
    assert_eq!(authority.policies.len(), 1);
    assert_eq!(authority.policies[0].1.memory, Int::from(256));
    let Command::Unikernel(UnikernelCommand::Create(config)) = authority.command else { panic!() };
    assert!(config.compressed);
    let content = fs::read(&image).unwrap();
    assert_eq!(albatross_core::image::inflate(&config.image, content.len()).unwrap(), content);
    // A leaf of one day, an intermediate of a year, each with its line.
    let days = |certificate: &Certificate<'_>| {
        (certificate.not_after().unix_seconds() - now().unix_seconds()) / 86400
    };
    assert!((0..=1).contains(&days(&chain[0])) && (364..=365).contains(&days(&chain[1])));
    let db = fs::read_to_string(path("db")).unwrap();
    let names: Vec<&str> = db.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(names, ["server", "alice", "hello"]);
    if has_openssl() {
        let words =
            ["-CAfile", "cacert.pem", "-untrusted", "hello.pem", "-purpose", "sslclient", "hello.pem"];
        let mut all = vec!["verify"];
        all.extend(words);
        assert_eq!(openssl(directory.path(), &all), "hello.pem: OK\n");
        openssl(directory.path(), &["req", "-in", "hello.req", "-noout", "-verify"]);
        let text = openssl(directory.path(), &["x509", "-in", "alice.pem", "-noout", "-text"]);
        assert!(text.contains("1.3.6.1.4.1.49836.42") && text.contains("CA:TRUE"), "{text}");
    }
}

#[test]
fn two_levels_deep_the_whole_chain_is_written() {
    let directory = tempfile::tempdir().unwrap();
    with_alice(directory.path());
    let words = ["add-policy", "bob", "1", "--mem=64", "--csr"];
    succeed(directory.path(), &words);
    succeed(directory.path(), &["sign", "alice.pem", "db", "alice.key", "bob.req"]);
    succeed(directory.path(), &["destroy", "x", "--csr"]);
    succeed(directory.path(), &["sign", "bob.pem", "db", "bob.key", "x.req", "--days=2"]);
    let chain = certificates(&directory.path().join("x.pem"));
    assert_eq!(chain.iter().map(|it| it.common_name().unwrap()).collect::<Vec<_>>(), ["x", "bob", "alice"]);
    let root = root(&directory.path().join("cacert.pem"));
    let authority = Authority::of(&verify(&chain, &root, now(), &NothingRevoked).unwrap()).unwrap();
    assert_eq!(authority.name.to_string(), "alice:bob:x");
}

#[test]
fn a_request_for_the_path_itself_has_plain_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    with_alice(directory.path());
    succeed(directory.path(), &["info", "--csr"]);
    succeed(directory.path(), &["sign", "alice.pem", "db", "alice.key", "info.req"]);
    let chain = certificates(&path("info.pem"));
    assert_eq!(chain[0].common_name(), Some("."));
    // The key is kept, the request is made anew, and so is the certificate.
    let key = fs::read(path("info.key")).unwrap();
    let again = succeed(directory.path(), &["info", "--csr", "-n", ":"]);
    assert!(again.stdout.contains("info.req was there"), "{again:?}");
    assert_eq!(fs::read(path("info.key")).unwrap(), key);
    succeed(directory.path(), &["sign", "alice.pem", "db", "alice.key", "info.req"]);
    assert_ne!(certificates(&path("info.pem"))[0].serial(), chain[0].serial());
}

#[test]
fn what_is_not_signed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    with_alice(directory.path());
    let refused = |csr: &str, why: &str| {
        let db = fs::read(path("db")).unwrap();
        let outcome = run(directory.path(), &["sign", "alice.pem", "db", "alice.key", csr]);
        assert_eq!(outcome.code, 124, "{outcome:?}");
        assert!(outcome.stdout.contains(why), "{why}: {outcome:?}");
        assert_eq!(fs::read(path("db")).unwrap(), db, "{why}");
    };
    // Beyond the own policy.
    succeed(directory.path(), &["add-policy", "bob", "3", "--csr"]);
    refused("bob.req", "unikernels");
    let image = image("spt-no-devices.elf");
    succeed(directory.path(), &["create", "big", image.to_str().unwrap(), "--mem=257", "--csr"]);
    refused("big.req", "memory");
    // Names: files elsewhere, the authority's own file, none at all, several labels.
    let random = ring::rand::SystemRandom::new();
    let key = KeyPair::generate(KeyKind::Ed25519, &random).unwrap();
    let command = Command::Unikernel(UnikernelCommand::Destroy);
    let write = |file: &str, name: &str, command: Option<&Command<'_>>| {
        fs::write(path(file), Request::create(name, command, &key, &random).unwrap().to_pem()).unwrap();
    };
    let before = fs::read(path("cacert.pem")).unwrap();
    for name in ["../evil", "/tmp/evil", ".hidden", "a/b"] {
        write("evil.req", name, Some(&command));
        refused("evil.req", "no name for a file");
        write("evil.req", name, None);
        refused("evil.req", "no name for a file");
    }
    for name in ["cacert", "server", "alice"] {
        write("evil.req", name, Some(&command));
        refused("evil.req", ".pem exists");
    }
    write("evil.req", "a:b", Some(&command));
    refused("evil.req", "label");
    assert_eq!(fs::read(path("cacert.pem")).unwrap(), before);
    // Not a request, and not one any more.
    refused("cacert.pem", "CERTIFICATE REQUEST");
    refused("missing.req", "missing.req");
    write("good.req", "good", Some(&command));
    let outcome = run(directory.path(), &["sign", "alice.pem", "db", "root.key", "good.req"]);
    assert!(outcome.code == 124 && outcome.stdout.contains("root.key is not"), "{outcome:?}");
    let outcome = run(directory.path(), &["sign", "server.pem", "db", "server.key", "good.req"]);
    assert!(outcome.code == 124 && outcome.stdout.contains("no CA"), "{outcome:?}");
    // A request without a command becomes a server's certificate, with a warning.
    write("server2.req", "server2", None);
    let outcome = succeed(directory.path(), &["sign", "cacert.pem", "db", "root.key", "server2.req"]);
    assert!(outcome.stdout.contains("[WARNING] the request has no command"), "{outcome:?}");
    let root = root(&path("cacert.pem"));
    verify_server(&certificates(&path("server2.pem")), &root, now(), None, &NothingRevoked).unwrap();
}

#[test]
fn a_request_carries_what_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    succeed(directory.path(), &["add-policy", "foo:bar", "2", "--csr"]);
    let der = pem::request(&fs::read(directory.path().join("foo:bar.req")).unwrap()).unwrap();
    let request = Request::from_der(&der).unwrap();
    assert_eq!(request.common_name(), Some("foo:bar"));
    assert!(matches!(request.command(), Ok(Some(Command::Policy(PolicyCommand::Add(_))))));
    // A key that cannot be read is not replaced.
    fs::write(directory.path().join("a.key"), "no key").unwrap();
    let outcome = run(directory.path(), &["destroy", "a", "--csr"]);
    assert!(outcome.code == 124 && outcome.stdout.contains("a.key"), "{outcome:?}");
    assert_eq!(fs::read_to_string(directory.path().join("a.key")).unwrap(), "no key");
    let outcome = run(directory.path(), &["destroy", "foo:a", "--csr"]);
    assert!(outcome.code == 124 && outcome.stdout.contains("has a path"), "{outcome:?}");
}

/// The folders of recorded chains whose name begins so.
fn recorded(beginning: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/chain");
    let folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(beginning)).collect()
}

#[test]
fn keys_and_certificates_of_the_ocaml_client_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let mut kinds = 0;
    for folder in recorded("cli-").into_iter().filter(|folder| folder.join("leaf.key").exists()) {
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        fs::write(place.join("content"), [0; 512]).unwrap();
        let (chain, key) = (file("chain.pem"), file("leaf.key"));
        let mut words = vec!["certificate", &chain, &key, "-d", "-"];
        if folder.ends_with("cli-ed25519-block-set") {
            words.extend(["--data", "content"]);
        }
        let outcome = run(place, &words);
        assert_eq!(outcome.code, 121, "{folder:?}: {outcome:?}");
        assert!(outcome.stdout.starts_with("-----BEGIN CERTIFICATE-----"), "{outcome:?}");
        kinds += usize::from(folder.to_string_lossy().contains("-info"));
    }
    assert!(kinds >= 5, "every kind of key: {kinds}");
    // Its authority goes on here: the intermediate signs a request, and a command on the spot.
    let root = &recorded("_cli-ed25519-root")[0];
    for name in ["alice.pem", "alice.key"] {
        fs::copy(root.join(name), place.join(name)).unwrap();
    }
    succeed(place, &["info", "-n", "hello", "--csr"]);
    succeed(place, &["sign", "alice.pem", "alice.db", "alice.key", "hello.req"]);
    let outcome =
        run(place, &["info", "-n", "hello", "-d", "-", "--ca", "alice.pem", "--ca-key", "alice.key"]);
    assert_eq!((outcome.code, outcome.stdout.matches("BEGIN").count()), (121, 2), "{outcome:?}");
    succeed(place, &["revoke", "alice.pem", "alice.db", "alice.key", "hello"]);
}

#[test]
fn openssl_reads_ours_and_we_read_its() {
    if !has_openssl() {
        return;
    }
    for kind in ["ed25519", "p256", "p384", "p521", "rsa2048"] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let algorithm = match kind {
            "ed25519" => vec!["-algorithm", "ed25519"],
            "rsa2048" => vec!["-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
            "p256" => vec!["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "p384" => vec!["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
            _ => vec!["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
        };
        // A key of openssl's is the authority's, the server's is our own.
        openssl(place, &[&["genpkey", "-out", "ca.key"], algorithm.as_slice()].concat());
        succeed(place, &["generate", "ca", "ca.db", "--server", "localhost", "--key-type", kind]);
        openssl(place, &["pkey", "-in", "localhost.key", "-noout", "-check"]);
        openssl(place, &["verify", "-CAfile", "cacert.pem", "-purpose", "sslserver", "localhost.pem"]);
        openssl(place, &[&["genpkey", "-out", "hello.key"], algorithm.as_slice()].concat());
        succeed(place, &["info", "-n", "hello", "--csr"]);
        openssl(place, &["req", "-in", "hello.req", "-verify", "-noout"]);
        succeed(place, &["sign", "cacert.pem", "ca.db", "ca.key", "hello.req"]);
        openssl(place, &["verify", "-CAfile", "cacert.pem", "-purpose", "sslclient", "hello.pem"]);
        succeed(place, &["verify", "cacert.pem", "hello.pem"]);
        succeed(place, &["revoke", "cacert.pem", "ca.db", "ca.key", "hello"]);
        openssl(place, &["crl", "-in", "cacert.crl", "-CAfile", "cacert.pem", "-noout"]);
        fs::write(
            place.join("both.pem"),
            [fs::read(place.join("cacert.pem")).unwrap(), fs::read(place.join("cacert.crl")).unwrap()]
                .concat(),
        )
        .unwrap();
        let refused = std::process::Command::new("openssl")
            .args(["verify", "-crl_check", "-CAfile", "both.pem", "hello.pem"])
            .current_dir(place)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains("certificate revoked"), "{kind}: {text}");
    }
}
