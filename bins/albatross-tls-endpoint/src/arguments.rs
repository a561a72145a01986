//! The command lines of both programs.

use std::net::IpAddr;
use std::path::PathBuf;

use albatross_driver::argh;
use albatross_driver::logging::Level;
use albatross_driver::options::{Common, Program};

use crate::Paths;

const ENDPOINT: Program = Program::new("albatross-tls-endpoint", env!("CARGO_PKG_VERSION"));
const INETD: Program = Program::new("albatross-tls-inetd", env!("CARGO_PKG_VERSION"));

/// The port that clients expect.
const DEFAULT_PORT: u16 = 1025;

/// The exit code where log lines would go to the client: as the peer's program has it.
const EXIT_NOWHERE_TO_LOG: i32 = 3;

/// What a program is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) program: &'static str,
    pub(crate) files: Paths,
    pub(crate) door: Door,
    pub(crate) crl_dir: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) common: Common,
}

/// Where clients come in.
#[derive(Debug)]
pub(crate) enum Door {
    /// One, which inetd accepted.
    StandardInput,
    /// The socket that systemd passes.
    Systemd,
    Address {
        /// All of them without one.
        ip: Option<IpAddr>,
        port: u16,
    },
}

albatross_driver::daemon_options! {
    /// Lets clients with certificates command albatross over TLS. What a client may do, and what it asks
    /// for, stands in its certificates.
    struct EndpointOptions {
        /// file with the CA that clients' certificates lead to, exactly one certificate (PEM)
        #[argh(positional, arg_name = "CA")]
        ca: PathBuf,
        /// file with the server's certificate, perhaps followed by those of its issuers (PEM)
        #[argh(positional, arg_name = "CERT")]
        certificate: PathBuf,
        /// file with the private key of the server's certificate (PEM)
        #[argh(positional, arg_name = "KEY")]
        key: PathBuf,
        /// address to listen on (::, which includes IPv4)
        #[argh(option, arg_name = "ADDR")]
        ip: Option<IpAddr>,
        /// port to listen on (1025)
        #[argh(option, arg_name = "N")]
        port: Option<u16>,
        /// serve one connection, which inetd passes as standard input
        #[argh(switch)]
        inetd: bool,
        /// folder of revocation lists (*.crl, *.pem), which is watched and to which clients' lists are written
        #[argh(option, arg_name = "DIR")]
        crl_dir: Option<PathBuf>,
        /// user to become when started as root, once the files are read
        #[argh(option, arg_name = "NAME")]
        user: Option<String>,
    }
}

albatross_driver::daemon_options! {
    /// Lets one client, whose connection is standard input, command albatross over TLS; for inetd. It logs to
    /// syslog.
    struct InetdOptions {
        /// file with the CA that clients' certificates lead to, exactly one certificate (PEM)
        #[argh(positional, arg_name = "CA")]
        ca: PathBuf,
        /// file with the server's certificate, perhaps followed by those of its issuers (PEM)
        #[argh(positional, arg_name = "CERT")]
        certificate: PathBuf,
        /// file with the private key of the server's certificate (PEM)
        #[argh(positional, arg_name = "KEY")]
        key: PathBuf,
        /// folder of revocation lists (*.crl, *.pem), to which clients' lists are written
        #[argh(option, arg_name = "DIR")]
        crl_dir: Option<PathBuf>,
        /// user to become when started as root, once the files are read
        #[argh(option, arg_name = "NAME")]
        user: Option<String>,
    }
}

/// What the command line of `albatross-tls-endpoint` says.
pub(crate) fn endpoint() -> Plan {
    let options: EndpointOptions = ENDPOINT.parse();
    let common = options.common();
    let door = door(&options, &common);
    let EndpointOptions { ca, certificate, key, crl_dir, user, .. } = options;
    let files = Paths { ca, certificate, key };
    Plan { program: "albatross-tls-endpoint", files, door, crl_dir, user, common }
}

fn door(options: &EndpointOptions, common: &Common) -> Door {
    let addressed = options.ip.is_some() || options.port.is_some();
    if options.inetd && (addressed || common.systemd_socket_activation) {
        let text = "--inetd cannot be used with --ip, --port or --systemd-socket-activation";
        ENDPOINT.mistake(text).exit();
    }
    if common.systemd_socket_activation && addressed {
        ENDPOINT.mistake("--ip and --port cannot be used with --systemd-socket-activation").exit();
    }
    if options.inetd {
        if !common.syslog && common.level != Level::Quiet {
            // Standard output is the client's.
            std::process::exit(EXIT_NOWHERE_TO_LOG);
        }
        Door::StandardInput
    } else if common.systemd_socket_activation {
        Door::Systemd
    } else {
        Door::Address { ip: options.ip, port: options.port.unwrap_or(DEFAULT_PORT) }
    }
}

/// What the command line of `albatross-tls-inetd` says.
pub(crate) fn inetd() -> Plan {
    let options: InetdOptions = INETD.parse();
    let common = options.common();
    if common.systemd_socket_activation {
        INETD.mistake("--systemd-socket-activation: the connection is standard input").exit();
    }
    let InetdOptions { ca, certificate, key, crl_dir, user, .. } = options;
    let files = Paths { ca, certificate, key };
    let common = Common { syslog: true, ..common };
    Plan { program: "albatross-tls-inetd", files, door: Door::StandardInput, crl_dir, user, common }
}
