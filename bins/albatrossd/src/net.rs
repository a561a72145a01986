//! Taps: made for a unikernel's network device, joined to a bridge, and removed with it.
//!
//! Each is marked with the directory of the daemon that made it, before it becomes one that outlives the
//! daemon. So whenever the daemon is killed, its taps can be told from those of others, whatever their names
//! are. (A list in a file would have to be ahead of the kernel, which chooses the name.)

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use albatross_core::vmmd::TaskFailure;

use crate::files::named;
use crate::sys;

/// How taps are named; the kernel puts in the smallest number that is free.
const TAP_NAMES: &str = "vmmtap%d";

/// The interfaces of this machine, a directory for each.
const INTERFACES: &str = "/sys/class/net";

/// Makes taps, and knows those that were made before.
pub(crate) struct Taps {
    /// The text that tells who made a tap; `ip link` shows it as the alias.
    mark: Vec<u8>,
}

impl Taps {
    /// Those of the daemon that has this directory for itself.
    pub(crate) fn new(tmpdir: &Path) -> Self {
        Self { mark: [b"albatrossd ", tmpdir.as_os_str().as_bytes()].concat() }
    }

    /// The taps that are there and that a daemon of this directory made.
    pub(crate) fn made_before(&self) -> io::Result<Vec<String>> {
        let mut taps = Vec::new();
        let entries = fs::read_dir(INTERFACES).map_err(|error| named(Path::new(INTERFACES), &error))?;
        for entry in entries {
            // It may be gone meanwhile; what is no tap has no flags of one.
            let directory = entry?.path();
            let is_marked =
                fs::read(alias(&directory)).is_ok_and(|it| it.strip_suffix(b"\n") == Some(&self.mark[..]));
            if is_marked
                && directory.join("tun_flags").exists()
                && let Some(name) = directory.file_name().and_then(|name| name.to_str())
            {
                taps.push(name.to_owned());
            }
        }
        Ok(taps)
    }

    /// Makes a persistent tap that is up, belongs to `bridge` and may be opened by `owner`.
    pub(crate) fn make(&self, bridge: &str, owner: Option<u32>) -> Result<String, TaskFailure> {
        make_tap(bridge, owner, |tap| fs::write(alias(&Path::new(INTERFACES).join(tap)), &self.mark))
    }
}

fn alias(interface: &Path) -> PathBuf {
    interface.join("ifalias")
}

fn make_tap(
    bridge: &str,
    owner: Option<u32>,
    mark: impl FnOnce(&str) -> io::Result<()>,
) -> Result<String, TaskFailure> {
    let tap = sys::make_tap(TAP_NAMES, owner, mark)
        .map_err(|error| TaskFailure(format!("cannot make a tap for bridge {bridge}: {error}")))?;
    // Not every kernel can switch these off; the packets are right all the same.
    _ = sys::switch_offloads_off(&tap);
    let joined = sys::join_bridge(bridge, &tap).and_then(|()| sys::set_up(&tap));
    joined.map(|()| tap.clone()).map_err(|error| {
        // The tap is of no use; that it cannot be removed either would be the same error again.
        _ = sys::remove_tap(&tap);
        TaskFailure(format!("cannot join a tap to bridge {bridge}: {error}"))
    })
}

/// Removes a tap.
pub(crate) fn remove_tap(tap: &str) -> Result<(), TaskFailure> {
    sys::remove_tap(tap).map_err(|error| TaskFailure(format!("cannot remove the tap {tap}: {error}")))
}
