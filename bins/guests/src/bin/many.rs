//! Two network devices and two block devices, in mixed order. It prints what each is, fills the block devices with
//! different patterns and reads both back, and then passes every frame of one network device on to the other, for ever
//! or until `--datagrams=N` of UDP have been passed on; then it prints which devices became ready, bit by bit.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Block, Console, Guest, Net, sys};

solo5::guest!(main, net "left", block "first", net "right", block "second");

/// A frame of the largest MTU and its header.
const FRAME_BYTES: usize = 65536 + 14;
const MAX_SECTOR_BYTES: usize = 32768;
const AN_HOUR: u64 = 3_600_000_000_000;

fn main(guest: &Guest) -> u8 {
    let mut console = Console::new();
    let (Some(left), Some(right)) = (guest.net("left"), guest.net("right")) else { return 2 };
    let (Some(first), Some(second)) = (guest.block("first"), guest.block("second")) else { return 3 };
    for (name, net) in [("left", &left), ("right", &right)] {
        let _ = writeln!(console, "{name} is {} mtu {}", net.index, net.mtu);
    }
    let mut buffer = [0; MAX_SECTOR_BYTES];
    for (name, block, mark) in [("first", &first, 0x5a), ("second", &second, 0xa5)] {
        let _ = writeln!(console, "{name} has {} bytes in sectors of {}", block.capacity, block.sector_size);
        if !for_each_sector(block, |offset| write(block, offset, mark, &mut buffer)) {
            return 4;
        }
    }
    for (block, mark) in [(&first, 0x5a), (&second, 0xa5)] {
        if !for_each_sector(block, |offset| verify(block, offset, mark, &mut buffer)) {
            return 5;
        }
    }
    let _ = writeln!(console, "verified");
    let limit = guest.number(b"--datagrams=").unwrap_or(u64::MAX);
    let ready = pass_on(guest, &left, &right, limit);
    let _ = writeln!(console, "ready {ready:#b}");
    0
}

/// Returns which devices became ready.
fn pass_on(guest: &Guest, left: &Net, right: &Net, limit: u64) -> u64 {
    let mut frame = [0; FRAME_BYTES];
    let (mut seen, mut passed) = (0, 0);
    while passed < limit {
        let ready = guest.wait_until(sys::clock(sys::CLOCK_MONOTONIC).saturating_add(AN_HOUR));
        seen |= ready.0;
        for (from, to) in [(left, right), (right, left)] {
            // An answer may be there before anybody was told: it is left until it is said to be.
            if ready.0 >> from.index & 1 == 0 {
                continue;
            }
            while let Some(frame) = from.read(&mut frame) {
                passed += u64::from(to.write(frame) && is_datagram(frame));
            }
        }
    }
    seen
}

/// What else there is on a network comes when it likes.
fn is_datagram(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17)
}

fn for_each_sector(block: &Block, mut action: impl FnMut(u64) -> bool) -> bool {
    let count = block.capacity / u64::from(block.sector_size);
    (0..count).all(|index| action(index * u64::from(block.sector_size)))
}

fn write(block: &Block, offset: u64, mark: u8, buffer: &mut [u8; MAX_SECTOR_BYTES]) -> bool {
    let Some(buffer) = buffer.get_mut(..usize::from(block.sector_size)) else { return false };
    buffer.iter_mut().zip(pattern(offset, mark)).for_each(|(place, byte)| *place = byte);
    block.write(offset, buffer)
}

fn verify(block: &Block, offset: u64, mark: u8, buffer: &mut [u8; MAX_SECTOR_BYTES]) -> bool {
    let Some(buffer) = buffer.get_mut(..usize::from(block.sector_size)) else { return false };
    buffer.fill(0);
    block.read(offset, buffer) && buffer.iter().zip(pattern(offset, mark)).all(|(found, byte)| *found == byte)
}

fn pattern(offset: u64, mark: u8) -> impl Iterator<Item = u8> {
    (0_u64..).flat_map(move |index| (offset ^ index << 48).wrapping_add(mark.into()).to_le_bytes())
}
