//! What this process gives up once its files are read: whoever takes it over through what a stranger sent finds the
//! key of the server, the connections, and a way to the daemons' sockets, and nothing else.
//!
//! In this order: another user where one is named, being traced and core files, then all that `albatross_confine` takes
//! away: capabilities, new privileges, files and networks (Landlock, where the kernel has it), system calls.

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;

use albatross_driver::logging::Logger;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

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
        // While it is root.
        albatross_confine::empty_bounding_set().map_err(|error| named("give up capabilities", &error))?;
        match &self.user {
            Some(name) if geteuid().is_root() => become_user(name)?,
            Some(name) => log.info(format_args!("--user {name}: not root, so the user stays as it is")),
            None => {}
        }
        // The key is in memory: for no other process of this user.
        set_dumpable(false)?;
        let left = albatross_confine::Confinement { replace: self.lists, ..Default::default() };
        left.begin(log)
    }
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

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}
