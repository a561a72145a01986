//! albatrossd: the privileged daemon that creates and supervises unikernels.
//!
//! All rules are in [`albatross_core::vmmd`]; here its outputs become system calls and what happens
//! becomes its inputs. It links no TLS, X.509 or HTTP.

mod blocks;
mod confine;
mod daemon;
mod export;
mod files;
mod groups;
mod host;
mod identity;
mod images;
mod import;
mod incoming;
mod net;
mod notes;
mod process;
mod random;
mod record;
mod sending;
mod sys;
mod takeover;
mod tender;

use std::path::{Component, PathBuf};
use std::process::ExitCode;

use albatross_core::influx::Address;
use albatross_core::resources::Overcommit;
use albatross_core::vmmd::UserRange;
use albatross_driver::argh;
use albatross_driver::options::Program;

/// What the program says its version is.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the record, images, block devices and tenders are.
const DEFAULT_DBDIR: &str = "/var/lib/albatross";
/// The user ids that tenders run under: above those of the system, of persons and of systemd's dynamic
/// users (all below 65536), below those that are given to containers (from 100000 on, `login.defs`).
const DEFAULT_UID_BASE: u32 = 90_000;
/// One is kept back, so that many unikernels but one run at a time.
const DEFAULT_UID_COUNT: u32 = 8_192;

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
        /// let systemd before version 254 start this daemon again in a control group that it divided, and end
        #[argh(switch)]
        release_groups: bool,
        /// pass the whole name in --name, not only its last label
        #[argh(switch)]
        no_drop_path: bool,
        /// give ZFS volumes to unikernels under PATH, which is FreeBSD's: refused here
        #[argh(option, arg_name = "PATH")]
        allow_zvol_for: Vec<String>,
        /// promise the host's memory FACTOR times (1)
        #[argh(option, arg_name = "FACTOR", default = "Overcommit::default()")]
        overcommit_memory: Overcommit,
        /// run tenders under user ids from UID on, which nobody else has (90000)
        #[argh(option, arg_name = "UID", default = "DEFAULT_UID_BASE")]
        uid_base: u32,
        /// how many user ids there are for tenders, which is one more than run at a time (8192)
        #[argh(option, arg_name = "COUNT", default = "DEFAULT_UID_COUNT")]
        uid_count: u32,
        /// run tenders as this user, with everything in sight, where the system does not allow more; not safe
        #[argh(switch)]
        unconfined: bool,
        /// tell the database there about this daemon: IP or IP:PORT (port 8094)
        #[argh(option, arg_name = "IP[:PORT]")]
        influx: Option<Address>,
    }
}

fn main() -> ExitCode {
    albatross_driver::sys::keep_little_memory();
    let program = Program::new("albatrossd", VERSION);
    let options: Options = program.parse();
    let users = match UserRange::new(options.uid_base, options.uid_count) {
        Ok(range) => (!options.unconfined).then_some(range),
        Err(error) => program.mistake(&error.to_string()).exit(),
    };
    if !options.allow_zvol_for.is_empty() {
        let text = "option '--allow-zvol-for': ZFS volumes as block devices are FreeBSD's, and this is Linux; leave it out";
        program.mistake(text).exit();
    }
    let common = options.common();
    let log = common.logger("albatrossd");
    // A tender runs in another directory, and sees no other way to a file than the straight one.
    let absolute = |path: PathBuf| {
        let straight = !path.components().any(|component| component == Component::ParentDir);
        let found = if straight { std::path::absolute(&path) } else { path.canonicalize() };
        found.unwrap_or(path)
    };
    let config = albatross_core::vmmd::Config {
        tmpdir: absolute(common.tmpdir.clone()),
        dbdir: absolute(options.dbdir.unwrap_or_else(|| DEFAULT_DBDIR.into())),
        drop_path: !options.no_drop_path,
        overcommit: options.overcommit_memory,
    };
    // A descriptor of each tender that runs is kept: as many as that are more than the usual 1024.
    albatross_driver::sys::raise_descriptor_limit(&log);
    let result = match options.export_state {
        _ if options.release_groups => groups::release(),
        Some(file) => export::export(&config, &file, &log),
        None => daemon::run(&common, config, users, options.influx, &log),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.error(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}
