//! A host on the network device `service`, with the IPv4 address `--ipv4=A.B.C.D` (10.0.0.2): it answers ARP requests,
//! pings, and each UDP datagram with the same datagram. It runs for ever.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Console, Guest, Net, sys};

solo5::guest!(main, net "service");

/// A frame of the largest MTU and its header.
const FRAME_BYTES: usize = 65536 + 14;
const DEFAULT_ADDRESS: [u8; 4] = [10, 0, 0, 2];
const AN_HOUR: u64 = 3_600_000_000_000;

fn main(guest: &Guest) -> u8 {
    let Some(net) = guest.net("service") else { return 2 };
    let address = guest.value(b"--ipv4=").and_then(parse).unwrap_or(DEFAULT_ADDRESS);
    let mut console = Console::new();
    let [a, b, c, d, e, f] = net.mac;
    let _ = writeln!(console, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} mtu {}", net.mtu);
    let mut buffer = [0; FRAME_BYTES];
    loop {
        let ready = guest.wait_until(sys::clock(sys::CLOCK_MONOTONIC).saturating_add(AN_HOUR));
        if ready.0 >> net.index & 1 == 0 {
            continue;
        }
        while let Some(frame) = net.read(&mut buffer) {
            let _ = answer(&net, address, frame);
        }
    }
}

/// Makes the answer in place and sends it; `None` when there is none to make.
fn answer(net: &Net, address: [u8; 4], frame: &mut [u8]) -> Option<()> {
    let (ethernet, packet) = frame.split_first_chunk_mut::<14>()?;
    match ethernet.last_chunk::<2>()? {
        [0x08, 0x06] => answer_arp(net.mac, address, packet)?,
        [0x08, 0x00] => answer_ipv4(address, packet)?,
        _ => return None,
    }
    let [_, _, _, _, _, _, s0, s1, s2, s3, s4, s5, _, _] = *ethernet;
    ethernet.first_chunk_mut::<6>()?.copy_from_slice(&[s0, s1, s2, s3, s4, s5]);
    ethernet.get_mut(6..12)?.copy_from_slice(&net.mac);
    net.write(frame);
    Some(())
}

/// `who has ADDRESS`: sender and target change places.
fn answer_arp(mac: [u8; 6], address: [u8; 4], packet: &mut [u8]) -> Option<()> {
    let (fixed, parties) = packet.split_first_chunk_mut::<8>()?;
    let parties = parties.first_chunk_mut::<20>()?;
    if *fixed != [0, 1, 8, 0, 6, 4, 0, 1] || *parties.last_chunk::<4>()? != address {
        return None;
    }
    *fixed = [0, 1, 8, 0, 6, 4, 0, 2];
    parties.copy_within(0..10, 10);
    parties.get_mut(..6)?.copy_from_slice(&mac);
    parties.get_mut(6..10)?.copy_from_slice(&address);
    Some(())
}

/// Addresses change places, which leaves the checksums right.
fn answer_ipv4(address: [u8; 4], packet: &mut [u8]) -> Option<()> {
    let (header, payload) = packet.split_first_chunk_mut::<20>()?;
    // Headers without options only.
    if header.first() != Some(&0x45) || *header.last_chunk::<4>()? != address {
        return None;
    }
    swap(header.get_mut(12..20)?);
    match *header.get(9)? {
        1 => answer_icmp(payload),
        17 => {
            swap(payload.get_mut(..4)?);
            Some(())
        }
        _ => None,
    }
}

fn answer_icmp(payload: &mut [u8]) -> Option<()> {
    let [kind, 0, high, low, ..] = payload else { return None };
    if *kind != 8 {
        return None;
    }
    *kind = 0;
    // The sum lost 0x0800; its complement gains as much.
    let (sum, carry) = u16::from_be_bytes([*high, *low]).overflowing_add(0x0800);
    [*high, *low] = sum.wrapping_add(u16::from(carry)).to_be_bytes();
    Some(())
}

/// Exchanges the halves.
fn swap(bytes: &mut [u8]) {
    let (left, right) = bytes.split_at_mut(bytes.len() / 2);
    left.swap_with_slice(right);
}

fn parse(text: &[u8]) -> Option<[u8; 4]> {
    core::str::from_utf8(text).ok()?.parse::<core::net::Ipv4Addr>().ok().map(|address| address.octets())
}
