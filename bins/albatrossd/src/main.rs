//! albatrossd: the privileged daemon that creates and supervises unikernels.
//!
//! All rules are in [`albatross_core::vmmd`]; here its outputs become system calls and what happens
//! becomes its inputs. It links no TLS, X.509 or HTTP.

mod blocks;
mod daemon;
mod export;
mod files;
mod host;
mod identity;
mod images;
mod import;
mod incoming;
mod net;
mod process;
mod record;
mod sending;
mod sys;
mod takeover;
mod tender;

use std::path::PathBuf;
use std::process::ExitCode;

use albatross_core::resources::Overcommit;
use albatross_driver::argh;
use albatross_driver::options::Program;

/// What the program says its version is.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the record, images, block devices and tenders are.
const DEFAULT_DBDIR: &str = "/var/lib/albatross";

albatross_driver::daemon_options! {
    /// Creates and supervises unikernels, as commanded on TMPDIR/util/vmmd.sock. SIGTERM ends them all and keeps the
    /// record. SIGUSR1 ends the daemon alone: the next one takes over what runs, as it does after a crash.
    struct Options {
        /// directory of the record, images, block devices and tenders (/var/lib/albatross)
        #[argh(option, arg_name = "DIR")]
        dbdir: Option<PathBuf>,
        /// write the state file of the OCaml implementation to FILE and end; without the daemon running
        #[argh(option, arg_name = "FILE")]
        export_state: Option<PathBuf>,
        /// pass the whole name in --name, not only its last label
        #[argh(switch)]
        no_drop_path: bool,
        /// promise the host's memory FACTOR times (1)
        #[argh(option, arg_name = "FACTOR", default = "Overcommit::default()")]
        overcommit_memory: Overcommit,
    }
}

fn main() -> ExitCode {
    let options: Options = Program::new("albatrossd", VERSION).parse();
    let common = options.common();
    let log = common.logger("albatrossd");
    // A tender runs in another directory.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let config = albatross_core::vmmd::Config {
        tmpdir: absolute(common.tmpdir.clone()),
        dbdir: absolute(options.dbdir.unwrap_or_else(|| DEFAULT_DBDIR.into())),
        drop_path: !options.no_drop_path,
        overcommit: options.overcommit_memory,
    };
    let result = match options.export_state {
        Some(file) => export::export(&config, &file, &log),
        None => daemon::run(&common, config, &log),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.error(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}
