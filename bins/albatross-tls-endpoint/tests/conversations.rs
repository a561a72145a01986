//! Commands by certificate, from the client to a daemon and back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use albatross_core::certificate::pem;
use albatross_core::issue::{self, Issuer, KeyKind, KeyPair, SigningKey as _, Terms, Validity};
use albatross_e2e::run::has_openssl;
use albatross_proto::{
    BlockCommand, Command, ConsoleCommand, Data, Header, Payload, Success, Text, Time, UnikernelCommand,
    Wire, frame::frame,
};
use common::{End, Endpoint, case, message, ok};
use ring::rand::SystemRandom;

const NAME: &str = "alice:bob:hello";

fn info_reply() -> Payload<'static> {
    Payload::Success(Success::Info(Vec::new()))
}

/// A daemon that accepts two policies and answers info.
fn serves_info(endpoint: &Endpoint, times: usize) -> std::thread::JoinHandle<()> {
    let mut left = times;
    endpoint.daemon("vmmd", move |mut daemon| {
        let (header, command) = daemon.after_policies(2);
        assert_eq!(command, Command::Unikernel(UnikernelCommand::Info));
        daemon.say(&header, info_reply()).unwrap();
        left -= 1;
        left > 0
    })
}

fn image_of(command: &Command<'_>) -> Vec<u8> {
    match command {
        Command::Unikernel(UnikernelCommand::Create(config)) => config.image.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn info() {
    let mut endpoint = Endpoint::start();
    let daemon = serves_info(&endpoint, 1);
    let (frames, end) = endpoint.client("lib-cmd-unikernel-info-path").rest();
    let header = Header::new(2, NAME.parse().unwrap());
    assert_eq!(end, End::Clean);
    assert_eq!(frames, [Wire::new(header, info_reply()).encode().unwrap()]);
    daemon.join().unwrap();
    let line = endpoint.logs(NAME);
    assert!(line.contains("[INFO] 127.0.0.1:") && line.contains("CN=hello (serial "), "{line}");
    assert!(line.ends_with("alice:bob:hello, info: done"), "{line}");
    assert_eq!(endpoint.terminate(), Some(0));
}

#[test]
fn every_kind_of_client_key() {
    for (chain, ca) in [
        ("lib-key-rsa", "lib-key-rsa"),
        ("lib-key-p256", "lib-key-p256"),
        ("lib-key-p384", "lib-key-p384"),
        ("lib-root-included", "_lib-root"),
        ("cli-ed25519-info", "cli-ed25519-info"),
        ("cli-p256-info", "cli-p256-info"),
        ("cli-p384-info", "cli-p384-info"),
        ("cli-p521-info", "cli-p521-info"),
        ("cli-rsa2048-info", "cli-rsa2048-info"),
    ] {
        let server = (case("_lib-root/server.pem"), case("_lib-root/server.key"));
        let endpoint = Endpoint::with(&case(ca).join("ca.pem"), &server.0, &server.1);
        let daemon = serves_info(&endpoint, 1);
        let (frames, end) = endpoint.client(chain).rest();
        assert_eq!((frames.len(), end), (1, End::Clean), "{chain}");
        daemon.join().unwrap();
    }
}

#[test]
fn every_kind_of_server_key() {
    let random = SystemRandom::new();
    let validity = || Validity::new("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap()).unwrap();
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Rsa2048] {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (ca_key, key) =
            (KeyPair::generate(kind, &random).unwrap(), KeyPair::generate(kind, &random).unwrap());
        let terms = Terms::new(validity(), &random).unwrap();
        let ca = issue::root("ca", &ca_key, &terms).unwrap();
        let cas = [ca];
        let issuer = Issuer::new(&cas, &ca_key).unwrap();
        let terms = Terms::new(validity(), &random).unwrap();
        let server = issuer.chain_pem(&issuer.server("server", key.public_key(), &[], &terms).unwrap());
        std::fs::write(at("ca.pem"), pem::encode_certificates(&cas)).unwrap();
        std::fs::write(at("server.pem"), server).unwrap();
        std::fs::write(at("server.key"), key.to_pem().as_bytes()).unwrap();
        let endpoint = Endpoint::with(&case("_lib-root/ca.pem"), &at("server.pem"), &at("server.key"));
        let daemon = serves_info(&endpoint, 1);
        let client = case("lib-cmd-unikernel-info-path");
        let (frames, end) =
            endpoint.client_with(&client.join("chain.pem"), &client.join("leaf.key"), &at("ca.pem")).rest();
        assert_eq!((frames.len(), end), (1, End::Clean), "{kind}");
        daemon.join().unwrap();
    }
}

#[test]
fn create_with_the_image_in_the_certificate() {
    let endpoint = Endpoint::start();
    let daemon = endpoint.daemon("vmmd", |mut daemon| {
        let (header, command) = daemon.after_policies(2);
        assert_eq!(image_of(&command).len(), 127);
        daemon.say(&header, ok("created unikernel")).unwrap();
        false
    });
    let (frames, end) = endpoint.client("lib-cmd-unikernel-create-image-127").rest();
    assert_eq!((frames.len(), end), (1, End::Clean));
    daemon.join().unwrap();
}

#[test]
fn create_with_a_streamed_image() {
    let endpoint = Endpoint::start();
    let image: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let wanted = image.clone();
    let daemon = endpoint.daemon("vmmd", move |mut daemon| {
        let (header, command) = daemon.after_policies(2);
        assert!(image_of(&command) == wanted);
        daemon.say(&header, ok("created unikernel")).unwrap();
        false
    });
    let mut client = endpoint.client("lib-cmd-unikernel-create-min");
    for chunk in image.chunks(65536) {
        client.send(&frame(chunk)).unwrap();
    }
    client.send(&frame(b"")).unwrap();
    let (frames, end) = client.rest();
    assert_eq!(Wire::decode(&frames[0]).unwrap().payload, ok("created unikernel"));
    assert_eq!((frames.len(), end), (1, End::Clean));
    daemon.join().unwrap();
}

#[test]
fn a_broken_image_stream_is_answered() {
    let endpoint = Endpoint::start();
    let mut client = endpoint.client("lib-cmd-unikernel-create-min");
    client.send(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
    assert!(client.failure().contains("2147483647"));
    let mut client = endpoint.client("lib-cmd-unikernel-create-min");
    client.send(&frame(b"only a part")).unwrap();
    client.0.conn.send_close_notify();
    client.0.flush().unwrap();
    assert!(client.failure().contains("without its last"));
}

#[test]
fn console_subscribe() {
    let mut endpoint = Endpoint::start();
    let (tell, told) = std::sync::mpsc::channel();
    let daemon = endpoint.daemon("console", move |mut daemon| {
        let (header, command) = daemon.command();
        assert!(matches!(command, Command::Console(ConsoleCommand::Subscribe(_))));
        daemon.say(&header, ok("subscribed")).unwrap();
        for _ in 0..3 {
            let text: String = told.recv().unwrap();
            let line = Cow::Owned(text.into_bytes());
            let timestamp = Time::from_unix(1, 0).unwrap();
            let live = Header::new(0, header.name.clone());
            daemon.say(&live, Payload::Data(Data::Console { timestamp, line })).unwrap();
        }
        // The client goes, and so does the connection.
        assert_eq!(daemon.0.read(&mut [0]).unwrap(), 0);
        false
    });
    let mut client = endpoint.client("lib-cmd-console-subscribe-count-1024");
    assert_eq!(Wire::decode(&client.receive()).unwrap().payload, ok("subscribed"));
    for text in ["one", "two", "three"] {
        tell.send(text.to_owned()).unwrap();
        match Wire::decode(&client.receive()).unwrap().payload {
            Payload::Data(Data::Console { line, .. }) => assert_eq!(&*line, text.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
    drop(client);
    daemon.join().unwrap();
    endpoint.logs("console subscribe");
}

#[test]
fn a_subscription_whose_daemon_ends_is_told() {
    let endpoint = Endpoint::start();
    let daemon = endpoint.daemon("stat", |mut daemon| {
        let (header, _) = daemon.command();
        daemon.say(&header, ok("subscribed")).unwrap();
        false
    });
    let (frames, end) = endpoint.client("lib-leaf-nocn-stats-subscribe").rest();
    daemon.join().unwrap();
    assert_eq!((frames.len(), end), (2, End::Clean));
    let text = Text::from("albatross-stats ended the stream");
    assert_eq!(Wire::decode(&frames[1]).unwrap().payload, Payload::Failure(text));
}

#[test]
fn block_set_with_back_pressure() {
    let endpoint = Endpoint::start();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let daemon = endpoint.daemon("vmmd", move |mut daemon| {
        let (header, command) = daemon.after_policies(2);
        assert_eq!(command, Command::Block(BlockCommand::Set { compressed: false }));
        // Not before the client has been stopped.
        told.recv().unwrap();
        let mut total = 0;
        loop {
            let chunk = daemon.receive();
            total += chunk.len();
            if chunk.is_empty() {
                break;
            }
        }
        assert_eq!(total, 64 * 1024 * 1024);
        daemon.say(&header, ok("set block device")).unwrap();
        false
    });
    let mut client = endpoint.client("lib-cmd-block-set-false");
    let chunk = frame(&vec![7; 65536]);
    client.send(&chunk).unwrap();
    let rustls::StreamOwned { conn, sock } = &mut client.0;
    conn.set_buffer_limit(None);
    sock.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // The sockets hold a few MiB at most, the endpoint some 100 KiB: the client has to wait.
    let mut waited = false;
    for _ in 1..1024 {
        conn.writer().write_all(&chunk).unwrap();
        while conn.wants_write() {
            match conn.write_tls(sock) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !waited => {
                    waited = true;
                    assert!(endpoint.status_kib("VmRSS") < 16 * 1024, "{}", endpoint.status_kib("VmRSS"));
                    tell.send(()).unwrap();
                    sock.set_write_timeout(Some(common::SOON)).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(waited);
    client.send(&frame(b"")).unwrap();
    let (frames, end) = client.rest();
    assert_eq!(Wire::decode(&frames[0]).unwrap().payload, ok("set block device"));
    assert_eq!(end, End::Clean);
    daemon.join().unwrap();
}

#[test]
fn an_early_answer_to_block_set_arrives() {
    let endpoint = Endpoint::start();
    let daemon = endpoint.daemon("vmmd", |mut daemon| {
        let (header, _) = daemon.after_policies(2);
        daemon.say(&header, Payload::Failure(Text::from("no such device"))).unwrap();
        false
    });
    let mut client = endpoint.client("lib-cmd-block-set-false");
    let chunk = frame(&vec![7; 65536]);
    // More than fits on the way; the endpoint reads and forgets it.
    for _ in 0..64 {
        if client.send(&chunk).is_err() {
            break;
        }
    }
    assert_eq!(client.failure(), "no such device");
    daemon.join().unwrap();
}

#[test]
fn block_dump_with_back_pressure() {
    let endpoint = Endpoint::start();
    let daemon = endpoint.daemon("vmmd", |mut daemon| {
        let (header, _) = daemon.after_policies(2);
        daemon.say(&header, Payload::Success(Success::BlockDeviceImage { compressed: false })).unwrap();
        let data = vec![9; 65536];
        let chunk = message(&header, Payload::Data(Data::Block(Some(Cow::Borrowed(&data)))));
        for _ in 0..512 {
            daemon.0.write_all(&chunk).unwrap();
        }
        daemon.say(&header, Payload::Data(Data::Block(None))).unwrap();
        false
    });
    let mut client = endpoint.client("lib-cmd-block-dump-0");
    client.receive();
    assert!(endpoint.status_kib("VmRSS") < 16 * 1024, "{}", endpoint.status_kib("VmRSS"));
    let (frames, end) = client.rest();
    assert_eq!((frames.len(), end), (513, End::Clean));
    daemon.join().unwrap();
    assert!(endpoint.status_kib("VmHWM") < 16 * 1024, "{}", endpoint.status_kib("VmHWM"));
}

#[test]
fn a_refused_policy_is_tried_in_the_other_order_and_told() {
    let endpoint = Endpoint::start();
    let (tell, told) = std::sync::mpsc::channel();
    let daemon = endpoint.daemon("vmmd", move |mut daemon| {
        let (header, _) = daemon.command();
        tell.send(header.name.to_string()).unwrap();
        daemon.say(&header, Payload::Failure(Text::from("too small"))).unwrap();
        header.name.to_string() == "alice:"
    });
    let text = endpoint.client("lib-cmd-unikernel-info-path").failure();
    assert_eq!(text, "policy of alice:bob was not accepted: too small");
    daemon.join().unwrap();
    assert_eq!(told.iter().collect::<Vec<_>>(), ["alice:", "alice:bob:"]);
}

#[test]
fn a_missing_daemon_is_told() {
    let mut endpoint = Endpoint::start();
    assert_eq!(endpoint.client("lib-cmd-unikernel-info-path").failure(), "albatrossd is not reachable");
    endpoint.logs("No such file");
    let text = endpoint.client("lib-cmd-console-list-inactive-root").failure();
    assert_eq!(text, "albatross-console is not reachable");
}

#[test]
fn foreign_client() {
    if !has_openssl() {
        return;
    }
    let mut endpoint = Endpoint::start();
    let daemon = serves_info(&endpoint, 1);
    let case = case("lib-cmd-unikernel-info-path");
    let above = endpoint.directory.path().join("above.pem");
    let chain = common::certificates(&case.join("chain.pem"));
    std::fs::write(&above, pem::encode_certificates(&chain[1..])).unwrap();
    let arguments =
        [("-cert", case.join("chain.pem")), ("-cert_chain", above), ("-key", case.join("leaf.key"))];
    let mut words = vec!["-ign_eof"];
    words.extend(arguments.iter().flat_map(|(option, path)| [*option, path.to_str().unwrap()]));
    let said = common::s_client(endpoint.port, &words);
    // It would rather have had another suite.
    assert!(said.contains("TLSv1.3") && said.contains("TLS_AES_128_GCM_SHA256"), "{said}");
    daemon.join().unwrap();
    endpoint.logs("info: done");
}
