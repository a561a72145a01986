//! What a console has recorded, asked over its socket.

use std::io;
use std::path::Path;

use albatross_proto::command::History;
use albatross_proto::{Command, ConsoleCommand, Data, Int, Payload, Success, Wire};

use crate::Failure;
use crate::raw::Raw;

/// The newest `count` recorded lines of `name`, oldest first; fewer where there are fewer.
///
/// How many there are is not told, so this subscribes and sends a frame: the daemon answers a
/// frame from a subscriber by closing, after the history.
///
/// # Errors
/// Where the console daemon does not answer as it has to.
pub fn lines(socket: &Path, name: &str, count: usize) -> Result<Vec<String>, Failure> {
    let mut raw = Raw::unix(socket)?;
    let read = || -> io::Result<Vec<String>> {
        let count = Int::new(i64::try_from(count).map_err(io::Error::other)?).map_err(io::Error::other)?;
        raw.command(name, Command::Console(ConsoleCommand::Subscribe(History::Count(count))))?;
        let answer = raw.frame()?.ok_or_else(closed)?;
        match Wire::decode(&answer).map_err(io::Error::other)?.payload {
            Payload::Success(Success::Text(_)) => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
        raw.command(name, Command::Console(ConsoleCommand::ListInactive))?;
        let mut lines = Vec::new();
        while let Some(frame) = raw.frame()? {
            if let Payload::Data(Data::Console { line, .. }) =
                Wire::decode(&frame).map_err(io::Error::other)?.payload
            {
                lines.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
        Ok(lines)
    };
    let mut read = read;
    read().map_err(|error| Failure::io("read the console at", socket, error))
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer")
}
