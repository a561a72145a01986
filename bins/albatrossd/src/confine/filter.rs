//! Filters of system calls: for this daemon, and what is taken away besides for tenders.
//!
//! A tender inherits the filter of the daemon, so that has to have what the reference tenders call. What
//! is not allowed is refused with EPERM, not by ending the process: a library of tomorrow that tries a
//! call which nobody thought of must not take all unikernels of a host down, and whoever has taken this
//! process over gains nothing from an error. The kernel logs each refusal (`auditd`, or the kernel's log).

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use nix::errno::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What this daemon, its children before exec, and tenders call.
const ALLOWED: &[c_long] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_sync_file_range,
    libc::SYS_fadvise64,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_umask,
    libc::SYS_utimensat,
    // Where the reference tenders put their own filter together.
    libc::SYS_memfd_create,
    // The marks of control groups.
    libc::SYS_getxattr,
    libc::SYS_setxattr,
    // Devices: taps, bridges, virtual machines.
    libc::SYS_ioctl,
    // Sockets of clients, of the console daemon, of syslog, for netlink; what is asked about interfaces.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // Readiness, timers, signals.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    // Threads and processes.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_personality,
    // What makes a tender a tender.
    libc::SYS_prctl,
    libc::SYS_seccomp,
    libc::SYS_prlimit64,
    libc::SYS_setrlimit,
    libc::SYS_getrlimit,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    // The older forms of the above, on machines that have them.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// What of this a tender has no need of, and whoever broke out of one would.
const TAKEN: &[c_long] = &[
    // Namespaces and mounts: those of a user namespace of its own would be the way to capabilities.
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    // Other users.
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_capset,
    // The network of the host, and abstract sockets of local services. A tap is written to and read.
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_sendmsg,
    libc::SYS_socketpair,
    // Names of files, all of which are there already.
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    // Other processes. One of its own could also be in namespaces of its own.
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setsid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    // Its cpus are those that the policy gives it.
    libc::SYS_sched_setaffinity,
];

/// What makes threads, and processes besides.
const THREADS: &[c_long] = &[libc::SYS_clone, libc::SYS_clone3];

/// What is sent, received and bound to. The reference tenders ask the kernel whether their taps are up.
const MESSAGES: &[c_long] = &[libc::SYS_bind, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_recvmsg];

/// What a tender does that not every one does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Uses {
    /// It opens taps.
    pub(crate) taps: bool,
    /// It runs a virtual machine, with threads of its own.
    pub(crate) virtual_machines: bool,
}

/// The filter of this daemon: [`ALLOWED`], and nothing else.
pub(super) fn daemon() -> Result<BpfProgram, BackendError> {
    let rules = ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
    program(rules, SeccompAction::Errno(errno(Errno::EPERM)), SeccompAction::Allow)
}

/// The filters that a tender gets besides. [`TAKEN`] is refused with EPERM; so are [`THREADS`] and [`MESSAGES`],
/// but for those that it needs.
pub(super) fn tender(uses: Uses) -> Result<Vec<BpfProgram>, BackendError> {
    let refused = |error| SeccompAction::Errno(errno(error));
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(TAKEN.iter().chain(THREADS).chain(MESSAGES).map(|number| (*number, Vec::new())));
    let mut programs = Vec::new();
    if uses.taps {
        ask_about_interfaces(&mut rules)?;
    }
    if uses.virtual_machines {
        // The flags ask for a process. A thread is in no namespace of its own without capabilities.
        let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
        rules.insert(libc::SYS_clone, vec![all([when(0, SeccompCmpOp::MaskedEq(thread), 0)])?]);
        // The flags of the other are in memory, where a filter does not see them. Libraries do without it.
        rules.remove(&libc::SYS_clone3);
        let other = [(libc::SYS_clone3, Vec::new())].into();
        programs.push(program(other, SeccompAction::Allow, refused(Errno::ENOSYS))?);
    }
    programs.push(program(rules, SeccompAction::Allow, refused(Errno::EPERM))?);
    Ok(programs)
}

/// Of what is sent and received, leaves what lists interfaces: netlink, of which addresses have 12 octets. Those of
/// all other kinds are longer, or are refused as kinds. Besides, there is a socket for ioctls that neither is
/// connected nor sends.
fn ask_about_interfaces(rules: &mut BTreeMap<c_long, Vec<SeccompRule>>) -> Result<(), BackendError> {
    use SeccompCmpOp::{Eq, Ne};
    let (netlink, inet) = (number(libc::AF_NETLINK), number(libc::AF_INET));
    let datagram = libc::SOCK_DGRAM;
    let datagrams = [datagram, datagram | libc::SOCK_CLOEXEC].map(number);
    let socket = vec![
        all([when(0, Ne, netlink), when(0, Ne, inet)])?,
        all([when(0, Eq, netlink), when(2, Ne, number(libc::NETLINK_ROUTE))])?,
        all([when(0, Eq, inet), when(1, Ne, datagrams[0]), when(1, Ne, datagrams[1])])?,
    ];
    rules.insert(libc::SYS_socket, socket);
    rules.insert(libc::SYS_bind, vec![all([when(2, Ne, NETLINK_ADDRESS)])?]);
    rules.insert(libc::SYS_sendto, vec![all([when(5, Ne, NETLINK_ADDRESS), when(5, Ne, 0)])?]);
    rules.remove(&libc::SYS_recvfrom);
    rules.remove(&libc::SYS_recvmsg);
    Ok(())
}

/// Octets of a `sockaddr_nl`.
const NETLINK_ADDRESS: u64 = 12;

/// That an argument, of which the kernel takes 32 bits but for flags of `clone`, is so.
fn when(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    let length = match is {
        SeccompCmpOp::MaskedEq(_) => SeccompCmpArgLen::Qword,
        _ => SeccompCmpArgLen::Dword,
    };
    SeccompCondition::new(argument, length, is, value)
}

fn all<const N: usize>(
    conditions: [Result<SeccompCondition, BackendError>; N],
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn number(constant: libc::c_int) -> u64 {
    u64::from(constant.cast_unsigned())
}

fn errno(errno: Errno) -> u32 {
    (errno as i32).cast_unsigned()
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    BpfProgram::try_from(SeccompFilter::new(rules, otherwise, matching, architecture)?)
}

/// Installs a filter for this thread and all that it starts. Makes system calls only; privileges must have
/// been given up before.
pub(super) fn install(program: &BpfProgram) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(Errno::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_LOG);
    // SAFETY: the instructions, which have the layout of the kernel, outlive the call, which only reads them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    Ok(Errno::result(result).map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_from_a_tender_was_allowed_to_the_daemon() {
        let mut taken = TAKEN.iter().chain(THREADS).chain(MESSAGES);
        assert!(taken.all(|number| ALLOWED.contains(number)));
        assert!(daemon().is_ok());
        for (taps, virtual_machines) in [(false, false), (false, true), (true, false), (true, true)] {
            assert!(tender(Uses { taps, virtual_machines }).is_ok());
        }
    }
}
