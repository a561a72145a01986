//! The process from inside: each attempt is made by a process of its own that has given up what the endpoint
//! gives up. The test runs itself once more for that, and is told by a variable what to try.
#![allow(unsafe_code, reason = "what is tried is not what a program does")]

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use albatross_driver::logging::{Color, Level, Logger};
use albatross_e2e::attempt::{self, End};
use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getppid};

use super::*;

/// Makes one attempt. `inside` says whether it is confined before.
fn attempt(what: &str, place: &Path, lists: bool, inside: bool) -> End {
    let test = "confine::tests::whoever_takes_it_over_gets_nowhere";
    attempt::make(test, &format!("{what} {lists} {inside}"), place).unwrap()
}

fn make_attempt(words: &str, place: PathBuf) -> ! {
    let [what, lists, inside] = words.split(' ').collect::<Vec<_>>().try_into().unwrap();
    // What is open before stays so.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = place.join("lists");
    if inside == "true" {
        let lists = (lists == "true").then_some(folder.as_path());
        let log = Logger::new("test", Level::Quiet, Color::Never);
        Confinement { user: None, lists }.begin(&log).unwrap();
    }
    let worked = match what {
        "read" => File::open(place.join("secret")).is_ok(),
        "read-key-again" => fs::read("/proc/self/mem").is_ok() || fs::read("/proc/self/environ").is_ok(),
        "read-list" => fs::read(folder.join("a.crl")).is_ok(),
        "write-list" => fs::write(folder.join("new.crl"), "x").is_ok(),
        "rename-list" => fs::rename(folder.join("a.crl"), folder.join("b.crl")).is_ok(),
        "take-list-out" => fs::rename(folder.join("a.crl"), place.join("a.crl")).is_ok(),
        "write" => fs::write(place.join("planted"), "x").is_ok(),
        "run" => Command::new("/bin/true").status().is_ok(),
        "fork" => {
            // SAFETY: the child does nothing but end.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: as above.
                unsafe { libc::_exit(0) }
            }
            child > 0
        }
        "connect-daemon" => UnixStream::connect(place.join("vmmd.sock")).is_ok(),
        "connect-tcp" => TcpStream::connect(address).is_ok(),
        "listen-tcp" => TcpListener::bind("127.0.0.1:0").is_ok(),
        "signal" => kill(getppid(), None).is_ok(),
        "trace" => nix::sys::ptrace::attach(Pid::parent()).is_ok(),
        "map-code" => {
            // SAFETY: a new mapping at a place of the kernel's choice, which nobody uses.
            let map = unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_EXEC | libc::PROT_WRITE, flags, -1, 0)
            };
            map != libc::MAP_FAILED
        }
        "become-root" => nix::unistd::setuid(Uid::from_raw(0)).is_ok(),
        "mount" => nix::unistd::chroot(&place).is_ok(),
        "log" => io::stderr().write_all(b"a line\n").is_ok(),
        other => panic!("{other}"),
    };
    // Not by way of the test's end, which may want what is not there any more.
    // SAFETY: ends the process.
    unsafe { libc::_exit(attempt::code(worked)) }
}

#[test]
fn whoever_takes_it_over_gets_nowhere() {
    if let Some((words, place)) = attempt::wanted() {
        make_attempt(&words, place);
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("lists")).unwrap();
    fs::write(at("secret"), "secret").unwrap();
    let _daemon = UnixListener::bind(at("vmmd.sock")).unwrap();
    // What is tried, how it ends without a folder of lists, and with one.
    use End::{Killed, Refused, Worked};
    for (what, without, with) in [
        ("read", Killed, Refused),
        ("read-key-again", Killed, Refused),
        ("read-list", Killed, Worked),
        ("write-list", Killed, Worked),
        ("rename-list", Killed, Worked),
        ("take-list-out", Killed, Refused),
        ("write", Killed, Refused),
        ("run", Killed, Killed),
        ("fork", Killed, Killed),
        ("connect-daemon", Worked, Worked),
        ("connect-tcp", Killed, Killed),
        ("listen-tcp", Killed, Killed),
        ("signal", Killed, Killed),
        ("trace", Killed, Killed),
        ("map-code", Killed, Killed),
        ("become-root", Killed, Killed),
        ("mount", Killed, Killed),
        ("log", Worked, Worked),
    ] {
        let fresh = || {
            fs::write(at("lists/a.crl"), "list").unwrap();
        };
        fresh();
        // The attempt is one that succeeds for who may, so that it shows something; root may all of them.
        if geteuid().is_root() && what != "trace" {
            assert_eq!(attempt(what, place.path(), false, false), Worked, "{what}, outside");
        }
        fresh();
        assert_eq!(attempt(what, place.path(), false, true), without, "{what}, without lists");
        fresh();
        let end = attempt(what, place.path(), true, true);
        // Without Landlock it is another user's files that are out of reach, which root's are not.
        let expected = if has_landlock() { with } else { end_without_landlock(what, with) };
        assert_eq!(end, expected, "{what}, with lists");
    }
}

fn has_landlock() -> bool {
    let there = Path::new("/sys/kernel/security/landlock").exists() || landlock_answers();
    if !there {
        println!("this kernel has no Landlock: files are looked at by their modes only");
    }
    there
}

fn landlock_answers() -> bool {
    // SAFETY: asks for the version, and passes no memory.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) > 0 }
}

fn end_without_landlock(what: &str, with: End) -> End {
    match what {
        "read" | "take-list-out" | "write" if geteuid().is_root() => End::Worked,
        _ => with,
    }
}

#[test]
fn users_are_read_from_the_file_of_users() {
    let file = "root:x:0:0:root:/root:/bin/sh\n# comment\nalbatross-x:x:7:8::/:\nalbatross:x:998:997::/:\n";
    assert_eq!(user_in(file, "albatross"), Some((Uid::from_raw(998), Gid::from_raw(997))));
    for other in ["", "albatross", "albatross:x", "albatross:x:1", "albatross:x:many:1:", "xalbatross:x:1:1:"]
    {
        assert_eq!(user_in(other, "albatross"), None, "{other}");
    }
}

#[test]
fn an_unknown_user_is_named() {
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let log = Logger::new("test", Level::Quiet, Color::Never);
    let unknown = Confinement { user: Some("no such user".into()), lists: None };
    assert!(unknown.begin(&log).unwrap_err().to_string().contains("no such user in /etc/passwd"));
}
