//! Control groups (version 2): one for each tender, below the one that the system delegated to this daemon.
//!
//! ```text
//! DELEGATED/albatrossd   this daemon: a group that has limited ones below it has no processes of its own
//! DELEGATED/vmm-NAME     the tender of NAME
//! ```
//! Where the system can put this daemon in a group below the delegated one, as systemd from version 254 on
//! does, it stays there instead. Else the system cannot start it a second time while the delegated group limits those
//! below it, and has to call [`release`] before.
//!
//! Each is marked with the directory of the daemon that made it, as taps are, so that it can be told from
//! those of others.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::vmmd::Group;
use albatross_driver::logging::{Level, Logger};
use albatross_proto::Name;
use nix::unistd::{Pid, geteuid};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use crate::files::named;

/// The group that this daemon moves itself to.
const OWN: &str = "albatrossd";
/// What systemd marks a delegated group by: as anybody may read it, and as before version 251.
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];
/// What is marked by it is a daemon's of the directory that is its value.
const MARK: &str = "user.albatross";
/// The longest mark that is looked at: longer than any path that a mark can be made of (PATH_MAX of Linux).
const MAX_MARK: usize = 4096 + 64;
/// What limits tenders, where it is there: the memory they use, and processes and threads.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// How long a group may be in use after all in it were killed or have ended, and how often that is looked at. The
/// kernel needs less than a millisecond on an idle machine. What takes longer is removed at the next start.
const END_PATIENCE: Duration = Duration::from_millis(100);
const END_INTERVAL: Duration = Duration::from_millis(1);

/// The control groups of this daemon.
#[derive(Debug)]
pub(crate) struct Groups {
    /// `None`: there are none.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    delegated: PathBuf,
    mark: Vec<u8>,
    /// Of [`CONTROLLERS`], those that are there.
    controllers: Vec<&'static str>,
}

/// Lets processes into the delegated group again, where this daemon had moved itself out of it: nothing is limited
/// below it until the next daemon does so. To be called from another group below it.
pub(crate) fn release() -> io::Result<()> {
    let own = own_group()?;
    let delegated = own.as_deref().and_then(Path::parent).filter(|parent| is_delegated(parent));
    let Some(delegated) = delegated.filter(|delegated| delegated.join(OWN).is_dir()) else { return Ok(()) };
    let enabled = read(&delegated.join("cgroup.subtree_control"))?;
    let change: String = enabled.split_ascii_whitespace().flat_map(|name| ["-", name, " "]).collect();
    if change.is_empty() {
        Ok(())
    } else {
        write(&delegated.join("cgroup.subtree_control"), change.trim_end())
    }
}

/// Why there are no control groups.
#[derive(Debug)]
enum NoGroups {
    /// The system has none, or this process does not see them.
    NoHierarchy,
    /// Nobody marked the group of this process.
    NotDelegated(PathBuf),
    /// It belongs to somebody else, who could do anything with what is below.
    NotOwned(PathBuf),
    /// Others are in it, so that it cannot be divided.
    InUse(PathBuf),
    /// A file of a group cannot be read or written.
    Failed(io::Error),
}

impl Groups {
    /// Where there are none.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self { place: None };

    /// Finds out whether there are any, and makes this process one group of several. `tmpdir` tells which daemon
    /// made one. Who runs as root is warned where there are none.
    pub(crate) fn begin(tmpdir: &Path, log: &Logger) -> Self {
        match Place::begin(tmpdir) {
            Ok(place) => {
                let limited = match &place.controllers[..] {
                    [] => "without limits, as no controllers are delegated".to_owned(),
                    some => format!("which limits its {}", some.join(" and ")),
                };
                let delegated = place.delegated.display();
                log.info(format_args!("each tender gets a control group in {delegated}, {limited}"));
                Self { place: Some(place) }
            }
            Err(why) => {
                let level = if geteuid().is_root() { Level::Warning } else { Level::Info };
                log.log(level, format_args!(
                    "tenders get no control group: {why}; limits of their address space and processes hold \
                     instead"
                ));
                Self { place: None }
            }
        }
    }

    /// Of which unikernels there are groups that a daemon of this directory made; `None` where there can be none.
    pub(crate) fn made_before(&self) -> io::Result<Option<Vec<Name>>> {
        let Some(place) = &self.place else { return Ok(None) };
        let entries = fs::read_dir(&place.delegated).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| named(&place.delegated, &error))?;
        let ours = |entry: fs::DirEntry| {
            let name = Group::unikernel(entry.file_name().to_str()?)?;
            place.is_marked(&entry.path()).then_some(name)
        };
        Ok(Some(entries.into_iter().filter_map(ours).collect()))
    }

    /// Makes a group, to start a process in. One of this name that a daemon was killed while making is replaced.
    pub(crate) fn make(&self, group: &Group) -> io::Result<Option<OwnedFd>> {
        let Some((place, path)) = self.of(&group.name) else { return Ok(None) };
        let made = match fs::create_dir(&path) {
            // Where anybody is in it, it is not removed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir(&path).and_then(|()| fs::create_dir(&path))
            }
            result => result,
        };
        made.map_err(|error| named(&path, &error))?;
        let ready = mark(&path, &place.mark).and_then(|()| place.limit(&path, group)).and_then(|()| {
            let opened = File::open(&path).map_err(|error| named(&path, &error))?;
            Ok(Some(opened.into()))
        });
        ready.inspect_err(|_| _ = fs::remove_dir(&path))
    }

    /// Moves a process to a group, where it could not be started there.
    pub(crate) fn enter(&self, name: &Name, process: Pid) -> io::Result<()> {
        let Some((_, path)) = self.of(name) else { return Ok(()) };
        write(&path.join("cgroup.procs"), &process.to_string())
    }

    /// Sets the limits of a group that is there.
    pub(crate) fn limit(&self, group: &Group) -> io::Result<()> {
        let Some((place, path)) = self.of(&group.name) else { return Ok(()) };
        place.limit(&path, group)
    }

    /// Whether the kernel killed somebody in a group because of its memory.
    pub(crate) fn ran_out(&self, name: &Name) -> bool {
        let events = self.of(name).and_then(|(_, path)| fs::read_to_string(path.join("memory.events")).ok());
        events.is_some_and(|events| {
            let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
            killed.is_some_and(|count| count != "0")
        })
    }

    /// Kills all that are in a group.
    pub(crate) fn kill(&self, name: &Name) -> io::Result<()> {
        let Some((_, path)) = self.of(name) else { return Ok(()) };
        match write(&path.join("cgroup.kill"), "1") {
            // The group is gone, or the kernel is older than 5.14: it gets a signal, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes a group, and kills first all that are in it.
    pub(crate) fn remove(&self, name: &Name) -> io::Result<()> {
        let Some((_, path)) = self.of(name) else { return Ok(()) };
        let deadline = Instant::now() + END_PATIENCE;
        loop {
            match fs::remove_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    self.kill(name)?;
                    thread::sleep(END_INTERVAL);
                }
                result => return result.map_err(|error| named(&path, &error)),
            }
        }
    }

    fn of(&self, name: &Name) -> Option<(&Place, PathBuf)> {
        let place = self.place.as_ref()?;
        Some((place, place.delegated.join(Group::directory(name))))
    }
}

impl Place {
    fn begin(tmpdir: &Path) -> Result<Self, NoGroups> {
        let own = own_group().map_err(NoGroups::Failed)?.ok_or(NoGroups::NoHierarchy)?;
        let (delegated, leaf) = if is_delegated(&own) {
            let leaf = own.join(OWN);
            match fs::create_dir(&leaf) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(NoGroups::Failed(named(&leaf, &error)));
                }
                _ => {}
            }
            write(&leaf.join("cgroup.procs"), "0").map_err(NoGroups::Failed)?;
            (own, leaf)
        } else {
            // The system may have put it below.
            match own.parent() {
                Some(parent) if is_delegated(parent) => {
                    if own.file_name() != Some(OsStr::new(OWN)) {
                        // Of a daemon that the system could not put anywhere: [`release`] goes by it.
                        _ = fs::remove_dir(parent.join(OWN));
                    }
                    (parent.to_owned(), own)
                }
                _ => return Err(NoGroups::NotDelegated(own)),
            }
        };
        let owner =
            fs::metadata(&delegated).map_err(|error| NoGroups::Failed(named(&delegated, &error)))?.uid();
        if owner != geteuid().as_raw() {
            return Err(NoGroups::NotOwned(delegated));
        }
        let controllers = enable(&delegated)?;
        let own_mark = [b"albatrossd ", tmpdir.as_os_str().as_bytes()].concat();
        // Kernels before 5.7 know no such marks.
        mark(&leaf, &own_mark).map_err(NoGroups::Failed)?;
        Ok(Self { delegated, mark: own_mark, controllers })
    }

    fn is_marked(&self, path: &Path) -> bool {
        attribute(path, MARK).is_some_and(|mark| mark == self.mark)
    }

    fn limit(&self, path: &Path, group: &Group) -> io::Result<()> {
        if self.controllers.contains(&"memory") {
            // There is none without swap devices in the kernel's configuration.
            let swap = path.join("memory.swap.max");
            if swap.exists() {
                write(&swap, &group.swap.to_string())?;
            }
            write(&path.join("memory.max"), &group.memory.to_string())?;
        }
        if self.controllers.contains(&"pids") {
            write(&path.join("pids.max"), &group.tasks.to_string())?;
        }
        Ok(())
    }
}

/// Makes those of [`CONTROLLERS`] that are there limit the groups below, and returns them.
fn enable(delegated: &Path) -> Result<Vec<&'static str>, NoGroups> {
    let there = read(&delegated.join("cgroup.controllers")).map_err(NoGroups::Failed)?;
    let there: Vec<&str> = there.split_ascii_whitespace().collect();
    let wanted: Vec<&'static str> = CONTROLLERS.into_iter().filter(|name| there.contains(name)).collect();
    let change: String = wanted.iter().flat_map(|name| ["+", name, " "]).collect();
    if wanted.is_empty() {
        return Ok(wanted);
    }
    match write(&delegated.join("cgroup.subtree_control"), change.trim_end()) {
        Ok(()) => Ok(wanted),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(NoGroups::InUse(delegated.to_owned()))
        }
        Err(error) => Err(NoGroups::Failed(error)),
    }
}

/// The directory of the group that this process is in.
fn own_group() -> io::Result<Option<PathBuf>> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return Ok(None) };
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    Ok(mounts.lines().find_map(|mount| directory(mount, Path::new(group))))
}

/// Where a group is in a mounted hierarchy, from a line of `/proc/self/mountinfo`. One that is not below what is
/// mounted has `..` in it.
fn directory(mount: &str, group: &Path) -> Option<PathBuf> {
    let (fields, kind) = mount.split_once(" - ")?;
    if !kind.starts_with("cgroup2 ") || group.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let mut fields = fields.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    Some(Path::new(place).join(group.strip_prefix(root).ok()?))
}

fn is_delegated(group: &Path) -> bool {
    DELEGATED.iter().any(|name| attribute(group, name).is_some_and(|value| value == b"1"))
}

/// An extended attribute; `None` also where this process may not read it.
fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; MAX_MARK];
    let length = loop {
        match getxattr(path, name, &mut value[..]) {
            Err(Errno::INTR) => {}
            result => break result.ok()?,
        }
    };
    value.truncate(length);
    Some(value)
}

fn mark(path: &Path, mark: &[u8]) -> io::Result<()> {
    setxattr(path, MARK, mark, XattrFlags::empty()).map_err(|error| named(path, &error.into()))
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| named(path, &error))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    // Not made where it is not there, and in one piece, as the kernel takes each piece for itself.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|error| named(path, &error))
}

impl fmt::Display for NoGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHierarchy => f.write_str("no hierarchy of version 2 is mounted"),
            Self::NotDelegated(path) => {
                write!(f, "{} is not delegated to this daemon (Delegate=yes in its unit)", path.display())
            }
            Self::NotOwned(path) => write!(f, "{} is another user's", path.display()),
            Self::InUse(path) => write!(f, "other processes are in {}", path.display()),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NoGroups {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_below_where_the_hierarchy_is_mounted() {
        let find = |mount: &str, group: &str| directory(mount, Path::new(group));
        let whole = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(find(whole, "/a.slice/b"), Some("/sys/fs/cgroup/a.slice/b".into()));
        assert_eq!(find(whole, "/"), Some("/sys/fs/cgroup/".into()));
        assert_eq!(find(whole, "/../b"), None, "outside of the namespace");
        let part = "30 23 0:26 /a.slice /mnt rw - cgroup2 cgroup2 rw";
        assert_eq!(find(part, "/a.slice/b"), Some("/mnt/b".into()));
        assert_eq!(find(part, "/c.slice/b"), None);
        assert_eq!(find("30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids", "/a"), None);
        assert_eq!(find("", "/a"), None);
    }
}
