//! Program headers, and the rules for the segments that a tender loads.

use super::super::elf::{Header, ProgramHeader};
use super::super::segment::Segments;
use super::*;

#[test]
fn an_image_that_no_tender_would_load_is_none() {
    let of = |target| Parts { notes: vec![abi(target, 2), manifest(&[])] }.build();
    let entry_at = |target, entry: u64| inspect(&changed(of(target), 24, &entry.to_le_bytes()));
    // The first program header, of a segment: flags, octets in the file, octets in memory, alignment.
    let loading = |target, flags: u8, in_file: u64| {
        let mut image = changed(of(target), TABLE + 4, &[flags]);
        for (at, number) in [(32, in_file), (40, 0x1000), (48, 0x1000)] {
            image = changed(image, TABLE + at, &u64::to_le_bytes(number));
        }
        inspect(&image)
    };
    for target in [1, 2] {
        assert!(entry_at(target, LOWEST_ADDRESS).is_ok());
        let entry = LOWEST_ADDRESS - 1;
        assert_eq!(entry_at(target, entry), Err(ImageError::Entry { entry }));
        assert!(loading(target, 5, 16).is_ok());
        for (flags, in_file, error) in
            [(7, 16, SegmentError::WriteAndExecute), (5, 0x1001, SegmentError::File)]
        {
            let refused = Err(ImageError::Segment { header: 0, error });
            assert_eq!(loading(target, flags, in_file), refused);
        }
    }
    // What has no tender is loaded by others, who have their own rules.
    assert!(entry_at(3, 0).is_ok() && loading(3, 7, 16).is_ok());
}

#[test]
fn program_headers_know_their_octets_where_they_are_wholly_there() {
    let parts = Parts::good();
    let image = parts.build();
    let header = Header::parse(&image).unwrap();
    let headers: Vec<ProgramHeader> = header.program_headers(&image).unwrap().collect();
    let contents: Vec<_> = headers.iter().map(|header| header.content(&image).unwrap()).collect();
    let [first, second, third] = [0, 1, 2].map(|index| &parts.notes[index][..]);
    assert_eq!(contents, [&[][..], first, second, third]);
    let last = headers[3];
    assert_eq!(last.content(&image[..image.len() - 1]), None);
    for (file_offset, file_size) in [(u64::MAX, last.file_size), (last.file_offset, u64::MAX)] {
        assert_eq!(ProgramHeader { file_offset, file_size, ..last }.content(&image), None);
    }
    let table = &image[..TABLE + 4 * PROGRAM_HEADER_LENGTH];
    assert_eq!(header.program_headers(table).unwrap().len(), 4);
    assert_eq!(header.program_headers(&table[..table.len() - 1]).err(), Some(ElfError::Table));
}

#[test]
fn every_rule_of_the_segments_that_are_loaded_is_checked() {
    const FILE: u64 = 0x10_0000;
    let good = ProgramHeader {
        kind: PT_LOAD,
        flags: 5,
        file_offset: 0x1000,
        address: LOWEST_ADDRESS,
        file_size: 0x800,
        memory_size: 0x1000,
        alignment: 0x1000,
    };
    let add = |all: &[ProgramHeader]| {
        let mut segments = Segments::of_file(FILE);
        all.iter().try_for_each(|segment| segments.add(segment))
    };
    let next = ProgramHeader { address: LOWEST_ADDRESS + 0x1000, ..good };
    assert_eq!(add(&[good, next]), Ok(()));
    // Up to the very end of the file, as long as in memory, data that can be written.
    for segment in [
        ProgramHeader { file_offset: FILE - 0x800, ..good },
        ProgramHeader { file_size: 0x1000, ..good },
        ProgramHeader { flags: 6, ..good },
    ] {
        assert_eq!(add(&[segment]), Ok(()), "{segment:x?}");
    }
    // What is not loaded, or has nothing in the file, may be anything.
    let empty = ProgramHeader { file_size: 0, address: 1, ..good };
    assert_eq!(add(&[empty, ProgramHeader { kind: PT_NOTE, ..empty }, good]), Ok(()));
    for (segment, error) in [
        (ProgramHeader { file_offset: FILE - 0x7ff, ..good }, SegmentError::File),
        (ProgramHeader { file_offset: u64::MAX, ..good }, SegmentError::File),
        (ProgramHeader { memory_size: 0x7ff, ..good }, SegmentError::Sizes),
        (ProgramHeader { alignment: 0, ..good }, SegmentError::Alignment),
        (ProgramHeader { alignment: 0x1800, ..good }, SegmentError::Alignment),
        (ProgramHeader { address: LOWEST_ADDRESS - 1, ..good }, SegmentError::Low),
        (ProgramHeader { address: u64::MAX - 0xfff, memory_size: 0x2000, ..good }, SegmentError::High),
        (ProgramHeader { address: LOWEST_ADDRESS + 0x10, alignment: 0x10, ..good }, SegmentError::Page),
        (
            ProgramHeader { address: LOWEST_ADDRESS + 0x10, alignment: 0x10, memory_size: 0xff0, ..good },
            SegmentError::Page,
        ),
        (ProgramHeader { alignment: 0x10, memory_size: 0x1010, ..good }, SegmentError::Page),
        (ProgramHeader { flags: 7, ..good }, SegmentError::WriteAndExecute),
    ] {
        assert_eq!(add(&[segment]), Err(error), "{segment:x?}");
    }
    assert_eq!(add(&[next, good]), Err(SegmentError::Order));
    assert_eq!(add(&[good, good]), Err(SegmentError::Order));
}
