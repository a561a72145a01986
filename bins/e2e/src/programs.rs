//! Builds the programs and the guests, and says where they are.
//!
//! A test of this crate cannot name the programs of other crates as its dependencies, so they are built here,
//! by the cargo that built the test, into the same target directory. Cargo's own lock lets several processes
//! do so at once; when nothing has changed it takes a fraction of a second. Where `ALBATROSS_PROGRAMS` names
//! a directory, the programs in it are taken as they are, and the guests in its `guests` if there is one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::Failure;

/// Names a directory with programs to use instead of building them.
pub const PROGRAMS_VARIABLE: &str = "ALBATROSS_PROGRAMS";

/// Every program that the harness starts.
pub const NAMES: [&str; 9] = [
    "albatrossd",
    "albatross-console",
    "albatross-log",
    "albatross-stats",
    "albatross-influx",
    "albatross-metrics",
    "albatross-tls-endpoint",
    "albatross-client",
    "albatross-spt",
];

/// How the programs are built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Quickly, with checks. Tests run these.
    #[default]
    Dev,
    /// As they are delivered. Figures are taken from these.
    Release,
}

/// Built programs and guests.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
    guests: PathBuf,
}

impl Programs {
    /// The programs for tests, built by the first who asks.
    ///
    /// # Errors
    /// Where they do not build.
    pub fn for_tests() -> Result<&'static Self, Failure> {
        static PROGRAMS: OnceLock<Option<Programs>> = OnceLock::new();
        let mut failure = None;
        let programs =
            PROGRAMS.get_or_init(|| Self::build(Profile::Dev, true).map_err(|it| failure = Some(it)).ok());
        programs.as_ref().ok_or_else(|| failure.unwrap_or(Failure::BuildBefore))
    }

    /// Builds programs and guests. Cargo shows its progress unless `quiet`.
    ///
    /// # Errors
    /// Where cargo cannot be run or does not succeed.
    pub fn build(profile: Profile, quiet: bool) -> Result<Self, Failure> {
        let target = target_directory();
        let Some(directory) = env::var_os(PROGRAMS_VARIABLE).map(PathBuf::from) else {
            let directory = build_programs(&target, profile, quiet)?;
            return Ok(Self { directory, guests: build_guests(&target, quiet)? });
        };
        let guests = directory.join("guests");
        let guests = if guests.is_dir() { guests } else { build_guests(&target, quiet)? };
        Ok(Self { directory, guests })
    }

    /// The file of the program `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory that they are in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The image of a guest from `bins/guests`.
    #[must_use]
    pub fn guest(&self, name: &str) -> PathBuf {
        self.guests.join(name)
    }
}

/// The top of the checkout that this was built from.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cargo that runs this, or the one on the path.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).stdin(Stdio::null());
    command
}

/// The target directory that the running program was built into: the one above it that cargo has tagged.
#[must_use]
pub fn target_directory() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let tagged = program.ancestors().filter(|directory| directory.join("CACHEDIR.TAG").is_file());
    tagged.last().map_or_else(|| workspace().join("target"), Path::to_owned)
}

fn build_programs(target: &Path, profile: Profile, quiet: bool) -> Result<PathBuf, Failure> {
    let mut command = cargo();
    command.args(["build", "--bins", "--target-dir"]).arg(target);
    for name in NAMES {
        command.args(["-p", name]);
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    build(command, quiet)?;
    Ok(target.join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    }))
}

/// The guests are linked by a script of their own, which flags for the host's programs would spoil.
fn build_guests(target: &Path, quiet: bool) -> Result<PathBuf, Failure> {
    let target = target.join("tmp/guests");
    let mut command = cargo();
    command.args([
        "build",
        "--release",
        "--locked",
        "--offline",
        "--manifest-path",
        "bins/guests/Cargo.toml",
    ]);
    command.arg("--target-dir").arg(&target);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(variable);
    }
    build(command, quiet)?;
    Ok(target.join("release"))
}

fn build(mut command: Command, quiet: bool) -> Result<(), Failure> {
    if quiet {
        command.arg("--quiet");
    }
    let status = command.status().map_err(|error| Failure::io("run", Path::new("cargo"), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Build { status }) }
}
