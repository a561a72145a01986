//! Why the program ends without having done what it was asked for, and with which exit code.

use std::fmt;

use crate::by_digest::OtherImage;
use crate::command::CommandError;
use crate::conversation::ConversationError;
use crate::decode::DecodeFailure;
use crate::exit::Exit;
use crate::files::FileError;
use crate::http::HttpError;
use crate::image::ImageError;
use crate::pki::PkiError;
use crate::remote::HostError;
use crate::revoke::RevokeFailure;
use crate::state_file::StateError;
use crate::update::UpdateError;
use crate::verify::VerifyError;

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Before anything was sent.
    Command(CommandError),
    /// With a file.
    File(FileError),
    /// With certificates and keys.
    Pki(PkiError),
    /// With a file that is to be shown.
    Decode(DecodeFailure),
    /// With a chain that is to be verified.
    Verify(Box<VerifyError>),
    /// Nothing was revoked.
    Revoke(Box<RevokeFailure>),
    /// With a file of the daemon's.
    State(Box<StateError>),
    /// The image is not the one that was signed.
    OtherImage(OtherImage),
    /// Of a web server.
    Http(HttpError),
    /// Nothing was updated.
    Update(UpdateError),
    /// The destination is none.
    Host(HostError),
    /// TLS could not be set up.
    Tls(rustls::Error),
    /// While talking to the server.
    Conversation(ConversationError),
    /// What came cannot be kept.
    Keep(FileError),
    /// Another command than `top`, of the program that has no other.
    OnlyTop,
    /// `top` without a terminal.
    NoTerminal,
    /// The terminal cannot be used.
    Terminal(std::io::Error),
    /// Standard output is closed.
    Output(std::io::Error),
    /// The command is none that is sent.
    NoCommand,
}

impl Error {
    /// The exit code that says so.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Command(_)
            | Self::File(_)
            | Self::Host(_)
            | Self::Decode(_)
            | Self::Revoke(_)
            | Self::State(_)
            | Self::OtherImage(_)
            | Self::OnlyTop
            | Self::NoTerminal => Exit::Usage,
            Self::Http(error) => error.exit(),
            Self::Update(error) => error.exit(),
            Self::Verify(error) => error.exit(),
            Self::Pki(error) => error.exit(),
            Self::Conversation(error) => error.exit(),
            Self::Keep(_) | Self::Output(_) | Self::Terminal(_) => Exit::Communication,
            Self::NoCommand | Self::Tls(_) => Exit::Internal,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::File(error) | Self::Keep(error) => error.fmt(f),
            Self::Pki(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Verify(error) => error.fmt(f),
            Self::Revoke(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::OtherImage(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::Update(error) => error.fmt(f),
            Self::Host(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
            Self::Conversation(error) => error.fmt(f),
            Self::OnlyTop => {
                f.write_str("this program does top only, albatross-client does the other commands")
            }
            Self::NoTerminal => f.write_str(
                "top needs a terminal as standard input and output: info, stats and console do without",
            ),
            Self::Terminal(error) => write!(f, "cannot use the terminal: {error}"),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
            Self::NoCommand => f.write_str("this command sends nothing (a mistake in the program)"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Command(error) => Some(error),
            Self::File(error) | Self::Keep(error) => Some(error),
            Self::Pki(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Verify(error) => Some(error),
            Self::Revoke(error) => Some(error),
            Self::State(error) => Some(error),
            Self::OtherImage(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Update(error) => Some(error),
            Self::Host(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Conversation(error) => Some(error),
            Self::Output(error) | Self::Terminal(error) => Some(error),
            Self::NoCommand | Self::OnlyTop | Self::NoTerminal => None,
        }
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Command(CommandError::Image(error))
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<ConversationError> for Error {
    fn from(error: ConversationError) -> Self {
        Self::Conversation(error)
    }
}

impl From<PkiError> for Error {
    fn from(error: PkiError) -> Self {
        Self::Pki(error)
    }
}

impl From<DecodeFailure> for Error {
    fn from(error: DecodeFailure) -> Self {
        Self::Decode(error)
    }
}

impl From<VerifyError> for Error {
    fn from(error: VerifyError) -> Self {
        Self::Verify(Box::new(error))
    }
}
