//! Creates whose certificate embeds the image, as the peer's client sends them: from the request to the running guest.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use albatross_e2e::run::has_openssl;
use albatross_e2e::{Host, Pki, Programs, eventually};

/// Octets of an image.
const IMAGE: usize = 12 * 1024 * 1024;

/// A guest with so much behind it that its image has [`IMAGE`] octets, which no compression makes fewer.
fn image(host: &Host, guest: &str) -> PathBuf {
    let path = host.work().join(format!("{guest}.big"));
    let mut image = fs::read(host.programs().guest(guest)).unwrap();
    let mut rest = vec![0; IMAGE - image.len()];
    File::open("/dev/urandom").unwrap().read_exact(&mut rest).unwrap();
    image.extend(rest);
    File::create(&path).unwrap().write_all(&image).unwrap();
    path
}

/// The same certificate twice, as making it takes its time here.
#[test]
fn an_image_in_a_signed_certificate_is_started_for_our_client_and_for_a_foreign_one() {
    let mut host = Host::for_test().unwrap();
    let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
    pki.intermediate("ca", "alice", 4, &["--mem", "256"]).unwrap();
    let [ca, certificate, key] = pki.server();
    let port = host.start_endpoint(&ca, &certificate, &key).unwrap();
    let image = image(&host, "hello");
    pki.leaf(
        "alice",
        "big",
        &["create", "big", image.to_str().unwrap(), "--mem", "64", "--compression-level=0"],
    )
    .unwrap();
    assert!(fs::metadata(pki.path("big.pem")).unwrap().len() > 16_000_000);
    let lines = ["Hello from spt", "--name=big"];

    let begin = Instant::now();
    pki.send(port, "big").unwrap().assert(0, "created unikernel");
    println!("{IMAGE} octets by our client in {:?}", begin.elapsed());
    host.console_ends_with("alice:big", &lines).unwrap();
    eventually("the end of the guest", || host.tenders().is_empty().then_some(())).unwrap();

    if !has_openssl() {
        return;
    }
    let begin = Instant::now();
    let output = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-connect", &format!("127.0.0.1:{port}")])
        .arg("-CAfile")
        .arg(pki.path("cacert.pem"))
        .arg("-cert")
        .arg(pki.path("big.pem"))
        .arg("-cert_chain")
        .arg(pki.path("alice.pem"))
        .arg("-key")
        .arg(pki.path("big.key"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("created unikernel"), "{said}\n{errors}");
    println!("{IMAGE} octets by s_client in {:?}", begin.elapsed());
    host.console_ends_with("alice:big", &[lines, lines].concat()).unwrap();
}
