//! Who must not get in, and who must not keep others out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use albatross_e2e::run::has_openssl;
use albatross_proto::{Payload, Success};
use common::{End, Endpoint, case};

#[test]
fn chains_that_are_refused_are_answered_and_logged() {
    let mut endpoint = Endpoint::start();
    for (chain, says) in [
        ("lib-expired-leaf", "certificate 0 (CN=hello): expired at"),
        ("lib-future-leaf", "certificate 0 (CN=hello): not valid before"),
        ("cli-ed25519-info", "certificate 2 (CN=alice): the signature is wrong"),
        ("lib-leaf-no-eku", "clientAuth"),
        ("lib-missing-int", ", but what follows is "),
        ("lib-duplicate-int", "certificate 2"),
        ("lib-int-not-ca", "certificate 1"),
        ("lib-length-12", "more than 9 certificates"),
    ] {
        let text = endpoint.client(chain).failure();
        assert!(
            text.starts_with("the client's chain is refused: ") && text.contains(says),
            "{chain}: {text}"
        );
        let logged = endpoint.logs("the client's chain is refused");
        assert!(logged.contains(says) && logged.contains("[WARNING]"), "{chain}: {logged}");
    }
}

#[test]
fn a_certificate_for_servers_is_no_client() {
    let mut endpoint = Endpoint::start();
    let (chain, key) = (case("_lib-root/server.pem"), case("_lib-root/server.key"));
    let text = endpoint.client_with(&chain, &key, &case("_lib-root/ca.pem")).failure();
    assert!(text.contains("clientAuth"), "{text}");
    assert!(endpoint.logs("refused").contains("clientAuth"));
}

#[test]
fn a_key_that_is_not_the_leafs_is_refused() {
    let mut endpoint = Endpoint::start();
    let (chain, key) = (case("lib-depth1/chain.pem"), case("lib-cmd-unikernel-info-path/leaf.key"));
    endpoint.client_with(&chain, &key, &case("_lib-root/ca.pem")).refusal();
    endpoint.logs("TLS failed");
}

#[test]
fn chains_without_authority_are_answered() {
    let mut endpoint = Endpoint::start();
    for (chain, text) in [
        ("lib-leaf-noext", "carries no command"),
        ("lib-leaf-garbage", "cannot be read"),
        ("lib-cmd-policy-remove", "local clients only"),
        ("lib-int-cmd-info-nocn", "other than a policy"),
        ("lib-policy-bigger", "not inside the one above"),
        ("lib-leafcn-space", "is no label"),
        ("lib-leaf-nocn-block-remove", "no CommonName"),
    ] {
        let failure = endpoint.client(chain).failure();
        assert!(failure.contains(text), "{chain}: {failure}");
        endpoint.logs(text);
    }
}

#[test]
fn no_certificate_no_entry() {
    if !has_openssl() {
        return;
    }
    let mut endpoint = Endpoint::start();
    let said = common::s_client(endpoint.port, &["-ign_eof"]);
    assert!(said.contains("certificate required"), "{said}");
    endpoint.logs("TLS failed");
}

#[test]
fn tls_1_2_is_refused() {
    if !has_openssl() {
        return;
    }
    let mut endpoint = Endpoint::start();
    let said = common::s_client(endpoint.port, &["-tls1_2"]);
    assert!(said.contains("alert protocol version"), "{said}");
    endpoint.logs("TLS failed");
}

#[test]
fn what_is_not_tls_is_closed_and_logged() {
    let mut endpoint = Endpoint::start();
    for garbage in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 100_000], &[0; 3000], b"\x16\x03\x01\xff\xff"]
    {
        let mut stream = endpoint.connect();
        // It may be closed before all is sent.
        _ = stream.write_all(garbage);
        _ = stream.shutdown(Shutdown::Write);
        _ = stream.read_to_end(&mut Vec::new());
        endpoint.logs("[WARNING]");
    }
    serves(&endpoint);
}

#[test]
fn half_a_hello_and_gone() {
    let mut endpoint = Endpoint::start();
    let mut stream = endpoint.connect();
    // The beginning of a ClientHello of 512 octets.
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
    drop(stream);
    assert!(endpoint.logs("[WARNING]").contains("before the handshake was done"));
    serves(&endpoint);
}

#[test]
fn a_hello_that_never_ends_is_cut_off() {
    let mut endpoint = Endpoint::start();
    let mut stream = endpoint.connect();
    // A handshake message of 60 000 octets, in records of 1000, then another: within what TLS allows.
    let mut record = vec![0x16, 3, 1, 3, 0xe8];
    record.extend([0; 1000]);
    record[5..9].copy_from_slice(&[1, 0, 0xea, 0x60]);
    _ = stream.write_all(&record);
    record[5..9].copy_from_slice(&[0; 4]);
    for _ in 0..200 {
        if stream.write_all(&record).is_err() {
            break;
        }
    }
    _ = stream.read_to_end(&mut Vec::new());
    endpoint.logs("[WARNING]");
    serves(&endpoint);
}

#[test]
fn the_silent_do_not_keep_others_out() {
    let endpoint = Endpoint::start();
    let began = Instant::now();
    let silent: Vec<_> = (0..400).map(|_| endpoint.connect()).collect();
    serves(&endpoint);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    println!("400 silent and one served in {:?}, RSS {} KiB", began.elapsed(), endpoint.status_kib("VmRSS"));
    drop(silent);
}

#[test]
fn wrong_files_are_named() {
    let run = |arguments: &[std::path::PathBuf]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_albatross-tls-endpoint"))
            .args(arguments)
            .arg("--port=0")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (ca, server, key) =
        (case("_lib-root/ca.pem"), case("_lib-root/server.pem"), case("_lib-root/server.key"));
    let (code, text) = run(&["/nowhere/ca.pem".into(), server.clone(), key.clone()]);
    assert_eq!(code, Some(125));
    assert!(text.contains("/nowhere/ca.pem"), "{text}");
    let (_, text) = run(&[case("lib-depth1/chain.pem"), server.clone(), key.clone()]);
    assert!(text.contains("exactly one"), "{text}");
    let (_, text) = run(&[ca.clone(), server.clone(), case("lib-depth1/leaf.key")]);
    assert!(text.contains("leaf.key") && text.contains("not the one of the certificate"), "{text}");
    let (_, text) = run(&[server.clone(), server, key]);
    assert!(text.contains("server.pem"), "{text}");
    assert_eq!(run(&[ca]).0, Some(124));
}

/// A client is served, soon.
fn serves(endpoint: &Endpoint) {
    let daemon = endpoint.daemon("vmmd", |mut daemon| {
        let (header, _) = daemon.after_policies(1);
        daemon.say(&header, Payload::Success(Success::Empty)).unwrap();
        false
    });
    let (frames, end) = endpoint.client("lib-depth1").rest();
    assert_eq!((frames.len(), end), (1, End::Clean));
    daemon.join().unwrap();
}
