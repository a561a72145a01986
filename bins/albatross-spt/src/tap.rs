//! Network devices: taps of Linux. The interface has to exist and to be up; the tender makes none.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use albatross_spt::devices::Properties;
use albatross_spt::options::Host;
use libc::{c_int, c_short, ifreq};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::attach::inherited;
use crate::error::AttachError;

const DEVICE: &str = "/dev/net/tun";
/// Frames as they are on the wire, without packet information in front.
const TAP: c_int = libc::IFF_TAP | libc::IFF_NO_PI;
/// Commands of SIOCETHTOOL: generic segmentation and receive offload.
const SET_OFFLOADS: [u32; 2] = [0x24, 0x2c];

/// Opens a tap, or takes one over, and finds out what the guest is to know of it.
pub(crate) fn open(
    interface: Host<OsString>,
    mac: Option<[u8; 6]>,
) -> Result<(OwnedFd, Properties), AttachError> {
    // Of the kind that albatrossd lets tenders make: one for requests about interfaces.
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.map_err(io::Error::from).map_err(failed("making a socket"))?;
    let (tap, name) = match interface {
        Host::Named(name) => {
            let name = Request::new(&name);
            check_up(&socket, name)?;
            (attach(name)?, name)
        }
        Host::Open(number) => {
            let tap = inherited(number)?;
            let name = identify(&tap)?;
            check_up(&socket, name)?;
            (tap, name)
        }
    };
    set_nonblocking(&tap)?;
    let mtu = mtu(&socket, name)?;
    offloads_off(&socket, name);
    let mac = mac.map_or_else(random_mac, Ok)?;
    Ok((tap, Properties::Net { mac, mtu }))
}

/// An `ifreq` that holds nothing but the name of an interface.
#[derive(Clone, Copy)]
struct Request(ifreq);

impl Request {
    /// Names are at most 15 bytes, which the command line has been checked for; more would be cut off.
    fn new(name: &OsStr) -> Self {
        // SAFETY: all zero is a valid ifreq.
        let mut request: ifreq = unsafe { mem::zeroed() };
        let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
        for (place, byte) in places.zip(name.as_bytes()) {
            *place = byte.cast_signed();
        }
        Self(request)
    }

    fn flags(&self) -> c_int {
        // SAFETY: every field of the union is plain data, and the kernel has filled in this one.
        unsafe { self.0.ifr_ifru.ifru_flags }.into()
    }

    /// Hands the request to the kernel, which reads the name and writes or reads the rest.
    fn call(&mut self, descriptor: &impl AsFd, command: libc::Ioctl) -> io::Result<()> {
        // SAFETY: the commands used here take an ifreq and touch nothing else.
        let result = unsafe { libc::ioctl(descriptor.as_fd().as_raw_fd(), command, &raw mut self.0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Asked first: naming an interface that does not exist would make one.
fn check_up(socket: &OwnedFd, mut name: Request) -> Result<(), AttachError> {
    name.call(socket, libc::SIOCGIFFLAGS).map_err(failed("looking for the interface"))?;
    if name.flags() & (libc::IFF_UP | libc::IFF_RUNNING) == 0 { Err(AttachError::Down) } else { Ok(()) }
}

fn attach(mut name: Request) -> Result<OwnedFd, AttachError> {
    let flags = libc::O_NONBLOCK;
    let tap = File::options()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(DEVICE)
        .map_err(failed("opening /dev/net/tun"))?;
    let wanted = name.0.ifr_name;
    name.0.ifr_ifru.ifru_flags = c_short::try_from(TAP).map_err(|_| AttachError::NotTap)?;
    name.call(&tap, libc::TUNSETIFF).map_err(failed("attaching to the interface"))?;
    // A name with a pattern in it would have made another interface.
    if name.0.ifr_name == wanted { Ok(tap.into()) } else { Err(AttachError::NotTap) }
}

/// Which interface a tap that was handed over belongs to.
fn identify(tap: &OwnedFd) -> Result<Request, AttachError> {
    let mut name = Request::new(OsStr::new(""));
    name.call(tap, libc::TUNGETIFF).map_err(|_| AttachError::NotTap)?;
    if name.flags() & (TAP | libc::IFF_TUN | libc::IFF_VNET_HDR) == TAP {
        Ok(name)
    } else {
        Err(AttachError::NotTap)
    }
}

fn set_nonblocking(tap: &OwnedFd) -> Result<(), AttachError> {
    let doing = "making reads not wait";
    let flags = fcntl(tap, FcntlArg::F_GETFL).map_err(|error| failed(doing)(error.into()))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(tap, FcntlArg::F_SETFL(flags)).map_err(|error| failed(doing)(error.into()))?;
    Ok(())
}

fn mtu(socket: &OwnedFd, mut name: Request) -> Result<u16, AttachError> {
    name.call(socket, libc::SIOCGIFMTU).map_err(failed("reading the MTU"))?;
    // SAFETY: every field of the union is plain data, and the kernel has filled in this one.
    let found = unsafe { name.0.ifr_ifru.ifru_mtu };
    u16::try_from(found).map_err(|_| AttachError::Mtu { found })
}

/// The guest shall see each packet as it was sent. Not every kernel can switch these off, so errors do not matter.
fn offloads_off(socket: &OwnedFd, mut name: Request) {
    for command in SET_OFFLOADS {
        // `struct ethtool_value`: command, value.
        let mut value: [u32; 2] = [command, 0];
        name.0.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        let _ = name.call(socket, libc::SIOCETHTOOL);
    }
}

/// A random address: administered locally, of one station.
fn random_mac() -> Result<[u8; 6], AttachError> {
    let mut mac = [0; 6];
    // SAFETY: the kernel writes at most the six bytes. So few are never cut short by a signal.
    let result = unsafe { libc::getrandom(mac.as_mut_ptr().cast(), mac.len(), 0) };
    if usize::try_from(result) != Ok(mac.len()) {
        return Err(failed("making a random MAC address")(io::Error::last_os_error()));
    }
    let [first, ..] = &mut mac;
    *first = *first & 0xfc | 2;
    Ok(mac)
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> AttachError {
    move |source| AttachError::System { doing, source }
}
