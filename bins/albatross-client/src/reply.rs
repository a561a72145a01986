//! What answers a command, and what to do with it.

use std::path::PathBuf;

use albatross_core::block::Content;
use albatross_core::image::inflate;
use albatross_proto::command::History;
use albatross_proto::frame::{MAX_ENCODED, MAX_MESSAGE};
use albatross_proto::{
    BlockCommand, Command, ConsoleCommand, Data, Header, Name, Payload, PolicyCommand, StatisticsCommand,
    Success, Time, UnikernelCommand, Wire,
};

use crate::clock;
use crate::conversation::{Conversation, ConversationError, Stream};
use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, NewFile, PUBLIC_MODE};
use crate::image::MAX_IMAGE;
use crate::print::Printer;

/// What the reply to a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// That it was done, in words or not.
    Done,
    /// That it was done, then data until one side closes.
    Lines,
    /// The same with statistics.
    Statistics,
    Policies,
    Unikernels,
    Image,
    Consoles,
    BlockDevices,
    /// The content of a block device, in chunks.
    Content,
    /// Something that this program does not ask for by itself; a certificate may.
    Other,
}

impl Expected {
    /// What answers `command`.
    pub(crate) const fn of(command: &Command<'_>) -> Self {
        match command {
            Command::Console(ConsoleCommand::Subscribe(History::Since(_) | History::Count(_))) => Self::Lines,
            Command::Console(ConsoleCommand::ListInactive) => Self::Consoles,
            Command::Statistics(StatisticsCommand::Subscribe) => Self::Statistics,
            Command::Policy(PolicyCommand::Info) => Self::Policies,
            Command::Unikernel(
                UnikernelCommand::Info | UnikernelCommand::InfoV5 | UnikernelCommand::InfoV4,
            ) => Self::Unikernels,
            Command::Unikernel(UnikernelCommand::Get(_)) => Self::Image,
            Command::Block(BlockCommand::Info) => Self::BlockDevices,
            Command::Block(BlockCommand::Dump(_)) => Self::Content,
            Command::Unikernel(UnikernelCommand::Status)
            | Command::Block(BlockCommand::DumpOld(_))
            | Command::Log(_) => Self::Other,
            _ => Self::Done,
        }
    }

    /// Whether `success` is such an answer.
    const fn is(self, success: &Success<'_>) -> bool {
        match self {
            Self::Done | Self::Lines | Self::Statistics => {
                matches!(success, Success::Empty | Success::Text(_))
            }
            Self::Policies => matches!(success, Success::Policies(_)),
            Self::Unikernels => {
                matches!(success, Success::Info(_) | Success::InfoV5(_) | Success::InfoV4(_))
            }
            Self::Image => matches!(success, Success::UnikernelImage { .. }),
            Self::Consoles => matches!(success, Success::Consoles(_)),
            Self::BlockDevices => matches!(success, Success::BlockDevices(_)),
            Self::Content => matches!(success, Success::BlockDeviceImage { .. }),
            Self::Other => false,
        }
    }

    /// Whether data of this kind comes after the first reply.
    const fn takes(self, data: &Data<'_>) -> bool {
        match self {
            Self::Lines => matches!(data, Data::Console { .. }),
            Self::Statistics => matches!(data, Data::Statistics(_)),
            _ => false,
        }
    }

    /// The longest frame that is accepted, in octets.
    pub(crate) const fn limit(self) -> usize {
        match self {
            Self::Image => MAX_ENCODED,
            _ => MAX_MESSAGE,
        }
    }

    /// Whether the conversation goes on after the first reply.
    const fn is_subscription(self) -> bool {
        matches!(self, Self::Lines | Self::Statistics | Self::Content)
    }
}

/// Receives and prints what answers a command. `header` is what the first reply must repeat, where that
/// is known: an endpoint answers under the full name.
///
/// # Errors
/// Those of the conversation, of printing, and of writing files.
pub(crate) fn follow<S: Stream>(
    conversation: &mut Conversation<S>,
    expected: Expected,
    header: Option<&Header>,
    printer: &mut Printer,
) -> Result<Exit, Error> {
    let mut answered = false;
    let mut dump: Option<Dump> = None;
    while let Some(frame) = conversation.receive()? {
        let wire = Wire::decode(&frame).map_err(ConversationError::Undecodable)?;
        if !answered && header.is_some_and(|header| *header != wire.header) {
            return Err(ConversationError::Unexpected("a reply to another command").into());
        }
        match wire.payload {
            Payload::Failure(text) => {
                printer.failure(&wire.header.name, &text)?;
                return Ok(Exit::CommandFailed);
            }
            Payload::Success(success) if !answered => {
                if !expected.is(&success) {
                    return Err(ConversationError::Unexpected("the reply to another command").into());
                }
                if let Success::BlockDeviceImage { compressed } = success {
                    dump = Some(Dump::begin(&wire.header.name, compressed)?);
                } else {
                    accept(&wire.header.name, success, printer)?;
                }
                answered = true;
                if !expected.is_subscription() {
                    return Ok(Exit::Success);
                }
            }
            Payload::Data(Data::Block(Some(octets))) if dump.is_some() => {
                dump.as_mut().map_or(Ok(()), |dump| dump.write(&octets))?;
            }
            Payload::Data(Data::Block(None)) if dump.is_some() => {
                dump.take().map_or(Ok(()), |dump| dump.finish(printer))?;
                return Ok(Exit::Success);
            }
            Payload::Data(data) if answered && expected.takes(&data) => {
                printer.data(&wire.header.name, &data)?;
            }
            Payload::Success(_) => return Err(ConversationError::Unexpected("a second reply").into()),
            Payload::Data(_) => return Err(ConversationError::Unexpected("data").into()),
            Payload::Command(_) => return Err(ConversationError::Unexpected("a command").into()),
        }
    }
    if dump.is_some() {
        return Err(ConversationError::CutOff.into());
    }
    if answered {
        return Ok(Exit::Success);
    }
    Err(ConversationError::NoReply { write: conversation.take_write_error() }.into())
}

/// The content of a block device on its way into a file.
struct Dump {
    name: Name,
    path: PathBuf,
    file: NewFile,
    content: Content,
}

impl Dump {
    fn begin(name: &Name, compressed: bool) -> Result<Self, Error> {
        let path = image_file(name, clock::now());
        let file = NewFile::create(&path, PUBLIC_MODE).map_err(Error::Keep)?;
        // It may be as long as the disk takes.
        Ok(Self { name: name.clone(), path, file, content: Content::new(compressed, u64::MAX) })
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        let file = &mut self.file;
        let fed = self.content.feed(octets, |octets| file.write(octets)).map_err(Error::Keep)?;
        Ok(fed.map_err(ConversationError::Content)?)
    }

    fn finish(self, printer: &Printer) -> Result<(), Error> {
        self.content.finish().map_err(ConversationError::Content)?;
        self.file.finish().map_err(Error::Keep)?;
        printer.written(&self.name, &self.path)
    }
}

/// Prints a success; an image goes into a file.
fn accept(name: &Name, success: Success<'_>, printer: &mut Printer) -> Result<(), Error> {
    match success {
        Success::UnikernelImage { compressed, image } => {
            let inflated = match compressed {
                true => Some(inflate(&image, MAX_IMAGE).map_err(ConversationError::Image)?),
                false => None,
            };
            let path = image_file(name, clock::now());
            let content = inflated.as_deref().unwrap_or(&image);
            files::write_new(&path, content, PUBLIC_MODE).map_err(Error::Keep)?;
            printer.written(name, &path)
        }
        success => printer.success(name, &success),
    }
}

/// Where the image of a unikernel or the content of a block device goes: `$TMPDIR/NAME.TIME`. The name comes from the server, but as a
/// [`Name`] it contains `:` and nothing that a file system takes for more than a character.
fn image_file(name: &Name, time: Time) -> PathBuf {
    std::env::temp_dir().join(format!("{name}.{time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_file_lies_in_the_directory_for_temporary_files() {
        let time = Time::from_unix(1_769_860_800, 0).unwrap();
        let directory = std::env::temp_dir();
        for (name, file) in [
            ("foo:hello", "foo:hello.2026-01-31T12:00:00-00:00"),
            ("..:..", "..:...2026-01-31T12:00:00-00:00"),
            (":.", ":..2026-01-31T12:00:00-00:00"),
        ] {
            let path = image_file(&name.parse().unwrap(), time);
            assert_eq!(path, directory.join(file));
            assert_eq!(path.parent(), Some(directory.as_path()));
        }
    }
}
