//! albatrossd as a unit of a real systemd: a virtual machine with Debian's kernel and systemd, control groups of
//! version 2 with all controllers, and the units of `packaging/systemd`. What is shown there is in
//! `bins/xtask/systemd/test`.
//!
//! Needs root (debootstrap), the packages that are named where they are missing, and Debian's mirror as this
//! machine's apt is told it. Kernel and system are kept in the target directory for the next time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::programs::{cargo, target_directory, workspace};
use albatross_e2e::run::kill;
use albatross_e2e::{Failure, Profile, Programs};

/// How long the virtual machine may run. Emulated on a busy machine it takes some three minutes.
const PATIENCE: Duration = Duration::from_secs(900);
/// Programs that this runs, each with the package of Debian that has it.
const NEEDED: [(&str, &str); 2] = [("debootstrap", "debootstrap"), ("strip", "binutils")];
const NEEDED_TO_RUN: [(&str, &str); 2] = [("qemu-system-x86_64", "qemu-system-x86"), ("cpio", "cpio")];
const NEEDED_TO_CONTAIN: [(&str, &str); 1] = [("systemd-nspawn", "systemd-container")];
/// What systemd-nspawn ends with where the system in it wants to be restarted (`EXIT_FORCE_RESTART` of systemd).
const RESTARTS: i32 = 133;
/// How often a container is started, at most: a test restarts it once.
const STARTS: u32 = 2;
/// Puts what a container writes (`$2`) over what is installed (`$1`), and runs the rest there.
const LAYERS: &str = "mount -t overlay -o \"lowerdir=$1,upperdir=$2/upper,workdir=$2/work\" system \"$2/root\" && \
                      shift 2 && exec \"$@\"";
/// The kernel for virtual machines: it needs no modules for what is shown.
const KERNEL: &str = "linux-image-cloud-amd64";
/// What the system has besides what every Debian has.
const PACKAGES: &str = "systemd,systemd-sysv,dbus";
/// Units that wait for devices that there are none of, and one that takes the console away.
const MASKED: [&str; 3] = ["getty@.service", "serial-getty@.service", "console-getty.service"];
/// Where an administrator's units are.
const UNITS: &str = "etc/systemd/system";
/// Directories that take room and that nobody reads there.
const LEFT_OUT: [&str; 5] =
    ["./var/cache/apt", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/locale", "./usr/share/man"];
/// The last lines of `bins/xtask/systemd/test`.
const PASSED: &str = "systemd-test: passed";
const FAILED: &str = "systemd-test: failed";

/// Shows it on a system of the Debian release `suite`, or of that of this machine; with the machine's virtualization
/// where `kvm` says so.
pub(crate) fn run(suite: Option<String>, kvm: bool) -> Result<(), Failure> {
    let machine = Machine::new(suite, "")?;
    let programs = Programs::build(Profile::Dev, false)?;
    run_to_end(
        cargo()
            .args(["build", "-p", "albatross-e2e", "--bin", "hostile", "--target-dir"])
            .arg(target_directory()),
    )?;
    machine.install(&files(&programs))?;
    machine.run(kvm)
}

/// A system that is started with the files of a directory, and runs `opt/albatross/test`: in a virtual machine, or in a
/// container.
#[derive(Debug)]
pub(crate) struct Machine {
    suite: String,
    /// Where the kernel is kept, and systems.
    directory: PathBuf,
    system: PathBuf,
}

impl Machine {
    /// One with Debian `suite`, or that of this machine. What is installed in one of another `suffix` is not there.
    ///
    /// # Errors
    /// Where a program is missing that this needs, and where there is no such Debian.
    pub(crate) fn new(suite: Option<String>, suffix: &str) -> Result<Self, Failure> {
        need(&NEEDED)?;
        let suite = suite.map_or_else(own_suite, Ok)?;
        let directory = target_directory().join("systemd");
        fs::create_dir_all(&directory).map_err(|error| Failure::io("make", &directory, error))?;
        let system = directory.join(format!("{suite}{suffix}"));
        if !system.is_dir() {
            say(&format!("installing Debian {suite}"));
            let unfinished = directory.join(format!("{suite}{suffix}.new"));
            _ = fs::remove_dir_all(&unfinished);
            let mut command = Command::new("debootstrap");
            command.args(["--variant=minbase", &format!("--include={PACKAGES}"), &suite]).arg(&unfinished);
            run_to_end(command.arg(mirror()?))?;
            fs::rename(&unfinished, &system).map_err(|error| Failure::io("rename", &unfinished, error))?;
        }
        Ok(Self { suite, directory, system })
    }

    /// The directory that its files are in.
    pub(crate) fn system(&self) -> &Path {
        &self.system
    }

    /// Puts files to where they are there, `init`, `opt/albatross/test` and `test.service` among them.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(crate) fn install(&self, files: &[(PathBuf, String)]) -> Result<(), Failure> {
        install(files, &self.system)
    }

    /// Starts it as a virtual machine, waits for its end, and shows what it prints.
    ///
    /// # Errors
    /// Where it does not start, or what is shown there fails.
    pub(crate) fn run(&self, kvm: bool) -> Result<(), Failure> {
        need(&NEEDED_TO_RUN)?;
        let kernel = kernel(&self.directory)?;
        let image = self.system.with_extension("cpio");
        pack(&self.system, &image)?;
        say(&format!("starting a virtual machine with Debian {}", self.suite));
        boot(&kernel, &image, kvm)
    }

    /// The same as a container: with this machine's kernel, which may give it no controllers of control groups. Where it
    /// is restarted from inside, it finds what it wrote before. Afterwards that is gone.
    ///
    /// # Errors
    /// Where it does not start, or what is shown there fails.
    pub(crate) fn contain(&self) -> Result<(), Failure> {
        need(&NEEDED_TO_CONTAIN)?;
        let written = self.system.with_extension("written");
        _ = fs::remove_dir_all(&written);
        for layer in ["upper", "work", "root"] {
            let layer = written.join(layer);
            fs::create_dir_all(&layer).map_err(|error| Failure::io("make", &layer, error))?;
        }
        let result = self.start_and_restart(&written);
        _ = fs::remove_dir_all(&written);
        result
    }

    fn start_and_restart(&self, written: &Path) -> Result<(), Failure> {
        for _ in 0..STARTS {
            say(&format!("starting a container with Debian {}", self.suite));
            let ended = watch(&mut self.container(written))?;
            if ended.passed.is_some() || ended.status.code() != Some(RESTARTS) {
                return ended.result("systemd-nspawn");
            }
        }
        Err(unexpected(
            "systemd-nspawn",
            format!("started {STARTS} times, the system still wants to be restarted"),
        ))
    }

    /// Over what is installed lies what it writes, in a mount namespace of its own: nothing is left mounted here.
    fn container(&self, written: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", LAYERS, "sh"]);
        command.arg(&self.system).arg(written);
        command.args(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=read-only"]);
        // With a network of its own it may make devices there.
        command.args(["--private-network", &format!("--machine=albatross-{}", std::process::id())]);
        command.arg("--directory").arg(written.join("root")).args(["--boot", "systemd.show_status=0"]);
        // Control groups of version 2, whatever this machine uses itself.
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command
    }
}

/// Says what is to be installed for programs that are not there.
fn need(programs: &[(&str, &str)]) -> Result<(), Failure> {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(unexpected("systemd", format!("install {}, and run this again", missing.join(" "))))
    }
}

pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The release of this machine's Debian: programs that were built here run there.
fn own_suite() -> Result<String, Failure> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).map_err(|error| Failure::io("read", path, error))?;
    let suite = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    suite
        .map(str::to_owned)
        .ok_or_else(|| unexpected("systemd", "give the release of Debian: --suite".to_owned()))
}

/// Where apt finds Debian.
fn mirror() -> Result<String, Failure> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(ORIGIN) $(LABEL) $(SITE)", "Created-By: Packages"]);
    let printed = output(&mut command)?;
    let site = printed.lines().find_map(|line| line.strip_prefix("Debian Debian "));
    site.map(str::to_owned)
        .ok_or_else(|| unexpected("apt-get indextargets", "no mirror of Debian".to_owned()))
}

/// The kernel, as apt of this machine finds it.
fn kernel(directory: &Path) -> Result<PathBuf, Failure> {
    let place = directory.join("kernel");
    if let Some(kernel) = find_kernel(&place) {
        return Ok(kernel);
    }
    say("fetching a kernel");
    let depends = output(Command::new("apt-cache").args(["depends", "--important", KERNEL]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let package =
        package.ok_or_else(|| unexpected(KERNEL, "apt does not know it: apt-get update".to_owned()))?;
    run_to_end(
        Command::new("apt-get").args(["download", &format!("linux-image-{package}")]).current_dir(directory),
    )?;
    let fetched = entries(directory)?.into_iter().find(|path| path.extension().is_some_and(|it| it == "deb"));
    let fetched = fetched.ok_or_else(|| unexpected("apt-get download", "no package came".to_owned()))?;
    run_to_end(Command::new("dpkg-deb").arg("-x").arg(&fetched).arg(&place))?;
    fs::remove_file(&fetched).map_err(|error| Failure::io("remove", &fetched, error))?;
    find_kernel(&place).ok_or_else(|| unexpected(KERNEL, "it has no kernel in it".to_owned()))
}

fn find_kernel(place: &Path) -> Option<PathBuf> {
    let files = entries(&place.join("boot")).ok()?;
    files.into_iter().find(|path| path.to_string_lossy().contains("/vmlinuz-"))
}

pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(directory).and_then(|all| all.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(|error| Failure::io("read", directory, error))
}

/// Programs, units and the test, with where they are there.
fn files(programs: &Programs) -> Vec<(PathBuf, String)> {
    let (packaging, here) = (workspace().join("packaging"), workspace().join("bins/xtask/systemd"));
    let hostile = target_directory().join("debug/hostile");
    let program = |name: &str| (programs.path(name), format!("usr/bin/{name}"));
    let mut all: Vec<(PathBuf, String)> =
        ["albatrossd", "albatross-console", "albatross-log", "albatross-stats", "albatross-client"]
            .map(program)
            .into();
    all.extend([
        (programs.path("albatross-spt"), "usr/libexec/albatross/albatross-spt".to_owned()),
        (programs.guest("tick"), "opt/albatross/tick".to_owned()),
        (hostile, "opt/albatross/hostile".to_owned()),
        (here.join("test"), "opt/albatross/test".to_owned()),
        (here.join("test.service"), format!("{UNITS}/test.service")),
        (here.join("init"), "init".to_owned()),
        (packaging.join("sysusers.d/albatross.conf"), "usr/lib/sysusers.d/albatross.conf".to_owned()),
        (packaging.join("tmpfiles.d/albatross.conf"), "usr/lib/tmpfiles.d/albatross.conf".to_owned()),
    ]);
    for unit in [
        "albatrossd.service",
        "albatross-console.service",
        "albatross-console.socket",
        "albatross-log.service",
        "albatross-log.socket",
        "albatross-stats.service",
        "albatross-stats.socket",
    ] {
        all.push((packaging.join("systemd").join(unit), format!("usr/lib/systemd/system/{unit}")));
    }
    all
}

fn install(files: &[(PathBuf, String)], system: &Path) -> Result<(), Failure> {
    for (from, place) in files {
        let to = system.join(place);
        let parent = to.parent().unwrap_or(system);
        fs::create_dir_all(parent).map_err(|error| Failure::io("make", parent, error))?;
        fs::copy(from, &to).map_err(|error| Failure::io("copy", from, error))?;
        let is_program = fs::metadata(&to).is_ok_and(|it| it.permissions().mode() & 0o111 != 0);
        // The guest is what it is; of the others the names for debuggers are most of the size.
        if is_program && to.file_name().is_some_and(|name| name.to_string_lossy().starts_with("albatross")) {
            run_to_end(Command::new("strip").arg("--strip-debug").arg(&to))?;
        }
    }
    let links = MASKED.map(|unit| ("/dev/null", unit));
    for (target, link) in
        links.into_iter().chain([("../test.service", "multi-user.target.wants/test.service")])
    {
        let link = system.join(UNITS).join(link);
        _ = fs::remove_file(&link);
        symlink(target, &link).map_err(|error| Failure::io("make", &link, error))?;
    }
    Ok(())
}

/// Packs a system as the kernel unpacks it.
fn pack(system: &Path, image: &Path) -> Result<(), Failure> {
    let left_out: Vec<String> = LEFT_OUT.iter().map(|path| format!("-path {path}")).collect();
    let script = format!(
        "set -eo pipefail; find . -xdev \\( {} \\) -prune -o -print0 | cpio --null -o -H newc --quiet > \"$0\"",
        left_out.join(" -o ")
    );
    run_to_end(Command::new("bash").args(["-c", &script]).arg(image).current_dir(system))
}

/// Runs a virtual machine.
fn boot(kernel: &Path, image: &Path, kvm: bool) -> Result<(), Failure> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-accel",
        if kvm { "kvm" } else { "tcg,thread=multi" },
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "1536",
    ]);
    command.args(["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(image).arg("-append");
    command.arg("console=ttyS0 edd=off panic=-1 loglevel=4 systemd.show_status=0");
    watch(&mut command)?.result("qemu-system-x86_64")
}

/// How a machine ended.
struct Ended {
    /// Whether the test passed, if it said so.
    passed: Option<bool>,
    status: ExitStatus,
}

impl Ended {
    fn result(&self, program: &str) -> Result<(), Failure> {
        match self.passed {
            Some(true) => Ok(()),
            Some(false) => Err(unexpected("the test", "see above what failed".to_owned())),
            None => Err(unexpected(
                program,
                format!("no result within {PATIENCE:?}, see above; it ended with {}", self.status),
            )),
        }
    }
}

/// Runs it to its end, and shows what it prints.
fn watch(command: &mut Command) -> Result<Ended, Failure> {
    let program = PathBuf::from(command.get_program());
    let mut machine = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::io("run", &program, error))?;
    let printed = machine.stdout.take().map(|printed| thread::spawn(move || show(printed)));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !matches!(machine.try_wait(), Ok(Some(_))) {
        thread::sleep(Duration::from_millis(100));
    }
    kill(&mut machine);
    let status = machine.wait().map_err(|error| Failure::io("wait for", &program, error))?;
    Ok(Ended { passed: printed.and_then(|shown| shown.join().ok()).flatten(), status })
}

/// Shows what came, and whether the test passed, once it said so.
fn show(printed: impl std::io::Read) -> Option<bool> {
    let mut passed = None;
    for line in BufReader::new(printed).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        say(&line);
        passed = match line.as_str() {
            PASSED => Some(true),
            FAILED => Some(false),
            _ => passed,
        };
    }
    passed
}

pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let program = PathBuf::from(command.get_program());
    let output = command.output().map_err(|error| Failure::io("run", &program, error))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn run_to_end(command: &mut Command) -> Result<(), Failure> {
    let program = PathBuf::from(command.get_program());
    let status =
        command.stdin(Stdio::null()).status().map_err(|error| Failure::io("run", &program, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(unexpected(&program.to_string_lossy(), format!("it ended with {status}")))
    }
}

pub(crate) fn unexpected(command: &str, what: String) -> Failure {
    Failure::Unexpected { command: command.to_owned(), what }
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
