//! Fills the block device `disk` with a pattern, reads it back, and exits with 0 when every sector is right. `--read` only
//! reads and verifies, `--stay` goes on running afterwards; `--again=MS` fills it with another pattern and reads that back
//! every so many milliseconds, and prints `verified N` each time. `--outside=OFFSET` and `--size=N` make one read that the tender
//! forbids. `--reads=N` does nothing but read N sectors, one after the other from the start again and again, and prints how long
//! one took.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use solo5::{Block, Console, Guest, sys};

solo5::guest!(main, block "disk");

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// The largest sector a tender knows.
const MAX_SECTOR_BYTES: usize = 32768;

fn main(guest: &Guest) -> u8 {
    let mut console = Console::new();
    let Some(disk) = guest.block("disk") else { return 2 };
    let _ = writeln!(console, "disk of {} bytes, sectors of {} bytes", disk.capacity, disk.sector_size);
    let mut buffer = [0; MAX_SECTOR_BYTES];
    let sector = usize::from(disk.sector_size);
    if guest.value(b"--outside=").is_some() || guest.value(b"--size=").is_some() {
        let offset = guest.number(b"--outside=").unwrap_or(0);
        let size = guest.number(b"--size=").and_then(|size| usize::try_from(size).ok()).unwrap_or(sector);
        return u8::from(disk.read(offset, buffer.get_mut(..size).unwrap_or_default()));
    }
    let Some(buffer) = buffer.get_mut(..sector) else { return 3 };
    if let Some(count) = guest.number(b"--reads=") {
        return measure(&disk, count, buffer);
    }
    if guest.value(b"--read").is_none() && !for_each_sector(&disk, |offset| write(&disk, offset, 0, buffer)) {
        return 4;
    }
    if !for_each_sector(&disk, |offset| verify(&disk, offset, 0, buffer)) {
        return 5;
    }
    let _ = writeln!(console, "verified");
    if let Some(period) = guest.number(b"--again=") {
        return again(guest, &disk, period.saturating_mul(NANOSECONDS_PER_MILLISECOND), buffer);
    }
    while guest.value(b"--stay").is_some() {
        let _ = guest.wait_until(u64::MAX);
    }
    0
}

fn measure(disk: &Block, count: u64, buffer: &mut [u8]) -> u8 {
    let start = sys::clock(sys::CLOCK_MONOTONIC);
    let sectors = disk.capacity / u64::from(disk.sector_size);
    if !(0..count).all(|number| disk.read(number % sectors * u64::from(disk.sector_size), buffer)) {
        return 4;
    }
    let taken = sys::clock(sys::CLOCK_MONOTONIC).saturating_sub(start);
    let _ = writeln!(Console::new(), "{} ns for each read", taken / count.max(1));
    0
}

/// For ever, unless something is not as it was written.
fn again(guest: &Guest, disk: &Block, period: u64, buffer: &mut [u8]) -> u8 {
    let mut console = Console::new();
    let mut pass = 1;
    loop {
        if !for_each_sector(disk, |offset| write(disk, offset, pass, buffer)) {
            return 4;
        }
        let _ = guest.wait_until(sys::clock(sys::CLOCK_MONOTONIC).saturating_add(period));
        if !for_each_sector(disk, |offset| verify(disk, offset, pass, buffer)) {
            return 5;
        }
        let _ = writeln!(console, "verified {pass}");
        pass = pass.wrapping_add(1);
    }
}

fn for_each_sector(disk: &Block, mut action: impl FnMut(u64) -> bool) -> bool {
    let mut offset = 0;
    while offset < disk.capacity {
        if !action(offset) {
            return false;
        }
        offset += u64::from(disk.sector_size);
    }
    true
}

fn write(disk: &Block, offset: u64, pass: u64, buffer: &mut [u8]) -> bool {
    for (place, byte) in buffer.iter_mut().zip(pattern(offset, pass)) {
        *place = byte;
    }
    disk.write(offset, buffer)
}

fn verify(disk: &Block, offset: u64, pass: u64, buffer: &mut [u8]) -> bool {
    buffer.fill(0);
    disk.read(offset, buffer) && buffer.iter().zip(pattern(offset, pass)).all(|(found, byte)| *found == byte)
}

/// The offset of the sector in every eight bytes of it, with the place among them and the pass mixed in.
fn pattern(offset: u64, pass: u64) -> impl Iterator<Item = u8> {
    (0..).flat_map(move |index: u64| {
        (offset ^ (index << 48) ^ pass.rotate_right(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
    })
}
