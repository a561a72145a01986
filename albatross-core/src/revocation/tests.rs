//! Time and memory: counted, not measured.

use std::cell::Cell;

use super::{ListErrorKind, MAX_LIST_SIZE, RevocationList, reader::counted::READS};

/// What is in front of and behind the entries: a list without a valid signature, of an issuer without name.
fn list_of(entries: &[u8]) -> Vec<u8> {
    let algorithm = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
    let time = [&[0x17, 13][..], b"260601000000Z"].concat();
    let number = [0xa0, 14, 0x30, 12, 0x30, 10, 6, 3, 0x55, 0x1d, 0x14, 4, 3, 2, 1, 1];
    let fields =
        [&[2, 1, 1], &algorithm[..], &[0x30, 0], &time, &time, &tlv(0x30, entries), &number].concat();
    tlv(0x30, &[tlv(0x30, &fields), algorithm.to_vec(), vec![3, 1, 0]].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|octet| *octet == 0).collect();
    let mut out = match u8::try_from(content.len()) {
        Ok(short @ 0..0x80) => vec![tag, short],
        _ => [vec![tag, 0x80 | u8::try_from(significant.len()).unwrap()], significant].concat(),
    };
    out.extend(content);
    out
}

/// Entries with serial numbers of 18 octets in an order like that of random ones.
fn entries(count: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..count {
        let scattered = number.wrapping_mul(2_654_435_761).to_be_bytes();
        out.extend([0x30, 49, 2, 18, 0x40]);
        out.extend([scattered, [0x55; 4], number.to_be_bytes(), [0x77; 4]].concat());
        out.push(1);
        out.extend([0x17, 13]);
        out.extend(b"260601000000Z");
        // reasonCode keyCompromise
        out.extend([0x30, 12, 0x30, 10, 6, 3, 0x55, 0x1d, 0x15, 4, 3, 10, 1, 1]);
    }
    out
}

fn reads(der: &[u8]) -> (RevocationList<'_>, usize) {
    READS.with(|reads| reads.set(0));
    let list = RevocationList::from_der(der, MAX_LIST_SIZE).unwrap();
    (list, READS.with(Cell::get))
}

#[test]
fn a_list_of_16_mib_is_read_once_and_searched_by_halves() {
    let count = 328_000;
    let der = list_of(&entries(count));
    assert!(der.len() > MAX_LIST_SIZE - 100_000 && der.len() <= MAX_LIST_SIZE, "{}", der.len());
    let (list, all) = reads(&der);
    let tenth = count / 10;
    let some = reads(&list_of(&entries(tenth))).1;
    // Each value once: as many again for as many entries again.
    let per_entry = 8;
    let [count, tenth] = [count, tenth].map(|number| usize::try_from(number).unwrap());
    assert_eq!(all - some, per_entry * (count - tenth));
    assert!(all - per_entry * count < 30, "{all}");
    assert_eq!(list.len(), count);

    let mut most = 0;
    let looked_for: Vec<_> = list.entries().step_by(997).map(|entry| entry.serial.to_vec()).collect();
    let missing = looked_for.iter().map(|serial| [&serial[..17], &[2]].concat());
    for (serial, there) in looked_for.iter().cloned().map(|s| (s, true)).chain(missing.map(|s| (s, false))) {
        let mut comparisons = 0;
        let found = list.serials().find(&der, |entry| {
            comparisons += 1;
            entry.cmp(&serial)
        });
        assert_eq!(found, there);
        most = most.max(comparisons);
    }
    // 2^19 are more than there are.
    assert!(most <= 20, "{most} comparisons");
}

/// Four octets for each entry, of which none is shorter than twenty.
#[test]
fn the_index_is_no_larger_than_the_list() {
    let smallest = [&[0x30, 18, 2, 1, 1, 0x17, 13][..], b"260601000000Z"].concat();
    assert_eq!(smallest.len(), 20);
    let der = list_of(&smallest.repeat(200_000));
    let (list, _) = reads(&der);
    assert_eq!((list.len(), list.entries().count()), (1, 200_000), "all with the same serial number");
    let der = list_of(&entries(1000));
    assert_eq!(reads(&der).0.serials().octets(), 4000);
}

/// Shapes that would take long if anything were looked at again and again.
#[test]
fn hostile_lists_of_16_mib_end_soon() {
    let read = |der: &[u8]| {
        READS.with(|reads| reads.set(0));
        let error = RevocationList::from_der(der, MAX_LIST_SIZE).unwrap_err();
        assert!(READS.with(Cell::get) < 2_000_000);
        (error.field(), error.kind().clone())
    };
    const ROOM: usize = MAX_LIST_SIZE - 200;
    // Nested as deep as can be.
    assert_eq!(read(&[0x30, 0x80].repeat(ROOM / 2)).0, "CertificateList");
    // One name of all of it, one entry with all of it, an extension with all of it, many extensions.
    let name = tlv(0x30, &[0x31, 0].repeat(ROOM / 2));
    let head = [&[2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70][..], &name].concat();
    let tail = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 1, 0];
    let der = tlv(0x30, &[tlv(0x30, &head), tail.to_vec()].concat());
    assert!(matches!(read(&der), ("issuer", ListErrorKind::IssuerTooLong { .. })));
    let serial = tlv(0x30, &tlv(2, &vec![1; ROOM]));
    assert_eq!(read(&list_of(&serial)), ("userCertificate", ListErrorKind::SerialNumber));
    let extension = [0x30, 8, 6, 4, 0x2a, 3, 4, 5, 4, 0];
    let mut many = extension.repeat(ROOM / 10);
    for (number, octets) in (0_u32..).zip(many.chunks_mut(10)) {
        let [_, third, second, first] = number.to_be_bytes();
        octets[4..8].copy_from_slice(&[0x2a, third & 127, second & 127, first & 127]);
    }
    let time = [&[0x17, 13][..], b"260601000000Z"].concat();
    let entry = tlv(0x30, &[vec![2, 1, 1], time, tlv(0x30, &many)].concat());
    assert!(matches!(
        read(&list_of(&entry)),
        ("crlEntryExtensions", ListErrorKind::TooManyExtensions { .. })
    ));
}
