//! What this process gives up once its files are read: whoever takes it over through what a stranger sent finds the
//! key of the server, the connections, and a way to the daemons' sockets, and nothing else.
//!
//! In this order: another user where one is named, every capability, new privileges, core files and being traced;
//! then files and networks (Landlock, where the kernel has it), then every system call that is not on the list of
//! [`filter`], which ends the process.

mod filter;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;

use albatross_driver::logging::Logger;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// The newest Landlock that is asked for; of an older kernel's as much as it has.
const LANDLOCK: ABI = ABI::V6;

/// What is left to this process.
#[derive(Debug)]
pub(crate) struct Confinement<'a> {
    /// The user that root becomes.
    pub(crate) user: Option<String>,
    /// The folder of revocation lists, which is read and written.
    pub(crate) lists: Option<&'a Path>,
}

impl Confinement<'_> {
    /// Gives up everything else, for ever. Before any thread is started.
    ///
    /// # Errors
    /// Where the system does not allow it, or there is no such user.
    pub(crate) fn begin(&self, log: &Logger) -> io::Result<()> {
        let named_capabilities = |error| named("give up capabilities", &error);
        empty_bounding_set().map_err(named_capabilities)?;
        match &self.user {
            Some(name) if geteuid().is_root() => become_user(name)?,
            Some(name) => log.info(format_args!("--user {name}: not root, so the user stays as it is")),
            None if geteuid().is_root() => log.warning(
                "this is root: start it as the user of the daemons' group, or give --user; it keeps no capability",
            ),
            None => {}
        }
        give_up_capabilities().map_err(named_capabilities)?;
        set_no_new_privs(true)?;
        // The key is in memory: in no core file, and for no other process of this user.
        set_dumpable(false)?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        match self.restrict_files().map_err(io::Error::other)? {
            RulesetStatus::FullyEnforced => {}
            RulesetStatus::PartiallyEnforced => {
                log.info("this kernel has an older Landlock: not all of what it could keep away is")
            }
            RulesetStatus::NotEnforced => log.warning(
                "this kernel has no Landlock: files are kept away by the filter of system calls alone",
            ),
        }
        filter::install(self.lists.is_some())
    }

    /// No file but those in the folder of lists, no connection by TCP, no abstract socket, no signal to others.
    /// Sockets with a path are connected to as their mode allows.
    fn restrict_files(&self) -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?;
        if let Some(Ok(folder)) = self.lists.map(PathFd::new) {
            rules = rules.add_rule(PathBeneath::new(folder, in_folder()))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    }
}

fn in_folder() -> BitFlags<AccessFs> {
    AccessFs::ReadDir
        | AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
}

fn become_user(name: &str) -> io::Result<()> {
    let file = fs::read_to_string("/etc/passwd")?;
    let (user, group) = user_in(&file, name)
        .ok_or_else(|| io::Error::other(format!("--user {name}: there is no such user in /etc/passwd")))?;
    let become_it = || {
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)
    };
    become_it().map_err(|error| named(&format!("become {name}"), &error.into()))
}

/// `NAME:PASSWORD:ID:GROUP:..`, see passwd(5).
fn user_in(file: &str, name: &str) -> Option<(Uid, Gid)> {
    let mut users = file.lines().map(|line| line.split(':'));
    let mut fields = users.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let user = fields.nth(1)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some((Uid::from_raw(user), Gid::from_raw(group)))
}

fn empty_bounding_set() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Not this kernel's, or it is not ours to give up: new privileges are given up, too.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn give_up_capabilities() -> io::Result<()> {
    match clear_ambient_capability_set() {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}
