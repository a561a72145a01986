//! Block and network devices, the latter in a network namespace of their own (as root only).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::network::{in_own_network, ip, make_tap, open_tap};
use common::{Finished, guest, tender};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

const SIGSYS: i32 = 31;

/// Runs the guest `disk` with these options and arguments on a file of so many bytes.
fn disk(bytes: u64, options: &[&str], arguments: &[&str]) -> Finished {
    let file = disk_file(bytes);
    Finished::of(
        tender()
            .arg("--mem=2")
            .args(options)
            .arg(format!("--block:disk={}", file.path().display()))
            .arg(guest("disk"))
            .args(arguments),
    )
}

fn disk_file(bytes: u64) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().prefix("with white space ").tempfile().unwrap();
    file.as_file().set_len(bytes).unwrap();
    file
}

#[test]
fn a_disk_is_written_and_read() {
    disk(65536, &[], &[]).assert_exit(0, "disk of 65536 bytes, sectors of 512 bytes\nverified\n");
    disk(512, &[], &[]).assert_exit(0, "disk of 512 bytes, sectors of 512 bytes\nverified\n");
    disk(65536, &["--block-sector-size:disk=32768"], &[])
        .assert_exit(0, "disk of 65536 bytes, sectors of 32768 bytes\nverified\n");
    // Zeroes are not the pattern.
    disk(512, &[], &["--read"]).assert_exit(5, "disk of 512 bytes, sectors of 512 bytes\n");
}

#[test]
fn what_is_written_is_in_the_file() {
    let file = disk_file(8192);
    let option = format!("--block:disk={}", file.path().display());
    let run = |arguments: &[&str]| {
        Finished::of(tender().args(["--mem=2", &option]).arg(guest("disk")).args(arguments))
    };
    run(&[]).assert_exit(0, "disk of 8192 bytes, sectors of 512 bytes\nverified\n");
    assert!(fs::read(file.path()).unwrap().iter().any(|byte| *byte != 0));
    run(&["--read"]).assert_exit(0, "disk of 8192 bytes, sectors of 512 bytes\nverified\n");
}

#[test]
fn nothing_but_whole_sectors_within_the_disk() {
    let start = "disk of 8192 bytes, sectors of 512 bytes\n";
    for argument in
        ["--outside=7681", "--outside=8192", "--outside=18446744073709551615", "--size=511", "--size=513"]
    {
        disk(8192, &[], &[argument]).assert_signal(SIGSYS, start);
    }
    disk(8192, &[], &["--outside=7680"]).assert_exit(1, start);
}

#[test]
fn disks_that_are_refused() {
    disk(0, &[], &[]).assert_refused("must be at least 1 block (512 bytes) in size, and is 0");
    disk(513, &[], &[]).assert_refused("must be block aligned (512 bytes), and is 513");
    disk(512, &["--block-sector-size:disk=1024"], &[])
        .assert_refused("must be at least 1 block (1024 bytes) in size, and is 512");
    let run = |option: &str| Finished::of(tender().args(["--mem=2", option]).arg(guest("disk")));
    run("--mem=3").assert_refused("given twice");
    run("--block-sector-size:disk=512").assert_refused("block device 'disk' is not attached");
    run("--block:disk=/nonexistent/disk")
        .assert_refused("could not attach device 'disk': opening it: No such file");
    run("--block:disk=/dev/null").assert_refused("neither a regular file nor a block device");
    run("--block:disk=/tmp").assert_refused("Is a directory");
    run("--block:disk=@999").assert_refused("using the descriptor: Bad file descriptor");
    run("--net:disk=tap0").assert_refused("the image declares no network device 'disk'");
}

#[test]
fn a_disk_by_its_descriptor() {
    let file = disk_file(1024);
    fcntl(file.as_file(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let run = |descriptor: i32| {
        Finished::of(tender().arg("--mem=2").arg(format!("--block:disk=@{descriptor}")).arg(guest("disk")))
    };
    run(file.as_file().as_raw_fd()).assert_exit(0, "disk of 1024 bytes, sectors of 512 bytes\nverified\n");
    let read_only = File::open(file.path()).unwrap();
    fcntl(&read_only, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    run(read_only.as_raw_fd()).assert_refused("not open for reading and writing");
}

#[test]
fn a_network_device_by_name() {
    in_own_network(|| {
        make_tap("tap7", 1400);
        Guest::start(&["--net:service=tap7", "--net-mac:service=02:00:00:00:00:07"])
            .assert_first_line("02:00:00:00:00:07 mtu 1400\n")
            .assert_echoes();
        // A tap has one owner at a time, and this one is gone. Under another address the kernel would for a moment not know
        // where to send.
        Guest::start(&["--net:service=tap7", "--net-mac:service=02:00:00:00:00:07"]).assert_echoes();
    });
}

#[test]
fn a_network_device_by_its_descriptor() {
    in_own_network(|| {
        make_tap("tap7", 1500);
        let tap = open_tap(c"tap7");
        let option = format!("--net:service=@{}", tap.as_raw_fd());
        Guest::start(&[&option, "--net-mac:service=02:00:00:00:00:07"])
            .assert_first_line("02:00:00:00:00:07 mtu 1500\n")
            .assert_echoes();
    });
}

#[test]
fn network_devices_that_are_refused() {
    let run = |option: &str| Finished::of(tender().args(["--mem=2", option]).arg(guest("pong")));
    run("--mem=3").assert_refused("given twice");
    run("--net-mac:service=02:00:00:00:00:01").assert_refused("network device 'service' is not attached");
    run("--net:service=missing0").assert_refused("looking for the interface: No such device");
    let file = disk_file(512);
    fcntl(file.as_file(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    run(&format!("--net:service=@{}", file.as_file().as_raw_fd())).assert_refused("not a tap");
    in_own_network(|| {
        run("--net:service=lo").assert_refused("the interface is not up");
        ip(&["link", "set", "lo", "up"]);
        run("--net:service=lo").assert_refused("attaching to the interface: Invalid argument");
        make_tap("tap7", 1500);
        let owner = Guest::start(&["--net:service=tap7"]);
        run("--net:service=tap7").assert_refused("attaching to the interface: Device or resource busy");
        drop(owner);
    });
}

/// The guest `pong`, ended with this value.
struct Guest {
    child: Child,
    first_line: String,
}

impl Guest {
    /// Starts it, with the first line it prints.
    fn start(options: &[&str]) -> Self {
        let mut child = tender()
            .arg("--mem=2")
            .args(options)
            .arg(guest("pong"))
            .arg("--ipv4=10.7.0.2")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tender starts");
        let mut first_line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first_line).unwrap();
        Self { child, first_line }
    }

    fn assert_first_line(self, line: &str) -> Self {
        assert_eq!(self.first_line, line);
        self
    }

    /// Sends datagrams of several sizes and expects each back.
    fn assert_echoes(self) {
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect("10.7.0.2:7").unwrap();
        for length in [0, 1, 100, 1372] {
            let sent = vec![u8::try_from(length % 251).unwrap(); length];
            socket.send(&sent).unwrap();
            let mut received = [0; 2000];
            let count = socket.recv(&mut received).unwrap();
            assert_eq!(received[..count], sent);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
