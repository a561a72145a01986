//! Block devices: the content that follows a command, and the two commands that make one with content.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use albatross_core::block::MB;
use albatross_core::image::Deflating;
use albatross_driver::logging::Logger;
use albatross_proto::{BlockCommand, Command, Int};

use crate::ask;
use crate::command::{CommandError, Request, default_level};
use crate::conversation::{CHUNK, Conversation};
use crate::error::Error;
use crate::exit::Exit;
use crate::files::FileError;
use crate::options::values::CompressionLevel;
use crate::options::{CreateBlock, Destination, Options, SetBlock};
use crate::print::Printer;
use crate::upload::Upload;

/// The content of a block device in a file.
#[derive(Debug)]
pub(crate) struct BlockData {
    path: PathBuf,
    file: File,
    /// Compression for the transfer.
    level: CompressionLevel,
}

impl BlockData {
    /// The content in `path`, which is sent as a zlib stream where there is a level.
    pub(crate) fn open(path: &Path, level: CompressionLevel) -> Result<Self, FileError> {
        let file = File::open(path);
        let io = |source| FileError::Io { doing: "open", path: path.to_owned(), source };
        Ok(Self { path: path.to_owned(), file: file.map_err(io)?, level })
    }

    /// How many octets there are to send, not compressed; not known of a pipe.
    pub(crate) fn length(&self) -> Option<u64> {
        self.file.metadata().ok().filter(std::fs::Metadata::is_file).map(|it| it.len())
    }

    /// Whether it fits on a device of so many MB.
    fn check(&self, size: Int) -> Result<(), Error> {
        let length = self.file.metadata().map_err(|error| self.failed(error))?.len();
        let room = u64::try_from(size.get()).unwrap_or(0).saturating_mul(MB);
        if length > room {
            return Err(CommandError::DataTooLong { path: self.path.clone(), length, size }.into());
        }
        Ok(())
    }

    /// Streams it, until the server answers or goes away. Of a file that cannot be read to its end the stream
    /// has no end, so that the server does not keep it.
    pub(crate) fn send(mut self, conversation: &mut Conversation) -> Result<(), Error> {
        let mut deflating =
            (self.level != CompressionLevel::NONE).then(|| Deflating::new(self.level.get().into()));
        let mut piece = vec![0; CHUNK];
        let mut is_wanted = true;
        while is_wanted {
            let count = match self.file.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    conversation.cut_stream();
                    return Err(self.failed(error));
                }
            };
            if count == 0 {
                break;
            }
            let octets = piece.get(..count).unwrap_or_default();
            let mut send = |octets: &[u8]| {
                is_wanted = conversation.send_chunk(octets)?;
                Ok::<_, Error>(())
            };
            match &mut deflating {
                Some(deflating) => deflating.feed(octets, send)?,
                None => send(octets)?,
            }
            conversation.progress.advance(count);
        }
        if !is_wanted {
            return Ok(());
        }
        if let Some(deflating) = deflating {
            deflating.finish(|octets| conversation.send_chunk(octets).map(drop))?;
        }
        Ok(conversation.end_stream()?)
    }

    fn failed(&self, source: io::Error) -> Error {
        FileError::Io { doing: "read", path: self.path.clone(), source }.into()
    }
}

/// Replaces the content of a device.
///
/// # Errors
/// Those of the file and of asking.
pub(crate) fn set(
    it: &SetBlock,
    options: &Options,
    to: &Destination,
    request: Request,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    let data = match to {
        Destination::Local | Destination::Socket(_) | Destination::Remote(_) => {
            let level = it.compression_level.unwrap_or_else(|| default_level(to));
            Some(Upload::Block(BlockData::open(&it.file, level)?))
        }
        Destination::SocketDump | Destination::RemoteDump | Destination::Request => {
            log.warning("the file is not in the command: it is given to whoever sends that");
            None
        }
    };
    ask(options, to, request, data, printer, log)
}

/// Makes a device and sets its content. Where that fails, the device is removed again.
///
/// # Errors
/// Those of the file and of asking.
pub(crate) fn create(
    it: &CreateBlock,
    options: &Options,
    to: &Destination,
    request: Request,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    let Some(path) = &it.data else { return ask(options, to, request, None, printer, log) };
    let level = it.compression_level.unwrap_or_else(|| default_level(to));
    let data = BlockData::open(path, level)?;
    data.check(it.size)?;
    let with = |command| Request { name: request.name.clone(), command: Command::Block(command) };
    let set = with(BlockCommand::Set { compressed: level != CompressionLevel::NONE });
    let remove = with(BlockCommand::Remove);
    let added = ask(options, to, request, None, printer, log)?;
    if added != Exit::Success {
        return Ok(added);
    }
    let outcome = ask(options, to, set, Some(Upload::Block(data)), printer, log);
    if !matches!(outcome, Ok(Exit::Success)) {
        log.warning("its content was not set: the new block device is removed again");
        let removed = ask(options, to, remove, None, printer, log);
        if !matches!(removed, Ok(Exit::Success)) {
            log.error(format_args!("the block device {} is there, without content", it.name));
        }
    }
    outcome
}
