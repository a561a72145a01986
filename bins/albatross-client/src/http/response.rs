//! An answer (RFC 9112): status, where else to look, and the body.

use std::io::{self, Read};

use crate::progress::Progress;

/// The longest head of an answer, in octets, of all interim answers together: far more than servers send.
const MAX_HEAD: usize = 16 * 1024;
/// The longest line that says how long a chunk is, and the longest trailer.
const MAX_LINE: usize = 8 * 1024;
/// Octets that are read at once.
const PIECE: usize = 64 * 1024;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
    /// Read for status 200 only.
    pub(crate) body: Vec<u8>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Error {
    Io(io::Error),
    NotHttp(&'static str),
    TooLong,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Octets(usize),
    Chunks,
    UntilClose,
}

struct Head {
    status: u16,
    location: Option<String>,
    length: Length,
}

/// Octets that come, with those that were read already.
struct Input<'a, R> {
    from: &'a mut R,
    ahead: Vec<u8>,
    /// Octets of `ahead` that were taken. Invariant: at most its length.
    taken: usize,
    scratch: Vec<u8>,
}

/// Reads an answer, whose body may have `limit` octets.
pub(super) fn read(from: &mut impl Read, limit: usize, progress: &mut Progress) -> Result<Response, Error> {
    let mut input = Input { from, ahead: Vec::new(), taken: 0, scratch: vec![0; PIECE] };
    let mut room = MAX_HEAD;
    let head = loop {
        let head = Head::read(&mut input, &mut room)?;
        // 100 and its like come before the answer.
        if head.status >= 200 {
            break head;
        }
    };
    let Head { status, location, length } = head;
    let mut body = Vec::new();
    if status == 200 {
        match length {
            Length::Octets(octets) => {
                progress.expect(u64::try_from(octets).ok());
                if octets > limit {
                    return Err(Error::TooLong);
                }
                input.take(octets, &mut body, progress)?;
            }
            Length::Chunks => {
                progress.expect(None);
                input.take_chunks(limit, &mut body, progress)?;
            }
            Length::UntilClose => {
                progress.expect(None);
                input.take_all(limit, &mut body, progress)?;
            }
        }
        progress.finish();
    }
    Ok(Response { status, location, body })
}

impl Head {
    fn read<R: Read>(input: &mut Input<'_, R>, room: &mut usize) -> Result<Self, Error> {
        let status = status(&input.line(room)?)?;
        let (mut location, mut length, mut coding) = (None, None, None);
        loop {
            let line = input.line(room)?;
            if line.is_empty() {
                break;
            }
            let line = String::from_utf8(line).map_err(|_| Error::NotHttp("a header is not text"))?;
            let (name, value) = line.split_once(':').ok_or(Error::NotHttp("a header without a colon"))?;
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "location" => location = Some(value.to_owned()),
                "content-length" => {
                    let octets = octets(value, 10)?;
                    if length.is_some_and(|length| length != octets) {
                        return Err(Error::NotHttp("two lengths"));
                    }
                    length = Some(octets);
                }
                "transfer-encoding" if coding.is_none() && value.eq_ignore_ascii_case("chunked") => {
                    coding = Some(());
                }
                "transfer-encoding" => return Err(Error::NotHttp("a coding that was not asked for")),
                _ => {}
            }
        }
        let length = match (coding, length) {
            (Some(()), _) => Length::Chunks,
            (None, Some(octets)) => Length::Octets(octets),
            (None, None) => Length::UntilClose,
        };
        Ok(Self { status, location, length })
    }
}

/// `HTTP/1.1 200 OK`
fn status(line: &[u8]) -> Result<u16, Error> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let mut words = text.split(' ');
    let is_version = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let code = words.next().filter(|code| code.len() == 3).and_then(|code| code.parse().ok());
    code.filter(|code| is_version && (100..600).contains(code)).ok_or(Error::NotHttp("no status line"))
}

/// A number of octets; nothing but digits.
fn octets(text: &str, radix: u32) -> Result<usize, Error> {
    let is_number = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    let number = usize::from_str_radix(text, radix).ok().filter(|_| is_number);
    number.ok_or(Error::NotHttp("a length that is none"))
}

impl<R: Read> Input<'_, R> {
    /// Octets that were read and not taken.
    fn rest(&self) -> &[u8] {
        self.ahead.get(self.taken..).unwrap_or_default()
    }

    /// Reads on. `false` at the end.
    fn more(&mut self) -> Result<bool, Error> {
        self.ahead.drain(..self.taken);
        self.taken = 0;
        let count = loop {
            match self.from.read(&mut self.scratch) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(Error::Io)?,
            }
        };
        self.ahead.extend_from_slice(self.scratch.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// A line without its end. `room` is how many octets lines may still have.
    fn line(&mut self, room: &mut usize) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        loop {
            let new = self.rest().iter().skip(searched).position(|octet| *octet == b'\n');
            if let Some(at) = new.map(|at| at + searched) {
                *room = room.checked_sub(at + 1).ok_or(Error::NotHttp("a head that is too long"))?;
                let line = self.rest().get(..at).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.taken += at + 1;
                return Ok(line);
            }
            searched = self.rest().len();
            if searched > *room {
                return Err(Error::NotHttp("a head that is too long"));
            }
            if !self.more()? {
                return Err(Error::NotHttp("it ends within the answer"));
            }
        }
    }

    /// Takes so many octets.
    fn take(&mut self, octets: usize, body: &mut Vec<u8>, progress: &mut Progress) -> Result<(), Error> {
        let mut left = octets;
        while left > 0 {
            if self.rest().is_empty() && !self.more()? {
                return Err(Error::NotHttp("it ends within the answer"));
            }
            let count = self.rest().len().min(left);
            body.extend_from_slice(self.rest().get(..count).unwrap_or_default());
            progress.receive(count);
            self.taken += count;
            left -= count;
        }
        Ok(())
    }

    fn take_chunks(
        &mut self,
        limit: usize,
        body: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        loop {
            let line = self.line(&mut MAX_LINE.clone())?;
            let text = String::from_utf8(line).map_err(|_| Error::NotHttp("a length that is none"))?;
            // What comes after a semicolon is of no interest.
            let size = text.split(';').next().unwrap_or_default().trim_matches([' ', '\t']);
            let size = octets(size, 16)?;
            if size == 0 {
                break;
            }
            if size > limit - body.len().min(limit) {
                return Err(Error::TooLong);
            }
            self.take(size, body, progress)?;
            if !self.line(&mut MAX_LINE.clone())?.is_empty() {
                return Err(Error::NotHttp("a chunk longer than its length"));
            }
        }
        let mut room = MAX_LINE;
        while !self.line(&mut room)?.is_empty() {}
        Ok(())
    }

    /// Takes all to the end of the stream. With TLS, an end that was not announced is an error of reading.
    fn take_all(&mut self, limit: usize, body: &mut Vec<u8>, progress: &mut Progress) -> Result<(), Error> {
        loop {
            let count = self.rest().len();
            if count > limit - body.len().min(limit) {
                return Err(Error::TooLong);
            }
            body.extend_from_slice(self.rest());
            progress.receive(count);
            self.taken += count;
            if !self.more()? {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_driver::logging::Level;

    /// What is made of `text`, however it arrives.
    fn answer(text: &[u8], limit: usize) -> Result<Response, String> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let end = buffer.len().min(self.1);
                Read::read(&mut self.0, &mut buffer[..end])
            }
        }
        let mut seen: Vec<Result<Response, String>> = Vec::new();
        for piece in [1, 2, 3, 7, text.len().max(1)] {
            let read = read(&mut Pieces(text, piece), limit, &mut Progress::new(Level::Quiet));
            seen.push(read.map_err(|error| format!("{error:?}")));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
        seen.remove(0)
    }

    #[test]
    fn bodies_of_every_kind() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
            "HTTP/1.0 200 OK\nContent-length:5\n\nhello",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\nhello",
            "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: t\r\n\r\n",
        ] {
            assert_eq!(answer(text.as_bytes(), 5).unwrap().body, b"hello", "{text}");
            assert_eq!(answer(text.as_bytes(), 4).unwrap_err(), "TooLong", "{text}");
        }
        let redirect =
            answer(b"HTTP/1.1 302 Found\r\nLOCATION:  /job/a/build/1 \r\n\r\nnot read", 0).unwrap();
        let expected =
            Response { status: 302, location: Some("/job/a/build/1".to_owned()), body: Vec::new() };
        assert_eq!(redirect, expected);
    }

    #[test]
    fn what_is_no_answer() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        for text in [
            "",
            "hello",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 999 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            &long,
        ] {
            let error = answer(text.as_bytes(), 100).unwrap_err();
            assert!(error.starts_with("NotHttp"), "{text}: {error}");
        }
    }

    #[test]
    fn whatever_comes_is_an_answer_or_an_error_and_within_the_limit() {
        const LIMIT: usize = 8;
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".as_slice();
        let chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".as_slice();
        let mut answers = 0;
        for text in [whole, chunks] {
            for at in 0..text.len() {
                // Cut there, and with each of these in that place.
                assert!(read(&mut &text[..at], LIMIT, &mut Progress::new(Level::Quiet)).is_err());
                for octet in *b"0f9\r\n: ;\0\xff" {
                    let mut changed = text.to_vec();
                    changed[at] = octet;
                    let read = read(&mut changed.as_slice(), LIMIT, &mut Progress::new(Level::Quiet));
                    answers += usize::from(read.is_ok_and(|response| response.body.len() <= LIMIT));
                }
            }
        }
        assert!(answers > 100, "{answers}");
    }
}
