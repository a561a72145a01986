//! What a daemon leaves to the next one, as it is found at the start: tenders that run, and the files about them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use albatross_core::vmmd::{Config, Fate, Left, LeftTender};
use albatross_driver::logging::Logger;
use albatross_driver::server::Server;
use albatross_proto::Name;
use albatross_proto::state::Running;
use nix::fcntl::{FcntlArg, fcntl};

use crate::files::named;
use crate::identity;
use crate::net::Taps;
use crate::notes::{self, UNFINISHED};
use crate::process::Processes;

/// The files among the notes that are none. The names of notes contain `:`.
const LOCK: &str = ".lock";
const BOOT: &str = ".boot";

/// How the image of a running unikernel is named after its name.
const IMAGE: &str = ".img";

/// That this is the one daemon of its directories, until it is gone.
pub(crate) struct Lock {
    _file: File,
}

/// Makes the directory of the notes and takes the lock in it.
///
/// The socket alone does not tell that another daemon is there: one that ends gives it up first and may
/// still write the record. The lock is one of the process: unlike `flock` it is not inherited by a child that has
/// not come to exec yet, and so is free as soon as its daemon is gone, however that went.
pub(crate) fn lock(config: &Config) -> io::Result<Lock> {
    let notes = config.notes();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&notes)
        .map_err(|error| named(&notes, &error))?;
    let path = notes.join(LOCK);
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|error| named(&path, &error))?;
    let whole = libc::flock {
        l_type: libc::c_short::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(&file, FcntlArg::F_SETLK(&whole)) {
        Ok(_) => Ok(Lock { _file: file }),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
            let socket = config.tmpdir.join("util/vmmd.sock");
            let text = format!("the daemon of {} is still there, stop it first", socket.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
        Err(error) => Err(named(&path, &error.into())),
    }
}

/// Removes, unread, notes that were made before the machine was started: their tenders ended with it, other
/// processes have their ids, and after a power cut they may be of any content.
fn forget_before_boot(notes: &Path) -> io::Result<()> {
    let path = notes.join(BOOT);
    let boot = identity::boot()?;
    if fs::read(&path).is_ok_and(|noted| noted == boot.as_bytes()) {
        return Ok(());
    }
    for entry in entries(notes)?.into_iter().filter(|entry| entry.file_name() != LOCK) {
        fs::remove_file(entry.path()).map_err(|error| named(&entry.path(), &error))?;
    }
    fs::write(&path, boot).map_err(|error| named(&path, &error))
}

/// What a predecessor left. The ends of tenders that run are watched from now on.
pub(crate) fn find(
    config: &Config,
    taps: &Taps,
    processes: &mut Processes,
    server: &mut Server,
    log: &Logger,
) -> io::Result<Left> {
    forget_before_boot(&config.notes())?;
    let mut left = Left { taps: taps.made_before()?, ..Left::default() };
    for entry in entries(&config.notes())? {
        let path = entry.path();
        if entry.file_name() == LOCK || entry.file_name() == BOOT {
            continue;
        }
        if entry.file_name() == UNFINISHED {
            fs::remove_file(&path).map_err(|error| named(&path, &error))?;
            continue;
        }
        let Running { process, tender } = notes::read(config, &path)?;
        let token = server.token();
        let (pid, fate) = processes.take_over(&process, &tender.name, server.registry(), token)?;
        if let Fate::Ended(exit) = fate {
            log.debug(format_args!("{}: process {pid} ended: {exit:?}", tender.name));
        }
        left.tenders.push(LeftTender { pid, tender, fate });
    }
    for entry in entries(&config.tmpdir)? {
        let kind = entry.file_type()?;
        if let Some(name) = entry.file_name().to_str().and_then(|file| unikernel(file.strip_suffix(IMAGE)?))
            && (kind.is_file() || kind.is_symlink())
        {
            left.images.push(name);
        }
    }
    for entry in entries(&config.tmpdir.join("fifo"))? {
        if let Some(name) = entry.file_name().to_str().and_then(unikernel)
            && entry.file_type()?.is_fifo()
        {
            left.fifos.push(name);
        }
    }
    Ok(left)
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fs::read_dir(directory).and_then(Iterator::collect).map_err(|error| named(directory, &error))
}

/// The unikernel that a file is named after, exactly as the machine names it.
fn unikernel(file: &str) -> Option<Name> {
    let name: Name = file.parse().ok()?;
    (name.label().is_some() && name.to_string() == file).then_some(name)
}
