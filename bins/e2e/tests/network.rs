//! A unikernel with a network device, on a bridge in a network namespace of the test's own.
//!
//! Needs root and /dev/net/tun; without them it says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::net::UdpSocket;
use std::time::Duration;

use albatross_e2e::{Host, Pki, Programs, eventually};

mod namespace;
use namespace::{in_new_network, ip, taps};

#[test]
fn a_guest_answers_on_its_bridge_and_its_tap_goes_with_it() {
    in_new_network(|| {
        let host = Host::for_test().unwrap();
        host.client(&["policy"]).unwrap().assert(0, "service");
        assert_eq!(taps(), Vec::<String>::new());
        host.create("a:pong", "pong", &["--net", "service", "--arg=--ipv4=10.9.0.2"])
            .unwrap()
            .assert(0, "created");
        assert_eq!(taps(), ["vmmtap0"]);
        assert!(ip("-o link show master service").contains("vmmtap0"));
        host.create("a:two", "pong", &["--net=service:other"]).unwrap().assert(0, "created");
        assert_eq!(taps().len(), 2);
        assert!(ip("-o link show master other").contains("vmmtap1"));
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        eventually("an answer of the guest", || {
            socket.send_to(b"ping", "10.9.0.2:7").unwrap();
            let mut answer = [0; 8];
            (socket.recv(&mut answer).ok()? == 4 && answer.starts_with(b"ping")).then_some(())
        })
        .unwrap();
        // The first free number is used again.
        host.client(&["destroy", "a:pong"]).unwrap().assert(0, "destroyed");
        assert_eq!(taps(), ["vmmtap1"]);
        host.create("a:pong", "pong", &["--net", "service"]).unwrap().assert(0, "created");
        assert!(ip("-o link show master service").contains("vmmtap0"));
        host.client(&["restart", "a:pong"]).unwrap().assert(0, "created");
        assert_eq!(taps().len(), 2);
    });
}

#[test]
fn no_tap_is_left_by_a_failure_or_the_end_of_the_daemon() {
    in_new_network(|| {
        let mut host = Host::for_test().unwrap();
        host.client(&["add-policy", "a", "5", "--mem", "64", "--bridge", "service"])
            .unwrap()
            .assert(0, "added");
        host.create("a:pong", "pong", &["--net", "service:other"]).unwrap().assert(117, "other");
        host.create("a:pong", "pong", &["--net", "service:nowhere"]).unwrap().assert(117, "nowhere");
        assert_eq!(taps(), Vec::<String>::new());
        for name in ["a:one", "a:two", "a:three"] {
            host.create(name, "pong", &["--net=service"]).unwrap().assert(0, "created");
        }
        let tenders = host.tenders();
        assert_eq!((taps().len(), tenders.len()), (3, 3));
        assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
        assert_eq!((taps(), host.tenders(), host.left_behind()), (Vec::new(), Vec::new(), Vec::new()));
        host.start_albatrossd(&[]).unwrap();
        eventually("all three", || (host.tenders().len() == 3).then_some(())).unwrap();
        assert_eq!(taps().len(), 3);
        host.end().unwrap();
        assert_eq!(taps(), Vec::<String>::new());
    });
}

/// Our tender is handed taps and block devices open: what it sees of the file system is neither, nor anything by which it
/// could open a tap.
#[test]
fn our_tender_gets_its_devices_open_and_sees_none() {
    in_new_network(|| {
        let host = Host::for_test().unwrap();
        host.client(&["create-block", "a:first", "1"]).unwrap().assert(0, "added");
        host.client(&["create-block", "a:second", "1"]).unwrap().assert(0, "added");
        let options = [
            "--net=left:service",
            "--net=right:other",
            "--block=first:first",
            "--block=second:second@4096",
            "--arg=--datagrams=1000",
        ];
        host.create("a:many", "many", &options).unwrap().assert(0, "created");
        host.console_ends_with(
            "a:many",
            &[
                "first has 1048576 bytes in sectors of 512",
                "second has 1048576 bytes in sectors of 4096",
                "verified",
            ],
        )
        .unwrap();
        let [(pid, line)] = &host.tenders()[..] else { panic!("one tender: {:?}", host.tenders()) };
        for option in ["--net:left=@", "--net:right=@", "--block:first=@", "--block:second=@"] {
            assert!(line.contains(option), "{line}");
        }
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let links = links.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap());
        let mut open: Vec<String> = links.map(|path| path.to_string_lossy().into_owned()).collect();
        open.sort();
        let count = |what: &str| open.iter().filter(|path| path.contains(what)).count();
        let counts = ["/net/tun", "first", "second", "eventpoll", "timerfd", "fifo"].map(count);
        assert_eq!((counts, open.len()), ([2, 1, 1, 1, 1, 3], 9), "{open:?}");
        let mut seen = Vec::new();
        files_below(format!("/proc/{pid}/root").as_ref(), &mut seen);
        let image = host.tmpdir().join("a:many.img");
        let mentions = |what: &str| seen.iter().any(|path| path.to_string_lossy().contains(what));
        assert!(mentions("albatross-spt") && mentions(image.to_str().unwrap()), "{seen:?}");
        assert!(!mentions("/dev/") && !mentions("first") && !mentions("second"), "{seen:?}");
    });
}

/// Three guests by certificate: the host reaches `pong` on the bridge `other` only through `many`, which passes on what comes
/// from the bridge `service` and has two block devices; and `ping`, on `other`, reaches both ends.
#[test]
fn guests_with_networks_and_block_devices_by_certificate() {
    in_new_network(|| {
        ip("link set lo up");
        let mut host = Host::for_test().unwrap();
        let pki = Pki::generate(Programs::for_tests().unwrap(), &host.work()).unwrap();
        let policy = ["--mem", "256", "--block", "8", "--bridge", "service", "--bridge", "other"];
        pki.intermediate("ca", "alice", 8, &policy).unwrap();
        let [ca, certificate, key] = pki.server();
        let port = host.start_endpoint(&ca, &certificate, &key).unwrap();
        let remote = |command: &[&str]| pki.remote(port, "alice", command).unwrap();
        remote(&["create-block", "first", "1"]).assert(0, "added");
        remote(&["create-block", "second", "2"]).assert(0, "added");
        let image = |name: &str| host.programs().guest(name).to_str().unwrap().to_owned();
        let (many, pong, ping) = (image("many"), image("pong"), image("ping"));
        let blocks = ["--block=first:first", "--block=second:second@4096"];
        let many = ["create", "many", &many, "--mem=2", "--net=left:service", "--net=right:other"];
        remote(&[&many[..], &blocks].concat()).assert(0, "created");
        let pong = ["create", "pong", &pong, "--mem=2", "--net=service:other", "--arg=--ipv4=10.9.0.2"];
        remote(&pong).assert(0, "created");
        // A block device has one user.
        remote(&["destroy-block", "first"]).assert(117, "in use");
        let lines = [
            "left is 1 mtu 1500",
            "right is 3 mtu 1500",
            "first has 1048576 bytes in sectors of 512",
            "second has 2097152 bytes in sectors of 4096",
            "verified",
        ];
        host.console_ends_with("alice:many", &lines).unwrap();
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        eventually("an answer through the other guest", || {
            socket.send_to(b"ping", "10.9.0.2:7").unwrap();
            let mut answer = [0; 8];
            (socket.recv(&mut answer).ok()? == 4 && answer.starts_with(b"ping")).then_some(())
        })
        .unwrap();
        for (name, to) in [("near", "10.9.0.2"), ("far", "10.9.0.1")] {
            let to = format!("--arg=--to={to}");
            let ping =
                ["create", name, &ping, "--mem=2", "--net=service:other", "--arg=--ipv4=10.9.0.3", &to];
            remote(&ping).assert(0, "created");
            host.console_ends_with(&format!("alice:{name}"), &["10 of 10 answers"]).unwrap();
        }
    });
}

fn files_below(directory: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}
