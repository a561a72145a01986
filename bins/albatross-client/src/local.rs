//! Commands to a daemon of this host, over its socket.

use std::path::{Path, PathBuf};

use albatross_proto::command::Daemon;
use albatross_proto::{Command, Header, Payload, Wire};
use mio::net::UnixStream;

use crate::command::Request;
use crate::conversation::{Conversation, ConversationError, Manner};
use crate::dump;
use crate::error::Error;
use crate::exit::Exit;
use crate::print::Printer;
use crate::reply::{Asked, Expected};
use crate::upload::Upload;

/// The socket of the daemon that answers `command`.
pub(crate) fn socket(tmpdir: &Path, command: &Command<'_>) -> PathBuf {
    let name = match command.daemon() {
        Daemon::Console => "console.sock",
        Daemon::Stats => "stat.sock",
        Daemon::Log => "log.sock",
        // The endpoint has no socket of this kind, and nothing that it answers itself is asked for here.
        Daemon::Vmmd | Daemon::Endpoint => "vmmd.sock",
    };
    tmpdir.join("util").join(name)
}

/// Asks the daemon on `socket`, with the data that follows the command.
///
/// # Errors
/// Those of the conversation.
pub(crate) fn open(
    socket: &Path,
    request: Request,
    upload: Option<Upload>,
    manner: Manner,
) -> Result<Asked, Error> {
    let (wire, expected) = message(request);
    let encoded = wire.encode().map_err(ConversationError::TooLong)?;
    let stream = UnixStream::connect(socket)
        .map_err(|source| ConversationError::Connect { to: socket.display().to_string(), source })?;
    let mut conversation = Conversation::new(Box::new(stream), expected.limit(), manner)?;
    conversation.send(&encoded)?;
    drop(encoded);
    if let Some(upload) = upload {
        upload.send(&mut conversation)?;
    }
    Ok(Asked { conversation, expected, header: Some(wire.header) })
}

/// Prints the message that would be sent.
///
/// # Errors
/// Those of printing.
pub(crate) fn show(request: Request, printer: &Printer) -> Result<Exit, Error> {
    let encoded = message(request).0.encode().map_err(ConversationError::TooLong)?;
    printer.raw(&dump::hex(&encoded))?;
    Ok(Exit::Communication)
}

/// The message, and what answers it. Clients send the sequence number 0.
fn message(request: Request) -> (Wire<'static>, Expected) {
    let expected = Expected::of(&request.command);
    (Wire::new(Header::new(0, request.name), Payload::Command(request.command)), expected)
}
