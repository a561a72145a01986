//! The TCP socket that clients connect to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use albatross_driver::logging::Logger;
use mio::net::TcpListener;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind as bind_socket, listen, setsockopt,
    socket, sockopt,
};

/// Connections that wait to be accepted: more than a burst of a thousand. The system may allow fewer
/// (net.core.somaxconn).
const BACKLOG: i32 = 4096;

/// How long a connection is silent before the system asks whether the client is still there, so that
/// followers of a console that were switched off do not stay for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Listens on this address. Without one, on all of IPv6 and IPv4, or on all of IPv4 where there is no IPv6.
pub(crate) fn bind(ip: Option<IpAddr>, port: u16, log: &Logger) -> io::Result<TcpListener> {
    let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let address = SocketAddr::new(ip.unwrap_or(all), port);
    match open(address) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if ip.is_none() => {
            log.info("there is no IPv6 on this host");
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            open(address).map_err(|error| at(address, error))
        }
        other => other.map_err(|error| at(address, error)),
    }
}

/// The socket that systemd passes.
pub(crate) fn inherited() -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(albatross_driver::listener::inherited()?);
    // Fails where it is a socket of another kind.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener))
}

/// What every connection gets: no delay of small frames, and a question now and then. Those that are accepted have
/// it from their listener.
pub(crate) fn prepare(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    let seconds = u32::try_from(KEEPALIVE.as_secs()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::TcpKeepIdle, &seconds)?;
    Ok(())
}

fn open(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&descriptor, sockopt::Ipv6V6Only, &false)?;
    }
    bind_socket(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&descriptor.as_fd(), Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN))?;
    Ok(TcpListener::from_std(std::net::TcpListener::from(descriptor)))
}

fn at(address: SocketAddr, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_driver::logging::{Color, Level};
    use nix::sys::socket::getsockopt;

    #[test]
    fn connections_have_the_options_of_their_listener() {
        let log = Logger::new("test", Level::Quiet, Color::Never);
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0, &log).unwrap();
        prepare(&listener).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // It has connected, so it waits to be accepted.
        let (accepted, _) = listener.accept().unwrap();
        assert!(getsockopt(&accepted, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(&accepted, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap(), 60);
    }
}
