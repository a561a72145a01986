//! Packages for Debian: what `[package.metadata.deb]` of albatrossd and of the client list, built by cargo-deb, with the
//! manual pages and completions that are made here. lintian looks at them.
//!
//! With `--test` they are installed in a container (systemd-nspawn), or in a virtual machine, used, replaced by a second
//! version while a unikernel runs, there again after a restart of the container, removed and purged: the scripts in
//! `bins/xtask/packages` say what is shown there.

mod maintainer;
mod manual;
#[cfg(test)]
mod nixos;
#[cfg(test)]
mod tests;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use albatross_e2e::programs::{cargo, target_directory, workspace};
use albatross_e2e::{Failure, Profile, Programs};

use crate::pages;
use crate::systemd::{self, output, run_to_end, say, unexpected};

/// The crates with a `[package.metadata.deb]`.
const CRATES: [&str; 2] = ["albatrossd", "albatross-client"];

/// Programs whose manual pages are made of what they print for `--help`, each with the line that names its purpose.
const DAEMONS: [(&str, &str); 8] = [
    ("albatrossd", "creates and supervises unikernels"),
    ("albatross-console", "keeps what unikernels print"),
    ("albatross-log", "keeps the event log of albatross"),
    ("albatross-stats", "gathers statistics of unikernels"),
    ("albatross-influx", "writes statistics of unikernels to a database"),
    ("albatross-metrics", "shows statistics of unikernels to Prometheus"),
    ("albatross-tls-endpoint", "lets clients with certificates command albatross"),
    ("albatross-tls-inetd", "lets one client with certificates command albatross"),
];

/// The revision of the packages, and that of those which replace them in the test.
const REVISIONS: [&str; 2] = ["1", "2"];

/// The scripts that show it, in the order in which they run; the first has what they have in common.
const SCRIPTS: [&str; 4] = ["common", "test", "restarted", "removed"];

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Who answers for the packages, `NAME <ADDRESS>`; otherwise it stands in the environment.
    pub(crate) maintainer: Option<String>,
    /// To show what they do.
    pub(crate) test: bool,
    /// There on this Debian, or on this machine's.
    pub(crate) suite: Option<String>,
    /// There in a virtual machine.
    pub(crate) machine: bool,
}

/// Builds the packages into the target directory, and shows what they do.
pub(crate) fn run(Wanted { maintainer, test, suite, machine }: Wanted) -> Result<(), Failure> {
    let named = maintainer::find(maintainer, |name| env::var(name).ok())
        .map_err(|error| unexpected("packages", error))?;
    let maintainer = match &named {
        Some(named) => named,
        None if test => maintainer::NOBODY,
        None => {
            return Err(unexpected(
                "packages",
                "they name who answers for them: give --maintainer 'NAME <ADDRESS>', or set DEBFULLNAME and DEBEMAIL"
                    .to_owned(),
            ));
        }
    };
    if !cargo().args(["deb", "--version"]).output().is_ok_and(|it| it.status.success()) {
        return Err(unexpected(
            "packages",
            "cargo install --locked cargo-deb, and run this again".to_owned(),
        ));
    }
    let programs = Programs::build(Profile::Release, false)?;
    // Not `debian`: cargo-deb removes older packages there.
    let folder = target_directory().join("packages");
    _ = fs::remove_dir_all(&folder);
    let first = packages(&programs, maintainer, &folder, REVISIONS[0])?;
    lint(&first)?;
    if test {
        let second = packages(&programs, maintainer, &folder.join("next"), REVISIONS[1])?;
        install_and_show(&programs, [&first, &second], suite, machine)?;
    }
    first.iter().for_each(|package| say(&package.display().to_string()));
    if named.is_none() {
        say("nobody answers for these: before you hand some out, make them with --maintainer");
    }
    Ok(())
}

/// Makes the packages of this revision in `folder`.
fn packages(
    programs: &Programs,
    maintainer: &str,
    folder: &Path,
    revision: &str,
) -> Result<Vec<PathBuf>, Failure> {
    write_made(programs, maintainer, revision)?;
    fs::create_dir_all(folder).map_err(|error| Failure::io("make", folder, error))?;
    for name in CRATES {
        let mut command = cargo();
        command.args(["deb", "--no-build", "--package", name, "--deb-revision", revision]);
        command.args(["--maintainer", maintainer, "--output"]);
        run_to_end(command.arg(folder).env("CARGO_TARGET_DIR", target_directory()))?;
    }
    let made =
        systemd::entries(folder)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "deb"));
    Ok(made.collect())
}

/// Writes what packages have that is not in the repository, to where their lists of files expect it.
fn write_made(programs: &Programs, maintainer: &str, revision: &str) -> Result<(), Failure> {
    let share = programs.directory().join("share");
    _ = fs::remove_dir_all(&share);
    pages::run(&share)?;
    let manuals = share.join("man/man8");
    fs::create_dir_all(&manuals).map_err(|error| Failure::io("make", &manuals, error))?;
    for (name, purpose) in DAEMONS {
        let help = output(Command::new(programs.path(name)).arg("--help"))?;
        let page = manual::page(name, purpose, &help)
            .ok_or_else(|| unexpected(name, "what it prints for --help has another form".to_owned()))?;
        write(&manuals.join(format!("{name}.8")), &page)?;
    }
    // The command that it is has its place there.
    write(&share.join("man/man1/albatross-top.1"), ".so man1/albatross-client.1\n")?;
    let mut git = Command::new("git");
    let date = output(git.args(["log", "-1", "--format=%cD"]).current_dir(workspace()))?;
    write(&share.join("changelog.Debian"), &changelog(revision, maintainer, date.trim()))?;
    let changes = workspace().join("CHANGELOG.md");
    fs::copy(&changes, share.join("changelog")).map_err(|error| Failure::io("copy", &changes, error))?;
    let mut files = vec![share.join("changelog.Debian"), share.join("changelog")];
    files.extend(systemd::entries(&share.join("man/man1"))?);
    files.extend(systemd::entries(&manuals)?);
    run_to_end(Command::new("gzip").args(["-9", "--no-name"]).args(files))
}

/// That of the package. That of the programs is beside it.
fn changelog(revision: &str, maintainer: &str, date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "albatross ({version}-{revision}) unstable; urgency=medium\n\n  * What is new is in changelog.gz beside this file.\n\n \
         -- {maintainer}  {date}\n"
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io("write", path, error))
}

/// Has lintian look at them, where it is installed.
fn lint(packages: &[PathBuf]) -> Result<(), Failure> {
    if !systemd::is_there("lintian") {
        say("skipped: lintian is not installed");
        return Ok(());
    }
    let mut command = Command::new("lintian");
    command.args([
        "--allow-root",
        "--fail-on",
        "error,warning,info",
        "--display-info",
        "--tag-display-limit",
        "0",
    ]);
    run_to_end(command.args(packages))?;
    say("lintian finds nothing that is not explained in the packages' overrides");
    Ok(())
}

/// Shows what they do on a system of their own.
fn install_and_show(
    programs: &Programs,
    [first, second]: [&[PathBuf]; 2],
    suite: Option<String>,
    machine: bool,
) -> Result<(), Failure> {
    let system = systemd::Machine::new(suite, "-packages")?;
    let here = workspace().join("bins/xtask");
    let mut files = vec![
        (here.join("systemd/init"), "init".to_owned()),
        (here.join("systemd/test.service"), "etc/systemd/system/test.service".to_owned()),
        (programs.guest("tick"), "opt/albatross/tick".to_owned()),
    ];
    files.extend(SCRIPTS.map(|name| (here.join("packages").join(name), format!("opt/albatross/{name}"))));
    for (packages, place) in [(first, "first"), (second, "second")] {
        let folder = system.system().join("opt/albatross").join(place);
        _ = fs::remove_dir_all(&folder);
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.extend(packages.iter().map(|it| (it.clone(), format!("opt/albatross/{place}/{}", name(it)))));
    }
    system.install(&files)?;
    if machine { system.run(false) } else { system.contain() }
}
