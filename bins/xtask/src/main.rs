//! Commands for those who work on albatross, as `cargo xtask COMMAND`.
//!
//! | command | what it does |
//! |---|---|
//! | `quickstart` | builds everything and shows a unikernel deployed by certificate |
//! | `test` | runs every test there is |
//! | `bench` | measures everything, or our programs in turns with another implementation's, and writes a table |
//! | `regress` | holds figures that are no timings against what they were |
//! | `measure` | measures the delivered programs, and holds each figure against its target |
//! | `measure-door` | the same for the TLS endpoint, in turns with OpenSSL's server, and for the client |
//! | `measure-tender` | the same for the tender, in turns with the reference's where `ALBATROSS_SOLO5` names a built Solo5 |
//! | `profile` | samples with perf where the time of the daemons goes while they are measured |
//! | `load` | puts a host with all daemons and many guests under load, and kills each daemon under it |
//! | `api` | compares the public API of the crates that others embed with the one that is listed |
//! | `fuzz` | runs every fuzz target so many times together |
//! | `systemd` | shows albatrossd as a unit of a real systemd, in a virtual machine |
//! | `packages` | builds packages for Debian, and shows in a container that they install, upgrade and are removed |
//! | `pages` | writes completions for shells and the manual page of the client |
//! | `links` | checks that the daemon that runs as root links no TLS, X.509 or HTTP |

mod api;
mod bench;
mod fuzz;
mod links;
mod load;
mod measure;
mod measure_door;
mod measure_tender;
mod packages;
mod pages;
mod papers;
mod profile;
mod quickstart;
mod regress;
mod systemd;
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
    Bench(Bench),
    Regress(Regress),
    Measure(Measure),
    MeasureDoor(MeasureDoor),
    MeasureTender(MeasureTender),
    Profile(Profile),
    Load(Load),
    Echo(Echo),
    Links(Links),
    Systemd(Systemd),
    Packages(Packages),
    Pages(Pages),
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

/// Measures everything that there is to measure of the delivered programs, or these in turns with another implementation's,
/// and writes a table.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "bench")]
struct Bench {
    /// fewer rounds and smaller loads: to see that it works
    #[argh(switch)]
    quick: bool,
    /// only this: programs, door, tender, or what measure knows; with --peer local, tls, blocks, policies, creates, console,
    /// start or restarts; may be given again
    #[argh(option, arg_name = "WHAT")]
    only: Vec<String>,
    /// another implementation's programs, which are measured in turns with ours
    #[argh(option, arg_name = "FOLDER")]
    peer: Option<PathBuf>,
    /// with --peer: the tender that both use (ours)
    #[argh(option, arg_name = "FILE")]
    tender: Option<PathBuf>,
    /// where to write the table, as Markdown and as JSON (bench in the target directory)
    #[argh(option, arg_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Holds instructions, allocations, sizes and memory against what they were when testdata/regress.txt was written. Needs
/// valgrind.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "regress")]
struct Regress {
    /// only this: works, sizes or memory; may be given again
    #[argh(option, arg_name = "WHAT")]
    only: Vec<String>,
    /// write down what they are now
    #[argh(switch)]
    bless: bool,
}

/// Measures the delivered programs, and holds each figure against its target.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "measure")]
struct Measure {
    /// how many rounds of what is measured in turns (9)
    #[argh(option, arg_name = "N", default = "9")]
    rounds: usize,
    /// only this: memory, create, policy, block, info, console, day, log, stats, restart or thousand; may be given again
    #[argh(option, arg_name = "WHAT")]
    only: Vec<String>,
}

/// Sends every frame back that comes on a socket: what `measure` compares albatrossd with.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "echo")]
struct Echo {
    /// the socket to be made
    #[argh(positional)]
    socket: PathBuf,
}

/// Measures the delivered TLS endpoint in turns with OpenSSL's server, and the client, and holds each figure against its
/// target.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "measure-door")]
struct MeasureDoor {
    /// how many rounds of what is measured in turns (5)
    #[argh(option, arg_name = "N", default = "5")]
    rounds: usize,
    /// how many handshakes in each (500)
    #[argh(option, arg_name = "N", default = "500")]
    count: usize,
}

/// Measures the delivered tender, in turns with the reference's where ALBATROSS_SOLO5 names a built Solo5.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "measure-tender")]
struct MeasureTender {
    /// how many rounds (5)
    #[argh(option, arg_name = "N", default = "5")]
    rounds: usize,
}

/// Samples with perf where the processor time of the delivered daemons goes while they are measured. Needs root and perf.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "profile")]
struct Profile {
    /// only this: info, create, block, console, stats, log or door; may be given again
    #[argh(option, arg_name = "WHAT")]
    only: Vec<String>,
}

/// Puts a host with all daemons and many guests under load, and kills each daemon under it: nothing that was acknowledged
/// may be lost. Needs root.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "load")]
struct Load {
    /// how long the load lasts before the kills (30)
    #[argh(option, arg_name = "N", default = "30")]
    minutes: u64,
    /// until the clients have done so many commands, instead
    #[argh(option, arg_name = "N")]
    commands: Option<usize>,
    /// how many unikernels there are (200)
    #[argh(option, arg_name = "N", default = "200")]
    guests: usize,
    /// what the clients' choices follow from (1)
    #[argh(option, arg_name = "S", default = "1")]
    seed: u64,
    /// build for tests, not as for delivery: figures mean little
    #[argh(switch)]
    debug: bool,
}

/// Checks that the daemon that runs as root links no TLS, X.509 or HTTP.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "links")]
struct Links {}

/// Shows albatrossd as a unit of a real systemd, in a virtual machine. Needs root, qemu and debootstrap.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "systemd")]
struct Systemd {
    /// the release of Debian to show it on (that of this machine)
    #[argh(option, arg_name = "NAME")]
    suite: Option<String>,
    /// use the virtualization of this machine, instead of emulating one
    #[argh(switch)]
    kvm: bool,
}

/// Builds packages for Debian into the folder packages of the target directory. Needs cargo-deb.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "packages")]
struct Packages {
    /// who answers for them, name and address as in mail (DEBFULLNAME and DEBEMAIL of the environment)
    #[argh(option, arg_name = "WHO")]
    maintainer: Option<String>,
    /// install, use, upgrade, restart, remove and purge them in a container; needs root, systemd-nspawn and debootstrap
    #[argh(switch)]
    test: bool,
    /// with --test: the release of Debian to show it on (that of this machine)
    #[argh(option, arg_name = "NAME")]
    suite: Option<String>,
    /// with --test: in a virtual machine, which has a kernel of its own; needs qemu
    #[argh(switch)]
    machine: bool,
}

/// Writes completions for bash, zsh and fish and the manual page of the client, as they lie below /usr/share.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "pages")]
struct Pages {
    /// where to
    #[argh(positional, arg_name = "FOLDER")]
    folder: PathBuf,
}

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
        Command::Bench(Bench { quick, only, peer, tender, out }) => {
            bench::run(&bench::Options { quick, only, peer, tender, out })
        }
        Command::Regress(Regress { only, bless }) => regress::run(&only, bless),
        Command::Measure(Measure { rounds, only }) => measure::run(rounds, &only),
        Command::Echo(Echo { socket }) => measure::echo(&socket),
        Command::MeasureDoor(MeasureDoor { rounds, count }) => measure_door::run(rounds, count),
        Command::MeasureTender(MeasureTender { rounds }) => measure_tender::run(rounds),
        Command::Profile(Profile { only }) => profile::run(&only),
        Command::Load(Load { minutes, commands, guests, seed, debug }) => {
            load::run(&load::Wanted { minutes, commands, guests, seed, debug })
        }
        Command::Links(Links {}) => links::run(),
        Command::Systemd(Systemd { suite, kvm }) => systemd::run(suite, kvm),
        Command::Packages(Packages { maintainer, test, suite, machine }) => {
            packages::run(packages::Wanted { maintainer, test, suite, machine })
        }
        Command::Pages(Pages { folder }) => pages::run(&folder),
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
