//! What is left of the tender in the process that a guest runs in: next to nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use common::{Finished, guest, program, tender};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

const MEMORY: Range<u64> = 0x1_0000..0x20_0000;
const PAGE_BYTES: u64 = 4096;
/// It knows neither, and does not mind.
const ARGUMENTS: [&str; 2] = ["some", "words"];
/// Of the environment, which no guest may see.
const SECRET: &str = "lh3yq0vXwT5k";

/// A guest that waits for somebody to read what it prints.
struct Waiter {
    child: Child,
}

impl Waiter {
    fn start() -> Self {
        let mut child = tender()
            .arg("--mem=2")
            .arg(guest("flood"))
            .args(ARGUMENTS)
            .env("SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tender starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("flood 1 "), "{line:?}");
        Self { child }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    fn mappings(&self) -> Vec<Mapping> {
        self.read("maps").lines().map(Mapping::parse).collect()
    }

    fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        let memory = File::open(format!("/proc/{}/mem", self.child.id())).unwrap();
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
        memory.read_exact_at(&mut bytes, range.start).unwrap();
        bytes
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A line of /proc/PID/maps.
#[derive(Debug)]
struct Mapping {
    range: Range<u64>,
    protection: String,
    name: String,
}

impl Mapping {
    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let range = number(start)..number(end);
        let protection = words.next().unwrap().to_owned();
        Self { range, protection, name: words.nth(3).unwrap_or_default().to_owned() }
    }

    /// The kernel puts the stack on top of everything, and calls it so while its start is in it.
    fn is_of_the_stack(&self) -> bool {
        self.range.start >= 0x7ff0_0000_0000 && (self.name.is_empty() || self.name == "[stack]")
    }

    fn pages(&self) -> u64 {
        (self.range.end - self.range.start) / PAGE_BYTES
    }
}

/// Whether this kernel keeps processes from unmapping what it maps into them by itself.
fn kernel_seals() -> bool {
    let own = fs::read_to_string("/proc/self/smaps").unwrap();
    let vdso = own.split("[vdso]").nth(1).unwrap_or_default();
    let flags = vdso.lines().find(|line| line.starts_with("VmFlags:")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "sl")
}

#[test]
fn nothing_is_mapped_but_guest_memory_one_page_and_the_command_line() {
    let waiter = Waiter::start();
    let mut left: BTreeMap<String, Vec<Mapping>> = BTreeMap::new();
    for mapping in waiter.mappings() {
        if !(MEMORY.start <= mapping.range.start && mapping.range.end <= MEMORY.end) {
            left.entry(mapping.name.clone()).or_default().push(mapping);
        }
    }
    if kernel_seals() {
        left.retain(|name, _| !name.starts_with("[vdso") && !name.starts_with("[vvar"));
    }
    // The kernel's own, at a fixed place outside of what processes can map.
    left.remove("[vsyscall]");
    let code = left.remove(program().canonicalize().unwrap().to_str().unwrap()).unwrap();
    assert_eq!((code.len(), code[0].pages(), code[0].protection.as_str()), (1, 1, "r-xp"), "{code:?}");
    let left: Vec<Mapping> = left.into_values().flatten().collect();
    assert_eq!((left.len(), left[0].protection.as_str()), (1, "r--p"), "{left:?}");
    assert!(left[0].is_of_the_stack() && left[0].pages() <= 2, "{left:?}");
}

#[test]
fn of_the_stack_only_the_command_line_is_left() {
    let waiter = Waiter::start();
    let stack = waiter.mappings().into_iter().find(Mapping::is_of_the_stack).unwrap();
    let bytes = waiter.bytes(stack.range);
    let start = bytes.iter().position(|byte| *byte != 0).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let expected = waiter.read("cmdline");
    assert_eq!(String::from_utf8(bytes[start..=end].to_vec()).unwrap() + "\0", expected);
    assert!(expected.ends_with("some\0words\0"), "{expected:?}");
    let environment = waiter.read("environ");
    assert!(!environment.contains(SECRET) && environment.bytes().all(|byte| byte == 0), "{environment:?}");
}

#[test]
fn nothing_of_the_tender_is_in_guest_memory() {
    const BOOT_INFO: u64 = 0x1_1000;
    const MANIFEST_AND_COMMAND_LINE: u64 = 40 + 8 + 104 + "some words".len() as u64;
    let waiter = Waiter::start();
    let low = waiter.bytes(MEMORY.start..0x10_0000);
    let info = BOOT_INFO - MEMORY.start..BOOT_INFO - MEMORY.start + MANIFEST_AND_COMMAND_LINE;
    for (at, byte) in (0..).zip(low) {
        assert!(byte == 0 || info.contains(&at), "{byte:#x} at {at:#x}");
    }
}

#[test]
fn little_memory_is_taken_beyond_what_the_guest_touches() {
    let waiter = Waiter::start();
    let mut bytes = 0;
    let mut counts = false;
    for line in waiter.read("smaps").lines() {
        let word = line.split_whitespace().next().unwrap();
        if word.contains('-') && !word.ends_with(':') {
            counts = !MEMORY.contains(&Mapping::parse(line).range.start);
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| counts) {
            bytes += size.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024;
        }
    }
    assert!((1..=16 * 1024).contains(&bytes), "{bytes}");
}

#[test]
fn a_kernel_that_takes_no_filter_runs_no_guest() {
    const GET_ACTION_AVAIL: u64 = 2;
    const SET_MODE_FILTER: u64 = 1;
    refusing(SET_MODE_FILTER).assert_refused("albatross-spt: the system call filter cannot be installed");
    refusing(GET_ACTION_AVAIL).assert_refused("asking for system call filters: Operation not permitted");
}

/// Runs `hello` where this operation of the system call `seccomp` is not permitted.
fn refusing(operation: u64) -> Finished {
    let operation = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, operation).unwrap();
    let rules = [(libc::SYS_seccomp, vec![SeccompRule::new(vec![operation]).unwrap()])];
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter =
        SeccompFilter::new(rules.into_iter().collect(), SeccompAction::Allow, refuse, architecture).unwrap();
    let filter = BpfProgram::try_from(filter).unwrap();
    let mut command = tender();
    command.arg("--mem=2").arg(guest("hello"));
    // SAFETY: only makes system calls, which is allowed after a fork.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&filter).map_err(|_| std::io::Error::last_os_error())
        });
    }
    Finished::of(&mut command)
}

/// What cargo has built beside the tests is the program without optimisation, which is not delivered: it runs guests, too.
#[test]
fn the_program_for_development_runs_guests() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_albatross-spt"));
    Finished::of(command.arg("--mem=2").arg(guest("hello")).arg("a")).assert_exit(0, "Hello from spt\na\n");
}

/// What the filter forbids already is forbidden by Landlock as well, where the kernel has it and a tender sees more of the
/// file system than it needs. Needs strace.
#[test]
fn a_tender_that_sees_the_host_gives_it_up() {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: takes no pointers when it is asked for its version.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    if version < 1 || Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: needs Landlock and strace");
        return;
    }
    let mut strace = Command::new("strace");
    strace.args(["-e", "trace=landlock_restrict_self,seccomp,write", "-o"]);
    let trace = tempfile::NamedTempFile::new().unwrap();
    strace.arg(trace.path()).arg(program()).arg("--mem=2").arg(guest("hello")).stdin(Stdio::null());
    Finished::of(&mut strace).assert_exit(0, "Hello from spt\n");
    let calls = fs::read_to_string(trace.path()).unwrap();
    let position = |what: &str| calls.find(what).unwrap_or_else(|| panic!("no {what} in {calls}"));
    let restricted = position("landlock_restrict_self(");
    assert!(calls[restricted..].lines().next().unwrap().ends_with(" = 0"), "{calls}");
    assert!(restricted < position("seccomp(SECCOMP_SET_MODE_FILTER"), "{calls}");
    assert!(position("seccomp(SECCOMP_SET_MODE_FILTER") < position("write(1"), "{calls}");
}
