//! What a web server answers, as the client's `update` reads it.

use std::io::{self, Read};

use albatross_client::http::read_answer;

/// So many octets at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = buffer.len().min(self.1);
        self.0.read(&mut buffer[..end])
    }
}

/// An answer, read in pieces and at once: the same comes out, of no more than the limit, less is refused, and what came
/// out is read again from a plain answer. The first octet is the limit, the second the size of the pieces.
pub fn http(bytes: &[u8]) -> bool {
    let [limit, piece, answer @ ..] = bytes else { return false };
    let (limit, piece) = (usize::from(*limit), usize::from(*piece) + 1);
    let read = read_answer(&mut Pieces(answer, piece), limit);
    assert_eq!(read, read_answer(&mut &*answer, limit));
    let Ok((status, location, body)) = read else { return false };
    assert!((200..600).contains(&status) && body.len() <= limit);
    assert!(status == 200 || body.is_empty());
    if let Some(less) = body.len().checked_sub(1) {
        assert!(read_answer(&mut &*answer, less).is_err(), "beyond the limit");
    }
    let mut plain = format!("HTTP/1.1 {status} \r\nContent-Length: {}\r\n", body.len()).into_bytes();
    if let Some(location) = &location {
        plain.extend_from_slice(format!("Location: {location}\r\n").as_bytes());
    }
    plain.extend_from_slice(b"\r\n");
    plain.extend_from_slice(&body);
    assert_eq!(read_answer(&mut &plain[..], limit), Ok((status, location, body)));
    true
}
