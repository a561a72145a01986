//! Network devices: taps of Linux. The interface has to exist and to be up; the tender makes none.

use albatross_spt::devices::Properties;
use albatross_spt::errno::Errno;
use albatross_spt::linux::{
    ETHTOOL_SGRO, ETHTOOL_SGSO, F_GETFL, F_SETFL, IFF_NO_PI, IFF_RUNNING, IFF_TAP, IFF_TUN, IFF_UP,
    IFF_VNET_HDR, INTERFACE_NAME_BYTES, O_NONBLOCK, O_RDWR,
};
use albatross_spt::options::Host;

use crate::error::AttachError;
use crate::inherited::inherited;
use crate::sys::{self, About, Descriptor, InterfaceRequest};

const DEVICE: &[u8] = b"/dev/net/tun";
/// Frames as they are on the wire, without packet information in front.
const TAP: u16 = IFF_TAP | IFF_NO_PI;

/// Opens a tap, or takes one over, and finds out what the guest is to know of it.
pub(crate) fn open(
    interface: Host<&[u8]>,
    mac: Option<[u8; 6]>,
) -> Result<(Descriptor, Properties), AttachError> {
    let socket = sys::socket().map_err(failed("making a socket"))?;
    let (tap, name) = match interface {
        Host::Named(name) => {
            let name = request(name);
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

/// A request that holds nothing but the name of an interface. Names are at most 15 bytes, which the command line has been
/// checked for; more would be cut off.
fn request(name: &[u8]) -> InterfaceRequest {
    let mut request = InterfaceRequest { name: [0; INTERFACE_NAME_BYTES], value: [0; 3] };
    let places = request.name.iter_mut().take(INTERFACE_NAME_BYTES - 1);
    places.zip(name).for_each(|(place, byte)| *place = *byte);
    request
}

/// The flags in an answer: its first two bytes.
fn flags(request: &InterfaceRequest) -> u16 {
    let [a, b, ..] = request.value[0].to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// Asked first: naming an interface that does not exist would make one.
fn check_up(socket: &Descriptor, mut name: InterfaceRequest) -> Result<(), AttachError> {
    sys::ask(socket, About::Flags, &mut name).map_err(failed("looking for the interface"))?;
    if flags(&name) & (IFF_UP | IFF_RUNNING) == 0 { Err(AttachError::Down) } else { Ok(()) }
}

fn attach(mut name: InterfaceRequest) -> Result<Descriptor, AttachError> {
    let tap = sys::open(DEVICE, O_RDWR | O_NONBLOCK).map_err(failed("opening /dev/net/tun"))?;
    let wanted = name.name;
    name.value = [TAP.into(), 0, 0];
    sys::ask(&tap, About::AttachTap, &mut name).map_err(failed("attaching to the interface"))?;
    // A name with a pattern in it would have made another interface.
    if name.name == wanted { Ok(tap) } else { Err(AttachError::NotTap) }
}

/// Which interface a tap that was handed over belongs to.
fn identify(tap: &Descriptor) -> Result<InterfaceRequest, AttachError> {
    let mut name = request(b"");
    sys::ask(tap, About::TapName, &mut name).map_err(|_| AttachError::NotTap)?;
    if flags(&name) & (TAP | IFF_TUN | IFF_VNET_HDR) == TAP { Ok(name) } else { Err(AttachError::NotTap) }
}

fn set_nonblocking(tap: &Descriptor) -> Result<(), AttachError> {
    let doing = "making reads not wait";
    let flags = sys::control(tap.number(), F_GETFL, 0).map_err(failed(doing))?;
    sys::control(tap.number(), F_SETFL, flags | O_NONBLOCK).map_err(failed(doing))?;
    Ok(())
}

fn mtu(socket: &Descriptor, mut name: InterfaceRequest) -> Result<u16, AttachError> {
    sys::ask(socket, About::Mtu, &mut name).map_err(failed("reading the MTU"))?;
    let [a, b, c, d, ..] = name.value[0].to_le_bytes();
    let found = i32::from_le_bytes([a, b, c, d]);
    u16::try_from(found).map_err(|_| AttachError::Mtu { found })
}

/// The guest shall see each packet as it was sent. Not every kernel can switch these off, so errors do not matter.
fn offloads_off(socket: &Descriptor, name: InterfaceRequest) {
    for command in [ETHTOOL_SGSO, ETHTOOL_SGRO] {
        let _ = sys::set_driver(socket, name, command, 0);
    }
}

/// A random address: administered locally, of one station.
fn random_mac() -> Result<[u8; 6], AttachError> {
    let mut mac: [u8; 6] = sys::random().map_err(failed("making a random MAC address"))?;
    let [first, ..] = &mut mac;
    *first = *first & 0xfc | 2;
    Ok(mac)
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> AttachError {
    move |source| AttachError::System { doing, source }
}
