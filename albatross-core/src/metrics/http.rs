//! As much of HTTP as a scrape needs: the head of a GET, and an answer after which the connection ends.

use std::fmt;

/// The longest head of a request, in octets: several times what a Prometheus sends.
pub const MAX_REQUEST: usize = 8 * 1024;

/// Where the figures are.
const PATH: &[u8] = b"/metrics";

/// OpenMetrics as it was registered.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A request as it comes.
#[derive(Clone, Debug, Default)]
pub struct Request {
    head: Vec<u8>,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The figures.
    Figures,
    /// Only what would stand before them.
    Head,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// It is no request of HTTP/1.
    Malformed,
    /// Something else is wanted.
    NotFound,
    /// It is neither GET nor HEAD.
    Method,
    /// Its head is longer than [`MAX_REQUEST`].
    TooLong,
}

impl RequestError {
    const fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::TooLong => "431 Request Header Fields Too Large",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("no request of HTTP/1"),
            Self::NotFound => f.write_str("there is only /metrics"),
            Self::Method => f.write_str("only GET and HEAD are answered"),
            Self::TooLong => write!(f, "a request of more than {MAX_REQUEST} octets"),
        }
    }
}

impl std::error::Error for RequestError {}

impl Request {
    /// Takes more octets of it: what is asked, once its head is whole.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn push(&mut self, octets: &[u8]) -> Result<Option<Asked>, RequestError> {
        let room = MAX_REQUEST - self.head.len().min(MAX_REQUEST);
        // The end may begin in what came before.
        let looked_at = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(octets.get(..room).unwrap_or(octets));
        let new = self.head.get(looked_at..).unwrap_or_default();
        let ends = |end: &[u8]| new.windows(end.len()).any(|window| window == end);
        if ends(b"\r\n\r\n") || ends(b"\n\n") {
            return self.asked().map(Some);
        }
        if octets.len() >= room { Err(RequestError::TooLong) } else { Ok(None) }
    }

    fn asked(&self) -> Result<Asked, RequestError> {
        let line = self.head.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words: Vec<&[u8]> = line.split(|octet| *octet == b' ').collect();
        let [method, target, version] = words[..] else { return Err(RequestError::Malformed) };
        if !version.starts_with(b"HTTP/1.") {
            return Err(RequestError::Malformed);
        }
        let path = target.split(|octet| *octet == b'?').next().unwrap_or_default();
        match method {
            b"GET" | b"HEAD" if path != PATH => Err(RequestError::NotFound),
            b"GET" => Ok(Asked::Figures),
            b"HEAD" => Ok(Asked::Head),
            _ => Err(RequestError::Method),
        }
    }
}

/// The whole answer with this text.
pub(super) fn answer(asked: Asked, text: &str) -> Vec<u8> {
    let length = text.len();
    let mut all = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if asked == Asked::Figures {
        all.push_str(text);
    }
    all.into_bytes()
}

/// The whole answer to who is refused.
pub(super) fn refusal(error: RequestError) -> Vec<u8> {
    let text = format!("{error}\n");
    let allow = if error == RequestError::Method { "Allow: GET, HEAD\r\n" } else { "" };
    let (status, length) = (error.status(), text.len());
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{allow}\
         Connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}
