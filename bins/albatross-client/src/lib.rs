//! The client of albatross: asks daemons over their sockets and endpoints over TLS, writes requests for
//! certificates, and is a small certificate authority.
//!
//! | module | what it is for |
//! |---|---|
//! | `options` | the command line as it is typed |
//! | `command` | from options to a name and a command, with the checks that need no server |
//! | `local`, `remote`, `csr` | the three ways that a command takes |
//! | `upload`, `block`, `by_digest` | what follows a command: images, the content of block devices |
//! | `conversation`, `progress` | frames to a server and back, both directions at once; how far they have come |
//! | `info`, `update` | commands that are more than one question |
//! | [`http`] | what a build server answers |
//! | `top` | what runs, on a terminal, as it changes: in the program `albatross-top` |
//! | `ca`, `revoke` | `generate` and `sign`; revocation lists |
//! | `state_file` | `inspect-dump` and `extract-dump` |
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
mod by_digest;
mod ca;
mod command;
mod conversation;
mod csr;
pub mod decode;
mod dump;
mod error;
mod exit;
mod files;
pub mod http;
mod image;
mod info;
mod json;
mod local;
mod options;
mod pki;
mod print;
mod progress;
mod remote;
mod reply;
mod revoke;
pub mod schema;
mod state_file;
mod top;
mod update;
mod upload;
pub mod verify;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use albatross_driver::argh::{ArgsInfo, CommandInfoWithArgs};
use albatross_driver::logging::Logger;
use albatross_driver::options::Aliases;

use command::Request;
use conversation::Manner;
use error::Error;
use exit::Exit;
use options::{Action, Destination, Options, Role};
use print::Printer;
use remote::Signer;
use reply::{Answer, Asked};
use upload::Upload;

/// Does what the command line of this process says. Under the names of the older programs, it is those.
#[must_use]
pub fn run() -> ExitCode {
    let role = Role::of_process();
    let options = role.options();
    let log = options.logger(role);
    if matches!(options.action, Action::Top(_)) {
        return become_program(options::TOP_PROGRAM, role.name());
    }
    end(perform(&options, &log), &log)
}

/// `albatross-client top`, a program of its own: what draws is a tenth of the client, and of use to people only.
#[must_use]
pub fn run_top() -> ExitCode {
    let role = Role::of_process();
    // Threads use them until the process ends.
    let options: &'static Options = Box::leak(Box::new(role.options()));
    let log = options.logger(role);
    end(watch(options, &log), &log)
}

fn watch(options: &'static Options, log: &Logger) -> Result<Exit, Error> {
    if !matches!(options.action, Action::Top(_)) {
        return Err(Error::OnlyTop);
    }
    let destination = options.destination();
    let request = command::request(&options.action, &destination, log)?;
    top::run(options, &destination, request, &Printer::new(false, options.level()))
}

fn end(outcome: Result<Exit, Error>, log: &Logger) -> ExitCode {
    let exit = outcome.unwrap_or_else(|error| {
        log.error(&error);
        error.exit()
    });
    ExitCode::from(exit.code())
}

/// Becomes `albatross-client` under another name: the one beside this program, or else the first on the
/// path. Returns only where there is none.
#[must_use]
pub fn become_client(name: &str) -> ExitCode {
    become_program(options::PROGRAM_NAME, name)
}

/// Becomes `program`, likewise, which is told that it is called `name`.
fn become_program(program: &str, name: &str) -> ExitCode {
    let here = std::env::current_exe().map(|path| path.with_file_name(program));
    let beside = here.ok().filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from(program));
    let mut command = std::process::Command::new(&program);
    let error = command.arg0(name).args(std::env::args_os().skip(1)).exec();
    let log = Logger::new(name, albatross_driver::logging::Level::Error, Default::default());
    log.error(format_args!("cannot run {}: {error}", program.display()));
    ExitCode::from(Exit::Internal.code())
}

/// The command line as it is defined, for completions and manual pages, with the second names of options.
#[must_use]
pub fn command_line() -> (CommandInfoWithArgs, Aliases) {
    (Options::get_args_info(), options::ALIASES)
}

/// The exit codes, and what they mean.
pub fn exit_codes() -> impl Iterator<Item = (u8, &'static str)> {
    Exit::ALL.into_iter().map(|exit| (exit.code(), exit.meaning()))
}

/// The names of the older programs, which are this one with a fixed destination, and what each is for.
pub fn older_programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    Role::OLDER.into_iter().map(|role| (role.name(), role.purpose()))
}

fn perform(options: &Options, log: &Logger) -> Result<Exit, Error> {
    let printer = Printer::new(options.json, options.level());
    match &options.action {
        Action::Generate(it) => return ca::generate(it, options, &printer, log),
        Action::Sign(it) => return ca::sign(it, &printer, log),
        Action::Revoke(it) => return revoke::run(it, options, &printer, log),
        Action::Certificate(it) => return remote::certificate(options, it, &printer, log),
        Action::Verify(it) => return verify::run(it, options.json, &printer, log),
        Action::Decode(it) => return decode::run(it, options.json),
        Action::InspectDump(it) => return state_file::inspect(it, &printer),
        Action::ExtractDump(it) => return state_file::extract(it, &printer),
        _ => {}
    }
    let destination = options.destination();
    if let Action::Create(it) = &options.action
        && it.by_digest
    {
        let (request, image) = by_digest::request(it, log)?;
        let image = by_digest::goes_along(&destination, log).then_some(image);
        return ask(options, &destination, request, image, &printer, log);
    }
    let request = command::request(&options.action, &destination, log)?;
    match &options.action {
        Action::CreateBlock(it) if it.data.is_some() => {
            block::create(it, options, &destination, request, &printer, log)
        }
        Action::SetBlock(it) => block::set(it, options, &destination, request, &printer, log),
        Action::Info(_) => info::run(options, &destination, request, &printer, log),
        Action::Update(it) => update::run(it, options, &destination, request, &printer, log),
        _ => ask(options, &destination, request, None, &printer, log),
    }
}

/// Has a command carried out or written down, with the data that follows it.
fn ask(
    options: &Options,
    destination: &Destination,
    request: Request,
    upload: Option<Upload>,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    match destination {
        Destination::SocketDump => local::show(request, printer),
        Destination::RemoteDump => remote::show(options, &Signer::of(options), request, printer),
        Destination::Request => csr::write(options, &request, printer, log),
        Destination::Local | Destination::Socket(_) | Destination::Remote(_) => {
            reply::follow(open(options, destination, request, upload)?, printer)
        }
    }
}

/// The one reply to a command that is carried out.
fn query(options: &Options, destination: &Destination, request: Request) -> Result<Answer, Error> {
    open(options, destination, request, None)?.answer()
}

fn open(
    options: &Options,
    destination: &Destination,
    request: Request,
    upload: Option<Upload>,
) -> Result<Asked, Error> {
    open_in(Manner::shown(options.level()), options, destination, request, upload)
}

/// The same in this manner.
fn open_in(
    manner: Manner,
    options: &Options,
    destination: &Destination,
    request: Request,
    upload: Option<Upload>,
) -> Result<Asked, Error> {
    match destination {
        Destination::Socket(path) => local::open(path, request, upload, manner),
        Destination::Remote(host) => {
            remote::open(options, &Signer::of(options), host, request, upload, manner)
        }
        _ => local::open(&local::socket(&options.tmpdir(), &request.command), request, upload, manner),
    }
}
