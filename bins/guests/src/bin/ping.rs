//! Pings `--to=A.B.C.D` (10.0.0.3) `--count=N` times (10) from the network device `service` as `--ipv4=A.B.C.D` (10.0.0.2),
//! with `--size=N` bytes each (56) that the answer has to repeat. Prints how many answers came, and exits with 0 when all
//! did. An answer that takes more than a second is asked for again, five times at most.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Console, Guest, Net, sys};

solo5::guest!(main, net "service");

/// A frame of the largest MTU and its header.
const FRAME_BYTES: usize = 65536 + 14;
/// Ethernet, IPv4 and ICMP.
const HEADER_BYTES: usize = 14 + 20 + 8;
const PATIENCE: u64 = 1_000_000_000;
const ATTEMPTS: u32 = 5;
const IDENTIFIER: u16 = 0x5035;
const BROADCAST: [u8; 6] = [0xff; 6];

struct Pinger<'a> {
    guest: &'a Guest,
    net: Net,
    own: [u8; 4],
    to: [u8; 4],
}

fn main(guest: &Guest) -> u8 {
    let Some(net) = guest.net("service") else { return 2 };
    let address = |option| guest.value(option).and_then(parse);
    let own = address(b"--ipv4=").unwrap_or([10, 0, 0, 2]);
    let to = address(b"--to=").unwrap_or([10, 0, 0, 3]);
    let count = guest.number(b"--count=").and_then(|count| u16::try_from(count).ok()).unwrap_or(10);
    let size = guest.number(b"--size=").and_then(|size| u16::try_from(size).ok()).unwrap_or(56);
    let mut buffer = [0; FRAME_BYTES];
    let pinger = Pinger { guest, net, own, to };
    let mut console = Console::new();
    let Some(mac) = pinger.ask_mac(&mut buffer) else {
        let _ = writeln!(console, "nobody has the address");
        return 3;
    };
    let answers = (1..=count).filter(|number| pinger.ping(mac, *number, size, &mut buffer)).count();
    let _ = writeln!(console, "{answers} of {count} answers");
    u8::from(answers != usize::from(count))
}

impl Pinger<'_> {
    /// Who has the address.
    fn ask_mac(&self, buffer: &mut [u8; FRAME_BYTES]) -> Option<[u8; 6]> {
        let mut request = [0; 42];
        let mut put = Writer::new(&mut request);
        put.bytes(&BROADCAST).bytes(&self.net.mac).bytes(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        put.bytes(&self.net.mac).bytes(&self.own).bytes(&[0; 6]).bytes(&self.to);
        let is_answer = |frame: &[u8]| {
            let fixed = frame.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
            let from = fixed && frame.get(28..32) == Some(&self.to);
            frame.get(22..28).filter(|_| from).and_then(|mac| mac.first_chunk()).copied()
        };
        self.exchange(&request, buffer, is_answer)
    }

    fn ping(&self, mac: [u8; 6], number: u16, size: u16, buffer: &mut [u8; FRAME_BYTES]) -> bool {
        let length = HEADER_BYTES + usize::from(size);
        let mut frame = [0; FRAME_BYTES];
        let Some(frame) = frame.get_mut(..length) else { return false };
        let mut put = Writer::new(frame);
        put.bytes(&mac).bytes(&self.net.mac).bytes(&[8, 0]);
        put.bytes(&[0x45, 0]).u16(size.saturating_add(28)).u16(number).bytes(&[0, 0, 64, 1, 0, 0]);
        put.bytes(&self.own).bytes(&self.to);
        put.bytes(&[8, 0, 0, 0]).u16(IDENTIFIER).u16(number);
        for (place, byte) in put.rest.iter_mut().zip(pattern(number)) {
            *place = byte;
        }
        set_checksum(frame, 14..34, 24);
        set_checksum(frame, 34..length, 36);
        let is_answer = |answer: &[u8]| {
            let here = answer.get(12..14) == Some(&[8, 0]) && answer.get(26..30) == Some(&self.to);
            let body = [0, 0].as_slice();
            let echo = answer.get(34..36) == Some(body) && answer.get(38..length) == frame.get(38..length);
            (here && echo && sum(answer.get(34..length)?) == 0xffff).then_some(())
        };
        self.exchange(frame, buffer, is_answer).is_some()
    }

    /// Sends a frame until something comes that is an answer to it.
    fn exchange<T>(
        &self,
        frame: &[u8],
        buffer: &mut [u8; FRAME_BYTES],
        is_answer: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        for _ in 0..ATTEMPTS {
            self.net.write(frame);
            let deadline = sys::clock(sys::CLOCK_MONOTONIC).saturating_add(PATIENCE);
            while sys::clock(sys::CLOCK_MONOTONIC) < deadline {
                let _ = self.guest.wait_until(deadline);
                while let Some(answer) = self.net.read(buffer) {
                    if let Some(found) = is_answer(answer) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }
}

/// Puts fields one after the other.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    fn new(rest: &'a mut [u8]) -> Self {
        Self { rest }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let rest = core::mem::take(&mut self.rest);
        if let Some((place, rest)) = rest.split_at_mut_checked(bytes.len()) {
            place.copy_from_slice(bytes);
            self.rest = rest;
        }
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
}

/// Other bytes for each ping.
fn pattern(number: u16) -> impl Iterator<Item = u8> {
    (0_u32..).flat_map(move |index| (index ^ u32::from(number) << 16).wrapping_mul(0x9e37_79b9).to_le_bytes())
}

/// The one's complement sum of RFC 1071; of what holds its own checksum it is all ones.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        [high] => u16::from_be_bytes([*high, 0]),
        _ => 0,
    });
    words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

fn set_checksum(frame: &mut [u8], of: core::ops::Range<usize>, at: usize) {
    let sum = !frame.get(of).map_or(0, sum);
    if let Some(place) = frame.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

fn parse(text: &[u8]) -> Option<[u8; 4]> {
    core::str::from_utf8(text).ok()?.parse::<core::net::Ipv4Addr>().ok().map(|address| address.octets())
}
