//! The counters of all network interfaces, asked from the kernel at once by rtnetlink(7). Anybody may ask.
//!
//! Which interfaces there are is asked where that has changed, which the kernel says; else their counters alone, which
//! is a quarter of the work.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use albatross_proto::stats::IfData;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Octets that the kernel puts into one message of a list, at most, and twice that for one to come.
const BUFFER: usize = 64 * 1024;

/// Where the octets of a header or an attribute begin: multiples of four.
const ALIGNMENT: usize = 4;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const STATS_HEADER: usize = 12;
const ATTRIBUTE_HEADER: usize = 4;

/// Types of messages: linux/netlink.h, linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;

/// A request for a whole list.
const NLM_F_REQUEST_DUMP: u16 = 0x301;

/// The group that is told when an interface comes, goes or changes.
const RTMGRP_LINK: u32 = 1;

/// Attributes of an interface, and which of its statistics are wanted: linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_STATS64: u16 = 23;
const IFLA_STATS_LINK_64: u16 = 1;
const WANTED_STATS: u32 = 1;

/// Asks for the counters of network interfaces.
pub(crate) struct Links {
    socket: OwnedFd,
    /// Is told of changes.
    changes: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    known: Known,
}

/// What is known of all interfaces.
#[derive(Default)]
struct Known {
    /// There may be others.
    stale: bool,
    /// Their numbers by their names.
    names: HashMap<Vec<u8>, u32>,
    /// By their numbers: which answer told of it last, and what.
    links: HashMap<u32, (u32, IfData)>,
}

impl Links {
    /// Those of the network that this thread is in.
    ///
    /// # Errors
    /// Those of the system calls.
    pub(crate) fn new() -> io::Result<Self> {
        // The kernel answers before it is asked for more: there is nothing to wait for.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute);
        let (socket, changes) = (open()?, open()?);
        bind(changes.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))?;
        let known = Known { stale: true, ..Known::default() };
        Ok(Self { socket, changes, sequence: 0, buffer: vec![0; BUFFER], known })
    }

    /// Reads the counters of every interface.
    ///
    /// # Errors
    /// Those of the system calls, and where the kernel's answer is none.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        self.note_changes();
        // Where an answer is of one that is not known, or is none, all are asked for.
        if !self.known.stale {
            let counted = self.ask(RTM_GETSTATS, STATS_HEADER).is_ok();
            if counted && !self.known.stale {
                return Ok(());
            }
        }
        self.known = Known::default();
        let listed = self.ask(RTM_GETLINK, LINK_HEADER);
        self.known.stale = listed.is_err();
        listed
    }

    /// The counters of an interface as they were read last; `None` where it was not there. Input is what came in from
    /// the other side: of a tap what its unikernel sent.
    pub(crate) fn get(&self, name: &str) -> Option<IfData> {
        let (told, data) = self.known.links.get(self.known.names.get(name.as_bytes())?)?;
        (*told == self.sequence).then(|| data.clone())
    }

    /// Takes what the kernel said meanwhile: that something did change is enough.
    fn note_changes(&mut self) {
        loop {
            match recv(self.changes.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(nix::errno::Errno::EAGAIN) => return,
                // There was more than was kept, or something to be asked again anyway.
                Ok(_) | Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EINTR) => self.known.stale = true,
                Err(_) => return self.known.stale = true,
            }
        }
    }

    /// Asks for a list of this type, and takes it.
    fn ask(&mut self, kind: u16, header: usize) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        send(self.socket.as_raw_fd(), &request(kind, header, self.sequence), MsgFlags::empty())?;
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let octets = self.buffer.get(..count).unwrap_or_default();
            if self.known.take(octets, self.sequence)? {
                return Ok(());
            }
        }
    }
}

fn request(kind: u16, header: usize, sequence: u32) -> Vec<u8> {
    let length = u32::try_from(HEADER + header).unwrap_or_default();
    let mut octets = Vec::with_capacity(HEADER + header);
    octets.extend(length.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    octets.extend(sequence.to_ne_bytes());
    // From the process with the number that the kernel gives; of any family, any kind, any interface.
    octets.resize(HEADER + header, 0);
    if kind == RTM_GETSTATS {
        octets.truncate(HEADER + 8);
        octets.extend(WANTED_STATS.to_ne_bytes());
    }
    octets
}

impl Known {
    /// Takes the interfaces out of some messages, and tells whether they were the last.
    fn take(&mut self, mut octets: &[u8], sequence: u32) -> io::Result<bool> {
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
                    RTM_NEWLINK => _ = self.link(body, sequence),
                    RTM_NEWSTATS => _ = self.counters(body, sequence),
                    _ => {}
                }
            }
            octets = octets.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        Ok(false)
    }

    /// An interface: a header, then attributes.
    fn link(&mut self, body: &[u8], sequence: u32) -> Option<()> {
        let mut data = IfData { flags: u32_at(body, 8)?.cast_signed(), ..IfData::default() };
        let mut name = None;
        let index = u32_at(body, 4)?;
        attributes(body.get(LINK_HEADER..)?, |kind, value| {
            match kind {
                IFLA_IFNAME => name = value.split(|octet| *octet == 0).next().map(<[u8]>::to_vec),
                IFLA_MTU => data.mtu = i32::try_from(u32_at(value, 0)?).unwrap_or(i32::MAX),
                IFLA_STATS64 => counters(value, &mut data)?,
                _ => {}
            }
            Some(())
        })?;
        self.names.insert(name?, index);
        self.links.insert(index, (sequence, data));
        Some(())
    }

    /// The counters of an interface: a header, then attributes.
    fn counters(&mut self, body: &[u8], sequence: u32) -> Option<()> {
        let Some((told, data)) = self.links.get_mut(&u32_at(body, 4)?) else {
            self.stale = true;
            return None;
        };
        attributes(body.get(STATS_HEADER..)?, |kind, value| {
            if kind == IFLA_STATS_LINK_64 {
                counters(value, data)?;
                *told = sequence;
            }
            Some(())
        })
    }
}

/// Hands out each attribute; `None` where they are cut.
fn attributes(mut rest: &[u8], mut each: impl FnMut(u16, &[u8]) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 0)?);
        each(u16_at(rest, 2)?, rest.get(ATTRIBUTE_HEADER..length)?)?;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Some(())
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
        // First the whole list, then counters alone: nothing of one is left in the way of the next.
        for _ in 0..3 {
            let before = read("statistics/rx_packets");
            links.read().unwrap();
            let lo = links.get("lo").unwrap();
            let after = read("statistics/rx_packets");
            assert!((before..=after).contains(&lo.input_packets), "{before} {lo:?} {after}");
            assert_eq!(i64::from(lo.mtu), read("mtu"));
        }
        assert_eq!(links.get("no such"), None);
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut octets = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        octets.extend(kind.to_ne_bytes());
        octets.extend([0; 2]);
        octets.extend(sequence.to_ne_bytes());
        octets.extend([0; 4]);
        octets.extend(body);
        octets
    }

    /// The interface `x` with the number 9.
    fn link() -> Vec<u8> {
        let mut body = vec![0; LINK_HEADER];
        body[4..8].copy_from_slice(&9_u32.to_ne_bytes());
        body.extend([6, 0, 3, 0, b'x', 0, 0, 0]);
        body
    }

    #[test]
    fn what_is_cut_or_no_answer_is_no_interface() {
        let mut known = Known::default();
        let refused = message(NLMSG_ERROR, 7, &(-1_i32).to_ne_bytes());
        assert_eq!(known.take(&refused, 7).unwrap_err().raw_os_error(), Some(1));
        // An answer to another question.
        assert!(!known.take(&refused, 8).unwrap());
        assert!(known.take(&message(NLMSG_DONE, 7, &[0; 4]), 7).unwrap());
        let whole = message(RTM_NEWLINK, 7, &link());
        for length in 1..whole.len() {
            assert!(known.take(&whole[..length], 7).is_err(), "{length}");
        }
        assert!(known.names.is_empty() && known.links.is_empty());
        assert!(!known.take(&whole, 7).unwrap());
        assert_eq!(known.names.get(&b"x"[..]), Some(&9));
    }

    #[test]
    fn counters_are_those_of_the_interface_with_the_number() {
        let mut known = Known::default();
        assert!(!known.take(&message(RTM_NEWLINK, 1, &link()), 1).unwrap());
        let counters = |index: u32| {
            let mut body = vec![0; STATS_HEADER];
            body[4..8].copy_from_slice(&index.to_ne_bytes());
            body.extend([204, 0, 1, 0]);
            body.extend((0..25_u64).flat_map(u64::to_ne_bytes));
            body
        };
        let whole = counters(9);
        for length in 0..whole.len() {
            assert!(!known.take(&message(RTM_NEWSTATS, 2, &whole[..length]), 2).unwrap());
            assert!(known.links[&9].0 == 1 && !known.stale, "{length}");
        }
        assert!(!known.take(&message(RTM_NEWSTATS, 2, &whole), 2).unwrap());
        let (told, data) = &known.links[&9];
        assert_eq!((*told, data.input_packets, data.collisions), (2, 0, 9));
        // One that nobody knows: all are asked for again.
        assert!(!known.take(&message(RTM_NEWSTATS, 2, &counters(10)), 2).unwrap());
        assert!(known.stale && !known.links.contains_key(&10));
    }
}
