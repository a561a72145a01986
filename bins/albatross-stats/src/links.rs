//! The counters of all network interfaces, asked from the kernel at once by rtnetlink(7). Anybody may ask.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use albatross_proto::stats::IfData;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Octets that the kernel puts into one message of a list, at most, and twice that for one to come.
const BUFFER: usize = 64 * 1024;

/// Where the octets of a header or an attribute begin: multiples of four.
const ALIGNMENT: usize = 4;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;

/// Types of messages: linux/netlink.h, linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;

/// A request for a whole list.
const NLM_F_REQUEST_DUMP: u16 = 0x301;

/// Attributes of an interface: linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_STATS64: u16 = 23;

/// Asks for the counters of network interfaces.
pub(crate) struct Links {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Links {
    /// Those of the network that this thread is in.
    ///
    /// # Errors
    /// Those of the system call.
    pub(crate) fn new() -> io::Result<Self> {
        // The kernel answers before it is asked for more: there is nothing to wait for.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// The counters of every interface, by its name. Input is what came in from the other side: of a tap what its
    /// unikernel sent.
    ///
    /// # Errors
    /// Those of the system calls, and where the kernel's answer is none.
    pub(crate) fn read(&mut self) -> io::Result<HashMap<Vec<u8>, IfData>> {
        self.sequence = self.sequence.wrapping_add(1);
        send(self.socket.as_raw_fd(), &request(self.sequence), MsgFlags::empty())?;
        let mut links = HashMap::new();
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let octets = self.buffer.get(..count).unwrap_or_default();
            if take(octets, self.sequence, &mut links)? {
                return Ok(links);
            }
        }
    }
}

fn request(sequence: u32) -> Vec<u8> {
    let length = u32::try_from(HEADER + LINK_HEADER).unwrap_or_default();
    let mut octets = Vec::with_capacity(HEADER + LINK_HEADER);
    octets.extend(length.to_ne_bytes());
    octets.extend(RTM_GETLINK.to_ne_bytes());
    octets.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    octets.extend(sequence.to_ne_bytes());
    // From the process with the number that the kernel gives; of any family, any kind, any interface.
    octets.resize(HEADER + LINK_HEADER, 0);
    octets
}

/// Takes the interfaces out of some messages, and tells whether they were the last.
fn take(mut octets: &[u8], sequence: u32, links: &mut HashMap<Vec<u8>, IfData>) -> io::Result<bool> {
    while !octets.is_empty() {
        let length = u32_at(octets, 0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let (Some(kind), Some(answers), Some(body)) =
            (u16_at(octets, 4), u32_at(octets, 8), octets.get(HEADER..length))
        else {
            return Err(io::Error::other("a message of the kernel is cut"));
        };
        // What is left of a list before that was not read to its end.
        if answers == sequence {
            match kind {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let number = u32_at(body, 0).unwrap_or_default().cast_signed().wrapping_neg();
                    return Err(io::Error::from_raw_os_error(number));
                }
                RTM_NEWLINK => links.extend(link(body)),
                _ => {}
            }
        }
        octets = octets.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(false)
}

/// An interface: a header, then attributes.
fn link(body: &[u8]) -> Option<(Vec<u8>, IfData)> {
    let mut data = IfData { flags: u32_at(body, 8)?.cast_signed(), ..IfData::default() };
    let mut name = None;
    let mut rest = body.get(LINK_HEADER..)?;
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        match u16_at(rest, 2)? {
            IFLA_IFNAME => name = value.split(|octet| *octet == 0).next().map(<[u8]>::to_vec),
            IFLA_MTU => data.mtu = i32::try_from(u32_at(value, 0)?).unwrap_or(i32::MAX),
            IFLA_STATS64 => counters(value, &mut data)?,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Some((name?, data))
}

/// `struct rtnl_link_stats64`: numbers of 64 bits.
fn counters(value: &[u8], data: &mut IfData) -> Option<()> {
    let number = |index: usize| {
        let octets = value.get(index * 8..)?.first_chunk()?;
        Some(i64::try_from(u64::from_ne_bytes(*octets)).unwrap_or(i64::MAX))
    };
    data.input_packets = number(0)?;
    data.output_packets = number(1)?;
    data.input_bytes = number(2)?;
    data.output_bytes = number(3)?;
    data.input_errors = number(4)?;
    data.output_errors = number(5)?;
    data.input_dropped = number(6)?;
    data.output_dropped = number(7)?;
    data.input_mcast = number(8)?;
    data.collisions = number(9)?;
    Some(())
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_loopback_has_the_counters_that_sys_shows() {
        let read = |file: &str| -> i64 {
            fs::read_to_string(format!("/sys/class/net/lo/{file}")).unwrap().trim().parse().unwrap()
        };
        let mut links = Links::new().unwrap();
        // Twice: nothing of the first list is left in the way of the second.
        for _ in 0..2 {
            let before = read("statistics/rx_packets");
            let lo = links.read().unwrap().remove(&b"lo"[..]).unwrap();
            let after = read("statistics/rx_packets");
            assert!((before..=after).contains(&lo.input_packets), "{before} {lo:?} {after}");
            assert_eq!(i64::from(lo.mtu), read("mtu"));
        }
    }

    #[test]
    fn what_is_cut_or_no_answer_is_no_interface() {
        let mut links = HashMap::new();
        let message = |kind: u16, sequence: u32, body: &[u8]| {
            let mut octets = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
            octets.extend(kind.to_ne_bytes());
            octets.extend([0; 2]);
            octets.extend(sequence.to_ne_bytes());
            octets.extend([0; 4]);
            octets.extend(body);
            octets
        };
        let refused = message(NLMSG_ERROR, 7, &(-1_i32).to_ne_bytes());
        assert_eq!(take(&refused, 7, &mut links).unwrap_err().raw_os_error(), Some(1));
        // An answer to another question.
        assert!(!take(&refused, 8, &mut links).unwrap());
        assert!(take(&message(NLMSG_DONE, 7, &[0; 4]), 7, &mut links).unwrap());
        let mut body = vec![0; LINK_HEADER];
        body.extend([6, 0, 3, 0, b'x', 0, 0, 0]);
        let whole = message(RTM_NEWLINK, 7, &body);
        for length in 1..whole.len() {
            assert!(take(&whole[..length], 7, &mut links).is_err(), "{length}");
        }
        assert!(links.is_empty());
        assert!(!take(&whole, 7, &mut links).unwrap());
        assert!(links.contains_key(&b"x"[..]));
    }
}
