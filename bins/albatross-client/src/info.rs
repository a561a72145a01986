//! `info`: what runs, and what the daemon knows beyond that, where it knows more.

use albatross_driver::logging::Logger;
use albatross_proto::{Command, Success, UnikernelCommand};

use crate::command::Request;
use crate::error::Error;
use crate::exit::Exit;
use crate::options::{Destination, Options};
use crate::print::Printer;
use crate::{ask, query};

/// Asks for what runs, and then for the status of what is on record. A daemon that does not know the second
/// question closes the connection or refuses: then the first answer is all.
///
/// # Errors
/// Those of the first question.
pub(crate) fn run(
    options: &Options,
    destination: &Destination,
    request: Request,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    if !matches!(destination, Destination::Local | Destination::Socket(_) | Destination::Remote(_)) {
        return ask(options, destination, request, None, printer, log);
    }
    let name = request.name.clone();
    let answer = query(options, destination, request)?;
    let running = match answer.result {
        Ok(running) => running,
        Err(text) => {
            printer.failure(&answer.name, &text)?;
            return Ok(Exit::of_failure(&text));
        }
    };
    let status = Request { name, command: Command::Unikernel(UnikernelCommand::Status) };
    let statuses = match query(options, destination, status).map(|answer| answer.result) {
        Ok(Ok(Success::Status(statuses))) => statuses,
        Ok(_) => Vec::new(),
        Err(error) => {
            log.debug(format_args!("no status: {error}"));
            Vec::new()
        }
    };
    printer.unikernels(&answer.name, &running, &statuses)?;
    Ok(Exit::Success)
}
