//! Which tender runs an image, and what it needs to start. Asking one for its version takes a while, so it is
//! done beside the loop and remembered.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use albatross_core::image::Target;
use albatross_core::vmmd::{Outcome, TaskFailure, TaskId};
use mio::Waker;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::pipe2;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::confine::{Confinement, Launch, Limits, Needs, View, launch, needs};

/// How long a tender may take to tell its version, in milliseconds. It prints two lines.
const VERSION_PATIENCE: u16 = 5000;
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
    waker: Arc<Waker>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

type Identity = (u64, u64, i64, i64, u64);

/// What is known of a program.
struct Known {
    /// The version that it told.
    version: Option<u32>,
    /// What it needs to start, where tenders are confined.
    needs: Needs,
}

struct Answer {
    task: TaskId,
    target: Target,
    wanted: u32,
    asked: Vec<(PathBuf, Identity, Result<Known, String>)>,
    candidates: Vec<PathBuf>,
}

impl Tenders {
    pub(crate) fn new(dbdir: &Path, confinement: Arc<Confinement>, waker: Arc<Waker>) -> Self {
        let (sender, answers) = mpsc::channel();
        Self { dbdir: dbdir.to_owned(), confinement, known: HashMap::new(), waker, sender, answers }
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
        let unknown: Vec<PathBuf> = candidates.iter().filter(|path| !self.is_known(path)).cloned().collect();
        if unknown.is_empty() {
            return Some(self.choose(&candidates, target, abi_version, &[]));
        }
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let confinement = Arc::clone(&self.confinement);
        let ask = move || {
            let asked = unknown.into_iter().filter_map(|path| {
                let found = identity(&path)?;
                let known = ask(&confinement, &path);
                Some((path, found, known))
            });
            let answer = Answer { task, target, wanted: abi_version, asked: asked.collect(), candidates };
            // The daemon is over where nobody receives any more.
            _ = sender.send(answer);
            _ = waker.wake();
        };
        match thread::Builder::new().name("tender-version".to_owned()).spawn(ask) {
            Ok(_) => None,
            Err(error) => {
                Some(Err(TaskFailure(format!("cannot ask the tenders for their version: {error}"))))
            }
        }
    }

    /// Answers that came meanwhile.
    pub(crate) fn answers(&mut self) -> Vec<(TaskId, Result<Outcome, TaskFailure>)> {
        let answers: Vec<Answer> = self.answers.try_iter().collect();
        let mut done = Vec::new();
        for Answer { task, target, wanted, asked, candidates } in answers {
            let mut failures = Vec::new();
            for (path, identity, known) in asked {
                match known {
                    Ok(known) => _ = self.known.insert(path, (identity, known)),
                    Err(why) => failures.push(why),
                }
            }
            done.push((task, self.choose(&candidates, target, wanted, &failures)));
        }
        done
    }

    /// Whether the program was asked, and still is the same.
    fn is_known(&self, path: &Path) -> bool {
        self.known.get(path).is_some_and(|(known, _)| identity(path).as_ref() == Some(known))
    }

    fn choose(
        &self,
        candidates: &[PathBuf],
        target: Target,
        wanted: u32,
        failures: &[String],
    ) -> Result<Outcome, TaskFailure> {
        let fits =
            |path: &&PathBuf| self.known.get(*path).is_some_and(|(_, known)| known.version == Some(wanted));
        if let Some(path) = candidates.iter().find(fits) {
            return Ok(Outcome::Tender(path.clone()));
        }
        let failures: String = failures.iter().flat_map(|why| ["; ", why]).collect();
        Err(TaskFailure(format!(
            "no tender for {target} images of ABI version {wanted}: install solo5-{target}, or put it into \
             {}{failures}",
            self.dbdir.display()
        )))
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
fn ask(confinement: &Confinement, tender: &Path) -> Result<Known, String> {
    let needs = match confinement.users {
        Some(_) => needs(tender).map_err(|error| error.to_string())?,
        None => Needs::new(),
    };
    let version =
        ask_version(confinement, tender, &needs).map_err(|error| format!("{}: {error}", tender.display()))?;
    Ok(Known { version, needs })
}

/// Runs `tender --version`, confined like any other, and reads the line `ABI version N` from what it prints.
fn ask_version(confinement: &Confinement, tender: &Path, needs: &Needs) -> io::Result<Option<u32>> {
    let null = File::open("/dev/null")?;
    // What fits into a pipe is there when it has ended, and more is of no interest.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let view = || needs.iter().fold(View::default().read(tender), |view, path| view.read(path));
    let asked = Launch {
        program: tender,
        arguments: &[b"--version".to_vec()],
        streams: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        cpus: None,
        own: confinement.users.map(|range| (view(), range.readers())),
        group: None,
        limits: Limits { address_space: Some(VERSION_SPACE), ..Limits::default() },
    };
    let pid = launch(confinement, &asked).map_err(io::Error::other)?;
    let pidfd =
        pidfd_open(Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty());
    let pidfd = pidfd.inspect_err(|_| _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL))?;
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::from(VERSION_PATIENCE)).is_ok_and(|count| count == 0) {
        _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    if !matches!(waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)?, WaitStatus::Exited(_, 0)) {
        return Ok(None);
    }
    let mut printed = Vec::new();
    match File::from(reader).take(VERSION_OUTPUT).read_to_end(&mut printed) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(abi_version(&String::from_utf8_lossy(&printed))),
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
}
