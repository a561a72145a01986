//! A stand-in for a tender whose guest has broken out of it: it tries what such a guest would, and says on
//! its console what worked. The test that starts it says in its arguments what there is to find.
//!
//! Nothing that it does leaves a trace where it works: the tests also run it unconfined, to see that these
//! attempts are ones that could succeed.
#![expect(clippy::print_stdout, reason = "its console is how it talks")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

/// Calls that are of no use to a tender, with arguments that have them fail for another reason, if they are
/// let through.
const USELESS: [(&str, libc::c_long); 13] = [
    ("add_key", libc::SYS_add_key),
    ("bpf", libc::SYS_bpf),
    ("chroot", libc::SYS_chroot),
    ("clone3", libc::SYS_clone3),
    ("fsopen", libc::SYS_fsopen),
    ("init_module", libc::SYS_init_module),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("keyctl", libc::SYS_keyctl),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("setns", libc::SYS_setns),
    ("userfaultfd", libc::SYS_userfaultfd),
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|word| word == "--version") {
        println!("ABI version 2");
        return;
    }
    let of = |key: &str| -> Vec<String> {
        let values = words.iter().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        values.map(str::to_owned).collect()
    };
    let one = |key: &str| of(key).pop().unwrap_or_default();
    if words.iter().any(|word| word == "--tree") {
        tree(Path::new("/"));
    }
    for path in of("--read") {
        attempt(&format!("read {path}"), || read(&path));
    }
    for path in of("--write") {
        attempt(&format!("write {path}"), || File::options().write(true).open(&path).map(drop));
    }
    for path in of("--make") {
        attempt(&format!("make {path}"), || make(&path));
    }
    for pid in of("--process").iter().filter_map(|pid| pid.parse().ok()) {
        attack_process(pid);
    }
    for path in of("--connect") {
        attempt(&format!("connect {path}"), || UnixStream::connect(&path).map(drop));
    }
    for address in of("--tcp").iter().filter_map(|address| address.parse::<SocketAddr>().ok()) {
        attempt("tcp", || TcpStream::connect(address).map(drop));
    }
    for address in of("--udp").iter().filter_map(|address| address.parse::<SocketAddr>().ok()) {
        network(address);
    }
    for tap in of("--tap") {
        attempt(&format!("tap {tap}"), || open_tap(&tap));
    }
    if words.iter().any(|word| word == "--powers") {
        leftovers();
        powers(&one("--mountpoint"));
    }
    for size in of("--fill").iter().filter_map(|size| size.parse().ok()) {
        attempt(&format!("fill {size} MB"), || fill(size));
    }
    println!("done");
    _ = io::stdout().flush();
    loop {
        nix::unistd::pause();
    }
}

/// Has the kernel give it so many MB of memory.
fn fill(size: usize) -> io::Result<()> {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(size << 20).map_err(|_| io::ErrorKind::OutOfMemory)?;
    memory.resize(size << 20, 1);
    std::hint::black_box(&memory);
    Ok(())
}

fn attempt<T>(what: &str, how: impl FnOnce() -> io::Result<T>) {
    match how() {
        Ok(_) => println!("worked: {what}"),
        Err(error) => println!("refused: {what}: {error}"),
    }
}

/// Every file that is in sight.
fn tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => tree(&entry.path()),
            _ => println!("sees: {}", entry.path().display()),
        }
    }
}

fn read(path: &str) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return fs::read_dir(path).map(drop);
    }
    File::open(path)?.read(&mut [0; 16]).map(drop)
}

fn make(path: &str) -> io::Result<()> {
    File::create_new(path)?;
    fs::remove_file(path)
}

fn attack_process(pid: i32) {
    let target = nix::unistd::Pid::from_raw(pid);
    attempt(&format!("signal {pid}"), || Ok(nix::sys::signal::kill(target, None)?));
    // SAFETY: the calls take numbers, and null pointers where they are given any.
    let call = |number, arguments: [libc::c_long; 4]| unsafe {
        let [a, b, c, d] = arguments;
        Errno::result(libc::syscall(number, a, b, c, d)).map_err(io::Error::from)
    };
    let pid_argument = libc::c_long::from(pid);
    attempt(&format!("pidfd {pid}"), || call(libc::SYS_pidfd_open, [pid_argument, 0, 0, 0]));
    attempt(&format!("trace {pid}"), || {
        let [seize, interrupt, detach] = [0x4206, 0x4207, 17];
        call(libc::SYS_ptrace, [seize, pid_argument, 0, 0])?;
        // Let go again: only a process that is stopped can be.
        call(libc::SYS_ptrace, [interrupt, pid_argument, 0, 0])?;
        nix::sys::wait::waitpid(target, Some(nix::sys::wait::WaitPidFlag::__WALL))?;
        call(libc::SYS_ptrace, [detach, pid_argument, 0, 0])
    });
    attempt(&format!("memory {pid}"), || File::open(format!("/proc/{pid}/mem")));
    attempt(&format!("limits {pid}"), || {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel writes one rlimit.
        Errno::result(unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, std::ptr::null(), &raw mut limit) })
            .map_err(io::Error::from)
    });
}

fn open_tap(name: &str) -> io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap_or_default();
    // SAFETY: the request is a valid ifreq that outlives the call.
    Errno::result(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw const request) })?;
    Ok(())
}

/// What could be sent by who may list interfaces.
fn network(address: SocketAddr) {
    attempt("list interfaces", || {
        let mut list = std::ptr::null_mut();
        // SAFETY: the list is written to a place of our own, and given back.
        unsafe {
            Errno::result(libc::getifaddrs(&raw mut list))?;
            libc::freeifaddrs(list);
        }
        Ok(())
    });
    attempt("udp", || send(address, size_of::<libc::sockaddr_in>()));
    attempt("udp to a cut address", || send(address, size_of::<libc::sockaddr_nl>()));
    attempt("bind", || std::net::UdpSocket::bind("127.0.0.1:0"));
    attempt("tcp socket", || socket(libc::AF_INET, libc::SOCK_STREAM));
    attempt("unix socket", || socket(libc::AF_UNIX, libc::SOCK_DGRAM));
    attempt("socket of another family", || socket(libc::AF_INET6, libc::SOCK_DGRAM));
    attempt("netlink of devices", || {
        // SAFETY: takes numbers; the descriptor is closed.
        unsafe {
            let descriptor = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT);
            Errno::result(libc::close(Errno::result(descriptor)?))?;
        }
        Ok(())
    });
}

/// Sends an octet to an address of which the kernel is told so many octets.
fn send(address: SocketAddr, length: usize) -> io::Result<()> {
    let SocketAddr::V4(address) = address else { return Err(io::ErrorKind::InvalidInput.into()) };
    let to = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    };
    let length = libc::socklen_t::try_from(length).unwrap_or_default();
    // SAFETY: the octet and the address outlive the calls; the descriptor is closed.
    unsafe {
        let descriptor = Errno::result(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0))?;
        let sent = libc::sendto(descriptor, c"x".as_ptr().cast(), 1, 0, (&raw const to).cast(), length);
        let sent = Errno::result(sent);
        libc::close(descriptor);
        Ok(sent.map(drop)?)
    }
}

fn powers(mountpoint: &str) {
    // SAFETY: the calls take numbers; what they change is of this process alone.
    let call = |number, arguments: [libc::c_long; 3]| unsafe {
        let [a, b, c] = arguments;
        Errno::result(libc::syscall(number, a, b, c)).map_err(io::Error::from)
    };
    attempt("fork", fork);
    attempt("thread", || std::thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::Error::other("?")));
    attempt("run /bin/true", || std::process::Command::new("/bin/true").status());
    attempt("mount", || mount(mountpoint));
    attempt("raw socket", || socket(libc::AF_PACKET, libc::SOCK_RAW));
    attempt("symlink", || {
        symlink("/", "/tmp/albatross-hostile").and_then(|()| fs::remove_file("/tmp/albatross-hostile"))
    });
    attempt("limit of cores", || raise(libc::RLIMIT_CORE));
    attempt("limit of descriptors", || raise(libc::RLIMIT_NOFILE));
    attempt("other cpus", || {
        let mut all = nix::sched::CpuSet::new();
        (0..2).try_for_each(|cpu| all.set(cpu))?;
        Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &all)?)
    });
    attempt("a gigabyte", || {
        let length = std::num::NonZeroUsize::new(1 << 30).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = libc::PROT_READ;
        // SAFETY: a new mapping at a place that the kernel chooses disturbs nothing.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length.get(),
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    });
    for (name, number) in USELESS {
        // Let through, it fails on its arguments, which are no permission.
        match call(number, [-1, 0, 0]) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => println!("refused: {name}"),
            _ => println!("worked: {name}"),
        }
    }
    attempt("setuid", || call(libc::SYS_setresuid, [0, 0, 0]));
    attempt("setgroups", || call(libc::SYS_setgroups, [0, 0, 0]));
    attempt("namespaces", || call(libc::SYS_unshare, [libc::CLONE_NEWUTS.into(), 0, 0]));
    attempt("a user namespace", || call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]));
}

fn fork() -> io::Result<()> {
    // SAFETY: the child ends at once, by a system call.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            _ = nix::sys::wait::waitpid(child, None);
            Ok(())
        }
    }
}

/// Where the mount point is not in sight, it is the root of the view, which is nobody else's.
fn mount(mountpoint: &str) -> io::Result<()> {
    let place = if Path::new(mountpoint).exists() { mountpoint } else { "/" };
    let place = CString::new(place)?;
    // SAFETY: C strings that outlive the calls.
    unsafe {
        let none = c"none".as_ptr();
        Errno::result(libc::mount(none, place.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()))?;
        Errno::result(libc::umount2(place.as_ptr(), libc::MNT_DETACH))?;
    }
    Ok(())
}

fn socket(family: i32, kind: i32) -> io::Result<()> {
    // SAFETY: takes numbers; the descriptor is closed.
    unsafe {
        let descriptor = Errno::result(libc::socket(family, kind, 0))?;
        libc::close(descriptor);
    }
    Ok(())
}

fn raise(resource: libc::__rlimit_resource_t) -> io::Result<()> {
    let more = libc::rlimit { rlim_cur: 1 << 19, rlim_max: 1 << 19 };
    // SAFETY: the kernel reads one rlimit.
    Errno::result(unsafe { libc::setrlimit(resource, &raw const more) })?;
    Ok(())
}

/// What it was given besides its console.
fn leftovers() {
    for (name, _) in std::env::vars_os() {
        println!("has: variable {}", name.display());
    }
    for descriptor in 3..1024 {
        // SAFETY: asks whether the descriptor is open, no more.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } != -1 {
            println!("has: descriptor {descriptor}");
        }
    }
    if std::env::current_dir().is_ok_and(|directory| directory != Path::new("/")) {
        println!("has: another directory");
    }
}
