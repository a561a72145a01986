//! File systems of a test's own.

use std::path::Path;
use std::thread;

use albatross_e2e::Programs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs `test` in a thread whose mounts are its own and those of what it starts.
pub(crate) fn with_own_mounts(test: impl FnOnce(&Programs) + Send) {
    if !geteuid().is_root() {
        println!("skipped: needs root, to mount a small file system");
        return;
    }
    // Built outside: a mount hides nothing from cargo.
    let programs = Programs::for_tests().unwrap();
    let test = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&Path> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        test(programs);
    };
    if let Err(panic) = thread::scope(|scope| scope.spawn(test).join()) {
        std::panic::resume_unwind(panic);
    }
}
