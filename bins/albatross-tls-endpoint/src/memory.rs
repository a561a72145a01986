//! Memory that is not needed any more: what was large, and what a crowd took that has left.

/// Memory of as many octets or more is mapped, so that it goes back to the system when it is freed: what a large chain
/// took is not kept. Streams use less at a time. Without a setting glibc raises the limit to the largest block that was
/// ever freed.
#[cfg(target_env = "gnu")]
const MAPPED: nix::libc::c_int = 256 * 1024;

/// Has the allocator keep nothing that is large. Before anything large is asked for.
#[allow(unsafe_code, reason = "a function of the C library")]
pub(crate) fn keep_nothing_large() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: sets a number.
        _ = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, MAPPED) };
    }
}

/// Gives back what the allocator keeps for the next crowd. It looks at all of its memory, so this is not for every
/// connection that ends.
#[allow(unsafe_code, reason = "a function of the C library")]
pub(crate) fn forget_the_crowd() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes a number; what it gives back is memory that nobody holds.
        _ = unsafe { nix::libc::malloc_trim(0) };
    }
}
