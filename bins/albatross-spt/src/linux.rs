//! The numbers by which the kernel knows calls, flags and requests, on x86-64. They are part of its interface and never
//! change; the tests hold them against those of the C library.

#![allow(missing_docs, reason = "the names are those of the kernel's own documentation")]

pub mod call {
    //! System calls.
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const CLOSE: u64 = 3;
    pub const FSTAT: u64 = 5;
    pub const LSEEK: u64 = 8;
    pub const MMAP: u64 = 9;
    pub const MPROTECT: u64 = 10;
    pub const MUNMAP: u64 = 11;
    pub const IOCTL: u64 = 16;
    pub const PREAD64: u64 = 17;
    pub const SOCKET: u64 = 41;
    pub const FCNTL: u64 = 72;
    pub const PERSONALITY: u64 = 135;
    pub const PRCTL: u64 = 157;
    pub const EXIT_GROUP: u64 = 231;
    pub const EPOLL_CTL: u64 = 233;
    pub const OPENAT: u64 = 257;
    pub const TIMERFD_CREATE: u64 = 283;
    pub const EPOLL_CREATE1: u64 = 291;
    pub const PRLIMIT64: u64 = 302;
    pub const SECCOMP: u64 = 317;
    pub const GETRANDOM: u64 = 318;
    pub const CLOSE_RANGE: u64 = 436;
    pub const LANDLOCK_CREATE_RULESET: u64 = 444;
    pub const LANDLOCK_RESTRICT_SELF: u64 = 446;
}

pub const AT_FDCWD: i32 = -100;
pub const O_RDONLY: i32 = 0;
pub const O_WRONLY: i32 = 1;
pub const O_RDWR: i32 = 2;
pub const O_ACCMODE: i32 = 3;
pub const O_NOCTTY: i32 = 0o400;
pub const O_NONBLOCK: i32 = 0o4000;
pub const O_CLOEXEC: i32 = 0o2_000_000;
pub const O_PATH: i32 = 0o10_000_000;
pub const F_GETFD: i32 = 1;
pub const F_GETFL: i32 = 3;
pub const F_SETFL: i32 = 4;
pub const SEEK_END: i32 = 2;
pub const S_IFMT: u32 = 0o170_000;
pub const S_IFREG: u32 = 0o100_000;
pub const S_IFBLK: u32 = 0o060_000;

pub const PROT_NONE: i32 = 0;
pub const PROT_READ: i32 = 1;
pub const PROT_WRITE: i32 = 2;
pub const PROT_EXEC: i32 = 4;
pub const MAP_PRIVATE: i32 = 2;
pub const MAP_ANONYMOUS: i32 = 0x20;
pub const MAP_FIXED_NOREPLACE: i32 = 0x10_0000;
pub const READ_IMPLIES_EXEC: i32 = 0x40_0000;

pub const AF_INET: i32 = 2;
pub const SOCK_DGRAM: i32 = 2;
pub const SOCK_CLOEXEC: i32 = O_CLOEXEC;
pub const SIOCGIFFLAGS: u32 = 0x8913;
pub const SIOCGIFMTU: u32 = 0x8921;
pub const SIOCETHTOOL: u32 = 0x8946;
pub const ETHTOOL_SGSO: u32 = 0x24;
pub const ETHTOOL_SGRO: u32 = 0x2c;
pub const TUNSETIFF: u32 = 0x4004_54ca;
pub const TUNGETIFF: u32 = 0x8004_54d2;
/// `IFNAMSIZ`: an interface's name with its NUL.
pub const INTERFACE_NAME_BYTES: usize = 16;
pub const IFF_UP: u16 = 1;
pub const IFF_RUNNING: u16 = 0x40;
pub const IFF_TUN: u16 = 1;
pub const IFF_TAP: u16 = 2;
pub const IFF_NO_PI: u16 = 0x1000;
pub const IFF_VNET_HDR: u16 = 0x4000;

pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLLIN: u32 = 1;
pub const CLOCK_MONOTONIC: i32 = 1;
pub const TFD_NONBLOCK: i32 = O_NONBLOCK;

pub const RLIMIT_STACK: u32 = 3;
pub const RLIMIT_CORE: u32 = 4;
pub const PR_SET_DUMPABLE: i32 = 4;
pub const PR_SET_NO_NEW_PRIVS: i32 = 38;
pub const SECCOMP_SET_MODE_FILTER: u32 = 1;
pub const SECCOMP_GET_ACTION_AVAIL: u32 = 2;

/// Everything that each version of Landlock can forbid: what is done with files, with the network, and across the border
/// of the restricted process. A version knows what those before it know; ours are those of Linux 5.13 to 6.12.
pub const LANDLOCK: [[u64; 3]; 6] =
    [[0x1fff, 0, 0], [0x3fff, 0, 0], [0x7fff, 0, 0], [0x7fff, 0x3, 0], [0xffff, 0x3, 0], [0xffff, 0x3, 0x3]];
pub const LANDLOCK_CREATE_RULESET_VERSION: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        for (ours, theirs) in [
            (call::READ, libc::SYS_read),
            (call::WRITE, libc::SYS_write),
            (call::CLOSE, libc::SYS_close),
            (call::FSTAT, libc::SYS_fstat),
            (call::LSEEK, libc::SYS_lseek),
            (call::MMAP, libc::SYS_mmap),
            (call::MPROTECT, libc::SYS_mprotect),
            (call::MUNMAP, libc::SYS_munmap),
            (call::IOCTL, libc::SYS_ioctl),
            (call::PREAD64, libc::SYS_pread64),
            (call::SOCKET, libc::SYS_socket),
            (call::FCNTL, libc::SYS_fcntl),
            (call::PERSONALITY, libc::SYS_personality),
            (call::PRCTL, libc::SYS_prctl),
            (call::EXIT_GROUP, libc::SYS_exit_group),
            (call::EPOLL_CTL, libc::SYS_epoll_ctl),
            (call::OPENAT, libc::SYS_openat),
            (call::TIMERFD_CREATE, libc::SYS_timerfd_create),
            (call::EPOLL_CREATE1, libc::SYS_epoll_create1),
            (call::PRLIMIT64, libc::SYS_prlimit64),
            (call::SECCOMP, libc::SYS_seccomp),
            (call::GETRANDOM, libc::SYS_getrandom),
            (call::CLOSE_RANGE, libc::SYS_close_range),
            (call::LANDLOCK_CREATE_RULESET, libc::SYS_landlock_create_ruleset),
            (call::LANDLOCK_RESTRICT_SELF, libc::SYS_landlock_restrict_self),
        ] {
            assert_eq!(i64::try_from(ours), Ok(theirs));
        }
    }

    #[test]
    fn flags() {
        for (ours, theirs) in [
            (AT_FDCWD, libc::AT_FDCWD),
            (O_RDONLY, libc::O_RDONLY),
            (O_WRONLY, libc::O_WRONLY),
            (O_RDWR, libc::O_RDWR),
            (O_ACCMODE, libc::O_ACCMODE),
            (O_NOCTTY, libc::O_NOCTTY),
            (O_NONBLOCK, libc::O_NONBLOCK),
            (O_CLOEXEC, libc::O_CLOEXEC),
            (O_PATH, libc::O_PATH),
            (F_GETFD, libc::F_GETFD),
            (F_GETFL, libc::F_GETFL),
            (F_SETFL, libc::F_SETFL),
            (SEEK_END, libc::SEEK_END),
            (PROT_NONE, libc::PROT_NONE),
            (PROT_READ, libc::PROT_READ),
            (PROT_WRITE, libc::PROT_WRITE),
            (PROT_EXEC, libc::PROT_EXEC),
            (MAP_PRIVATE, libc::MAP_PRIVATE),
            (MAP_ANONYMOUS, libc::MAP_ANONYMOUS),
            (MAP_FIXED_NOREPLACE, libc::MAP_FIXED_NOREPLACE),
            (READ_IMPLIES_EXEC, libc::READ_IMPLIES_EXEC),
            (AF_INET, libc::AF_INET),
            (SOCK_DGRAM, libc::SOCK_DGRAM),
            (SOCK_CLOEXEC, libc::SOCK_CLOEXEC),
            (EPOLL_CTL_ADD, libc::EPOLL_CTL_ADD),
            (EPOLLIN.cast_signed(), libc::EPOLLIN),
            (CLOCK_MONOTONIC, libc::CLOCK_MONOTONIC),
            (TFD_NONBLOCK, libc::TFD_NONBLOCK),
            (PR_SET_DUMPABLE, libc::PR_SET_DUMPABLE),
            (PR_SET_NO_NEW_PRIVS, libc::PR_SET_NO_NEW_PRIVS),
            (IFF_UP.into(), libc::IFF_UP),
            (IFF_RUNNING.into(), libc::IFF_RUNNING),
            (IFF_TUN.into(), libc::IFF_TUN),
            (IFF_TAP.into(), libc::IFF_TAP),
            (IFF_NO_PI.into(), libc::IFF_NO_PI),
            (IFF_VNET_HDR.into(), libc::IFF_VNET_HDR),
        ] {
            assert_eq!(ours, theirs);
        }
    }

    /// Each version adds to the one before it and takes nothing away.
    #[test]
    fn versions_of_landlock() {
        for (earlier, later) in LANDLOCK.iter().zip(LANDLOCK.iter().skip(1)) {
            let adds = earlier.iter().zip(later).all(|(earlier, later)| earlier & later == *earlier);
            assert!(adds && earlier != later, "{earlier:x?} {later:x?}");
        }
    }

    #[test]
    fn requests_and_modes() {
        for (ours, theirs) in [
            (SIOCGIFFLAGS, libc::SIOCGIFFLAGS),
            (SIOCGIFMTU, libc::SIOCGIFMTU),
            (SIOCETHTOOL, libc::SIOCETHTOOL),
            (TUNSETIFF, libc::TUNSETIFF),
            (TUNGETIFF, libc::TUNGETIFF),
        ] {
            assert_eq!(u64::from(ours), theirs);
        }
        for (ours, theirs) in [
            (S_IFMT, libc::S_IFMT),
            (S_IFREG, libc::S_IFREG),
            (S_IFBLK, libc::S_IFBLK),
            (RLIMIT_STACK, libc::RLIMIT_STACK),
            (RLIMIT_CORE, libc::RLIMIT_CORE),
            (SECCOMP_SET_MODE_FILTER, libc::SECCOMP_SET_MODE_FILTER),
            (SECCOMP_GET_ACTION_AVAIL, libc::SECCOMP_GET_ACTION_AVAIL),
        ] {
            assert_eq!(ours, theirs);
        }
        assert_eq!(INTERFACE_NAME_BYTES, libc::IFNAMSIZ);
    }
}
