//! Tells systemd that a daemon serves: `Type=notify`, sd_notify(3).
//!
//! systemd names a socket in the environment. It is connected to before the daemon gives up what it does not need, and
//! written to once, when whoever connects is served. Without it nothing happens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::logging::Logger;

/// Names the socket: a path, or `@` and the name of an abstract one.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The connection with systemd.
#[derive(Debug)]
pub struct Notifier {
    /// `None`: nobody wants to know.
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Connects, where systemd wants to know. Where it cannot be done that is logged: systemd waits in vain, and says
    /// so.
    #[must_use]
    pub fn connect(log: &Logger) -> Self {
        let Some(address) = std::env::var_os(VARIABLE) else { return Self { socket: None } };
        match connect(&address) {
            Ok(socket) => Self { socket: Some(socket) },
            Err(error) => {
                log.warning(format_args!("{VARIABLE}={}: {error}", address.display()));
                Self { socket: None }
            }
        }
    }

    /// Says that this daemon serves.
    pub fn ready(self, log: &Logger) {
        if let Some(socket) = self.socket
            && let Err(error) = socket.send(b"READY=1")
        {
            log.warning(format_args!("systemd cannot be told that this daemon is ready: {error}"));
        }
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path @ [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        _ => return Err(io::Error::other("neither a path nor the name of an abstract socket")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::{Color, Level};

    fn told(at: &UnixDatagram, address: &OsStr) {
        let notifier = Notifier { socket: Some(connect(address).unwrap()) };
        notifier.ready(&Logger::new("test", Level::Quiet, Color::Never));
        let mut text = [0; 64];
        let length = at.recv(&mut text).unwrap();
        assert_eq!(&text[..length], b"READY=1");
    }

    #[test]
    fn systemd_is_told_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        told(&UnixDatagram::bind(&path).unwrap(), path.as_os_str());
        let name = format!("albatross-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        told(&UnixDatagram::bind_addr(&address).unwrap(), OsStr::new(&format!("@{name}")));
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for address in ["", "notify", "vsock:2:9", "/nowhere/notify"] {
            assert!(connect(OsStr::new(address)).is_err(), "{address}");
        }
    }
}
