//! Which bytes of an image go where in guest memory, and with which protection.
//!
//! A plan is made from the headers alone, before a byte is loaded. Refused are images that would reach outside
//! [`LOWEST_ADDRESS`]`..memory_size`, segments that overlap or share a page, are out of order, or are both writable and
//! executable. Segments without bytes in the file are left out: guest memory is zero and writable from the start.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::elf::{Header, PF_W, PF_X, PT_LOAD, PT_NOTE, ProgramHeader};

/// Lowest address of a segment and of the entry point: 1 MiB.
pub const LOWEST_ADDRESS: u64 = 0x10_0000;
/// Protection is by pages of this many bytes.
pub const PAGE_BYTES: u64 = 4096;

/// What to load, and where to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    /// Segments by ascending address.
    pub segments: Vec<Segment>,
    /// Address of the first instruction.
    pub entry: u64,
    /// End of the last segment; 0 when nothing is loaded.
    pub kernel_end: u64,
}

/// One segment. Invariant: `start <= address`, `address + file_size <= end`, `start` and `end` are multiples of
/// [`PAGE_BYTES`], both within guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file its bytes are.
    pub file_offset: u64,
    /// How many bytes the file has of it; never 0.
    pub file_size: u64,
    /// Where its first byte goes.
    pub address: u64,
    /// First page to protect.
    pub start: u64,
    /// End of the last page to protect.
    pub end: u64,
    /// Protection: `PF_R`, `PF_W`, `PF_X`, never the last two together.
    pub flags: u32,
}

impl LoadPlan {
    /// Plans an image of `file_size` bytes for a guest with `memory_size` bytes.
    ///
    /// # Errors
    ///
    /// Names the first program header that breaks a rule, and the rule.
    pub fn new(
        header: &Header,
        program_headers: &[ProgramHeader],
        file_size: u64,
        memory_size: u64,
    ) -> Result<Self, LoadError> {
        if !(LOWEST_ADDRESS..memory_size).contains(&header.entry) {
            return Err(LoadError::Entry { entry: header.entry, memory_size });
        }
        let mut segments: Vec<Segment> = Vec::new();
        let mut floor = LOWEST_ADDRESS;
        for (index, program_header) in program_headers.iter().enumerate() {
            if program_header.kind != PT_LOAD || program_header.file_size == 0 {
                continue;
            }
            let segment = Segment::plan(program_header, file_size, memory_size, floor)
                .map_err(|rule| LoadError::Segment { index, rule })?;
            floor = segment.end;
            segments.push(segment);
        }
        let kernel_end = segments.last().map_or(0, |segment| segment.end);
        Ok(Self { segments, entry: header.entry, kernel_end })
    }
}

impl Segment {
    fn plan(from: &ProgramHeader, file_size: u64, memory_size: u64, floor: u64) -> Result<Self, SegmentRule> {
        let file_end = from.offset.checked_add(from.file_size).ok_or(SegmentRule::File)?;
        if file_end > file_size {
            return Err(SegmentRule::File);
        }
        if from.memory_size < from.file_size {
            return Err(SegmentRule::Sizes);
        }
        if !from.align.is_power_of_two() {
            return Err(SegmentRule::Align);
        }
        let start = from.address & !(from.align - 1);
        if start < LOWEST_ADDRESS {
            return Err(SegmentRule::Low);
        }
        if start < floor {
            return Err(SegmentRule::Overlap);
        }
        let end = from.address.checked_add(from.memory_size).ok_or(SegmentRule::High)?;
        let end = end.checked_next_multiple_of(from.align).ok_or(SegmentRule::High)?;
        if end > memory_size {
            return Err(SegmentRule::High);
        }
        if !start.is_multiple_of(PAGE_BYTES) || !end.is_multiple_of(PAGE_BYTES) {
            return Err(SegmentRule::Page);
        }
        if from.flags & PF_W != 0 && from.flags & PF_X != 0 {
            return Err(SegmentRule::WriteAndExecute);
        }
        Ok(Self {
            file_offset: from.offset,
            file_size: from.file_size,
            address: from.address,
            start,
            end,
            flags: from.flags,
        })
    }
}

/// The program headers that point to notes, with their index.
pub fn notes(program_headers: &[ProgramHeader]) -> impl Iterator<Item = (usize, &ProgramHeader)> {
    program_headers.iter().enumerate().filter(|(_, header)| header.kind == PT_NOTE)
}

/// Why an image cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// The entry point is outside guest memory.
    Entry {
        /// Where it is.
        entry: u64,
        /// Size of guest memory in bytes.
        memory_size: u64,
    },
    /// A segment breaks a rule.
    Segment {
        /// Index of its program header.
        index: usize,
        /// Which rule.
        rule: SegmentRule,
    },
}

/// What a segment may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentRule {
    /// Take bytes from beyond the end of the file.
    File,
    /// Be smaller in memory than in the file.
    Sizes,
    /// Have an alignment that is no power of two.
    Align,
    /// Begin below the lowest address.
    Low,
    /// Overlap the segment before it, or come before it.
    Overlap,
    /// Reach beyond guest memory.
    High,
    /// Begin or end within a page.
    Page,
    /// Be writable and executable.
    WriteAndExecute,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { entry, memory_size } => write!(
                f,
                "entry point {entry:#x} is not in guest memory ({LOWEST_ADDRESS:#x} to {memory_size:#x}, see --mem)"
            ),
            Self::Segment { index, rule } => write!(f, "program header {index} {rule}"),
        }
    }
}

impl Error for LoadError {}

impl fmt::Display for SegmentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "takes bytes from beyond the end of the file",
            Self::Sizes => "has more bytes in the file than in memory",
            Self::Align => "has an alignment that is no power of two",
            Self::Low => "begins below 0x100000",
            Self::Overlap => "overlaps the segment before it or is out of order",
            Self::High => "reaches beyond guest memory, see --mem",
            Self::Page => "begins or ends within a page",
            Self::WriteAndExecute => "requests write and execute permission together",
        })
    }
}
