//! The system calls a guest may make. Everything else kills the process, as do calls by another architecture's numbers
//! (32-bit, x32). Arguments are compared in all their 64 bits.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::devices::{Device, Properties};

const CONSOLE: u64 = 1;
const ARCH_SET_FS: u64 = 0x1002;
const CLOCK_REALTIME: u64 = 0;
const CLOCK_MONOTONIC: u64 = 1;

/// A condition on one argument: its number, how to compare, with what.
type Condition = (u8, SeccompCmpOp, u64);

/// The filter program for a guest with these descriptors and devices.
///
/// # Errors
///
/// Fails when the program would be too long for the kernel; the most devices a manifest can have do not make it so.
pub fn program(epoll: i32, timer: i32, devices: &[Device]) -> Result<BpfProgram, BackendError> {
    let mut rules = Rules::default();
    rules.allow(libc::SYS_write, &[(0, SeccompCmpOp::Eq, CONSOLE)])?;
    rules.allow(libc::SYS_exit_group, &[])?;
    rules.allow(libc::SYS_epoll_pwait, &[is_descriptor(epoll)])?;
    rules.allow(libc::SYS_timerfd_settime, &[is_descriptor(timer)])?;
    rules.allow(libc::SYS_clock_gettime, &[(0, SeccompCmpOp::Eq, CLOCK_MONOTONIC)])?;
    rules.allow(libc::SYS_clock_gettime, &[(0, SeccompCmpOp::Eq, CLOCK_REALTIME)])?;
    rules.allow(libc::SYS_arch_prctl, &[(0, SeccompCmpOp::Eq, ARCH_SET_FS)])?;
    for device in devices {
        rules.allow_device(device)?;
    }
    let filter =
        SeccompFilter::new(rules.0, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
    BpfProgram::try_from(filter)
}

#[derive(Default)]
struct Rules(BTreeMap<c_long, Vec<SeccompRule>>);

impl Rules {
    /// Allows a call when all conditions hold; without conditions, always.
    fn allow(&mut self, number: c_long, conditions: &[Condition]) -> Result<(), BackendError> {
        let rules = self.0.entry(number).or_default();
        if conditions.is_empty() {
            return Ok(());
        }
        let conditions = conditions.iter().map(|(argument, comparison, value)| {
            SeccompCondition::new(*argument, SeccompCmpArgLen::Qword, comparison.clone(), *value)
        });
        rules.push(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?);
        Ok(())
    }

    fn allow_device(&mut self, device: &Device) -> Result<(), BackendError> {
        let descriptor = is_descriptor(device.descriptor);
        match device.properties {
            Properties::Net { .. } => {
                let conditions = [descriptor];
                self.allow(libc::SYS_read, &conditions)?;
                self.allow(libc::SYS_write, &conditions)
            }
            Properties::Block { capacity, sector_size } => {
                let last = capacity.saturating_sub(sector_size.into());
                let length = (2, SeccompCmpOp::Eq, u64::from(sector_size));
                let offset = (3, SeccompCmpOp::Le, last);
                let conditions = [descriptor, length, offset];
                self.allow(libc::SYS_pread64, &conditions)?;
                self.allow(libc::SYS_pwrite64, &conditions)
            }
        }
    }
}

/// The first argument is this descriptor, zero-extended.
fn is_descriptor(descriptor: i32) -> Condition {
    (0, SeccompCmpOp::Eq, u64::from(descriptor.cast_unsigned()))
}
