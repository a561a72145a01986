//! The list of what the last instructions of the tender do.
//!
//! It lies in guest memory, the only memory that is left by then, and is wiped when it has been worked through: words of
//! eight bytes, first the [`HEADER_BYTES`] of the header, then ranges to wipe, then system calls, then the filter.

use alloc::vec::Vec;
use core::ops::Range;

use crate::filter::{self, Instruction};
use crate::linux::{self, call};

/// How many ranges, how many calls, how many bytes in all; the entry point, the stack.
pub const HEADER_BYTES: u64 = 40;

const PAGE_BYTES: u64 = 4096;
const RANGE_BYTES: u64 = 16;
const CALL_BYTES: u64 = 32;
/// `struct sock_fprog`: how many instructions, and where.
const PROGRAM_BYTES: u64 = 16;
/// Where addresses end that a process can map: of 47 bits the last page is the kernel's.
const ADDRESS_END: u64 = 0x7fff_ffff_f000;

/// A system call: its number and three arguments.
pub type Call = [u64; 4];

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Ranges of addresses to fill with zeroes.
    pub wiped: Vec<Range<u64>>,
    /// Calls after that, whose results do not matter.
    pub calls: Vec<Call>,
    /// The filter to install at last.
    pub filter: Vec<Instruction>,
    /// Where the guest starts.
    pub entry: u64,
    /// Its stack pointer.
    pub stack: u64,
}

impl Departure {
    /// The list as it is at this address.
    #[must_use]
    pub fn encode(&self, address: u64) -> Vec<u8> {
        let (ranges, calls) = (count(&self.wiped), count(&self.calls) + 1);
        let program = address + HEADER_BYTES + ranges * RANGE_BYTES + calls * CALL_BYTES;
        let filter = filter::encode(&self.filter);
        let end = program + PROGRAM_BYTES + count(&filter);
        let install = [call::SECCOMP, linux::SECCOMP_SET_MODE_FILTER.into(), 0, program];
        let header = [ranges, calls, end - address, self.entry, self.stack];
        let wiped = self.wiped.iter().flat_map(|range| [range.start, range.end - range.start]);
        let calls = self.calls.iter().chain([&install]).flatten().copied();
        let program = [count(&self.filter), program + PROGRAM_BYTES];
        let words = header.into_iter().chain(wiped).chain(calls).chain(program);
        words.flat_map(u64::to_le_bytes).chain(filter).collect()
    }
}

/// The calls that take everything away but the ranges to keep, which are whole pages and do not overlap.
///
/// A kernel may refuse to give up a mapping of its own, and then leaves alone all that a call is about. What is known to
/// be there is therefore named once more by itself.
#[must_use]
pub fn take_away(keep: &[Range<u64>], known: &[Range<u64>]) -> Vec<Call> {
    let mut keep = keep.to_vec();
    keep.sort_unstable_by_key(|range| range.start);
    let everything = 0..ADDRESS_END;
    let pieces = gaps(&everything, &keep).chain(known.iter().flat_map(|range| gaps(range, &keep)));
    pieces.map(|gap| [call::MUNMAP, gap.start, gap.end - gap.start, 0]).collect()
}

/// The parts of a range that are in none of these, which are sorted.
fn gaps(range: &Range<u64>, keep: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> {
    let starts = [range.start].into_iter().chain(keep.iter().map(|kept| kept.end.max(range.start)));
    let ends = keep.iter().map(|kept| kept.start.min(range.end)).chain([range.end]);
    starts.zip(ends).map(|(start, end)| start..end).filter(|gap| gap.start < gap.end)
}

/// The pages that a range of bytes is on.
#[must_use]
pub fn pages(range: &Range<u64>) -> Range<u64> {
    range.start & !(PAGE_BYTES - 1)..range.end.next_multiple_of(PAGE_BYTES)
}

/// What else is on the pages of a range.
#[must_use]
pub fn around(range: &Range<u64>) -> [Range<u64>; 2] {
    let pages = pages(range);
    [pages.start..range.start, range.end..pages.end]
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_what_is_kept() {
        let guest = 0x1_0000..0x20_0000;
        let page = 0x7000_0000_0000..0x7000_0000_1000;
        let strings = 0x7fff_0000_2000..0x7fff_0000_3000;
        let program = 0x6fff_ffff_e000..0x7000_0000_4000;
        let calls = take_away(&[strings, guest, page], core::slice::from_ref(&program));
        assert_eq!(
            calls,
            [
                [11, 0, 0x1_0000, 0],
                [11, 0x20_0000, 0x6fff_ffe0_0000, 0],
                [11, 0x7000_0000_1000, 0xfff_0000_1000, 0],
                [11, 0x7fff_0000_3000, 0xffff_c000, 0],
                [11, 0x6fff_ffff_e000, 0x2000, 0],
                [11, 0x7000_0000_1000, 0x3000, 0],
            ]
        );
    }

    #[test]
    fn pages_and_what_is_around() {
        let range = 0x1_0123..0x1_2001;
        assert_eq!(pages(&range), 0x1_0000..0x1_3000);
        assert_eq!(around(&range), [0x1_0000..0x1_0123, 0x1_2001..0x1_3000]);
        assert_eq!(pages(&(0x1000..0x2000)), 0x1000..0x2000);
    }

    #[test]
    fn layout() {
        let departure = Departure {
            wiped: core::iter::once(0x1000..0x1800).collect(),
            calls: [[11, 1, 2, 3]].to_vec(),
            filter: filter::program(3, 4, &[]),
            entry: 0x10_0000,
            stack: 0x1f_fff8,
        };
        let bytes = departure.encode(0x1_2000);
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        let instructions = count(&departure.filter);
        assert_eq!(words[..5], [1, 2, count(&bytes), 0x10_0000, 0x1f_fff8]);
        assert_eq!(words[5..7], [0x1000, 0x800]);
        assert_eq!(words[7..11], [11, 1, 2, 3]);
        let program = 0x1_2000 + 15 * 8;
        assert_eq!(words[11..15], [317, 1, 0, program]);
        assert_eq!(words[15..17], [instructions, program + 16]);
        assert_eq!(bytes[17 * 8..], filter::encode(&departure.filter));
    }
}
