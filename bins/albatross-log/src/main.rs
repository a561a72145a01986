//! albatross-log: keeps the event log.
//!
//! The rules are in [`albatross_core::log`], the file is that of [`albatross_core::eventlog`]; this program turns
//! readiness into what happened and carries out what is to be done. It listens on `<tmpdir>/util/log.sock` and
//! writes one file. `--verify` and `--read-only` read files and need no daemon.
#![forbid(unsafe_code)]

mod files;
mod host;
mod show;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use albatross_confine::Confinement;
use albatross_core::influx::Address;
use albatross_driver::argh;
use albatross_driver::logging::Logger;
use albatross_driver::options::Program;
use albatross_driver::{listener, notify::Notifier, server::Server, signals::Signals, sys};
use albatross_report::Report;

use files::Files;
use host::Host;
use show::Wanted;

const PROGRAM: Program = Program::new("albatross-log", env!("CARGO_PKG_VERSION"));

/// Where the log is.
const DEFAULT_FILE: &str = "/var/log/albatross/events";

albatross_driver::daemon_options! {
    /// Keeps the event log: who came in, what was commanded with which result, what was started and ended. SIGHUP
    /// begins a new file where the log was moved away.
    struct Options {
        /// the file of the log (/var/log/albatross/events)
        #[argh(option, arg_name = "FILE")]
        logfile: Option<PathBuf>,
        /// print the events of the files, the oldest first, and end; the log goes on meanwhile
        #[argh(switch)]
        read_only: bool,
        /// check the files and that each goes on from the one before, print their last links, and end
        #[argh(switch)]
        verify: bool,
        /// with --verify: fail unless a record has this link, which was kept elsewhere
        #[argh(option, arg_name = "LINK")]
        link: Option<String>,
        /// tell the database there about this daemon: IP or IP:PORT (port 8094)
        #[argh(option, arg_name = "IP[:PORT]")]
        influx: Option<Address>,
        /// files for --verify and --read-only, the oldest first (the log itself)
        #[argh(positional, arg_name = "FILE")]
        files: Vec<PathBuf>,
    }
}

fn main() -> ExitCode {
    let options: Options = PROGRAM.parse();
    let common = options.common();
    let log = common.logger("albatross-log");
    let wanted = match wanted(&options) {
        Ok(wanted) => wanted,
        Err(mistake) => PROGRAM.mistake(mistake).exit(),
    };
    let logfile = options.logfile.unwrap_or_else(|| DEFAULT_FILE.into());
    let Some(wanted) = wanted else {
        return log.end(run(&common, logfile, options.influx, &log));
    };
    let files = if options.files.is_empty() { vec![logfile] } else { options.files };
    match show::show(&wanted, &files) {
        Ok(holds) => ExitCode::from(u8::from(!holds)),
        failed => log.end(failed.map(drop)),
    }
}

/// What is to be read; `None` for the daemon.
fn wanted(options: &Options) -> Result<Option<Wanted>, &'static str> {
    let link = options.link.as_deref().map(show::link).transpose()?;
    match (options.verify, options.read_only, link) {
        (true, true, _) => Err("--verify and --read-only exclude each other"),
        (true, false, link) => Ok(Some(Wanted::Check(link))),
        (false, _, Some(_)) => Err("--link is of use only with --verify"),
        (false, true, None) => Ok(Some(Wanted::Events)),
        (false, false, None) if options.files.is_empty() => Ok(None),
        (false, false, None) => {
            Err("files are given for --verify and --read-only; the file that is written is that of --logfile")
        }
    }
}

fn run(
    common: &albatross_driver::options::Common,
    logfile: PathBuf,
    influx: Option<Address>,
    log: &Logger,
) -> io::Result<()> {
    // Before the socket: SIGTERM must remove it.
    let mut server = Server::new(Signals::termination()?)?;
    sys::raise_descriptor_limit(log);
    let directory = files::directory(&logfile).to_owned();
    let (files, end) = Files::open(logfile, log)?;
    server.listen(listener::open(common, "log", log)?, host::MAX_FRAME)?;
    let report = Report::new(influx, host::CALLED, &mut server)?;
    let connect = influx.map(|to| to.0.port());
    let notifier = Notifier::connect(log);
    Confinement { write: Some(&directory), connect, ..Confinement::default() }.begin(log)?;
    sys::give_memory_back();
    notifier.ready(log);
    Host::new(server, files, end, log).run(report)
}
