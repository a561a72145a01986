//! What answers a command, and what to do with it.

use std::path::PathBuf;

use albatross_core::block::Content;
use albatross_core::image::inflate;
use albatross_driver::clock::wall_clock_second;
use albatross_proto::command::History;
use albatross_proto::frame::{MAX_ENCODED, MAX_MESSAGE};
use albatross_proto::{
    BlockCommand, Command, ConsoleCommand, Data, Header, Name, Payload, PolicyCommand, StatisticsCommand,
    Success, Text, Time, UnikernelCommand, Wire,
};

use crate::conversation::{Conversation, ConversationError};
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
    /// The same with what happened.
    Events,
    /// What is on record.
    Statuses,
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
            Command::Log(_) => Self::Events,
            Command::Unikernel(UnikernelCommand::Status) => Self::Statuses,
            Command::Block(BlockCommand::DumpOld(_)) => Self::Other,
            _ => Self::Done,
        }
    }

    /// Whether `success` is such an answer.
    const fn is(self, success: &Success<'_>) -> bool {
        match self {
            Self::Done | Self::Lines | Self::Statistics | Self::Events => {
                matches!(success, Success::Empty | Success::Text(_))
            }
            Self::Statuses => matches!(success, Success::Status(_)),
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
            Self::Events => matches!(data, Data::Log(_)),
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
    const fn goes_on(self) -> bool {
        self.is_subscription() || matches!(self, Self::Content)
    }

    /// Whether what comes has no end of its own: the user ends it.
    const fn is_subscription(self) -> bool {
        matches!(self, Self::Lines | Self::Statistics | Self::Events)
    }
}

/// A command that was sent, whose reply is to come.
pub(crate) struct Asked {
    pub(crate) conversation: Conversation,
    pub(crate) expected: Expected,
    /// What the first reply must repeat, where that is known: an endpoint answers under the full name.
    pub(crate) header: Option<Header>,
}

/// One reply.
pub(crate) struct Answer {
    /// The name that it is about.
    pub(crate) name: Name,
    /// What was wanted, or why it is not to be had.
    pub(crate) result: Result<Success<'static>, Text>,
}

impl Asked {
    /// The first reply, where it is all that comes.
    ///
    /// # Errors
    /// Those of the conversation.
    pub(crate) fn answer(mut self) -> Result<Answer, Error> {
        let Some(frame) = self.conversation.receive()? else { return Err(self.no_reply()) };
        let wire = self.decode(&frame)?;
        let name = wire.header.name;
        let result = match wire.payload {
            Payload::Failure(text) => Err(text),
            Payload::Success(success) if self.expected.is(&success) => Ok(owned(success)?),
            payload => return Err(unexpected(&payload).into()),
        };
        Ok(Answer { name, result })
    }

    /// The next data of a subscription, and the name that they are about; first its answer is taken. `None` where
    /// the server has closed.
    ///
    /// # Errors
    /// Those of the conversation; that the server refuses.
    pub(crate) fn next_data<T>(
        &mut self,
        answered: &mut bool,
        take: impl FnOnce(Name, Data<'_>) -> T,
    ) -> Result<Option<Result<T, Text>>, Error> {
        while let Some(frame) = self.conversation.receive()? {
            let wire = match *answered {
                true => Wire::decode(&frame).map_err(ConversationError::Undecodable)?,
                false => self.decode(&frame)?,
            };
            match wire.payload {
                Payload::Failure(text) => return Ok(Some(Err(text))),
                Payload::Success(success) if !*answered && self.expected.is(&success) => *answered = true,
                Payload::Data(data) if *answered && self.expected.takes(&data) => {
                    return Ok(Some(Ok(take(wire.header.name, data))));
                }
                payload => return Err(unexpected(&payload).into()),
            }
        }
        if *answered { Ok(None) } else { Err(self.no_reply()) }
    }

    fn decode<'a>(&self, frame: &'a [u8]) -> Result<Wire<'a>, Error> {
        let wire = Wire::decode(frame).map_err(ConversationError::Undecodable)?;
        match &self.header {
            Some(header) if *header != wire.header => {
                Err(ConversationError::Unexpected("a reply to another command").into())
            }
            _ => Ok(wire),
        }
    }

    fn no_reply(&mut self) -> Error {
        ConversationError::NoReply { write: self.conversation.take_write_error() }.into()
    }
}

/// The lists that are asked for by [`Asked::answer`] are of their own anyway.
fn owned(success: Success<'_>) -> Result<Success<'static>, ConversationError> {
    match success {
        Success::Info(list) => Ok(Success::Info(list)),
        Success::InfoV5(list) => Ok(Success::InfoV5(list)),
        Success::InfoV4(list) => Ok(Success::InfoV4(list)),
        Success::Status(list) => Ok(Success::Status(list)),
        Success::Policies(list) => Ok(Success::Policies(list)),
        Success::BlockDevices(list) => Ok(Success::BlockDevices(list)),
        Success::Text(text) => Ok(Success::Text(text)),
        Success::Empty => Ok(Success::Empty),
        _ => Err(ConversationError::Unexpected("the reply to another command")),
    }
}

const fn unexpected(payload: &Payload<'_>) -> ConversationError {
    ConversationError::Unexpected(match payload {
        Payload::Success(_) => "the reply to another command",
        Payload::Data(_) => "data",
        Payload::Command(_) => "a command",
        Payload::Failure(_) => "a second reply",
    })
}

/// Receives and prints what answers a command. What has no end ends well where the user ends it.
///
/// # Errors
/// Those of the conversation, of printing, and of writing files.
pub(crate) fn follow(mut asked: Asked, printer: &Printer) -> Result<Exit, Error> {
    let mut answered = false;
    let followed = receive_all(&mut asked, &mut answered, printer);
    match followed {
        Err(Error::Conversation(ConversationError::Interrupted(_)))
            if answered && asked.expected.is_subscription() =>
        {
            Ok(Exit::Success)
        }
        other => other,
    }
}

fn receive_all(asked: &mut Asked, answered: &mut bool, printer: &Printer) -> Result<Exit, Error> {
    let expected = asked.expected;
    let mut dump: Option<Dump> = None;
    match expected {
        Expected::Image => asked.conversation.progress.expect_frame(),
        Expected::Content => asked.conversation.progress.expect(None),
        _ => {}
    }
    while let Some(frame) = asked.conversation.receive()? {
        // Only the first reply repeats the header.
        let wire = match *answered {
            true => Wire::decode(&frame).map_err(ConversationError::Undecodable)?,
            false => asked.decode(&frame)?,
        };
        match wire.payload {
            Payload::Failure(text) => {
                asked.conversation.progress.finish();
                printer.failure(&wire.header.name, &text)?;
                return Ok(Exit::of_failure(&text));
            }
            Payload::Success(success) if !*answered => {
                if !expected.is(&success) {
                    return Err(ConversationError::Unexpected("the reply to another command").into());
                }
                if let Success::BlockDeviceImage { compressed } = success {
                    dump = Some(Dump::begin(&wire.header.name, compressed)?);
                } else {
                    asked.conversation.progress.finish();
                    accept(&wire.header.name, success, printer)?;
                }
                *answered = true;
                if !expected.goes_on() {
                    return Ok(Exit::Success);
                }
            }
            Payload::Data(Data::Block(Some(octets))) if dump.is_some() => {
                dump.as_mut().map_or(Ok(()), |dump| dump.write(&octets))?;
            }
            Payload::Data(Data::Block(None)) if dump.is_some() => {
                asked.conversation.progress.finish();
                dump.take().map_or(Ok(()), |dump| dump.finish(printer))?;
                return Ok(Exit::Success);
            }
            Payload::Data(data) if *answered && expected.takes(&data) => {
                printer.data(&wire.header.name, &data)?;
            }
            Payload::Success(_) if *answered => {
                return Err(ConversationError::Unexpected("a second reply").into());
            }
            payload => return Err(unexpected(&payload).into()),
        }
    }
    if dump.is_some() {
        return Err(ConversationError::CutOff.into());
    }
    if *answered {
        return Ok(Exit::Success);
    }
    Err(asked.no_reply())
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
        let path = image_file(name, wall_clock_second());
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
fn accept(name: &Name, success: Success<'_>, printer: &Printer) -> Result<(), Error> {
    match success {
        Success::UnikernelImage { compressed, image } => {
            let inflated = match compressed {
                true => Some(inflate(&image, MAX_IMAGE).map_err(ConversationError::Image)?),
                false => None,
            };
            let path = image_file(name, wall_clock_second());
            let content = inflated.as_deref().unwrap_or(&image);
            files::write_new(&path, content, PUBLIC_MODE).map_err(Error::Keep)?;
            printer.written(name, &path)
        }
        success => printer.success(name, &success),
    }
}

/// Where the image of a unikernel or the content of a block device goes: `$TMPDIR/NAME.TIME`. The name comes from the server, but as a
/// [`Name`] it contains `:` and nothing that a file system takes for more than a character.
pub(crate) fn image_file(name: &Name, time: Time) -> PathBuf {
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
