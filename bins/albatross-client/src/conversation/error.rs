//! What goes wrong between us and a server, and what may be done about it.

use std::fmt;
use std::io;
use std::time::Duration;

use albatross_core::block::IntakeError;
use albatross_core::image::InflateError;
use albatross_driver::connection::ConnectionError;
use albatross_driver::signals::Signal;
use albatross_proto::{DecodeError, EncodeError};

use crate::exit::Exit;

/// What went wrong between us and the server.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum ConversationError {
    /// No connection was made.
    Connect { to: String, source: io::Error },
    /// TLS was not agreed on.
    Handshake(io::Error),
    /// The stream failed, or a frame was not one.
    Connection(ConnectionError),
    /// The system refused to wait for the stream.
    Poll(io::Error),
    /// The command is longer than any server accepts.
    TooLong(EncodeError),
    /// The server closed without any reply.
    NoReply {
        /// What became of our writing, if that failed.
        write: Option<io::Error>,
    },
    /// What came is no message.
    Undecodable(DecodeError),
    /// An image that is damaged, or too large.
    Image(InflateError),
    /// The content of a block device is damaged.
    Content(IntakeError),
    /// The content of a block device has no end.
    CutOff,
    /// A message that does not answer the command.
    Unexpected(&'static str),
    /// The user wants no more.
    Interrupted(Signal),
    /// Another part of this program wants no more.
    Stopped,
    /// Nothing came for so long.
    Silent(Duration),
}

impl ConversationError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Connect { .. } => Exit::Connect,
            Self::TooLong(_) => Exit::Usage,
            Self::Poll(_) => Exit::Internal,
            Self::Interrupted(Signal::SIGTERM) => Exit::Terminated,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Handshake(error) | Self::Connection(ConnectionError::Io(error)) => tls_exit(error),
            Self::Connection(_)
            | Self::NoReply { .. }
            | Self::Undecodable(_)
            | Self::Image(_)
            | Self::Content(_)
            | Self::CutOff
            | Self::Stopped
            | Self::Silent(_)
            | Self::Unexpected(_) => Exit::Communication,
        }
    }
}

impl fmt::Display for ConversationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { to, source } => {
                write!(f, "cannot connect to {to}: {source}{}", what_to_do(to, source.kind()))
            }
            Self::Handshake(error) | Self::Connection(ConnectionError::Io(error)) => match tls_exit(error) {
                Exit::CertificateRefused => {
                    write!(f, "the server refused our certificate, its log says why: {}", Shown(error))
                }
                Exit::ServerNotTrusted => {
                    write!(
                        f,
                        "the server's certificate does not lead to the root of --server-ca: {}",
                        Shown(error)
                    )
                }
                _ => write!(f, "the connection failed: {error}"),
            },
            Self::Connection(error) => error.fmt(f),
            Self::Poll(error) => write!(f, "cannot wait for the server: {error}"),
            Self::TooLong(error) => write!(f, "the command is too long to be sent: {error}"),
            Self::NoReply { write: None } => {
                f.write_str("the server closed the connection without a reply, its log says why")
            }
            Self::NoReply { write: Some(error) } => {
                write!(
                    f,
                    "the server closed the connection without a reply while the command was sent: {error}"
                )
            }
            Self::Undecodable(error) => write!(f, "the reply cannot be read: {error}"),
            Self::Image(error) => write!(f, "the image that came cannot be used: {error}"),
            Self::Content(error) => write!(f, "the content that came cannot be used: {error}"),
            Self::CutOff => f.write_str(
                "the server closed the connection before the end of the content, its log says why",
            ),
            Self::Stopped => f.write_str("no more was wanted"),
            Self::Silent(patience) => write!(f, "the server did not answer for {} s", patience.as_secs()),
            Self::Interrupted(_) => f.write_str("interrupted; what was asked may be done nevertheless"),
            Self::Unexpected(what) => write!(f, "the server sent {what}, which is no answer to this command"),
        }
    }
}

impl std::error::Error for ConversationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } => Some(source),
            Self::Connection(error) => Some(error),
            Self::Handshake(error) | Self::Poll(error) => Some(error),
            Self::TooLong(error) => Some(error),
            Self::NoReply { write } => write.as_ref().map(|error| error as _),
            Self::Undecodable(error) => Some(error),
            Self::Image(error) => Some(error),
            Self::Content(error) => Some(error),
            Self::CutOff | Self::Unexpected(_) | Self::Interrupted(_) | Self::Stopped | Self::Silent(_) => {
                None
            }
        }
    }
}

/// What somebody may do who has no connection.
fn what_to_do(to: &str, why: io::ErrorKind) -> &'static str {
    match (to.contains('/'), why) {
        (true, io::ErrorKind::NotFound) => "; is the daemon running, and are its sockets there (--tmpdir)?",
        (true, io::ErrorKind::PermissionDenied) => "; who is root or in the group of the socket may",
        (_, io::ErrorKind::ConnectionRefused) => "; nobody listens there, is it running?",
        _ => "",
    }
}

/// What TLS says in an error of a stream.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// What an error of a stream means, which may come from TLS.
fn tls_exit(error: &io::Error) -> Exit {
    use rustls::AlertDescription as Alert;
    match tls_error(error) {
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::UnsupportedNameType,
        ) => Exit::ServerNotTrusted,
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::CertificateRequired,
        )) => Exit::CertificateRefused,
        _ => Exit::Communication,
    }
}

/// An error of a stream, without the wrapping of rustls around what our verifier says.
struct Shown<'a>(&'a io::Error);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match tls_error(self.0) {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(error))) => error.0.fmt(f),
            _ => self.0.fmt(f),
        }
    }
}
