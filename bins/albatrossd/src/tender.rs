//! Which tender runs an image, and what it needs to start. Asking one for its version takes a while, so it is
//! done beside the loop and remembered.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::image::Target;
use albatross_core::vmmd::{Outcome, TaskFailure, TaskId};
use albatross_driver::logging::Logger;
use mio::Waker;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::pipe2;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::confine::{Confinement, Launch, Limits, Needs, Uses, View, launch, needs};

/// How long a tender may take to tell its version, in milliseconds. It prints two lines.
const VERSION_PATIENCE: u16 = 5000;
/// How long one that took longer is passed over before it is asked again: the machine may have been busy.
const SILENT: Duration = Duration::from_secs(60);
/// The most octets of that output that are looked at.
const VERSION_OUTPUT: u64 = 4096;
/// The tender that ships with albatross, and the directory where packages put it.
const OWN_TENDER: &str = "albatross-spt";
const LIBEXEC: &str = "/usr/libexec/albatross";
/// Octets of address space for a tender that tells its version.
const VERSION_SPACE: u64 = 256 * 1024 * 1024;

/// Finds tenders.
pub(crate) struct Tenders {
    dbdir: PathBuf,
    confinement: Arc<Confinement>,
    /// What is known of each program, with what tells whether it is still the same program.
    known: HashMap<PathBuf, (Identity, Known)>,
    /// What is wanted and waits until its candidates have answered, in the order in which it came.
    wanted: Vec<Wanted>,
    /// Those that are being asked. A tender that does not answer is asked once, however many starts want to
    /// know.
    asking: HashSet<PathBuf>,
    waker: Arc<Waker>,
    sender: Sender<Asked>,
    answers: Receiver<Asked>,
}

type Identity = (u64, u64, i64, i64, u64);

/// What is known of a program.
struct Known {
    /// The version that it told, or why it did not.
    version: Result<u32, Untold>,
    /// What it needs to start, where tenders are confined.
    needs: Needs,
}

/// Why a tender is not known to have a version.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Untold {
    /// It did not end in time; when that was.
    Silent(Instant),
    /// It did not exit with 0.
    Failed(String),
    /// It printed something else.
    Rubbish,
}

/// A tender that is looked for.
struct Wanted {
    task: TaskId,
    target: Target,
    abi_version: u32,
    candidates: Vec<PathBuf>,
    /// Why those of them that cannot be asked cannot.
    failures: Vec<(PathBuf, String)>,
}

/// A tender that was asked: what is known of it now, or why it cannot be started.
struct Asked {
    path: PathBuf,
    known: Result<(Identity, Known), String>,
}

/// What came of looking for a tender.
type Found = (TaskId, Result<Outcome, TaskFailure>);

impl Tenders {
    pub(crate) fn new(dbdir: &Path, confinement: Arc<Confinement>, waker: Arc<Waker>) -> Self {
        let (sender, answers) = mpsc::channel();
        let (known, wanted, asking) = (HashMap::new(), Vec::new(), HashSet::new());
        Self { dbdir: dbdir.to_owned(), confinement, known, wanted, asking, waker, sender, answers }
    }

    /// What the tender needs to start, if that is known.
    pub(crate) fn needs(&self, tender: &Path) -> &[PathBuf] {
        self.known.get(tender).map_or(&[], |(_, known)| &known.needs)
    }

    /// Looks for a tender; an answer at once, or later from [`Self::answers`].
    pub(crate) fn find(
        &mut self,
        task: TaskId,
        target: Target,
        abi_version: u32,
    ) -> Option<Result<Outcome, TaskFailure>> {
        let candidates = match target {
            Target::Spt => self.candidates("spt", abi_version),
            Target::Hvt => self.candidates("hvt", abi_version),
            _ => {
                return Some(Err(TaskFailure(format!(
                    "there is no tender for {target} images on this system"
                ))));
            }
        };
        let mut wanted = Wanted { task, target, abi_version, candidates, failures: Vec::new() };
        for path in &wanted.candidates {
            if !self.is_known(path)
                && !self.asking.contains(path)
                && let Err(error) = self.ask(path)
            {
                let why = format!("{} cannot be asked for its version: {error}", path.display());
                wanted.failures.push((path.clone(), why));
                // It may be another program by now.
                self.known.remove(path);
            }
        }
        let found = self.choose(&wanted);
        if found.is_none() {
            self.wanted.push(wanted);
        }
        found
    }

    /// Asks a tender for its version, in a thread of its own: it may not answer.
    fn ask(&mut self, path: &Path) -> io::Result<()> {
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let (confinement, tender) = (Arc::clone(&self.confinement), path.to_owned());
        let ask = move || {
            let known = ask(&confinement, &tender);
            // The daemon is over where nobody receives any more.
            _ = sender.send(Asked { path: tender, known });
            _ = waker.wake();
        };
        thread::Builder::new().name("tender-version".to_owned()).spawn(ask)?;
        self.asking.insert(path.to_owned());
        Ok(())
    }

    /// Answers that came meanwhile.
    pub(crate) fn answers(&mut self, log: &Logger) -> Vec<Found> {
        while let Ok(asked) = self.answers.try_recv() {
            self.note(asked, log);
        }
        let mut found = Vec::new();
        for wanted in std::mem::take(&mut self.wanted) {
            match self.choose(&wanted) {
                Some(result) => found.push((wanted.task, result)),
                None => self.wanted.push(wanted),
            }
        }
        found
    }

    fn note(&mut self, Asked { path, known }: Asked, log: &Logger) {
        self.asking.remove(&path);
        match known {
            Ok((identity, known)) => {
                if let Err(why) = &known.version {
                    log.warning(format_args!("the tender {} is passed over: it {why}", path.display()));
                }
                self.known.insert(path, (identity, known));
            }
            Err(why) => {
                log.warning(format_args!("a tender is passed over: {why}"));
                self.known.remove(&path);
                for wanted in self.wanted.iter_mut().filter(|wanted| wanted.candidates.contains(&path)) {
                    wanted.failures.push((path.clone(), why.clone()));
                }
            }
        }
    }

    /// Whether the program was asked, and still is the same.
    fn is_known(&self, path: &Path) -> bool {
        self.known.get(path).is_some_and(|(identified, known)| {
            let may_speak = matches!(&known.version, Err(Untold::Silent(when)) if when.elapsed() > SILENT);
            !may_speak && identity(path).as_ref() == Some(identified)
        })
    }

    /// The first candidate that fits; `None` while one before it is being asked.
    fn choose(&self, wanted: &Wanted) -> Option<Result<Outcome, TaskFailure>> {
        let Wanted { target, abi_version, candidates, failures, .. } = wanted;
        let mut others = String::new();
        for path in candidates {
            if self.asking.contains(path) {
                return None;
            }
            let at = path.display();
            others += &match self.known.get(path).map(|(_, known)| &known.version) {
                Some(Ok(version)) if runs(path, *version, *abi_version) => {
                    return Some(Ok(Outcome::Tender(path.clone())));
                }
                Some(Ok(version)) => format!("; {at} is for ABI version {version}"),
                Some(Err(why)) => format!("; {at} {why}"),
                None => {
                    let failure = failures.iter().find(|(failed, _)| failed == path);
                    failure.map_or_else(String::new, |(_, why)| format!("; {why}"))
                }
            };
        }
        Some(Err(TaskFailure(format!(
            "no tender for {target} images of ABI version {abi_version}: install solo5-{target}, or put it \
             into {}{others}",
            self.dbdir.display(),
        ))))
    }

    /// The executables that may do, in the order of preference.
    fn candidates(&self, target: &str, abi_version: u32) -> Vec<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> =
            std::env::split_paths(&path).filter(|directory| directory.is_absolute()).collect();
        let mut all = Vec::new();
        for name in [format!("solo5-{target}.{abi_version}"), format!("solo5-{target}")] {
            all.push(self.dbdir.join(&name));
            all.extend(directories.iter().map(|directory| directory.join(&name)));
        }
        all.retain(|path| is_executable(path));
        if target == "spt" {
            all.extend(own_tender());
        }
        all
    }
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(_) => {
                write!(f, "does not tell its version within {} s", VERSION_PATIENCE / 1000)
            }
            Self::Failed(how) => write!(f, "{how} when asked for its version"),
            Self::Rubbish => f.write_str("prints no line `ABI version N` when asked for its version"),
        }
    }
}

/// Whether a tender that told this version runs images of that one: its own, and where it is ours, also earlier ones.
fn runs(tender: &Path, version: u32, wanted: u32) -> bool {
    version == wanted || is_ours(tender) && (1..version).contains(&wanted)
}

/// Whether a tender is the one that ships with albatross. It takes open descriptors of what others open.
pub(crate) fn is_ours(tender: &Path) -> bool {
    tender.file_name() == Some(OsStr::new(OWN_TENDER))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// The tender that ships with albatross: beside this program, or where packages put it.
fn own_tender() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(OWN_TENDER)));
    beside.into_iter().chain([Path::new(LIBEXEC).join(OWN_TENDER)]).find(|path| is_executable(path))
}

/// Finds out what `tender` needs to start, and its version. An error says why it cannot be started; one that
/// starts and tells no version is known to have none.
fn ask(confinement: &Confinement, tender: &Path) -> Result<(Identity, Known), String> {
    let identity = identity(tender).ok_or_else(|| format!("{} is not there any more", tender.display()))?;
    let needs = match confinement.users {
        Some(_) => needs(tender).map_err(|error| error.to_string())?,
        None => Needs::new(),
    };
    let version =
        ask_version(confinement, tender, &needs).map_err(|error| format!("{}: {error}", tender.display()))?;
    Ok((identity, Known { version, needs }))
}

/// Runs `tender --version`, confined like any other, and reads the line `ABI version N` from what it prints.
fn ask_version(confinement: &Confinement, tender: &Path, needs: &Needs) -> io::Result<Result<u32, Untold>> {
    let null = File::open("/dev/null")?;
    // What fits into a pipe is there when it has ended, and more is of no interest.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let view = || needs.iter().fold(View::default().read(tender), |view, path| view.read(path));
    let asked = Launch {
        program: tender,
        arguments: &[b"--version".to_vec()],
        streams: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        descriptors: &[],
        cpus: None,
        own: confinement.users.map(|range| (view(), range.readers())),
        uses: Uses::default(),
        group: None,
        limits: Limits { address_space: Some(VERSION_SPACE), ..Limits::default() },
    };
    let pid = launch(confinement, &asked).map_err(io::Error::other)?;
    let pidfd =
        pidfd_open(Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty());
    let pidfd = pidfd.inspect_err(|_| _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL))?;
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let is_silent = poll(&mut ready, PollTimeout::from(VERSION_PATIENCE)).is_ok_and(|count| count == 0);
    if is_silent {
        _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let end = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)?;
    if is_silent {
        return Ok(Err(Untold::Silent(Instant::now())));
    }
    match end {
        WaitStatus::Exited(_, 0) => {}
        WaitStatus::Exited(_, code) => return Ok(Err(Untold::Failed(format!("exits with code {code}")))),
        WaitStatus::Signaled(_, signal, _) => {
            return Ok(Err(Untold::Failed(format!("is ended by {signal}"))));
        }
        _ => return Ok(Err(Untold::Failed("ends".to_owned()))),
    }
    let mut printed = Vec::new();
    match File::from(reader).take(VERSION_OUTPUT).read_to_end(&mut printed) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(abi_version(&String::from_utf8_lossy(&printed)).ok_or(Untold::Rubbish)),
    }
}

fn abi_version(printed: &str) -> Option<u32> {
    printed.lines().find_map(|line| line.trim().strip_prefix("ABI version ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_a_tender_prints() {
        assert_eq!(abi_version("solo5-spt tender, version v0.12.1\nABI version 2\n"), Some(2));
        assert_eq!(abi_version("ABI version two"), None);
        assert_eq!(abi_version(""), None);
    }

    #[test]
    fn our_tender_runs_images_of_earlier_versions_too() {
        let (ours, another) = (Path::new("/x/albatross-spt"), Path::new("/x/solo5-spt"));
        let wanted = 0..4;
        assert_eq!(
            wanted.clone().map(|it| runs(ours, 2, it)).collect::<Vec<_>>(),
            [false, true, true, false]
        );
        assert_eq!(wanted.map(|it| runs(another, 2, it)).collect::<Vec<_>>(), [false, false, true, false]);
    }
}
