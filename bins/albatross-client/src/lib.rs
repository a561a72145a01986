//! The client of albatross: asks daemons over their sockets and endpoints over TLS, writes requests for
//! certificates, and is a small certificate authority.
//!
//! | module | what it is for |
//! |---|---|
//! | `options` | the command line as it is typed |
//! | `command` | from options to a name and a command, with the checks that need no server |
//! | `local`, `remote`, `csr` | the three ways that a command takes |
//! | `block` | block devices: the content that follows a command |
//! | `conversation` | frames to a server and back, both directions at once |
//! | `ca` | `generate` and `sign` |
//! | `pki` | certificates, requests and keys in files |
//! | `reply`, `print`, `json` | what came back, for people and for programs |
//! | [`schema`] | values of the protocol as JSON, and back |
//! | [`decode`], [`verify`] | what is in a file; what a chain may do |
//! | `files` | reading with limits, writing without harm |
//!
//! Rules of the protocol stand in `albatross-core` and `albatross-proto`; none is decided here. Nothing
//! that a server or a guest wrote reaches the terminal unescaped, or names a file by more than a checked
//! [`albatross_proto::Name`].
#![forbid(unsafe_code)]

mod block;
mod ca;
mod clock;
mod command;
mod conversation;
mod csr;
pub mod decode;
mod dump;
mod error;
mod exit;
mod files;
mod image;
mod json;
mod local;
mod options;
mod pki;
mod print;
mod remote;
mod reply;
pub mod schema;
pub mod verify;

use std::process::ExitCode;

use albatross_driver::logging::Logger;

use block::BlockData;
use command::Request;
use error::Error;
use exit::Exit;
use options::{Action, Destination, Options, PROGRAM};
use print::Printer;

/// Does what the command line of this process says.
#[must_use]
pub fn run() -> ExitCode {
    let options: Options = PROGRAM.parse();
    if let Err(conflict) = options.check() {
        PROGRAM.mistake(&conflict.to_string()).exit();
    }
    let log = options.logger();
    let exit = perform(&options, &log).unwrap_or_else(|error| {
        log.error(&error);
        error.exit()
    });
    ExitCode::from(exit.code())
}

fn perform(options: &Options, log: &Logger) -> Result<Exit, Error> {
    let mut printer = Printer::new(options.json, options.level());
    match &options.action {
        Action::Generate(it) => return ca::generate(it, options, &printer, log),
        Action::Sign(it) => return ca::sign(it, &printer, log),
        Action::Certificate(it) => return remote::certificate(options, it, &mut printer, log),
        Action::Verify(it) => return verify::run(it, options.json, &printer, log),
        Action::Decode(it) => return decode::run(it, options.json),
        _ => {}
    }
    let destination = options.destination();
    let request = command::request(&options.action, &destination, log)?;
    match &options.action {
        Action::CreateBlock(it) if it.data.is_some() => {
            return block::create(it, options, &destination, request, &mut printer, log);
        }
        Action::SetBlock(it) => return block::set(it, options, &destination, request, &mut printer, log),
        _ => {}
    }
    ask(options, &destination, request, None, &mut printer, log)
}

/// Has a command carried out or written down, with the data that follows it.
fn ask(
    options: &Options,
    destination: &Destination,
    request: Request,
    data: Option<BlockData>,
    printer: &mut Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    match destination {
        Destination::Local => {
            let socket = local::socket(&options.tmpdir(), &request.command);
            local::ask(&socket, request, data, printer)
        }
        Destination::Socket(path) => local::ask(path, request, data, printer),
        Destination::SocketDump => local::show(request, printer),
        Destination::Remote(host) => remote::ask(options, host, request, data, printer),
        Destination::RemoteDump => remote::show(options, request, printer),
        Destination::Request => csr::write(options, &request, printer, log),
    }
}
