//! Certificates that embed an image: what they cost, who is served meanwhile, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::borrow::Cow;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use albatross_core::certificate::{Certificate, pem};
use albatross_core::endpoint::limits::{
    LARGE_PLACES, LARGE_PLACES_PER_ADDRESS, LARGE_STEP_PATIENCE, MAX_LARGE_CHAIN,
};
use albatross_core::issue::{self, Issuer, KeyKind, KeyPair, SigningKey as _, Terms, Validity};
use albatross_e2e::run::has_openssl;
use albatross_proto::unikernel::Arguments;
use albatross_proto::{Command, Config, Typ, UnikernelCommand};
use common::{Client, Endpoint, certificates, impatient, ok, pair, root};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme, StreamOwned};
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

/// How often a chain is held at the most: as it comes and as the authority, then as that and as the message to the
/// daemon.
const COPIES: usize = 2;

/// What a connection may cost before its certificates are there, in KiB: what was read of it, the state of TLS, and
/// what the allocator needs around it.
const CONNECTION_KIB: usize = 100;

/// Others are served within this. The programs are not optimised here.
const SOON: Duration = Duration::from_secs(5);

/// A root, and the server below it.
struct Pki {
    directory: TempDir,
    cas: [Certificate<'static>; 1],
    key: KeyPair,
}

impl Pki {
    fn new() -> Self {
        let random = SystemRandom::new();
        let directory = tempfile::tempdir().unwrap();
        let key = new_key();
        let cas = [issue::root("ca", &key, &Terms::new(validity(), &random).unwrap()).unwrap()];
        let pki = Self { directory, cas, key };
        let server_key = new_key();
        let terms = Terms::new(validity(), &random).unwrap();
        let server = pki.issuer().server("server", server_key.public_key(), &[], &terms).unwrap();
        fs::write(pki.at("ca.pem"), pem::encode_certificates(&pki.cas)).unwrap();
        fs::write(pki.at("server.pem"), pki.issuer().chain_pem(&server)).unwrap();
        fs::write(pki.at("server.key"), server_key.to_pem().as_bytes()).unwrap();
        pki
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issuer(&self) -> Issuer<'_> {
        Issuer::new(&self.cas, &self.key).unwrap()
    }

    fn endpoint(&self) -> Endpoint {
        let endpoint = Endpoint::with(&self.at("ca.pem"), &self.at("server.pem"), &self.at("server.key"));
        // Once, so that all is in memory that one needs.
        self.leaf("first", &Command::Unikernel(UnikernelCommand::Info));
        self.client(&endpoint, "first").failure();
        endpoint
    }

    /// A leaf `name` that carries this command.
    fn leaf(&self, name: &str, command: &Command<'_>) {
        let random = SystemRandom::new();
        let (key, terms) = (new_key(), Terms::new(validity(), &random).unwrap());
        let leaf =
            self.issuer().leaf(Some(&"hello".parse().unwrap()), key.public_key(), command, &terms).unwrap();
        fs::write(self.at(&format!("{name}.pem")), self.issuer().chain_pem(&leaf)).unwrap();
        fs::write(self.at(&format!("{name}.der")), leaf.der()).unwrap();
        fs::write(self.at(&format!("{name}.key")), key.to_pem().as_bytes()).unwrap();
    }

    /// A leaf `name` that embeds an image of so many octets, and the image.
    fn create(&self, name: &str, octets: usize) -> Vec<u8> {
        let mut image = vec![0; octets];
        SystemRandom::new().fill(&mut image).unwrap();
        let config = Config {
            typ: Typ::Solo5,
            compressed: false,
            image: Cow::Borrowed(&image),
            arguments: Arguments::new(),
        };
        self.leaf(name, &Command::Unikernel(UnikernelCommand::Create(config)));
        image
    }

    /// What a client with this leaf connects with.
    fn config(&self, name: &str) -> ClientConfig {
        // Without the chain: a large one would be read, and is sent as it is.
        let own = certificates(&self.at("ca.pem"));
        let key = self.at(&format!("{name}.key"));
        let mut config =
            albatross_tls::client::config(root(&self.at("ca.pem")), None, &own, pair(&key)).unwrap();
        let ders = vec![CertificateDer::from(fs::read(self.at(&format!("{name}.der"))).unwrap())];
        config.client_auth_cert_resolver = Shows::these(ders, pair(&key));
        config
    }

    fn client(&self, endpoint: &Endpoint, name: &str) -> Client {
        self.client_of(endpoint.port, name)
    }

    fn client_of(&self, port: u16, name: &str) -> Client {
        self.client_from(0, port, name)
    }

    fn client_from(&self, who: usize, port: u16, name: &str) -> Client {
        let connection = albatross_tls::client::connection(self.config(name)).unwrap();
        Client(StreamOwned::new(connection, connect_from(who, port)))
    }

    /// A client that is served soon.
    #[track_caller]
    fn is_open(&self, endpoint: &Endpoint) {
        let begin = Instant::now();
        assert!(self.client(endpoint, "first").failure().contains("not reachable"));
        assert!(begin.elapsed() < SOON, "served after {:?}", begin.elapsed());
    }
}

/// Shows these certificates, whatever they are.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn these(ders: Vec<CertificateDer<'static>>, key: KeyPair) -> Arc<Self> {
        Arc::new(Self(Arc::new(CertifiedKey::new(ders, albatross_tls::schemes::SigningKey::new(key)))))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Connects from an address of this host's own that each number has another of.
fn connect_from(who: usize, port: u16) -> TcpStream {
    use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(who).unwrap());
    let at = |address: Ipv4Addr, port| SockaddrIn::from(std::net::SocketAddrV4::new(address, port));
    socket::bind(socket.as_raw_fd(), &at(from, 0)).unwrap();
    socket::connect(socket.as_raw_fd(), &at(Ipv4Addr::LOCALHOST, port)).unwrap();
    impatient(TcpStream::from(socket))
}

fn new_key() -> KeyPair {
    KeyPair::generate(KeyKind::Ed25519, &SystemRandom::new()).unwrap()
}

fn validity() -> Validity {
    Validity::new("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap()).unwrap()
}

/// A connection over which the server has said what it has to, and what the client has to say to that.
fn half_way(mut stream: TcpStream, config: ClientConfig) -> (TcpStream, Vec<u8>) {
    let mut client = albatross_tls::client::connection(config).unwrap();
    while !client.wants_write() || client.is_handshaking() {
        if client.wants_write() {
            client.write_tls(&mut stream).unwrap();
        } else {
            client.read_tls(&mut stream).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let mut flight = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut flight).unwrap();
    }
    (stream, flight)
}

/// Answers `times` creates, each with the image that it is expected to have.
fn creates(endpoint: &Endpoint, image: Vec<u8>, mut times: usize) -> std::thread::JoinHandle<()> {
    endpoint.daemon("vmmd", move |mut daemon| {
        let (header, command) = daemon.command();
        match command {
            Command::Unikernel(UnikernelCommand::Create(config)) => assert!(config.image == image),
            other => panic!("{other:?}"),
        }
        daemon.say(&header, ok("created unikernel")).unwrap();
        times -= 1;
        times > 0
    })
}

#[test]
fn a_create_that_embeds_its_image_is_carried_out() {
    if !has_openssl() {
        return;
    }
    let pki = Pki::new();
    let endpoint = pki.endpoint();
    let octets = 12 * MIB;
    let image = pki.create("big", octets);
    let (before, high) = (endpoint.status_kib("VmRSS"), endpoint.status_kib("VmHWM"));
    let daemon = creates(&endpoint, image, 1);
    let begin = Instant::now();
    let [chain, key, ca] = ["big.pem", "big.key", "ca.pem"].map(|name| pki.at(name).display().to_string());
    let said = common::s_client(
        endpoint.port,
        &["-cert", &chain, "-key", &key, "-CAfile", &ca, "-verify_return_error", "-quiet"],
    );
    assert!(said.contains("created unikernel"), "{said}");
    daemon.join().unwrap();
    let took = begin.elapsed();
    let peak = endpoint.status_kib("VmHWM") - high;
    println!("{} MiB by s_client in {took:?}: {} MiB more at the most", octets / MIB, peak / 1024);
    assert!(peak * 1024 < COPIES * octets + 8 * MIB, "{peak} KiB");
    // The connection is gone when the next is served, and so is what it took.
    pki.is_open_without_daemon(&endpoint);
    let after = endpoint.status_kib("VmRSS").saturating_sub(before);
    assert!(after < 4 * 1024, "{after} KiB stay");
}

impl Pki {
    /// Where a daemon was and is not any more.
    #[track_caller]
    fn is_open_without_daemon(&self, endpoint: &Endpoint) {
        fs::remove_file(endpoint.directory.path().join("util/vmmd.sock")).unwrap();
        self.is_open(endpoint);
    }
}

#[test]
fn places_for_large_certificates_bound_what_they_cost() {
    let pki = Pki::new();
    let endpoint = pki.endpoint();
    let octets = 15 * MIB;
    let image = pki.create("big", octets);
    let high = endpoint.status_kib("VmHWM");
    // As many as there are places, twice, all at once: those without wait.
    let clients = 2 * LARGE_PLACES;
    let daemon = creates(&endpoint, image, clients);
    let port = endpoint.port;
    std::thread::scope(|scope| {
        for who in 0..clients {
            let pki = &pki;
            scope.spawn(move || {
                let (frames, _) = pki.client_from(who, port, "big").rest();
                assert_eq!(frames.len(), 1);
            });
        }
    });
    daemon.join().unwrap();
    let peak = endpoint.status_kib("VmHWM") - high;
    println!("{clients} times {} MiB at once: {} MiB more at the most", octets / MIB, peak / 1024);
    assert!(peak * 1024 < LARGE_PLACES * COPIES * octets + clients * CONNECTION_KIB * 1024, "{peak} KiB");
}

/// All that can be agreed on, and with a first ClientHello that has no key which the server takes.
#[test]
fn whatever_is_agreed_on_a_large_certificate_is_taken() {
    if !has_openssl() {
        return;
    }
    let pki = Pki::new();
    let endpoint = pki.endpoint();
    let image = pki.create("big", MIB);
    let all: [&[&str]; 5] = [
        &["-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        &["-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        &["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        &["-groups", "P-521:P-384", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        &["-groups", "P-521:X25519"],
    ];
    let daemon = creates(&endpoint, image, all.len());
    let [chain, key] = ["big.pem", "big.key"].map(|name| pki.at(name).display().to_string());
    for arguments in all {
        let arguments = [&["-cert", &chain, "-key", &key, "-quiet"], arguments].concat();
        let said = common::s_client(endpoint.port, &arguments);
        assert!(said.contains("created unikernel"), "{arguments:?}: {said}");
    }
    daemon.join().unwrap();
}

#[test]
fn one_address_leaves_places_for_others() {
    let pki = Pki::new();
    let endpoint = pki.endpoint();
    let image = pki.create("big", MIB);
    let held: Vec<_> = (0..LARGE_PLACES_PER_ADDRESS)
        .map(|_| {
            let (mut stream, flight) = half_way(connect_from(1, endpoint.port), pki.config("big"));
            stream.write_all(&flight[..flight.len() / 2]).unwrap();
            stream
        })
        .collect();
    // Another of that address waits for as long as they are there, one of another address does not.
    let daemon = creates(&endpoint, image, 2);
    let (mut waiting, flight) = half_way(connect_from(1, endpoint.port), pki.config("big"));
    waiting.write_all(&flight[..20_000]).unwrap();
    let begin = Instant::now();
    assert_eq!(pki.client_from(2, endpoint.port, "big").rest().0.len(), 1);
    let took = begin.elapsed();
    assert!(took < LARGE_STEP_PATIENCE, "{took:?}");
    drop(held);
    waiting.write_all(&flight[20_000..]).unwrap();
    daemon.join().unwrap();
}

#[test]
fn many_who_announce_large_certificates_cost_little_and_hold_up_nobody() {
    let pki = Pki::new();
    let mut endpoint = pki.endpoint();
    pki.create("big", 15 * MIB);
    pki.create("announced", 100 * 1024);
    let high = endpoint.status_kib("VmHWM");
    let mut all: Vec<_> =
        (0..LARGE_PLACES).map(|who| half_way(connect_from(who, endpoint.port), pki.config("big"))).collect();
    // Nearly all of each, as fast as it is taken.
    let feeder = std::thread::spawn(move || {
        std::thread::scope(|scope| {
            for (stream, flight) in &mut all {
                scope.spawn(move || stream.write_all(&flight[..flight.len() - MIB]).unwrap());
            }
        });
        all.into_iter().map(|(stream, _)| stream).collect::<Vec<_>>()
    });
    // What is announced in the first record, by many more. It is not known of what they are the beginning.
    let config = Arc::new(pki.config("announced"));
    let announcing: Vec<_> = (0..200)
        .map(|_| {
            let (mut stream, flight) = half_way(endpoint.connect(), ClientConfig::clone(&config));
            stream.write_all(&flight[..20_000]).unwrap();
            stream
        })
        .collect();
    let full = feeder.join().unwrap();
    pki.is_open(&endpoint);
    let peak = endpoint.status_kib("VmHWM") - high;
    println!("{} in places, {} waiting: {} MiB more", full.len(), announcing.len(), peak / 1024);
    assert!(
        peak < LARGE_PLACES * 16 * 1024 + (full.len() + announcing.len()) * CONNECTION_KIB,
        "{peak} KiB for {}",
        announcing.len()
    );
    // Those in places do not go on, and make room; the next do no better.
    endpoint.logs("octets of large certificates came in");
    pki.is_open(&endpoint);
    drop((full, announcing));
    let image = pki.create("next", MIB);
    let daemon = creates(&endpoint, image, 1);
    assert_eq!(pki.client(&endpoint, "next").rest().0.len(), 1);
    daemon.join().unwrap();
}

#[test]
fn who_sends_large_certificates_too_slowly_is_dropped() {
    let pki = Pki::new();
    let mut endpoint = pki.endpoint();
    // 16 MiB with all around it, at 1 KiB/s.
    pki.create("big", MAX_LARGE_CHAIN - 600);
    let (mut stream, flight) = half_way(endpoint.connect(), pki.config("big"));
    let begin = Instant::now();
    stream.write_all(&flight[..20_000]).unwrap();
    let flight = flight[20_000..].to_vec();
    let feeder = std::thread::spawn(move || {
        for kib in flight.chunks(1024) {
            if stream.write_all(kib).is_err() || stream.read_timed(Duration::from_secs(1)) {
                return;
            }
        }
        panic!("it was never dropped")
    });
    feeder.join().unwrap();
    let took = begin.elapsed();
    assert!(took >= LARGE_STEP_PATIENCE && took < LARGE_STEP_PATIENCE * 2, "{took:?}");
    endpoint.logs("octets of large certificates came in");
}

trait ReadTimed {
    /// Whether the stream ends within this time.
    fn read_timed(&mut self, time: Duration) -> bool;
}

impl ReadTimed for TcpStream {
    fn read_timed(&mut self, time: Duration) -> bool {
        self.set_read_timeout(Some(time)).unwrap();
        match self.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

#[test]
fn a_chain_beyond_the_limit_is_refused() {
    let pki = Pki::new();
    let mut endpoint = pki.endpoint();
    pki.create("most", MAX_LARGE_CHAIN - 600);
    pki.create("more", MAX_LARGE_CHAIN + 2048);
    let daemon = endpoint.daemon("vmmd", |mut daemon| {
        let (header, _) = daemon.command();
        daemon.say(&header, ok("created unikernel")).unwrap();
        false
    });
    assert_eq!(pki.client(&endpoint, "most").rest().0.len(), 1);
    daemon.join().unwrap();
    let mut refused = pki.client(&endpoint, "more");
    // It may not be able to send all of it.
    let (frames, end) = refused.rest();
    assert!(frames.is_empty(), "{end:?}");
    endpoint.logs(&format!("the client's certificates have more than {MAX_LARGE_CHAIN} octets"));
}

/// What a verifier without limits would make of these takes many times their octets, and seconds.
#[test]
fn certificates_that_would_grow_are_not_taken_apart() {
    let pki = Pki::new();
    let mut endpoint = pki.endpoint();
    let high = endpoint.status_kib("VmHWM");
    for (what, ders) in [
        ("more than 9 certificates", vec![CertificateDer::from(smallest(&[], &[])); 130_000]),
        ("more than 9 certificates", vec![CertificateDer::from(Vec::new()); 3_000_000]),
        ("stands there twice", vec![CertificateDer::from(smallest(&[], &extensions(12 * MIB)))]),
        (
            "more than 65536 octets beside the command",
            vec![CertificateDer::from(smallest(&names(12 * MIB), &[]))],
        ),
    ] {
        let mut config = pki.config("first");
        config.client_auth_cert_resolver = Shows::these(ders, pair(&pki.at("first.key")));
        let connection = albatross_tls::client::connection(config).unwrap();
        let (frames, end) = Client(StreamOwned::new(connection, endpoint.connect())).rest();
        assert!(frames.is_empty(), "{end:?}");
        let line = endpoint.logs("the client's chain is refused");
        assert!(line.contains(what), "{line}");
    }
    pki.is_open(&endpoint);
    let peak = endpoint.status_kib("VmHWM") - high;
    println!("{} MiB more at the most", peak / 1024);
    assert!(peak < 20 * 1024, "{peak} KiB");
}

/// DER of one value.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let zeros = length.iter().take_while(|octet| **octet == 0).count();
    let length = match content.len() {
        0..0x80 => vec![length[3]],
        _ => [&[0x80 | u8::try_from(4 - zeros).unwrap()], &length[zeros..]].concat(),
    };
    [&[tag][..], &length, content].concat()
}

/// The smallest certificate that OpenSSL reads, with these names and extensions.
fn smallest(names: &[u8], extensions: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[6, 3, 0x2b, 0x65, 0x70]);
    let names = der(0x30, names);
    let time = der(0x17, b"200101000000Z");
    let validity = der(0x30, &[&time[..], &time].concat());
    let key = der(0x30, &[&algorithm[..], &der(3, &[0; 33])].concat());
    let mut fields =
        [&[0xa0, 3, 2, 1, 2, 2, 1, 1][..], &algorithm, &der(0x30, &[]), &validity, &names, &key].concat();
    if !extensions.is_empty() {
        fields.extend(der(0xa3, &der(0x30, extensions)));
    }
    der(0x30, &[&der(0x30, &fields)[..], &algorithm, &der(3, &[0])].concat())
}

/// So many octets of extensions, the smallest there are.
fn extensions(octets: usize) -> Vec<u8> {
    many(&der(0x30, &[6, 1, 0x2a, 4, 0]), octets)
}

/// The same of a name.
fn names(octets: usize) -> Vec<u8> {
    many(&der(0x31, &der(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 1, b'a'])), octets)
}

fn many(one: &[u8], octets: usize) -> Vec<u8> {
    one.iter().copied().cycle().take(octets / one.len() * one.len()).collect()
}
