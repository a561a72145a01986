//! A network namespace of a test's own.

use std::path::Path;
use std::process::Command;
use std::thread;

use albatross_e2e::Programs;
use albatross_e2e::run::run;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs `ip` with these words, and returns what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    let finished = run(Command::new("ip").args(arguments.split(' '))).unwrap();
    finished.assert(0, "").stdout
}

/// The interfaces named `vmmtap..`.
pub(crate) fn taps() -> Vec<String> {
    let links = ip("-o link");
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    names.filter(|name| name.starts_with("vmmtap")).map(str::to_owned).collect()
}

/// Puts this thread, and what it starts, into a network of its own with the bridges `service` and `other`.
fn new_network() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&Path> = None;
    // Which interfaces /sys shows is settled when it is mounted.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    for bridge in ["service", "other"] {
        ip(&format!("link add {bridge} type bridge"));
        ip(&format!("link set {bridge} up"));
    }
    ip("addr add 10.9.0.1/24 dev service");
}

/// Runs `test` in a thread of its own, as a namespace belongs to a thread and who it starts.
pub(crate) fn in_new_network(test: impl FnOnce() + Send + 'static) {
    if !geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
        println!("skipped: needs root and /dev/net/tun");
        return;
    }
    // Built outside: cargo needs no network of its own.
    Programs::for_tests().unwrap();
    let thread = thread::spawn(|| {
        new_network();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
