//! The notes of tenders that run, for the next daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use albatross_core::vmmd::Config;
use albatross_proto::state::Running;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::files::named;

/// What a note is called before it is whole. The names of notes contain `:`.
pub(crate) const UNFINISHED: &str = ".new";

/// The most octets of a note: 63 devices, each with a name of 255 octets at most, and some more.
const MAX_NOTE: u64 = 64 * 1024;

/// Writes the note of a tender as a whole, though not durably: those from before the machine was started are not read.
///
/// One of the same length is written over: stages are. That is one system call, which is not cut short by the end of
/// this process. It needs no room, and neither does it have the file system look for a free inode, which takes
/// longer than all else where many were given up of late.
pub(crate) fn write(path: &Path, note: &Running) -> io::Result<()> {
    let octets = note.encode().map_err(io::Error::other)?;
    let length = u64::try_from(octets.len()).unwrap_or(u64::MAX);
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.len() == length) {
        return OpenOptions::new().write(true).open(path)?.write_all(&octets);
    }
    let new = path.with_file_name(UNFINISHED);
    let replaced = fs::write(&new, &octets).and_then(|()| put_in_place(&new, path));
    replaced.inspect_err(|_| _ = fs::remove_file(&new))
}

/// Gives the file `new` the name `path`. To put a file in the place of another has some file systems write it to the
/// disk, for programs that forget to. Nobody needs that here, and a client waits for it.
fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // There was none, or the file system cannot do it.
        Err(_) => fs::rename(new, path),
    }
}

/// A note. One that cannot be read is an error: its tender may run, and would be started a second time.
pub(crate) fn read(config: &Config, path: &Path) -> io::Result<Running> {
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_NOTE).read_to_end(&mut octets));
    read.map_err(|error| named(path, &error))?;
    let running = match Running::decode(&octets) {
        Ok(running) if config.note(&running.tender.name) == path => Ok(running),
        Ok(running) => Err(format!("it is about {}", running.tender.name)),
        Err(error) => Err(error.to_string()),
    };
    running.map_err(|why| {
        let path = path.display();
        io::Error::other(format!(
            "{path}: this note of a tender that runs cannot be used: {why}; end the tender and remove the note"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use albatross_proto::state::{Process, Stage, Tender};
    use albatross_proto::{Int, Name, Text, Time};

    #[test]
    fn a_note_takes_the_place_of_the_one_before_and_nothing_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let name: Name = "a:b".parse().unwrap();
        let path = directory.path().join(name.to_string());
        let mut note = Running {
            process: Process { pid: Int::ONE, started: Int::ONE },
            tender: Tender {
                name,
                taps: vec![Text::from("vmmtap0")],
                blocks: Vec::new(),
                user: None,
                since: Time::from_unix(1_700_000_000, 0).unwrap(),
                restarts: Int::ZERO,
                stage: Stage::Starting,
            },
        };
        for stage in [Stage::Starting, Stage::Running, Stage::Stopping] {
            note.tender.stage = stage;
            note.tender.taps.clear();
            write(&path, &note).unwrap();
            assert_eq!(Running::decode(&fs::read(&path).unwrap()).unwrap(), note);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }
}
