//! Which tender runs an image. Asking one for its version takes a while, so it is done beside the loop and
//! remembered.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use albatross_core::image::Target;
use albatross_core::vmmd::{Outcome, TaskFailure, TaskId};
use mio::Waker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// How long a tender may take to tell its version, in milliseconds. It prints two lines.
const VERSION_PATIENCE: u16 = 5000;
/// The most octets of that output that are looked at.
const VERSION_OUTPUT: u64 = 4096;
/// The tender that ships with albatross, and the directory where packages put it.
const OWN_TENDER: &str = "albatross-spt";
const LIBEXEC: &str = "/usr/libexec/albatross";
/// The version of the spt interface that it speaks.
const OWN_ABI: u32 = 2;

/// Finds tenders.
pub(crate) struct Tenders {
    dbdir: PathBuf,
    /// What each program said, with what tells whether it is still the same program.
    known: HashMap<PathBuf, (Identity, Option<u32>)>,
    waker: Arc<Waker>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

type Identity = (u64, u64, i64, i64, u64);

struct Answer {
    task: TaskId,
    target: Target,
    wanted: u32,
    asked: Vec<(PathBuf, Identity, Option<u32>)>,
    candidates: Vec<PathBuf>,
}

impl Tenders {
    pub(crate) fn new(dbdir: &Path, waker: Arc<Waker>) -> Self {
        let (sender, answers) = mpsc::channel();
        Self { dbdir: dbdir.to_owned(), known: HashMap::new(), waker, sender, answers }
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
        let unknown: Vec<PathBuf> =
            candidates.iter().filter(|path| self.version(path).is_none()).cloned().collect();
        if unknown.is_empty() {
            return Some(self.choose(&candidates, target, abi_version));
        }
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let ask = move || {
            let asked = unknown
                .into_iter()
                .filter_map(|path| Some((path.clone(), identity(&path)?, ask_version(&path))));
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
            for (path, identity, version) in asked {
                self.known.insert(path, (identity, version));
            }
            done.push((task, self.choose(&candidates, target, wanted)));
        }
        done
    }

    /// The version that this program told, if it is known and the program is still the same.
    fn version(&self, path: &Path) -> Option<Option<u32>> {
        let (known, version) = self.known.get(path)?;
        (identity(path).as_ref() == Some(known)).then_some(*version)
    }

    fn choose(&self, candidates: &[PathBuf], target: Target, wanted: u32) -> Result<Outcome, TaskFailure> {
        let fits =
            |path: &&PathBuf| self.known.get(*path).is_some_and(|(_, version)| *version == Some(wanted));
        if let Some(path) = candidates.iter().find(fits) {
            return Ok(Outcome::Tender(path.clone()));
        }
        match own_tender() {
            Some(own) if target == Target::Spt && wanted == OWN_ABI => Ok(Outcome::Tender(own)),
            _ => Err(TaskFailure(format!(
                "no tender for {target} images of ABI version {wanted}: install solo5-{target}, or put it into {}",
                self.dbdir.display()
            ))),
        }
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

/// Runs `tender --version` and reads the line `ABI version N` from what it prints.
fn ask_version(tender: &Path) -> Option<u32> {
    let mut command = Command::new(tender);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let ended = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).is_some_and(|pid| {
        pidfd_open(pid, PidfdFlags::empty()).is_ok_and(|pidfd| {
            let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::from(VERSION_PATIENCE)).is_ok_and(|count| count > 0)
        })
    });
    if !ended {
        _ = child.kill();
    }
    if !child.wait().ok()?.success() {
        return None;
    }
    let mut printed = Vec::new();
    // Both are read after the end: what fits into a pipe is there, and more is of no interest.
    child.stdout.take()?.take(VERSION_OUTPUT).read_to_end(&mut printed).ok()?;
    child.stderr.take()?.take(VERSION_OUTPUT).read_to_end(&mut printed).ok()?;
    abi_version(&String::from_utf8_lossy(&printed))
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
