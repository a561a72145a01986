//! albatross-metrics: shows statistics of unikernels as OpenMetrics text, for Prometheus.
//!
//! The rules are in [`albatross_core::metrics`]; this program turns readiness into what happened and carries out what is
//! to be done. It connects to `<tmpdir>/util/stat.sock`, listens on a port of TCP, and neither reads nor writes files.
#![forbid(unsafe_code)]

mod clients;
mod host;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;

use albatross_confine::Confinement;
use albatross_core::metrics::Exporter;
use albatross_driver::argh;
use albatross_driver::options::Program;
use albatross_driver::{listener, notify::Notifier, server::Server, signals::Signals, sys};
use albatross_proto::Name;

use clients::Clients;
use host::Host;

const VERSION: &str = env!("CARGO_PKG_VERSION");

const PROGRAM: Program = Program::new("albatross-metrics", VERSION);

/// Where nobody else can ask.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One of those that no exporter in the lists of Prometheus has.
const PORT: u16 = 9025;

albatross_driver::daemon_options! {
    /// Shows statistics of unikernels at http://IP:PORT/metrics, as OpenMetrics text.
    struct Options {
        /// the address to listen on (127.0.0.1); whoever can reach it sees the figures
        #[argh(option, arg_name = "IP", default = "LOOPBACK")]
        ip: IpAddr,
        /// the port to listen on (9025)
        #[argh(option, arg_name = "PORT", default = "PORT")]
        port: u16,
        /// only of this unikernel, or of those under this path (:)
        #[argh(option, short = 'n', arg_name = "NAME", default = "Name::root()")]
        name: Name,
    }
}

fn main() -> ExitCode {
    sys::keep_little_memory();
    let options: Options = PROGRAM.parse();
    let log = options.common().logger("albatross-metrics");
    log.end(run(&options, &log))
}

fn run(options: &Options, log: &albatross_driver::logging::Logger) -> io::Result<()> {
    let common = options.common();
    let mut server = Server::new(Signals::termination()?)?;
    let listener = if common.systemd_socket_activation {
        TcpListener::from(listener::inherited()?)
    } else {
        let address = SocketAddr::new(options.ip, options.port);
        TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?
    };
    log.info(format_args!("listening on {}", listener.local_addr()?));
    let clients = Clients::new(listener, &mut server)?;
    let notifier = Notifier::connect(log);
    Confinement::default().begin(log)?;
    let exporter = Exporter::new(options.name.clone(), VERSION);
    notifier.ready(log);
    Host::new(exporter, server, clients, &common.tmpdir, log).run()
}
