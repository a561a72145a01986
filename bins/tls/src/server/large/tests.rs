//! Clients in memory, whose messages are taken apart and put together again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use std::borrow::Cow;
use std::sync::Mutex;

use albatross_core::certificate::{Certificate, Root};
use albatross_core::endpoint::Judge;
use albatross_core::issue::{self, Issuer, KeyKind, KeyPair, SigningKey as _, Terms, Validity};
use albatross_proto::unikernel::Arguments;
use albatross_proto::{Command, Config, Typ, UnikernelCommand};
use ring::rand::SystemRandom;
use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, ClientConfig, ClientConnection, KeyLog};

use super::super::{Acceptor, Shown, engine::Engine};
use super::*;

/// Octets of the image in the client's leaf.
const IMAGE: usize = 100 * 1024;

/// A root, an endpoint below it, and a client whose leaf is large.
struct House {
    root: Root<'static>,
    acceptor: Acceptor,
    chain: Vec<Certificate<'static>>,
    key: Vec<u8>,
}

/// What the client would say, in the clear, and how it encrypts that.
struct Flight {
    engine: Engine,
    client: ClientConnection,
    messages: Vec<Vec<u8>>,
    keys: Keys,
}

/// Remembers the secret that the client encrypts its messages with.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

impl House {
    fn new() -> Self {
        Self::with_image(IMAGE)
    }

    fn with_image(octets: usize) -> Self {
        let random = SystemRandom::new();
        let new_key = || KeyPair::generate(KeyKind::Ed25519, &random).unwrap();
        let validity =
            || Validity::new("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap()).unwrap();
        let terms = || Terms::new(validity(), &random).unwrap();
        let [ca_key, server_key, key] = [(); 3].map(|()| new_key());
        let cas = [issue::root("ca", &ca_key, &terms()).unwrap()];
        let issuer = Issuer::new(&cas, &ca_key).unwrap();
        let server = issuer.server("server", server_key.public_key(), &[], &terms()).unwrap();
        let config = Config {
            typ: Typ::Solo5,
            compressed: false,
            image: Cow::Owned(vec![7; octets]),
            arguments: Arguments::new(),
        };
        let command = Command::Unikernel(UnikernelCommand::Create(config));
        let name = "hello".parse().unwrap();
        let leaf = issuer.leaf(Some(&name), key.public_key(), &command, &terms()).unwrap();
        let root = Root::new(cas[0].clone()).unwrap();
        let acceptor = Acceptor::new(Judge::new(root.clone()), &[server], server_key).unwrap();
        Self { root, acceptor, chain: vec![leaf], key: key.to_pem().as_bytes().to_vec() }
    }

    fn config(&self) -> ClientConfig {
        let key = KeyPair::from_pem(&self.key, &SystemRandom::new()).unwrap();
        crate::client::config(self.root.clone(), None, &self.chain, key).unwrap()
    }

    /// A handshake up to the client's certificates.
    fn flight(&self) -> Flight {
        let secret = Arc::new(Secret::default());
        let mut config = self.config();
        config.key_log = Arc::clone(&secret) as _;
        let mut engine = self.acceptor.engine(None).unwrap();
        let mut client = crate::client::connection(config).unwrap();
        let hello = written(&mut client);
        assert!(receive(&mut engine, &hello).unwrap().is_empty());
        client.read_tls(&mut &said(&mut engine)[..]).unwrap();
        client.process_new_packets().unwrap();
        let suite = Suite::of(client.negotiated_cipher_suite().unwrap()).unwrap();
        let new_keys = || Keys::new(suite, &secret.0.lock().unwrap()).unwrap();
        let messages = messages(&written(&mut client), new_keys());
        Flight { engine, client, messages, keys: new_keys() }
    }
}

impl Flight {
    /// These messages in records of so many octets, the last of each where it is.
    fn seal(&mut self, octets: &[u8], step: usize) -> Vec<u8> {
        octets.chunks(step).flat_map(|part| self.keys.seal(HANDSHAKE, part).unwrap()).collect()
    }

    /// Sends these messages; whether all was well.
    fn sends(mut self, messages: &[u8]) -> Result<Self, TlsError> {
        let records = self.seal(messages, 16 * 1024);
        self.sends_records(&records)
    }

    fn sends_records(mut self, records: &[u8]) -> Result<Self, TlsError> {
        match receive(&mut self.engine, records) {
            Ok(plain) => {
                assert!(plain.is_empty());
                Ok(self)
            }
            Err(error) => {
                assert!(self.engine.take_shown().is_none() && self.engine.is_handshaking());
                let sent = said(&mut self.engine);
                self.client.read_tls(&mut &sent[..]).unwrap();
                match self.client.process_new_packets() {
                    Err(rustls::Error::AlertReceived(_)) => {}
                    // rustls has none for what is too long for it.
                    other => assert!(matches!(error, TlsError::TooLarge { .. }), "{other:?}"),
                }
                // What comes afterwards is forgotten.
                assert!(receive(&mut self.engine, records).unwrap().is_empty());
                assert!(self.engine.take_shown().is_none());
                Err(error)
            }
        }
    }
}

/// What the client has to say.
fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut octets = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut octets).unwrap();
    }
    octets
}

fn said(engine: &mut Engine) -> Vec<u8> {
    let mut octets = Vec::new();
    while engine.wants_write() {
        engine.write_to(&mut octets).unwrap();
    }
    octets
}

fn receive(engine: &mut Engine, octets: &[u8]) -> Result<Vec<u8>, TlsError> {
    let mut plain = Vec::new();
    engine.receive(octets, &mut plain)?;
    Ok(plain)
}

/// The messages in these records.
fn messages(records: &[u8], mut keys: Keys) -> Vec<Vec<u8>> {
    let (mut records, mut at, mut all) = (records.to_vec(), 0, Vec::new());
    while let Some(Record { header, content, end }) = next_record(&mut records, at).unwrap() {
        if header[0] == ENCRYPTED {
            all.extend_from_slice(keys.open(header, content).unwrap().1);
        }
        at = end;
    }
    let mut messages = Vec::new();
    while let Some(header) = all.first_chunk() {
        let rest = all.split_off(MESSAGE_HEADER + transcript::length(header));
        messages.push(std::mem::replace(&mut all, rest));
    }
    messages
}

/// Whether the client was let in by its path, and talks with us.
fn is_in(engine: &mut Engine, client: &mut ClientConnection) {
    let Some(Shown::Path(judged)) = engine.take_shown() else { panic!("no path") };
    assert_eq!(judged.subject, "CN=hello");
    assert!(judged.authority.is_ok());
    use std::io::{Read as _, Write as _};
    client.writer().write_all(b"to you").unwrap();
    assert_eq!(receive(engine, &written(client)).unwrap(), b"to you");
    engine.send(b"to me").unwrap();
    client.read_tls(&mut &said(engine)[..]).unwrap();
    client.process_new_packets().unwrap();
    let mut octets = [0; 5];
    client.reader().read_exact(&mut octets).unwrap();
    assert_eq!(&octets, b"to me");
    // Keys that are renewed.
    client.refresh_traffic_keys().unwrap();
    client.writer().write_all(b"again").unwrap();
    assert_eq!(receive(engine, &written(client)).unwrap(), b"again");
}

#[test]
fn a_large_chain_lets_in_with_every_cipher_and_however_the_octets_come() {
    let house = House::new();
    for suite in [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        for step in [1, 100, 4096, usize::MAX] {
            let mut config = house.config();
            let mut provider = CryptoProvider::clone(&crate::schemes::provider());
            provider.cipher_suites.retain(|it| it.suite() == suite);
            let resolver = Arc::clone(&config.client_auth_cert_resolver);
            config = ClientConfig::builder_with_provider(provider.into())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(crate::client::pinned(house.root.clone()))
                .with_client_cert_resolver(resolver);
            let mut client = crate::client::connection(config).unwrap();
            let mut engine = house.acceptor.engine(None).unwrap();
            let mut plain = Vec::new();
            while client.is_handshaking() || client.wants_write() {
                for part in written(&mut client).chunks(step) {
                    engine.receive(part, &mut plain).unwrap();
                }
                client.read_tls(&mut &said(&mut engine)[..]).unwrap();
                client.process_new_packets().unwrap();
            }
            assert_eq!(engine.places(), super::super::Places::Taken);
            is_in(&mut engine, &mut client);
        }
    }
}

#[test]
fn messages_as_they_are_let_in() {
    let house = House::new();
    let flight = house.flight();
    assert_eq!(flight.messages.len(), 3);
    let all = flight.messages.concat();
    let Flight { mut engine, mut client, .. } = flight.sends(&all).unwrap();
    is_in(&mut engine, &mut client);
    // Each in records of its own, with others between that say nothing.
    let mut flight = house.flight();
    let mut records = Vec::new();
    for message in flight.messages.clone() {
        records.extend(flight.seal(&message, 16 * 1024));
        records.extend([CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1]);
    }
    records.truncate(records.len() - 6);
    let Flight { mut engine, mut client, .. } = flight.sends_records(&records).unwrap();
    is_in(&mut engine, &mut client);
}

#[test]
fn whatever_is_changed_lets_nobody_in() {
    let house = House::new();
    let mut places = Vec::new();
    for (index, message) in house.flight().messages.iter().enumerate() {
        // All of the short ones, and of the long one what is around the image and some of it.
        let ends = |at: &usize| *at < 600 || *at + 600 > message.len() || at.is_multiple_of(9973);
        places.extend((0..message.len()).filter(ends).map(|at| (index, at)));
    }
    for (index, at) in places {
        // Messages differ from one handshake to the next, but not in their lengths.
        let next = house.flight();
        let mut messages = next.messages.clone();
        messages[index][at] ^= 0x10;
        match next.sends(&messages.concat()) {
            Err(_) => {}
            // What is announced as longer waits for more.
            Ok(flight) => {
                assert!(at < MESSAGE_HEADER, "message {index}, octet {at}");
                assert!(flight.engine.is_handshaking() && flight.engine.take_shown().is_none());
            }
        }
    }
}

#[test]
fn a_chain_of_another_root_is_refused_and_its_client_can_be_told() {
    let (house, other) = (House::new(), House::new());
    let flight = House { root: house.root, acceptor: house.acceptor, ..other }.flight();
    let messages = flight.messages.concat();
    let mut flight = flight.sends(&messages).unwrap();
    assert!(!flight.engine.is_handshaking());
    assert!(matches!(flight.engine.take_shown(), Some(Shown::Refused(_))));
    flight.engine.send(b"no").unwrap();
    flight.client.read_tls(&mut &said(&mut flight.engine)[..]).unwrap();
    flight.client.process_new_packets().unwrap();
}

#[test]
fn another_order_or_number_of_messages_lets_nobody_in() {
    let house = House::new();
    for order in [&[0, 2][..], &[0, 2, 1], &[0, 0, 1, 2], &[0, 1, 1, 2], &[0, 1, 2, 2], &[0, 1, 2, 0]] {
        let flight = house.flight();
        let messages: Vec<u8> = order.iter().flat_map(|index| flight.messages[*index].clone()).collect();
        assert!(flight.sends(&messages).is_err(), "{order:?}");
    }
    for order in [&[0][..], &[0, 1]] {
        let flight = house.flight();
        let messages: Vec<u8> = order.iter().flat_map(|index| flight.messages[*index].clone()).collect();
        let flight = flight.sends(&messages).unwrap();
        assert!(flight.engine.is_handshaking() && flight.engine.take_shown().is_none());
    }
}

#[test]
fn what_belongs_to_another_handshake_lets_nobody_in() {
    let house = House::new();
    let other = house.flight();
    for index in [1, 2] {
        let flight = house.flight();
        let mut messages = flight.messages.clone();
        messages[index].clone_from(&other.messages[index]);
        assert!(flight.sends(&messages.concat()).is_err(), "{index}");
    }
}

/// All else of it is as it has to be: its Finished is that of its own messages.
#[test]
fn a_client_without_the_leafs_key_is_not_let_in() {
    let mut house = House::new();
    let other = House::new();
    house.key = other.key;
    let flight = house.flight();
    let messages = flight.messages.concat();
    let error = flight.sends(&messages).err().unwrap().to_string();
    assert!(error.contains("the client's signature is not its leaf's"), "{error}");
}

#[test]
fn records_that_have_no_place_in_a_handshake_are_refused() {
    let house = House::new();
    type Make = fn(&mut Flight) -> Vec<u8>;
    let cases: [(&str, Make); 6] = [
        ("gave up", |it| it.keys.seal(ALERT, &[2, 42]).unwrap()),
        ("something else", |it| it.keys.seal(23, b"data").unwrap()),
        ("something else", |it| it.keys.seal(HANDSHAKE, &[]).unwrap()),
        ("not encrypted", |_| vec![HANDSHAKE, 3, 3, 0, 4, 20, 0, 0, 0]),
        ("not encrypted", |_| vec![CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 2]),
        ("too long", |_| vec![ENCRYPTED, 3, 3, 0x41, 1]),
    ];
    for (says, make) in cases {
        let mut flight = house.flight();
        let first = flight.messages[0][..16 * 1024].to_vec();
        let mut records = flight.seal(&first, 16 * 1024);
        records.extend(make(&mut flight));
        let error = flight.sends_records(&records).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
    // Made with other keys.
    let mut flight = house.flight();
    let first = flight.messages[0][..16 * 1024].to_vec();
    let mut records = [flight.seal(&first, 16 * 1024), flight.seal(b"more", 4)].concat();
    *records.last_mut().unwrap() ^= 1;
    let error = flight.sends_records(&records).err().unwrap().to_string();
    assert!(error.contains("cannot be decrypted"), "{error}");
}

#[test]
fn no_client_can_make_a_stand_in() {
    let house = House::new();
    // By itself, with the Finished that rustls expects, as a small chain and as a large one (by what follows its content).
    let flight = house.flight();
    let mut messages = [NO_CERTIFICATE, NO_SIGNATURE].concat();
    messages.extend_from_slice(&flight.messages[2]);
    assert!(flight.sends(&messages).is_err());
    let mut flight = house.flight();
    let mut padded = messages.clone();
    padded.push(HANDSHAKE);
    padded.resize(16 * 1024, 0);
    let record = flight.keys.seal(0, &padded).unwrap();
    assert!(flight.sends_records(&record).is_err());
}

#[test]
fn a_chain_that_rustls_takes_needs_no_place() {
    for (image, needs) in [(20_000, false), (60_000, false), (MOST_OF_RUSTLS, true)] {
        let house = House::with_image(image);
        let flight = house.flight();
        assert_eq!(flight.messages[0].len() > MOST_OF_RUSTLS, needs);
        let messages = flight.messages.concat();
        let Flight { mut engine, mut client, .. } = flight.sends(&messages).unwrap();
        assert_eq!(engine.places() == super::super::Places::Taken, needs);
        is_in(&mut engine, &mut client);
    }
}

#[test]
fn encrypted_records_before_a_hello_are_no_chain() {
    let house = House::new();
    let mut engine = house.acceptor.engine(None).unwrap();
    let record = [&[ENCRYPTED, 3, 3, 0x40, 0x11][..], &[7; 0x4011]].concat();
    assert!(receive(&mut engine, &record).is_err());
    assert_eq!(engine.places(), super::super::Places::None);
}
