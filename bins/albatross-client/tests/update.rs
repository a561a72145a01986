//! `update` by the real binary, from a small web server that speaks as builder-web does, over TCP and TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use albatross_core::image::{digest, inflate};
use albatross_proto::reply::{Info, InfoNet};
use albatross_proto::{
    Command, FailBehaviour, Int, MacAddress, Payload, Success, Time, Typ, UnikernelCommand, Wire,
};
use common::{Outcome, image, read_frame, reply, run, succeed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The image that runs; its digest is what the server knows it by.
fn old_image() -> Vec<u8> {
    fs::read(image("spt-net-service.elf")).unwrap()
}

/// The image of the latest build: the same, longer.
fn new_image() -> Vec<u8> {
    let mut image = old_image();
    image.extend((0_u32..200_000).flat_map(u32::to_le_bytes));
    image
}

fn running() -> Info {
    Info {
        typ: Typ::Solo5,
        startup: Some(Int::from(7)),
        fail_behaviour: FailBehaviour::Restart([Int::from(3)].into()),
        cpuids: [Int::ZERO].into(),
        memory: Int::from(64),
        digest: digest(&old_image()).as_slice().into(),
        block_devices: Vec::new(),
        net_devices: vec![InfoNet {
            unikernel_device: "service".into(),
            host_device: "br0".into(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
        }],
        argv: Some(vec!["--ipv4=10.0.0.2/24".into()]),
        started: Time::from_unix(1_769_860_800, 0).unwrap(),
        cpus: Int::ONE,
        linux_boot_partition: None,
    }
}

/// What a server does about a path.
type Site = fn(&str) -> Vec<u8>;

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A server with a newer build.
fn newer(path: &str) -> Vec<u8> {
    let hash: String = digest(&old_image()).iter().map(|octet| format!("{octet:02x}")).collect();
    if path == format!("/hash?sha256={hash}") {
        return redirect("/job/hello/build/1-old");
    }
    match path {
        "/job/hello/build/latest" => redirect("/job/hello/build/2-new/"),
        "/job/hello/build/2-new/main-binary" => {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in new_image().chunks(50_000) {
                answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                answer.extend([chunk, b"\r\n"].concat());
            }
            answer.extend(b"0\r\n\r\n");
            answer
        }
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    }
}

/// A server where what runs is the latest.
fn same(path: &str) -> Vec<u8> {
    if path == "/job/hello/build/latest" { redirect("/job/hello/build/1-old") } else { newer(path) }
}

fn answer<S: Read + Write>(stream: S, site: Site) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A client that does not trust the server says nothing.
    if stream.read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    let mut rest = String::new();
    while rest.lines().last() != Some("") {
        stream.read_line(&mut rest).unwrap();
    }
    assert!(rest.contains("Host: ") && rest.contains("Connection: close"), "{rest}");
    let path = line.split(' ').nth(1).unwrap();
    stream.get_mut().write_all(&site(path)).unwrap();
    stream.get_mut().flush().unwrap();
}

/// A web server, over TLS where there is a place with certificates. Its port.
fn web(site: Site, certificates: Option<&Path>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = certificates.map(|place| {
        let chain = CertificateDer::pem_file_iter(place.join("localhost.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(place.join("localhost.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        Arc::new(config)
    });
    // It ends with the test.
    thread::spawn(move || {
        for socket in listener.incoming().map(Result::unwrap) {
            match &config {
                None => answer(socket, site),
                Some(config) => {
                    let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket);
                    answer(&mut stream, site);
                    stream.conn.send_close_notify();
                    _ = stream.conn.complete_io(&mut stream.sock);
                }
            }
        }
    });
    port
}

/// Runs `update` against a daemon where `info` is so, and returns the command that came after it.
fn update(place: &Path, info: Info, words: &[&str]) -> (Outcome, Option<Command<'static>>) {
    let socket = place.join("test.sock");
    _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = thread::spawn(move || {
        let mut seen = None;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let frame = read_frame(&mut stream);
            if frame.is_empty() {
                break;
            }
            let wire = Wire::decode(frame.leak()).unwrap();
            match wire.payload {
                Payload::Command(Command::Unikernel(UnikernelCommand::Info)) => {
                    let list = vec![("foo:hello".parse().unwrap(), info.clone())];
                    reply(&mut stream, &wire.header, Payload::Success(Success::Info(list)));
                }
                Payload::Command(command) => {
                    seen = Some(command);
                    reply(
                        &mut stream,
                        &wire.header,
                        Payload::Success(Success::Text("created unikernel".into())),
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        seen
    });
    let outcome = run(place, &[&["--socket", "test.sock", "update", "foo:hello"], words].concat());
    // The end.
    common::write_frame(&mut std::os::unix::net::UnixStream::connect(&socket).unwrap(), &[]);
    (outcome, daemon.join().unwrap())
}

#[test]
fn the_latest_build_takes_the_place_of_what_runs() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    succeed(place, &["generate", "root", "db", "--server", "localhost", "--key-type", "p256"]);
    let plain = format!("http://127.0.0.1:{}", web(newer, None));
    let secure = format!("https://localhost:{}", web(newer, Some(place)));
    for (host, level) in [(&plain, "0"), (&secure, "0"), (&secure, "6")] {
        let (outcome, command) =
            update(place, running(), &["--http-host", host, "--compression-level", level]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(outcome.stdout, "host [unikernel: foo:hello]: created unikernel\n");
        let Some(Command::Unikernel(UnikernelCommand::ForceCreate(config))) = command else {
            panic!("{command:?}");
        };
        let image = match config.compressed {
            true => inflate(&config.image, 1 << 24).unwrap(),
            false => config.image.to_vec(),
        };
        assert!(image == new_image() && config.compressed == (level == "6"));
        let (it, info) = (config.arguments, running());
        assert!(it.add_name && it.startup == info.startup && it.memory == info.memory);
        assert_eq!((it.argv, it.fail_behaviour), (info.argv, info.fail_behaviour));
        let net = &it.net_devices[0];
        assert_eq!((net.bridge.clone(), net.mac), (Some("br0".into()), Some(MacAddress([2, 0, 0, 0, 0, 1]))));
    }
    // What is the latest, or only asked about, stays.
    let latest = format!("http://127.0.0.1:{}", web(same, None));
    for (words, says) in [
        (&["--http-host", &latest][..], "already up to date"),
        (&["--http-host", &latest, "--dry-run"], "already up to date"),
        (&["--http-host", &plain, "--dry-run"], "would be updated: hello from build 1-old to 2-new"),
    ] {
        let (outcome, command) = update(place, running(), words);
        assert!(outcome.code == 0 && outcome.stdout.contains(says), "{outcome:?}");
        assert_eq!(command, None);
    }
}

#[test]
fn what_the_server_does_not_have_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    succeed(place, &["generate", "root", "db", "--server", "localhost"]);
    let host = |site: Site| format!("http://127.0.0.1:{}", web(site, None));
    let cut: Site = |path| match path.ends_with("main-binary") {
        true => b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf".to_vec(),
        false => newer(path),
    };
    let no_image: Site = |path| match path.ends_with("main-binary") {
        true => b"HTTP/1.1 200 OK\r\n\r\nnot an image".to_vec(),
        false => newer(path),
    };
    let elsewhere: Site = |_| redirect("https://elsewhere/job/hello/build/1");
    let body: Site = |_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec();
    let nothing: Site = |_| b"HTTP/1.1 500 Oops\r\n\r\n".to_vec();
    let mut unknown = running();
    unknown.digest = [0_u8; 32].as_slice().into();
    let mut other_device = running();
    other_device.net_devices[0].unikernel_device = "other".into();
    let mut bhyve = running();
    bhyve.typ = Typ::Bhyve;
    let https_for_http = format!("https://localhost:{}", web(newer, None));
    let other_name = format!("https://127.0.0.1:{}", web(newer, Some(place)));
    for (host, info, code, says) in [
        (host(cut), running(), 118, "ends within the answer"),
        (host(no_image), running(), 124, "not a Solo5 image"),
        (host(elsewhere), running(), 118, "which is no build"),
        (host(body), running(), 118, "does not say which build"),
        (host(nothing), running(), 118, "status 500"),
        (host(newer), unknown, 118, "was this unikernel built there?"),
        (host(newer), other_device, 124, "service"),
        (host(newer), bhyve, 124, "no solo5 unikernel"),
        ("http://127.0.0.1:1".to_owned(), running(), 118, "cannot connect"),
        (https_for_http, running(), 118, "localhost"),
        (other_name, running(), 118, "certificate"),
        ("ftp://host".to_owned(), running(), 124, "is no server"),
        ("https://host/path".to_owned(), running(), 124, "is no server"),
    ] {
        let (outcome, command) = update(place, info, &["--http-host", &host]);
        assert!(outcome.code == code && outcome.stdout.contains(says), "{host} {says}: {outcome:?}");
        assert_eq!(command, None);
    }
    // A server of an authority that this system does not trust.
    let elsewhere = tempfile::tempdir().unwrap();
    succeed(elsewhere.path(), &["generate", "other", "db", "--server", "localhost"]);
    let stranger = format!("https://localhost:{}", web(newer, Some(elsewhere.path())));
    let (outcome, command) = update(place, running(), &["--http-host", &stranger]);
    assert!(outcome.code == 118 && outcome.stdout.contains("UnknownIssuer"), "{outcome:?}");
    assert_eq!(command, None);
    // Without any authorities.
    fs::remove_file(place.join("cacert.pem")).unwrap();
    let (outcome, _) = update(place, running(), &["--http-host", &stranger]);
    assert!(outcome.code == 118 && outcome.stdout.contains("SSL_CERT_FILE"), "{outcome:?}");
}
