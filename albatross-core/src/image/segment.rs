//! The rules for what a tender loads, as far as they do not depend on the memory that a unikernel is given. Both kinds of
//! tender have the same; segments without octets in the file they pass over.

use core::fmt;

use super::elf::{PT_LOAD, ProgramHeader};

/// Below this is what the tender tells a unikernel, and nothing at all at the very beginning.
pub const LOWEST_ADDRESS: u64 = 0x10_0000;
/// What may be done with memory is said for so many octets at a time.
const PAGE: u64 = 4096;
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;

/// What a segment may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentError {
    /// Take octets from beyond the end of the file.
    File,
    /// Have more octets in the file than in memory.
    Sizes,
    /// Have an alignment that is no power of two.
    Alignment,
    /// Begin below [`LOWEST_ADDRESS`].
    Low,
    /// Overlap the one before it, or come before it.
    Order,
    /// Reach beyond what a number can say.
    High,
    /// Begin or end within a page.
    Page,
    /// Be writable and executable.
    WriteAndExecute,
}

/// Where the segments end that have been looked at.
#[derive(Debug)]
pub(super) struct Segments {
    file_length: u64,
    end: u64,
}

impl Segments {
    pub(super) const fn of_file(file_length: u64) -> Self {
        Self { file_length, end: LOWEST_ADDRESS }
    }

    /// Looks at the next one.
    pub(super) fn add(&mut self, segment: &ProgramHeader) -> Result<(), SegmentError> {
        if segment.kind != PT_LOAD || segment.file_size == 0 {
            return Ok(());
        }
        let in_file = segment.file_offset.checked_add(segment.file_size);
        if in_file.is_none_or(|end| end > self.file_length) {
            return Err(SegmentError::File);
        }
        if segment.memory_size < segment.file_size {
            return Err(SegmentError::Sizes);
        }
        if !segment.alignment.is_power_of_two() {
            return Err(SegmentError::Alignment);
        }
        let start = segment.address & !(segment.alignment - 1);
        if start < LOWEST_ADDRESS {
            return Err(SegmentError::Low);
        }
        if start < self.end {
            return Err(SegmentError::Order);
        }
        let end = segment.address.checked_add(segment.memory_size);
        let end = end.and_then(|end| end.checked_next_multiple_of(segment.alignment));
        let end = end.ok_or(SegmentError::High)?;
        if !start.is_multiple_of(PAGE) || !end.is_multiple_of(PAGE) {
            return Err(SegmentError::Page);
        }
        if segment.flags & WRITABLE != 0 && segment.flags & EXECUTABLE != 0 {
            return Err(SegmentError::WriteAndExecute);
        }
        self.end = end;
        Ok(())
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "takes bytes from beyond the end of the file",
            Self::Sizes => "has more bytes in the file than in memory",
            Self::Alignment => "has an alignment that is no power of two",
            Self::Low => "begins below 0x100000",
            Self::Order => "overlaps the segment before it or is out of order",
            Self::High => "reaches beyond any memory",
            Self::Page => "begins or ends within a page",
            Self::WriteAndExecute => "requests write and execute permission together",
        })
    }
}

impl core::error::Error for SegmentError {}
