//! The connection that inetd passes: standard input, and the same as standard output and standard error.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mio::net::TcpStream;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Where standard output or standard error are the connection that is standard input, what is written there goes
/// nowhere: a client gets nothing but TLS, whatever goes wrong. Before anything is written.
pub(crate) fn keep_texts_off_the_connection() {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    if getsockopt(&input, sockopt::SockType).is_err() {
        return;
    }
    let Ok(nothing) = File::options().write(true).open("/dev/null") else { return };
    if same(input.as_fd(), output.as_fd()) {
        _ = dup2_stdout(&nothing);
    }
    if same(input.as_fd(), error.as_fd()) {
        _ = dup2_stderr(&nothing);
    }
}

/// Takes standard input over.
///
/// # Errors
/// Where it is no connection.
pub(crate) fn connection() -> io::Result<TcpStream> {
    let input = io::stdin();
    let kind = getsockopt(&input, sockopt::SockType);
    if kind != Ok(nix::sys::socket::SockType::Stream) || getsockopt(&input, sockopt::AcceptConn) == Ok(true) {
        return Err(io::Error::other("standard input is no connection: inetd passes one (stream, nowait)"));
    }
    let connection: OwnedFd = input.as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    let connection = std::net::TcpStream::from(connection);
    connection.set_nonblocking(true)?;
    Ok(TcpStream::from_std(connection))
}

fn same(one: impl AsFd, other: impl AsFd) -> bool {
    let id = |it: &dyn Fn() -> nix::Result<nix::sys::stat::FileStat>| {
        it().ok().map(|stat| (stat.st_dev, stat.st_ino))
    };
    let (one, other) = (id(&|| fstat(&one)), id(&|| fstat(&other)));
    one.is_some() && one == other
}
