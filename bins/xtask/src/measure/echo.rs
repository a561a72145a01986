//! The least that a daemon can do: it accepts, reads a frame, sends it back, and waits for the client to close.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use albatross_e2e::Failure;
use albatross_proto::frame::HEADER_LENGTH;
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// More than the frames that are sent to it.
const MOST: usize = 4096;

/// Serves on this socket until it is killed.
pub(crate) fn serve(socket: &Path) -> Result<(), Failure> {
    serve_on(socket).map_err(|error| Failure::io("serve on", socket, error))
}

fn serve_on(socket: &Path) -> io::Result<()> {
    let listener = StdListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let mut listener = UnixListener::from_std(listener);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, (UnixStream, Vec<u8>)> = HashMap::new();
    let mut next = 1;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() != LISTENER {
                if clients.get_mut(&event.token()).is_some_and(|client| !goes_on(client)) {
                    clients.remove(&event.token());
                }
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                let token = Token(next);
                next += 1;
                poll.registry().register(&mut stream, token, Interest::READABLE)?;
                clients.insert(token, (stream, Vec::new()));
            }
        }
    }
}

/// Reads what is there, and echoes when it is a frame; false at its end.
fn goes_on((stream, frame): &mut (UnixStream, Vec<u8>)) -> bool {
    let mut piece = [0; MOST];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(count) => frame.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    return false;
                }
                break;
            }
        }
    }
    let length = frame.first_chunk().map(|header: &[u8; HEADER_LENGTH]| u32::from_be_bytes(*header));
    let whole = length.and_then(|length| Some(usize::try_from(length).ok()? + HEADER_LENGTH));
    if whole.is_some_and(|whole| frame.len() >= whole) {
        // A frame of a few octets fits into a socket.
        return stream.write_all(frame).is_ok();
    }
    true
}
