//! albatross-console: keeps what unikernels write to their consoles and serves it.
//!
//! The rules are in [`albatross_core::console`]; this program turns readiness into what happened and
//! carries out what is to be done. It listens on `<tmpdir>/util/console.sock`, reads
//! `<tmpdir>/fifo/NAME`, and writes no files.
#![forbid(unsafe_code)]

mod fifos;
mod host;

use std::io;
use std::process::ExitCode;

use albatross_confine::Confinement;
use albatross_core::influx::Address;
use albatross_driver::argh;
use albatross_driver::options::Program;
use albatross_driver::{listener, notify::Notifier, server::Server, signals::Signals, sys};
use albatross_report::Report;

use fifos::Fifos;
use host::Host;

const PROGRAM: Program = Program::new("albatross-console", env!("CARGO_PKG_VERSION"));

albatross_driver::daemon_options! {
    /// Keeps the newest 1024 lines of each unikernel's console in memory, and sends them and what follows
    /// to clients.
    struct Options {
        /// subscribers of one console at a time, at least 1; beyond them the oldest goes (5)
        #[argh(option, arg_name = "N", default = "5")]
        max_subscribers: usize,
        /// tell the database there about this daemon: IP or IP:PORT (port 8094)
        #[argh(option, arg_name = "IP[:PORT]")]
        influx: Option<Address>,
    }
}

fn main() -> ExitCode {
    sys::keep_little_memory();
    let options: Options = PROGRAM.parse();
    if options.max_subscribers < 1 {
        PROGRAM.mistake("option '--max-subscribers' must be at least 1").exit();
    }
    let log = options.common().logger("albatross-console");
    log.end(run(&options, &log))
}

fn run(options: &Options, log: &albatross_driver::logging::Logger) -> io::Result<()> {
    let common = options.common();
    // Before the socket: SIGTERM must remove it.
    let mut server = Server::new(Signals::termination()?)?;
    sys::raise_descriptor_limit(log);
    let mut fifos = Fifos::new(&common.tmpdir)?;
    let token = server.token();
    if let Err(error) = fifos.watch_removals(server.registry(), token) {
        log.warning(format_args!("removed fifos are not noticed: {error}"));
    }
    server.listen(listener::open(&common, "console", log)?, host::MAX_FRAME)?;
    let report = Report::new(options.influx, host::CALLED, &mut server)?;
    let notifier = Notifier::connect(log);
    let connect = options.influx.map(|to| to.0.port());
    Confinement { read: Some(fifos.directory()), connect, ..Confinement::default() }.begin(log)?;
    notifier.ready(log);
    Host::new(server, fifos, options.max_subscribers, log).run(report)
}
