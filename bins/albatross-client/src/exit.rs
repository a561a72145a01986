//! Exit codes, as README.md lists them.

use albatross_core::endpoint::CHAIN_REFUSED;
use albatross_proto::Text;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was done; also where a server ends a subscription.
    Success,
    /// The own chain does not verify against `--server-ca`, or a chain that was to be verified does not.
    ChainInvalid,
    /// The server says that the command failed.
    CommandFailed,
    /// A web server did not have what was asked of it.
    Http,
    /// The server refused our certificate.
    CertificateRefused,
    /// The server's certificate is not one to trust.
    ServerNotTrusted,
    /// Reading or writing failed, there was no reply, or one that does not fit.
    Communication,
    /// No connection was made.
    Connect,
    /// A mistake on the command line, or in what it names.
    Usage,
    /// A mistake in the program.
    Internal,
    /// By SIGINT, before it was done; as shells have it.
    Interrupted,
    /// By SIGTERM, likewise.
    Terminated,
}

impl Exit {
    /// How the program ends where the server answered with this failure.
    pub(crate) fn of_failure(text: &Text) -> Self {
        if text.as_bytes().starts_with(CHAIN_REFUSED.as_bytes()) {
            Self::CertificateRefused
        } else {
            Self::CommandFailed
        }
    }

    /// Every way to end, by its code.
    pub(crate) const ALL: [Self; 12] = [
        Self::Success,
        Self::ChainInvalid,
        Self::CommandFailed,
        Self::Http,
        Self::CertificateRefused,
        Self::ServerNotTrusted,
        Self::Communication,
        Self::Connect,
        Self::Usage,
        Self::Internal,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// What it means, for the manual.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "It was done; also where a subscription ended, by the server or by the user.",
            Self::ChainInvalid => {
                "A chain of certificates does not verify: the own one against --server-ca, before anything \
                 is sent, or the one that verify was given."
            }
            Self::CommandFailed => "The server says that the command failed, and why.",
            Self::Http => "The build server did not have what update asked of it.",
            Self::CertificateRefused => "The server refused the certificate.",
            Self::ServerNotTrusted => "The certificate of the server is not one to trust.",
            Self::Communication => {
                "Reading or writing failed, the server closed without a reply, or the reply was another than \
                 expected. Also where something was shown in place of being sent."
            }
            Self::Connect => "No connection was made.",
            Self::Usage => "A mistake on the command line or in a file that it names; nothing was sent.",
            Self::Internal => "A mistake in the program.",
            Self::Interrupted => "Interrupted (SIGINT) before it was done.",
            Self::Terminated => "Ended (SIGTERM) before it was done.",
        }
    }

    /// The code for the system.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::ChainInvalid => 116,
            Self::CommandFailed => 117,
            Self::Http => 118,
            Self::CertificateRefused => 119,
            Self::ServerNotTrusted => 120,
            Self::Communication => 121,
            Self::Connect => 122,
            Self::Usage => 124,
            Self::Internal => 125,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}
