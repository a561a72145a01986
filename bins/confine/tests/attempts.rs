//! The process from inside: each attempt is made by a process of its own that has given up what daemons give up. The
//! test runs itself once more for that, and is told by a variable what to try.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is tried is not what a program does, and a test stops at the first surprise"
)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use albatross_confine::{Confinement, libc};
use albatross_driver::logging::{Color, Level, Logger};
use albatross_e2e::attempt::{self, End};
use nix::sys::signal::kill;
use nix::unistd::{Uid, geteuid, getppid};

/// Makes one attempt: free, or with nothing left, or with a directory and a port left.
fn attempt(what: &str, place: &Path, left: &str) -> End {
    attempt::make("whoever_takes_it_over_gets_nowhere", &format!("{what} {left}"), place).unwrap()
}

fn make_attempt(words: &str, place: PathBuf) -> ! {
    let (what, left) = words.split_once(' ').unwrap();
    // What is open before stays so.
    let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (left_open, other) = (bound(), bound());
    let port = left_open.local_addr().unwrap().port();
    let (readable, writable) = (place.join("readable"), place.join("writable"));
    let none = Confinement::default();
    let confinement = match left {
        "some" => Confinement { read: Some(&readable), connect: Some(port), ..none },
        "files" => Confinement { write: Some(&writable), ..none },
        _ => none,
    };
    if left != "all" {
        confinement.begin(&Logger::new("test", Level::Quiet, Color::Never)).unwrap();
    }
    let worked = match what {
        "read" => File::open(place.join("secret")).is_ok(),
        "read-what-is-left" => fs::read(readable.join("file")).is_ok(),
        "write-there" => fs::write(readable.join("planted"), "x").is_ok(),
        "write-a-log" => write_log(&writable).is_ok(),
        "remove-a-log" => fs::remove_file(writable.join("old")).is_ok(),
        "rename-a-log" => fs::rename(writable.join("old"), writable.join("new")).is_ok(),
        "run" => Command::new("/bin/true").status().is_ok(),
        "connect-daemon" => UnixStream::connect(place.join("vmmd.sock")).is_ok(),
        "connect-tcp" => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "connect-elsewhere" => TcpStream::connect(other.local_addr().unwrap()).is_ok(),
        "listen-tcp" => TcpListener::bind("127.0.0.1:0").is_ok(),
        "signal" => kill(getppid(), None).is_ok(),
        "become-root" => nix::unistd::setuid(Uid::from_raw(0)).is_ok(),
        "log" => io::stderr().write_all(b"a line\n").is_ok(),
        other => panic!("{other}"),
    };
    // Not by way of the test's end, which may want what is not there any more.
    // SAFETY: ends the process.
    unsafe { libc::_exit(attempt::code(worked)) }
}

/// What albatross-log does with its files.
fn write_log(directory: &Path) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.read(true).append(true).create(true).open(directory.join("events"))?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(b"a record and a half")?;
    file.set_len(8)?;
    file.sync_data()?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

#[test]
fn whoever_takes_it_over_gets_nowhere() {
    if let Some((words, place)) = attempt::wanted() {
        make_attempt(&words, place);
    }
    // SAFETY: asks for the version of Landlock, and passes no memory.
    let landlock = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) };
    if !geteuid().is_root() || landlock < 4 {
        println!("skipped: needs root and a kernel whose Landlock knows of networks");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("readable")).unwrap();
    fs::write(at("readable/file"), "open").unwrap();
    fs::write(at("secret"), "secret").unwrap();
    fs::create_dir(at("writable")).unwrap();
    let _daemon = UnixListener::bind(at("vmmd.sock")).unwrap();
    // What is tried, how it ends where nothing is left, where a directory and a port are, and where files may be written.
    use End::{Killed, Refused, Worked};
    for (what, nothing, some, files) in [
        ("read", Killed, Refused, Refused),
        ("read-what-is-left", Killed, Worked, Refused),
        ("write-there", Killed, Refused, Refused),
        ("write-a-log", Killed, Refused, Worked),
        ("remove-a-log", Refused, Refused, Refused),
        ("rename-a-log", Killed, Killed, Killed),
        ("run", Killed, Killed, Killed),
        ("connect-daemon", Worked, Worked, Worked),
        ("connect-tcp", Killed, Worked, Killed),
        ("connect-elsewhere", Killed, Refused, Killed),
        ("listen-tcp", Killed, Killed, Killed),
        ("signal", Killed, Killed, Killed),
        ("become-root", Killed, Killed, Killed),
        ("log", Worked, Worked, Worked),
    ] {
        fs::write(at("writable/old"), "old").unwrap();
        assert_eq!(attempt(what, place.path(), "all"), Worked, "{what}, outside");
        fs::write(at("writable/old"), "old").unwrap();
        assert_eq!(attempt(what, place.path(), "nothing"), nothing, "{what}, with nothing left");
        assert_eq!(attempt(what, place.path(), "some"), some, "{what}, with some left");
        assert_eq!(attempt(what, place.path(), "files"), files, "{what}, with files left");
    }
}
