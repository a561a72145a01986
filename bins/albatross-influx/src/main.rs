//! albatross-influx: writes statistics of unikernels to a database, as InfluxDB's line protocol over TCP.
//!
//! The rules are in [`albatross_core::influx`]; this program turns readiness into what happened and carries out what is
//! to be done. It connects to `<tmpdir>/util/stat.sock` and to the database, and neither reads nor writes files.
#![forbid(unsafe_code)]

mod host;

use std::io;
use std::process::ExitCode;

use albatross_confine::Confinement;
use albatross_core::influx::{Address, Forwarder};
use albatross_driver::argh;
use albatross_driver::lines::Lines;
use albatross_driver::options::Program;
use albatross_driver::{notify::Notifier, server::Server, signals::Signals, sys};
use albatross_proto::Name;

use host::Host;

const PROGRAM: Program = Program::new("albatross-influx", env!("CARGO_PKG_VERSION"));

albatross_driver::daemon_options! {
    /// Writes statistics of unikernels to a database, as InfluxDB's line protocol over TCP.
    struct Options {
        /// the database: IP or IP:PORT (port 8094)
        #[argh(option, arg_name = "IP[:PORT]")]
        influx: Address,
        /// only of this unikernel, or of those under this path (:)
        #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()")]
        name: Name,
        /// call unikernels by their whole names, not only by their last labels
        #[argh(switch)]
        no_drop_path: bool,
    }
}

fn main() -> ExitCode {
    sys::keep_little_memory();
    let options: Options = PROGRAM.parse();
    if options.systemd_socket_activation {
        PROGRAM.mistake("option '--systemd-socket-activation': this program has no socket of its own").exit();
    }
    let log = options.common().logger("albatross-influx");
    log.end(run(&options, &log))
}

fn run(options: &Options, log: &albatross_driver::logging::Logger) -> io::Result<()> {
    let common = options.common();
    let mut server = Server::new(Signals::termination()?)?;
    let notifier = Notifier::connect(log);
    Confinement { connect: Some(options.influx.0.port()), ..Confinement::default() }.begin(log)?;
    let database = Lines::new(options.influx.0, server.token());
    let forwarder = Forwarder::new(options.name.clone(), !options.no_drop_path);
    notifier.ready(log);
    Host::new(forwarder, server, database, &common.tmpdir, log).run()
}
