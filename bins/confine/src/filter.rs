//! The system calls that are left. Any other ends the process: what reads what peers sent must not find out by trying.

use std::collections::BTreeMap;
use std::io;

use nix::libc::{self, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Whatever their arguments are.
const ALLOWED: &[c_long] = &[
    // Connections.
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    // Its own socket, when it ends (where there is no Landlock; else the next daemon removes it).
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    // Readiness, time, signals that are read.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Memory, randomness, the end.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// For files that are opened: Landlock says which.
const FOR_FILES: &[c_long] = &[libc::SYS_openat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx];

/// For files that are written besides.
const FOR_WRITING: &[c_long] = &[
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
];

/// For directories whose files are listed, removed and renamed besides.
const FOR_REPLACING: &[c_long] = &[
    libc::SYS_getdents64,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
];

/// What is done with files that are opened later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Files {
    /// None are.
    None,
    /// They are read.
    Read,
    /// They are read and written.
    Written,
    /// They are listed, removed and renamed besides.
    Replaced,
}

/// Installs the filter for this thread and all that it starts: with what such files need, with what makes sockets for
/// networks.
pub(super) fn install(files: Files, networks: bool) -> io::Result<()> {
    let program = program(files, networks).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn program(files: Files, networks: bool) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
    for (least, numbers) in
        [(Files::Read, FOR_FILES), (Files::Written, FOR_WRITING), (Files::Replaced, FOR_REPLACING)]
    {
        if files >= least {
            rules.extend(numbers.iter().map(|number| (*number, Vec::new())));
        }
    }
    // To other daemons and to syslog.
    let mut families = vec![rule(0, SeccompCmpOp::Eq, libc::AF_UNIX)?];
    if networks {
        families.push(rule(0, SeccompCmpOp::Eq, libc::AF_INET)?);
        families.push(rule(0, SeccompCmpOp::Eq, libc::AF_INET6)?);
    }
    rules.insert(libc::SYS_socket, families);
    // Nothing that can be run.
    let not_run = SeccompCmpOp::MaskedEq(constant(libc::PROT_EXEC));
    rules.insert(libc::SYS_mmap, vec![rule(2, not_run.clone(), 0)?]);
    rules.insert(libc::SYS_mprotect, vec![rule(2, not_run, 0)?]);
    // What makes a socket one that does not block.
    rules.insert(libc::SYS_ioctl, vec![rule(1, SeccompCmpOp::Eq, FIONBIO)?]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    BpfProgram::try_from(filter)
}

/// The request FIONBIO of ioctl(2), which has another type in every library.
const FIONBIO: i32 = 0x5421;

fn rule(argument: u8, is: SeccompCmpOp, value: i32) -> Result<SeccompRule, BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, constant(value))?;
    SeccompRule::new(vec![condition])
}

const fn constant(value: i32) -> u64 {
    value.cast_unsigned() as u64
}
