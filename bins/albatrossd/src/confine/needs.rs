//! The files without which a program does not start: its loader and the libraries that this finds for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::files::named;

/// How long the loader may take to list libraries, in milliseconds. It reads some headers.
const PATIENCE: u16 = 5000;
/// The most octets of its list that are looked at: a pipe holds as many.
const MAX_LIST: u64 = 64 * 1024;
/// The most program headers that are looked at; linkers make about a dozen.
const MAX_HEADERS: u16 = 128;
/// PATH_MAX of Linux.
const MAX_PATH: u64 = 4096;
/// Where the loader of the GNU C library finds libraries that are in none of its directories.
const CACHE: &str = "/etc/ld.so.cache";

/// The files that a program needs besides itself.
pub(crate) type Needs = Vec<PathBuf>;

/// What `program` needs to start. The loader is asked, as only it knows: it is run as it would be to run the
/// program, which it does not.
///
/// # Errors
/// Where the file is no program of this machine, or its loader cannot be asked.
pub(crate) fn needs(program: &Path) -> io::Result<Needs> {
    let file = File::open(program).map_err(|error| named(program, &error))?;
    let Some(loader) = interpreter(&file).map_err(|error| named(program, &error))? else {
        return Ok(Needs::new());
    };
    let list = list(&loader, program).map_err(|error| named(&loader, &error))?;
    let mut needs: Needs = libraries(&list).collect();
    needs.push(loader);
    needs.extend(Some(PathBuf::from(CACHE)).filter(|cache| cache.is_file()));
    needs.sort();
    needs.dedup();
    Ok(needs)
}

/// The loader that an ELF file names; a static one names none.
fn interpreter(file: &File) -> io::Result<Option<PathBuf>> {
    const PT_INTERP: u32 = 3;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is no program (64-bit ELF) of this machine");
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).map_err(|_| bad())?;
    // Class 64 bit, little endian: what Solo5 tenders exist for.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(bad());
    }
    let position = u64::from_le_bytes(field(&header, 32).ok_or_else(bad)?);
    let size = u16::from_le_bytes(field(&header, 54).ok_or_else(bad)?);
    let count = u16::from_le_bytes(field(&header, 56).ok_or_else(bad)?);
    for number in 0..count.min(MAX_HEADERS) {
        let at = position.checked_add(u64::from(number) * u64::from(size)).ok_or_else(bad)?;
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, at)?;
        if field(&entry, 0).map(u32::from_le_bytes) == Some(PT_INTERP) {
            let at = u64::from_le_bytes(field(&entry, 8).ok_or_else(bad)?);
            let length = u64::from_le_bytes(field(&entry, 32).ok_or_else(bad)?);
            let length = usize::try_from(length.min(MAX_PATH)).map_err(|_| bad())?;
            let mut path = vec![0; length];
            file.read_exact_at(&mut path, at)?;
            path.truncate(path.iter().position(|octet| *octet == 0).unwrap_or(length));
            return Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(path))));
        }
    }
    Ok(None)
}

fn field<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

fn list(loader: &Path, program: &Path) -> io::Result<String> {
    let mut command = Command::new(loader);
    command.arg("--list").arg(program).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let in_time = wait_for_end(&child)?;
    if !in_time {
        _ = child.kill();
    }
    if !child.wait()?.success() || !in_time {
        return Err(io::Error::other(format!("it does not list the libraries of {}", program.display())));
    }
    let mut printed = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(MAX_LIST).read_to_string(&mut printed)?;
    }
    Ok(printed)
}

fn wait_for_end(child: &Child) -> io::Result<bool> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(id, PidfdFlags::empty())?;
    Ok(poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE))? > 0)
}

/// The paths in lines such as `libc.so.6 => /lib/libc.so.6 (0x7f..)` and `/lib64/ld.so (0x7f..)`.
fn libraries(list: &str) -> impl Iterator<Item = PathBuf> {
    list.lines().filter_map(|line| {
        let (file, _) = line.trim().rsplit_once(" (0x")?;
        let path = file.rsplit_once(" => ").map_or(file, |(_, path)| path);
        path.starts_with('/').then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_loaders_print() {
        let gnu = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        let found: Vec<PathBuf> = libraries(gnu).collect();
        assert_eq!(found, [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        let musl = "\tldd (0x7f)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f)\n";
        assert_eq!(libraries(musl).collect::<Vec<_>>(), [PathBuf::from("/lib/ld-musl-x86_64.so.1")]);
    }

    #[test]
    fn this_program_needs_its_loader_and_no_script_is_a_program() {
        let own = std::env::current_exe().unwrap();
        let found = needs(&own).unwrap();
        assert!(found.iter().any(|path| path.to_string_lossy().contains("libc")), "{found:?}");
        assert!(found.iter().all(|path| path.is_absolute() && path.exists()), "{found:?}");
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(needs(&script).unwrap_err().to_string().contains("script: it is no program"));
    }
}
