//! The command line of the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod common;

use std::os::unix::process::CommandExt;

use common::{Finished, guest, tender};

#[test]
fn version_is_two_lines_on_standard_error() {
    let finished = Finished::of(tender().arg0("/some/where/solo5-spt").arg("--version"));
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout, "");
    assert_eq!(
        finished.stderr,
        format!("solo5-spt tender, version v{}\nABI version 2\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_is_on_standard_error_with_status_1() {
    let finished = Finished::of(tender().arg("--help"));
    assert_eq!(finished.code, Some(1));
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.starts_with("usage: albatross-spt [OPTIONS] [--] KERNEL [ARGS...]\n"));
}

#[test]
fn option_errors() {
    for (option, cause) in [
        ("--mem=0", "the size has to be a number of MiB"),
        ("--mem=2abc", "the size has to be a number of MiB"),
        ("--mem=17592186044416", "the size has to be a number of MiB"),
        ("--mem=1", "entry point 0x"),
        ("--mem=17592186044415", "no guest memory of 18446744073708503040 bytes"),
        ("--mem=134217727", "the tender itself is in the way"),
        ("--mem", "unknown, or without `=`"),
        ("--gdb=1", "unknown, or without `=`"),
        ("--net:service=tap0", "the image declares no network device 'service'"),
        ("--net-mac:service=02:00:00:00:00:01", "the image declares no network device 'service'"),
        ("--block:disk=/dev/null", "the image declares no block device 'disk'"),
        ("--block-sector-size:disk=100", "that is a power of two up to 32768"),
        // In 16 bits it would be 512.
        ("--block-sector-size:disk=66048", "that is a power of two up to 32768"),
        ("--block-sector-size:disk=512x", "that is a power of two up to 32768"),
        ("--net-mac:service=02:00:00:00:00:01x", "a MAC address is aa:bb:cc:dd:ee:ff"),
        ("--net-mac:service=03:00:00:00:00:01", "not that of a group"),
        ("--net:service=sixteencharacter", "an interface has a name of 1 to 15 bytes"),
        ("--net:service=tap%d", "an interface has a name of 1 to 15 bytes"),
        ("--net:ser vice=tap0", "a device name has 1 to 67 letters and digits"),
        ("--block:disk=", "a path cannot be empty"),
        ("--mem=-1", "the size has to be a number of MiB"),
        ("--mem= 2", "the size has to be a number of MiB"),
    ] {
        Finished::of(tender().arg(option).arg(guest("hello"))).assert_refused(cause);
    }
    Finished::of(tender().args(["--mem=2", "--mem=2"]).arg(guest("hello"))).assert_refused("given twice");
    Finished::of(&mut tender()).assert_refused("no KERNEL given");
    for twice in
        ["--net:a=tap0", "--net-mac:a=02:00:00:00:00:01", "--block:a=/dev/null", "--block-sector-size:a=512"]
    {
        Finished::of(tender().args([twice, twice]).arg(guest("hello"))).assert_refused("given twice");
    }
    Finished::of(tender().args(["--net:a=@5", "--block:b=@5"]).arg(guest("hello")))
        .assert_refused("the descriptor is given to another device");
    // Any length, and not a word more than one line.
    let long = "x".repeat(100_000);
    Finished::of(tender().arg(format!("--{long}\n\u{1b}[2J")).arg(guest("hello"))).assert_refused("unknown");
    Finished::of(tender().arg(&long)).assert_refused("File name too long");
}

#[test]
fn two_dashes_end_the_options() {
    Finished::of(tender().args(["--mem=2", "--"]).arg(guest("hello")).arg("--help"))
        .assert_exit(0, "Hello from spt\n--help\n");
}

#[test]
fn an_executable_heap_is_announced() {
    let finished = Finished::of(tender().args(["--mem=2", "--x-exec-heap"]).arg(guest("hello")));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "Hello from spt\n"));
    assert!(finished.stderr.starts_with("albatross-spt: warning: "));
}
