//! Exit codes, as README.md lists them.

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
