//! albatross-stats: gathers statistics of unikernels and sends them to who asks.
//!
//! The rules are in [`albatross_core::stats`]; this program turns readiness into what happened and carries out what is
//! to be done. It listens on `<tmpdir>/util/stat.sock`, connects to `<tmpdir>/util/vmmd.sock`, reads /proc and the
//! counters of network interfaces, and writes no files.
#![forbid(unsafe_code)]

mod host;
mod links;
mod processes;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use albatross_confine::Confinement;
use albatross_core::influx::Address;
use albatross_core::stats::Stats;
use albatross_driver::argh;
use albatross_driver::options::Program;
use albatross_driver::{listener, notify::Notifier, server::Server, signals::Signals, sys};
use albatross_report::Report;

use host::Host;
use processes::Processes;

const PROGRAM: Program = Program::new("albatross-stats", env!("CARGO_PKG_VERSION"));

albatross_driver::daemon_options! {
    /// Gathers statistics of the unikernels that run, and sends them to clients.
    struct Options {
        /// seconds from one time to the next, at least 1 (10)
        #[argh(option, arg_name = "S", default = "10")]
        interval: u32,
        /// gather counters of bhyve, which is FreeBSD's: refused here
        #[argh(switch)]
        gather_bhyve_stats: bool,
        /// tell the database there about this daemon: IP or IP:PORT (port 8094)
        #[argh(option, arg_name = "IP[:PORT]")]
        influx: Option<Address>,
    }
}

fn main() -> ExitCode {
    sys::keep_little_memory();
    let options: Options = PROGRAM.parse();
    if options.interval < 1 {
        PROGRAM.mistake("option '--interval' must be at least 1").exit();
    }
    if options.gather_bhyve_stats {
        PROGRAM.mistake("option '--gather-bhyve-stats': bhyve is FreeBSD's, and this is Linux").exit();
    }
    let log = options.common().logger("albatross-stats");
    log.end(run(&options, &log))
}

fn run(options: &Options, log: &albatross_driver::logging::Logger) -> io::Result<()> {
    let common = options.common();
    // Before the socket: SIGTERM must remove it.
    let mut server = Server::new(Signals::termination()?)?;
    sys::raise_descriptor_limit(log);
    let processes = Processes::new()?;
    server.listen(listener::open(&common, "stat", log)?, host::MAX_FRAME)?;
    let report = Report::new(options.influx, host::CALLED, &mut server)?;
    let connect = options.influx.map(|to| to.0.port());
    let notifier = Notifier::connect(log);
    Confinement { read: Some(Path::new("/proc")), connect, ..Confinement::default() }.begin(log)?;
    let stats = Stats::new(Duration::from_secs(options.interval.into()), processes.units());
    let vmmd = listener::socket_path(&common.tmpdir, "vmmd");
    notifier.ready(log);
    Host::new(stats, server, processes, vmmd, log).run(report)
}
