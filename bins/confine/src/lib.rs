//! What a daemon gives up that reads what others send, once its sockets and files are open: whoever takes it over through what a
//! peer sent finds what it was made for, and nothing else.
//!
//! In this order: every capability, new privileges and core files; then files and networks (Landlock, where the
//! kernel has it), then every system call that it does not need, which ends the process.
#![forbid(unsafe_code)]

mod filter;

use std::io;
use std::path::Path;

use albatross_driver::logging::Logger;
use filter::Files;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
pub use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// The newest Landlock that is asked for; of an older kernel's as much as it has.
const LANDLOCK: ABI = ABI::V6;

/// What is left to a daemon. Sockets with a path are connected to as their mode allows, whatever this says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confinement<'a> {
    /// Files below this directory may be opened and read.
    pub read: Option<&'a Path>,
    /// Files below this directory may be opened, read, made, written and cut, not removed or renamed.
    pub write: Option<&'a Path>,
    /// Files below this directory may be listed, removed and renamed as well.
    pub replace: Option<&'a Path>,
    /// This port may be connected to by TCP, at any address.
    pub connect: Option<u16>,
}

impl Confinement<'_> {
    /// Gives up everything else, for ever. Before any thread is started.
    ///
    /// # Errors
    /// Where the system does not allow it.
    pub fn begin(&self, log: &Logger) -> io::Result<()> {
        let named = |error| io::Error::other(format!("cannot give up capabilities: {error}"));
        if geteuid().is_root() {
            log.warning(
                "this is root: start it as the user of the daemons' group (the endpoint: or with --user); it keeps no capability",
            );
        }
        empty_bounding_set().map_err(named)?;
        give_up_capabilities().map_err(named)?;
        set_no_new_privs(true)?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        match self.restrict_files().map_err(io::Error::other)? {
            RulesetStatus::FullyEnforced => {}
            RulesetStatus::PartiallyEnforced => {
                log.info("this kernel has an older Landlock: not all of what it could keep away is");
            }
            RulesetStatus::NotEnforced => log.warning(
                "this kernel has no Landlock: files are kept away by the filter of system calls alone",
            ),
        }
        let kinds = [(self.read, Files::Read), (self.write, Files::Written), (self.replace, Files::Replaced)];
        let files = kinds.into_iter().filter(|(directory, _)| directory.is_some()).map(|(_, files)| files);
        let files = files.max().unwrap_or(Files::None);
        filter::install(files, self.connect.is_some())
    }

    fn restrict_files(&self) -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate;
        let replace = write | AccessFs::RemoveFile;
        for (directory, access) in [(self.read, read), (self.write, write), (self.replace, replace)] {
            if let Some(Ok(directory)) = directory.map(PathFd::new) {
                rules = rules.add_rule(PathBeneath::new(directory, access))?;
            }
        }
        if let Some(port) = self.connect {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    }
}

/// Gives up what programs that are run later might regain. [`Confinement::begin`] does so, too; who changes its user before
/// calls this while it is root.
///
/// # Errors
/// Those of prctl(2).
pub fn empty_bounding_set() -> io::Result<()> {
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
