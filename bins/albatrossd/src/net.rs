//! Taps: made for a unikernel's network device, joined to a bridge, and removed with it.

use albatross_core::vmmd::TaskFailure;

use crate::sys;

/// How taps are named; the kernel puts in the smallest number that is free.
const TAP_NAMES: &str = "vmmtap%d";

/// Makes a persistent tap that is up, belongs to `bridge` and may be opened by `owner`.
pub(crate) fn make_tap(bridge: &str, owner: Option<u32>) -> Result<String, TaskFailure> {
    let tap = sys::make_tap(TAP_NAMES, owner)
        .map_err(|error| TaskFailure(format!("cannot make a tap for bridge {bridge}: {error}")))?;
    // Not every kernel can switch these off; the packets are right all the same.
    _ = sys::switch_offloads_off(&tap);
    let joined = sys::join_bridge(bridge, &tap).and_then(|()| sys::set_up(&tap));
    joined.map(|()| tap.clone()).map_err(|error| {
        // The tap is of no use; that it cannot be removed either would be the same error again.
        _ = sys::remove_tap(&tap);
        TaskFailure(format!("cannot join a tap to bridge {bridge}: {error}"))
    })
}

/// Removes a tap.
pub(crate) fn remove_tap(tap: &str) -> Result<(), TaskFailure> {
    sys::remove_tap(tap).map_err(|error| TaskFailure(format!("cannot remove the tap {tap}: {error}")))
}
