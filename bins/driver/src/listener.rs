//! The socket that a daemon listens on: `<tmpdir>/util/NAME.sock`, or the one that systemd passes.
//!
//! Who may write to the socket may command the daemon: it is made with mode 0660 and belongs to the group
//! `albatross` where there is one. Its directory is made by whoever installs albatross, not here.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, fchownat};

use crate::logging::Logger;
use crate::options::Common;
use crate::sys;

/// The group whose members may command the daemons.
pub const GROUP: &str = "albatross";

/// A socket that is listened on. One that was made here is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: mio::net::UnixListener,
    made: Option<PathBuf>,
}

impl Listener {
    /// The socket itself.
    pub const fn socket_mut(&mut self) -> &mut mio::net::UnixListener {
        &mut self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            _ = fs::remove_file(path);
        }
    }
}

/// The socket of the daemon `name` (`vmmd`, `console`, `stat`, `log`), as the options say.
///
/// # Errors
/// See [`bind`] and [`inherited`].
pub fn open(options: &Common, name: &str, log: &Logger) -> io::Result<Listener> {
    if options.systemd_socket_activation {
        let socket = UnixListener::from(inherited()?);
        socket.set_nonblocking(true)?;
        return Ok(Listener { socket: mio::net::UnixListener::from_std(socket), made: None });
    }
    bind(&socket_path(&options.tmpdir, name), log)
}

/// `<tmpdir>/util/NAME.sock`.
#[must_use]
pub fn socket_path(tmpdir: &Path, name: &str) -> PathBuf {
    tmpdir.join("util").join(format!("{name}.sock"))
}

/// Makes the socket `path` and listens on it. One that is left from an earlier run is removed.
///
/// # Errors
/// Fails where another daemon answers on the socket, where something stands there that is not a socket,
/// and with the errors of the system calls, which name the path.
pub fn bind(path: &Path, log: &Logger) -> io::Result<Listener> {
    remove_stale(path)?;
    // Set around the call, so that the socket never exists with more permissions.
    let before = umask(Mode::from_bits_truncate(0o117));
    let socket = UnixListener::bind(path);
    umask(before);
    let socket = socket.map_err(|error| at(path, "cannot listen on", &error))?;
    let listener = Listener { socket: mio_listener(socket)?, made: Some(path.to_owned()) };
    if let Some(group) = group_id()
        && let Err(error) = fchownat(AT_FDCWD, path, None, Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
    {
        log.info(format_args!("socket {} cannot be given to group {GROUP}: {error}", path.display()));
    }
    Ok(listener)
}

/// The id of [`GROUP`], if this host has it in its file of groups. That is where packages put it; libraries
/// that know of other places would be loaded into a daemon that runs as root.
fn group_id() -> Option<Gid> {
    group_in(&fs::read_to_string("/etc/group").ok()?)
}

/// `NAME:PASSWORD:ID:MEMBERS`, see group(5).
fn group_in(file: &str) -> Option<Gid> {
    let mut groups = file.lines().map(|line| line.split(':'));
    let id = groups.find_map(|mut fields| (fields.next() == Some(GROUP)).then(|| fields.nth(1)))?;
    id?.parse().ok().map(Gid::from_raw)
}

/// The listening socket that systemd passes: `LISTEN_PID` is this process, `LISTEN_FDS` is 1, and it is
/// descriptor 3.
///
/// # Errors
/// Fails where one of these is not so.
pub fn inherited() -> io::Result<OwnedFd> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    check_activation(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), std::process::id())?;
    let descriptor = sys::take_inherited_descriptor()?;
    if getsockopt(&descriptor, AcceptConn).is_ok_and(|listens| listens) {
        Ok(descriptor)
    } else {
        Err(io::Error::other("descriptor 3 is not a listening socket, see systemd.socket(5)"))
    }
}

fn check_activation(pid: &str, descriptors: &str, own: u32) -> io::Result<()> {
    if pid.parse() != Ok(own) {
        Err(io::Error::other("LISTEN_PID is not this process: it was not started by a systemd socket"))
    } else if descriptors != "1" {
        Err(io::Error::other("LISTEN_FDS is not 1: the socket unit must have exactly one socket"))
    } else {
        Ok(())
    }
}

fn mio_listener(socket: UnixListener) -> io::Result<mio::net::UnixListener> {
    socket.set_nonblocking(true)?;
    Ok(mio::net::UnixListener::from_std(socket))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, "cannot look at", &error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::other(format!("{} exists and is not a socket", path.display())));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| at(path, "cannot remove", &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or whoever listens has too many connections waiting, or is none of ours.
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another daemon listens on {}, stop it first", path.display()),
        )),
    }
}

fn at(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::{Color, Level};
    use std::os::unix::fs::PermissionsExt;

    fn log() -> Logger {
        Logger::new("test", Level::Quiet, Color::Never)
    }

    #[test]
    fn the_group_is_read_from_the_file_of_groups() {
        let file = "root:x:0:\n# comment\nalbatross-x:x:7:\nalbatross:x:998:alice,bob\n";
        assert_eq!(group_in(file), Some(Gid::from_raw(998)));
        for other in ["", "albatross", "albatross:x", "albatross:x:many:", "xalbatross:x:1:"] {
            assert_eq!(group_in(other), None, "{other}");
        }
    }

    #[test]
    fn only_owner_and_group_may_write_and_the_socket_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let listener = bind(&path, &log()).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        drop(UnixListener::bind(&path).unwrap());
        let listener = bind(&path, &log()).unwrap();
        assert_eq!(bind(&path, &log()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(listener);
        fs::write(&path, "").unwrap();
        assert!(bind(&path, &log()).unwrap_err().to_string().contains("not a socket"));
        assert!(path.exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = bind(Path::new("/nowhere/util/x.sock"), &log()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/util/x.sock"), "{error}");
    }

    #[test]
    fn activation_is_for_this_process_and_one_socket() {
        assert!(check_activation("12", "1", 12).is_ok());
        for (pid, descriptors) in [("", ""), ("12", ""), ("12", "2"), ("13", "1"), ("x", "1")] {
            assert!(check_activation(pid, descriptors, 12).is_err(), "{pid} {descriptors}");
        }
    }
}
