//! The real binary against TLS servers that are an endpoint, or are not what they should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use albatross_core::authority::Authority;
use albatross_core::certificate::{Certificate, NothingRevoked, Root, pem, verify};
use albatross_core::issue::KeyPair;
use albatross_core::revocation::RevocationList;
use albatross_proto::command::RevocationCommand;
use albatross_proto::{Command, Data, Header, Payload, Success, Time, UnikernelCommand};
use albatross_tls::schemes::SigningKey;
use common::{Outcome, image, read_frame, reply, run, succeed};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Lets everybody in, or nobody.
#[derive(Debug)]
struct Anybody(bool);

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.0 {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("version 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = Certificate::from_der(certificate).unwrap();
        certificate.public_key().verify_tls13(signed.scheme.into(), message, signed.signature()).unwrap();
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        albatross_core::certificate::TLS13_SCHEMES.iter().copied().map(SignatureScheme::from).collect()
    }
}

fn certificates(path: &Path) -> Vec<Certificate<'static>> {
    pem::certificates(&fs::read(path).unwrap(), 1 << 24).unwrap()
}

/// An authority with a server, and an intermediate `alice` as ca.pem and ca.key.
fn authority(directory: &Path, kind: &str) {
    succeed(directory, &["generate", "root", "db", "--key-type", kind]);
    succeed(directory, &["add-policy", "alice", "2", "--mem=256", "--csr", "--key-type", kind]);
    succeed(directory, &["sign", "cacert.pem", "db", "root.key", "alice.req"]);
    fs::copy(directory.join("alice.pem"), directory.join("ca.pem")).unwrap();
    fs::copy(directory.join("alice.key"), directory.join("ca.key")).unwrap();
}

fn server(directory: &Path, name: &str, lets_in: bool) -> ServerConnection {
    let chain = certificates(&directory.join(format!("{name}.pem")));
    let key = fs::read(directory.join(format!("{name}.key"))).unwrap();
    let key = KeyPair::from_pem(&key, &ring::rand::SystemRandom::new()).unwrap();
    let chain = chain.iter().map(|it| CertificateDer::from(it.der().to_vec())).collect();
    let own = SingleCertAndKey::from(CertifiedKey::new(chain, SigningKey::new(key)));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anybody(lets_in)))
        .with_cert_resolver(Arc::new(own));
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Runs the client with `-d` to a server that does `serve` once.
fn converse(
    directory: &Path,
    words: &[&str],
    session: ServerConnection,
    serve: impl FnOnce(&mut Tls) + Send + 'static,
) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = listener.local_addr().unwrap().to_string();
    let endpoint = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(session, socket);
        serve(&mut stream);
        stream.conn.send_close_notify();
        _ = stream.conn.complete_io(&mut stream.sock);
    });
    let mut all = vec!["-d", &destination];
    all.extend(words);
    let outcome = run(directory, &all);
    endpoint.join().unwrap();
    outcome
}

/// What the client may do, by the certificates that it has shown.
fn handshake(stream: &mut Tls, directory: &Path) -> (Header, Command<'static>) {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    let sent = stream.conn.peer_certificates().unwrap();
    let chain: Vec<_> = sent.iter().map(|it| Certificate::from_vec(it.to_vec()).unwrap()).collect();
    let root = Root::new(certificates(&directory.join("cacert.pem")).remove(0)).unwrap();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Time::from_unix(i64::try_from(since.as_secs()).unwrap(), 0).unwrap();
    let path = verify(&chain, &root, now, &NothingRevoked).unwrap();
    let authority = Authority::of(&path).unwrap();
    (Header::new(7, authority.name), authority.command.into_owned())
}

/// Chunks to the empty one.
fn read_stream(stream: &mut impl Read) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let chunk = read_frame(stream);
        assert!(chunk.len() <= 64 * 1024);
        if chunk.is_empty() {
            return content;
        }
        content.extend(chunk);
    }
}

#[test]
fn commands_travel_in_the_certificate_with_every_kind_of_key() {
    for kind in ["ed25519", "p256", "p384", "p521", "rsa2048"] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_owned();
        authority(&place, kind);
        let session = server(&place, "server", true);
        let outcome = converse(&place, &["info", "--key-type", kind], session, {
            let place = place.clone();
            move |stream| {
                let (header, command) = handshake(stream, &place);
                assert_eq!(header.name.to_string(), "alice:");
                assert_eq!(command, Command::Unikernel(UnikernelCommand::Info));
                reply(stream, &header, Payload::Success(Success::Info(Vec::new())));
            }
        });
        assert_eq!(outcome.code, 0, "{kind}: {outcome:?}");
        assert_eq!(outcome.stdout, "host [unikernel: alice:]: no unikernels\n");
    }
}

#[test]
fn the_root_itself_may_sign() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    let session = server(&place, "server", true);
    let words = ["destroy", "hello", "--ca=cacert.pem", "--ca-key=root.key"];
    let outcome = converse(&place, &words, session, {
        let place = place.clone();
        move |stream| {
            let (header, _) = handshake(stream, &place);
            assert_eq!(stream.conn.peer_certificates().unwrap().len(), 2);
            reply(stream, &header, Payload::Failure("not running".into()));
        }
    });
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (117, "host [unikernel: :hello]: command failed not running\n")
    );
}

#[test]
fn an_image_is_streamed_after_the_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    // Larger than any buffer on the way, and not to be compressed.
    let mut content = fs::read(image("spt-no-devices.elf")).unwrap();
    let noise = (0_u32..1_000_000).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes());
    content.extend(noise);
    fs::write(place.join("image"), &content).unwrap();
    for level in ["--compression-level=0", "--compression-level=1"] {
        let session = server(&place, "server", true);
        let outcome = converse(&place, &["create", "hello", "image", level], session, {
            let (place, content) = (place.clone(), content.clone());
            move |stream| {
                let (header, command) = handshake(stream, &place);
                let Command::Unikernel(UnikernelCommand::Create(config)) = command else { panic!() };
                assert!(config.image.is_empty());
                let mut image = read_stream(stream);
                if config.compressed {
                    image = albatross_core::image::inflate(&image, content.len()).unwrap();
                }
                assert!(image == content);
                reply(stream, &header, Payload::Success(Success::Text("created unikernel".into())));
            }
        });
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(outcome.stdout, "host [unikernel: alice:hello]: created unikernel\n");
        // A refusal that comes before the image is read.
        let session = server(&place, "server", true);
        let outcome = converse(&place, &["create", "hello", "image", level], session, {
            let place = place.clone();
            move |stream| {
                let (header, _) = handshake(stream, &place);
                reply(stream, &header, Payload::Failure("policy alice".into()));
                stream.conn.send_close_notify();
                _ = stream.conn.complete_io(&mut stream.sock);
                // As an endpoint does: nothing more is said, and what comes is thrown away.
                _ = stream.sock.shutdown(std::net::Shutdown::Write);
                _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
            }
        });
        assert_eq!(outcome.code, 117, "{outcome:?}");
    }
}

#[test]
fn a_signed_certificate_is_carried_out() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    succeed(&place, &["console", "hello", "--csr"]);
    succeed(&place, &["sign", "alice.pem", "db", "alice.key", "hello.req"]);
    let session = server(&place, "server", true);
    let outcome = converse(&place, &["certificate", "hello.pem", "hello.key"], session, {
        let place = place.clone();
        move |stream| {
            let (header, command) = handshake(stream, &place);
            assert!(matches!(command, Command::Console(_)));
            assert_eq!(header.name.to_string(), "alice:hello");
            reply(stream, &header, Payload::Success(Success::Text("subscribed".into())));
            let timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
            let line = b"hello\x07".as_slice().into();
            reply(stream, &header, Payload::Data(Data::Console { timestamp, line }));
        }
    });
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.ends_with("console 2026-01-31T12:00:00-00:00: hello\\x07\n"), "{outcome:?}");
    // The key of another, data that is not wanted.
    for (words, why) in [
        (&["certificate", "hello.pem", "alice.key", "-dlocalhost:1"][..], "is not the private key"),
        (&["certificate", "hello.pem", "hello.key", "-dlocalhost:1", "--data=db"], "--data"),
    ] {
        let outcome = run(&place, words);
        assert!(outcome.code == 124 && outcome.stdout.contains(why), "{outcome:?}");
    }
}

#[test]
fn chains_that_do_not_fit_are_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    let elsewhere = tempfile::tempdir().unwrap();
    authority(elsewhere.path(), "ed25519");
    let other = elsewhere.path().join("cacert.pem");
    let outcome = run(&place, &["info", "-d", "127.0.0.1:1", "--server-ca", other.to_str().unwrap()]);
    assert!(outcome.code == 116 && outcome.stdout.contains("--server-ca"), "{outcome:?}");
    // A server of another root, which has the same chain of ours to trust.
    let session = server(elsewhere.path(), "server", true);
    let outcome = converse(&place, &["info"], session, |stream| {
        _ = stream.conn.complete_io(&mut stream.sock);
    });
    assert_eq!(outcome.code, 120, "{outcome:?}");
    // A certificate for clients is none for a server.
    succeed(&place, &["info", "--csr"]);
    succeed(&place, &["sign", "alice.pem", "db", "alice.key", "info.req"]);
    let session = server(&place, "info", true);
    let outcome = converse(&place, &["info"], session, |stream| {
        _ = stream.conn.complete_io(&mut stream.sock);
    });
    assert!(outcome.code == 120 && outcome.stdout.contains("serverAuth"), "{outcome:?}");
    let outcome = run(&place, &["info", "-d", "127.0.0.1:1"]);
    assert_eq!(outcome.code, 122, "{outcome:?}");
    let outcome = run(&place, &["info", "-d", "127.0.0.1:x"]);
    assert_eq!(outcome.code, 124, "{outcome:?}");
    let outcome = run(&place, &["info", "-d", "-"]);
    assert_eq!((outcome.code, outcome.stdout.matches("BEGIN CERTIFICATE").count()), (121, 2));
}

#[test]
fn servers_that_refuse_or_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    let mut content = fs::read(image("spt-no-devices.elf")).unwrap();
    content.resize(8 * 1024 * 1024, 0x5a);
    fs::write(place.join("image"), &content).unwrap();
    // Also while an image is sent that nobody reads.
    for words in [&["info"][..], &["create", "a", "image", "--compression-level=0"]] {
        let outcome = converse(&place, words, server(&place, "server", false), |stream| {
            while stream.conn.is_handshaking() {
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    _ = stream.sock.shutdown(std::net::Shutdown::Write);
                    _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
                    return;
                }
            }
        });
        assert!(outcome.code == 119 && outcome.stdout.contains("refused our certificate"), "{outcome:?}");
    }
    let outcome = converse(&place, &["info"], server(&place, "server", true), {
        let place = place.clone();
        move |stream| _ = handshake(stream, &place)
    });
    assert!(outcome.code == 121 && outcome.stdout.contains("without a reply"), "{outcome:?}");
    // Not TLS at all.
    let outcome = converse(&place, &["info"], server(&place, "server", true), |stream| {
        stream.sock.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        _ = stream.sock.read(&mut [0; 1024]);
    });
    assert_eq!(outcome.code, 121, "{outcome:?}");
}

/// Runs the client with `-d` to a server that is expected to be refused.
fn refused(directory: &Path, words: &[&str]) -> Outcome {
    converse(directory, words, server(directory, "server", true), |stream| {
        _ = stream.conn.complete_io(&mut stream.sock);
    })
}

#[test]
fn a_small_request_covers_an_image_that_is_streamed() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    let mut content = fs::read(image("spt-no-devices.elf")).unwrap();
    content.extend((0_u32..100_000).flat_map(u32::to_le_bytes));
    fs::write(place.join("image"), &content).unwrap();
    let outcome = succeed(&place, &["create", "hello", "image", "--by-digest", "--csr"]);
    assert!(outcome.stdout.contains("certificate --data takes it"), "{outcome:?}");
    succeed(&place, &["sign", "alice.pem", "db", "alice.key", "hello.req"]);
    assert!(fs::metadata(place.join("hello.pem")).unwrap().len() < 4096);
    let words = ["certificate", "hello.pem", "hello.key", "--data", "image"];
    let outcome = converse(&place, &words, server(&place, "server", true), {
        let (place, content) = (place.clone(), content.clone());
        move |stream| {
            let (header, command) = handshake(stream, &place);
            let Command::Unikernel(UnikernelCommand::CreateByDigest(signed)) = command else { panic!() };
            let came = read_stream(stream);
            assert!(came == content && signed.sha256 == albatross_core::image::digest(&came));
            reply(stream, &header, Payload::Success(Success::Text("created unikernel".into())));
        }
    });
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Another image, or none, is not even sent.
    content.push(0);
    fs::write(place.join("other"), &content).unwrap();
    for (data, why) in
        [(&["--data", "other"][..], "is not the image that was signed"), (&[], "--data (the image)")]
    {
        let words = [&["certificate", "hello.pem", "hello.key", "-dlocalhost:1"], data].concat();
        let outcome = run(&place, &words);
        assert!(outcome.code == 124 && outcome.stdout.contains(why), "{outcome:?}");
    }
}

#[test]
fn the_name_of_a_server_is_checked_where_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    succeed(&place, &["generate", "root", "db", "--server", "host.example"]);
    let info = |name: &'static str| {
        let words = ["info", "--server-name", name];
        converse(&place, &words, server(&place, "host.example", true), {
            let place = place.clone();
            move |stream| {
                if stream.conn.complete_io(&mut stream.sock).is_ok() && !stream.conn.is_handshaking() {
                    let (header, _) = handshake(stream, &place);
                    reply(stream, &header, Payload::Success(Success::Info(Vec::new())));
                }
            }
        })
    };
    assert_eq!(info("host.example").code, 0);
    let outcome = info("other.example");
    assert!(outcome.code == 120 && outcome.stdout.contains("other.example"), "{outcome:?}");
    // A certificate without any name of a host.
    assert_eq!(refused(&place, &["info", "--server-name", "server"]).code, 120);
}

#[test]
fn a_list_is_installed_by_who_made_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    authority(&place, "ed25519");
    let words = ["revoke", "cacert.pem", "db", "root.key", "alice"];
    let installed = |words: &[&str], answer: Payload<'static>| {
        converse(&place, words, server(&place, "server", true), {
            let place = place.clone();
            move |stream| {
                let (header, command) = handshake(stream, &place);
                let Command::Revocation(RevocationCommand::Install(list)) = command else { panic!() };
                let text = fs::read(place.join("cacert.crl")).unwrap();
                assert_eq!(RevocationList::der_from_pem(&text, 1 << 20).unwrap(), *list);
                assert_eq!(header.name.to_string(), ":");
                reply(stream, &header, answer);
            }
        })
    };
    let outcome = installed(&words, Payload::Success(Success::Empty));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("revoked ") && outcome.stdout.contains(" alice\n"), "{outcome:?}");
    // It is kept where it is not accepted, and can be installed later.
    let outcome = installed(&words[..4], Payload::Failure("no room".into()));
    assert!(outcome.code == 117 && outcome.stdout.contains("installs it"), "{outcome:?}");
    let outcome = run(&place, &[&words[..4], &["-d", "127.0.0.1:1"]].concat());
    assert_eq!(outcome.code, 122, "{outcome:?}");
    let list = RevocationList::der_from_pem(&fs::read(place.join("cacert.crl")).unwrap(), 1 << 20).unwrap();
    let list = RevocationList::from_vec(list, 1 << 20).unwrap();
    assert_eq!((list.len(), list.number().to_string()), (1, "3".to_owned()));
}
