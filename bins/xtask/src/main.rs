//! Commands for those who work on albatross, as `cargo xtask COMMAND`.
//!
//! | command | what it does |
//! |---|---|
//! | `quickstart` | builds everything and shows a unikernel deployed by certificate |
//! | `test` | runs every test there is |
//! | `measure` | prints memory of the idle daemons and the time from create to the first console line |
//! | `measure-door` | prints what the TLS endpoint costs, beside OpenSSL's server |
//! | `api` | compares the public API of the crates that others embed with the one that is listed |
//! | `fuzz` | runs every fuzz target so many times together |
//! | `links` | checks that the daemon that runs as root links no TLS, X.509 or HTTP |

mod api;
mod fuzz;
mod links;
mod measure;
mod measure_door;
mod papers;
mod quickstart;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use albatross_driver::argh::{self, ArgsInfo, FromArgs};
use albatross_driver::options::Program;
use albatross_e2e::Failure;

/// Commands for those who work on albatross.
#[derive(Debug, FromArgs, ArgsInfo)]
struct Options {
    #[argh(subcommand)]
    command: Command,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Quickstart(Quickstart),
    Test(Test),
    Measure(Measure),
    MeasureDoor(MeasureDoor),
    Links(Links),
    Fuzz(Fuzz),
    Api(Api),
}

/// Builds everything and shows a unikernel deployed by certificate.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "quickstart")]
struct Quickstart {
    /// leave the daemons and the unikernel running, and say how to talk to them
    #[argh(switch)]
    keep: bool,
    /// build as for delivery: takes longer, the programs are smaller and faster
    #[argh(switch)]
    release: bool,
}

/// Runs every test there is.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "test")]
struct Test {}

/// Prints memory of the idle daemons and the time from create to the first console line.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "measure")]
struct Measure {
    /// how many creates (30)
    #[argh(option, arg_name = "N", default = "30")]
    count: usize,
}

/// Prints what the TLS endpoint costs: memory, handshakes, streams, beside OpenSSL's server.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "measure-door")]
struct MeasureDoor {
    /// how many handshakes (1000)
    #[argh(option, arg_name = "N", default = "1000")]
    count: usize,
}

/// Checks that the daemon that runs as root links no TLS, X.509 or HTTP.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "links")]
struct Links {}

/// Runs every fuzz target, all together so many times. Needs cargo-fuzz.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "fuzz")]
struct Fuzz {
    /// how many executions over all targets (100000000)
    #[argh(option, arg_name = "N", default = "100_000_000")]
    executions: u64,
    /// how many seconds each target runs before it is the next one's turn (60)
    #[argh(option, arg_name = "S", default = "60")]
    seconds: u32,
    /// where to keep what the fuzzer learns (in the target directory)
    #[argh(option, arg_name = "FOLDER")]
    corpus: Option<PathBuf>,
    /// only this target
    #[argh(option, arg_name = "TARGET")]
    only: Option<String>,
}

/// Compares the public API of the crates that others embed with the one that is listed in their api.txt.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "api")]
struct Api {
    /// write the list anew, unless that breaks something and the version does not say so
    #[argh(switch)]
    bless: bool,
}

#[expect(clippy::print_stderr, reason = "it talks to a person")]
fn main() -> ExitCode {
    let options: Options = Program::new("cargo-xtask", env!("CARGO_PKG_VERSION")).parse();
    let result: Result<(), Failure> = match options.command {
        Command::Quickstart(Quickstart { keep, release }) => quickstart::run(keep, release),
        Command::Test(Test {}) => test::run(),
        Command::Measure(Measure { count }) => measure::run(count),
        Command::MeasureDoor(MeasureDoor { count }) => measure_door::run(count),
        Command::Links(Links {}) => links::run(),
        Command::Api(Api { bless }) => api::run(bless),
        Command::Fuzz(Fuzz { executions, seconds, corpus, only }) => {
            fuzz::run(executions, seconds, corpus.as_deref(), only.as_deref())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
