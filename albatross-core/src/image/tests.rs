//! A minimal image, and what is refused of it when anything is changed.

mod segments;

use super::elf::{HEADER_LENGTH, PROGRAM_HEADER_LENGTH, PT_LOAD, PT_NOTE};
use super::*;
use albatross_proto::{BlockDevice, NetDevice};

/// Where things are in the image that [`Parts::build`] makes.
const TABLE: usize = HEADER_LENGTH;
const ENTRY: usize = 104;

/// An image, taken apart so that a test can change one part.
#[derive(Clone)]
struct Parts {
    /// The notes, one segment each.
    notes: Vec<Vec<u8>>,
}

fn note(kind: &[u8; 4], descriptor: &[u8]) -> Vec<u8> {
    let length = u32::try_from(descriptor.len()).unwrap();
    [&6_u32.to_le_bytes(), &length.to_le_bytes(), kind, &b"Solo5\0\0\0"[..], descriptor].concat()
}

fn abi(target: u32, version: u32) -> Vec<u8> {
    note(b"ABI1", &[target, version, 0, 0].map(u32::to_le_bytes).concat())
}

fn entry(name: &str, kind: u32) -> Vec<u8> {
    let mut entry = vec![0; ENTRY];
    entry[..name.len()].copy_from_slice(name.as_bytes());
    entry[68..72].copy_from_slice(&kind.to_le_bytes());
    entry
}

fn manifest(devices: &[(&str, u32)]) -> Vec<u8> {
    let count = u32::try_from(devices.len() + 1).unwrap();
    let mut descriptor = [[0xee; 4], 1_u32.to_le_bytes(), count.to_le_bytes()].concat();
    descriptor.extend(entry("", 0x4000_0000));
    devices.iter().for_each(|(name, kind)| descriptor.extend(entry(name, *kind)));
    note(b"MFT1", &descriptor)
}

fn not_openbsd() -> Vec<u8> {
    [&8_u32.to_le_bytes(), &4_u32.to_le_bytes(), &1_u32.to_le_bytes(), &b"OpenBSD\0"[..], &[0; 4]].concat()
}

impl Parts {
    fn good() -> Self {
        Self { notes: vec![not_openbsd(), abi(2, 2), manifest(&[("storage", 1), ("service", 2)])] }
    }

    fn with(note: Vec<u8>) -> Self {
        Self { notes: vec![abi(2, 2), note] }
    }

    fn build(&self) -> Vec<u8> {
        let mut image = b"\x7fELF\x02\x01\x01".to_vec();
        image.resize(16, 0);
        let headers = u16::try_from(self.notes.len() + 1).unwrap();
        image.extend([2_u16, 62].map(u16::to_le_bytes).concat());
        image.extend(1_u32.to_le_bytes());
        image.extend([0x10_0020_u64, u64::try_from(TABLE).unwrap(), 0].map(u64::to_le_bytes).concat());
        image.extend(0_u32.to_le_bytes());
        image.extend([64_u16, 56, headers, 0, 0, 0].map(u16::to_le_bytes).concat());
        assert_eq!(image.len(), HEADER_LENGTH);
        image.extend(program_header(PT_LOAD, 0, 0));
        let mut offset = TABLE + (self.notes.len() + 1) * PROGRAM_HEADER_LENGTH;
        for note in &self.notes {
            image.extend(program_header(PT_NOTE, offset, note.len()));
            offset += note.len();
        }
        self.notes.iter().for_each(|note| image.extend(note));
        image
    }

    /// Where the note of this index begins in the image.
    fn offset(&self, index: usize) -> usize {
        let before: usize = self.notes[..index].iter().map(Vec::len).sum();
        TABLE + (self.notes.len() + 1) * PROGRAM_HEADER_LENGTH + before
    }
}

fn program_header(kind: u32, offset: usize, length: usize) -> Vec<u8> {
    let long = |number: usize| u64::try_from(number).unwrap();
    let fields = [long(offset), 0x10_0000, 0x10_0000, long(length), long(length), 4];
    [[kind, 4].map(u32::to_le_bytes).concat(), fields.map(u64::to_le_bytes).concat()].concat()
}

fn refused(note: Vec<u8>) -> NoteError {
    match inspect(&Parts::with(note).build()) {
        Err(ImageError::Note { header: 2, error }) => error,
        other => panic!("{other:?}"),
    }
}

fn changed(mut note: Vec<u8>, at: usize, octets: &[u8]) -> Vec<u8> {
    note[at..at + octets.len()].copy_from_slice(octets);
    note
}

#[test]
fn a_good_image_says_target_version_and_devices() {
    let image = inspect(&Parts::good().build()).unwrap();
    assert_eq!((image.target, image.abi_version), (Target::Spt, 2));
    assert_eq!(image.names(DeviceKind::Block).collect::<Vec<_>>(), ["storage"]);
    assert_eq!(image.names(DeviceKind::Net).collect::<Vec<_>>(), ["service"]);
    assert_eq!(image.target.to_string(), "spt");
}

#[test]
fn the_order_of_notes_and_other_notes_do_not_matter() {
    let expected = inspect(&Parts::good().build());
    let mut parts = Parts::good();
    parts.notes.reverse();
    assert_eq!(inspect(&parts.build()), expected);
    // What follows the first note of a segment is not read, as by the tenders.
    parts.notes[0].extend(abi(1, 1));
    assert_eq!(inspect(&parts.build()), expected);
    // Too short to be a note of Solo5, and one of another kind.
    parts.notes.push(vec![0; 12]);
    parts.notes.push(note(b"XXXX", &[0xff; 3]));
    assert_eq!(inspect(&parts.build()), expected);
    // Another name of that length, and that name with another length.
    parts.notes.push(changed(abi(1, 1), 12, b"Other"));
    parts.notes.push(changed(abi(1, 1), 0, &[8]));
    assert_eq!(inspect(&parts.build()), expected);
}

/// An image can have many, and they can be long.
#[test]
fn of_notes_that_say_nothing_here_only_the_head_is_read() {
    let mut parts = Parts::good();
    parts.notes.push(note(b"XXXX", &[7; 5000]));
    let image = parts.build();
    let mut reads = Vec::new();
    let read = inspect_with(u64::try_from(image.len()).unwrap(), |offset, octets| {
        let begin = usize::try_from(offset).unwrap();
        reads.push((begin, octets));
        Ok::<_, ()>(image[begin..begin + octets].to_vec())
    });
    assert_eq!(read.unwrap(), inspect(&image));
    let longest = |index| reads.iter().filter(|read| read.0 == parts.offset(index)).map(|read| read.1).max();
    assert_eq!([0, 1, 2, 3].map(longest), [Some(20), Some(36), Some(parts.notes[2].len()), Some(20)]);
}

#[test]
fn names_and_numbers_of_devices_have_ends() {
    let names: Vec<String> = (0..=MAX_DEVICES).map(|n| format!("dev{n}")).collect();
    let devices: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    let most = inspect(&Parts::with(manifest(&devices[..MAX_DEVICES])).build()).unwrap();
    assert_eq!(most.devices.len(), MAX_DEVICES);
    assert_eq!(refused(manifest(&devices)), NoteError::Entries { entries: 65 });
    assert_eq!(inspect(&Parts::with(manifest(&[])).build()).unwrap().devices, []);
    let longest = "x".repeat(MAX_NAME);
    assert_eq!(inspect(&Parts::with(manifest(&[(&longest, 1)])).build()).unwrap().devices[0].name, longest);
    let no_name = NoteError::DeviceName { entry: 1 };
    for name in ["x".repeat(MAX_NAME + 1).as_str(), "", "a-b", "a b", "a\"", "\u{e4}", "a\n"] {
        assert_eq!(refused(manifest(&[(name, 1)])), no_name, "{name}");
    }
    // A zero in the middle, and no zero at the end.
    let beyond = changed(manifest(&[("a", 1)]), 32 + ENTRY + MAX_NAME, b"b");
    assert_eq!(refused(beyond), no_name);
    assert_eq!(refused(manifest(&[("a", 1), ("a", 2)])), NoteError::SameName { name: "a".to_owned() });
    assert!(inspect(&Parts::with(manifest(&[("a", 1), ("A", 1)])).build()).is_ok());
}

#[test]
fn a_second_note_of_the_same_kind_is_refused() {
    for (note, error) in
        [(abi(1, 1), NoteError::SecondAbi), (manifest(&[("storage", 1)]), NoteError::SecondManifest)]
    {
        let mut parts = Parts::good();
        parts.notes.push(note);
        assert_eq!(inspect(&parts.build()), Err(ImageError::Note { header: 4, error }));
    }
    let without = |index| {
        let mut parts = Parts::good();
        parts.notes.remove(index);
        inspect(&parts.build())
    };
    assert_eq!(without(1), Err(ImageError::NoAbi));
    assert_eq!(without(2), Err(ImageError::NoManifest));
}

#[test]
fn every_field_of_the_manifest_is_checked() {
    let good = || manifest(&[("a", 1), ("b", 2)]);
    let version = NoteError::ManifestVersion { version: 2 };
    assert_eq!(refused(changed(good(), 24, &2_u32.to_le_bytes())), version);
    for entries in [0, 1, 2, 4, 64, u32::MAX] {
        let note = changed(good(), 28, &entries.to_le_bytes());
        assert_eq!(refused(note), NoteError::Entries { entries });
    }
    assert_eq!(refused(changed(good(), 32, b"x")), NoteError::FirstEntry);
    assert_eq!(refused(changed(good(), 32 + 5, b"x")), NoteError::FirstEntry);
    assert_eq!(refused(changed(good(), 32 + 68, &[1, 0, 0, 0])), NoteError::FirstEntry);
    for kind in [0, 3, 0x4000_0000, 0x4000_0001, u32::MAX] {
        let note = changed(good(), 32 + ENTRY + 68, &kind.to_le_bytes());
        assert_eq!(refused(note), NoteError::DeviceKind { entry: 1, kind });
    }
    for index in 0..3 {
        for at in 72..ENTRY {
            let note = changed(good(), 32 + index * ENTRY + at, &[1]);
            if at < 97 {
                assert_eq!(refused(note), NoteError::NotBlank { entry: index }, "{index} {at}");
            } else {
                assert!(inspect(&Parts::with(note).build()).is_ok(), "padding");
            }
        }
    }
}

#[test]
fn the_length_of_a_note_is_exact() {
    let length = |length: u32| length.to_le_bytes();
    for wrong in [0, 1, 4, 12, 15] {
        let note = changed(abi(2, 2), 4, &length(wrong));
        let error = NoteError::Length { length: wrong };
        let parts = Parts { notes: vec![note, manifest(&[])] };
        assert_eq!(inspect(&parts.build()), Err(ImageError::Note { header: 1, error }));
    }
    let parts = Parts { notes: vec![[changed(abi(2, 2), 4, &length(17)), vec![0]].concat(), manifest(&[])] };
    assert!(inspect(&parts.build()).is_err());
    let good = || manifest(&[("a", 1)]);
    for wrong in [0, 3, 4, 11] {
        assert_eq!(refused(changed(good(), 4, &length(wrong))), NoteError::Length { length: wrong });
    }
    for wrong in [12, 115, 219] {
        assert_eq!(refused(changed(good(), 4, &length(wrong))), NoteError::Entries { entries: 2 });
    }
    for wrong in [221, u32::MAX] {
        assert_eq!(refused(changed(good(), 4, &length(wrong))), NoteError::Truncated);
    }
    let longer = [changed(good(), 4, &length(221)), vec![0]].concat();
    assert_eq!(refused(longer), NoteError::Entries { entries: 2 });
}

#[test]
fn the_target_is_a_known_one() {
    let target = |number| inspect(&Parts { notes: vec![abi(number, 9), manifest(&[])] }.build());
    let known = [Target::Hvt, Target::Spt, Target::Virtio, Target::Muen, Target::Genode, Target::Xen];
    for (expected, number) in known.into_iter().zip(1..) {
        let image = target(number).unwrap();
        assert_eq!((image.target, image.abi_version), (expected, 9));
    }
    for number in [0, 7, u32::MAX] {
        let error = NoteError::Target { target: number };
        assert_eq!(target(number), Err(ImageError::Note { header: 1, error }));
    }
    for at in [28, 32] {
        let note = changed(abi(2, 2), at, &[1]);
        let error = NoteError::AbiReserved;
        let parts = Parts { notes: vec![note, manifest(&[])] };
        assert_eq!(inspect(&parts.build()), Err(ImageError::Note { header: 1, error }));
    }
}

#[test]
fn the_elf_header_is_checked() {
    let good = Parts::good().build();
    let with = |at: usize, octets: &[u8]| match inspect(&changed(good.clone(), at, octets)) {
        Err(ImageError::Elf(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(with(0, b"\x7eELF"), ElfError::Magic);
    for (at, octets) in [(4, &[1][..]), (5, &[2]), (20, &[2]), (52, &[63]), (54, &[57])] {
        assert_eq!(with(at, octets), ElfError::Format, "{at}");
    }
    assert_eq!(with(16, &[3]), ElfError::NotExecutable, "a position-independent one");
    assert_eq!(with(18, &[183]), ElfError::Machine { machine: 183 });
    assert_eq!(with(56, &[0]), ElfError::Table);
    assert_eq!(with(56, &[0xff, 0xff]), ElfError::Headers { count: 0xffff });
    assert_eq!(with(56, &[129, 0]), ElfError::Headers { count: 129 });
    assert_eq!(with(56, &[128, 0]), ElfError::Table);
    for offset in [u64::MAX, u64::MAX - 55, 1 << 32] {
        assert_eq!(with(32, &offset.to_le_bytes()), ElfError::Table);
    }
    assert_eq!(inspect(&good[..63]), Err(ImageError::Elf(ElfError::TooShort)));
    assert_eq!(inspect(&[]), Err(ImageError::Elf(ElfError::TooShort)));
    // Neither the versions in the identification nor the section headers are looked at.
    for at in (6..16).chain(40..52).chain(58..64) {
        assert!(inspect(&changed(good.clone(), at, &[7])).is_ok(), "{at}");
    }
}

#[test]
fn segments_of_notes_lie_in_the_file() {
    let parts = Parts::good();
    let note_header = TABLE + 2 * PROGRAM_HEADER_LENGTH;
    let error =
        |at: usize, number: u64| inspect(&changed(parts.build(), note_header + at, &number.to_le_bytes()));
    let truncated = Err(ImageError::Note { header: 2, error: NoteError::Truncated });
    for (at, number) in [(8, 1 << 40), (8, u64::MAX), (32, u64::MAX), (32, 1 << 20), (32, 11), (32, 35)] {
        assert_eq!(error(at, number), truncated, "{at} {number}");
    }
    // Too short for a name: passed over.
    assert_eq!(error(32, 19), Err(ImageError::NoAbi));
}

#[test]
fn every_cut_and_every_changed_octet_is_read_or_refused() {
    let parts = Parts::good();
    let good = parts.build();
    let expected = inspect(&good).unwrap();
    for length in 0..good.len() {
        assert!(inspect(&good[..length]).is_err(), "cut off after {length}");
    }
    for at in 0..good.len() {
        for change in 1..=255 {
            let mut image = good.clone();
            image[at] ^= change;
            if let Ok(image) = inspect(&image) {
                // Names, kinds and numbers may differ; what they are allowed to be may not.
                assert!(image.devices.len() <= MAX_DEVICES);
                let valid = |device: &Device| {
                    let name = device.name.as_bytes();
                    (1..=MAX_NAME).contains(&name.len()) && name.iter().all(u8::is_ascii_alphanumeric)
                };
                assert!(image.devices.iter().all(valid));
            }
        }
    }
    // The last octets of the image are padding of the last entry.
    assert_eq!(inspect(&changed(good.clone(), good.len() - 1, &[9])), Ok(expected));
    assert_eq!(parts.offset(2) + parts.notes[2].len(), good.len());
}

fn arguments(blocks: &[&str], nets: &[&str]) -> Arguments {
    let block = |name: &&str| BlockDevice { name: (*name).into(), device: None, sector_size: None };
    let net = |name: &&str| NetDevice { name: (*name).into(), bridge: None, mac: None };
    Arguments {
        block_devices: blocks.iter().map(block).collect(),
        net_devices: nets.iter().map(net).collect(),
        ..Arguments::new()
    }
}

#[test]
fn configured_devices_are_those_of_the_manifest() {
    let image = inspect(&Parts::with(manifest(&[("b", 1), ("net", 2), ("a", 1)])).build()).unwrap();
    assert_eq!(devices_match(&image, &arguments(&["a", "b"], &["net"])), Ok(()));
    for (blocks, nets) in [
        (&["a"][..], &["net"][..]),
        (&["a", "b", "c"], &["net"]),
        (&["a", "b", "b"], &["net"]),
        (&["a", "b"], &[]),
        (&["a", "net"], &["b"]),
        (&["a", "B"], &["net"]),
    ] {
        let error = devices_match(&image, &arguments(blocks, nets)).unwrap_err();
        assert_eq!(error.devices, image.devices);
        assert_eq!(
            error.to_string(),
            "the configured devices are not those of the image, which has block devices b, a and \
             network devices net: name each of them once"
        );
    }
    let none = inspect(&Parts::with(manifest(&[])).build()).unwrap();
    assert_eq!(devices_match(&none, &arguments(&[], &[])), Ok(()));
    let error = devices_match(&none, &arguments(&["a"], &[])).unwrap_err().to_string();
    assert!(error.contains("no block devices and no network devices"), "{error}");
}

#[test]
fn inflating_stops_at_the_limit() {
    let content = vec![0; 1 << 20];
    for level in [0, 1, 9, 77] {
        let compressed = deflate(&content, level);
        assert_eq!(inflate(&compressed, content.len()).as_ref(), Ok(&content));
        assert_eq!(inflate(&compressed, usize::MAX).as_ref(), Ok(&content));
        for limit in [0, 1, 65_535, 65_536, 65_537, content.len() - 1] {
            assert_eq!(inflate(&compressed, limit), Err(InflateError::TooLarge { limit }));
        }
    }
    assert_eq!(inflate(&deflate(&[], 6), 0), Ok(Vec::new()));
}

#[test]
fn what_follows_a_stream_is_refused() {
    let mut compressed = deflate(b"hello", 6);
    let end = compressed.len();
    compressed.push(0);
    assert_eq!(inflate(&compressed, 100), Err(InflateError::TrailingData { end }));
    assert_eq!(inflate(&compressed, 4), Err(InflateError::TooLarge { limit: 4 }));
    assert_eq!(inflate(&[], 100), Err(InflateError::Truncated));
    assert_eq!(inflate(b"hello", 100), Err(InflateError::Malformed));
}

#[test]
fn the_digest_is_sha_256() {
    let hex: String = digest(b"abc").iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-4");
}

#[test]
fn what_is_compressed_in_pieces_is_what_is_compressed_at_once() {
    // In one piece it is several times as long as what is given out at once.
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    for (level, piece) in [(0, 1 << 20), (1, 65_536), (9, 4_096), (77, 33_333)] {
        let mut sent = Vec::new();
        let mut deflating = Deflating::new(level);
        let mut keep = |octets: &[u8]| {
            sent.extend_from_slice(octets);
            Ok::<(), ()>(())
        };
        content.chunks(piece).for_each(|octets| deflating.feed(octets, &mut keep).unwrap());
        deflating.finish(&mut keep).unwrap();
        assert_eq!(inflate(&sent, content.len()).as_ref(), Ok(&content), "level {level}");
    }
    // Who takes no more ends it.
    let mut deflating = Deflating::new(1);
    assert_eq!(deflating.feed(&content, |_| Err("full")), Err("full"));
}

#[test]
fn an_image_that_is_read_in_parts_says_the_same_and_a_part_that_fails_is_told() {
    let image = Parts::good().build();
    let length = u64::try_from(image.len()).unwrap();
    let part = |offset: u64, octets: usize| {
        let begin = usize::try_from(offset).unwrap();
        image[begin..begin + octets].to_vec()
    };
    let read = inspect_with(length, |offset, octets| Ok::<_, ()>(part(offset, octets)));
    assert_eq!(read.unwrap(), inspect(&image));
    // The header, the table, the head of a note, the note.
    for failing in 0..4 {
        let mut reads = 0..failing;
        let read = inspect_with(length, |offset, octets| match reads.next() {
            Some(_) => Ok(part(offset, octets)),
            None => Err("gone"),
        });
        assert_eq!(read, Err("gone"), "read {failing}");
    }
}
