//! One framed stream: bounded reading, and a bounded queue for writing.
//!
//! The readiness that mio reports once (edge-triggered) is remembered here until the stream says that it
//! would block, so that a turn may stop early without losing anything. Frames are put together by
//! [`FrameReader`], whose memory grows with what has arrived. Nothing in here waits.

use std::io::{self, Read, Write};

use albatross_proto::frame::{self, FrameError, FrameReader, Piece};

/// Octets that are read from one connection in one turn, so that one busy peer does not keep the others
/// waiting: a few reads of a socket buffer.
pub const READ_PER_TURN: usize = 256 * 1024;

/// Octets that may wait to be written on one connection: the largest message and what follows it. A
/// machine that sends without being asked keeps a tighter limit of its own.
pub const MAX_QUEUED: usize = frame::MAX_ENCODED + 1024 * 1024;

/// While more octets than these wait to be written, no further frames are read: who does not take the
/// answers gets no more of them.
pub const PAUSE_READING: usize = 256 * 1024;

/// A queue that has drained keeps at most this much memory, in octets.
const KEEP_CAPACITY: usize = 16 * 1024;

/// A stream that carries frames, with what has come and what is to go.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    reader: FrameReader,
    queue: Vec<u8>,
    /// Octets of `queue` that are written. Invariant: at most its length.
    written: usize,
    /// `stream` is a socket itself, and epoll tells when more can be read.
    is_socket: bool,
    readable: bool,
    writable: bool,
    /// mio has reported that the peer sends no more: reading gives the end.
    read_closed: bool,
    hung_up: bool,
    ended: bool,
    /// Found when frames were given; for the next to read.
    failed: Option<ConnectionError>,
}

/// Why a connection is of no more use.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer announced a frame that is not accepted here.
    Frame(FrameError),
    /// The peer closed within a frame.
    Truncated,
    /// The stream failed.
    Io(io::Error),
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Truncated => f.write_str("connection closed within a frame"),
            Self::Io(error) => write!(f, "connection failed: {error}"),
        }
    }
}

impl std::error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Frame(error) => Some(error),
            Self::Truncated => None,
            Self::Io(error) => Some(error),
        }
    }
}

/// What is to be sent does not fit into the queue: the peer does not read, or the frame is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl std::fmt::Display for QueueFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("more waits to be sent than is kept, the peer does not read")
    }
}

impl std::error::Error for QueueFull {}

impl<S> Connection<S> {
    /// A connection over `stream`, which does not block, and which accepts frames of at most `limit`
    /// octets.
    pub const fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            reader: FrameReader::new(limit),
            queue: Vec::new(),
            written: 0,
            is_socket: false,
            readable: true,
            writable: true,
            read_closed: false,
            hung_up: false,
            ended: false,
            failed: None,
        }
    }

    /// The same for a stream that is a socket itself, of which epoll reports everything: a read that gives less than
    /// was asked for is not followed by one that gives nothing.
    pub const fn of_socket(stream: S, limit: usize) -> Self {
        let mut connection = Self::new(stream, limit);
        connection.is_socket = true;
        connection
    }

    /// The stream.
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, for registering it.
    pub const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, the octets that were read of a frame that is not complete, and those that wait to be written.
    pub fn into_parts(mut self) -> (S, Vec<u8>, Vec<u8>) {
        self.queue.drain(..self.written);
        (self.stream, self.reader.into_partial(), self.queue)
    }

    /// Frames of more than `whole` octets are given in parts from now on.
    pub const fn split_above(&mut self, whole: usize) {
        self.reader.split_above(whole);
    }

    /// Remembers what mio reports about the stream.
    pub fn ready(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.read_closed |= event.is_read_closed() || event.is_error();
        self.hung_up |= event.is_read_closed() && event.is_write_closed();
    }

    /// Whether reading may give something.
    #[must_use]
    pub const fn can_read(&self) -> bool {
        self.readable && !self.ended || self.failed.is_some()
    }

    /// Whether reading should wait until the peer has taken what was sent ([`PAUSE_READING`]).
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.pending() > PAUSE_READING && !self.hung_up
    }

    /// Whether something waits to be written and the stream may take it.
    #[must_use]
    pub const fn can_write(&self) -> bool {
        self.writable && self.pending() > 0
    }

    /// Octets that wait to be written.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.queue.len() - self.written
    }

    /// Whether a frame has begun and is not complete.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.reader.is_partial()
    }

    /// Of how many octets the frame is that has begun, once that is known.
    #[must_use]
    pub fn announced(&self) -> Option<usize> {
        self.reader.announced()
    }

    /// Whether the peer sends no more. It may still read, unless [`Self::has_hung_up`].
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended && self.failed.is_none()
    }

    /// Whether the peer has closed both directions.
    #[must_use]
    pub const fn has_hung_up(&self) -> bool {
        self.hung_up
    }

    /// Puts `payload` into the queue as one frame.
    ///
    /// # Errors
    /// [`QueueFull`]; nothing of the frame is queued then.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), QueueFull> {
        let header = frame::header(payload.len()).ok_or(QueueFull)?;
        self.make_room(header.len() + payload.len())?;
        self.queue.extend_from_slice(&header);
        self.queue.extend_from_slice(payload);
        Ok(())
    }

    /// Puts whole frames, headers included, into the queue.
    ///
    /// # Errors
    /// [`QueueFull`]; nothing of them is queued then.
    pub fn send_frames(&mut self, frames: &[u8]) -> Result<(), QueueFull> {
        self.make_room(frames.len())?;
        self.queue.extend_from_slice(frames);
        Ok(())
    }

    fn make_room(&mut self, octets: usize) -> Result<(), QueueFull> {
        if self.pending() + octets > MAX_QUEUED {
            return Err(QueueFull);
        }
        // Moving what waits costs less than what was written in the meantime.
        if self.written > 0 && self.written >= self.pending() {
            self.queue.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

impl<S: Read> Connection<S> {
    /// The same as [`read_pieces`](Self::read_pieces) where all frames are given whole.
    ///
    /// # Errors
    /// [`ConnectionError`]: nothing more can be read.
    pub fn read(&mut self, scratch: &mut [u8], frames: &mut Vec<Vec<u8>>) -> Result<usize, ConnectionError> {
        let mut pieces = Vec::new();
        let result = self.read_pieces(scratch, &mut pieces);
        frames.extend(pieces.into_iter().filter_map(|piece| match piece {
            Piece::Whole(frame) => Some(frame),
            Piece::Part { .. } => None,
        }));
        result
    }

    /// Reads at most about [`READ_PER_TURN`] octets by way of `scratch`, appends the complete frames, and parts of long ones, to
    /// `frames`, and returns the number of octets. An error that follows frames is told by the next call: to
    /// somebody who was to take over after one of these frames ([`Self::into_parts`]) it may be none.
    ///
    /// # Errors
    /// [`ConnectionError`]: nothing more can be read. The end of the stream between two frames is no
    /// error ([`Self::has_ended`]).
    pub fn read_pieces(
        &mut self,
        scratch: &mut [u8],
        frames: &mut Vec<Piece>,
    ) -> Result<usize, ConnectionError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let before = frames.len();
        let mut total = 0;
        match self.read_some(scratch, frames, &mut total) {
            Err(error) if frames.len() > before => self.failed = Some(error),
            other => other?,
        }
        Ok(total)
    }

    fn read_some(
        &mut self,
        scratch: &mut [u8],
        frames: &mut Vec<Piece>,
        total: &mut usize,
    ) -> Result<(), ConnectionError> {
        while self.can_read() && *total < READ_PER_TURN {
            match self.stream.read(scratch) {
                Ok(0) => {
                    self.ended = true;
                    if self.reader.is_partial() {
                        return Err(ConnectionError::Truncated);
                    }
                }
                Ok(count) => {
                    *total += count;
                    // Of a socket, less than was asked for is all there was, epoll(7): what comes later, the end
                    // included, is reported anew. An end that was reported already is not.
                    self.readable = count == scratch.len() || self.read_closed || !self.is_socket;
                    let mut input = scratch.get(..count).unwrap_or_default();
                    while !input.is_empty() {
                        frames.extend(self.reader.read_piece(&mut input).map_err(ConnectionError::Frame)?);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnectionError::Io(error)),
            }
        }
        Ok(())
    }
}

impl<S: Write> Connection<S> {
    /// Writes what waits, as far as the stream takes it, and returns the number of octets.
    ///
    /// # Errors
    /// Those of the stream: the peer is gone.
    pub fn flush(&mut self) -> io::Result<usize> {
        let before = self.written;
        while self.can_write() {
            match self.stream.write(self.queue.get(self.written..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let count = self.written - before;
        if self.pending() == 0 {
            self.written = 0;
            self.queue.clear();
            self.queue.shrink_to(KEEP_CAPACITY);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair(limit: usize) -> (Connection<UnixStream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Connection::new(ours, limit), theirs)
    }

    fn read(connection: &mut Connection<UnixStream>) -> (Vec<Vec<u8>>, Result<usize, ConnectionError>) {
        let mut frames = Vec::new();
        let result = connection.read(&mut [0; 4096], &mut frames);
        (frames, result)
    }

    #[test]
    fn frames_are_read_until_it_would_block() {
        let (mut ours, mut theirs) = pair(100);
        theirs.write_all(&frame::frame(b"one")).unwrap();
        theirs.write_all(&[0, 0, 0, 3, b't']).unwrap();
        let (frames, result) = read(&mut ours);
        assert_eq!((frames, result.unwrap()), (vec![b"one".to_vec()], 12));
        assert!(!ours.can_read() && ours.is_partial() && !ours.has_ended());
        theirs.write_all(b"wo").unwrap();
        drop(theirs);
        ours.readable = true;
        let (frames, result) = read(&mut ours);
        assert_eq!((frames, result.unwrap()), (vec![b"two".to_vec()], 2));
        assert!(ours.has_ended() && !ours.can_read());
    }

    #[test]
    fn a_long_or_a_cut_frame_is_an_error() {
        let (mut ours, mut theirs) = pair(100);
        theirs.write_all(&frame::frame(b"good")).unwrap();
        theirs.write_all(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
        let (frames, result) = read(&mut ours);
        assert_eq!((frames, result.unwrap()), (vec![b"good".to_vec()], 12));
        assert!(ours.can_read() && !ours.has_ended());
        assert!(matches!(read(&mut ours).1, Err(ConnectionError::Frame(_))));
        let (mut ours, mut theirs) = pair(100);
        theirs.write_all(&[0, 0]).unwrap();
        drop(theirs);
        assert!(matches!(read(&mut ours).1, Err(ConnectionError::Truncated)));
    }

    #[test]
    fn what_is_an_error_here_may_be_none_for_who_takes_over() {
        for (bad, ended) in [(&[0x7f, 0xff, 0xff, 0xff][..], false), (&[0, 0, 0, 9, b'x'], true)] {
            let (mut ours, mut theirs) = pair(100);
            theirs.write_all(&[&frame::frame(b"command"), bad].concat()).unwrap();
            if ended {
                theirs.shutdown(std::net::Shutdown::Write).unwrap();
            }
            assert_eq!(read(&mut ours).0, [b"command"]);
            ours.send(b"before").unwrap();
            let (_, partial, unsent) = ours.into_parts();
            assert_eq!((partial.as_slice(), unsent), (bad, frame::frame(b"before")));
        }
    }

    #[test]
    fn one_turn_reads_a_bounded_amount() {
        let (mut ours, theirs) = pair(1 << 20);
        let mut theirs = Connection::new(theirs, 0);
        theirs.stream_mut().set_nonblocking(true).unwrap();
        for _ in 0..8 {
            theirs.send(&[7; 100_000]).unwrap();
        }
        let mut seen = 0;
        while theirs.pending() > 0 || seen < 8 {
            theirs.writable = true;
            theirs.flush().unwrap();
            ours.readable = true;
            let (frames, result) = read(&mut ours);
            assert!(result.unwrap() < READ_PER_TURN + 4096);
            seen += frames.len();
        }
        assert_eq!(seen, 8);
        assert!(theirs.queue.capacity() <= KEEP_CAPACITY);
    }

    #[test]
    fn the_queue_is_bounded() {
        let (mut ours, _theirs) = pair(0);
        let large = vec![0; MAX_QUEUED / 2];
        ours.send(&large).unwrap();
        assert!(ours.is_paused());
        assert!(ours.flush().unwrap() > 0);
        assert!(!ours.can_write());
        let pending = ours.pending();
        assert_eq!(ours.send(&vec![0; MAX_QUEUED]), Err(QueueFull));
        assert_eq!(ours.pending(), pending);
    }
}
