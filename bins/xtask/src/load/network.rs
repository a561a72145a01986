//! A network of its own, by name, with one bridge.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use albatross_e2e::run::run;
use albatross_e2e::{Failure, processes};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// The bridge that guests are on.
pub(super) const BRIDGE: &str = "service";

/// What its name begins with; the process id of who made it comes after that.
const PREFIX: &str = "albatross-load-";
/// Where `ip` keeps names.
const NAMES: &str = "/run/netns";

/// A network namespace; removed when this is dropped.
pub(super) struct Network {
    name: String,
}

impl Network {
    pub(super) fn new() -> Result<Self, Failure> {
        remove_stale();
        let name = format!("{PREFIX}{}", std::process::id());
        ip(&format!("netns add {name}"))?;
        Ok(Self { name })
    }

    /// Puts this thread, and what it starts, into the network, and makes the bridge there.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        let path = self.path();
        let file = File::open(&path).map_err(|error| Failure::io("open", &path, error))?;
        let none: Option<&Path> = None;
        let enter = || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            // Which interfaces /sys shows is settled when it is mounted.
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)
        };
        enter().map_err(|error: Errno| Failure::io("enter", &path, error.into()))?;
        for words in [
            "link set lo up".to_owned(),
            format!("link add {BRIDGE} type bridge"),
            format!("link set {BRIDGE} up"),
            format!("addr add 10.9.0.1/16 dev {BRIDGE}"),
        ] {
            ip(&words)?;
        }
        Ok(())
    }

    /// Removes it, and says whether it is gone.
    pub(super) fn remove(self) -> bool {
        let path = self.path();
        drop(self);
        !path.exists()
    }

    fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Whether it is gone is looked at by who wants to know.
        _ = ip(&format!("netns del {}", self.name));
    }
}

/// Removes those of processes that were killed before they could.
fn remove_stale() {
    for name in processes::names_in(Path::new(NAMES)) {
        let is_stale = name.strip_prefix(PREFIX).is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if is_stale {
            // Who cannot be removed is in nobody's way.
            _ = ip(&format!("netns del {name}"));
        }
    }
}

/// The taps that albatrossd made in the network of this thread.
pub(super) fn taps() -> Result<usize, Failure> {
    Ok(ip("-o link")?.matches(": vmmtap").count())
}

fn ip(words: &str) -> Result<String, Failure> {
    Ok(run(Command::new("ip").args(words.split(' ')))?.expect(0, "")?.stdout)
}
