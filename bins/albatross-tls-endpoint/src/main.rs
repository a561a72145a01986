//! albatross-tls-endpoint: lets clients with certificates command albatross over TLS.
//!
//! The rules of a conversation are in [`albatross_core::endpoint`], TLS and the verification of chains in
//! `albatross-tls`; this program turns readiness into what happened and carries out what is to be done. It
//! listens on a TCP socket, connects to `<tmpdir>/util/*.sock`, reads three files before it serves
//! anybody, and writes none. It needs no privileges but to connect to the daemons.
#![forbid(unsafe_code)]

mod endpoint;
mod files;
mod link;
mod listener;
mod pipe;

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use albatross_driver::argh;
use albatross_driver::logging::Logger;
use albatross_driver::options::{EXIT_INTERNAL, Program};
use albatross_driver::{signals::Signals, sys};

use endpoint::Endpoint;

const PROGRAM: Program = Program::new("albatross-tls-endpoint", env!("CARGO_PKG_VERSION"));

/// The port that clients expect.
const DEFAULT_PORT: u16 = 1025;

albatross_driver::daemon_options! {
    /// Lets clients with certificates command albatross over TLS. What a client may do, and what it asks
    /// for, stands in its certificates.
    struct Options {
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
    }
}

fn main() -> ExitCode {
    let options: Options = PROGRAM.parse();
    if options.systemd_socket_activation && (options.ip.is_some() || options.port.is_some()) {
        PROGRAM.mistake("--ip and --port cannot be used with --systemd-socket-activation").exit();
    }
    let log = options.common().logger("albatross-tls-endpoint");
    match run(&options, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.error(error);
            ExitCode::from(u8::try_from(EXIT_INTERNAL).unwrap_or(1))
        }
    }
}

fn run(options: &Options, log: &Logger) -> Result<(), Box<dyn Display>> {
    let signals = Signals::termination().map_err(boxed)?;
    if let Err(error) = sys::raise_descriptor_limit() {
        log.warning(format_args!("the limit of open files stays as it is: {error}"));
    }
    let acceptor = files::acceptor(&options.ca, &options.certificate, &options.key, log).map_err(boxed)?;
    let common = options.common();
    let listener = if common.systemd_socket_activation {
        listener::inherited().map_err(boxed)?
    } else {
        listener::bind(options.ip, options.port.unwrap_or(DEFAULT_PORT), log).map_err(boxed)?
    };
    match listener.local_addr() {
        Ok(address) => log.info(format_args!("listening on {address}")),
        Err(error) => log.warning(format_args!("the address of the socket is not known: {error}")),
    }
    // From here on neither files nor privileges are needed but the daemons' sockets.
    Endpoint::new(listener, signals, acceptor, common.tmpdir, log).map_err(boxed)?.run().map_err(boxed)
}

fn boxed<E: Display + 'static>(error: E) -> Box<dyn Display> {
    Box::new(error)
}
