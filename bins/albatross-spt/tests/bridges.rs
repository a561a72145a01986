//! Guests that talk to each other and to the host, over taps and bridges in a network namespace of their own (as root only).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use common::network::{in_own_network, ip, make_bridge, make_tap, open_tap};
use common::{Finished, guest, tender};

/// A guest, ended with this value.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(name: &str, options: &[&str], arguments: &[&str]) -> Self {
        let mut command = tender();
        command.arg("--mem=2").args(options).arg(guest(name)).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the tender starts");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end; what else it prints.
    fn finish(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

#[test]
fn two_guests_ping_each_other_over_a_bridge() {
    in_own_network(|| {
        make_bridge("br7", &["tap7", "tap8"]);
        let mut pong = Running::start("pong", &["--net:service=tap7"], &["--ipv4=10.7.0.7"]);
        assert!(pong.line().ends_with(" mtu 1500\n"));
        let ping = |option: &str, arguments: &[&str]| {
            let mut command = tender();
            command.args(["--mem=2", option]).arg(guest("ping")).args(["--ipv4=10.7.0.8", "--to=10.7.0.7"]);
            Finished::of(command.args(arguments))
        };
        ping("--net:service=tap8", &["--count=500"]).assert_exit(0, "500 of 500 answers\n");
        ping("--net:service=tap8", &["--count=20", "--size=1472"]).assert_exit(0, "20 of 20 answers\n");
        ping("--net:service=tap8", &["--count=3", "--size=1"]).assert_exit(0, "3 of 3 answers\n");
        // By a descriptor that was handed over.
        let tap = open_tap(c"tap8");
        ping(&format!("--net:service=@{}", tap.as_raw_fd()), &[]).assert_exit(0, "10 of 10 answers\n");
    });
}

#[test]
fn the_host_pings_a_guest_on_a_bridge() {
    in_own_network(|| {
        make_bridge("br7", &["tap7"]);
        ip(&["address", "add", "10.7.0.1/24", "dev", "br7"]);
        let mut pong = Running::start("pong", &["--net:service=tap7"], &["--ipv4=10.7.0.2"]);
        assert!(pong.line().ends_with(" mtu 1500\n"));
        for (number, length) in [(1, 0), (2, 56), (3, 1464)] {
            assert!(host_ping([10, 7, 0, 2], number, length), "ping {number}");
        }
    });
}

/// Sends an echo request as the program `ping` does, and waits for the answer.
fn host_ping(to: [u8; 4], number: u16, length: usize) -> bool {
    // SAFETY: takes no pointers.
    let socket =
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP) };
    assert!(socket >= 0);
    // A raw socket is like one for datagrams, which the standard library has.
    // SAFETY: the socket is open and nobody else's.
    let socket: UdpSocket = unsafe { std::os::fd::FromRawFd::from_raw_fd(socket) };
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.connect((std::net::Ipv4Addr::from(to), 0)).unwrap();
    let mut request = vec![8, 0, 0, 0, 0x42, 0x42];
    request.extend(number.to_be_bytes());
    request.extend((0..length).map(|index| u8::try_from(index % 251).unwrap()));
    let checksum = !sum(&request);
    request[2..4].copy_from_slice(&checksum.to_be_bytes());
    socket.send(&request).unwrap();
    let mut answer = [0; 2000];
    loop {
        let count = socket.recv(&mut answer).unwrap();
        // The IPv4 header comes first. Another's answer or a request of ours is not what is waited for.
        let answer = &answer[20..count];
        if answer[0] == 0 && answer[4..8] == request[4..8] {
            return sum(answer) == 0xffff && answer[8..] == request[8..];
        }
    }
}

/// The one's complement sum of RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// The host reaches `pong` through the two network devices of `many`, which has block devices as well.
#[test]
fn a_guest_with_two_networks_and_two_disks_passes_frames_on() {
    in_own_network(|| {
        make_tap("tap7", 1400);
        make_bridge("br7", &["tap8", "tap9"]);
        let mut pong = Running::start("pong", &["--net:service=tap9"], &["--ipv4=10.7.0.2"]);
        assert!(pong.line().ends_with(" mtu 1500\n"));
        let disk = |bytes| {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(bytes).unwrap();
            file
        };
        let (first, second) = (disk(8192), disk(65536));
        let options = [
            "--net:right=tap8".to_owned(),
            format!("--block:second={}", second.path().display()),
            "--block-sector-size:second=4096".to_owned(),
            format!("--block:first={}", first.path().display()),
            "--net:left=tap7".to_owned(),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut many = Running::start("many", &options, &["--datagrams=6"]);
        assert_eq!(many.line(), "left is 1 mtu 1400\n");
        assert_eq!(many.line(), "right is 3 mtu 1500\n");
        assert_eq!(many.line(), "first has 8192 bytes in sectors of 512\n");
        assert_eq!(many.line(), "second has 65536 bytes in sectors of 4096\n");
        assert_eq!(many.line(), "verified\n");
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect("10.7.0.2:7").unwrap();
        // Each of them comes back.
        for length in [1, 600, 1372] {
            let sent = vec![7; length];
            socket.send(&sent).unwrap();
            let mut received = [0; 2000];
            let count = socket.recv(&mut received).unwrap();
            assert_eq!(received[..count], sent);
        }
        assert_eq!(many.finish(), (Some(0), "ready 0b1010\n".to_owned()));
        assert_ne!(std::fs::read(first.path()).unwrap(), std::fs::read(second.path()).unwrap()[..8192]);
    });
}
