//! What certificates may do, with the real endpoint: the story of a deployment, and every chain that must
//! be refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod tls;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use albatross_e2e::{Host, Pki, Programs, eventually, processes};
use albatross_proto::{Payload, Wire};

/// A host with an endpoint, and an intermediate `alice` for so many unikernels in 64 MB.
fn with_alice(unikernels: u32) -> (Host, Pki, u16) {
    let mut host = Host::for_test().unwrap();
    let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
    pki.intermediate("ca", "alice", unikernels, &["--mem", "64"]).unwrap();
    let [ca, certificate, key] = pki.server();
    let port = host.start_endpoint(&ca, &certificate, &key).unwrap();
    (host, pki, port)
}

fn guest(host: &Host, name: &str) -> String {
    host.programs().guest(name).to_string_lossy().into_owned()
}

#[test]
fn the_story() {
    let (mut host, pki, port) = with_alice(1);
    let image = guest(&host, "tick");
    pki.leaf("alice", "clock", &["create", "clock", &image, "--mem", "16", "--arg=--ms=20"]).unwrap();
    pki.send(port, "clock").unwrap().assert(0, "host [unikernel: alice:clock]: created unikernel");
    let [(pid, line)] = &host.tenders()[..] else { panic!("one tender: {:?}", host.tenders()) };
    assert!(line.contains("--mem=16") && line.ends_with("--name=clock --ms=20"), "{line}");
    assert_eq!(processes::status(*pid, "NoNewPrivs"), Some(1));
    assert_eq!(processes::status(*pid, "Seccomp"), Some(2));
    // Its console, by certificate.
    let mut command = pki.remote_command(port, "alice", &["console", "clock"]);
    let mut follower = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    for text in ["subscribed", "tick ", "tick ", "tick "] {
        assert!(lines.any(|line| line.contains(text)), "no {text:?}");
    }
    albatross_e2e::run::kill(&mut follower);
    // The certificate is used up only by what it says: the unikernel exists.
    pki.send(port, "clock").unwrap().assert(117, "alice");
    // A second one is more than the policy of the chain holds.
    pki.remote(port, "alice", &["create", "second", &image, "--mem", "2"])
        .unwrap()
        .assert(117, "policy alice: allows 1 unikernel, 1 is running");
    assert_eq!(host.tenders().len(), 1);
    // The policy came with the chain; on the host it is seen as well.
    host.client(&["policy", "--path", "alice"]).unwrap().assert(0, "64");
    pki.remote(port, "alice", &["info"]).unwrap().assert(0, ":clock");
    pki.remote(port, "alice", &["destroy", "clock"]).unwrap().assert(0, "destroyed unikernel");
    assert_eq!(host.tenders(), []);
    host.end().unwrap();
    assert_eq!(host.left_behind(), Vec::<String>::new());
}

#[test]
fn every_local_command_works_by_certificate() {
    let (host, pki, port) = with_alice(2);
    let (image, remote) =
        (guest(&host, "tick"), |command: &[&str]| pki.remote(port, "alice", command).unwrap());
    remote(&["create", "one", &image, "--mem=2"]).assert(0, "host [unikernel: alice:one]: created unikernel");
    let before = host.tenders();
    remote(&["create", "one", &image, "--mem=3"]).assert(117, "exists");
    remote(&["create", "one", &image, "--mem=3", "--force"]).assert(0, "created unikernel");
    remote(&["restart", "one"]).assert(0, "created unikernel");
    let after = host.tenders();
    assert!(after.len() == 1 && after[0].0 != before[0].0 && after[0].1.contains("--mem=3"), "{after:?}");
    remote(&["info", "--name", "one"]).assert(0, "alice:one");
    remote(&["policy"]).assert(0, "64");
    remote(&["get", "one"]).assert(0, "");
    let files = processes::names_in(&host.work());
    let file = files.iter().find(|name| name.starts_with("alice:one.")).expect("the image");
    assert_eq!(fs::read(host.work().join(file)).unwrap(), fs::read(image).unwrap());
    remote(&["destroy", "one"]).assert(0, "destroyed unikernel");
    remote(&["destroy", "one"]).assert(117, "command failed");
    remote(&["inactive-consoles"]).assert(0, ":one");
}

/// Alice has two, and lets Bob and Charlie have two each: together they still have two.
#[test]
fn policies_of_a_chain_hold_at_every_level() {
    let (host, pki, port) = with_alice(2);
    pki.intermediate("alice", "bob", 2, &["--mem", "32"]).unwrap();
    pki.intermediate("alice", "charlie", 2, &["--mem", "32"]).unwrap();
    let image = guest(&host, "tick");
    let create =
        |who: &str, label: &str| pki.remote(port, who, &["create", label, &image, "--mem", "2"]).unwrap();
    create("bob", "one").assert(0, "host [unikernel: alice:bob:one]: created unikernel");
    create("charlie", "one").assert(0, "alice:charlie:one");
    create("bob", "two").assert(117, "policy alice:");
    create("charlie", "two").assert(117, "policy alice:");
    pki.remote(port, "bob", &["create", "big", &image, "--mem", "33"]).unwrap().assert(124, "32 MB");
    pki.remote(port, "bob", &["destroy", "one"]).unwrap().assert(0, "destroyed");
    create("charlie", "two").assert(0, "created unikernel");
    create("charlie", "three").assert(117, "policy alice:charlie:");
    // Bob sees and reaches nothing of Charlie's.
    pki.remote(port, "bob", &["info"]).unwrap().assert(0, "no unikernels");
    pki.remote(port, "bob", &["destroy", "two"]).unwrap().assert(117, "command failed");
    assert_eq!(host.tenders().len(), 2);
}

/// More than this host has is promised by the certificate, and not given.
#[test]
fn the_root_policy_holds_for_chains() {
    let (host, pki, port) = with_alice(2);
    pki.intermediate("ca", "rich", 9, &["--mem", "999999999"]).unwrap();
    let image = guest(&host, "tick");
    let create = ["create", "one", &image, "--mem", "999999998"];
    pki.remote(port, "rich", &create).unwrap().assert(117, "policy : ");
    pki.remote(port, "rich", &["create", "one", &image, "--mem", "2"])
        .unwrap()
        .assert(0, "created unikernel");
}

/// Signing refuses what the signer may not give.
#[test]
fn nobody_signs_more_than_the_own_policy() {
    let (host, pki, _) = with_alice(2);
    for request in [["--csr", "add-policy", "bob", "3"], ["--csr", "add-policy", "bob", "2"]] {
        pki.client(&request).unwrap().assert(0, "");
        // 512 MB where none are given: more than Alice's 64.
        pki.sign("alice", "bob").unwrap().assert(124, "");
    }
    pki.client(&["--csr", "create", "big", &guest(&host, "tick"), "--mem", "65"]).unwrap().assert(0, "");
    pki.sign("alice", "big").unwrap().assert(124, "");
    assert!(!pki.path("bob.pem").exists() && !pki.path("big.pem").exists());
}

#[test]
fn another_authority_is_not_trusted_either_way() {
    let (host, pki, port) = with_alice(1);
    let stranger = Pki::generate(Programs::for_tests().unwrap(), &host.work().join("stranger")).unwrap();
    stranger.intermediate("ca", "mallory", 1, &["--mem", "64"]).unwrap();
    let destination = format!("127.0.0.1:{port}");
    // The stranger's client does not trust this server.
    stranger.remote(port, "mallory", &["info"]).unwrap().assert(120, "");
    // Told to trust it, it sees itself that its own chain leads elsewhere.
    let trusted = pki.path("cacert.pem");
    let options = ["-d", &destination, "--ca", "mallory.pem", "--ca-key", "mallory.key", "--server-ca"];
    let command = [&options[..], &[trusted.to_str().unwrap(), "info"]].concat();
    stranger.client(&command).unwrap().assert(116, "");
    // And the endpoint refuses that chain whatever the client thinks.
    stranger.leaf("mallory", "nosy", &["info", "--name", "nosy"]).unwrap();
    assert_refused(&host, port, "wrong CA", &stranger.path("nosy.pem"), &stranger.path("nosy.key"));
    pki.remote(port, "alice", &["info"]).unwrap().assert(0, "no unikernels");
}

/// A server's certificate is no client's.
#[test]
fn a_certificate_for_servers_commands_nothing() {
    let (host, pki, port) = with_alice(1);
    assert_refused(&host, port, "server", &pki.path("server.pem"), &pki.path("server.key"));
    assert_refused(&host, port, "intermediate", &pki.path("alice.pem"), &pki.path("alice.key"));
    let mut nobody = tls::connect(port, None);
    assert!(nobody.frame().is_err(), "without a certificate");
    pki.remote(port, "alice", &["info"]).unwrap().assert(0, "no unikernels");
}

/// The endpoint answers this chain by an alert or a failure, logs it, and albatrossd hears nothing of it.
#[track_caller]
fn assert_refused(host: &Host, port: u16, what: &str, chain: &Path, key: &Path) {
    let (before, heard) = (host.log("albatross-tls-endpoint").lines().count(), host.log("albatrossd"));
    let mut client = tls::connect(port, Some((chain, key)));
    match client.frame() {
        Err(_) | Ok(None) => {}
        Ok(Some(frame)) => match Wire::decode(&frame).unwrap().payload {
            Payload::Failure(_) => {}
            other => panic!("{what}: {other:?}"),
        },
    }
    eventually("a line in the endpoint's log", || {
        (host.log("albatross-tls-endpoint").lines().count() > before).then_some(())
    })
    .unwrap_or_else(|failure| panic!("{what}: {failure}"));
    assert_eq!(host.log("albatrossd"), heard, "{what}");
}

/// The recorded chains, sent to the real endpoint: expired, without the extension, for servers only, with
/// authority outside of the path, ..
#[test]
fn every_recorded_chain_that_must_be_refused_is() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/chain");
    let mut count = (0, 0);
    for (root, ca) in [("_lib-root", "ca.pem"), ("_cli-ed25519-root", "cacert.pem")] {
        let mut host = Host::for_test().unwrap();
        let file = |name: &str| all.join(root).join(name);
        let port = host.start_endpoint(&file(ca), &file("server.pem"), &file("server.key")).unwrap();
        let ca = fs::read(file(ca)).unwrap();
        let cases = cases(&all, &ca).into_iter().map(|case| {
            let result: serde_json::Value =
                serde_json::from_slice(&fs::read(case.join("result.json")).unwrap()).unwrap();
            (case.file_name().unwrap().to_string_lossy().into_owned(), case, result["ours"] == "ok")
        });
        let (answered, refused): (Vec<_>, Vec<_>) = cases.partition(|(_, _, is_ok)| *is_ok);
        // First those of which albatrossd must not hear: what it says of the others may come late.
        for (name, case, _) in &refused {
            assert_refused(&host, port, name, &case.join("chain.pem"), &case.join("leaf.key"));
        }
        for (name, case, _) in &answered {
            assert_answered(port, name, &case.join("chain.pem"), &case.join("leaf.key"));
        }
        count = (count.0 + refused.len(), count.1 + answered.len());
        host.client(&["info"]).unwrap().assert(0, "");
    }
    println!("{} chains refused, {} answered", count.0, count.1);
    assert!(count.0 > 40 && count.1 > 40, "{count:?}");
}

/// The cases under this root whose key is on record.
fn cases(all: &Path, ca: &[u8]) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    // The client of this test has no keys of kind P-521.
    let usable = |case: &PathBuf| {
        !case.to_string_lossy().contains("p521")
            && case.join("leaf.key").exists()
            && fs::read(case.join("ca.pem")).is_ok_and(|own| own == ca)
    };
    cases.retain(usable);
    cases
}

/// A chain that is accepted is answered by a frame, be it a failure of the daemon's.
#[track_caller]
fn assert_answered(port: u16, name: &str, chain: &Path, key: &Path) {
    let mut client = tls::connect(port, Some((chain, key)));
    // The end of a stream, for commands that want one; others are answered before it is read.
    _ = client.stream().write_all(&[0, 0, 0, 0]).and_then(|()| client.stream().flush());
    match client.frame() {
        Ok(Some(frame)) => drop(Wire::decode(&frame).unwrap()),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn what_is_no_tls_is_closed_and_the_next_client_served() {
    let (host, pki, port) = with_alice(1);
    let silent: Vec<_> = (0..50).map(|_| albatross_e2e::raw::Raw::tcp(port).unwrap()).collect();
    for octets in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x7f, 0xff, 0xff, 0xff], &[0; 600], &[0x16, 3, 1, 0xff, 0xff]]
    {
        let before = host.log("albatross-tls-endpoint").lines().count();
        let mut raw = albatross_e2e::raw::Raw::tcp(port).unwrap();
        _ = raw.send(octets);
        // Half of a record may go on; then it is we who close.
        if octets.len() > 5 {
            raw.rest().unwrap();
        }
        drop(raw);
        eventually("a line in the log", || {
            (host.log("albatross-tls-endpoint").lines().count() > before).then_some(())
        })
        .unwrap_or_else(|failure| panic!("{octets:?}: {failure}"));
    }
    pki.remote(port, "alice", &["info"]).unwrap().assert(0, "no unikernels");
    drop(silent);
}
