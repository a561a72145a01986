//! The older programs: the same commands under other names, with their destination fixed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_driver::logging::{Color, Level};

use super::{Action, Certificate, Conflict, Options, PROGRAM_NAME, program};

/// Where bistro's commands go without `--destination`.
const BISTRO: &str = "localhost:1025";

/// Which of the programs this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// albatross-client: everything.
    Client,
    /// Commands to the sockets of this host.
    Local,
    /// What a signed certificate commands.
    RemoteTls,
    /// Commands to an endpoint, with certificates made on the spot.
    Bistro,
    /// Requests for certificates.
    Request,
    /// The certificate authority.
    Authority,
}

/// Has done what a signed certificate commands.
#[derive(Debug, FromArgs, ArgsInfo)]
struct RemoteTls {
    /// certificate that the server's must be signed by
    #[argh(positional, arg_name = "SERVER-CA")]
    server_ca: PathBuf,
    /// the certificate with the command, and those above it
    #[argh(positional, arg_name = "CERT")]
    cert: PathBuf,
    /// its private key
    #[argh(positional, arg_name = "KEY")]
    key: PathBuf,
    /// endpoint to ask, its port 1025 where none is given
    #[argh(positional, arg_name = "HOST:PORT")]
    destination: String,
    /// image, or content of a block device, that the command wants sent after it
    #[argh(option, arg_name = "FILE")]
    data: Option<PathBuf>,
    /// name or address that the server's certificate must have (its authority alone is checked)
    #[argh(option, arg_name = "HOST")]
    server_name: Option<String>,
    /// print results as JSON, one object per line
    #[argh(switch)]
    json: bool,
    /// log more: once what happens, twice in detail
    #[argh(switch, short = 'v')]
    verbose: u8,
    /// log nothing
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// what is logged: quiet, error, warning, info, debug (warning)
    #[argh(option, arg_name = "LEVEL")]
    verbosity: Option<Level>,
    /// colour in log lines: auto, always, never (auto)
    #[argh(option, arg_name = "WHEN", default = "Default::default()")]
    color: Color,
}

impl Role {
    /// The older programs.
    pub(crate) const OLDER: [Self; 5] =
        [Self::Local, Self::RemoteTls, Self::Bistro, Self::Request, Self::Authority];

    /// The one that this process was started as.
    pub(crate) fn of_process() -> Self {
        std::env::args_os().next().map_or(Self::Client, |program| Self::of(&program))
    }

    /// The one that was started as `program`; `_` stands for `-`.
    pub(crate) fn of(program: &OsStr) -> Self {
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().replace('_', "-");
        Self::OLDER.into_iter().find(|role| role.name() == name).unwrap_or(Self::Client)
    }

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => PROGRAM_NAME,
            Self::Local => "albatross-client-local",
            Self::RemoteTls => "albatross-client-remote-tls",
            Self::Bistro => "albatross-client-bistro",
            Self::Request => "albatross-provision-request",
            Self::Authority => "albatross-provision-ca",
        }
    }

    /// What it is for.
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::Client => "Every command.",
            Self::Local => "Commands to the daemons of this host.",
            Self::RemoteTls => "SERVER-CA CERT KEY HOST:PORT: as certificate.",
            Self::Bistro => "Commands to an endpoint (localhost:1025), with certificates made on the spot.",
            Self::Request => "Commands as requests, as with --csr.",
            Self::Authority => "generate, sign, revoke.",
        }
    }

    /// The options from this process's command line; a mistake ends the process.
    pub(crate) fn options(self) -> Options {
        let program = program(self.name());
        let mut options = match self {
            Self::RemoteTls => program.parse::<RemoteTls>().into(),
            _ => program.parse::<Options>(),
        };
        if let Err(conflict) = self.fix(&mut options).and_then(|()| options.check()) {
            program.mistake(&conflict.to_string()).exit();
        }
        options
    }

    /// Fixes the destination.
    ///
    /// # Errors
    /// [`Conflict::NotForThisProgram`].
    pub(crate) fn fix(self, options: &mut Options) -> Result<(), Conflict> {
        let refused: &[&str] = match self {
            Self::Client | Self::RemoteTls => return Ok(()),
            Self::Local => &["--destination", "--csr", "--ca", "--ca-key", "--server-ca", "--server-name"],
            Self::Bistro => &["--socket", "--csr", "--tmpdir"],
            Self::Request | Self::Authority => &["--socket", "--destination", "--tmpdir"],
        };
        // A list of revoked certificates may be installed by who made it.
        let installs = matches!(options.action, Action::Revoke(_));
        if let Some(option) = refused.iter().find(|option| {
            options.is_given(option) && !(installs && self == Self::Authority && **option == "--destination")
        }) {
            return Err(Conflict::NotForThisProgram(option));
        }
        let is_authority =
            matches!(options.action, Action::Generate(_) | Action::Sign(_) | Action::Revoke(_));
        let asks_nobody = is_authority
            || matches!(
                options.action,
                Action::Certificate(_)
                    | Action::Verify(_)
                    | Action::Decode(_)
                    | Action::InspectDump(_)
                    | Action::ExtractDump(_)
            );
        let fits = match self {
            Self::Authority => is_authority,
            Self::Local => !is_authority && !matches!(options.action, Action::Certificate(_)),
            _ => !asks_nobody,
        };
        if !fits {
            return Err(Conflict::NotForThisProgram("this command"));
        }
        match self {
            Self::Bistro if options.destination.is_none() => options.destination = Some(BISTRO.to_owned()),
            Self::Request => options.csr = true,
            _ => {}
        }
        Ok(())
    }
}

impl From<RemoteTls> for Options {
    fn from(it: RemoteTls) -> Self {
        let RemoteTls { server_ca, cert, key, destination, data, server_name, .. } = it;
        Self {
            tmpdir: None,
            socket: None,
            destination: Some(destination),
            csr: false,
            ca: None,
            ca_key: None,
            server_ca: Some(server_ca),
            server_name,
            key_type: None,
            json: it.json,
            verbose: it.verbose,
            quiet: it.quiet,
            verbosity: it.verbosity,
            color: it.color,
            action: Action::Certificate(Certificate { cert, key, data }),
        }
    }
}
