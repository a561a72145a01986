//! The system calls that need unsafe code: ioctls of taps and pidfds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The device that makes taps.
const TUN: &str = "/dev/net/tun";

nix::ioctl_write_ptr_bad!(tunsetiff, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_int_bad!(tunsetpersist, libc::TUNSETPERSIST);
nix::ioctl_write_int_bad!(tunsetowner, libc::TUNSETOWNER);
nix::ioctl_write_ptr_bad!(siocethtool, SIOCETHTOOL, libc::ifreq);
nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, PidfdInfo);
nix::ioctl_readwrite_bad!(siocgifflags, libc::SIOCGIFFLAGS, libc::ifreq);
nix::ioctl_write_ptr_bad!(siocsifflags, libc::SIOCSIFFLAGS, libc::ifreq);
nix::ioctl_readwrite_bad!(siocgifindex, libc::SIOCGIFINDEX, libc::ifreq);
nix::ioctl_write_ptr_bad!(siocbraddif, SIOCBRADDIF, libc::ifreq);

/// Not in libc: linux/sockios.h.
const SIOCBRADDIF: libc::c_int = 0x89a2;
const SIOCETHTOOL: libc::c_int = 0x8946;
/// Commands of SIOCETHTOOL (linux/ethtool.h): generic segmentation and receive offload.
const OFFLOADS: [u32; 2] = [0x24, 0x2c];

/// Not in libc: linux/pidfd.h, the first version of the structure. Only two fields are of interest.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// Asks for, and tells that there is, the exit status.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// A request about the interface `name`.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is a plain C structure for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::other(format!("{name:?} is no name of an interface")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn interface_name(request: &libc::ifreq) -> String {
    let octets = request.ifr_name.iter().flat_map(|c| c.to_ne_bytes()).take_while(|c| *c != 0).collect();
    String::from_utf8(octets).unwrap_or_default()
}

fn attach(name: &str) -> io::Result<(File, String)> {
    let tun = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(TUN)?;
    let mut request = request(name)?;
    // IFF_TAP and IFF_NO_PI are small positive constants that fit into the field's c_short.
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap_or_default();
    // SAFETY: `tun` is open and `request` is a valid ifreq that outlives the call, which may write to its
    // name: TUNSETIFF is given a pointer to memory of our own that nobody else reads meanwhile.
    unsafe { tunsetiff(tun.as_raw_fd(), &raw mut request) }?;
    Ok((tun, interface_name(&request)))
}

/// Makes a persistent tap of a name that matches `pattern`, which `owner` may open, and returns the name. Until
/// `mark` has succeeded it is gone with this process.
pub(crate) fn make_tap(
    pattern: &str,
    owner: Option<u32>,
    mark: impl FnOnce(&str) -> io::Result<()>,
) -> io::Result<String> {
    let (tun, name) = attach(pattern)?;
    mark(&name)?;
    if let Some(owner) = owner {
        let owner = libc::c_int::try_from(owner).map_err(io::Error::other)?;
        // SAFETY: `tun` is open and attached; the argument is a plain number.
        unsafe { tunsetowner(tun.as_raw_fd(), owner) }?;
    }
    // SAFETY: `tun` is open and attached; the argument is a plain number.
    unsafe { tunsetpersist(tun.as_raw_fd(), 1) }?;
    Ok(name)
}

/// Opens a tap that is there.
pub(crate) fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let (tun, attached) = attach(name)?;
    // A name with a pattern in it would have made another interface, which is gone with the descriptor.
    if attached == name { Ok(tun.into()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Has each packet pass as it was sent, none cut or put together on the way. A tender does this, too, where
/// it may; it takes a capability.
pub(crate) fn switch_offloads_off(name: &str) -> io::Result<()> {
    let control = control()?;
    for command in OFFLOADS {
        // `struct ethtool_value`: command, value.
        let mut value: [u32; 2] = [command, 0];
        let mut request = request(name)?;
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: `control` is open; `request` and the value that it points to outlive the call.
        unsafe { siocethtool(control.as_raw_fd(), &raw const request) }?;
    }
    Ok(())
}

/// Ends the persistence of a tap, which removes it when nobody has it open.
pub(crate) fn remove_tap(name: &str) -> io::Result<()> {
    let (tun, _) = attach(name)?;
    // SAFETY: `tun` is open and attached; the argument is a plain number.
    unsafe { tunsetpersist(tun.as_raw_fd(), 0) }?;
    Ok(())
}

/// A socket for requests about interfaces.
fn control() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Brings an interface up.
pub(crate) fn set_up(name: &str) -> io::Result<()> {
    let control = control()?;
    let mut request = request(name)?;
    // SAFETY: `control` is open, `request` is a valid ifreq that outlives the call.
    unsafe { siocgifflags(control.as_raw_fd(), &raw mut request) }?;
    // SAFETY: SIOCGIFFLAGS has filled the flags, a plain number of which every bit pattern is valid.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: as above; the kernel only reads.
    unsafe { siocsifflags(control.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Makes `tap` a port of `bridge`.
pub(crate) fn join_bridge(bridge: &str, tap: &str) -> io::Result<()> {
    let control = control()?;
    let mut port = request(tap)?;
    // SAFETY: `control` is open, `port` is a valid ifreq that outlives the call.
    unsafe { siocgifindex(control.as_raw_fd(), &raw mut port) }?;
    let mut request = request(bridge)?;
    // SAFETY: SIOCGIFINDEX has filled the index, a plain number of which every bit pattern is valid.
    request.ifr_ifru.ifru_ifindex = unsafe { port.ifr_ifru.ifru_ifindex };
    // SAFETY: as above; the kernel only reads.
    unsafe { siocbraddif(control.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// How a process ended that was waited for by its parent, as waitpid tells; `None` where that is not so yet,
/// nobody had this descriptor open then, or (an error) the kernel is older than 6.15.
pub(crate) fn exit_status(pidfd: impl AsFd) -> io::Result<Option<libc::c_int>> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the descriptor is open, and `info` is memory of our own of the size that the request says, which
    // the kernel may write; every bit pattern is valid for its fields.
    unsafe { pidfd_get_info(pidfd.as_fd().as_raw_fd(), &raw mut info) }?;
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}
