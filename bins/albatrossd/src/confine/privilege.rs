//! What this daemon keeps of root's power.

use std::io;

use nix::errno::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

/// Each capability that it needs, its name, and what for.
const KEPT: [(CapabilitySet, &str); 10] = [
    // Making taps, giving them to a user, joining them to bridges, and removing them.
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    // Namespaces and mounts of the view of a tender.
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    // The devices in that view.
    (CapabilitySet::MKNOD, "CAP_MKNOD"),
    // The user and the groups of a tender.
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    // Emptying the bounding set of a tender, and locking its secure bits.
    (CapabilitySet::SETPCAP, "CAP_SETPCAP"),
    // Ending tenders, which are other users' processes.
    (CapabilitySet::KILL, "CAP_KILL"),
    // The group of a fifo, which the console daemon reads, and the owner of block devices.
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    // TMPDIR/util and TMPDIR/fifo belong to the user of the other daemons, a block device to its tender.
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    // How a tender ended that was taken over: /proc tells that only to who might trace it.
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
];

/// More capabilities than any kernel has: they are bits of 64.
const MAX_CAPABILITIES: u32 = 64;

/// Keeps the capabilities of [`KEPT`] and gives up all others, for this thread and all that it starts,
/// for ever: no program that it runs gets any back, be it setuid root.
pub(super) fn give_up() -> io::Result<()> {
    let had = capabilities(None)?.permitted;
    for (capability, name) in KEPT {
        if !had.contains(capability) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{name} is missing")));
        }
    }
    let kept = KEPT.into_iter().map(|(capability, _)| capability).collect();
    empty_bounding_set(kept)?;
    // A program does not get capabilities for being run by root. What a child does for good it does itself.
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits)?;
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })?;
    Ok(set_no_new_privs(true)?)
}

/// Takes all but `kept` from the bounding set. Makes system calls only.
pub(super) fn empty_bounding_set(kept: CapabilitySet) -> io::Result<()> {
    for number in 0..MAX_CAPABILITIES {
        if kept.bits() >> number & 1 == 1 {
            continue;
        }
        // SAFETY: takes numbers only.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }) {
            // Behind the last that this kernel has.
            Err(Errno::EINVAL) if number > 0 => return Ok(()),
            result => drop(result?),
        }
    }
    Ok(())
}
