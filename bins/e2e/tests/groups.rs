//! Control groups: albatrossd in a group that is delegated to it, on the real hierarchy.
//!
//! Needs root and a hierarchy of version 2 that can be written; without them a test says so and passes. Where
//! that has no controllers (a system that uses version 1 for them), limits are not looked at:
//! `cargo xtask systemd` does so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use albatross_e2e::{Host, Programs, eventually, processes};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

/// What tells whose a group is.
const MARK: &str = "user.albatross";

/// A group of the test's own; with all that is in it, it is gone when this is dropped.
struct Group(PathBuf);

impl Group {
    /// `None` where none can be made.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let Some(mount) = mount.and_then(|line| line.split(' ').nth(1)) else {
            println!("skipped: needs control groups of version 2");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(mount).join(format!("albatross-test-{}-{number}", std::process::id()));
        if let Err(error) = fs::create_dir(&path) {
            println!("skipped: needs control groups that it may make: {}: {error}", path.display());
            return None;
        }
        Some(Self(path))
    }

    /// The same, marked as delegated, as systemd does.
    fn delegated() -> Option<Self> {
        let group = Self::new()?;
        mark(&group.0, "user.delegate", "1");
        Some(group)
    }

    /// The group below it that is called this.
    fn below(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of those below it.
    fn names(&self) -> Vec<String> {
        let mut names = processes::names_in(&self.0);
        names.retain(|name| self.0.join(name).is_dir());
        names
    }

    /// A program that starts albatrossd in this group, or in one below it.
    fn program(&self, host: &Host, below: &str) -> PathBuf {
        let (script, program) = (host.work().join("albatrossd"), host.programs().path("albatrossd"));
        let (group, program) = (self.below(below).join("cgroup.procs"), program.display().to_string());
        let text = format!("#!/bin/sh\necho $$ > {}\nexec {program} \"$@\"\n", group.display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }

    /// A host whose albatrossd was started in this group.
    fn host(&self) -> Host {
        let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
        host.start_console(&[]).unwrap();
        let program = self.program(&host, "");
        host.start_albatrossd_at(&program, &[]).unwrap();
        host
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        _ = fs::write(self.below("cgroup.kill"), "1");
        for name in self.names() {
            _ = eventually("an empty group", || fs::remove_dir(self.below(&name)).ok());
        }
        _ = eventually("an empty group", || fs::remove_dir(&self.0).ok());
    }
}

fn mark(group: &Path, name: &str, value: &str) {
    let (path, name) = (CString::new(group.as_os_str().as_bytes()).unwrap(), CString::new(name).unwrap());
    // SAFETY: two C strings and octets with their length.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).unwrap();
}

/// The processes in a group.
fn inside(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// A process that does nothing, in this group.
fn idle(group: &Path) -> Child {
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    child
}

fn tender(host: &Host, name: &str) -> i32 {
    let tenders = host.tenders();
    let image = format!("{name}.img");
    tenders.iter().find(|(_, line)| line.contains(&image)).unwrap_or_else(|| panic!("{tenders:?}")).0
}

/// The signal that ended it.
fn ended_by(mut child: Child) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    child.wait().unwrap().signal()
}

#[test]
fn each_tender_is_in_a_group_of_its_own_which_goes_with_it() {
    let Some(group) = Group::delegated() else { return };
    let mut host = group.host();
    let daemon = host.albatrossd().unwrap().pid();
    for name in ["a:one", "a:two", ":root"] {
        host.create(name, "tick", &[]).unwrap().assert(0, "created");
    }
    assert_eq!(group.names(), ["albatrossd", "vmm-:root", "vmm-a:one", "vmm-a:two"]);
    assert_eq!(inside(&group.0), [], "a group that is divided has no processes of its own");
    assert_eq!(inside(&group.below("albatrossd")), [daemon]);
    for name in ["a:one", "a:two", ":root"] {
        assert_eq!(inside(&group.below(&format!("vmm-{name}"))), [tender(&host, name)], "{name}");
    }
    let limits = group.below("vmm-a:one");
    if limits.join("memory.max").exists() {
        // 2 MB of the guest, a part of that for page tables, 32 MB of the tender, in whole pages.
        let most = |file: &str| fs::read_to_string(limits.join(file)).unwrap().trim().to_owned();
        let memory: u64 = (34 << 20) + (2 << 20) / 128;
        assert_eq!(most("memory.max"), (memory / 4096 * 4096).to_string());
        assert_eq!(most("pids.max"), "16");
    } else {
        println!("limits are not looked at: the hierarchy has no controllers");
    }
    host.client(&["restart", "a:one"]).unwrap().assert(0, "created");
    assert_eq!(inside(&group.below("vmm-a:one")), [tender(&host, "a:one")]);
    host.client(&["destroy", "a:two"]).unwrap().assert(0, "destroyed");
    processes::signal(tender(&host, ":root"), Signal::SIGKILL);
    eventually("the end of both", || (group.names() == ["albatrossd", "vmm-a:one"]).then_some(())).unwrap();
    assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
    assert_eq!(group.names(), ["albatrossd"]);
    let log = host.log("albatrossd");
    assert!(log.contains(&format!("each tender gets a control group in {}", group.0.display())), "{log}");
}

#[test]
fn groups_stay_with_their_tenders_and_what_nobody_has_goes() {
    let Some(group) = Group::delegated() else { return };
    let mut host = group.host();
    host.create("a:stays", "tick", &[]).unwrap().assert(0, "created");
    let pid = tender(&host, "a:stays");
    let own = format!("albatrossd {}", host.tmpdir().display());
    for dies in [false, true] {
        let daemon = host.take_albatrossd().unwrap();
        if dies {
            daemon.kill();
        } else {
            assert!(daemon.hand_over().unwrap().success());
        }
        // One of a daemon that was killed, with somebody in it; others' with somebody in them.
        for name in ["vmm-a:stale", "vmm-a:other", "vmm-a:unmarked", "vmm-", "else"] {
            fs::create_dir(group.below(name)).unwrap();
        }
        mark(&group.below("vmm-a:stale"), MARK, &own);
        mark(&group.below("else"), MARK, &own);
        mark(&group.below("vmm-a:other"), MARK, "albatrossd /another/directory");
        let stale = idle(&group.below("vmm-a:stale"));
        let others = ["vmm-a:other", "vmm-a:unmarked", "vmm-", "else"].map(|name| idle(&group.below(name)));
        // As systemd does where it is told to (DelegateSubgroup), and has to where groups are limited.
        let program = group.program(&host, "albatrossd");
        host.start_albatrossd_at(&program, &[]).unwrap();
        host.client(&["policy"]).unwrap().assert(0, "");
        assert_eq!(ended_by(stale), Some(9));
        assert!(!group.below("vmm-a:stale").exists());
        assert_eq!(inside(&group.below("vmm-a:stays")), [pid]);
        assert_eq!(tender(&host, "a:stays"), pid);
        for mut other in others {
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
        for name in ["vmm-a:other", "vmm-a:unmarked", "vmm-", "else"] {
            eventually("an empty group", || fs::remove_dir(group.below(name)).ok()).unwrap();
        }
    }
    host.client(&["destroy", "a:stays"]).unwrap().assert(0, "destroyed");
    assert_eq!(group.names(), ["albatrossd"]);
}

#[test]
fn whoever_else_is_in_a_tenders_group_ends_with_it() {
    let Some(group) = Group::delegated() else { return };
    let host = group.host();
    host.create("a:forks", "tick", &[]).unwrap().assert(0, "created");
    let child = idle(&group.below("vmm-a:forks"));
    host.client(&["destroy", "a:forks"]).unwrap().assert(0, "destroyed");
    assert_eq!(ended_by(child), Some(9));
    assert_eq!(group.names(), ["albatrossd"]);
}

#[test]
fn a_group_in_which_somebody_is_already_is_not_used() {
    let Some(group) = Group::delegated() else { return };
    let host = group.host();
    let taken = group.below("vmm-a:taken");
    fs::create_dir(&taken).unwrap();
    let mut other = idle(&taken);
    host.create("a:taken", "tick", &[]).unwrap().assert(117, "making its control group");
    assert_eq!(inside(&taken), [i32::try_from(other.id()).unwrap()]);
    assert_eq!(host.tenders(), []);
    other.kill().unwrap();
    other.wait().unwrap();
    host.create("a:taken", "tick", &[]).unwrap().assert(0, "created");
    assert_eq!(inside(&taken), [tender(&host, "a:taken")]);
}

#[test]
fn a_group_that_is_not_delegated_is_left_alone() {
    let Some(group) = Group::new() else { return };
    let mut host = group.host();
    let daemon = host.albatrossd().unwrap().pid();
    host.create("a:b", "tick", &[]).unwrap().assert(0, "created");
    assert_eq!(group.names(), Vec::<String>::new());
    let mut all = inside(&group.0);
    all.sort_unstable();
    let mut expected = [daemon, tender(&host, "a:b")];
    expected.sort_unstable();
    assert_eq!(all, expected);
    let log = host.log("albatrossd");
    let line = format!("no control group: {} is not delegated", group.0.display());
    assert_eq!(log.matches(&line).count(), 1, "{log}");
}
