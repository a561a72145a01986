//! Taps and bridges in a network namespace of the test's own.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};

/// Runs a test in a thread with a network namespace of its own, or says why not.
pub fn in_own_network(test: impl FnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
        println!("skipped: needs root and /dev/net/tun");
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                println!("skipped: no network namespace: {error}");
                return;
            }
            test();
        });
    });
}

/// A tap of which the host has the address 10.7.0.1.
pub fn make_tap(name: &str, mtu: u32) {
    ip(&["tuntap", "add", "dev", name, "mode", "tap"]);
    ip(&["link", "set", name, "mtu", &mtu.to_string()]);
    ip(&["address", "add", "10.7.0.1/24", "dev", name]);
    ip(&["link", "set", name, "up"]);
}

/// A bridge with these taps, which are made.
pub fn make_bridge(name: &str, taps: &[&str]) {
    ip(&["link", "add", name, "type", "bridge"]);
    ip(&["link", "set", name, "up"]);
    for tap in taps {
        ip(&["tuntap", "add", "dev", tap, "mode", "tap"]);
        ip(&["link", "set", tap, "master", name]);
        ip(&["link", "set", tap, "up"]);
    }
}

pub fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().expect("ip is installed").success());
}

/// Opens a tap as albatrossd would before it hands it over.
pub fn open_tap(name: &std::ffi::CStr) -> File {
    let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI).try_into().unwrap();
    // SAFETY: TUNSETIFF takes an ifreq.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0);
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    file
}
