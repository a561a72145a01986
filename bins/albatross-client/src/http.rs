//! As much of HTTP/1.1 (RFC 9112) as it takes to ask a build server: GET, one connection for each, redirects
//! read and not followed.
//!
//! Written here because the libraries there are bring TLS 1.2 along, which by cargo's unification of features
//! would come into the endpoint as well, and more code than all of the client.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use albatross_driver::logging::Level;

use crate::exit::Exit;
use crate::progress::Progress;

mod response;
mod tls;

/// Reads what a web server answers, with a body of at most `limit` octets: the status, where a redirect leads, and the
/// body, which is read for status 200 only.
///
/// # Errors
/// In words: what comes is no answer, ends within it, or has a longer body.
pub fn read_answer(from: &mut impl Read, limit: usize) -> Result<(u16, Option<String>, Vec<u8>), String> {
    match response::read(from, limit, &mut Progress::new(Level::Quiet)) {
        Ok(Response { status, location, body }) => Ok((status, location, body)),
        Err(response::Error::Io(error)) => Err(error.to_string()),
        Err(response::Error::NotHttp(what)) => Err(what.to_owned()),
        Err(response::Error::TooLong) => Err(format!("more than {limit} octets")),
    }
}

pub(crate) use response::Response;

/// How long one address of the server is tried, and how long it may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A web server: `https://HOST[:PORT]` or `http://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    is_tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// As it was given, for the header and for errors.
    authority: String,
}

/// What went wrong with a web server.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum HttpError {
    /// No server's URL.
    Url(String),
    /// No connection.
    Connect { server: String, source: io::Error },
    /// No certificates of authorities.
    NoRoots { path: PathBuf, why: String },
    /// The connection, or TLS.
    Io { server: String, source: io::Error },
    /// What came is not HTTP, or not as much as was announced.
    NotHttp { server: String, what: &'static str },
    /// Another status than the one that was needed.
    Status { url: String, status: u16 },
    /// More than is accepted.
    TooLong { url: String, limit: usize },
}

impl HttpError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Url(_) => Exit::Usage,
            _ => Exit::Http,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(text) => write!(
                f,
                "'{}' is no server: write https://HOST or http://HOST, perhaps with :PORT, and nothing after it",
                text.escape_default()
            ),
            Self::Connect { server, source } => write!(f, "cannot connect to {server}: {source}"),
            Self::NoRoots { path, why } => write!(
                f,
                "no authorities to trust: {}: {why}; install ca-certificates, or name a file with \
                 SSL_CERT_FILE",
                path.display()
            ),
            Self::Io { server, source } => write!(f, "{server}: {source}"),
            Self::NotHttp { server, what } => write!(f, "{server} does not speak HTTP: {what}"),
            Self::Status { url, status: 404 } => {
                write!(f, "{url}: not found (404); was this unikernel built there?")
            }
            Self::Status { url, status } => write!(f, "{url}: status {status}"),
            Self::TooLong { url, limit } => write!(f, "{url}: more than {limit} octets"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl FromStr for Server {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        parse(text).ok_or_else(|| HttpError::Url(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Server> {
    let (scheme, rest) = text.split_once("://")?;
    let (is_tls, default) = match scheme {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (authority, default),
    };
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').filter(|it| it.parse::<std::net::Ipv6Addr>().is_ok())?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_plain = host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_:".contains(&octet));
    let server = Server { is_tls, host: host.to_owned(), port, authority: authority.to_owned() };
    (!host.is_empty() && is_plain).then_some(server)
}

/// A stream in both directions.
trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

impl Server {
    /// Asks for `path`, whose answer may have `limit` octets.
    ///
    /// # Errors
    /// [`HttpError`]; any status is an answer.
    pub(crate) fn get(
        &self,
        path: &str,
        limit: usize,
        progress: &mut Progress,
    ) -> Result<Response, HttpError> {
        let failed = |source| HttpError::Io { server: self.to_string(), source };
        let mut stream = self.connect()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: albatross-client/{}\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n",
            self.authority,
            env!("CARGO_PKG_VERSION")
        );
        stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(failed)?;
        response::read(&mut stream, limit, progress).map_err(|error| match error {
            response::Error::Io(source) => failed(source),
            response::Error::NotHttp(what) => HttpError::NotHttp { server: self.to_string(), what },
            response::Error::TooLong => HttpError::TooLong { url: format!("{self}{path}"), limit },
        })
    }

    fn connect(&self) -> Result<Box<dyn Both>, HttpError> {
        let failed = |source| HttpError::Connect { server: self.to_string(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(socket) => {
                    let patience = Some(PATIENCE);
                    socket
                        .set_read_timeout(patience)
                        .and_then(|()| socket.set_write_timeout(patience))
                        .map_err(failed)?;
                    return if self.is_tls { tls::wrap(socket, self) } else { Ok(Box::new(socket)) };
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let server = |text: &str| text.parse::<Server>();
        let plain = server("https://builds.robur.coop").unwrap();
        assert_eq!((plain.is_tls, plain.host.as_str(), plain.port), (true, "builds.robur.coop", 443));
        let other = server("http://[::1]:8080/").unwrap();
        assert_eq!((other.is_tls, other.host.as_str(), other.port), (false, "::1", 8080));
        assert_eq!(other.to_string(), "http://[::1]:8080");
        for wrong in [
            "",
            "builds.robur.coop",
            "ftp://host",
            "https://",
            "https://host/path",
            "https://host:0",
            "https://host:x",
            "https://user@host",
            "http://::1",
            "http://a b",
            "http://a\r\nb",
            "http://host?x",
        ] {
            assert!(matches!(server(wrong), Err(HttpError::Url(_))), "{wrong}");
        }
    }
}
